//! An operator ends a TSS while other tokens, or its own one, are away.

use crate::http::client::{Api, Till};
use crate::support::installation::{Installation, read_json, siegel};
use serde_json::json;
use siegel::terms::OrganizationId;
use std::fs;
use std::process::Output;

/// An installation with a TSS that has sold something; its server is stopped.
fn with_tss() -> (Installation, String) {
    let mut installation = Installation::new();
    installation.write_credentials("http://127.0.0.1/api/v2");
    let address = installation.start();
    let credentials = read_json(&installation.path("demo/credentials.json"));
    let nobody = Api {
        address,
        organization: OrganizationId::new(uuid::Uuid::nil()),
        token: None,
    };
    let body = json!({
        "api_key": credentials["api_key"],
        "api_secret": credentials["api_secret"],
    });
    let login = nobody.post("/auth", &body).ok();
    let till = Till::new_by(&nobody.with_token(login["access_token"].as_str()));
    till.sell();
    assert!(installation.stop());
    (installation, till.tss)
}

fn end(installation: &Installation, how: &str, tss: &str) -> Output {
    siegel()
        .args(["admin", "--config"])
        .arg(installation.path("siegel.toml"))
        .args(["tss", how, tss, "--for-good"])
        .output()
        .unwrap()
}

#[test]
fn the_token_of_another_tss_need_not_be_there_to_end_this_one() {
    let (installation, tss) = with_tss();
    let file = installation.path("siegel.toml");
    let text = fs::read_to_string(&file).unwrap();
    let (_, main) = text.split_once("[[token]]").unwrap();
    // It is not there.
    let second = main
        .replace("name = \"main\"", "name = \"second\"")
        .replace("label = \"", "label = \"other-");
    let both = format!("{text}\n[[token]]{second}");
    fs::write(
        &file,
        both.replace("[server]", "[server]\nstart_when = \"every-token\""),
    )
    .unwrap();
    let output = end(&installation, "disable", &tss);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(told, format!("{tss} is disabled\n"));
}

#[test]
fn a_tss_whose_token_is_gone_is_declared_defective_but_not_disabled() {
    let (installation, tss) = with_tss();
    fs::rename(installation.path("tokens"), installation.path("away")).unwrap();
    fs::create_dir(installation.path("tokens")).unwrap();
    let output = end(&installation, "disable", &tss);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("the token main cannot be used"), "{told}");
    let output = end(&installation, "defective", &tss);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(told, format!("{tss} is defective\n"));
}

#[test]
fn a_token_that_refuses_its_pin_does_not_keep_its_tss_from_being_declared_defective() {
    let (installation, tss) = with_tss();
    fs::write(installation.path("token.pin"), "0000000000").unwrap();
    let output = end(&installation, "defective", &tss);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}
