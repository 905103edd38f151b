//! `POST /auth`, and what a token is good for.

use super::client::{Answer, Api, Till, eightfold, keys, new_id, wait_for};
use crate::support::server::{START_S, TestServer, on_both, shared};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use siegel::ledger::ApiKeyStatus;
use siegel::terms::Environment;

fn nobody(server: &TestServer) -> Api {
    Api::new(server).with_token(None)
}

fn login(server: &TestServer, body: &Value) -> Answer {
    nobody(server).post("/auth", body)
}

fn token(answer: &Value, name: &str) -> String {
    answer[name].as_str().unwrap().to_owned()
}

#[test]
fn a_login_answers_all_seven_fields() {
    on_both(|server| {
        let credentials = server.organization();
        let answer = login(server, &credentials.body()).ok();
        assert_eq!(
            keys(&answer),
            [
                "access_token",
                "access_token_claims",
                "access_token_expires_in",
                "access_token_expires_at",
                "refresh_token",
                "refresh_token_expires_in",
                "refresh_token_expires_at",
            ]
        );
        assert_eq!(
            answer["access_token_claims"].to_string(),
            json!({"env": "TEST", "organization_id": credentials.organization.to_string()})
                .to_string()
        );
        assert_eq!(answer["access_token_expires_in"], 86_400);
        assert_eq!(answer["access_token_expires_at"], START_S + 86_400);
        assert_eq!(answer["refresh_token_expires_in"], 172_800);
        assert_eq!(answer["refresh_token_expires_at"], START_S + 172_800);
        assert_ne!(answer["access_token"], answer["refresh_token"]);
    });
}

#[test]
fn a_second_login_gets_the_same_token_with_less_life_left() {
    let server = TestServer::builder().pool_target(0).start();
    let body = server.organization().body();
    let first = login(&server, &body).ok();
    server.advance(100);
    let second = login(&server, &body).ok();
    assert_eq!(first["access_token"], second["access_token"]);
    assert_eq!(first["refresh_token"], second["refresh_token"]);
    assert_eq!(second["access_token_expires_in"], 86_300);
    assert_eq!(
        first["access_token_expires_at"],
        second["access_token_expires_at"]
    );
    // A token that is about to expire is not handed out again.
    server.advance(86_300 - 60);
    let third = login(&server, &body).ok();
    assert_ne!(first["access_token"], third["access_token"]);
    assert_eq!(third["access_token_expires_in"], 86_400);
    // The old one still works for its last minute, and not a second longer.
    let old = nobody(&server).with_token(first["access_token"].as_str());
    old.get("/tss").ok();
    server.advance(59);
    old.get("/tss").ok();
    server.advance(1);
    let message = old.get("/tss").refused_without_code(401);
    assert!(message.starts_with("could not parse jwt"), "{message}");
}

#[test]
fn a_refresh_gives_new_tokens_and_leaves_the_admin_logged_in() {
    let server = TestServer::builder().start();
    let till = Till::new(&server);
    let credentials = server.organization();
    let first = login(&server, &credentials.body()).ok();
    let api = nobody(&server).with_token(first["access_token"].as_str());
    let own = Till::new_by(&Api {
        organization: credentials.organization,
        ..api.clone()
    });
    server.advance(10);
    let refresh = json!({"refresh_token": first["refresh_token"]});
    let second = login(&server, &refresh).ok();
    assert_eq!(keys(&second), keys(&first));
    assert_ne!(first["access_token"], second["access_token"]);
    assert_eq!(second["access_token_expires_in"], 86_400);
    let later = Till {
        api: api.with_token(second["access_token"].as_str()),
        ..own
    };
    later.register_as(&new_id(), "KASSE-2").ok();
    // The first token is good until it expires: another till may hold it.
    api.get("/tss").ok();
    assert!(later.api.get(&till.path("")).status == 404);
    // The same refresh token may come again, from another till with the same key.
    login(&server, &refresh).ok();
    server.advance(172_800);
    assert_eq!(
        login(&server, &refresh).refused_without_code(401),
        "Unauthorized"
    );
}

#[test]
fn eight_logins_at_once_get_one_token() {
    on_both(|server| {
        let body = server.organization().body();
        let mut tokens = eightfold(|| token(&login(server, &body).ok(), "access_token"));
        tokens.dedup();
        assert_eq!(tokens.len(), 1);
    });
}

#[test]
fn a_wrong_login_is_told_nothing_but_unauthorized() {
    let server = shared();
    let right = server.organization();
    let other = server.organization();
    for (key, secret) in [
        (right.key.as_str(), "wrong"),
        (right.key.as_str(), ""),
        (right.key.as_str(), other.secret.as_str()),
        ("test_unknown_till", right.secret.as_str()),
        ("", ""),
        ("test\u{0}till", "x"),
        ("' OR 1=1 --", "x"),
    ] {
        let body = json!({"api_key": key, "api_secret": secret});
        assert_eq!(
            login(server, &body).refused_without_code(401),
            "Unauthorized"
        );
    }
    let tokens = login(server, &right.body()).ok();
    for wrong in ["", "x", "a.b.c", tokens["access_token"].as_str().unwrap()] {
        let body = json!({"refresh_token": wrong});
        assert_eq!(
            login(server, &body).refused_without_code(401),
            "Unauthorized",
            "{wrong}"
        );
    }
    // Numbers are text here as everywhere in the dialect.
    let body = json!({"api_key": 1, "api_secret": 2});
    login(server, &body).refused_without_code(401);
}

#[test]
fn a_login_without_its_fields_is_malformed() {
    let server = shared();
    for body in [
        json!({}),
        json!([]),
        json!({"api_key": "x"}),
        json!({"api_secret": "x"}),
        json!({"api_key": {}, "api_secret": []}),
        json!({"refresh_token": null}),
    ] {
        login(server, &body).refused(400, "E_FAILED_SCHEMA_VALIDATION");
    }
}

#[test]
fn a_login_does_not_look_at_an_authorization_header() {
    let server = shared();
    let body = server.organization().body().to_string();
    for header in ["Bearer ", "Bearer x", "Basic eDp4"] {
        nobody(server)
            .call(
                "POST",
                "/auth",
                Some(body.as_bytes()),
                &[("authorization", header)],
            )
            .ok();
    }
}

#[test]
fn whatever_is_no_token_of_ours_is_refused_as_documented() {
    let server = shared();
    let credentials = server.organization();
    let tokens = login(server, &credentials.body()).ok();
    let good = token(&tokens, "access_token");
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let decoded = URL_SAFE_NO_PAD.decode(claims).unwrap();
    let mut richer: Value = serde_json::from_slice(&decoded).unwrap();
    richer["organization_id"] = json!(new_id());
    let richer = URL_SAFE_NO_PAD.encode(richer.to_string());
    let decoded = URL_SAFE_NO_PAD.decode(header).unwrap();
    let mut unsigned: Value = serde_json::from_slice(&decoded).unwrap();
    unsigned["alg"] = json!("none");
    let unsigned = URL_SAFE_NO_PAD.encode(unsigned.to_string());
    let api = nobody(server);
    for bad in [
        "x".to_owned(),
        "a.b.c".to_owned(),
        good[1..].to_owned(),
        format!("{signed}."),
        format!("{header}.{richer}.{signature}"),
        format!("{unsigned}.{claims}."),
        format!("{unsigned}.{claims}.{signature}"),
        token(&tokens, "refresh_token"),
        "x".repeat(5000),
    ] {
        let answer = api.with_token(Some(&bad)).get("/tss");
        let message = answer.refused_without_code(401);
        assert!(!message.contains(&good), "{message}");
    }
    let message = api.with_token(Some("x")).get("/tss");
    let message = message.refused_without_code(401);
    assert!(message.starts_with("could not parse jwt"), "{message}");
    for header in [
        format!("bearer {good}"),
        format!("BEARER  {good}"),
        format!("Bearer {good} "),
    ] {
        api.call("GET", "/tss", None, &[("authorization", &header)])
            .ok();
    }
    for header in [
        format!("Basic {good}"),
        good.clone(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
    ] {
        let answer = api.call("GET", "/tss", None, &[("authorization", &header)]);
        answer.refused_without_code(401);
    }
}

#[test]
fn a_token_of_another_server_is_worth_nothing() {
    let other = TestServer::builder().pool_target(0).start();
    let foreign = Api::new(&other);
    let message = nobody(shared())
        .with_token(foreign.token.as_deref())
        .get("/tss");
    message.refused_without_code(401);
}

#[test]
fn a_revoked_key_can_neither_log_in_nor_go_on() {
    on_both(|server| {
        let credentials = server.organization();
        let api = Api::log_in(server, &credentials);
        let tokens = login(server, &credentials.body()).ok();
        api.get("/tss").ok();
        let store = server.store();
        store
            .set_api_key_status(&credentials.key, ApiKeyStatus::Revoked)
            .unwrap();
        login(server, &credentials.body()).refused_without_code(401);
        let refresh = json!({"refresh_token": tokens["refresh_token"]});
        login(server, &refresh).refused_without_code(401);
        let last = wait_for("the end of the token", || {
            let answer = api.get("/tss");
            (answer.status != 200).then_some(answer)
        });
        assert_eq!(last.refused_without_code(401), "the API key was revoked");
    });
}

#[test]
fn a_key_for_live_sees_nothing_of_test() {
    let server = shared();
    let till = Till::new(server);
    let live = server.api_key(till.api.organization, Environment::Live);
    let answer = login(server, &live.body()).ok();
    assert_eq!(answer["access_token_claims"]["env"], "LIVE");
    let live = till.api.with_token(answer["access_token"].as_str());
    live.get(&till.path("")).refused(404, "E_TSS_NOT_FOUND");
    let list = live.get("/tss").ok();
    assert_eq!((&list["count"], &list["_env"]), (&json!(0), &json!("LIVE")));
    // This server has no token for LIVE.
    live.put(&format!("/tss/{}", new_id()), &json!({}))
        .refused(503, "E_TSS_LOCKED");
    live.put(&till.path(""), &json!({}))
        .refused(409, "E_TSS_CONFLICT");
}
