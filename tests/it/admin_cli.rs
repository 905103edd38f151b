//! `siegel init` and `siegel admin` through the built binary.

use crate::support::installation::{Installation, siegel, succeed};
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
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("the token main cannot be used"), "{told}");
    assert!(told.contains("refused the PIN"), "{told}");
    assert!(!told.contains("0000000000"), "{told}");
}
