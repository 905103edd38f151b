use super::super::query::Query;
use super::*;
use crate::ledger::{ExportRow, ExportState};
use crate::sma::Metadata;
use crate::terms::{Environment, SeTime, SignatureCounter};

const ID: &str = "4b6d9ec5-04ad-40b5-a0d1-5a2a2c0e2b54";
const TSS: &str = "ae35a829-7bb2-4261-9490-bcf3c8a3dc5e";

fn time(seconds: i64) -> SeTime {
    SeTime::try_from(seconds).unwrap()
}

fn requested() -> ExportRow {
    ExportRow {
        tss: TSS.parse().unwrap(),
        id: ID.parse().unwrap(),
        state: ExportState::Pending,
        filter: String::new(),
        selection: None,
        messages: None,
        messages_max: 1_000_000,
        counter_at_request: SignatureCounter::new(9),
        time_request: time(1_649_086_621),
        info_csv: Vec::new(),
        certificates: Vec::new(),
        time_start: None,
        time_end: None,
        time_expiration: None,
        time_error: None,
        exception: None,
        metadata: Metadata::default(),
    }
}

#[test]
fn a_requested_export_is_answered_as_recorded() {
    // HTTP dialect §9; ids and version are ours.
    assert_eq!(
        export(&requested(), None, Environment::Test).to_string(),
        format!(
            r#"{{"state":"PENDING","time_request":1649086621,"metadata":{{}},"tss_id":"{TSS}","_type":"EXPORT","_id":"{ID}","_env":"TEST","_version":"2.2.2"}}"#
        )
    );
}

#[test]
fn a_completed_export_tells_its_times_in_the_recorded_order() {
    let row = ExportRow {
        state: ExportState::Completed,
        time_start: Some(time(1_649_086_622)),
        time_end: Some(time(1_649_086_623)),
        time_expiration: Some(time(1_649_173_023)),
        ..requested()
    };
    assert_eq!(
        export(&row, None, Environment::Live).to_string(),
        format!(
            r#"{{"state":"COMPLETED","time_request":1649086621,"time_start":1649086622,"time_end":1649086623,"time_expiration":1649173023,"metadata":{{}},"tss_id":"{TSS}","_type":"EXPORT","_id":"{ID}","_env":"LIVE","_version":"2.2.2"}}"#
        )
    );
}

#[test]
fn a_failed_export_tells_why() {
    let row = ExportRow {
        state: ExportState::Error,
        time_error: Some(time(1_649_086_625)),
        exception: Some("E_TOO_MANY_RECORDS".to_owned()),
        ..requested()
    };
    let answer = export(&row, None, Environment::Test);
    assert_eq!(answer["state"], "ERROR");
    assert_eq!(answer["time_error"], 1_649_086_625);
    assert_eq!(answer["exception"], "E_TOO_MANY_RECORDS");
}

#[track_caller]
fn filters(query_string: &str) -> Result<String, (&'static str, String)> {
    export_request(&Query::parse(query_string).unwrap())
        .map(|request| request.to_string())
        .map_err(|error| (error.code.text().unwrap(), error.message))
}

#[test]
fn filters_stand_in_the_query_whatever_else_is_there() {
    assert_eq!(filters(""), Ok(String::new()));
    // As fiskaltrust's middleware writes it: two question marks.
    assert_eq!(
        filters("?end_transaction_number=1&start_transaction_number=1&x=y"),
        Ok("start_transaction_number=1&end_transaction_number=1".to_owned())
    );
    let all = format!(
        "client_id={TSS}&start_date=1&end_date=2&start_signature_counter=3&end_signature_counter=4&maximum_number_records=5"
    );
    assert_eq!(filters(&all), Ok(all));
}

#[test]
fn filters_that_do_not_fit_are_refused_by_name() {
    let invalid = |message: &str| Err(("E_FAILED_SCHEMA_VALIDATION", message.to_owned()));
    assert_eq!(
        filters("client_id=1"),
        invalid("querystring.client_id should match format \"uuid\"")
    );
    assert_eq!(
        filters("start_date=yesterday"),
        invalid("querystring.start_date should match pattern \"^\\d+$\"")
    );
    assert_eq!(
        filters("end_date=1&end_date=2"),
        invalid("querystring.end_date should be given once")
    );
    let refused = filters("start_date=2&end_date=1").unwrap_err();
    assert_eq!(
        refused,
        (
            "E_PARAMETER_MISMATCH",
            "start_date is after end_date".to_owned()
        )
    );
}
