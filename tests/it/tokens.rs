//! Servers with several tokens: one that is not there, and a standby.

pub mod copies;
mod ending;
mod remote;
mod standby;
pub mod wrapped;

use crate::http::client::{Answer, Api, Till, new_id, receipt, wait_for};
use crate::support::server::TestServer;
use crate::support::token::{self, TestToken};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// The storage of a token, out of the reach of SoftHSM until this is dropped.
pub struct Away {
    storage: PathBuf,
    away: PathBuf,
}

impl Away {
    pub fn take(token: &TestToken) -> Self {
        let storage = token.storage();
        let name = storage.file_name().unwrap().to_owned();
        // Outside the folder of tokens: SoftHSM takes every folder in there for one.
        let away = token::home().join(name);
        fs::rename(&storage, &away).unwrap();
        Self { storage, away }
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        fs::rename(&self.away, &self.storage).unwrap();
    }
}

/// What the server says about itself, and whether it calls itself ready.
pub fn health(api: &Api) -> (bool, Value) {
    let answer = api.call_at_root("GET", "/health/ready", None, &[]);
    assert!([200, 503].contains(&answer.status), "{}", answer.text());
    (answer.status == 200, answer.json()["tokens"].clone())
}

/// A call whose token is not there: 503, and when to come again.
#[track_caller]
pub fn told_to_come_again(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.text());
    let after = answer.header("retry-after").expect("Retry-After");
    assert!(after.parse::<u32>().unwrap() >= 1, "{after}");
}

/// Sells as a patient till does: comes again after 503. Returns the number of the transaction.
pub fn sell_patiently(till: &Till) -> u64 {
    let tx = new_id();
    let step = |revision, state: &str, schema: Option<Value>| {
        wait_for("an answer", || {
            let answer = till.step(&tx, revision, state, schema.clone());
            match answer.status {
                200 => Some(answer.ok()),
                _ => {
                    told_to_come_again(&answer);
                    None
                }
            }
        })
    };
    step(1, "ACTIVE", None);
    let answer = step(2, "FINISHED", Some(receipt("4.20")));
    answer["number"].as_u64().unwrap()
}

/// A section for one more token.
pub fn section(name: &str, token: &TestToken, selector: &str) -> String {
    format!(
        "[[token]]\nname = {name:?}\nenvironment = \"TEST\"\nmodule = {:?}\n{selector}\npin_file = \"token.pin\"\n",
        token.module.to_str().unwrap()
    )
}

#[test]
fn a_server_starts_without_a_token_that_is_not_there_and_uses_it_when_it_appears() {
    let second = token::softhsm();
    let mut server = TestServer::builder()
        .by_serial()
        .pool_target(1)
        .section(&section(
            "second",
            &second,
            &format!("label = {:?}", second.label),
        ))
        .start();
    let till = Till::new(&server);
    till.sell();
    // Which of the two is first is a matter of chance.
    let of = server.store().token_of(till.tss.parse().unwrap()).unwrap();
    let (name, lost, other) = match of.unwrap() == second.label {
        true => ("second", second.clone(), "main"),
        false => ("main", server.token.clone(), "second"),
    };
    let mut away = None;
    server.restart_after(|_| away = Some(Away::take(&lost)));
    told_to_come_again(&till.step(&new_id(), 1, "ACTIVE", None));
    let (ready, tokens) = health(&till.api);
    assert!(ready, "{tokens}");
    assert_eq!(
        (&tokens[name]["state"], &tokens[name]["signs"]),
        (&"gone".into(), &false.into())
    );
    assert_eq!(tokens[name]["generation"], 0);
    assert_eq!(tokens[name]["label"], lost.label.as_str());
    assert_eq!(tokens[other]["signs"], true);
    // New TSSs get their keys in the token that is there, and sign.
    let newcomer = Till::new_by(&till.api);
    sell_patiently(&newcomer);
    told_to_come_again(&till.step(&new_id(), 1, "ACTIVE", None));
    drop(away);
    assert_eq!(sell_patiently(&till), 2);
    sell_patiently(&newcomer);
    let (_, tokens) = health(&till.api);
    assert_eq!(tokens[name]["state"], "ready");
}

#[test]
fn whether_every_token_is_needed_is_a_setting() {
    let second = token::softhsm();
    let mut server = TestServer::builder()
        .pool_target(0)
        .server_line("ready_when = \"every-token\"")
        .section(&section(
            "second",
            &second,
            &format!("label = {:?}", second.label),
        ))
        .start();
    let api = Api::new(&server);
    assert!(health(&api).0);
    let mut away = None;
    server.restart_after(|_| away = Some(Away::take(&second)));
    let (ready, tokens) = health(&api);
    assert!(!ready);
    assert_eq!(tokens["main"]["signs"], true);
    drop(away);
    wait_for("the second token", || health(&api).0.then_some(()));
}

#[test]
fn a_server_that_needs_every_token_does_not_start_without_one_and_none_starts_without_any() {
    use crate::support::installation::{Installation, siegel};
    let installation = Installation::new();
    let file = installation.path("siegel.toml");
    let text = fs::read_to_string(&file).unwrap();
    let (_, main) = text.split_once("[[token]]").unwrap();
    let second = main
        .replace("name = \"main\"", "name = \"second\"")
        .replace("label = \"", "label = \"other-");
    let start = |text: &str| {
        fs::write(&file, text).unwrap();
        let output = siegel()
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(&file)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let both = format!("{text}\n[[token]]{second}");
    let every = both.replace("[server]", "[server]\nstart_when = \"every-token\"");
    let told = start(&every);
    assert!(told.contains("the token second cannot be used"), "{told}");
    let none = text.replace("label = \"", "label = \"other-");
    let told = start(&none);
    assert!(told.contains("the token main cannot be used"), "{told}");
    // Never seen, and not chosen by its label: nobody knows which TSSs are its own.
    let (before, _) = second.split_once("label").unwrap();
    let unknown = format!(
        "{text}\n[[token]]{before}serial = \"0000000000000000\"\npin_file = \"token.pin\"\n\
         [token.module_env]\nSOFTHSM2_CONF = \"softhsm2.conf\"\n"
    );
    let told = start(&unknown);
    assert!(told.contains("its label is not known yet"), "{told}");
}
