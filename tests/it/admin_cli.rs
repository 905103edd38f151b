//! `siegel init` and `siegel admin` through the built binary.

use crate::http::client::{Api, new_id, wait_for};
use crate::support::installation::{Installation, read_json, siegel, succeed};
use serde_json::{Value, json};
use siegel::terms::OrganizationId;
use siegel::verify::{Settings, verify_archive};
use std::io::Cursor;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

fn admin(installation: &Installation, arguments: &[&str]) -> Command {
    let mut command = siegel();
    command
        .args(["admin", "--config"])
        .arg(installation.path("siegel.toml"))
        .args(arguments);
    command
}

fn printed(command: &mut Command) -> String {
    String::from_utf8(succeed(command).stdout).unwrap()
}

#[test]
fn an_operator_makes_lists_and_revokes_keys() {
    let installation = Installation::new();
    let shop = printed(&mut admin(
        &installation,
        &["organization", "create", "Corner shop"],
    ));
    let shop = shop.trim();
    let listed = printed(&mut admin(&installation, &["organization", "list"]));
    assert_eq!(listed, format!("{shop}  Corner shop\n"));

    let made = printed(&mut admin(
        &installation,
        &["api-key", "create", shop, "till-1"],
    ));
    let (key, secret) = made.trim().split_once('\n').unwrap();
    let key = key.strip_prefix("api_key=").unwrap();
    assert!(
        key.starts_with("test_") && key.ends_with("_till-1"),
        "{key}"
    );
    assert!(secret.strip_prefix("api_secret=").unwrap().len() >= 32);

    let keys = |installation| printed(&mut admin(installation, &["api-key", "list", shop]));
    assert_eq!(keys(&installation), format!("{key}  TEST  enabled\n"));
    printed(&mut admin(&installation, &["api-key", "revoke", key]));
    assert_eq!(keys(&installation), format!("{key}  TEST  revoked\n"));
    // The secret is nowhere: only its hash is kept.
    assert!(!keys(&installation).contains(secret));
}

#[test]
fn what_cannot_be_done_is_told_and_changes_nothing() {
    let installation = Installation::new();
    let nobody = "00000000-0000-4000-8000-000000000000";
    for (arguments, says) in [
        (vec!["organization", "create", "x"], "at least 3 characters"),
        (
            vec!["api-key", "create", nobody, "till-1"],
            "no such organisation",
        ),
        (
            vec!["api-key", "create", nobody, "Till 1"],
            "3 to 30 characters",
        ),
        (vec!["api-key", "revoke", "test_x_y"], "no API key test_x_y"),
    ] {
        let output = admin(&installation, &arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(says), "{arguments:?} was told {told:?}");
    }
    assert_eq!(
        printed(&mut admin(&installation, &["organization", "list"])),
        ""
    );
}

#[test]
fn init_leaves_an_installation_alone_and_its_secrets_to_their_owner() {
    let installation = Installation::new();
    let files = ["siegel.toml", "seal.key", "token.pin"];
    let read = || files.map(|file| std::fs::read(installation.path(file)).unwrap());
    let before = read();
    succeed(siegel().args(["init", "--dir"]).arg(installation.path("")));
    assert_eq!(read(), before);
    for file in files {
        let mode = std::fs::metadata(installation.path(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[test]
fn a_second_server_on_the_same_ledger_is_refused_with_one_sentence() {
    let mut installation = Installation::new();
    installation.start();
    let output = siegel()
        .args(["serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(installation.path("siegel.toml"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("in use by another process"), "{told}");
}

#[test]
fn a_wrong_pin_stops_the_start_and_says_which_token() {
    let installation = Installation::new();
    std::fs::write(installation.path("token.pin"), "0000000000").unwrap();
    let output = siegel()
        .args(["serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(installation.path("siegel.toml"))
        .output()
        .unwrap();
    // Supervisors are told not to start it again on this code.
    assert_eq!(output.status.code(), Some(3));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("the token main cannot be used"), "{told}");
    assert!(told.contains("refused the PIN"), "{told}");
    assert!(!told.contains("0000000000"), "{told}");
}

/// The one JSON document that a command prints.
fn json_of(command: &mut Command) -> Value {
    serde_json::from_str(&printed(command)).unwrap()
}

#[test]
fn with_json_every_command_prints_one_document() {
    let installation = Installation::new();
    let ask = |arguments: &[&str]| {
        let arguments = [arguments, &["--json"]].concat();
        json_of(&mut admin(&installation, &arguments))
    };
    let shop = ask(&["organization", "create", "Corner shop"]);
    let id = shop["id"].as_str().unwrap();
    assert_eq!(shop["name"], "Corner shop");
    assert_eq!(ask(&["organization", "list"]), json!([shop]));
    let made = ask(&["api-key", "create", id, "till-1", "--environment", "LIVE"]);
    let key = made["api_key"].as_str().unwrap();
    assert!(key.starts_with("live_") && made["api_secret"].is_string());
    let listed = |status: &str| json!([{"api_key": key, "name": "till-1", "environment": "LIVE", "status": status}]);
    assert_eq!(ask(&["api-key", "list", id]), listed("enabled"));
    let revoked = ask(&["api-key", "revoke", key]);
    assert_eq!(
        revoked,
        json!({"api_key": key, "status": "revoked", "made_with_it": []})
    );
    assert_eq!(ask(&["api-key", "list", id]), listed("revoked"));
    assert_eq!(ask(&["tss", "list"]), json!([]));
    // The first secret is made by the server, or by this.
    let secret = ask(&["rotate-token-secret"]);
    assert_ne!(ask(&["rotate-token-secret"]), secret);
}

#[test]
fn a_key_that_does_not_open_the_secrets_makes_no_new_one() {
    let installation = Installation::new();
    printed(&mut admin(&installation, &["rotate-token-secret"]));
    let file = installation.path("seal.key");
    std::fs::write(&file, "00".repeat(32)).unwrap();
    let output = admin(&installation, &["rotate-token-secret"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("does not open with this sealing key"),
        "{told}"
    );
}

#[test]
fn an_operator_disables_a_tss_with_a_signed_message_and_only_while_the_server_is_down() {
    for format in ["v2", "v3"] {
        let mut installation = Installation::new();
        let file = installation.path("siegel.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{text}\n[api]\nlog_format = {format:?}\n")).unwrap();
        installation.write_credentials("http://127.0.0.1/api/v2");
        let address = installation.start();
        installation.point_credentials_to(address);
        installation.play();
        let refused = |arguments: &[&str]| {
            let output = admin(&installation, arguments).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{arguments:?}");
            String::from_utf8(output.stderr).unwrap()
        };
        let told = refused(&["tss", "list"]);
        assert!(told.contains("in use by another process"), "{told}");
        let nobody = "00000000-0000-4000-8000-000000000000";
        let told = refused(&["tss", "disable", nobody, "--for-good"]);
        assert!(told.contains("in use by another process"), "{told}");
        assert!(installation.stop());

        let list = || json_of(&mut admin(&installation, &["tss", "list", "--json"]))[0].clone();
        let before = list();
        let id = before["id"].as_str().unwrap();
        assert_eq!(before["state"], "INITIALIZED");
        let counter = |tss: &Value| tss["signature_counter"].as_u64().unwrap();
        let line = printed(&mut admin(&installation, &["tss", "list"]));
        assert!(line.starts_with(&format!("{id}  ")), "{line}");

        let refused = |arguments: &[&str]| {
            let output = admin(&installation, arguments).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{arguments:?}");
            String::from_utf8(output.stderr).unwrap()
        };
        let told = refused(&["tss", "disable", id]);
        assert!(told.contains("--for-good"), "{told}");
        let told = refused(&["tss", "disable", nobody, "--for-good"]);
        assert!(told.contains("there is no such TSS"), "{told}");
        assert_eq!(list(), before);

        let disable = ["tss", "disable", id, "--for-good"];
        let told = printed(&mut admin(&installation, &disable));
        assert_eq!(told, format!("{id} is disabled\n"));
        let after = list();
        assert_eq!(after["state"], "DISABLED");
        assert_eq!(counter(&after), counter(&before) + 1);
        // Again: nothing is signed.
        let told = printed(&mut admin(&installation, &disable));
        assert_eq!(told, format!("{id} was disabled already\n"));
        assert_eq!(list(), after);
        let archive = export_of(&mut installation, id);
        let operator = b"centraloperator";
        let named = archive.windows(operator.len()).filter(|at| at == operator);
        // Version 2 has room for neither origin nor user.
        assert_eq!(named.count(), if format == "v3" { 2 } else { 0 });
    }
}

#[test]
fn an_operator_declares_a_tss_defective_without_a_message_and_its_export_still_verifies() {
    let mut installation = Installation::new();
    installation.write_credentials("http://127.0.0.1/api/v2");
    let address = installation.start();
    installation.point_credentials_to(address);
    installation.play();
    assert!(installation.stop());
    let list = || json_of(&mut admin(&installation, &["tss", "list", "--json"]))[0].clone();
    let before = list();
    let id = before["id"].as_str().unwrap();

    let output = admin(&installation, &["tss", "defective", id])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("--for-good"), "{told}");
    assert_eq!(list(), before);

    let declare = ["tss", "defective", id, "--for-good"];
    let told = printed(&mut admin(&installation, &declare));
    assert_eq!(told, format!("{id} is defective\n"));
    let after = list();
    assert_eq!(after["state"], "DEFECTIVE");
    assert_eq!(after["signature_counter"], before["signature_counter"]);
    let told = printed(&mut admin(&installation, &declare));
    assert_eq!(told, format!("{id} was defective already\n"));
    assert_eq!(list(), after);
    // It cannot be disabled any more: that would be a message.
    let disable = ["tss", "disable", id, "--for-good"];
    let output = admin(&installation, &disable).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(list(), after);
    export_of(&mut installation, id);
}

/// What an auditor gets of a TSS that the operator has ended; it verifies.
fn export_of(installation: &mut Installation, tss: &str) -> Vec<u8> {
    let address = installation.start();
    let credentials = read_json(&installation.path("demo/credentials.json"));
    let body = json!({
        "api_key": credentials["api_key"],
        "api_secret": credentials["api_secret"],
    });
    let nobody = Api {
        address,
        organization: OrganizationId::new(uuid::Uuid::nil()),
        token: None,
    };
    let login = nobody.post("/auth", &body).ok();
    let api = nobody.with_token(login["access_token"].as_str());
    let path = format!("/tss/{tss}/export/{}", new_id());
    api.put(&path, &json!({})).ok();
    wait_for("the export", || {
        (api.get(&path).ok()["state"] == "COMPLETED").then_some(())
    });
    let archive = api.get(&format!("{path}/file")).bytes;
    let settings = Settings::new(NonZeroUsize::MIN);
    let report = verify_archive(Cursor::new(&archive), &settings).unwrap();
    assert_eq!(report.findings, []);
    assert!(installation.stop());
    archive
}
