//! The pool of prepared devices, as a running node keeps it.

use crate::support::ledger::{self, Place, device, to_create};
use crate::support::token::{self, PIN, TestClock, TestEntropy, TestToken};
use siegel::app::{Node, NodeError};
use siegel::config::{Config, UNCERTIFIED_LIVE_SENTENCE};
use siegel::csp::KeyId;
use siegel::ledger::{OrganizationRow, SealingKey, Store, StoreConfig};
use siegel::pki::CaRole;
use siegel::sma::{Caller, Command, CredentialDigest, MetadataPatch, NewTss};
use siegel::terms::{Clock, Environment, LogFormat, OrganizationId, SeTime, SessionId, TssId};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, mpsc};
use tempfile::TempDir;
use uuid::Uuid;

const TARGET: u64 = 3;

/// A node on a token and a folder of its own.
struct Site {
    folder: TempDir,
    token: TestToken,
}

impl Site {
    fn new() -> Self {
        Self::on(&ledger::sqlite())
    }

    /// The ledger of a site on SQLite is a file in its folder, whatever the place.
    fn on(place: &Place) -> Self {
        let ledger = match place.config() {
            StoreConfig::Sqlite { .. } => "sqlite = \"ledger.db\"".to_owned(),
            StoreConfig::Postgres { url, .. } => format!("postgres = {url:?}"),
        };
        let folder = tempfile::tempdir().unwrap();
        SealingKey::create_file(&folder.path().join("seal.key"), &TestEntropy).unwrap();
        let token = token::softhsm();
        let pin = folder.path().join("token.pin");
        std::fs::write(&pin, PIN).unwrap();
        std::fs::set_permissions(&pin, Permissions::from_mode(0o600)).unwrap();
        let text = format!(
            r#"
[server]
listen = "127.0.0.1:0"

[ledger]
{ledger}

[secrets]
seal_key_file = "seal.key"

[pki]
pool_target = {TARGET}

[[token]]
name = "main"
environment = "TEST"
module = "{}"
label = "{}"
pin_file = "token.pin"
"#,
            token.module.display(),
            token.label
        );
        std::fs::write(folder.path().join("siegel.toml"), text).unwrap();
        Self { folder, token }
    }

    fn config(&self) -> Config {
        Config::read(&self.folder.path().join("siegel.toml")).unwrap()
    }

    fn start(&self) -> Node {
        Node::start(&self.config(), TestClock::start(), Arc::new(TestEntropy)).unwrap()
    }
}

/// Waits until the pool is full.
fn wait_until_full(store: &Store) {
    let patience = TestClock::start();
    while store.free_devices(Environment::Test).unwrap() < TARGET {
        assert!(patience.monotonic_ms() < 60_000, "the pool does not fill");
        std::thread::yield_now();
    }
}

fn organization(store: &Store) -> OrganizationId {
    let id = OrganizationId::new(Uuid::from_u128(1));
    let row = OrganizationRow {
        id,
        name: "Tester".to_owned(),
        time_creation: SeTime::UNSET,
    };
    store.add_organization(&row).unwrap();
    id
}

/// Assigns a TSS, as the HTTP door does.
fn assign(node: &Node, organization: OrganizationId, tss: u128) {
    let caller = Caller {
        organization,
        environment: Environment::Test,
        session: SessionId::new(Uuid::from_u128(9)),
    };
    let new = NewTss {
        format: LogFormat::V2,
        salt: [0; 16],
        puk: CredentialDigest::new([0; 32]),
        sealed_puk: Vec::new(),
        metadata: MetadataPatch::new(),
    };
    let (answer, waiting) = mpsc::channel();
    let reply = Box::new(move |result| answer.send(result).unwrap());
    let id = TssId::new(Uuid::from_u128(tss));
    let command = Command::Assign(Box::new(new));
    node.door().lanes.submit(id, caller, command, reply);
    waiting.recv().unwrap().unwrap();
    (node.door().device_taken)();
}

#[test]
fn the_pool_fills_at_start_and_again_when_a_tss_takes_a_device() {
    let site = Site::new();
    let node = site.start();
    let store = node.door().store;
    let at_once = store.free_devices(Environment::Test).unwrap();
    assert!(at_once >= 1, "the first call must find a device");
    wait_until_full(&store);
    let organization = organization(&store);
    assign(&node, organization, 2);
    assign(&node, organization, 3);
    wait_until_full(&store);
    node.stop();
    // Stopped in the middle of nothing: full, not fuller.
    assert_eq!(store.free_devices(Environment::Test).unwrap(), TARGET);

    // Every device came from one CA, and every key in the token is one that the ledger knows.
    let cas = store.cas(Environment::Test).unwrap();
    assert_eq!(cas.len(), 2);
    let issuing = cas.iter().find(|ca| ca.role == CaRole::Issuing).unwrap();
    let chain = store.chain(TssId::new(Uuid::from_u128(2))).unwrap();
    assert_eq!(chain[1].0, issuing.serial_number);
    let mut known: Vec<KeyId> = store.known_keys(&site.token.label).unwrap();
    let mut found = site.token.open().key_ids().unwrap();
    known.sort();
    found.sort();
    assert_eq!(known, found);
    assert_eq!(known.len(), 2 + 2 + usize::try_from(TARGET).unwrap());
}

#[test]
fn a_till_that_calls_a_fresh_node_at_once_gets_a_device() {
    let site = Site::new();
    let node = site.start();
    // Whoever was told that the node is there must not find an empty pool.
    let free = node.door().store.free_devices(Environment::Test).unwrap();
    node.stop();
    assert!(free >= 1, "the pool was empty");
}

#[test]
fn a_restart_finds_its_ca_and_makes_no_more_than_is_missing() {
    let site = Site::new();
    let count = || {
        let node = site.start();
        let store = node.door().store;
        wait_until_full(&store);
        node.stop();
        let free = store.free_devices(Environment::Test).unwrap();
        (free, store.cas(Environment::Test).unwrap().len())
    };
    assert_eq!(count(), (TARGET, 2));
    assert_eq!(count(), (TARGET, 2));
    assert_eq!(site.token.open().key_ids().unwrap().len(), 2 + 3);
}

/// Runs a promise on SQLite, and on PostgreSQL where the run has a server.
fn on_both(promise: impl Fn(&Site)) {
    promise(&Site::new());
    if let Some(place) = ledger::postgres() {
        promise(&Site::on(&place));
    }
}

#[test]
fn a_free_device_whose_key_is_gone_or_another_is_passed_over_and_replaced() {
    on_both(|site| {
        let node = site.start();
        let store = node.door().store;
        let organization = organization(&store);
        // The key of the device that the next TSS would get.
        let next_key = || {
            let mut lane = store.lane_for_token(&site.token.label).unwrap();
            let id = TssId::new(Uuid::from_u128(99));
            let mut held = lane.lock(&to_create(&[id])).unwrap();
            held.take_loaded().remove(&id).unwrap().key.unwrap().id
        };
        wait_until_full(&store);
        let gone = next_key();
        site.token.elsewhere(&format!("destroy {gone}"));
        assign(&node, organization, 2);
        wait_until_full(&store);
        let another = next_key();
        assert_ne!(another, gone);
        site.token.elsewhere(&format!("destroy {another}"));
        site.token.elsewhere(&format!("make {another}"));
        assign(&node, organization, 3);
        assign(&node, organization, 4);
        wait_until_full(&store);
        node.stop();
        // Two of the CA, three of TSSs; and the bad ones are not forgotten.
        let known = store.known_keys(&site.token.label).unwrap();
        assert_eq!(known.len(), 2 + 3 + usize::try_from(TARGET).unwrap() + 2);
        assert!(known.contains(&gone) && known.contains(&another));
        assert_eq!(store.free_devices(Environment::Test).unwrap(), TARGET);
    });
}

#[test]
fn devices_in_a_token_that_is_not_configured_neither_fill_the_pool_nor_are_taken() {
    on_both(|site| {
        let config = site.config();
        let store = Store::open(&config.store, &TestEntropy).unwrap();
        for made in 0..i64::try_from(TARGET).unwrap() {
            let old = device("no longer configured", Environment::Test, made);
            store.add_device(&old).unwrap();
        }
        drop(store);
        let node = site.start();
        let store = node.door().store;
        let organization = organization(&store);
        assign(&node, organization, 2);
        let token = store.token_of(TssId::new(Uuid::from_u128(2))).unwrap();
        assert_eq!(token.as_ref(), Some(&site.token.label));
        let patience = TestClock::start();
        let label = &site.token.label;
        while store.free_devices_in(label, Environment::Test).unwrap() < TARGET {
            assert!(patience.monotonic_ms() < 60_000, "the pool does not fill");
            std::thread::yield_now();
        }
        node.stop();
        let free = store.free_devices(Environment::Test).unwrap();
        assert_eq!(free, 2 * TARGET);
    });
}

#[test]
fn a_token_does_not_become_one_of_the_other_environment_by_a_word() {
    on_both(|site| {
        site.start().stop();
        let file = site.folder.path().join("siegel.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let live = text.replace("\"TEST\"", "\"LIVE\"");
        let sentence = format!("danger_uncertified_live = {UNCERTIFIED_LIVE_SENTENCE:?}");
        let live = live.replace(
            "postgres = ",
            "danger_live_without_standby = true\npostgres = ",
        );
        std::fs::write(&file, format!("{sentence}\n{live}")).unwrap();
        let keys = site.token.open().key_ids().unwrap();
        let started = Node::start(&site.config(), TestClock::start(), Arc::new(TestEntropy));
        let Err(NodeError::EnvironmentsMixed { label, .. }) = started.map(drop) else {
            panic!("keys of TEST were taken for LIVE")
        };
        assert_eq!(label, site.token.label);
        assert_eq!(site.token.open().key_ids().unwrap(), keys);
    });
}
