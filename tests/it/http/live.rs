//! LIVE beside TEST: devices with certificates of a foreign CA, and nothing that crosses.

use super::client::{Api, Till, new_id, wait_for};
use super::exports::Export;
use super::routes::{SAMPLES, World};
use crate::support::foreign_ca::{Pki, Wish};
use crate::support::ledger;
use crate::support::server::{START_S, TestServer, TestServerBuilder};
use crate::support::token::{TestEntropy, TestToken};
use openssl::x509::X509;
use serde_json::json;
use siegel::app::ForeignCa;
use siegel::ledger::DeviceState;
use siegel::pki::{ForeignCertificate, WaitingDevice};
use siegel::terms::{Curve, Environment, SeTime, TssId};
use siegel::verify::{ArchiveReport, FindingCode, Settings, verify_archive};
use std::io::{Cursor, Read as _};
use std::num::NonZeroUsize;

/// Runs a test on SQLite, and on PostgreSQL where the run has a server.
fn on_each(build: impl Fn(TestServerBuilder) -> TestServerBuilder, test: impl Fn(&TestServer)) {
    test(&build(TestServer::builder()).start());
    if let Some(place) = ledger::postgres() {
        test(&build(TestServer::builder()).on(place).start());
    }
}

fn now(server: &TestServer) -> SeTime {
    SeTime::try_from(server.now_s()).unwrap()
}

/// Makes requests in this token, and returns who waits.
fn request(
    server: &TestServer,
    token: &TestToken,
    environment: Environment,
    count: usize,
) -> Vec<WaitingDevice> {
    let store = server.store();
    let foreign = ForeignCa::new(&store, &token.label, environment).unwrap();
    let csp = token.open();
    let make = |_| foreign.request(&csp, &TestEntropy, Curve::Secp256r1, now(server));
    (0..count).map(make).collect::<Result<_, _>>().unwrap()
}

/// Imports these certificates, while the server runs.
fn import(server: &TestServer, token: &TestToken, environment: Environment, files: &[Vec<u8>]) {
    let read = |file: &Vec<u8>| ForeignCertificate::read(file).unwrap();
    let given: Vec<_> = files.iter().flat_map(read).collect();
    let store = server.store();
    let foreign = ForeignCa::new(&store, &token.label, environment).unwrap();
    foreign.import(&given, now(server)).unwrap();
}

/// So many devices in this token, certified by this CA.
fn stock(
    server: &TestServer,
    token: &TestToken,
    environment: Environment,
    pki: &Pki,
    count: usize,
) {
    let waiting = request(server, token, environment, count);
    let certify = |waiting: &WaitingDevice| pki.certify(waiting, server.now_s());
    let mut files: Vec<_> = waiting.iter().map(certify).collect();
    files.push(pki.chain());
    import(server, token, environment, &files);
}

/// A key for LIVE, of an organisation that has one for TEST too.
fn both_keys(server: &TestServer) -> (Api, Api) {
    let credentials = server.organization();
    let live = server.api_key(credentials.organization, Environment::Live);
    let test = Api::log_in(server, &credentials);
    (test, Api::log_in(server, &live))
}

fn report(archive: &[u8], root: &X509) -> ArchiveReport {
    let mut settings = Settings::new(NonZeroUsize::MIN);
    settings.trust("root", &root.to_der().unwrap()).unwrap();
    verify_archive(Cursor::new(archive), &settings).unwrap()
}

/// The text of a file in an archive.
fn file_in(archive: &[u8], name: &str) -> String {
    let mut archive = tar::Archive::new(Cursor::new(archive));
    let mut entries = archive.entries().unwrap().map(Result::unwrap);
    let mut found = entries
        .find(|entry| entry.path().unwrap().to_str() == Some(name))
        .unwrap_or_else(|| panic!("there is no {name}"));
    let mut text = String::new();
    found.read_to_string(&mut text).unwrap();
    text
}

fn root_of(server: &TestServer, till: &Till) -> X509 {
    let id: TssId = till.tss.parse().unwrap();
    let chain = server.store().chain(id).unwrap();
    assert_eq!(chain.len(), 3, "leaf, issuing CA, root");
    X509::from_der(&chain[2].1).unwrap()
}

#[test]
fn a_live_tss_is_made_while_the_server_runs_signs_and_verifies_under_the_foreign_root() {
    on_each(
        |builder| builder.live(1),
        |server| {
            let pki = Pki::new(START_S);
            let (test, live) = both_keys(server);
            // Whatever TEST has, LIVE has none yet.
            let in_test = Till::new_by(&test);
            let path = format!("/tss/{}", new_id());
            let refused = live.put(&path, &json!({}));
            refused.refused(503, "E_SMAERS_GATEWAY_CAPACITIES_DEPLETED");
            stock(server, &server.live[0], Environment::Live, &pki, 2);
            let made = live.put(&path, &json!({})).ok();
            assert_eq!(made["_env"], "LIVE");
            let counter = live.counter(made["_id"].as_str().unwrap());
            assert_eq!(counter, 4, "the request was 1");
            let shown = live.get(&path).ok();
            let description = shown["description"].as_str().unwrap();
            assert!(description.starts_with("Siegel TSE (not certified) ("));
            assert_eq!(
                (&shown["_env"], &shown["bsi_certification_id"]),
                (&json!("LIVE"), &json!(""))
            );

            let till = Till::new_by(&live);
            let sold = till.sell();
            assert_eq!(sold["_env"], "LIVE");
            let archive = Export::new(&till).bytes("");
            let root = root_of(server, &till);
            assert!(root == pki.root.certificate);
            let found = report(&archive, &root);
            assert_eq!(found.findings, []);
            assert!(found.logs >= 8 && found.signatures_valid == found.logs);
            let info = file_in(&archive, "info.csv");
            assert!(info.contains("nicht BSI-zertifiziert"), "{info}");
            assert!(info.contains("Siegel TSE (not certified)"), "{info}");
            assert!(!info.contains("test operation"), "{info}");

            // The two have no issuer in common.
            let test_root = root_of(server, &in_test);
            let untrusted = report(&archive, &test_root);
            let codes = untrusted.findings.iter().map(|finding| finding.code);
            assert!(
                codes
                    .into_iter()
                    .all(|code| code == FindingCode::ChainUntrusted)
            );
            assert!(!untrusted.findings.is_empty());
            in_test.sell();
            let archive = Export::new(&in_test).bytes("");
            assert_eq!(report(&archive, &test_root).findings, []);
            assert_ne!(report(&archive, &root).findings, []);
            assert!(file_in(&archive, "info.csv").contains("test operation"));

            // That was all there was.
            let refused = live.put(&format!("/tss/{}", new_id()), &json!({}));
            refused.refused(503, "E_SMAERS_GATEWAY_CAPACITIES_DEPLETED");
            Till::new_by(&test);
        },
    );
}

#[test]
fn a_key_of_one_environment_finds_nothing_of_the_other_on_any_route() {
    on_each(
        |builder| builder.live(1),
        |server| {
            stock(
                server,
                &server.live[0],
                Environment::Live,
                &Pki::new(START_S),
                1,
            );
            let (test, live) = both_keys(server);
            let worlds = [
                World::of(Till::new_by(&test)),
                World::of(Till::new_by(&live)),
            ];
            for (world, other) in [(&worlds[0], &live), (&worlds[1], &test)] {
                let before = world.till.api.get(&world.till.path("")).ok();
                let mut asked = 0;
                for sample in SAMPLES {
                    if !sample.path.contains("{tss_id}") {
                        continue;
                    }
                    asked += 1;
                    let answer = sample.call(world, &sample.filled(world), other);
                    match (sample.method, sample.path) {
                        ("PUT", "/api/v2/tss/{tss_id}") => {
                            drop(answer.refused(409, "E_TSS_CONFLICT"))
                        }
                        _ => drop(answer.refused(404, "E_TSS_NOT_FOUND")),
                    }
                }
                assert!(asked > 24, "{asked} routes name a TSS");
                let after = world.till.api.get(&world.till.path("")).ok();
                assert_eq!(after, before);
            }
            for (world, api, environment) in
                [(&worlds[0], &test, "TEST"), (&worlds[1], &live, "LIVE")]
            {
                for list in ["/tss", "/client", "/tx", "/export"] {
                    let found = api.get(list).ok();
                    assert_eq!(found["_env"], environment);
                    assert_eq!(found["count"], 1, "{list} of {environment}");
                    assert_eq!(found["data"][0]["_env"], environment);
                }
                let found = api.get("/tss").ok();
                assert_eq!(found["data"][0]["_id"], *world.till.tss);
            }
        },
    );
}

#[test]
fn a_new_tss_goes_to_the_token_of_its_environment_that_has_a_device() {
    on_each(
        |builder| builder.live(3),
        |server| {
            let pki = Pki::new(START_S);
            let (_, live) = both_keys(server);
            // One device here, two there; which token comes first depends on the TSS.
            stock(server, &server.live[1], Environment::Live, &pki, 1);
            stock(server, &server.live[2], Environment::Live, &pki, 2);
            let mut tokens: Vec<_> = (0..3)
                .map(|_| {
                    let id = new_id();
                    live.put(&format!("/tss/{id}"), &json!({})).ok();
                    server.store().token_of(id.parse().unwrap()).unwrap()
                })
                .collect();
            let [_, one, two] = [0, 1, 2].map(|at| Some(server.live[at].label.clone()));
            let mut expected = vec![one, two.clone(), two];
            tokens.sort();
            expected.sort();
            assert_eq!(tokens, expected);
            let refused = live.put(&format!("/tss/{}", new_id()), &json!({}));
            refused.refused(503, "E_SMAERS_GATEWAY_CAPACITIES_DEPLETED");
        },
    );
}

#[test]
fn with_a_foreign_ca_for_test_the_pool_makes_nothing_and_gives_what_was_imported() {
    on_each(TestServerBuilder::foreign, |server| {
        let api = Api::new(server);
        let path = format!("/tss/{}", new_id());
        let refused = api.put(&path, &json!({}));
        refused.refused(503, "E_SMAERS_GATEWAY_CAPACITIES_DEPLETED");
        assert_eq!(server.token.open().key_ids().unwrap(), []);
        assert_eq!(server.store().cas(Environment::Test).unwrap(), []);

        let pki = Pki::new(START_S);
        stock(server, &server.token, Environment::Test, &pki, 1);
        let made = api.put(&path, &json!({})).ok();
        assert_eq!(made["_env"], "TEST");
        let id: TssId = made["_id"].as_str().unwrap().parse().unwrap();
        let chain = server.store().chain(id).unwrap();
        assert_eq!(chain[2].1, pki.root.certificate.to_der().unwrap());
        assert_eq!(server.token.open().key_ids().unwrap().len(), 1);
    });
}

#[test]
fn no_tss_is_made_of_a_device_whose_certificate_has_ended() {
    let server = TestServer::builder().live(1).start();
    let (_, live) = both_keys(&server);
    let pki = Pki::new(START_S);
    let waiting = request(&server, &server.live[0], Environment::Live, 1);
    let mut wish = Wish::device(&waiting[0], START_S);
    wish.valid.1 = START_S + 3600;
    let certificate = pki.issuing.issue(&wish).to_der().unwrap();
    let files = [certificate, pki.chain()];
    import(&server, &server.live[0], Environment::Live, &files);
    server.advance(3600);
    let state = || {
        let rows = server.store().devices().unwrap();
        let mut of_live = rows
            .iter()
            .filter(|row| row.environment == Environment::Live);
        of_live.next().unwrap().state
    };
    wait_for("the end of the device", || {
        (state() == DeviceState::Unusable).then_some(())
    });
    let refused = live.put(&format!("/tss/{}", new_id()), &json!({}));
    refused.refused(503, "E_SMAERS_GATEWAY_CAPACITIES_DEPLETED");
}
