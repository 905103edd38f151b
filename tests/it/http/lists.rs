//! Lists: order, pages, filters, and whose they are.

use super::client::{Api, Till, keys, new_id, order, wait_for};
use crate::support::server::{TestServer, on_both, shared};
use serde_json::{Value, json};

/// The list lies at this path, is of this type, and is sorted by these columns.
type List = (String, &'static str, &'static [&'static str]);

fn lists(till: &Till) -> [List; 9] {
    const TSS: &[&str] = &[
        "time_creation",
        "description",
        "state",
        "time_init",
        "time_disable",
    ];
    const CLIENT: &[&str] = &["time_creation", "serial_number"];
    const TX: &[&str] = &["number", "state", "time_start", "time_end"];
    const EXPORT: &[&str] = &[
        "time_request",
        "state",
        "time_start",
        "time_end",
        "time_expiration",
        "time_error",
    ];
    [
        ("/tss".to_owned(), "TSS_LIST", TSS),
        ("/client".to_owned(), "CLIENT_LIST", CLIENT),
        (till.path("/client"), "CLIENT_LIST", CLIENT),
        ("/tx".to_owned(), "TRANSACTION_LIST", TX),
        (till.path("/tx"), "TRANSACTION_LIST", TX),
        (
            till.path(&format!("/client/{}/tx", till.client)),
            "TRANSACTION_LIST",
            TX,
        ),
        ("/export".to_owned(), "EXPORT_LIST", EXPORT),
        (till.path("/export"), "EXPORT_LIST", EXPORT),
        // A slash at the end means nothing.
        ("/tss/".to_owned(), "TSS_LIST", TSS),
    ]
}

fn ids(list: &Value) -> Vec<String> {
    let items = list["data"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["_id"].as_str().unwrap().to_owned())
        .collect()
}

/// What is there of a column, so that it sorts as numbers and text do.
fn column_of(list: &Value, column: &str) -> Vec<(Option<u64>, Option<String>)> {
    let items = list["data"].as_array().unwrap();
    items
        .iter()
        .filter_map(|item| item.get(column))
        .map(|value| (value.as_u64(), value.as_str().map(str::to_owned)))
        .collect()
}

/// Something of each kind.
fn busy_till(server: &TestServer) -> Till {
    let till = Till::new(server);
    till.sell();
    let tx = till.start();
    till.step(&tx, 2, "CANCELLED", Some(order())).ok();
    till.start();
    for query in ["", "?maximum_number_records=1"] {
        let export = till.path(&format!("/export/{}", new_id()));
        till.api.put(&format!("{export}{query}"), &json!({})).ok();
        wait_for("the export", || {
            let state = till.api.get(&export).ok()["state"].clone();
            (state != "PENDING" && state != "WORKING").then_some(())
        });
    }
    till
}

#[test]
fn every_list_has_its_envelope_and_its_columns() {
    on_both(|server| {
        let till = busy_till(server);
        for (path, kind, columns) in lists(&till) {
            let list = till.api.get(&path).ok();
            assert_eq!(
                keys(&list),
                ["data", "count", "_type", "_env", "_version"],
                "{path}"
            );
            assert_eq!(list["_type"], kind);
            assert_eq!(list["_env"], "TEST");
            assert_eq!(list["_version"], "2.2.2");
            let all = ids(&list);
            assert!(!all.is_empty(), "{path}");
            assert_eq!(list["count"], all.len());
            for column in columns {
                let sorted = |order: &str| {
                    let path = format!("{path}?order_by={column}&order={order}");
                    till.api.get(&path).ok()
                };
                for (order, least_first) in [("asc", true), ("desc", false)] {
                    let list = sorted(order);
                    let place = format!("{path} by {column} {order}");
                    assert_eq!(ids(&list).len(), all.len(), "{place}");
                    let mut values = column_of(&list, column);
                    if !least_first {
                        values.reverse();
                    }
                    assert!(values.is_sorted(), "{place}: {values:?}");
                }
            }
        }
    });
}

#[test]
fn what_is_listed_is_what_is_answered_alone() {
    let till = busy_till(shared());
    for (list, one) in [
        ("/tss".to_owned(), String::new()),
        ("/client".to_owned(), "/client/".to_owned()),
        (till.path("/tx"), "/tx/".to_owned()),
        (till.path("/export"), "/export/".to_owned()),
    ] {
        let list = till.api.get(&list).ok();
        for item in list["data"].as_array().unwrap() {
            let path = match one.as_str() {
                "" => till.path(""),
                one => till.path(&format!("{one}{}", item["_id"].as_str().unwrap())),
            };
            assert_eq!(till.api.get(&path).ok().to_string(), item.to_string());
        }
    }
}

#[test]
fn pages_go_through_a_list_without_gap_or_repetition() {
    on_both(|server| {
        let till = Till::new(server);
        for _ in 0..5 {
            till.start();
        }
        let numbers = |query: &str| -> Vec<u64> {
            let list = till.api.get(&till.path(&format!("/tx?{query}"))).ok();
            let items = list["data"].as_array().unwrap();
            assert_eq!(list["count"], items.len());
            items
                .iter()
                .map(|item| item["number"].as_u64().unwrap())
                .collect()
        };
        assert_eq!(numbers(""), [1, 2, 3, 4, 5]);
        assert_eq!(numbers("limit=2"), [1, 2]);
        assert_eq!(numbers("limit=2&offset=2"), [3, 4]);
        assert_eq!(numbers("limit=2&offset=4"), [5]);
        assert_eq!(numbers("limit=100&offset=5"), [0_u64; 0]);
        assert_eq!(numbers("order=desc&limit=2&offset=1"), [4, 3]);
        assert_eq!(numbers("offset=9007199254740991"), [0_u64; 0]);
        // Equal values are sorted, too, so that pages do not overlap.
        let mut seen = Vec::new();
        for offset in 0..5 {
            seen.extend(numbers(&format!("order_by=state&limit=1&offset={offset}")));
        }
        seen.sort_unstable();
        assert_eq!(seen, [1, 2, 3, 4, 5]);
    });
}

#[test]
fn states_are_asked_for_in_every_way_tills_write_lists() {
    on_both(|server| {
        let till = busy_till(server);
        let count = |list: &str, query: &str| {
            till.api.get(&till.path(&format!("/{list}?{query}"))).ok()["count"]
                .as_u64()
                .unwrap()
        };
        for query in [
            "states=ACTIVE&states=FINISHED",
            "states[]=ACTIVE&states[]=FINISHED",
            "states[0]=ACTIVE&states[1]=FINISHED",
            "states%5B0%5D=ACTIVE&states%5B1%5D=FINISHED",
            "states%5b%5d=ACTIVE&states=FINISHED&states=FINISHED",
            "?states=ACTIVE&states=FINISHED&show_deleted=false",
        ] {
            assert_eq!(count("tx", query), 2, "{query}");
        }
        assert_eq!(count("tx", ""), 3);
        assert_eq!(count("tx", "states=CANCELLED"), 1);
        assert_eq!(count("export", "states=COMPLETED"), 1);
        assert_eq!(count("export", "states=ERROR&states=PENDING"), 1);
        assert_eq!(count("export", "states=EXPIRED&states=DELETED"), 0);
        assert_eq!(count("client", "state=REGISTERED"), 1);
        assert_eq!(count("client", "state=DEREGISTERED"), 0);
        assert_eq!(
            count("client", &format!("serial_number={}", till.serial)),
            1
        );
        assert_eq!(count("client", "serial_number=KASSE"), 0);
        assert_eq!(count("client", "serial_number=%00"), 0);
        let tss = |query: &str| till.api.get(&format!("/tss?{query}")).ok()["count"].clone();
        assert_eq!(tss("states=INITIALIZED"), 1);
        assert_eq!(tss("states=DISABLED&states=CREATED"), 0);
        assert_eq!(tss("states=DELETED&states=EVICTED"), 0);
    });
}

#[test]
fn a_query_that_does_not_fit_is_refused() {
    let till = Till::new(shared());
    for (path, ..) in lists(&till) {
        for query in [
            "limit=0",
            "limit=101",
            "limit=-1",
            "limit=x",
            "limit=",
            "limit=1&limit=1",
            "offset=-1",
            "offset=1.5",
            "offset=9007199254740992",
            "offset=99999999999999999999999",
            "order=up",
            "order_by=secret",
            "order_by=",
            "order_by=_id%3B--",
            "x=%zz",
            "x=%c3%28",
        ] {
            let answer = till.api.get(&format!("{path}?{query}"));
            let message = answer.refused(400, "E_FAILED_SCHEMA_VALIDATION");
            assert!(message.starts_with("querystring"), "{message}");
        }
        let states = if path.contains("client") && !path.ends_with("tx") {
            "state=x"
        } else {
            "states=x"
        };
        till.api
            .get(&format!("{path}?{states}"))
            .refused(400, "E_FAILED_SCHEMA_VALIDATION");
    }
}

#[test]
fn transactions_belong_to_the_client_of_their_latest_revision() {
    let till = Till::new(shared());
    let second = new_id();
    till.register_as(&second, "KASSE-2").ok();
    let tx = till.start();
    let of = |client: &str| {
        till.api
            .get(&till.path(&format!("/client/{client}/tx")))
            .ok()["count"]
            .clone()
    };
    assert_eq!((of(&till.client), of(&second)), (json!(1), json!(0)));
    till.step_of(&second, &tx, 2, "FINISHED", Some(order()))
        .ok();
    assert_eq!((of(&till.client), of(&second)), (json!(0), json!(1)));
}

#[test]
fn nobody_sees_the_things_of_others() {
    on_both(|server| {
        let till = busy_till(server);
        let stranger = Api::new(server);
        for path in ["/tss", "/client", "/tx", "/export"] {
            let list = stranger.get(path).ok();
            assert_eq!((&list["count"], &list["data"]), (&json!(0), &json!([])));
        }
        // A second TSS of the same owner is in the common lists alone.
        let second = Till::new_by(&till.api);
        second.sell();
        assert_eq!(till.api.get("/tss").ok()["count"], 2);
        assert_eq!(till.api.get("/tx").ok()["count"], 4);
        assert_eq!(till.api.get(&second.path("/tx")).ok()["count"], 1);
        assert_eq!(till.api.get("/client").ok()["count"], 2);
        assert_eq!(till.api.get(&second.path("/client")).ok()["count"], 1);
        assert_eq!(till.api.get(&second.path("/export")).ok()["count"], 0);
    });
}
