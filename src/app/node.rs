//! One running Siegel: every room, wired.

use super::device_pool::{DevicePool, PoolSettings};
use crate::config::Config;
use crate::csp::pkcs11::Pkcs11Token;
use crate::csp::{Csp, CspError};
use crate::export::{ExportSettings, ExportWorker};
use crate::http::{BODY_LEN_MAX, Door, DoorSettings};
use crate::ledger::{LedgerError, SealingKey, Store, StoreConfig};
use crate::pki::{NewCa, PkiError, TestCa};
use crate::signing::{Lanes, Submit, Token};
use crate::terms::{Clock, Entropy, Environment};
use crate::witness::{Checker, WitnessError, Witnesses};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The ledger cannot be used.
    #[error("the ledger cannot be used")]
    Ledger(#[from] LedgerError),
    /// A token cannot be used.
    #[error("the token {name} cannot be used; `siegel hsm check` says what it can do")]
    Token {
        /// Name of its section.
        name: String,
        /// Why.
        source: CspError,
    },
    /// Two sections lead to the same token.
    #[error("two [[token]] sections lead to the token {0}; keep one of them")]
    TokenTwice(String),
    /// There is no certificate authority.
    #[error("the test CA cannot be used")]
    Pki(#[from] PkiError),
    /// The witnesses know another ledger, or cannot be asked.
    #[error(transparent)]
    Witness(#[from] WitnessError),
    /// A thread could not be started.
    #[error("a thread could not be started")]
    Thread(#[from] std::io::Error),
}

/// A running node. Stop it with [`Self::stop`] once no door hands commands in any more.
pub struct Node {
    lanes: Arc<Lanes>,
    pool: Option<Arc<DevicePool>>,
    exports: Arc<ExportWorker>,
    witnesses: Witnesses,
    checker: Checker,
    door: Door,
}

impl Node {
    /// Opens ledger and tokens and starts lanes, pool and export worker.
    ///
    /// # Errors
    /// [`NodeError`], with what to change.
    pub fn start(
        config: &Config,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, NodeError> {
        let sealing = Arc::new(SealingKey::from_file(&config.seal_key_file)?);
        let store = Store::open(&config.store, entropy.as_ref())?;
        require_standby(config, &store)?;
        let tokens = open_tokens(config, &clock, &entropy)?;
        let witnesses = start_witnesses(config, &store, &tokens, &clock, entropy.as_ref())?;
        let pool = start_pool(config, &store, &tokens, &clock, &entropy)?;
        let rules = config.rules.clone();
        let lanes = Lanes::start(&store, tokens, &clock, rules, config.lanes)?;
        let lanes = Arc::new(lanes);
        let submit: Arc<dyn Submit> = Arc::<Lanes>::clone(&lanes);
        let settings = ExportSettings {
            expiry_s: config.export.expiry_s,
        };
        let exports = ExportWorker::start(store.clone(), Arc::clone(&clock), settings)?;
        let exports = Arc::new(exports);
        let checker = Checker::start(store.clone(), config.check_messages_per_s)?;
        let (requested, taken) = (Arc::clone(&exports), pool.clone());
        let door = Door {
            store,
            lanes: submit,
            clock,
            entropy,
            sealing,
            export_requested: Arc::new(move || requested.wake()),
            device_taken: Arc::new(move || {
                if let Some(pool) = &taken {
                    pool.wake();
                }
            }),
            witnesses: witnesses.status(),
            ledger_check: checker.status(),
            settings: door_settings(config),
        };
        Ok(Self {
            lanes,
            pool,
            exports,
            witnesses,
            checker,
            door,
        })
    }

    /// What the witnesses of this node say.
    pub fn witnesses(&self) -> &Witnesses {
        &self.witnesses
    }

    /// What doors need.
    pub fn door(&self) -> Door {
        self.door.clone()
    }

    /// Works off and answers everything that was taken, and ends.
    pub fn stop(&self) {
        self.lanes.drain();
        self.exports.stop();
        if let Some(pool) = &self.pool {
            pool.stop();
        }
        self.checker.stop();
        self.witnesses.stop();
        match self.door.store.settle() {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!("the ledger's newest part is in its -wal file; back that up too")
            }
            Err(error) => tracing::warn!(%error, "the ledger's newest part is in its -wal file"),
        }
    }
}

fn door_settings(config: &Config) -> DoorSettings {
    DoorSettings {
        log_format: config.api.log_format,
        access_token_s: config.api.access_token_s,
        refresh_token_s: config.api.refresh_token_s,
        exports_running_max: config.export.running_max,
        body_len_max: BODY_LEN_MAX,
        workers: config.workers,
        rates: config.protection.rates,
        wrong_logins: config.protection.wrong_logins.clone(),
        transport: config.protection.transport,
        management: config.api.management,
        rules: config.rules.clone(),
    }
}

/// By label, as the ledger knows them.
fn open_tokens(
    config: &Config,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<BTreeMap<String, Token>, NodeError> {
    let mut tokens = BTreeMap::new();
    for section in &config.tokens {
        let opened = Pkcs11Token::open(section.clone(), Arc::clone(entropy), Arc::clone(clock));
        let opened = opened.map_err(|source| NodeError::Token {
            name: section.name.clone(),
            source,
        })?;
        let csp: Arc<dyn Csp> = Arc::new(opened);
        let label = csp.token().to_owned();
        let token = Token::start(csp, section.environment, section.sessions_max)?;
        if tokens.insert(label.clone(), token).is_some() {
            return Err(NodeError::TokenTwice(label));
        }
    }
    Ok(tokens)
}

/// What LIVE has told must survive the loss of a machine, unless the operator says that it need not.
fn require_standby(config: &Config, store: &Store) -> Result<(), LedgerError> {
    let is_shared = matches!(config.store, StoreConfig::Postgres { .. });
    if !is_shared || !config.has_live() || store.has_synchronous_standby()? {
        return Ok(());
    }
    if config.live_without_standby {
        tracing::warn!("LIVE runs without a synchronous standby, as the configuration says");
        return Ok(());
    }
    Err(LedgerError::Unsafe(
        "LIVE needs a synchronous standby of PostgreSQL (synchronous_standby_names); to do without, set \
         ledger.danger_live_without_standby = true"
            .to_owned(),
    ))
}

/// Before anything is signed: the ledger may be older than what was told.
fn start_witnesses(
    config: &Config,
    store: &Store,
    tokens: &BTreeMap<String, Token>,
    clock: &Arc<dyn Clock>,
    entropy: &dyn Entropy,
) -> Result<Witnesses, WitnessError> {
    let tokens = tokens
        .iter()
        .map(|(label, token)| {
            (
                label.clone(),
                (Arc::clone(token.csp()), token.environment()),
            )
        })
        .collect();
    Witnesses::start(store, &tokens, &config.witness, clock, entropy)
}

/// The pool for TEST, filled from the first TEST token, which is also the one that new TSSs go to.
/// LIVE has no CA of ours (design decision 11).
fn start_pool(
    config: &Config,
    store: &Store,
    tokens: &BTreeMap<String, Token>,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<Option<Arc<DevicePool>>, NodeError> {
    let test = tokens
        .values()
        .find(|token| token.environment() == Environment::Test);
    let Some(token) = test else {
        return Ok(None);
    };
    let csp = Arc::clone(token.csp());
    let ca = open_ca(store, &csp, clock, entropy)?;
    let settings = PoolSettings {
        curve: config.curve,
        target: config.pool_target,
    };
    Ok(Some(Arc::new(DevicePool::start(
        store.clone(),
        ca,
        settings,
    )?)))
}

/// The test CA of this ledger and token, made where there is none. Two nodes that make one at the same
/// time get two, which is fine: a chain is found by the hash of its issuer.
fn open_ca(
    store: &Store,
    csp: &Arc<dyn Csp>,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<TestCa, NodeError> {
    let known = store.cas(Environment::Test)?;
    if let Some(ca) = TestCa::open(known, csp, clock, entropy)? {
        return Ok(ca);
    }
    let new = NewCa::make(csp.as_ref(), entropy.as_ref(), clock.now())?;
    for certificate in &new.certificates {
        store.add_ca(certificate)?;
    }
    let known = store.cas(Environment::Test)?;
    TestCa::open(known, csp, clock, entropy)?.ok_or(NodeError::Pki(PkiError::CaExpired))
}
