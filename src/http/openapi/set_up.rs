//! Operations that every installation starts with: health, login, TSSs and their admin.

use super::answers::{Metadata, Nothing, Tokens, Tss, TssCreated};
use super::lists::{Live, Ready, TssList};
use super::operation::{Described, Example, TSS, page};
use super::requests::{
    AdminLogin, Ignored, Login, MetadataPatch, PinChange, TssUpdate, WithMetadata,
};
use super::{Page, Specification};
use crate::http::problem_codes::ErrorCode as E;
use crate::http::sign_de_v2::VERSION;
use serde_json::{Value, json};
use utoipa::openapi::HttpMethod::{Get, Patch, Post, Put};
use utoipa::openapi::Required::{False, True};

const NODE: &str = "Node";
const AUTH: &str = "Authentication";
const TSSS: &str = "TSS";
const ADMIN: &str = "Admin";

/// A public key, a certificate's beginning and a serial number, for examples.
pub(super) const PUBLIC_KEY: &str =
    "BAVHkwS3tptbKRK2Z8E6a8u8N/Qkw/6gBr89NivYZciYJVpF5uQPQTpgb64I3STVhUpLVc/ZCZOz7eaBol+qUnY=";
pub(super) const SERIAL_NUMBER: &str =
    "2be721cf1a255afd12626533e251fe7b3e3c8af625b9f12803918a9bb1952867";
const CERTIFICATE: &str = "MIIBuTCCAUCgAwIBAgIU";

pub(super) fn operations() -> Vec<Described> {
    [node(), auth(), tss(), admin()]
        .into_iter()
        .flatten()
        .collect()
}

fn node() -> Vec<Described> {
    let live = json!({"status": "live"});
    let ready = json!({
        "status": "ready", "ledger": "answers", "tokens": {"main": {
            "signs": true, "state": "ready", "role": "active", "label": "siegel-test", "generation": 1,
        }},
        "witnesses": "know no more than the ledger", "stopped_tss": 0,
        "ledger_check": {"rounds": 1, "messages": 4711, "findings": 0},
    });
    vec![
        Described::open(
            Get,
            "/health/live",
            (NODE, "live"),
            "Whether the process answers",
        )
        .never_fails()
        .answer::<Live>("It does.", vec![("call", "", live)]),
        Described::open(
            Get,
            "/health/ready",
            (NODE, "ready"),
            "Whether the node can sign",
        )
        .about("The ledger answers, was compared with its witnesses, nothing that was signed waits for its \
                commit, and at least one active token signs (a setting: all of them, or none). A look is \
                believed for a second; what hangs is waited for no longer than two, and counts as not working.")
        .never_fails()
        .answer::<Ready>("It can.", vec![("call", "", ready)])
        .not_now::<Ready>("It cannot."),
        Described::open(
            Get,
            "/api/v2/_spec.json",
            (NODE, "specification"),
            "This document",
        )
        .never_fails()
        .answer::<Specification>("OpenAPI 3.1.", Vec::new()),
        Described::open(
            Get,
            "/api/v2/_docs",
            (NODE, "docs"),
            "This document as a page",
        )
        .about("Needs no network beside this server.")
        .never_fails()
        .bare("A page.", &["text/html; charset=utf-8"]),
        Described::open(
            Get,
            "/api/v2/_docs/{file}",
            (NODE, "docsFile"),
            "A part of that page",
        )
        .never_fails()
        .errors(&[E::NotFound])
        .bare("The file.", Page::CONTENT_TYPES),
    ]
}

fn auth() -> Vec<Described> {
    let key =
        json!({"api_key": "test_5w7u1ivvtqn9vcbq_till", "api_secret": "oqpZ8SjPNcNqSdmVhVRbSm"});
    let token = json!({"refresh_token": "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl"});
    let tokens = json!({
        "access_token": "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl",
        "access_token_claims": {
            "env": "TEST", "organization_id": "0f8b5a3e-7c1d-4e92-a6b4-3d2c1b0a9f8e",
        },
        "access_token_expires_in": 86400,
        "access_token_expires_at": 1_787_164_699,
        "refresh_token": "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl",
        "refresh_token_expires_in": 172_800,
        "refresh_token_expires_at": 1_787_251_099,
    });
    let about = "Needs no token. A second login with the same key gives the same tokens, which have less time \
                 left; a refresh gives new ones.";
    vec![
        Described::open(Post, "/api/v2/auth", (AUTH, "logIn"), "Log in")
            .about(about)
            .errors(&[E::Unauthorized, E::TooManyRequests])
            .body::<Login>(
                True,
                vec![
                    ("key", "With key and secret", key),
                    ("refresh", "With a refresh token", token),
                ],
            )
            .answer::<Tokens>(
                "Tokens.",
                vec![("key", "", tokens.clone()), ("refresh", "", tokens)],
            ),
    ]
}

fn created() -> Value {
    json!({
        "certificate": CERTIFICATE,
        "serial_number": SERIAL_NUMBER,
        "public_key": PUBLIC_KEY,
        "signature_algorithm": "ecdsa-plain-SHA256",
        "signature_timestamp_format": "unixTime",
        "transaction_data_encoding": "UTF-8",
        "max_number_registered_clients": 199,
        "max_number_active_transactions": 2000,
        "supported_update_variants": "SIGNED",
        "metadata": {"shop": "Bäckerei"},
        "_id": TSS,
        "_type": "TSS",
        "_env": "TEST",
        "_version": VERSION,
        "time_creation": 1_787_078_290,
        "admin_puk": "0123456789",
        "state": "CREATED",
    })
}

fn retrieved() -> Value {
    json!({
        "certificate": CERTIFICATE,
        "serial_number": SERIAL_NUMBER,
        "public_key": PUBLIC_KEY,
        "signature_algorithm": "ecdsa-plain-SHA256",
        "signature_timestamp_format": "unixTime",
        "transaction_data_encoding": "UTF-8",
        "max_number_registered_clients": 199,
        "max_number_active_transactions": 2000,
        "supported_update_variants": "SIGNED",
        "metadata": {"shop": "Bäckerei"},
        "_id": TSS,
        "_type": "TSS",
        "_env": "TEST",
        "_version": VERSION,
        "time_creation": 1_787_078_290,
        "description": "Shop 1",
        "state": "INITIALIZED",
        "signature_counter": "27",
        "transaction_counter": "1",
        "number_registered_clients": 1,
        "number_active_transactions": 0,
        "time_uninit": 1_787_078_291,
        "time_init": 1_787_078_292,
        "bsi_certification_id": "",
    })
}

/// Of the answer to a change: the same, in another order.
fn updated() -> Value {
    const ORDER: [&str; 24] = [
        "description",
        "state",
        "certificate",
        "serial_number",
        "public_key",
        "signature_counter",
        "signature_algorithm",
        "signature_timestamp_format",
        "transaction_counter",
        "transaction_data_encoding",
        "number_registered_clients",
        "max_number_registered_clients",
        "number_active_transactions",
        "max_number_active_transactions",
        "supported_update_variants",
        "metadata",
        "_id",
        "_type",
        "_env",
        "_version",
        "time_creation",
        "time_uninit",
        "time_init",
        "bsi_certification_id",
    ];
    let tss = retrieved();
    let fields = ORDER.iter().filter_map(|name| {
        let value = tss.get(*name)?;
        Some(((*name).to_owned(), value.clone()))
    });
    Value::Object(fields.collect())
}

fn tss() -> Vec<Described> {
    const ONE: &str = "/api/v2/tss/{tss_id}";
    const METADATA: &str = "/api/v2/tss/{tss_id}/metadata";
    const STATES: &[&str] = &[
        "CREATED",
        "UNINITIALIZED",
        "INITIALIZED",
        "DISABLED",
        "DEFECTIVE",
        "DELETED",
        "EVICTED",
    ];
    const ORDER_BY: &[&str] = &[
        "time_creation",
        "description",
        "state",
        "time_init",
        "time_disable",
    ];
    let found = [E::FailedSchemaValidation, E::TssNotFound];
    let list = json!({
        "data": [retrieved()], "count": 1, "_type": "TSS_LIST", "_env": "TEST", "_version": VERSION,
    });
    let metadata = json!({"shop": "Bäckerei", "till_room": "front"});
    vec![
        Described::new(Get, "/api/v2/tss", (TSSS, "listTss"), "List TSSs")
            .query(page(ORDER_BY, STATES))
            .answer::<TssList>("A page of TSSs.", vec![("call", "", list)]),
        Described::new(Put, ONE, (TSSS, "createTss"), "Make a TSS")
            .about("The answer is the only one that shows the PUK, which the admin's PIN is set with. The same \
                    call again shows it again, as long as the TSS is CREATED.")
            .errors(&[E::FailedSchemaValidation, E::TssConflict, E::NoDevice])
            .body::<WithMetadata>(
                False,
                vec![("new", "With a text for its owner", json!({"metadata": {"shop": "Bäckerei"}}))],
            )
            .answer::<TssCreated>("The TSS and its PUK.", vec![("new", "", created())]),
        Described::new(Get, ONE, (TSSS, "retrieveTss"), "Read a TSS")
            .errors(&found)
            .answer::<Tss>("The TSS.", vec![("call", "", retrieved())]),
        Described::new(Patch, ONE, (TSSS, "updateTss"), "Change the state of a TSS")
            .about("CREATED → UNINITIALIZED → INITIALIZED → DISABLED. Every change but the first needs the \
                    admin to be logged in. Nothing unknown may be in the body.")
            .errors(&[
                E::Parser,
                E::TssNotFound,
                E::IllegalTssStateChange,
                E::TssDisabled,
                E::TssDefective,
                E::AdminNotLoggedIn,
                E::CertificateExpired,
            ])
            .body::<TssUpdate>(
                True,
                vec![
                    ("take_over", "The owner has the PUK", json!({"state": "UNINITIALIZED"})),
                    (
                        "initialize",
                        "Ready for transactions",
                        json!({"state": "INITIALIZED", "description": "Shop 1"}),
                    ),
                    ("disable", "For good", json!({"state": "DISABLED"})),
                ],
            )
            .answer::<Tss>("The TSS as it is now.", vec![("initialize", "", updated())]),
        Described::new(Get, METADATA, (TSSS, "retrieveTssMetadata"), "Read the metadata of a TSS")
            .errors(&found)
            .answer::<Metadata>("All pairs.", vec![("call", "", json!({"shop": "Bäckerei"}))]),
        Described::new(Patch, METADATA, (TSSS, "updateTssMetadata"), "Change the metadata of a TSS")
            .errors(&found)
            .errors(&[E::TssDefective])
            .body::<MetadataPatch>(False, patches())
            .answer::<Metadata>("All pairs as they are now.", vec![("merge", "", metadata)]),
    ]
}

/// Examples of metadata to be merged.
pub(super) fn patches() -> Vec<Example> {
    vec![
        (
            "merge",
            "Adds or changes a pair",
            json!({"till_room": "front"}),
        ),
        ("remove", "Removes a pair", json!({"till_room": ""})),
    ]
}

fn admin() -> Vec<Described> {
    let found = [E::Parser, E::TssNotFound, E::TssDefective];
    let in_time = [E::TssNotInitialized, E::TssDisabled];
    let pin = json!({"admin_puk": "0123456789", "new_admin_pin": "123456"});
    let done = |name| vec![(name, "", json!({}))];
    vec![
        Described::new(
            Patch,
            "/api/v2/tss/{tss_id}/admin",
            (ADMIN, "changeAdminPin"),
            "Set the admin's PIN with the PUK",
        )
        .about("A wrong PUK is signed into the log. From the fourth wrong one on, the next is looked at only \
                after a delay, which grows.")
        .errors(&found)
        .errors(&in_time)
        .errors(&[E::WrongPuk, E::PukDelayed])
        .body::<PinChange>(True, vec![("set", "The first PIN", pin)])
        .answer::<Nothing>("Done.", done("set")),
        Described::new(
            Post,
            "/api/v2/tss/{tss_id}/admin/auth",
            (ADMIN, "logAdminIn"),
            "Log the admin in",
        )
        .about("For this TSS and this token. A wrong PIN is signed into the log; the fifth in a row blocks it.")
        .errors(&found)
        .errors(&in_time)
        .errors(&[E::AdminLoginFailed, E::AdminPinBlocked])
        .body::<AdminLogin>(True, vec![("log_in", "", json!({"admin_pin": "123456"}))])
        .answer::<Nothing>("Done.", done("log_in")),
        Described::new(
            Post,
            "/api/v2/tss/{tss_id}/admin/logout",
            (ADMIN, "logAdminOut"),
            "Log the admin out",
        )
        .about("Always harmless. The body is not looked at.")
        .errors(&found)
        .errors(&[E::TssDisabled])
        .body::<Ignored>(False, vec![("log_out", "", json!({}))])
        .answer::<Nothing>("Done.", done("log_out")),
    ]
}
