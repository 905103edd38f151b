//! Sessions that outlive their secret, and keys that end: on one node and on two.

use super::client::{Answer, Api, Till, new_id, wait_for};
use crate::support::ledger::postgres;
use crate::support::server::{Credentials, PATIENCE_MS, TestServer, on_both, shared};
use crate::support::token::{TestClock, TestEntropy};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use siegel::http::add_token_secret;
use siegel::ledger::ApiKeyStatus;
use siegel::terms::Clock as _;

/// Longest time a revoked key may go on, in milliseconds.
const REVOKED_MS_MAX: u64 = 1000;

fn login(server: &TestServer, body: &Value) -> Answer {
    Api::new(server).with_token(None).post("/auth", body)
}

fn text(answer: &Value, name: &str) -> String {
    answer[name].as_str().unwrap().to_owned()
}

/// Id of the secret that signed a token.
fn secret_of(token: &str) -> String {
    let (header, _) = token.split_once('.').unwrap();
    let header = URL_SAFE_NO_PAD.decode(header).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

/// As `siegel admin rotate-token-secret` does.
fn rotate(server: &TestServer) -> String {
    let door = server.node().door();
    add_token_secret(&door.store, &door.sealing, &TestEntropy, door.clock.now()).unwrap()
}

fn secrets(server: &TestServer) -> Vec<String> {
    let secrets = server.store().token_secrets().unwrap();
    secrets.into_iter().map(|secret| secret.id).collect()
}

/// Whether a token is good on every node.
#[track_caller]
fn is_good(nodes: &[&TestServer], api: &Api, token: &str) {
    for node in nodes {
        let api = Api {
            address: node.address(),
            ..api.with_token(Some(token))
        };
        api.get("/tss").ok();
    }
}

fn a_rotation(nodes: &[&TestServer]) {
    let first = nodes[0];
    let api = Api::new(first);
    let credentials = first.organization();
    let before = login(first, &credentials.body()).ok();
    let (access, refresh) = (
        text(&before, "access_token"),
        text(&before, "refresh_token"),
    );
    let old = secret_of(&access);
    assert_eq!(secrets(first), [old.as_str()]);
    let new = rotate(first);
    assert_eq!(secrets(first), [new.as_str(), old.as_str()]);
    // Nobody signs with it before everybody can have read it.
    for node in nodes {
        let fresh = text(
            &login(node, &node.organization().body()).ok(),
            "access_token",
        );
        assert_eq!(secret_of(&fresh), old);
    }
    // It is a second younger than the first one, although the clock stands still.
    first.advance(6);
    for node in nodes {
        let fresh = wait_for("a token with the new secret", || {
            let answer = login(node, &node.organization().body()).ok();
            let token = text(&answer, "access_token");
            (secret_of(&token) == new).then_some(token)
        });
        is_good(nodes, &api, &fresh);
    }
    // Who is logged in stays so, and gets the same token again.
    is_good(nodes, &api, &access);
    for node in nodes {
        assert_eq!(
            text(&login(node, &credentials.body()).ok(), "access_token"),
            access
        );
    }
    let last = nodes[nodes.len() - 1];
    let refreshed = login(last, &json!({"refresh_token": refresh})).ok();
    assert_eq!(secret_of(&text(&refreshed, "access_token")), new);
    is_good(nodes, &api, &text(&refreshed, "access_token"));
    is_good(nodes, &api, &access);

    // The last tokens of the old secret were issued in the first six seconds.
    first.advance(172_800 - 6);
    login(first, &first.organization().body()).ok();
    assert_eq!(
        secrets(first),
        [new.as_str(), old.as_str()],
        "it may still be needed"
    );
    first.advance(7);
    login(first, &first.organization().body()).ok();
    assert_eq!(secrets(first), [new.as_str()]);
    for node in nodes {
        let body = json!({"refresh_token": refresh});
        login(node, &body).refused_without_code(401);
    }
}

#[test]
fn a_new_secret_logs_nobody_out_and_the_old_one_goes_with_its_last_session() {
    let server = TestServer::builder().pool_target(0).start();
    a_rotation(&[&server]);
}

#[test]
fn two_nodes_agree_on_a_new_secret() {
    let Some(place) = postgres() else { return };
    let first = TestServer::builder().pool_target(0).on(place).start();
    let second = first.neighbour().start();
    a_rotation(&[&first, &second]);
}

#[test]
fn secrets_that_never_signed_anything_are_forgotten_with_the_next_login() {
    let server = TestServer::builder().pool_target(0).start();
    let first = secrets(&server);
    // More than one in the same second; the last one made is the newest.
    let made: Vec<_> = (0..3).map(|_| rotate(&server)).collect();
    let newest_first = [&made[2], &made[1], &made[0], &first[0]];
    assert!(secrets(&server).iter().eq(newest_first));
    server.advance(10);
    wait_for("the newest to sign", || {
        login(&server, &server.organization().body()).ok();
        (secrets(&server).len() < 4).then_some(())
    });
    // The first one signed while the server did not know of the others.
    let left = secrets(&server);
    assert_eq!(left.first(), Some(&made[2]));
    assert!(left.iter().all(|id| *id == made[2] || *id == first[0]));
}

#[test]
fn an_admin_stays_logged_in_over_a_new_secret_and_a_restart() {
    let mut server = TestServer::builder().start();
    let till = Till::new(&server);
    rotate(&server);
    server.advance(10);
    server.restart();
    till.register_as(&new_id(), "KASSE-2").ok();
}

#[test]
fn logins_during_rotations_all_get_good_tokens() {
    on_both(|server| {
        let logins = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut tokens = Vec::new();
                        for _ in 0..5 {
                            let body = server.organization().body();
                            tokens.push(text(&login(server, &body).ok(), "access_token"));
                        }
                        tokens
                    })
                })
                .collect();
            for _ in 0..3 {
                rotate(server);
            }
            let logins = threads.into_iter().map(|thread| thread.join().unwrap());
            logins.flatten().collect::<Vec<_>>()
        });
        let api = Api::new(server);
        for token in logins {
            is_good(&[server], &api, &token);
        }
    });
}

fn ends_in_time(nodes: &[&TestServer], credentials: &Credentials, end: impl FnOnce()) {
    let apis: Vec<_> = nodes
        .iter()
        .map(|node| Api::log_in(node, credentials))
        .collect();
    for api in &apis {
        api.get("/tss").ok();
    }
    end();
    let since = TestClock::start();
    // Until then both answers are right; afterwards only one is.
    while since.monotonic_ms() <= REVOKED_MS_MAX {
        for api in &apis {
            let status = api.get("/tss").status;
            assert!([200, 401].contains(&status), "{status}");
        }
    }
    for (node, api) in nodes.iter().zip(&apis) {
        let message = api.get("/tss").refused_without_code(401);
        assert_eq!(message, "the API key was revoked");
        login(node, &credentials.body()).refused_without_code(401);
    }
    assert!(since.monotonic_ms() < PATIENCE_MS);
}

#[test]
fn a_revoked_key_ends_within_a_second() {
    let server = shared();
    let credentials = server.organization();
    ends_in_time(&[server], &credentials, || {
        let store = server.store();
        store
            .set_api_key_status(&credentials.key, ApiKeyStatus::Revoked)
            .unwrap();
    });
}

#[test]
fn a_key_revoked_on_one_node_ends_on_the_other_within_a_second() {
    let Some(place) = postgres() else { return };
    let first = TestServer::builder().pool_target(0).on(place).start();
    let second = first.neighbour().start();
    let manager = Api::new(&first);
    let path = format!("{}/api-keys", super::management::own(&manager));
    let made = super::management::call(&manager, "POST", &path, &json!({"name": "till-1"})).ok();
    let credentials = Credentials {
        organization: manager.organization,
        key: text(&made, "key"),
        secret: text(&made, "secret"),
    };
    ends_in_time(&[&first, &second], &credentials, || {
        let one = format!("{path}/{}", text(&made, "_id"));
        super::management::call(&manager, "DELETE", &one, &json!({})).ok();
    });
}

#[test]
fn two_nodes_give_the_same_token() {
    let Some(place) = postgres() else { return };
    let first = TestServer::builder().pool_target(0).on(place).start();
    let second = first.neighbour().start();
    let credentials = first.organization();
    let one = Api::log_in(&first, &credentials);
    let other = Api::log_in(&second, &credentials);
    assert_eq!(one.token, other.token);
    is_good(&[&first, &second], &one, one.token.as_deref().unwrap());
}
