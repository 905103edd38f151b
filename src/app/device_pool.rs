//! The pool of prepared devices (design decision 5): looked after in the background, so that assigning a
//! TSS never waits for a key. With the test CA it fills itself; what a foreign CA has to make is told to
//! the operator.

use super::NodeError;
use super::ca_source::CaSource;
use crate::ledger::Store;
use crate::terms::{Background, Bell, Clock, Curve, Environment, chain};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// What the pool looks after.
pub struct Stock {
    /// Where devices are kept.
    pub store: Store,
    /// When certificates end.
    pub clock: Arc<dyn Clock>,
    /// Who makes new ones for TEST, where we do.
    pub source: Option<TestSource>,
    /// Environments whose devices a foreign CA makes, with the labels of their tokens.
    pub foreign: Vec<(Environment, Vec<String>)>,
}

/// Devices by the test CA.
pub struct TestSource {
    /// Who makes them.
    pub ca: CaSource,
    /// Curve of new TSSs.
    pub curve: Curve,
    /// Devices to keep ready.
    pub target: u32,
}

/// How often the pool is counted although nobody asked: another node may have taken some.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Pause after a failure; doubled up to the second one.
const BACK_OFF_FIRST: Duration = Duration::from_secs(1);
const BACK_OFF_LAST: Duration = Duration::from_secs(60);

/// Looks after the pool until it is stopped.
pub struct DevicePool {
    background: Background,
    target: u32,
}

impl DevicePool {
    /// Makes a first device where we make them and there is none, and begins to look after the pool.
    ///
    /// # Errors
    /// When a token that is there does not give a CA, or the thread cannot be started.
    pub fn start(stock: Stock) -> Result<Self, NodeError> {
        let bell = Arc::<Bell>::default();
        let target = stock.source.as_ref().map_or(0, |source| source.target);
        let mut keeper = Keeper {
            stock,
            empty: BTreeSet::new(),
        };
        // Whoever calls a fresh server at once finds a device. A server that cannot make one starts all
        // the same, for exports; the thread tries again.
        if let Some(source) = &mut keeper.stock.source
            && source.target > 0
            && let Err(error) = source.ca.ca()
            && source.ca.is_there()
        {
            return Err(error);
        }
        if let Err(error) = keeper.look(&bell, 1) {
            complain(&error);
        }
        let keep = move |bell: &Bell| keeper.keep(bell);
        Ok(Self {
            background: Background::start_on(bell, "device-pool", keep)?,
            target,
        })
    }

    /// Devices that it keeps ready; none where a foreign CA makes them.
    pub const fn target(&self) -> u32 {
        self.target
    }

    /// Says that devices were taken. Returns at once.
    pub fn wake(&self) {
        self.background.wake();
    }

    /// Ends after the device in the making.
    pub fn stop(&self) {
        self.background.stop();
    }
}

fn complain(error: &NodeError) {
    tracing::error!(error = %chain(error), "no more devices can be prepared for now");
}

/// What the thread owns.
struct Keeper {
    stock: Stock,
    /// Environments whose emptiness was told.
    empty: BTreeSet<Environment>,
}

impl Keeper {
    fn keep(&mut self, bell: &Bell) {
        let mut back_off = BACK_OFF_FIRST;
        loop {
            let pause = match self.look(bell, u32::MAX) {
                Ok(()) => {
                    back_off = BACK_OFF_FIRST;
                    LOOK_EVERY
                }
                Err(error) => {
                    complain(&error);
                    let pause = back_off;
                    back_off = (back_off * 2).min(BACK_OFF_LAST);
                    pause
                }
            };
            if !bell.wait(pause) {
                return;
            }
        }
    }

    fn look(&mut self, bell: &Bell, at_most: u32) -> Result<(), NodeError> {
        let Stock {
            store,
            clock,
            source,
            ..
        } = &mut self.stock;
        let ended = store.set_ended_devices_aside(clock.now())?;
        if ended > 0 {
            tracing::warn!("{ended} prepared devices are not used: their certificates have ended");
        }
        if let Some(source) = source {
            source.fill(store, bell, at_most)?;
        }
        self.tell_emptiness()
    }

    /// Once, when it begins.
    fn tell_emptiness(&mut self) -> Result<(), NodeError> {
        for (environment, tokens) in &self.stock.foreign {
            let mut free: u64 = 0;
            for token in tokens {
                let found = self.stock.store.free_devices_in(token, *environment)?;
                free = free.saturating_add(found);
            }
            if free > 0 {
                self.empty.remove(environment);
            } else if self.empty.insert(*environment) {
                tracing::warn!(
                    %environment,
                    "no device is ready for a new {environment} TSS: see `siegel pki list`"
                );
            }
        }
        Ok(())
    }
}

impl TestSource {
    /// New TSSs get devices of the token that the pool is filled in; those of any other do not count.
    fn fill(&mut self, store: &Store, bell: &Bell, at_most: u32) -> Result<(), NodeError> {
        let target = self.target.min(at_most);
        while !bell.is_stopped() && target > 0 {
            let Some(ca) = self.ca.ca()? else {
                return Ok(());
            };
            if store.free_devices_in(ca.token(), Environment::Test)? >= target.into() {
                return Ok(());
            }
            store.add_device(&ca.prepare(self.curve)?)?;
        }
        Ok(())
    }
}
