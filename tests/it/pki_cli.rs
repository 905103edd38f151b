//! `siegel pki` through the built binary, with the commands of the README and OpenSSL as the authority.

use crate::http::client::{Api, Till, new_id, wait_for};
use crate::http::exports::Export;
use crate::readme::{block, printed};
use crate::support::installation::{Installation, siegel, succeed};
use crate::support::ledger::{self, Place};
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use serde_json::{Value, json};
use siegel::ledger::StoreConfig;
use siegel::signing::DEVICE_FLAWS;
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// An installation with a second token, for LIVE, and a folder in which the README's commands run.
struct Site {
    installation: Installation,
    here: TempDir,
    _place: Option<Place>,
}

impl Site {
    fn new() -> Self {
        Self::on(None)
    }

    fn on(place: Option<Place>) -> Self {
        let installation = Installation::new();
        let tool = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", "siegel-live"])
            .args(["--so-pin", "12345678", "--pin", "87654321"])
            .env("SOFTHSM2_CONF", installation.path("softhsm2.conf"))
            .output()
            .expect("softhsm2-util is installed with SoftHSM");
        assert!(tool.status.success());
        let pin = installation.path("live.pin");
        fs::write(&pin, "87654321").unwrap();
        fs::set_permissions(pin, Permissions::from_mode(0o600)).unwrap();
        let file = installation.path("siegel.toml");
        let text = fs::read_to_string(&file).unwrap();
        let (_, main) = text.split_once("[[token]]").unwrap();
        let live = main
            .replace("\"main\"", "\"live\"")
            .replace("\"TEST\"", "\"LIVE\"")
            .replace("\"siegel-test\"", "\"siegel-live\"")
            .replace("token.pin", "live.pin");
        // The sentence as the README has it.
        let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        let readme = fs::read_to_string(readme).unwrap();
        let mut lines = readme.lines();
        let sentence = lines.find(|line| line.starts_with("danger_uncertified_live"));
        let ledger = match place.as_ref().map(Place::config) {
            Some(StoreConfig::Postgres { url, .. }) => {
                format!("postgres = {url:?}\ndanger_live_without_standby = true")
            }
            Some(StoreConfig::Sqlite { .. }) | None => "sqlite = \"siegel.db\"".to_owned(),
        };
        let text = text.replace("sqlite = \"siegel.db\"", &ledger);
        let sentence = sentence.expect("the README has the sentence");
        fs::write(file, format!("{sentence}\n{text}\n[[token]]{live}")).unwrap();
        let here = tempfile::tempdir().unwrap();
        symlink(installation.path(""), here.path().join("var")).unwrap();
        Self {
            installation,
            here,
            _place: place,
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.here.path().join(name)
    }

    fn siegel(&self, arguments: &[&str]) -> Command {
        let mut command = siegel();
        command.args(arguments).current_dir(self.here.path());
        command
    }

    /// The document that a command prints with `--json`.
    fn json(&self, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["--json"]].concat();
        let output = succeed(&mut self.siegel(&arguments));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn request(&self, arguments: &[&str]) -> Vec<String> {
        let command = ["pki", "request", "--token", "live"];
        let told = self.json(&[&command, arguments].concat());
        let requests = told["requests"].as_array().unwrap();
        requests
            .iter()
            .map(|one| one["serial_number"].as_str().unwrap().to_owned())
            .collect()
    }

    /// How many devices of LIVE stand where.
    fn counts(&self) -> BTreeMap<String, u64> {
        let told = self.json(&["pki", "list", "--token", "live"]);
        let Some(token) = told["tokens"].get(0) else {
            return BTreeMap::new();
        };
        assert_eq!(token["environment"], "LIVE");
        let states = ["waiting", "ready", "used", "unusable"];
        states
            .map(|state| (state.to_owned(), token[state].as_u64().unwrap()))
            .into()
    }

    fn waiting_ready(&self) -> (u64, u64) {
        let counts = self.counts();
        (counts["waiting"], counts["ready"])
    }

    /// Plays the authority for all requests.
    fn certify(&self) {
        printed(&block("mkdir authority"), self.here.path());
    }

    fn import(&self) {
        printed(&block("siegel pki import"), self.here.path());
    }

    fn refused(&self, arguments: &[&str], code: i32, says: &str) {
        let output = self.siegel(arguments).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        assert!(told.contains(says), "{arguments:?} was told {told:?}");
    }

    /// An organisation with a key for LIVE; the ledger must be free.
    fn live_key(&self) -> Value {
        let shop = self.json(&["admin", "organization", "create", "Corner shop"]);
        let id = shop["id"].as_str().unwrap();
        let create = ["admin", "api-key", "create", id, "till-1"];
        self.json(&[create.as_slice(), &["--environment", "LIVE"]].concat())
    }
}

fn logged_in(address: SocketAddr, key: &Value) -> Api {
    let mut api = Api {
        address,
        organization: key["organization"].as_str().unwrap().parse().unwrap(),
        token: None,
    };
    let body = json!({"api_key": key["api_key"], "api_secret": key["api_secret"]});
    let answer = api.post("/auth", &body).ok();
    api.token = Some(answer["access_token"].as_str().unwrap().to_owned());
    api
}

#[test]
fn the_way_of_the_readme_leads_from_requests_to_a_live_export_that_verifies() {
    let mut site = Site::new();
    printed(&block("siegel pki request"), site.here.path());
    assert_eq!(site.waiting_ready(), (3, 0));
    site.certify();
    site.import();
    assert_eq!(site.waiting_ready(), (0, 3));
    let told = site.json(&["pki", "list"]);
    let device = &told["devices"][0];
    assert_eq!(device["state"], "ready");
    assert_eq!(device["curve"], "secp256r1");
    assert!((2918..=2920).contains(&device["days_left"].as_i64().unwrap()));
    assert_eq!(
        told["tokens"][0]["ready_days_left_min"],
        device["days_left"]
    );
    // Again, nothing changes.
    site.import();
    assert_eq!(site.waiting_ready(), (0, 3));

    let key = site.live_key();
    let address = site.installation.start();
    let till = Till::new_by(&logged_in(address, &key));
    till.sell();
    fs::write(site.path("export.tar"), Export::new(&till).bytes("")).unwrap();
    let verify = ["verify", "--trust", "authority/root.pem", "export.tar"];
    succeed(&mut site.siegel(&verify));
    assert!(site.installation.stop());
    let counts = site.counts();
    assert_eq!((counts["ready"], counts["used"]), (2, 1));
    // The issuer is as the authority calls itself, and nothing of the TEST CA is in the archive.
    let names = succeed(Command::new("tar").arg("tf").arg(site.path("export.tar")));
    let names = String::from_utf8(names.stdout).unwrap();
    assert_eq!(names.matches("_X509.cer").count(), 3, "{names}");
}

#[test]
fn a_server_on_postgresql_takes_devices_that_other_processes_make_while_it_runs() {
    let Some(place) = ledger::postgres() else {
        return;
    };
    let mut site = Site::on(Some(place));
    let key = site.live_key();
    let address = site.installation.start();
    let api = logged_in(address, &key);
    let path = format!("/tss/{}", new_id());
    let refused = api.put(&path, &json!({}));
    refused.refused(503, "E_SMAERS_GATEWAY_CAPACITIES_DEPLETED");
    printed(&block("siegel pki request"), site.here.path());
    let refused = api.put(&path, &json!({}));
    refused.refused(503, "E_SMAERS_GATEWAY_CAPACITIES_DEPLETED");
    site.certify();
    site.import();
    for _ in 0..3 {
        let till = Till::new_by(&api);
        till.sell();
    }
    let counts = site.counts();
    assert_eq!((counts["used"], counts["unusable"]), (3, 0));
    assert!(site.installation.stop());
}

#[test]
fn an_interrupted_run_leaves_whole_requests_that_are_written_again_byte_for_byte() {
    let site = Site::new();
    let mut run = site
        .siegel(&["pki", "request", "--token", "live", "--count", "1000"])
        .args(["--out", "requests"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let files = |folder: &str| -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(site.path(folder)).into_iter().flatten();
        let entries = entries.map(|entry| entry.unwrap().path());
        let requests = entries.filter(|path| path.extension().is_some_and(|end| end == "csr"));
        requests
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, fs::read(path).unwrap())
            })
            .collect()
    };
    wait_for("some requests", || {
        (files("requests").len() >= 5).then_some(())
    });
    run.kill().unwrap();
    run.wait().unwrap();

    let first = files("requests");
    let (waiting, ready) = site.waiting_ready();
    let waiting = usize::try_from(waiting).unwrap();
    assert_eq!(ready, 0);
    // The row comes before the file.
    assert!((first.len()..=first.len() + 1).contains(&waiting));
    let again = site.request(&["--again", "--out", "again"]);
    assert_eq!(again.len(), waiting);
    let second = files("again");
    assert_eq!(second.len(), waiting);
    for (name, request) in &first {
        assert_eq!(second.get(name), Some(request), "{name}");
    }
    for name in second.keys() {
        let mut check = Command::new("openssl");
        check.args(["req", "-verify", "-noout", "-in"]);
        succeed(check.arg(site.path("again").join(name)));
    }
    // What is missing is made by another run.
    let more = site.request(&["--count", "2", "--curve", "secp384r1", "--out", "again"]);
    assert!(more.iter().all(|serial| !again.contains(serial)));
    assert_eq!(files("again").len(), waiting + 2);
}

#[test]
fn what_may_not_be_taken_is_told_and_changes_nothing() {
    let mut site = Site::new();
    let file = site.installation.path("siegel.toml");
    let text = fs::read_to_string(&file).unwrap();
    let (_, live) = text.rsplit_once("[[token]]").unwrap();
    let spare = live
        .replace("\"live\"", "\"spare\"\nstandby_of = \"live\"")
        .replace("\"siegel-live\"", "\"siegel-spare\"");
    fs::write(&file, format!("{text}\n[[token]]{spare}")).unwrap();
    let told = "\"spare\" is a standby, with the keys of \"live\"";
    let of_spare = ["pki", "request", "--token", "spare", "--count", "1"];
    site.refused(&[of_spare.as_slice(), &["--out", "x"]].concat(), 2, told);
    fs::write(&file, text).unwrap();
    let serials = site.request(&["--count", "2", "--out", "requests"]);
    site.certify();
    let import = ["pki", "import", "--token", "live"];
    let with = |more: &[&'static str]| [import.as_slice(), more].concat();
    let chain = ["--chain", "authority/chain.pem"];
    let certificates = ["authority/issuing.pem"];
    site.refused(
        &with(&[&certificates, chain.as_slice()].concat()),
        1,
        "only of CAs",
    );
    fs::copy(
        site.path("certificates")
            .join(format!("{}.pem", serials[0])),
        site.path("one.pem"),
    )
    .unwrap();
    site.refused(&with(&["one.pem"]), 1, "add it with --chain");
    let elsewhere = ["pki", "import", "--token", "main", "one.pem"];
    let told = "is in the token \"siegel-live\" for LIVE";
    site.refused(&[elsewhere.as_slice(), &chain].concat(), 1, told);
    site.refused(&with(&["authority/root.key"]), 2, "no X.509 certificate");
    site.refused(&with(&["nowhere.pem"]), 2, "nowhere.pem could not be read");
    site.refused(&["pki", "list", "--token", "x"], 2, "no [[token]] section");
    let request = ["pki", "request", "--token", "live", "--out", "requests"];
    site.refused(&request, 2, "--count");
    site.refused(&[request.as_slice(), &["--count", "0"]].concat(), 2, "0");
    let curve = ["--count", "1", "--curve", "secp521r1"];
    site.refused(&[request.as_slice(), &curve].concat(), 2, "secp384r1");
    assert_eq!(site.waiting_ready(), (2, 0));
    // As a witness leaves it that knows signatures of this key for a TSS which was lost.
    let ledger = site.installation.path("siegel.db");
    SqliteConnection::establish(ledger.to_str().unwrap())
        .unwrap()
        .batch_execute("UPDATE device_request SET unusable_reason = 'it has signed'")
        .unwrap();
    let told = "gets no certificate: it has signed";
    site.refused(&with(&["one.pem", chain[0], chain[1]]), 1, told);
    assert_eq!(site.waiting_ready(), (0, 0));
    assert_eq!(site.counts()["unusable"], 2);

    site.installation.start();
    site.refused(&["pki", "list"], 2, "in use by another process");
}

#[test]
fn the_module_is_not_asked_for_the_label_that_the_ledger_knows() {
    let site = Site::new();
    site.request(&["--count", "1", "--out", "requests"]);
    let file = site.installation.path("siegel.toml");
    let text = fs::read_to_string(&file).unwrap();
    // It is away, and was chosen by its serial number.
    let away = text.replace("label = \"siegel-live\"", "serial = \"0000000000000000\"");
    assert_ne!(text, away);
    fs::write(file, away).unwrap();
    assert_eq!(site.waiting_ready(), (1, 0));
}

#[test]
fn a_device_that_was_set_aside_for_its_key_is_taken_back_by_hand_and_no_other_one() {
    let site = Site::new();
    let serials = site.request(&["--count", "2", "--out", "requests"]);
    site.certify();
    site.import();
    let path = site.installation.path("siegel.db");
    let mut ledger = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    for (serial, reason) in serials.iter().zip([DEVICE_FLAWS[0], "its key has signed"]) {
        let mark = format!(
            "UPDATE device SET unusable_reason = '{reason}' WHERE serial_number = '{serial}'"
        );
        ledger.batch_execute(&mark).unwrap();
    }
    drop(ledger);
    assert_eq!(site.counts()["unusable"], 2);
    let readmit = ["pki", "readmit", &serials[0], &serials[1]];
    let output = site.siegel(&readmit).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains(&format!("{}  ready", serials[0])), "{told}");
    let counts = site.counts();
    assert_eq!((counts["ready"], counts["unusable"]), (1, 1));
}
