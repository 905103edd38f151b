//! One running Siegel: every room, wired.

use super::active_csp::ActiveCsp;
use super::ca_source::CaSource;
use super::device_pool::{DevicePool, Stock, TestSource};
use super::{sampler, token_watch, tokens};
use crate::config::{Config, DeviceSource};
use crate::csp::{Csp, CspError};
use crate::export::{ExportSettings, ExportWorker};
use crate::http::meter::DoorMeter;
use crate::http::{BODY_LEN_MAX, Door, DoorSettings, check_token_secret};
use crate::ledger::{LedgerError, SealingKey, Store, StoreConfig};
use crate::pki::PkiError;
use crate::signing::{Lanes, Submit, TokenPairs};
use crate::telemetry::{Metrics, MetricsParts, SampleBox};
use crate::terms::{Background, Clock, Entropy, Environment, chain};
use crate::witness::{Checker, WitnessError, Witnesses};
use std::path::PathBuf;
use std::sync::Arc;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The ledger cannot be used.
    #[error("the ledger cannot be used")]
    Ledger(#[from] LedgerError),
    /// The sealing key belongs to another ledger.
    #[error(
        "the sealing key {file} is not the one of this ledger: secrets.seal_key_file must name the file that the \
         ledger was made with, or a copy of it"
    )]
    OtherSealingKey {
        /// The file.
        file: PathBuf,
        /// What does not open.
        source: LedgerError,
    },
    /// A token cannot be used.
    #[error("the token {name} cannot be used; `siegel hsm check` says what it can do")]
    Token {
        /// Name of its section.
        name: String,
        /// Why.
        source: CspError,
    },
    /// A token is not there, and the ledger has never seen it.
    #[error(
        "the token {name} is not there, and its label is not known yet; let it be there once, or choose it \
         by label"
    )]
    LabelUnknown {
        /// Name of its section.
        name: String,
        /// Why it is not there.
        source: CspError,
    },
    /// The sections of this node are named otherwise than those of the node that made the pair.
    #[error(
        "the ledger calls the section {section:?} active for the token {label}, and no section here has that \
         name; use the same names on all nodes, or switch with `siegel admin token switch`"
    )]
    ActiveUnknown {
        /// Label under which the ledger knows the keys.
        label: String,
        /// What the ledger says.
        section: String,
    },
    /// Two sections lead to the same token.
    #[error("two [[token]] sections lead to the token {0}; keep one of them")]
    TokenTwice(String),
    /// Keys in a token were made for the other environment.
    #[error(
        "the keys in the token {label} are for {kept}, but its [[token]] section says {configured}; \
         TEST and LIVE never share a token"
    )]
    EnvironmentsMixed {
        /// Label of the token.
        label: String,
        /// What the ledger says.
        kept: Environment,
        /// What the configuration says.
        configured: Environment,
    },
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
    pool: Arc<DevicePool>,
    /// Where tokens have standbys.
    watch: Option<Background>,
    exports: Arc<ExportWorker>,
    /// Where somebody watches.
    sampler: Option<Background>,
    sample: Arc<SampleBox>,
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
        require_own_key(&store, &sealing, config)?;
        let tokens = Arc::new(tokens::open(config, &store, &clock, &entropy)?);
        for (label, pair) in tokens.iter() {
            refuse_mixed_environments(&store, label, pair.environment())?;
        }
        let watch = start_watch(config, &store, &tokens, &clock)?;
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
        let (requested, taken) = (Arc::clone(&exports), Arc::clone(&pool));
        let sample = Arc::<SampleBox>::default();
        let sampler = match config.telemetry.metrics_listen {
            Some(_) => {
                let (store, clock) = (store.clone(), Arc::clone(&clock));
                Some(sampler::start(store, clock, Arc::clone(&sample))?)
            }
            None => None,
        };
        let checker = Checker::start(store.clone(), config.check_messages_per_s)?;
        let door = Door {
            store,
            lanes: submit,
            clock,
            entropy,
            sealing,
            export_pace: exports.pace(),
            export_requested: Arc::new(move || requested.wake()),
            device_taken: Arc::new(move || taken.wake()),
            meter: DoorMeter::default(),
            witnesses: witnesses.status(),
            ledger_check: checker.status(),
            settings: door_settings(config),
        };
        Ok(Self {
            lanes,
            pool,
            watch,
            exports,
            sampler,
            sample,
            witnesses,
            checker,
            door,
        })
    }

    /// Everything that is counted. What the ledger holds is sampled only where `telemetry.metrics_listen`
    /// is set.
    pub fn metrics(&self) -> Metrics {
        Metrics::new(MetricsParts {
            lanes: Arc::clone(&self.lanes),
            door: self.door.meter.clone(),
            connections_max: self.door.settings.transport.connections_max,
            store: self.door.store.clone(),
            sample: Arc::clone(&self.sample),
            witnesses: self.witnesses.status(),
            devices_target: self.pool.target(),
            clock: Arc::clone(&self.door.clock),
        })
    }

    /// Lets the sampler look at the ledger again soon.
    pub fn sample(&self) {
        if let Some(sampler) = &self.sampler {
            sampler.wake();
        }
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
        self.pool.stop();
        if let Some(sampler) = &self.sampler {
            sampler.stop();
        }
        if let Some(watch) = &self.watch {
            watch.stop();
        }
        self.checker.stop();
        self.witnesses.stop();
        match self.door.store.settle() {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!("the ledger's newest part is in its -wal file; back that up too")
            }
            Err(error) => {
                tracing::warn!(error = %chain(&error), "the ledger's newest part is in its -wal file");
            }
        }
    }
}

/// What was sealed with another key could not be opened when it is needed; better to say so at the start.
fn require_own_key(store: &Store, sealing: &SealingKey, config: &Config) -> Result<(), NodeError> {
    for secret in store.token_secrets()? {
        check_token_secret(sealing, &secret).map_err(|source| NodeError::OtherSealingKey {
            file: config.seal_key_file.clone(),
            source,
        })?;
    }
    Ok(())
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
        calls: config.log.calls,
        spans: config.telemetry.otlp.is_some(),
        management: config.api.management,
        rules: config.rules.clone(),
        ready_when: config.ready_when,
    }
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

/// Whoever turns a TEST token into a LIVE one by a word in the configuration is told before anything is
/// signed (design decision 11).
pub(super) fn refuse_mixed_environments(
    store: &Store,
    label: &str,
    configured: Environment,
) -> Result<(), NodeError> {
    let mut kept = store.environments_in(label)?.into_iter();
    match kept.find(|kept| *kept != configured) {
        Some(kept) => Err(NodeError::EnvironmentsMixed {
            label: label.to_owned(),
            kept,
            configured,
        }),
        None => Ok(()),
    }
}

/// Before anything is signed: the ledger may be older than what was told. Of a token and its standby the
/// active one is asked, and again after each switch.
fn start_witnesses(
    config: &Config,
    store: &Store,
    tokens: &Arc<TokenPairs>,
    clock: &Arc<dyn Clock>,
    entropy: &dyn Entropy,
) -> Result<Witnesses, WitnessError> {
    let asked = tokens
        .iter()
        .map(|(label, pair)| {
            let active: Arc<dyn Csp> = Arc::new(ActiveCsp::new(label, tokens, store));
            (label.clone(), (active, pair.environment()))
        })
        .collect();
    Witnesses::start(store, &asked, &config.witness, clock, entropy)
}

/// The pool for TEST is filled in the token that new TSSs go to, unless a foreign CA makes the
/// certificates. LIVE has no CA of ours (design decision 11).
fn start_pool(
    config: &Config,
    store: &Store,
    tokens: &Arc<TokenPairs>,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<Arc<DevicePool>, NodeError> {
    let of = |environment| {
        let fitting = tokens.iter();
        fitting.filter(move |(_, pair)| pair.environment() == environment)
    };
    let is_ours = match config.device_source {
        DeviceSource::TestCa => of(Environment::Test).next().is_some(),
        DeviceSource::Foreign => false,
    };
    let source = is_ours.then(|| TestSource {
        ca: CaSource::new(
            store.clone(),
            Arc::clone(tokens),
            Arc::clone(clock),
            Arc::clone(entropy),
        ),
        curve: config.curve,
        target: config.pool_target,
    });
    let mut foreign = Vec::new();
    for environment in [Environment::Test, Environment::Live] {
        let is_ours = environment == Environment::Test && source.is_some();
        let labels: Vec<_> = of(environment).map(|(label, _)| label.clone()).collect();
        if !is_ours && !labels.is_empty() {
            foreign.push((environment, labels));
        }
    }
    Ok(Arc::new(DevicePool::start(Stock {
        store: store.clone(),
        clock: Arc::clone(clock),
        source,
        foreign,
    })?))
}

/// Where tokens have standbys.
fn start_watch(
    config: &Config,
    store: &Store,
    tokens: &Arc<TokenPairs>,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Background>, NodeError> {
    let switches = tokens::switch_after_s(config, tokens);
    if switches.is_empty() {
        return Ok(None);
    }
    let (tokens, clock) = (Arc::clone(tokens), Arc::clone(clock));
    Ok(Some(token_watch::start(
        store.clone(),
        tokens,
        clock,
        &switches,
    )?))
}
