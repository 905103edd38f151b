use super::*;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

const MINIMAL: &str = r#"
[ledger]
sqlite = "siegel.db"
[secrets]
seal_key_file = "seal.key"
[[token]]
name = "main"
environment = "TEST"
module = "/usr/lib/softhsm/libsofthsm2.so"
label = "siegel-test"
pin_file = "token.pin"
"#;

fn read(text: &str) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("siegel.toml");
    write_pin(folder.path());
    std::fs::write(&path, text).unwrap();
    Config::read(&path)
}

fn write_pin(folder: &Path) {
    let file = folder.join("token.pin");
    std::fs::write(&file, "1234\n").unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
}

/// The sentence an operator reads, with its causes.
fn complaint(text: &str) -> String {
    crate::terms::chain(&read(text).expect_err("this configuration must be refused"))
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = read(MINIMAL).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.rules, sma::Settings::default());
    assert_eq!(config.lanes, LaneSettings::default());
    assert_eq!((config.curve, config.pool_target), (Curve::Secp256r1, 20));
    assert_eq!(config.device_source, DeviceSource::TestCa);
    assert!(!config.has_live());
}

#[test]
fn what_a_token_holds_at_a_time_is_said_once_for_all_of_them() {
    let config = read(MINIMAL).unwrap();
    let [token] = &config.tokens[..] else {
        panic!("one section");
    };
    assert_eq!((token.session_keys_max, token.key_copies), (1000, false));
    let text = format!("{MINIMAL}key_copies = true\n[pki]\nwrapped_handles_max = 7");
    let config = read(&text).unwrap();
    let [token] = &config.tokens[..] else {
        panic!("one section");
    };
    assert_eq!((token.session_keys_max, token.key_copies), (7, true));
}

#[test]
fn devices_of_test_may_come_from_a_foreign_ca() {
    let config = read(&format!("{MINIMAL}\n[pki]\nsource = \"foreign\"")).unwrap();
    assert_eq!(config.device_source, DeviceSource::Foreign);
}

#[test]
fn every_mistake_gets_one_sentence_that_names_the_key() {
    for (wrong, says) in [
        (
            "[server]\nlisten = \"here\"",
            "server.listen must be ADDRESS:PORT",
        ),
        ("[server]\nworkers = 0", "server.workers must be at least 1"),
        (
            "[server]\nstart_when = \"none\"",
            "server.start_when must be",
        ),
        (
            "[server]\nready_when = \"all\"",
            "server.ready_when must be",
        ),
        ("[pki]\ncurve = \"secp192r1\"", "pki.curve must be"),
        ("[pki]\nsource = \"bsi\"", "pki.source must be"),
        ("[pki]\nkeys = \"file\"", "pki.keys must be"),
        (
            "[pki]\nwrapped_handles_max = 0",
            "pki.wrapped_handles_max must be",
        ),
        ("[api]\nlog_format = \"v1\"", "api.log_format must be"),
        ("[api]\naccess_token_s = 0", "api.access_token_s must be"),
        (
            "[limits]\npin_retries_max = 0",
            "limits.pin_retries_max must be",
        ),
        (
            "[limits]\ndescription_prefix = \"Käse\"",
            "limits.description_prefix may have",
        ),
        ("[lanes]\nbatch_len_max = 0", "lanes.batch_len_max must be"),
        (
            "[lanes]\nhsm_timeout_ms = 1",
            "lanes.hsm_timeout_ms must be",
        ),
        (
            "[lanes]\nhsm_timeout_ms = 30000",
            "lanes.hsm_timeout_ms must be",
        ),
        (
            "[lanes]\nearly_wait_ms = 30001",
            "lanes.early_wait_ms must be",
        ),
        ("[export]\nexpiry_s = 0", "export needs"),
        (
            "[protection]\nconnections_max = 0",
            "protection.connections_max must be",
        ),
        (
            "[protection]\nheader_timeout_ms = 99",
            "protection.header_timeout_ms must be",
        ),
        (
            "[protection]\nbody_timeout_ms = 0",
            "protection.body_timeout_ms must be",
        ),
        (
            "[protection]\nanswer_timeout_ms = 99",
            "protection.answer_timeout_ms must be",
        ),
        (
            "[protection]\nbodies_len_max = 13631487",
            "protection.bodies_len_max must be",
        ),
        (
            "[protection]\nclient_address_header = \"x: y\"",
            "protection.client_address_header must be",
        ),
        ("[log]\nformat = \"xml\"", "log.format must be"),
        ("[log]\ncalls = \"all\"", "log.calls must be"),
        (
            "[telemetry]\nmetrics_listen = \"9464\"",
            "telemetry.metrics_listen must be ADDRESS:PORT",
        ),
        (
            "[telemetry]\nmetrics_listen = \"127.0.0.1:8080\"",
            "telemetry.metrics_listen must differ from server.listen",
        ),
        (
            "[telemetry]\notlp_endpoint = \"https://collector:4318\"",
            "telemetry.otlp_endpoint must be the base URL",
        ),
        (
            "[telemetry]\notlp_one_in = 0",
            "telemetry.otlp_one_in must be",
        ),
        ("[server]\nport = 1", "unknown field `port`"),
    ] {
        let said = complaint(&format!("{MINIMAL}\n{wrong}"));
        assert!(said.contains(says), "{wrong:?} was told {said:?}");
    }
}

#[test]
fn a_ledger_is_sqlite_or_postgres() {
    let both = MINIMAL.replace("sqlite =", "postgres = \"postgres://x\"\nsqlite =");
    assert!(complaint(&both).contains("either sqlite = FILE or postgres = URL"));
    let forever = MINIMAL.replace(
        "sqlite = \"siegel.db\"",
        "postgres = \"postgres://x\"\nlock_timeout_ms = 0",
    );
    assert!(complaint(&forever).contains("ledger.lock_timeout_ms must be"));
    let nameless = MINIMAL.replace("siegel.db\"", "siegel.db\"\nwitness_file = \"..\"");
    assert!(complaint(&nameless).contains("ledger.witness_file must name a file"));
    let none = MINIMAL.replace("sqlite = \"siegel.db\"", "");
    assert!(complaint(&none).contains("either sqlite = FILE or postgres = URL"));
}

#[test]
fn live_starts_only_with_the_sentence() {
    let live = MINIMAL.replace("TEST", "LIVE");
    assert!(complaint(&live).contains(UNCERTIFIED_LIVE_SENTENCE));
    let sentence = format!("danger_uncertified_live = {UNCERTIFIED_LIVE_SENTENCE:?}\n{live}");
    assert!(read(&sentence).unwrap().has_live());
}

#[test]
fn a_missing_file_is_told_with_its_path() {
    let error = Config::read(Path::new("nowhere/siegel.toml")).unwrap_err();
    assert!(error.to_string().contains("nowhere/siegel.toml"), "{error}");
}

#[test]
fn tokens_are_named_once_and_at_least_one_is_there() {
    let (_, token) = MINIMAL.split_once("[[token]]").unwrap();
    assert!(complaint(&format!("{MINIMAL}\n[[token]]{token}")).contains("token.name must differ"));
    let (none, _) = MINIMAL.split_once("[[token]]").unwrap();
    assert!(complaint(none).contains("add a [[token]] section"));
}

#[test]
fn a_line_that_is_not_understood_is_numbered_but_not_repeated() {
    let wrong = MINIMAL.replace("pin_file", "pin = \"geheim\"\npin_file");
    let said = complaint(&wrong);
    assert!(said.contains("not understood in line"), "{said}");
    assert!(said.contains("unknown field `pin`"), "{said}");
    assert!(!said.contains("geheim"), "{said}");
}

const EXAMPLE: &str = include_str!("../../schema/siegel.example.toml");

/// Keys of the example that cannot be used beside what it uses, and those whose default depends on the machine
/// or on the environment of a TSS.
const NOT_DEFAULTS: &[&str] = &[
    "workers",
    "postgres",
    "serial",
    "slot",
    "pin_env",
    "client_address_header",
    "standby_of",
    "switch_after_s",
    "description_prefix",
    "metrics_listen",
    "otlp_endpoint",
];

/// The example with the keys in its comments made real, but for these.
fn uncommented(but: &[&str]) -> String {
    let real = |line: &str| -> String {
        let key = line
            .strip_prefix('#')
            .filter(|rest| rest.starts_with(|first: char| first.is_ascii_lowercase()))
            .filter(|rest| {
                !but.iter()
                    .any(|name| rest.starts_with(&format!("{name} =")))
            });
        key.unwrap_or(line).to_owned() + "\n"
    };
    EXAMPLE.lines().map(real).collect()
}

#[test]
fn the_example_is_a_configuration() {
    let config = read(EXAMPLE).unwrap();
    assert_eq!(config.tokens.len(), 1);
    assert!(!config.has_live());
}

#[test]
fn the_values_in_the_comments_of_the_example_are_the_defaults() {
    assert!(toml::from_str::<RawConfig>(&uncommented(&[])).is_ok());
    // The folder of the file is another one at each reading.
    let told = |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        write_pin(folder.path());
        let config = toml::from_str::<RawConfig>(text)
            .unwrap()
            .check(folder.path());
        format!("{:#?}", config.unwrap()).replace(folder.path().to_str().unwrap(), "")
    };
    assert_eq!(told(&uncommented(NOT_DEFAULTS)), told(EXAMPLE));
    let but = [
        "workers",
        "serial",
        "slot",
        "pin_env",
        "standby_of",
        "switch_after_s",
    ];
    let postgres = uncommented(&but).replace("\nsqlite = ", "\n#sqlite = ");
    let StoreConfig::Postgres {
        connections_max,
        lock_timeout_ms,
        ..
    } = read(&postgres).unwrap().store
    else {
        panic!("the example with postgres is about {postgres}");
    };
    let left_out = postgres
        .replace("\nconnections_max", "\n#connections_max")
        .replace("\nlock_timeout_ms", "\n#lock_timeout_ms");
    let StoreConfig::Postgres {
        connections_max: connections_default,
        lock_timeout_ms: lock_timeout_default,
        ..
    } = read(&left_out).unwrap().store
    else {
        panic!("the example with postgres is about {left_out}");
    };
    assert_eq!(
        (connections_max, lock_timeout_ms),
        (connections_default, lock_timeout_default)
    );
}

#[test]
fn a_ledger_without_a_connection_is_refused() {
    let none = EXAMPLE.replace("#connections_max = 8", "connections_max = 0");
    let error = read(&none).unwrap_err().to_string();
    assert_eq!(error, "ledger.connections_max must be at least 1");
}

/// The names that a section takes, as the complaint about one that it does not take lists them.
fn known_keys(section: &str) -> Vec<String> {
    let header = match section {
        "" => String::new(),
        "token" => "[[token]]\n".to_owned(),
        section => format!("[{section}]\n"),
    };
    let error = toml::from_str::<RawConfig>(&format!("{header}no_such_key = 1\n")).unwrap_err();
    let said = error.message();
    let (_, list) = said
        .split_once("expected ")
        .unwrap_or_else(|| panic!("[{section}] was told {said:?}"));
    let names: Vec<_> = list.split('`').skip(1).step_by(2).collect();
    assert!(!names.is_empty(), "[{section}] was told {said:?}");
    names.into_iter().map(str::to_owned).collect()
}

#[test]
fn the_example_names_every_key_there_is() {
    let example: toml::Table = toml::from_str(&uncommented(&[])).unwrap();
    let top = known_keys("");
    assert!(top.len() > 8, "{top:?}");
    for name in top {
        let found = example
            .get(&name)
            .unwrap_or_else(|| panic!("the example has no {name}"));
        let first = found.as_array().map_or(found, |sections| &sections[0]);
        let Some(section) = first.as_table() else {
            continue;
        };
        let shown: Vec<_> = section.keys().cloned().collect();
        for key in known_keys(&name) {
            assert!(shown.contains(&key), "the example has no {name}.{key}");
        }
    }
}

#[test]
fn a_standby_is_another_token_of_the_same_environment_and_there_is_one() {
    let (_, token) = MINIMAL.split_once("[[token]]").unwrap();
    let standby = |change: &dyn Fn(&str) -> String| {
        let text = change(&format!(
            "[[token]]{token}\nstandby_of = \"main\"\nswitch_after_s = 30\n"
        ));
        format!("{MINIMAL}\n{text}")
    };
    let name =
        |text: &str, name: &str| text.replace("name = \"main\"", &format!("name = {name:?}"));
    let other = |text: &str| name(text, "second").replace("label = \"", "label = \"other-");
    let config = read(&standby(&|text| other(text))).unwrap();
    assert_eq!(config.tokens[1].standby_of.as_deref(), Some("main"));
    assert_eq!(config.tokens[1].switch_after_s, 30);
    for (text, says) in [
        (
            standby(&|text| other(text).replace("_of = \"main\"", "_of = \"nobody\"")),
            "must be the name of another",
        ),
        (
            standby(&|text| other(text).replace("_of = \"main\"", "_of = \"second\"")),
            "no standby itself",
        ),
        (
            standby(&|text| name(text, "second")),
            "leads to the very same token",
        ),
        (
            format!("{MINIMAL}\n[[token]]{}", name(token, "second")),
            "leads to the very same token",
        ),
        (
            standby(&|text| {
                let third = other(text)
                    .replace("second", "third")
                    .replace("other-", "third-");
                format!("{}{third}", other(text))
            }),
            "only once",
        ),
        (
            format!("{MINIMAL}\n[[token]]{}\nswitch_after_s = 1\n", other(token)),
            "switch_after_s is for",
        ),
    ] {
        let said = complaint(&text);
        assert!(said.contains(says), "{text} was told {said:?}");
    }
}
