//! The admin of a TSS: PIN by PUK, log-in, log-out.

use super::client::{Api, PIN, Till, eightfold, new_id, statuses};
use crate::support::server::{TestServer, on_both, shared};
use serde_json::json;
use siegel::terms::Environment;
use std::collections::BTreeMap;

const WRONG_PUK: &str = "ERROR_AUTHENTICATION_FAILED (UNBLOCK_RESULT_FAILED)";

/// A PUK or PIN of the same form that is another one.
fn other_than(secret: &str) -> String {
    let (first, rest) = secret.split_at(1);
    format!("{}{rest}", if first == "1" { "2" } else { "1" })
}

#[test]
fn nobody_is_admin_before_the_tss_is_taken_over() {
    let till = Till::created(shared());
    let code = "E_TSS_NOT_INITIALIZED";
    till.signing(0, || {
        till.set_pin(&till.puk, PIN).refused(400, code);
        till.log_in(PIN).refused(400, code);
        till.register().refused(400, code);
        assert_eq!(till.log_out().ok(), json!({}));
    });
}

#[test]
fn a_pin_that_was_never_set_is_blocked() {
    let till = Till::created(shared());
    till.state("UNINITIALIZED").ok();
    till.signing(0, || till.log_in(PIN).refused(423, "E_ADMIN_PIN_BLOCKED"));
    till.signing(1, || till.set_pin(&till.puk, PIN).ok());
    till.signing(1, || till.log_in(PIN).ok());
}

#[test]
fn a_wrong_pin_signs_one_message_and_the_fifth_blocks() {
    on_both(|server| {
        let till = Till::taken_over(server);
        let wrong = other_than(PIN);
        let wrong_pin = |left: u32| {
            let message = till.signing(1, || {
                till.log_in(&wrong).refused(401, "E_ADMIN_LOGIN_FAILED")
            });
            assert!(message.contains(&format!(" {left} tries")), "{message}");
        };
        // The right one starts the count anew.
        wrong_pin(4);
        till.signing(1, || till.log_in(PIN).ok());
        for left in (0..5).rev() {
            wrong_pin(left);
        }
        for pin in [PIN, &wrong] {
            till.signing(0, || till.log_in(pin).refused(423, "E_ADMIN_PIN_BLOCKED"));
        }
        // A wrong PUK does not help, the right one does.
        let puk = other_than(&till.puk);
        let message = till.signing(1, || {
            till.set_pin(&puk, "654321")
                .refused(401, "E_CHANGE_ADMIN_PIN_FAILED")
        });
        assert_eq!(message, WRONG_PUK);
        till.signing(0, || till.log_in(PIN).refused(423, "E_ADMIN_PIN_BLOCKED"));
        assert_eq!(
            till.signing(1, || till.set_pin(&till.puk, "654321").ok()),
            json!({})
        );
        let message = till.log_in(PIN).refused(401, "E_ADMIN_LOGIN_FAILED");
        assert!(message.contains(" 4 tries"), "{message}");
        till.log_in("654321").ok();
    });
}

#[test]
fn guesses_at_once_are_counted_like_guesses_one_by_one() {
    on_both(|server| {
        let till = Till::taken_over(server);
        let answers = till.signing(5, || eightfold(|| till.log_in("000000")));
        assert_eq!(statuses(&answers), BTreeMap::from([(401, 5), (423, 3)]));
        till.log_in(PIN).refused(423, "E_ADMIN_PIN_BLOCKED");
    });
    // PUKs too: the fourth wrong one makes all others wait.
    let server = TestServer::builder().start();
    let till = Till::taken_over(&server);
    let answers = till.signing(4, || eightfold(|| till.set_pin("0000000000", PIN)));
    assert_eq!(statuses(&answers), BTreeMap::from([(401, 4), (429, 4)]));
}

#[test]
fn the_number_of_tries_can_be_set() {
    let server = TestServer::builder()
        .section("[limits]\npin_retries_max = 2")
        .start();
    let till = Till::taken_over(&server);
    for _ in 0..2 {
        till.log_in("000000").refused(401, "E_ADMIN_LOGIN_FAILED");
    }
    till.log_in(PIN).refused(423, "E_ADMIN_PIN_BLOCKED");
}

#[test]
fn wrong_puks_make_the_next_try_wait_longer_and_never_block_for_good() {
    let server = TestServer::builder().start();
    let till = Till::taken_over(&server);
    let puk = other_than(&till.puk);
    let wrong = || {
        let message = till.signing(1, || {
            till.set_pin(&puk, PIN)
                .refused(401, "E_CHANGE_ADMIN_PIN_FAILED")
        });
        assert_eq!(message, WRONG_PUK);
    };
    for _ in 0..3 {
        wrong();
    }
    for wait in [1_i64, 2, 4, 8] {
        wrong();
        // Nobody looks at any PUK now, not even at the right one.
        for given in [&puk, &till.puk] {
            let answer = till.signing(0, || till.set_pin(given, PIN));
            answer.refused(429, "E_CHANGE_ADMIN_PIN_FAILED");
            assert_eq!(
                answer.header("retry-after"),
                Some(wait.to_string().as_str())
            );
        }
        server.advance(wait);
    }
    till.signing(1, || till.set_pin(&till.puk, "654321").ok());
    // And the delay is forgotten.
    wrong();
    wrong();
    till.log_in("654321").ok();
}

#[test]
fn secrets_that_are_too_short_are_not_even_looked_at() {
    let till = Till::taken_over(shared());
    let path = till.path("/admin");
    for body in [
        json!({}),
        json!({"admin_puk": till.puk}),
        json!({"new_admin_pin": PIN}),
        json!({"admin_puk": "123456789", "new_admin_pin": PIN}),
        json!({"admin_puk": till.puk, "new_admin_pin": "12345"}),
        json!({"admin_puk": till.puk, "new_admin_pin": "1".repeat(257)}),
        json!({"admin_puk": [till.puk], "new_admin_pin": PIN}),
        json!({"admin_puk": till.puk, "new_admin_pin": null}),
    ] {
        till.signing(0, || {
            till.api
                .patch(&path, &body)
                .refused(400, "E_FAILED_SCHEMA_VALIDATION")
        });
    }
    let path = till.path("/admin/auth");
    for body in [
        json!({}),
        json!([]),
        json!({"admin_pin": ""}),
        json!({"admin_pin": true}),
        json!({"admin_pin": {"a": 1}}),
    ] {
        till.signing(0, || {
            till.api
                .post(&path, &body)
                .refused(400, "E_FAILED_SCHEMA_VALIDATION")
        });
    }
}

#[test]
fn a_pin_may_be_sent_as_a_number() {
    let till = Till::created(shared());
    till.state("UNINITIALIZED").ok();
    let body = json!({"admin_puk": till.puk, "new_admin_pin": 123_456});
    till.api.patch(&till.path("/admin"), &body).ok();
    let body = json!({"admin_pin": 123_456});
    till.api.post(&till.path("/admin/auth"), &body).ok();
    till.log_in("123456").ok();
}

#[test]
fn a_login_belongs_to_one_tss_and_one_session() {
    on_both(|server| {
        let till = Till::taken_over(server);
        // Another TSS of the same token.
        let second = Till::created_by(&till.api);
        second.state("UNINITIALIZED").ok();
        second.signing(0, || second.register().refused(401, "E_UNAUTHORIZED"));
        // Another key of the same organisation.
        let key = server.api_key(till.api.organization, Environment::Test);
        let colleague = Till {
            api: Api::log_in(server, &key),
            client: new_id(),
            serial: "KASSE-2".to_owned(),
            ..till.clone()
        };
        colleague.signing(0, || {
            colleague.register().refused(401, "E_UNAUTHORIZED");
            assert_eq!(colleague.log_out().ok(), json!({}));
        });
        // The till's own login was not touched by that.
        till.register().ok();
    });
}

#[test]
fn a_log_out_signs_once_and_is_harmless_afterwards() {
    let till = Till::taken_over(shared());
    assert_eq!(till.signing(1, || till.log_out().ok()), json!({}));
    assert_eq!(till.signing(0, || till.log_out().ok()), json!({}));
    till.signing(0, || till.register().refused(401, "E_UNAUTHORIZED"));
    till.signing(0, || {
        till.state("INITIALIZED").refused(401, "E_UNAUTHORIZED")
    });
    till.log_in(PIN).ok();
    let path = till.path("/admin/logout");
    till.signing(1, || till.api.post(&path, &json!({"none": "none"})).ok());
    for body in [&b""[..], b"[]", b"{", b"\xff"] {
        till.api.call("POST", &path, Some(body), &[]).ok();
    }
}

#[test]
fn a_new_pin_ends_the_login_of_every_session() {
    on_both(|server| {
        let till = Till::new(server);
        let other = server.api_key(till.api.organization, Environment::Test);
        let other = Till {
            api: Api::log_in(server, &other),
            ..till.clone()
        };
        let client = till.path(&format!("/client/{}", till.client));
        let writes = |till: &Till| till.api.patch(&client, &json!({"state": "REGISTERED"}));
        // By another session, and by the one that is logged in.
        for who in [&other, &till] {
            till.log_in(PIN).ok();
            writes(&till).ok();
            who.set_pin("0000000000", PIN)
                .refused(401, "E_CHANGE_ADMIN_PIN_FAILED");
            writes(&till).ok();
            till.signing(1, || who.set_pin(&till.puk, PIN).ok());
            till.signing(0, || {
                for till in [&till, &other] {
                    writes(till).refused(401, "E_UNAUTHORIZED");
                }
                till.log_out().ok();
            });
        }
        other.log_in(PIN).ok();
        writes(&other).ok();
    });
}
