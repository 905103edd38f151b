//! A token at the other end of a link that breaks: SoftHSM behind the server and the client of p11-kit.

use super::{health, sell_patiently, told_to_come_again};
use crate::http::client::{Api, Till, new_id, wait_for};
use crate::support::installation::{Installation, read_json};
use crate::support::token::softhsm_module;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use siegel::terms::OrganizationId;
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// The client library of p11-kit; `None`, with a printed line, where it is not installed. With
/// `SIEGEL_NEED_P11_KIT=1` that is a failure instead.
fn client_library() -> Option<PathBuf> {
    const PLACES: [&str; 3] = [
        "/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so",
        "/usr/lib/aarch64-linux-gnu/pkcs11/p11-kit-client.so",
        "/usr/lib64/pkcs11/p11-kit-client.so",
    ];
    let found = PLACES.iter().map(PathBuf::from).find(|path| path.is_file());
    if found.is_none() {
        let needed = std::env::var("SIEGEL_NEED_P11_KIT").is_ok_and(|needed| needed == "1");
        assert!(
            !needed,
            "the packages p11-kit and p11-kit-modules are needed"
        );
        println!("skipped: no client of p11-kit; the packages p11-kit and p11-kit-modules have it");
    }
    found
}

/// The far end of the link. Dropping it breaks the link.
struct Far(Child);

impl Far {
    fn start(installation: &Installation, socket: &Path) -> Self {
        let _ = fs::remove_file(socket);
        let child = Command::new("p11-kit")
            .args(["server", "--foreground", "--provider"])
            .arg(softhsm_module())
            .arg("--name")
            .arg(socket)
            .arg("pkcs11:")
            .env("SOFTHSM2_CONF", installation.path("softhsm2.conf"))
            .env("XDG_RUNTIME_DIR", installation.path(""))
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        wait_for("the far end", || socket.exists().then_some(()));
        Self(child)
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        // It serves each client in a process of its own, which must go too.
        let pid = self.0.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        for child in children.split_whitespace() {
            let child = Pid::from_raw(child.parse().unwrap()).unwrap();
            let _ = kill_process(child, Signal::KILL);
        }
    }
}

#[test]
fn a_link_that_breaks_and_comes_back_is_healed_without_a_restart() {
    let Some(client) = client_library() else {
        return;
    };
    let mut installation = Installation::new();
    let socket = installation.path("far.sock");
    let file = installation.path("siegel.toml");
    let text = fs::read_to_string(&file).unwrap();
    let (before, section) = text.split_once("module = ").unwrap();
    let (_, after) = section.split_once('\n').unwrap();
    let remote = format!("{before}module = {client:?}\n{after}").replace(
        "SOFTHSM2_CONF = \"softhsm2.conf\"",
        &format!(
            "P11_KIT_SERVER_ADDRESS = \"unix:path={}\"",
            socket.display()
        ),
    );
    fs::write(&file, remote).unwrap();
    installation.write_credentials("http://127.0.0.1/api/v2");
    let far = Far::start(&installation, &socket);
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
    for sold in 1..=3 {
        assert_eq!(sell_patiently(&till), 2 * sold - 1);
        assert_eq!(till.sell()["number"], 2 * sold);
    }
    let mut far = Some(far);
    for round in 1..=3 {
        let generation = health(&nobody).1["main"]["generation"].as_u64().unwrap();
        drop(far.take());
        let tx = new_id();
        told_to_come_again(&till.step(&tx, 1, "ACTIVE", None));
        let (ready, tokens) = health(&nobody);
        assert!(!ready);
        assert_eq!(tokens["main"]["state"], "gone", "round {round}");
        far = Some(Far::start(&installation, &socket));
        assert_eq!(sell_patiently(&till), 6 + round);
        let (ready, tokens) = health(&nobody);
        assert!(ready, "{tokens}");
        assert!(tokens["main"]["generation"].as_u64().unwrap() > generation);
    }
    assert!(installation.stop());
}

#[test]
fn a_module_that_hangs_keeps_no_server_from_starting_with_the_tokens_of_others() {
    let Some(client) = client_library() else {
        return;
    };
    let mut installation = Installation::new();
    let socket = installation.path("far.sock");
    // It takes the call, and never says a word.
    let _silent = UnixListener::bind(&socket).unwrap();
    installation.configure(&format!(
        "[[token]]\nname = \"far\"\nenvironment = \"TEST\"\nmodule = {client:?}\n\
         label = \"far away\"\npin_file = \"token.pin\"\n\
         [token.module_env]\nP11_KIT_SERVER_ADDRESS = \"unix:path={}\"",
        socket.display()
    ));
    installation.write_credentials("http://127.0.0.1/api/v2");
    let address = installation.start();
    let nobody = Api {
        address,
        organization: OrganizationId::new(uuid::Uuid::nil()),
        token: None,
    };
    let (ready, tokens) = health(&nobody);
    assert!(ready, "{tokens}");
    assert_eq!(tokens["main"]["signs"], true);
    assert_eq!(tokens["far"]["state"], "gone");
    installation.kill();
}
