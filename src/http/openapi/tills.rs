//! Operations of tills: clients, transactions, receipts.

use super::answers::{Client, ClientRegistered, Metadata, Transaction};
use super::lists::{ClientList, PrintedReceipt, TransactionList};
use super::operation::{CLIENT, Described, TSS, TX, integer, page, query, word};
use super::requests::{ClientRegistration, ClientUpdate, MetadataPatch, TransactionRequest};
use super::set_up::{PUBLIC_KEY, SERIAL_NUMBER, patches};
use crate::http::problem_codes::ErrorCode as E;
use crate::http::sign_de_v2::VERSION;
use crate::terms::COUNTER_MAX;
use serde_json::{Value, json};
use utoipa::openapi::HttpMethod::{Get, Patch, Put};
use utoipa::openapi::Required::{False, True};
use utoipa::openapi::path::Parameter;
use utoipa::openapi::schema::{ObjectBuilder, Type};

const CLIENTS: &str = "Clients";
const TRANSACTIONS: &str = "Transactions";

const ONE: &str = "/api/v2/tss/{tss_id}/tx/{tx_id_or_number}";
const SIGNATURE: &str =
    "kHCYf4/f/zz+51m5XlzLtuEOFvVyAF3wrzsz+p+iyQcxzICkza8O9m/P45pRDQRWwEvxYzYZQWR3wGqEsSf2iA==";

pub(super) fn operations() -> Vec<Described> {
    [clients(), transactions(), reads(), receipts()]
        .into_iter()
        .flatten()
        .collect()
}

fn list(kind: &str, item: &Value) -> Value {
    json!({"data": [item], "count": 1, "_type": kind, "_env": "TEST", "_version": VERSION})
}

fn client() -> Value {
    json!({
        "serial_number": "TILL-1",
        "state": "REGISTERED",
        "tss_id": TSS,
        "metadata": {},
        "_id": CLIENT,
        "_type": "CLIENT",
        "_env": "TEST",
        "_version": VERSION,
        "time_creation": 1_787_078_293,
        "time_update": 1_787_078_293,
    })
}

fn clients() -> Vec<Described> {
    const ONE: &str = "/api/v2/tss/{tss_id}/client/{client_id}";
    const METADATA: &str = "/api/v2/tss/{tss_id}/client/{client_id}/metadata";
    let found = [E::FailedSchemaValidation, E::TssNotFound, E::ClientNotFound];
    let written = [
        E::Parser,
        E::TssNotFound,
        E::TssNotInitialized,
        E::TssDisabled,
        E::TssDefective,
        E::AdminNotLoggedIn,
        E::ClientLimitReached,
        E::CertificateExpired,
    ];
    let filters = || {
        let text = ObjectBuilder::new().schema_type(Type::String).build();
        let mut parameters = page(&["time_creation", "serial_number"], &[]);
        parameters.push(query(
            "serial_number",
            "Only the client with this one.",
            text,
        ));
        let states = word(&["REGISTERED", "DEREGISTERED"]);
        parameters.push(query("state", "Only clients in this state.", states));
        parameters
    };
    let clients = || vec![("call", "", list("CLIENT_LIST", &client()))];
    let registered = json!({
        "_id": CLIENT,
        "state": "REGISTERED",
        "serial_number": "TILL-1",
        "time_creation": 1_787_078_293,
        "tss_id": TSS,
        "_type": "CLIENT",
        "_env": "TEST",
        "_version": VERSION,
    });
    vec![
        Described::new(Get, "/api/v2/client", (CLIENTS, "listAllClients"), "List the clients of all TSSs")
            .query(filters())
            .answer::<ClientList>("A page of clients.", clients()),
        Described::new(Get, "/api/v2/tss/{tss_id}/client", (CLIENTS, "listClients"), "List clients")
            .query(filters())
            .errors(&[E::TssNotFound])
            .answer::<ClientList>("A page of clients.", clients()),
        Described::new(Put, ONE, (CLIENTS, "registerClient"), "Register a client")
            .about("Needs the admin to be logged in. Ids are unique in the whole system, serial numbers at \
                    their TSS.")
            .errors(&written)
            .errors(&[E::IllegalClientSerial, E::ClientConflict])
            .body::<ClientRegistration>(True, vec![("new", "", json!({"serial_number": "TILL-1"}))])
            .answer::<ClientRegistered>("The client.", vec![("new", "", registered)]),
        Described::new(Get, ONE, (CLIENTS, "retrieveClient"), "Read a client")
            .errors(&found)
            .answer::<Client>("The client.", vec![("call", "", client())]),
        Described::new(Patch, ONE, (CLIENTS, "updateClient"), "Deregister a client, or register it again")
            .about("Needs the admin to be logged in.")
            .errors(&written)
            .errors(&[E::ClientNotFound])
            .body::<ClientUpdate>(
                True,
                vec![
                    ("deregister", "It signs no more", json!({"state": "DEREGISTERED"})),
                    ("register_again", "It signs again", json!({"state": "REGISTERED"})),
                ],
            )
            .answer::<Client>("The client as it is now.", vec![("register_again", "", client())]),
        Described::new(Get, METADATA, (CLIENTS, "retrieveClientMetadata"), "Read the metadata of a client")
            .errors(&found)
            .answer::<Metadata>("All pairs.", vec![("call", "", json!({}))]),
        Described::new(Patch, METADATA, (CLIENTS, "updateClientMetadata"), "Change the metadata of a client")
            .errors(&found)
            .errors(&[E::TssDefective])
            .body::<MetadataPatch>(False, patches())
            .answer::<Metadata>(
                "All pairs as they are now.",
                vec![("merge", "", json!({"till_room": "front"}))],
            ),
    ]
}

/// A sale, as a till says it.
fn sale() -> Value {
    json!({"standard_v1": {"receipt": {
        "receipt_type": "RECEIPT",
        "amounts_per_vat_rate": [{"vat_rate": "NORMAL", "amount": "4.20"}],
        "amounts_per_payment_type": [{"payment_type": "NON_CASH", "amount": "4.20"}],
    }}})
}

fn qr_code_data() -> String {
    format!(
        "V0;TILL-1;Kassenbeleg-V1;Beleg^4.20_0.00_0.00_0.00_0.00^4.20:Unbar;1;27;2026-08-18T18:38:19.000Z;\
         2026-08-18T18:38:19.000Z;ecdsa-plain-SHA256;unixTime;{SIGNATURE};{PUBLIC_KEY}"
    )
}

fn finished() -> Value {
    json!({
        "schema": {
            "standard_v1": {"receipt": {
                "amounts_per_payment_type": [
                    {"amount": "4.20", "currency_code": "EUR", "payment_type": "NON_CASH"},
                ],
                "amounts_per_vat_rate": [{"amount": "4.20", "vat_rate": "NORMAL"}],
                "receipt_type": "RECEIPT",
            }},
            "raw": {
                "process_type": "Kassenbeleg-V1",
                "process_data": "QmVsZWdeNC4yMF8wLjAwXzAuMDBfMC4wMF8wLjAwXjQuMjA6VW5iYXI=",
            },
        },
        "state": "FINISHED",
        "tss_id": TSS,
        "tss_serial_number": SERIAL_NUMBER,
        "client_id": CLIENT,
        "client_serial_number": "TILL-1",
        "revision": 2,
        "latest_revision": 2,
        "number": 1,
        "time_start": 1_787_078_299,
        "time_end": 1_787_078_299,
        "_id": TX,
        "_type": "TRANSACTION",
        "_env": "TEST",
        "_version": VERSION,
        "signature": {
            "value": SIGNATURE,
            "algorithm": "ecdsa-plain-SHA256",
            "counter": 27,
            "public_key": PUBLIC_KEY,
        },
        "log": {"operation": "Finish", "timestamp": 1_787_078_299, "timestamp_format": "unixTime"},
        "qr_code_data": qr_code_data(),
    })
}

fn started() -> Value {
    json!({
        "schema": {},
        "state": "ACTIVE",
        "tss_id": TSS,
        "tss_serial_number": SERIAL_NUMBER,
        "client_id": CLIENT,
        "client_serial_number": "TILL-1",
        "revision": 1,
        "latest_revision": 1,
        "number": 1,
        "time_start": 1_787_078_299,
        "_id": TX,
        "_type": "TRANSACTION",
        "_env": "TEST",
        "_version": VERSION,
        "signature": {
            "value": SIGNATURE,
            "algorithm": "ecdsa-plain-SHA256",
            "counter": 26,
            "public_key": PUBLIC_KEY,
        },
        "log": {"operation": "Start", "timestamp": 1_787_078_299, "timestamp_format": "unixTime"},
    })
}

fn revision(text: &str) -> Parameter {
    query("tx_revision", text, integer(1, COUNTER_MAX))
}

fn transactions() -> Vec<Described> {
    let body = |state: &str, schema: Option<Value>| {
        let mut body = json!({"state": state, "client_id": CLIENT});
        if let (Some(fields), Some(schema)) = (body.as_object_mut(), schema) {
            fields.insert("schema".to_owned(), schema);
        }
        body
    };
    let order = json!({"standard_v1": {"order": {"line_items": [
        {"quantity": "2", "text": "Maultaschen", "price_per_unit": "9.50"},
    ]}}});
    let raw = json!({"raw": {"process_type": "SonstigerVorgang", "process_data": "U2NodWJsYWRl"}});
    let number =
        "Revision to be: 1 for the start, which is the default, then the latest one plus 1.";
    vec![
        Described::new(Put, ONE, (TRANSACTIONS, "upsertTransaction"), "Start, update or end a transaction")
            .about("Every step is signed. The same call again gets the same answer and signs nothing, so a \
                    till that got no answer repeats it.")
            .query(vec![revision(number)])
            .errors(&[
                E::Parser,
                E::TssNotFound,
                E::TxNotFound,
                E::UnknownClient,
                E::ClientDeregistered,
                E::TssNotInitialized,
                E::TssDisabled,
                E::TssDefective,
                E::TxUpsert,
                E::TxLimitReached,
                E::TxIllegalTypeChange,
                E::TxNoTypeDefined,
                E::CertificateExpired,
            ])
            .body::<TransactionRequest>(
                True,
                vec![
                    ("start", "A start, with tx_revision=1", body("ACTIVE", None)),
                    ("finish", "A sale, with tx_revision=2", body("FINISHED", Some(sale()))),
                    ("order", "An order, as an update", body("ACTIVE", Some(order))),
                    ("cancel", "The end of what was given up", body("CANCELLED", None)),
                    ("raw", "Anything, ready to be signed", body("FINISHED", Some(raw))),
                ],
            )
            .answer::<Transaction>(
                "The transaction at this revision.",
                vec![("start", "", started()), ("finish", "", finished())],
            ),
    ]
}

fn reads() -> Vec<Described> {
    const METADATA: &str = "/api/v2/tss/{tss_id}/tx/{tx_id_or_number}/metadata";
    const LOG: &str = "/api/v2/tss/{tss_id}/tx/{tx_id_or_number}/log";
    const STATES: &[&str] = &["ACTIVE", "FINISHED", "CANCELLED"];
    let filters = || page(&["number", "state", "time_start", "time_end"], STATES);
    let transactions = || vec![("call", "", list("TRANSACTION_LIST", &finished()))];
    let which = || vec![revision("The latest one by default.")];
    let found = [E::TssNotFound, E::TxNotFound, E::TxRevisionNotFound];
    let of = |id| (TRANSACTIONS, id);
    vec![
        Described::new(
            Get,
            "/api/v2/tx",
            of("listAllTransactions"),
            "List the transactions of all TSSs",
        )
        .query(filters())
        .answer::<TransactionList>("A page of transactions.", transactions()),
        Described::new(
            Get,
            "/api/v2/tss/{tss_id}/tx",
            of("listTransactions"),
            "List transactions",
        )
        .query(filters())
        .errors(&[E::TssNotFound])
        .answer::<TransactionList>("A page of transactions.", transactions()),
        Described::new(
            Get,
            "/api/v2/tss/{tss_id}/client/{client_id}/tx",
            of("listTransactionsOfClient"),
            "List the transactions whose latest step is of a client",
        )
        .query(filters())
        .errors(&[E::TssNotFound, E::ClientNotFound])
        .answer::<TransactionList>("A page of transactions.", transactions()),
        Described::new(Get, ONE, of("retrieveTransaction"), "Read a transaction")
            .query(which())
            .errors(&found)
            .answer::<Transaction>(
                "The transaction at this revision.",
                vec![("call", "", finished())],
            ),
        Described::new(
            Get,
            LOG,
            of("retrieveLog"),
            "Read the log message of a transaction",
        )
        .query(which())
        .errors(&found)
        .bare("The signed message in DER.", &["application/octet-stream"]),
        Described::new(
            Get,
            METADATA,
            of("retrieveTransactionMetadata"),
            "Read the metadata of a transaction",
        )
        .query(which())
        .errors(&found)
        .answer::<Metadata>("All pairs.", vec![("call", "", json!({}))]),
        Described::new(
            Patch,
            METADATA,
            of("updateTransactionMetadata"),
            "Change the metadata of a transaction",
        )
        .errors(&[E::TssNotFound, E::TxNotFound, E::TssDefective])
        .body::<MetadataPatch>(False, patches())
        .answer::<Metadata>(
            "All pairs as they are now.",
            vec![("merge", "", json!({"till_room": "front"}))],
        ),
    ]
}

fn receipts() -> Vec<Described> {
    const RECEIPT: &str = "/api/v2/tss/{tss_id}/tx/{tx_id_or_number}/receipt";
    let paper = json!({
        "state": "FINISHED",
        "number": 1,
        "time_start": 1_787_078_299,
        "time_end": 1_787_078_299,
        "client_serial_number": "TILL-1",
        "tss_serial_number": SERIAL_NUMBER,
        "process_type": "Kassenbeleg-V1",
        "signature_counter": 27,
        "signature_value": SIGNATURE,
        "signature_algorithm": "ecdsa-plain-SHA256",
        "log_time_format": "unixTime",
        "public_key": PUBLIC_KEY,
        "text": "TSE-Transaktion                          1\n",
        "qr_code_data": qr_code_data(),
        "qr_code_svg": "<?xml version=\"1.0\" standalone=\"yes\"?><svg/>",
        "qr_code_png": "iVBORw0KGgo=",
        "tss_id": TSS,
        "_id": TX,
        "_type": "RECEIPT",
        "_env": "TEST",
        "_version": VERSION,
    });
    vec![
        Described::new(Get, RECEIPT, (TRANSACTIONS, "retrieveReceipt"), "Read what has to be on paper")
            .about("An addition of Siegel's own: no client of the dialect knows it. The fields of § 6 \
                    KassenSichV that the TSS knows, the QR code as text, SVG and PNG, and a block of text for \
                    a printer of 42 columns. `Accept` with `image/svg+xml`, `image/png` or `text/plain` gives \
                    the bare thing. Only for transactions that have ended.")
            .query(vec![revision("The latest one by default, which is the only one that can be the end.")])
            .errors(&[E::TssNotFound, E::TxNotFound, E::TxRevisionNotFound])
            .errors(&[E::TxNotEnded, E::QrCodeNotAvailable])
            .answer::<PrintedReceipt>("The receipt.", vec![("call", "", paper)])
            .or_bare(&["image/svg+xml", "image/png", "text/plain; charset=utf-8"]),
    ]
}
