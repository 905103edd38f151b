use super::*;

fn query(text: &str) -> Query {
    Query::parse(text).unwrap()
}

#[test]
fn a_query_is_decoded_and_must_be_utf_8() {
    let pairs = query("??a=%C3%A4+b&&c=d=e&f");
    let pairs: Vec<_> = pairs.pairs().collect();
    assert_eq!(pairs, [("a", "ä b"), ("c", "d=e"), ("f", "")]);
    for bad in ["a=%", "a=%4", "a=%zz", "a=%FF"] {
        assert!(Query::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_parameter_is_one_value_or_a_list() {
    let query = query("a=1&b=2&b=3&c[]=4&c[x]=5&c%5B12%5D=6&cc=7");
    assert_eq!(query.one("a"), Ok(Some("1")));
    assert_eq!(query.one("x"), Ok(None));
    assert!(query.one("b").is_err());
    assert_eq!(query.many("b"), ["2", "3"]);
    assert_eq!(query.many("c"), ["4", "6"]);
    assert!(query.many("x").is_empty());
}
