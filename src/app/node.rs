//! One running Siegel: every room, wired.

use super::device_pool::{DevicePool, PoolSettings};
use super::device_source::DeviceSource;
use super::token_watch::TokenWatch;
use super::tokens;
use crate::config::Config;
use crate::csp::CspError;
use crate::csp::pkcs11::TokenConfig;
use crate::export::{ExportSettings, ExportWorker};
use crate::http::{BODY_LEN_MAX, Door, DoorSettings};
use crate::ledger::{LedgerError, SealingKey, Store};
use crate::pki::PkiError;
use crate::signing::{Lanes, Submit};
use crate::terms::{Clock, Entropy, Environment};
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
    /// There is no certificate authority.
    #[error("the test CA cannot be used")]
    Pki(#[from] PkiError),
    /// A thread could not be started.
    #[error("a thread could not be started")]
    Thread(#[from] std::io::Error),
}

/// A running node. Stop it with [`Self::stop`] once no door hands commands in any more.
pub struct Node {
    lanes: Arc<Lanes>,
    pool: Option<Arc<DevicePool>>,
    watch: Option<Arc<TokenWatch>>,
    exports: Arc<ExportWorker>,
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
        let tokens = Arc::new(tokens::open(config, &store, &clock, &entropy)?);
        let switches = tokens::switch_after_s(config, &tokens);
        let watch = match switches.is_empty() {
            true => None,
            false => {
                let (tokens, clock) = (Arc::clone(&tokens), Arc::clone(&clock));
                let watch = TokenWatch::start(store.clone(), tokens, clock, &switches)?;
                Some(Arc::new(watch))
            }
        };
        let source = DeviceSource::new(
            store.clone(),
            Arc::clone(&tokens),
            Arc::clone(&clock),
            Arc::clone(&entropy),
        );
        let pool = start_pool(config, source, &store)?;
        let rules = config.rules.clone();
        let lanes = Lanes::start(&store, tokens, &clock, rules, config.lanes)?;
        let lanes = Arc::new(lanes);
        let submit: Arc<dyn Submit> = Arc::<Lanes>::clone(&lanes);
        let settings = ExportSettings {
            expiry_s: config.export.expiry_s,
        };
        let exports = ExportWorker::start(store.clone(), Arc::clone(&clock), settings)?;
        let exports = Arc::new(exports);
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
            settings: door_settings(config),
        };
        Ok(Self {
            lanes,
            pool,
            watch,
            exports,
            door,
        })
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
        if let Some(watch) = &self.watch {
            watch.stop();
        }
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
        ready_when: config.ready_when,
    }
}

/// The pool for TEST. Without a token for TEST, or with a target of 0, there is none.
fn start_pool(
    config: &Config,
    source: DeviceSource,
    store: &Store,
) -> Result<Option<Arc<DevicePool>>, NodeError> {
    let is_test = |section: &TokenConfig| section.environment == Environment::Test;
    if config.pool_target == 0 || !config.tokens.iter().any(is_test) {
        return Ok(None);
    }
    let settings = PoolSettings {
        curve: config.curve,
        target: config.pool_target,
    };
    let pool = DevicePool::start(store.clone(), source, settings)?;
    Ok(Some(Arc::new(pool)))
}
