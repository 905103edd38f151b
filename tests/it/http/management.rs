//! The Management API: organisations and API keys, and who may touch which.

use super::client::{Answer, Api, Till, keys, new_id};
use crate::support::server::{Credentials, START_S, TestServer, on_both, shared};
use serde_json::{Value, json};
use siegel::terms::{Environment, OrganizationId};

/// What a client tells about a new organisation.
pub fn shop() -> Value {
    json!({
        "name": "Corner shop",
        "address_line1": "Hauptstraße 1",
        "zip": "10115",
        "town": "Berlin",
        "country_code": "DEU",
    })
}

/// Path of the caller's own organisation.
pub fn own(api: &Api) -> String {
    format!("/organizations/{}", api.organization)
}

/// A call with a body; `path` begins after `/api/v0`.
pub fn call(api: &Api, method: &str, path: &str, body: &Value) -> Answer {
    let path = format!("/api/v0{path}");
    api.call_at_root(method, &path, Some(body.to_string().as_bytes()), &[])
}

fn get(api: &Api, path: &str) -> Answer {
    api.call_at_root("GET", &format!("/api/v0{path}"), None, &[])
}

fn id(value: &Value) -> String {
    value["_id"].as_str().unwrap().to_owned()
}

fn ids(list: &Value) -> Vec<&str> {
    let data = list["data"].as_array().unwrap();
    assert_eq!(list["count"], data.len());
    data.iter()
        .map(|item| item["_id"].as_str().unwrap())
        .collect()
}

/// What a key that was just made logs in with.
fn credentials(made: &Value, organization: OrganizationId) -> Credentials {
    Credentials {
        organization,
        key: made["key"].as_str().unwrap().to_owned(),
        secret: made["secret"].as_str().unwrap().to_owned(),
    }
}

/// A managed organisation with a login of its own.
fn managed(server: &TestServer, manager: &Api) -> Api {
    let made = call(manager, "POST", "/organizations", &shop()).ok();
    let path = format!("/organizations/{}/api-keys", id(&made));
    let key = call(manager, "POST", &path, &json!({"name": "till-1"})).ok();
    Api::log_in(server, &credentials(&key, id(&made).parse().unwrap()))
}

#[test]
fn an_organization_is_made_read_listed_and_changed() {
    on_both(|server| {
        let api = Api::new(server);
        let before = get(&api, "/organizations").ok();
        assert_eq!(ids(&before), [api.organization.to_string()]);
        let mut body = shop();
        body["metadata"] = json!({"region": 7});
        body["billing_options"] = json!({"withhold_billing": true, "x": 1});
        body["zip"] = json!(10115);
        body["unknown"] = json!("is left out");
        let made = call(&api, "POST", "/organizations", &body).ok();
        assert_eq!(
            keys(&made),
            [
                "_id",
                "_type",
                "_envs",
                "name",
                "address_line1",
                "zip",
                "town",
                "country_code",
                "billing_options",
                "managed_by_organization_id",
                "metadata",
                "created_at",
                "created_by_user",
            ]
        );
        assert_eq!(made["_type"], "MANAGED_ORGANIZATION");
        assert_eq!(made["_envs"], json!(["TEST"]));
        assert_eq!(made["zip"], "10115");
        assert_eq!(made["metadata"], json!({"region": "7"}));
        assert_eq!(made["billing_options"], json!({"withhold_billing": true}));
        assert_eq!(
            made["managed_by_organization_id"],
            api.organization.to_string()
        );
        assert_eq!(made["created_at"], START_S);
        let path = format!("/organizations/{}", id(&made));
        assert_eq!(get(&api, &path).ok(), made);
        let list = get(&api, "/organizations").ok();
        assert_eq!(keys(&list), ["data", "count", "_type"]);
        assert_eq!(list["_type"], "ORGANIZATION_LIST");
        assert_eq!(ids(&list).len(), 2);

        let patch = json!({
            "name": "Corner shop & sons",
            "vat_id": "DE123456789",
            "billing_options": null,
            "metadata": {"region": null, "size": "small"},
        });
        let changed = call(&api, "PATCH", &path, &patch).ok();
        assert_eq!(changed["name"], "Corner shop & sons");
        assert_eq!(changed["vat_id"], "DE123456789");
        assert_eq!(changed["town"], "Berlin");
        assert_eq!(changed["metadata"], json!({"size": "small"}));
        assert!(changed.get("billing_options").is_none());
        assert_eq!(get(&api, &path).ok(), changed);
        // The own one, too.
        let changed = call(&api, "PATCH", &own(&api), &json!({"town": "Köln"})).ok();
        assert_eq!(
            (&changed["_type"], &changed["town"]),
            (&json!("ORGANIZATION"), &json!("Köln"))
        );
    });
}

#[test]
fn lists_of_organizations_are_sorted_and_cut() {
    let api = Api::new(shared());
    let made: Vec<_> = ["b-shop", "a-shop", "c-shop"]
        .map(|name| {
            let mut body = shop();
            body["name"] = json!(name);
            id(&call(&api, "POST", "/organizations", &body).ok())
        })
        .into();
    let list = |query: &str| get(&api, &format!("/organizations?{query}")).ok();
    let first = list("order_by=name&order=desc&limit=2");
    assert_eq!(ids(&first), [&made[2], &made[0]]);
    let second = list("order_by=name&order=desc&limit=1&offset=2");
    assert_eq!(ids(&second), [&made[1]]);
    assert_eq!(ids(&list("limit=100")).len(), 4);
    for query in ["order_by=town", "limit=0", "order=up", "limit=%zz"] {
        get(&api, &format!("/organizations?{query}")).refused(400, "E_FAILED_SCHEMA_VALIDATION");
    }
}

#[test]
fn a_malformed_organization_is_refused_by_name_of_the_field() {
    let api = Api::new(shared());
    let code = "E_FAILED_SCHEMA_VALIDATION";
    for name in ["name", "address_line1", "zip", "town", "country_code"] {
        let mut body = shop();
        body.as_object_mut().unwrap().remove(name);
        let message = call(&api, "POST", "/organizations", &body).refused(400, code);
        assert!(message.contains(name), "{message}");
        let empty = json!({name: ""});
        let message = call(&api, "PATCH", &own(&api), &empty).refused(400, code);
        assert!(message.contains(name), "{message}");
    }
    for (name, wrong) in [
        ("name", json!("ab")),
        ("name", json!(["x"])),
        ("name", json!("a\nb\nc")),
        ("country_code", json!("DE")),
        ("country_code", json!("deu")),
        ("town", json!("x".repeat(201))),
        ("town", json!("a\u{0}b")),
        ("vat_id", json!(true)),
        ("billing_options", json!("x")),
        ("billing_options", json!({"withhold_billing": "x"})),
        ("billing_options", json!({"bill_to_organization": 1})),
        ("metadata", json!("x")),
        ("metadata", json!({"x".repeat(41): "y"})),
        ("managed_by_organization_id", json!("x")),
    ] {
        let mut body = shop();
        body[name] = wrong.clone();
        call(&api, "POST", "/organizations", &body).refused(400, code);
        call(&api, "PATCH", &own(&api), &json!({name: wrong})).refused(400, code);
    }
    get(&api, "/organizations/x").refused(400, code);
}

#[test]
fn a_key_is_made_used_disabled_enabled_and_revoked() {
    on_both(|server| {
        let api = Api::new(server);
        let path = format!("{}/api-keys", own(&api));
        let before = get(&api, &path).ok();
        assert_eq!(keys(&before), ["data", "count", "_type"]);
        assert_eq!(before["_type"], "API_KEY_LIST");
        assert_eq!(ids(&before).len(), 1);
        let body = json!({"name": "till-1", "status": "enabled", "metadata": {"a": "b"}});
        let made = call(&api, "POST", &path, &body).ok();
        assert_eq!(
            keys(&made),
            [
                "_id",
                "_type",
                "_envs",
                "name",
                "status",
                "key",
                "secret",
                "organization_id",
                "metadata",
                "created_at",
                "created_by_user",
            ]
        );
        assert_eq!(
            (&made["_type"], &made["_envs"]),
            (&json!("API_KEY"), &json!(["TEST"]))
        );
        assert_eq!(made["created_by_user"], ids(&before)[0]);
        let key = made["key"].as_str().unwrap();
        assert!(
            key.starts_with("test_") && key.ends_with("_till-1"),
            "{key}"
        );
        let one = format!("{path}/{}", id(&made));
        let read = get(&api, &one).ok();
        assert!(read.get("secret").is_none(), "the secret is told once");
        assert_eq!(ids(&get(&api, &path).ok()).len(), 2);

        let login = credentials(&made, api.organization);
        let till = Api::log_in(server, &login);
        till.get("/tss").ok();
        let nobody = api.with_token(None);
        let status = |status: &str| call(&api, "PATCH", &one, &json!({"status": status})).ok();
        assert_eq!(status("disabled")["status"], "disabled");
        nobody
            .post("/auth", &login.body())
            .refused_without_code(401);
        assert_eq!(status("enabled")["status"], "enabled");
        assert_eq!(Api::log_in(server, &login).token, till.token);
        let merged = call(&api, "PATCH", &one, &json!({"metadata": {"c": 1}})).ok();
        assert_eq!(merged["metadata"], json!({"a": "b", "c": "1"}));
        assert_eq!(merged["status"], "enabled");

        let gone = call(&api, "DELETE", &one, &json!({})).ok();
        assert_eq!(gone["status"], "disabled");
        for method in ["GET", "PATCH", "DELETE"] {
            let message = call(&api, method, &one, &json!({"status": "enabled"}))
                .refused(404, "E_API_KEY_NOT_FOUND");
            assert_eq!(message, "API key not found.");
        }
        assert_eq!(get(&api, &path).ok(), before);
        nobody
            .post("/auth", &login.body())
            .refused_without_code(401);
    });
}

#[test]
fn lists_of_keys_are_filtered_sorted_and_cut() {
    let api = Api::new(shared());
    let path = format!("{}/api-keys", own(&api));
    let [b, a] = [("b-till", "enabled"), ("a-till", "disabled")].map(|(name, status)| {
        let body = json!({"name": name, "status": status});
        id(&call(&api, "POST", &path, &body).ok())
    });
    let list = |query: &str| get(&api, &format!("{path}?{query}")).ok();
    assert_eq!(ids(&list("status=disabled")), [&a]);
    assert_eq!(ids(&list("status=enabled")).len(), 2);
    let sorted = list("order_by=name");
    // The first one is called "till".
    assert_eq!(ids(&sorted)[..2], [&a, &b]);
    assert_eq!(ids(&list("order_by=status&limit=1")), [&a]);
    assert_eq!(ids(&list("order_by=kind")).len(), 3);
    assert_eq!(ids(&list("order_by=name&offset=1&limit=1")), [&b]);
    for query in ["status=revoked", "order_by=key", "offset=-1"] {
        get(&api, &format!("{path}?{query}")).refused(400, "E_FAILED_SCHEMA_VALIDATION");
    }
}

#[test]
fn a_malformed_key_is_refused() {
    let api = Api::new(shared());
    let path = format!("{}/api-keys", own(&api));
    for body in [
        json!({}),
        json!({"name": "ab"}),
        json!({"name": "Till"}),
        json!({"name": "till 1"}),
        json!({"name": "t".repeat(31)}),
        json!({"name": ["till"]}),
        json!({"name": "till", "status": "revoked"}),
        json!({"name": "till", "status": true}),
        json!({"name": "till", "env": "PROD"}),
        json!({"name": "till", "metadata": "x"}),
        json!({"name": "till", "managed_by_organization_id": "x"}),
    ] {
        call(&api, "POST", &path, &body).refused(400, "E_FAILED_SCHEMA_VALIDATION");
    }
    get(&api, &format!("{path}/x")).refused(400, "E_FAILED_SCHEMA_VALIDATION");
    get(&api, &format!("{path}/{}", new_id())).refused(404, "E_API_KEY_NOT_FOUND");
    assert_eq!(ids(&get(&api, &path).ok()).len(), 1, "nothing was made");
}

#[test]
fn a_manager_acts_for_those_it_manages_and_nobody_acts_for_the_manager() {
    on_both(|server| {
        let manager = Api::new(server);
        let shop = managed(server, &manager);
        let other = managed(server, &manager);
        let list = get(&manager, "/organizations").ok();
        assert_eq!(ids(&list).len(), 3);
        // Keys of the one are not below the other.
        let key = ids(&get(&shop, &format!("{}/api-keys", own(&shop))).ok())[0].to_owned();
        let misplaced = format!("{}/api-keys/{key}", own(&other));
        get(&manager, &misplaced).refused(404, "E_API_KEY_NOT_FOUND");
        get(&manager, &format!("{}/api-keys/{key}", own(&shop))).ok();

        assert_eq!(
            ids(&get(&shop, "/organizations").ok()),
            [shop.organization.to_string()]
        );
        for foreign in [own(&manager), own(&other)] {
            for (method, path) in [
                ("GET", foreign.clone()),
                ("PATCH", foreign.clone()),
                ("GET", format!("{foreign}/api-keys")),
                ("POST", format!("{foreign}/api-keys")),
                ("GET", format!("{foreign}/api-keys/{key}")),
                ("PATCH", format!("{foreign}/api-keys/{key}")),
                ("DELETE", format!("{foreign}/api-keys/{key}")),
            ] {
                let body = json!({"name": "intruder"});
                call(&shop, method, &path, &body).refused(404, "E_ORGANIZATION_NOT_FOUND");
            }
        }
        // It can put nobody below another organisation than its own.
        let mut body = self::shop();
        for foreign in [manager.organization.to_string(), new_id()] {
            body["managed_by_organization_id"] = json!(foreign);
            call(&shop, "POST", "/organizations", &body).refused(404, "E_ORGANIZATION_NOT_FOUND");
        }
        // A manager sees no TSS of those it manages: it makes a key for that.
        let till = Till::created_by(&shop);
        manager.get(&till.path("")).refused(404, "E_TSS_NOT_FOUND");
    });
}

#[test]
fn a_key_that_its_manager_keeps_cannot_be_changed_by_its_own_organization() {
    let server = shared();
    let manager = Api::new(server);
    let shop = managed(server, &manager);
    let path = format!("{}/api-keys", own(&shop));
    let body = json!({
        "name": "service",
        "managed_by_organization_id": manager.organization.to_string(),
    });
    let made = call(&manager, "POST", &path, &body).ok();
    assert_eq!(made["_type"], "MANAGED_API_KEY");
    let one = format!("{path}/{}", id(&made));
    assert_eq!(get(&shop, &one).ok()["_type"], "MANAGED_API_KEY");
    let off = json!({"status": "disabled"});
    call(&shop, "PATCH", &one, &off).refused(403, "E_ACCESS_DENIED");
    call(&shop, "DELETE", &one, &json!({})).refused(403, "E_ACCESS_DENIED");
    call(&manager, "PATCH", &one, &off).ok();
    call(&manager, "DELETE", &one, &json!({})).ok();
    // Only the manager of an organisation can be that of its keys.
    let api = Api::new(server);
    for manager in [api.organization.to_string(), new_id()] {
        let body = json!({"name": "service", "managed_by_organization_id": manager});
        call(&api, "POST", &format!("{}/api-keys", own(&api)), &body)
            .refused(404, "E_ORGANIZATION_NOT_FOUND");
    }
}

#[test]
fn live_keys_are_made_seen_and_changed_by_live_keys_alone() {
    on_both(|server| {
        let test = Api::new(server);
        let live = server.api_key(test.organization, Environment::Live);
        let live = Api::log_in(server, &live);
        let path = format!("{}/api-keys", own(&test));
        let body = json!({"name": "till-1", "env": "LIVE"});
        call(&test, "POST", &path, &body).refused(403, "E_ACCESS_DENIED");
        // A key is of the environment of its maker, who may make one of TEST.
        let made = call(&live, "POST", &path, &json!({"name": "till-2"})).ok();
        assert_eq!(made["_envs"], json!(["LIVE"]));
        assert!(made["key"].as_str().unwrap().starts_with("live_"));
        let of_test = call(
            &live,
            "POST",
            &path,
            &json!({"name": "till-3", "env": "TEST"}),
        )
        .ok();
        assert_eq!(of_test["_envs"], json!(["TEST"]));
        assert_eq!(ids(&get(&live, &path).ok()).len(), 4);
        assert_eq!(ids(&get(&test, &path).ok()).len(), 2);
        let one = format!("{path}/{}", id(&made));
        for method in ["GET", "PATCH", "DELETE"] {
            call(&test, method, &one, &json!({"status": "disabled"}))
                .refused(404, "E_API_KEY_NOT_FOUND");
        }
        // What is said about an organisation that works for real, too.
        assert_eq!(
            get(&test, &own(&test)).ok()["_envs"],
            json!(["TEST", "LIVE"])
        );
        let town = json!({"town": "Köln"});
        call(&test, "PATCH", &own(&test), &town).refused(403, "E_ACCESS_DENIED");
        call(&live, "PATCH", &own(&test), &town).ok();
    });
}

#[test]
fn a_login_here_is_one_for_everything_and_its_refusal_is_worded_as_recorded() {
    let server = shared();
    let login = server.organization();
    let nobody = Api::new(server).with_token(None);
    let answer = call(&nobody, "POST", "/auth", &login.body()).ok();
    assert_eq!(nobody.post("/auth", &login.body()).ok(), answer);
    let api = nobody.with_token(answer["access_token"].as_str());
    api.get("/tss").ok();
    get(&api, "/organizations").ok();
    let refresh = json!({"refresh_token": answer["refresh_token"]});
    call(&nobody, "POST", "/auth", &refresh).ok();
    for wrong in [
        json!({"api_key": login.key, "api_secret": "wrong"}),
        json!({"refresh_token": "wrong"}),
        json!({"email": "a@example.org", "password": "x"}),
    ] {
        let message = call(&nobody, "POST", "/auth", &wrong).refused_without_code(401);
        assert_eq!(message, "Invalid credentials");
    }
}

#[test]
fn whatever_is_not_there_is_404_without_a_code() {
    let api = Api::new(shared());
    for path in [
        "",
        "/",
        "/x",
        "/users",
        "/organizations/x/y",
        "/billing-addresses",
    ] {
        assert_eq!(
            get(&api, path).refused_without_code(404),
            "Not Found",
            "{path}"
        );
    }
}

#[test]
fn an_operator_can_switch_it_off() {
    let server = TestServer::builder()
        .pool_target(0)
        .section("[api]\nmanagement = false")
        .start();
    let api = Api::new(&server);
    for path in [
        "/organizations".to_owned(),
        own(&api),
        format!("{}/api-keys", own(&api)),
    ] {
        get(&api, &path).refused_without_code(404);
    }
    api.get("/tss").ok();
}
