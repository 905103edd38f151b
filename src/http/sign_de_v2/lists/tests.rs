use super::super::query::Query;
use super::*;
use crate::ledger::{ClientFilter, ExportState, ListOrder, Page, TransactionFilter};
use crate::sma::{ClientState, TransactionState, TssState};
use crate::terms::{ClientSerial, Environment, TssId};
use serde_json::json;

const TSS: &str = "ae35a829-7bb2-4261-9490-bcf3c8a3dc5e";

fn query(text: &str) -> Query {
    Query::parse(text).unwrap()
}

fn tss() -> Option<TssId> {
    Some(TSS.parse().unwrap())
}

#[test]
fn a_list_without_parameters_is_the_first_hundred_of_everything() {
    let list = transaction_list(&query(""), tss(), None).unwrap();
    assert_eq!(
        list.page,
        Page {
            limit: 100,
            offset: 0,
            order_by: "number",
            order: ListOrder::Ascending,
        }
    );
    assert_eq!(
        list.filter,
        Some(TransactionFilter {
            tss: tss(),
            client: None,
            states: vec![],
        })
    );
    assert_eq!(tss_list(&query("")).unwrap().page.order_by, "time_creation");
    assert_eq!(
        client_list(&query(""), None).unwrap().page.order_by,
        "time_creation"
    );
    assert_eq!(
        export_list(&query(""), None).unwrap().page.order_by,
        "time_request"
    );
}

#[test]
fn a_page_can_be_chosen() {
    let list = export_list(
        &query("?limit=1&offset=20&order=desc&order_by=state&show_deleted=false"),
        None,
    )
    .unwrap();
    assert_eq!(
        list.page,
        Page {
            limit: 1,
            offset: 20,
            order_by: "state",
            order: ListOrder::Descending,
        }
    );
}

#[test]
fn states_come_in_every_way_tills_write_lists() {
    let expected = vec![TransactionState::Active, TransactionState::Finished];
    for text in [
        "states=ACTIVE&states=FINISHED",
        "states[]=ACTIVE&states[]=FINISHED",
        "states[0]=ACTIVE&states[1]=FINISHED",
        "states%5B0%5D=ACTIVE&states%5B1%5D=FINISHED",
        "states%5b%5d=ACTIVE&states=FINISHED&states=ACTIVE&statesX=1",
    ] {
        let list = transaction_list(&query(text), None, None).unwrap();
        assert_eq!(list.filter.unwrap().states, expected, "{text}");
    }
}

#[test]
fn states_that_never_occur_match_nothing_rather_than_everything() {
    assert_eq!(tss_list(&query("states=DELETED")).unwrap().filter, None);
    let some = tss_list(&query("states=DELETED&states=INITIALIZED")).unwrap();
    assert_eq!(some.filter.unwrap().states, [TssState::Initialized]);
    assert_eq!(
        export_list(&query("states[]=EXPIRED"), None)
            .unwrap()
            .filter,
        None
    );
    let done = export_list(&query("states=COMPLETED"), None).unwrap();
    assert_eq!(done.filter.unwrap().states, [ExportState::Completed]);
}

#[test]
fn clients_are_found_by_serial_number_and_state() {
    let list = client_list(&query("serial_number=KASSE+1&state=DEREGISTERED"), tss()).unwrap();
    assert_eq!(
        list.filter,
        Some(ClientFilter {
            tss: tss(),
            state: Some(ClientState::Deregistered),
            serial: Some(ClientSerial::try_from("KASSE 1").unwrap()),
        })
    );
    // No client can have this one.
    let none = client_list(&query("serial_number=a%2Fb"), None).unwrap();
    assert_eq!(none.filter, None);
}

#[test]
fn parameters_that_do_not_fit_are_refused_by_name() {
    for (text, message) in [
        ("limit=0", "querystring.limit should be >= 1"),
        ("limit=101", "querystring.limit should be <= 100"),
        ("limit=ten", "querystring.limit should be integer"),
        ("offset=-1", "querystring.offset should be integer"),
        (
            "offset=18446744073709551616",
            "querystring.offset should be <= 9007199254740991",
        ),
        (
            "order=up",
            "querystring.order should be equal to one of the allowed values",
        ),
        (
            "order_by=client_id",
            "querystring.order_by should be equal to one of the allowed values",
        ),
        (
            "states=DONE",
            "querystring.states should be equal to one of the allowed values",
        ),
        ("limit=1&limit=2", "querystring.limit should be given once"),
    ] {
        let refused = transaction_list(&query(text), None, None).unwrap_err();
        assert_eq!(refused.code, "E_FAILED_SCHEMA_VALIDATION");
        assert_eq!(refused.message, message);
    }
    assert!(client_list(&query("state=ACTIVE"), None).is_err());
}

#[test]
fn the_envelope_counts_the_items_of_its_page() {
    let answer = list("TSS_LIST", vec![json!({}), json!({})], Environment::Live);
    assert_eq!(
        answer.to_string(),
        r#"{"data":[{},{}],"count":2,"_type":"TSS_LIST","_env":"LIVE","_version":"2.2.2"}"#
    );
}
