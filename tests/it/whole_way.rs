//! From till to verified export with the built binary, checked with tools that are not ours.

use crate::support::installation::{Installation, read_json, siegel, succeed};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Plays the demo till and unpacks its export with the system's `tar`.
fn exported() -> (Installation, PathBuf) {
    let mut installation = Installation::new();
    installation.write_credentials("http://127.0.0.1:1/api/v2");
    let address = installation.start();
    installation.point_credentials_to(address);
    installation.play();
    let unpacked = installation.path("unpacked");
    fs::create_dir(&unpacked).unwrap();
    succeed(
        Command::new("tar")
            .arg("xf")
            .arg(installation.path("demo/export.tar"))
            .arg("-C")
            .arg(&unpacked),
    );
    (installation, unpacked)
}

#[test]
fn the_ledger_of_a_stopped_server_is_one_file() {
    let mut installation = Installation::new();
    installation.write_credentials("http://127.0.0.1:1/api/v2");
    let address = installation.start();
    installation.point_credentials_to(address);
    installation.play();
    assert!(installation.stop());
    // Otherwise a copy of the database alone would be an older ledger, and give counters twice.
    let beside = installation.path("siegel.db-wal");
    assert_eq!(fs::metadata(beside).map_or(0, |file| file.len()), 0);
}

#[test]
fn openssl_verifies_a_transaction_and_a_system_message_of_an_export() {
    let (installation, unpacked) = exported();
    let receipt = read_json(&installation.path("demo/receipt.json"));
    let serial = receipt["tss_serial_number"].as_str().unwrap();
    let public_key = unpacked.join("public-key.pem");
    let certificate = certificate_of(&unpacked, serial);
    succeed(
        Command::new("openssl")
            .args(["x509", "-pubkey", "-noout", "-in"])
            .arg(&certificate)
            .arg("-out")
            .arg(&public_key),
    );
    let number = receipt["number"].as_u64().unwrap();
    let transaction = message(&unpacked, |name| {
        name.contains(&format!("_Log-Tra_No-{number}_Finish_"))
    });
    let signature = openssl_verifies(&transaction, &public_key);
    assert_eq!(
        STANDARD.encode(signature),
        receipt["signature"]["value"],
        "the archive holds what the receipt says"
    );
    let system = message(&unpacked, |name| name.contains("_Log-Sys_"));
    openssl_verifies(&system, &public_key);
}

#[test]
fn a_second_run_of_the_demo_uses_the_same_tss_after_a_restart() {
    let (mut installation, _) = exported();
    let first = read_json(&installation.path("demo/receipt.json"));
    assert!(installation.stop(), "the server stops when asked to");
    let address = installation.start();
    installation.point_credentials_to(address);
    installation.play();
    let second = read_json(&installation.path("demo/receipt.json"));
    assert_eq!(first["tss_id"], second["tss_id"]);
    let counter = |receipt: &serde_json::Value| receipt["signature"]["counter"].as_u64().unwrap();
    assert!(counter(&second) > counter(&first));
}

#[test]
fn a_server_that_has_signed_ends_well_each_time_it_is_stopped() {
    let (mut installation, _) = exported();
    for round in 1..=8 {
        assert!(installation.stop(), "stop {round} did not end well");
        let address = installation.start();
        installation.point_credentials_to(address);
        installation.play();
    }
    assert!(installation.stop(), "the last stop did not end well");
}

#[test]
fn what_was_answered_is_still_there_after_a_kill() {
    let (mut installation, _) = exported();
    let receipt = read_json(&installation.path("demo/receipt.json"));
    installation.kill();
    let address = installation.start();
    installation.point_credentials_to(address);
    installation.play();
    let archive = installation.path("demo/export.tar");
    succeed(siegel().arg("verify").arg(&archive));
    let listed = succeed(Command::new("tar").arg("tf").arg(&archive));
    let names = String::from_utf8(listed.stdout).unwrap();
    let counter = receipt["signature"]["counter"].as_u64().unwrap();
    assert!(
        names
            .lines()
            .any(|name| name.contains(&format!("Sig-{counter}_"))),
        "signature {counter} is missing in {names}"
    );
}

/// The only message whose name fits, or the first of several.
fn message(unpacked: &Path, fits: impl Fn(&str) -> bool) -> PathBuf {
    let mut found: Vec<_> = files(unpacked)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "log"))
        .filter(|path| fits(path.file_name().unwrap().to_str().unwrap()))
        .collect();
    found.sort();
    found.into_iter().next().unwrap_or_else(|| {
        panic!("no such message among {:?}", files(unpacked));
    })
}

fn certificate_of(unpacked: &Path, serial: &str) -> PathBuf {
    files(unpacked)
        .into_iter()
        .find(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_lowercase();
            name.starts_with(serial)
        })
        .expect("the certificate is named by the serial number")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}

/// Cuts a message with `openssl asn1parse`, verifies it with `openssl dgst`, returns `r || s`.
fn openssl_verifies(message: &Path, public_key: &Path) -> Vec<u8> {
    let bytes = fs::read(message).unwrap();
    let parsed = succeed(
        Command::new("openssl")
            .args(["asn1parse", "-inform", "DER", "-in"])
            .arg(message),
    );
    let parsed = String::from_utf8(parsed.stdout).unwrap();
    let parts: Vec<_> = parsed.lines().filter_map(Part::of_depth_1).collect();
    let (signature, signed) = parts.split_last().expect("a message has parts");
    assert!(
        signature.is_octet_string,
        "the signature comes last:\n{parsed}"
    );
    let first = signed.first().unwrap().start;
    // What is signed are the parts, one after the other, without the SEQUENCE around them.
    let data = message.with_extension("signed-data");
    fs::write(&data, &bytes[first..signature.start]).unwrap();
    let plain = &bytes[signature.start + signature.header..][..signature.length];
    let der = message.with_extension("signature-der");
    let (r, s) = plain.split_at(plain.len() / 2);
    let number = |bytes| openssl::bn::BigNum::from_slice(bytes).unwrap();
    let ecdsa = openssl::ecdsa::EcdsaSig::from_private_components(number(r), number(s)).unwrap();
    fs::write(&der, ecdsa.to_der().unwrap()).unwrap();
    let verified = succeed(
        Command::new("openssl")
            .args(["dgst", "-sha256", "-verify"])
            .arg(public_key)
            .arg("-signature")
            .arg(&der)
            .arg(&data),
    );
    assert_eq!(String::from_utf8(verified.stdout).unwrap(), "Verified OK\n");
    // A check that cannot fail is none: one other byte, and openssl must say no.
    let mut other = fs::read(&data).unwrap();
    *other.last_mut().unwrap() ^= 1;
    fs::write(&data, other).unwrap();
    let refused = Command::new("openssl")
        .args(["dgst", "-sha256", "-verify"])
        .arg(public_key)
        .arg("-signature")
        .arg(&der)
        .arg(&data)
        .output()
        .unwrap();
    assert!(!refused.status.success());
    plain.to_vec()
}

/// A line of `openssl asn1parse`, such as `    4:d=1  hl=2 l=   1 prim: INTEGER           :02`.
struct Part {
    start: usize,
    header: usize,
    length: usize,
    is_octet_string: bool,
}

impl Part {
    fn of_depth_1(line: &str) -> Option<Self> {
        let (start, rest) = line.split_once(":d=1")?;
        let (_, rest) = rest.split_once("hl=")?;
        let (header, rest) = rest.split_once("l=")?;
        let (length, kind) = rest.trim_start().split_once(' ')?;
        Some(Self {
            start: start.trim().parse().unwrap(),
            header: header.trim().parse().unwrap(),
            length: length.parse().unwrap(),
            is_octet_string: kind.contains("OCTET STRING"),
        })
    }
}
