//! `siegel hsm`, through the built binary.

use crate::support::elsewhere::lines;
use crate::support::token::{self, Module, PIN, TestToken};
use siegel::csp::pkcs11::{RawToken, Selector};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// What a run of the binary came to.
struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs `siegel hsm` without the variables of the modules: those come from the configuration.
fn hsm(arguments: &[&str]) -> Run {
    run(command(arguments)
        .env_remove("SOFTHSM2_CONF")
        .env_remove("KRYOPTIC_CONF"))
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_siegel"));
    command.arg("hsm").args(arguments);
    command
}

fn run(command: &mut Command) -> Run {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let run = Run {
        code: status.code().unwrap(),
        stdout: text(stdout),
        stderr: text(stderr),
    };
    for secret in [PIN, WRONG_PIN] {
        assert!(!run.stdout.contains(secret), "{}", run.stdout);
        assert!(!run.stderr.contains(secret), "{}", run.stderr);
    }
    run
}

const WRONG_PIN: &str = "wrong-pin-0000";

/// A folder with a configuration, as an operator has it.
struct Site {
    folder: TempDir,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("siegel.toml"), "").unwrap();
        Self { folder }
    }

    fn config(&self) -> String {
        let path = self.folder.path().join("siegel.toml");
        path.to_str().unwrap().to_owned()
    }

    fn write(self, text: &str) -> Self {
        let whole = fs::read_to_string(self.config()).unwrap() + text;
        fs::write(self.config(), whole).unwrap();
        self
    }

    fn write_pin(&self, name: &str, pin: &str, mode: u32) {
        let path = self.folder.path().join(name);
        fs::write(&path, format!("{pin}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Adds the section that stands in `hsm-config`, with the operator's own module, label and PIN.
    fn with(self, token: &TestToken, pin: &str) -> Self {
        let mut section = section(token.kind.folder());
        let token_table = section["token"][0].as_table_mut().unwrap();
        let pin_file = token_table["pin_file"].as_str().unwrap().to_owned();
        self.write_pin(&pin_file, pin, 0o600);
        token_table["module"] = token.module.to_str().unwrap().into();
        token_table["label"] = token.label.as_str().into();
        // The configuration of the module lies beside ours.
        let environment = token.environment();
        for (variable, value) in token_table["module_env"].as_table().unwrap() {
            let beside = self.folder.path().join(value.as_str().unwrap());
            fs::copy(&environment[variable.as_str()], beside).unwrap();
        }
        self.write(&toml::to_string(&section).unwrap())
    }
}

fn hsm_config() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("hsm-config")
}

fn section(module: &str) -> toml::Table {
    let path = hsm_config().join(module).join("siegel-token.toml");
    toml::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The lines of the table with this verdict.
fn with_verdict(run: &Run, verdict: &str) -> BTreeSet<String> {
    run.stdout
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.strip_prefix(verdict))
        .map(|line| line.trim_start().trim_start_matches("needed").trim_start())
        .map(|line| line.split("  ").next().unwrap().to_owned())
        .collect()
}

fn suffices_and_leaves_nothing(token: &TestToken) {
    let site = Site::new().with(token, PIN);
    let run = hsm(&["check", "--config", &site.config()]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.ends_with("suffices\n"), "{}", run.stdout);
    let capabilities = hsm_config()
        .join(token.kind.folder())
        .join("capabilities.toml");
    let capabilities: toml::Table =
        toml::from_str(&fs::read_to_string(capabilities).unwrap()).unwrap();
    let cannot = capabilities["cannot"].as_array().unwrap();
    let cannot: BTreeSet<String> = cannot
        .iter()
        .map(|line| line.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(with_verdict(&run, "fails"), cannot, "{}", run.stdout);
    assert_eq!(with_verdict(&run, "works").len() + cannot.len(), 29);
    assert_eq!(with_verdict(&run, "measured").len(), 3);
    for label in ["siegel-probe", "siegel-canary"] {
        let left = token.elsewhere(&format!("objects {label}"));
        assert_eq!(lines(&left), ["[0, 0, 0]"], "{label}");
    }
}

#[test]
fn softhsm_as_its_folder_says_suffices_and_nothing_is_left_on_it() {
    suffices_and_leaves_nothing(&token::softhsm());
}

#[test]
fn kryoptic_as_its_folder_says_suffices_and_nothing_is_left_on_it() {
    if let Some(token) = token::kryoptic() {
        suffices_and_leaves_nothing(&token);
    }
}

#[test]
fn a_token_without_the_curve_of_new_tsss_does_not_suffice() {
    let Some(token) = token::kryoptic() else {
        return;
    };
    let site = Site::new().with(&token, PIN);
    let site = site.write("[pki]\ncurve = \"brainpoolP256r1\"\n");
    let run = hsm(&["check", "--config", &site.config()]);
    assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.ends_with("does not suffice\n"), "{}", run.stdout);
}

#[test]
fn a_refused_pin_is_no_verdict_and_the_other_tokens_are_checked_all_the_same() {
    let (refuses, well) = (token::softhsm(), token::softhsm());
    let site = Site::new().with(&refuses, WRONG_PIN);
    let mut other = section("softhsm");
    let table = other["token"][0].as_table_mut().unwrap();
    table["name"] = "other".into();
    table["module"] = well.module.to_str().unwrap().into();
    table["label"] = well.label.as_str().into();
    table["pin_file"] = "other.pin".into();
    site.write_pin("other.pin", PIN, 0o600);
    let site = site.write(&toml::to_string(&other).unwrap());

    let all = hsm(&["check", "--config", &site.config()]);
    assert_eq!(all.code, 2, "{}{}", all.stdout, all.stderr);
    assert!(all.stderr.contains("refused the PIN"), "{}", all.stderr);
    assert_eq!(all.stderr.matches("PinIncorrect").count(), 1);
    assert!(all.stdout.ends_with("suffices\n"), "{}", all.stdout);

    let chosen = |name| hsm(&["check", "--config", &site.config(), "--token", name]);
    let run = chosen("other");
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{}", run.stdout);
    site.write_pin("other.pin", PIN, 0o644);
    let run = chosen("other");
    assert_eq!((run.code, run.stdout.as_str()), (2, ""));
    assert!(
        run.stderr
            .contains("can be read by others; set its mode to 0600"),
        "{}",
        run.stderr
    );
    site.write_pin("other.pin", PIN, 0o600);
    assert_eq!(chosen("softhsm").code, 2);
    let run = chosen("nobody");
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("no token \"nobody\""), "{}", run.stderr);
    assert_eq!(run.stdout, "");
}

#[test]
fn programs_that_are_started_again_and_again_with_a_wrong_pin_do_not_lock_the_token() {
    let Some(token) = token::kryoptic() else {
        return;
    };
    let site = Site::new().with(&token, WRONG_PIN);
    let pin_file = section("kryoptic")["token"][0]["pin_file"].clone();
    let check = || hsm(&["check", "--config", &site.config()]);
    let said = |says: &str| {
        let run = check();
        assert_eq!(run.code, 2, "{}{}", run.stdout, run.stderr);
        assert!(run.stderr.contains("refused the PIN"), "{}", run.stderr);
        run.stderr.contains(says)
    };
    // Kryoptic locks at the tenth wrong PIN.
    let tries = (0..20).filter(|_| said("PinIncorrect")).count();
    assert_eq!(tries, 9);
    assert!(said("one more wrong PIN locks it"));
    // Nor is the right one: nobody but a person knows that it is.
    site.write_pin(pin_file.as_str().unwrap(), PIN, 0o600);
    assert!(said("one more wrong PIN locks it"));
    // A person logs in with the right PIN by other means. So it was not locked, and all is well again.
    assert_eq!(lines(&token.elsewhere("count siegel-canary")), ["0"]);
    let run = check();
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);

    assert_eq!(lines(&token.elsewhere("lock")), ["locked"]);
    assert!(said("its user PIN is locked"));
}

#[test]
fn tokens_are_listed_from_a_configuration_without_their_pin() {
    let token = token::softhsm();
    let site = Site::new().with(&token, PIN);
    fs::remove_file(site.folder.path().join("softhsm.pin")).unwrap();
    let run = hsm(&["list", "--config", &site.config()]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{}", run.stdout);
    assert!(run.stdout.contains(&format!("label  {:?}", token.label)));
    // Without the PIN there is nothing to check, and no module was asked.
    let run = hsm(&["check", "--config", &site.config()]);
    assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{}", run.stderr);
    assert!(run.stderr.contains("softhsm.pin"), "{}", run.stderr);
}

#[test]
fn modules_are_listed_by_path_and_one_that_is_none_does_not_hide_the_others() {
    let token = token::softhsm();
    let module = token.module.to_str().unwrap();
    let run = run(&mut command(&[
        "list",
        "--module",
        "no-such-module.so",
        module,
    ]));
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("no-such-module.so"), "{}", run.stderr);
    assert!(run.stdout.contains(&format!("label  {:?}", token.label)));
    assert!(run.stdout.contains("serial \""), "{}", run.stdout);
    assert!(run.stdout.contains("the user PIN is set"));
    assert!(run.stdout.contains("a token that is not initialised"));
}

#[test]
fn a_configuration_that_cannot_be_read_is_told_in_one_line() {
    let site = Site::new();
    for (text, complaint) in [
        ("", "no [[token]] section"),
        ("[[token]]\nname = 1\n", "line 2, is not understood"),
        // Whose PIN stands in the wrong place does not see it printed, which `run` checks.
        (
            "[[token]]\nname = \"hsm\"\npin = \"test-pin-1234\"\n",
            "line 3, is not understood",
        ),
    ] {
        fs::write(site.config(), text).unwrap();
        for what in ["list", "check"] {
            let run = hsm(&[what, "--config", &site.config()]);
            assert_eq!(run.code, 2);
            assert!(run.stderr.contains(complaint), "{}", run.stderr);
        }
    }
    let run = hsm(&["check", "--config", "no/such/file.toml"]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("no/such/file.toml"), "{}", run.stderr);
}

#[test]
fn every_folder_of_a_module_has_a_section_that_is_understood() {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        token: Vec<RawToken>,
    }
    let mut seen = Vec::new();
    for entry in fs::read_dir(hsm_config()).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(folder.join("siegel-token.toml")).unwrap();
        assert!(folder.join("README.md").is_file(), "{name}");
        // The commented settings of the template must be right as well.
        let uncommented = text
            .replace("# sessions_max", "sessions_max")
            .replace("# session_wait_ms", "session_wait_ms")
            .replace("# [token.module_env]", "[token.module_env]")
            .replace("# MAKERS_", "MAKERS_");
        for text in [text, uncommented] {
            let mut file: File = toml::from_str(&text).unwrap();
            let raw = file.token.pop().unwrap();
            assert!(file.token.is_empty(), "{name}");
            let site = tempfile::tempdir().unwrap();
            let pin_file = site.path().join(raw.pin_file.as_ref().unwrap());
            fs::write(&pin_file, PIN).unwrap();
            fs::set_permissions(&pin_file, fs::Permissions::from_mode(0o600)).unwrap();
            let label = raw.label.clone().unwrap();
            let checked = raw.check(site.path()).unwrap();
            assert_eq!(checked.token, Selector::Label(label));
            assert_eq!(checked.pin.expose(), PIN);
        }
        seen.push(name);
    }
    seen.sort();
    assert_eq!(seen, ["kryoptic", "softhsm", "template"]);
    assert_eq!(Module::SoftHsm.folder(), "softhsm");
}
