//! A token at the other end of a link that breaks: SoftHSM behind the server and the client of p11-kit.

use super::{health, sell_patiently, told_to_come_again};
use crate::http::client::{Api, Till, new_id};
use crate::support::installation::{Installation, read_json};
use crate::support::remote::RemoteToken;
use serde_json::json;
use siegel::terms::OrganizationId;
use std::fs;
use std::os::unix::net::UnixListener;

#[test]
fn a_link_that_breaks_and_comes_back_is_healed_without_a_restart() {
    let mut installation = Installation::new();
    let socket = installation.path("far.sock");
    let file = installation.path("siegel.toml");
    let text = fs::read_to_string(&file).unwrap();
    let Some(remote) = RemoteToken::in_front_of(&text, &socket) else {
        return;
    };
    fs::write(&file, remote).unwrap();
    installation.write_credentials("http://127.0.0.1/api/v2");
    let softhsm = installation.path("softhsm2.conf");
    let open_link = || RemoteToken::start(&socket, &softhsm);
    let mut far = Some(open_link());
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
    for round in 1..=3 {
        let generation = health(&nobody).1["main"]["generation"].as_u64().unwrap();
        drop(far.take());
        let tx = new_id();
        told_to_come_again(&till.step(&tx, 1, "ACTIVE", None));
        let (ready, tokens) = health(&nobody);
        assert!(!ready);
        assert_eq!(tokens["main"]["state"], "gone", "round {round}");
        far = Some(open_link());
        assert_eq!(sell_patiently(&till), 6 + round);
        let (ready, tokens) = health(&nobody);
        assert!(ready, "{tokens}");
        assert!(tokens["main"]["generation"].as_u64().unwrap() > generation);
    }
    assert!(installation.stop());
}

#[test]
fn a_module_that_hangs_keeps_no_server_from_starting_with_the_tokens_of_others() {
    let Some(client) = RemoteToken::module() else {
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
