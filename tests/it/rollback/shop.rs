//! An installation whose ledger can be backed up and put back, on either database.

use crate::http::client::{Api, Till, new_id, wait_for};
use crate::support::installation::{Installation, read_json, siegel, succeed};
use crate::support::ledger::Place;
use crate::support::places::postgres_program;
use serde_json::{Value, json};
use siegel::ledger::StoreConfig;
use siegel::terms::OrganizationId;
use siegel::verify::{Settings, verify_archive};
use std::fs;
use std::io::Cursor;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::{Command, Output};

pub struct Shop {
    pub installation: Installation,
    /// Only on PostgreSQL.
    pub place: Option<Place>,
}

impl Shop {
    /// Opens with its server running.
    pub fn open(place: Option<Place>) -> Self {
        let url = place.as_ref().map(url);
        let mut shop = Self::closed(url.as_deref());
        shop.place = place;
        shop.start();
        shop
    }

    /// Has never been opened; its ledger is in PostgreSQL where there is a URL.
    pub fn closed(postgres: Option<&str>) -> Self {
        let installation = Installation::new();
        if let Some(url) = postgres {
            let file = installation.path("siegel.toml");
            let text = fs::read_to_string(&file).unwrap();
            let text = text.replace("sqlite = \"siegel.db\"", &format!("postgres = {url:?}"));
            fs::write(file, text).unwrap();
        }
        installation.write_credentials("http://127.0.0.1/api/v2");
        Self {
            installation,
            place: None,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.installation.path(name)
    }

    pub fn start(&mut self) {
        let address = self.installation.start();
        self.installation.point_credentials_to(address);
    }

    pub fn stop(&mut self) {
        assert!(self.installation.stop());
    }

    /// Logs in at the server that runs now.
    pub fn api(&self) -> Api {
        let credentials = read_json(&self.path("demo/credentials.json"));
        let body = json!({
            "api_key": credentials["api_key"],
            "api_secret": credentials["api_secret"],
        });
        let url = credentials["base_url"].as_str().unwrap();
        let address = url.trim_start_matches("http://").split('/').next().unwrap();
        let nobody = Api {
            address: address.parse().unwrap(),
            organization: OrganizationId::new(uuid::Uuid::nil()),
            token: None,
        };
        let login = nobody.post("/auth", &body).ok();
        nobody.with_token(login["access_token"].as_str())
    }

    /// The same till at the server that runs now.
    pub fn at_home(&self, till: &Till) -> Till {
        Till {
            api: self.api(),
            ..till.clone()
        }
    }

    /// A backup as `src/ledger/README.md` says, while the server runs.
    pub fn back_up(&self) -> PathBuf {
        let file = self.path(&format!("backup-{}", new_id()));
        match &self.place {
            None => drop(succeed(self.ledger(&["backup", "--to"]).arg(&file))),
            Some(place) => {
                let mut dump = Command::new(postgres_program("pg_dump").unwrap());
                succeed(
                    dump.arg("--format=custom")
                        .arg("--file")
                        .arg(&file)
                        .arg(url(place)),
                );
            }
        }
        file
    }

    /// Puts a backup in the place of the ledger; the server must be stopped.
    pub fn put_back(&self, backup: &PathBuf) {
        match &self.place {
            None => {
                for ending in ["-wal", "-shm"] {
                    let _ = fs::remove_file(self.path(&format!("siegel.db{ending}")));
                }
                fs::copy(backup, self.path("siegel.db")).unwrap();
            }
            Some(place) => {
                place.on_server("DROP DATABASE");
                place.on_server("CREATE DATABASE");
                let mut restore = Command::new(postgres_program("pg_restore").unwrap());
                succeed(restore.arg("--dbname").arg(url(place)).arg(backup));
            }
        }
    }

    /// `siegel ledger …`
    pub fn ledger(&self, arguments: &[&str]) -> Command {
        let mut command = siegel();
        command
            .args(["ledger", "--config"])
            .arg(self.path("siegel.toml"))
            .args(arguments);
        command
    }

    /// What a `siegel ledger` command says, and its exit code.
    #[track_caller]
    pub fn told(&self, code: i32, arguments: &[&str]) -> String {
        let Output {
            status,
            stdout,
            stderr,
        } = self.ledger(arguments).output().unwrap();
        let text = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
        let text = text.concat();
        assert_eq!(status.code(), Some(code), "{arguments:?}: {text}");
        text
    }

    /// What `siegel ledger inspect` shows.
    #[track_caller]
    pub fn inspect(&self, code: i32) -> Value {
        let output = self.ledger(&["inspect", "--json"]).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{errors}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// An export of everything of a till's TSS.
    pub fn export(&self, till: &Till) -> Vec<u8> {
        let path = till.path(&format!("/export/{}", new_id()));
        till.api.put(&path, &json!({})).ok();
        wait_for("the export", || {
            (till.api.get(&path).ok()["state"] == "COMPLETED").then_some(())
        });
        till.api.get(&format!("{path}/file")).bytes
    }
}

fn url(place: &Place) -> String {
    match place.config() {
        StoreConfig::Postgres { url, .. } => url,
        StoreConfig::Sqlite { .. } => panic!("SQLite has no URL"),
    }
}

/// Log messages of an archive, by file name.
pub fn messages(archive: &[u8]) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            (name, bytes)
        })
        .filter(|(name, _)| name.ends_with(".log"))
        .collect()
}

/// Codes of the notes of the checker; it must have no findings.
#[track_caller]
pub fn notes(archive: &[u8]) -> Vec<String> {
    let settings = Settings::new(NonZeroUsize::MIN);
    let report = verify_archive(Cursor::new(archive), &settings).unwrap();
    assert_eq!(report.findings, []);
    let notes = report.notes.iter();
    notes.map(|note| note.code.code().to_owned()).collect()
}

/// Codes and texts of what the checker finds.
pub fn findings(archive: &[u8]) -> Vec<(String, String)> {
    let settings = Settings::new(NonZeroUsize::MIN);
    let report = verify_archive(Cursor::new(archive), &settings).unwrap();
    let findings = report.findings.iter();
    let told =
        |finding: &siegel::verify::Finding| (finding.code.code().to_owned(), finding.text.clone());
    findings.map(told).collect()
}

/// Signature counter of a message, as its file name says it.
pub fn counter_of(name: &str) -> u64 {
    let (_, after) = name.split_once("Sig-").unwrap();
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}
