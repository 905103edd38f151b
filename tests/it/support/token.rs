//! Tokens for tests: each test gets one of its own, with a random label, in SoftHSM or in Kryoptic.
//!
//! `.cargo/config.toml` points the modules to files below `target/test-hsm`, which the first call here
//! makes anew. A lock on that folder keeps a second test process waiting until this one has ended.

use siegel::csp::pkcs11::{Pkcs11Token, Selector, TokenConfig, initialise_token, report};
use siegel::csp::{CspError, KeyId};
use siegel::terms::{Clock, Entropy, Environment, SeTime, Secret};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

/// The user PIN of all test tokens; Kryoptic wants at least 8 characters.
pub const PIN: &str = "test-pin-1234";
const SO_PIN: &str = "test-so-pin-1234";

/// Tokens a test process can have in Kryoptic, whose slots are fixed by its configuration.
const KRYOPTIC_SLOTS: u64 = 96;

/// The machine's monotonic clock; its wall clock stands still, no test of tokens looks at it.
pub struct TestClock(std::time::Instant);

impl TestClock {
    /// Starts at zero.
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the adapter of the Clock port for tests on real devices"
    )]
    pub fn start() -> Arc<Self> {
        Arc::new(Self(std::time::Instant::now()))
    }
}

impl Clock for TestClock {
    fn now(&self) -> SeTime {
        SeTime::try_from(1_800_000_000).unwrap()
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap()
    }

    fn monotonic_us(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap()
    }
}

/// Randomness of the machine.
pub struct TestEntropy;

impl Entropy for TestEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        openssl::rand::rand_bytes(buffer).unwrap();
    }
}

/// A random key identifier.
pub fn key_id() -> KeyId {
    let mut id = [0; 16];
    TestEntropy.fill(&mut id);
    KeyId::new(id)
}

/// The modules of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Module {
    SoftHsm,
    Kryoptic,
}

impl Module {
    /// Its folder below `hsm-config`.
    pub fn folder(self) -> &'static str {
        match self {
            Self::SoftHsm => "softhsm",
            Self::Kryoptic => "kryoptic",
        }
    }
}

/// A token that only this test uses.
#[derive(Clone, Debug)]
pub struct TestToken {
    pub kind: Module,
    pub module: PathBuf,
    pub label: String,
    /// Whether copies of its keys sign.
    pub key_copies: bool,
}

impl TestToken {
    /// The token of a job in another process; see [`super::elsewhere`].
    pub fn of_job(module: PathBuf, label: &str) -> Self {
        let is_kryoptic = module.to_str().unwrap().contains("kryoptic");
        Self {
            kind: if is_kryoptic {
                Module::Kryoptic
            } else {
                Module::SoftHsm
            },
            module,
            label: label.to_owned(),
            key_copies: false,
        }
    }

    /// The same token, with copies of its keys that sign.
    pub fn with_copies(self) -> Self {
        Self {
            key_copies: true,
            ..self
        }
    }

    /// Configuration with the right PIN.
    pub fn config(&self) -> TokenConfig {
        TokenConfig {
            name: self.label.clone(),
            environment: Environment::Test,
            module: self.module.clone(),
            module_env: BTreeMap::new(),
            token: Selector::Label(self.label.clone()),
            pin: Secret::new(PIN.to_owned()),
            sessions_max: 8,
            session_wait_ms: 10_000,
            standby_of: None,
            key_copies: self.key_copies,
            session_keys_max: 1_000,
            wrapping: None,
            switch_after_s: 0,
        }
    }

    /// Opens it.
    pub fn open(&self) -> Pkcs11Token {
        Pkcs11Token::open(self.config(), Arc::new(TestEntropy), TestClock::start()).unwrap()
    }

    /// Has the module of this token initialised anew, by looking for a token that it does not show.
    pub fn initialise_anew(&self) {
        let mut config = self.config();
        config.token = Selector::Label("not there".to_owned());
        let error = Pkcs11Token::open(config, Arc::new(TestEntropy), TestClock::start())
            .err()
            .unwrap();
        assert!(matches!(error, CspError::DeviceGone { .. }), "{error:?}");
    }

    /// The folder of this token in the storage of SoftHSM.
    pub fn storage(&self) -> PathBuf {
        assert_eq!(self.kind, Module::SoftHsm);
        let holds_label = |folder: &PathBuf| {
            fs::read(folder.join("token.object")).is_ok_and(|object| {
                object
                    .windows(self.label.len())
                    .any(|window| window == self.label.as_bytes())
            })
        };
        fs::read_dir(home().join("softhsm"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| !path.to_str().unwrap().contains("replica-"))
            .find(holds_label)
            .expect("SoftHSM keeps a folder for each token")
    }

    /// Its serial number; no other token has this label yet.
    pub fn serial(&self) -> String {
        let slots = report(&self.module).unwrap().slots.into_iter();
        let mut tokens = slots.filter_map(|slot| slot.token.ok());
        let ours = tokens.find(|token| token.label == self.label);
        ours.expect("the token is there").serial
    }

    /// Copies the storage of this token of SoftHSM, as a maker's replication copies keys, under a serial
    /// number of its own, which is returned. The module shows it once it was initialised anew.
    pub fn replicate(&self, serial: &str) -> String {
        let mut random = [0; 8];
        TestEntropy.fill(&mut random);
        let other = hex::encode(random);
        let from = self.storage();
        let to = home().join("softhsm").join(format!("replica-{other}"));
        let making = home().join(format!("making-{other}"));
        fs::create_dir_all(&making).unwrap();
        for file in fs::read_dir(&from).unwrap() {
            let file = file.unwrap();
            let mut bytes = fs::read(file.path()).unwrap();
            if file.file_name() == "token.object" {
                let at = bytes.windows(16).position(|at| at == serial.as_bytes());
                let at = at.expect("the serial number stands there");
                bytes[at..at + 16].copy_from_slice(other.as_bytes());
            }
            fs::write(making.join(file.file_name()), bytes).unwrap();
        }
        fs::rename(making, to).unwrap();
        other
    }

    /// Variables for another process that uses this token. Kryoptic gets a configuration with its slot
    /// alone: it reads the storage of every slot when it starts, while other tests are writing there.
    pub fn environment(&self) -> BTreeMap<&'static str, PathBuf> {
        match self.kind {
            Module::SoftHsm => BTreeMap::from([("SOFTHSM2_CONF", home().join("softhsm2.conf"))]),
            Module::Kryoptic => {
                let slot = report(&self.module)
                    .unwrap()
                    .slots
                    .into_iter()
                    .find(|slot| {
                        slot.token
                            .as_ref()
                            .is_ok_and(|token| token.label == self.label)
                    })
                    .unwrap()
                    .id;
                let path = home().join(format!("kryoptic/{slot}.conf"));
                fs::write(&path, kryoptic_slot(slot)).unwrap();
                BTreeMap::from([("KRYOPTIC_CONF", path)])
            }
        }
    }

    /// Does something to this token in another process and returns what it printed; see
    /// [`super::elsewhere`].
    pub fn elsewhere(&self, job: &str) -> String {
        self.elsewhere_with(job, &self.label)
    }

    /// The same, with other labels than its own.
    pub fn elsewhere_with(&self, job: &str, label: &str) -> String {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", super::elsewhere::TEST, "--nocapture"])
            .env(super::elsewhere::JOB, job)
            .env(super::elsewhere::MODULE, &self.module)
            .env(super::elsewhere::LABEL, label)
            .envs(self.environment())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{job}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }
}

/// A fresh token in SoftHSM.
pub fn softhsm() -> TestToken {
    home();
    fresh(Module::SoftHsm, softhsm_module())
}

/// A fresh token in Kryoptic, or `None`, with a printed line, where the module has not been built. With
/// `SIEGEL_NEED_KRYOPTIC=1` that is a failure instead.
pub fn kryoptic() -> Option<TestToken> {
    home();
    let built = project().join("target/kryoptic/release/libkryoptic_pkcs11.so");
    let module = std::env::var_os("SIEGEL_KRYOPTIC").map_or(built, PathBuf::from);
    if !module.is_file() {
        let needed = std::env::var("SIEGEL_NEED_KRYOPTIC").is_ok_and(|needed| needed == "1");
        assert!(!needed, "Kryoptic is needed: run scripts/build-kryoptic");
        println!("skipped: no Kryoptic module; scripts/build-kryoptic makes one");
        return None;
    }
    Some(fresh(Module::Kryoptic, module))
}

/// The PKCS#11 library of SoftHSM: `SIEGEL_SOFTHSM`, or one of the places where systems put it.
pub fn softhsm_module() -> PathBuf {
    const PLACES: [&str; 6] = [
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/lib64/softhsm/libsofthsm2.so",
        "/usr/lib64/pkcs11/libsofthsm2.so",
        "/opt/homebrew/lib/softhsm/libsofthsm2.so",
    ];
    std::env::var_os("SIEGEL_SOFTHSM")
        .map(PathBuf::from)
        .into_iter()
        .chain(PLACES.map(PathBuf::from))
        .find(|path| path.is_file())
        .expect("SoftHSM 2 is installed, or SIEGEL_SOFTHSM names its library")
}

fn fresh(kind: Module, module: PathBuf) -> TestToken {
    let mut random = [0; 8];
    TestEntropy.fill(&mut random);
    let label = format!("test-{}", hex::encode(random));
    again(kind, module, label)
}

fn again(kind: Module, module: PathBuf, label: String) -> TestToken {
    let secret = |text: &str| Secret::new(text.to_owned());
    initialise_token(&module, &label, &secret(SO_PIN), &secret(PIN)).unwrap();
    TestToken {
        kind,
        module,
        label,
        key_copies: false,
    }
}

/// Another token with the same label.
pub fn twin(token: &TestToken) -> TestToken {
    again(token.kind, token.module.clone(), token.label.clone())
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A slot in the configuration of Kryoptic.
fn kryoptic_slot(slot: u64) -> String {
    let store = project().join(format!("target/test-hsm/kryoptic/{slot}.sql"));
    format!(
        "[[slots]]\nslot = {slot}\ndbtype = \"sqlite\"\ndbargs = \"{}\"\n",
        store.display()
    )
}

/// `target/test-hsm`, empty but for the configuration of the modules; made once per process.
pub fn home() -> &'static Path {
    static HOME: OnceLock<(PathBuf, File)> = OnceLock::new();
    let (home, _lock) = HOME.get_or_init(|| {
        let home = project().join("target/test-hsm");
        for (variable, file) in [
            ("SOFTHSM2_CONF", "softhsm2.conf"),
            ("KRYOPTIC_CONF", "kryoptic.conf"),
        ] {
            let set = std::env::var_os(variable).map(PathBuf::from);
            assert_eq!(
                set,
                Some(home.join(file)),
                "{variable} must be set by .cargo/config.toml: run the tests through cargo"
            );
        }
        fs::create_dir_all(&home).unwrap();
        let lock = File::create(home.join("lock")).unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
        for store in ["softhsm", "kryoptic"] {
            let _ = fs::remove_dir_all(home.join(store));
            fs::create_dir_all(home.join(store)).unwrap();
        }
        fs::write(
            home.join("softhsm2.conf"),
            format!(
                "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
                home.join("softhsm").display()
            ),
        )
        .unwrap();
        let slots: String = (0..KRYOPTIC_SLOTS).map(kryoptic_slot).collect();
        fs::write(home.join("kryoptic.conf"), slots).unwrap();
        (home, lock)
    });
    home
}
