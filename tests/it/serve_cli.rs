//! What `siegel serve` says at its start and about its clients.

use crate::support::installation::{Installation, siegel, succeed};
use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

fn serve(installation: &Installation, arguments: &[&str]) -> Command {
    let mut command = siegel();
    command
        .args(["serve", "--config"])
        .arg(installation.path("siegel.toml"))
        .args(arguments);
    command
}

/// What a start that fails says.
#[track_caller]
fn complaint(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    told
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn an_address_that_cannot_be_had_is_told_with_what_helps() {
    let installation = Installation::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    // 192.0.2.0/24 is for documentation; no machine has it.
    for (address, help) in [
        (taken.as_str(), "another program listens there"),
        (
            "192.0.2.1:8080",
            "no network interface of this machine has this address",
        ),
    ] {
        let _still_taken = TcpListener::bind(address);
        let told = complaint(&mut serve(&installation, &["--listen", address]));
        let start = format!("siegel: {address} cannot be listened on: {help}");
        assert!(told.contains(&start), "{told}");
        assert!(told.contains("(server.listen, --listen)"), "{told}");
    }
}

#[test]
fn the_sealing_key_of_another_ledger_is_told_by_its_name() {
    let mut installation = Installation::new();
    installation.start();
    assert!(installation.stop());
    let key = installation.path("seal.key");
    let own = fs::read(&key).unwrap();
    fs::write(&key, "5e".repeat(32)).unwrap();
    let told = complaint(&mut serve(&installation, &[]));
    let sentence = format!(
        "the sealing key {} is not the one of this ledger: secrets.seal_key_file must name",
        key.display()
    );
    assert!(told.contains(&sentence), "{told}");
    assert!(!told.contains("ended by itself"), "{told}");
    fs::write(&key, own).unwrap();
    installation.start();
    assert!(installation.stop());
}

#[test]
fn secrets_that_others_could_read_are_refused_by_the_start_and_by_the_check() {
    let installation = Installation::new();
    let check = || serve(&installation, &["--check-config"]);
    succeed(&mut check());
    for (name, says) in [
        ("seal.key", "the sealing key"),
        ("token.pin", "its PIN file"),
    ] {
        let file = installation.path(name);
        for others in [0o640, 0o604] {
            set_mode(&file, others);
            let sentence = format!("{says} {}", file.display());
            for mut command in [check(), serve(&installation, &["--listen", "127.0.0.1:0"])] {
                let told = complaint(&mut command);
                assert!(told.contains(&sentence), "{told}");
                assert!(
                    told.contains("can be read by others; set its mode to 0600"),
                    "{told}"
                );
            }
        }
        set_mode(&file, 0o600);
    }
    fs::remove_file(installation.path("seal.key")).unwrap();
    let told = complaint(&mut check());
    assert!(told.contains("seal.key cannot be read"), "{told}");
}

#[test]
fn paths_that_are_empty_are_told_by_their_key() {
    let installation = Installation::new();
    let file = installation.path("siegel.toml");
    let whole = fs::read_to_string(&file).unwrap();
    for (line, key) in [
        ("sqlite = \"siegel.db\"", "ledger.sqlite is empty"),
        (
            "seal_key_file = \"seal.key\"",
            "secrets.seal_key_file is empty",
        ),
    ] {
        let (name, _) = line.split_once(" = ").unwrap();
        assert!(whole.contains(line));
        fs::write(&file, whole.replace(line, &format!("{name} = \"\""))).unwrap();
        let told = complaint(&mut serve(&installation, &["--check-config"]));
        assert!(told.contains(key), "{told}");
    }
}

#[test]
fn credentials_lie_beside_the_configuration_and_only_their_owner_reads_what_the_demo_leaves() {
    let mut installation = Installation::new();
    let made = succeed(
        siegel()
            .args(["demo", "credentials", "--config"])
            .arg(installation.path("siegel.toml")),
    );
    let credentials = installation.path("demo/credentials.json");
    let said = String::from_utf8(made.stdout).unwrap();
    assert!(said.contains(credentials.to_str().unwrap()), "{said}");
    let address = installation.start();
    installation.point_credentials_to(address);
    // Left by somebody who did not mind.
    let receipt = installation.path("demo/receipt.json");
    fs::write(&receipt, "{}").unwrap();
    set_mode(&receipt, 0o644);
    installation.play();
    for name in ["receipt.json", "export.tar", "till.json"] {
        let file = installation.path("demo").join(name);
        assert_eq!(mode(&file), 0o600, "{name}");
        assert!(fs::metadata(&file).unwrap().len() > 2, "{name}");
    }
}

#[test]
fn what_clients_do_wrong_is_no_error_of_the_server() {
    for (filter, tells) in [("info", false), ("info,siegel::http=debug", true)] {
        let mut installation = Installation::new();
        installation.configure(&format!("[log]\nfilter = \"{filter}\""));
        let address = installation.start();
        let large = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(140_000));
        for bytes in [
            &b"x\r\n\r\n"[..],
            b"GET / HTTP/7.0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
            large.as_bytes(),
        ] {
            let mut stream = TcpStream::connect(address).unwrap();
            // The server may close before it has read everything, and the answer is then lost.
            let _ = stream.write_all(bytes);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"));
        }
        assert!(installation.stop());
        let log = installation.log().join("\n");
        assert!(log.contains("stopping"), "{log}");
        assert!(!log.contains("ERROR"), "{log}");
        assert_eq!(log.contains("a connection broke off"), tells, "{log}");
    }
}
