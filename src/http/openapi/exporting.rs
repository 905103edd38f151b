//! Operations of exports.

use super::answers::{Export, Metadata};
use super::lists::ExportList;
use super::operation::{CLIENT, Described, EXPORT, TSS, integer, page, query};
use super::requests::{MetadataPatch, WithMetadata};
use super::set_up::patches;
use crate::http::problem_codes::ErrorCode as E;
use crate::http::sign_de_v2::VERSION;
use serde_json::{Value, json};
use utoipa::openapi::HttpMethod::{Delete, Get, Patch, Put};
use utoipa::openapi::Required::False;
use utoipa::openapi::path::Parameter;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};

const EXPORTS: &str = "Exports";
const ONE: &str = "/api/v2/tss/{tss_id}/export/{export_id}";

/// Greatest number in a filter.
const NUMBER_MAX: u64 = (1 << 53) - 1;

fn export(state: &str, ended: bool) -> Value {
    let mut export = json!({"state": state, "time_request": 1_787_078_300});
    if let (Some(fields), true) = (export.as_object_mut(), ended) {
        for (name, time) in [
            ("time_start", 1_787_078_300),
            ("time_end", 1_787_078_301),
            ("time_expiration", 1_787_683_101),
        ] {
            fields.insert(name.to_owned(), json!(time));
        }
    }
    let rest = json!({
        "metadata": {},
        "tss_id": TSS,
        "_type": "EXPORT",
        "_id": EXPORT,
        "_env": "TEST",
        "_version": VERSION,
    });
    if let (Some(fields), Value::Object(rest)) = (export.as_object_mut(), rest) {
        fields.extend(rest);
    }
    export
}

fn filters() -> Vec<Parameter> {
    let uuid = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)))
        .build();
    let number = |name, text| query(name, text, integer(0, NUMBER_MAX));
    vec![
        query(
            "client_id",
            &format!("Only this client, such as {CLIENT}."),
            uuid,
        ),
        number("transaction_number", "Only this transaction."),
        number(
            "start_transaction_number",
            "Only transactions from this number on.",
        ),
        number(
            "end_transaction_number",
            "Only transactions up to this number.",
        ),
        number(
            "start_date",
            "Only messages from this time on, in unix seconds.",
        ),
        number(
            "end_date",
            "Only messages up to this time, in unix seconds.",
        ),
        number(
            "start_signature_counter",
            "Only messages from this counter on.",
        ),
        number("end_signature_counter", "Only messages up to this counter."),
        query(
            "maximum_number_records",
            "More messages than this make the export fail; 1,000,000 by default.",
            integer(1, 1_000_000),
        ),
    ]
}

pub(super) fn operations() -> Vec<Described> {
    [lists(), one(), metadata()].into_iter().flatten().collect()
}

fn lists() -> Vec<Described> {
    const STATES: &[&str] = &[
        "PENDING",
        "WORKING",
        "COMPLETED",
        "CANCELLED",
        "ERROR",
        "EXPIRED",
        "DELETED",
    ];
    const ORDER_BY: &[&str] = &[
        "time_request",
        "state",
        "time_start",
        "time_end",
        "time_expiration",
        "time_error",
    ];
    let exports = || {
        let data = [export("COMPLETED", true)];
        let list = json!({
            "data": data, "count": 1, "_type": "EXPORT_LIST", "_env": "TEST", "_version": VERSION,
        });
        vec![("call", "", list)]
    };
    vec![
        Described::new(
            Get,
            "/api/v2/export",
            (EXPORTS, "listAllExports"),
            "List the exports of all TSSs",
        )
        .query(page(ORDER_BY, STATES))
        .answer::<ExportList>("A page of exports.", exports()),
        Described::new(
            Get,
            "/api/v2/tss/{tss_id}/export",
            (EXPORTS, "listExports"),
            "List exports",
        )
        .query(page(ORDER_BY, STATES))
        .errors(&[E::TssNotFound])
        .answer::<ExportList>("A page of exports.", exports()),
    ]
}

fn one() -> Vec<Described> {
    let found = [E::FailedSchemaValidation, E::TssNotFound, E::ExportNotFound];
    vec![
        Described::new(Put, ONE, (EXPORTS, "triggerExport"), "Ask for an export")
            .about("Without filters: everything. Filters stand in the query and are combined. System and audit \
                    messages between the first and the last transaction message belong to it.")
            .query(filters())
            .errors(&[
                E::ParameterMismatch,
                E::TssNotFound,
                E::UnknownClient,
                E::UnknownTransaction,
                E::DuplicateExport,
                E::IllegalStateForExport,
                E::ExportRunning,
                E::TooManyExports,
            ])
            .body::<WithMetadata>(False, vec![("all", "Everything", json!({}))])
            .answer::<Export>("The export, which waits.", vec![("all", "", export("PENDING", false))]),
        Described::new(Get, ONE, (EXPORTS, "retrieveExport"), "Read an export")
            .errors(&found)
            .answer::<Export>("The export.", vec![("call", "", export("COMPLETED", true))]),
        Described::new(Delete, ONE, (EXPORTS, "cancelExport"), "Cancel an export")
            .errors(&found)
            .errors(&[E::CancelExport])
            .answer::<Export>("The export, cancelled.", Vec::new()),
        Described::new(
            Get,
            "/api/v2/tss/{tss_id}/export/{export_id}/file",
            (EXPORTS, "downloadExport"),
            "Download an export",
        )
        .about("The same bytes each time, until the export expires.")
        .errors(&found)
        .errors(&[E::ExportNotCompleted, E::ExportWithoutFile])
        .bare("A TAR archive (TR-03153-1).", &["application/x-tar"]),
    ]
}

fn metadata() -> Vec<Described> {
    const METADATA: &str = "/api/v2/tss/{tss_id}/export/{export_id}/metadata";
    let found = [E::FailedSchemaValidation, E::TssNotFound, E::ExportNotFound];
    vec![
        Described::new(
            Get,
            METADATA,
            (EXPORTS, "retrieveExportMetadata"),
            "Read the metadata of an export",
        )
        .errors(&found)
        .answer::<Metadata>("All pairs.", vec![("call", "", json!({}))]),
        Described::new(
            Patch,
            METADATA,
            (EXPORTS, "updateExportMetadata"),
            "Change the metadata of an export",
        )
        .errors(&found)
        .body::<MetadataPatch>(False, patches())
        .answer::<Metadata>(
            "All pairs as they are now.",
            vec![("merge", "", json!({"till_room": "front"}))],
        ),
    ]
}
