//! The pool of prepared devices (design decision 5): kept full in the background, so that assigning a
//! TSS never waits for a key.

use super::NodeError;
use super::device_source::DeviceSource;
use crate::ledger::{LedgerError, Store};
use crate::pki::TestCa;
use crate::terms::{Bell, Curve, Environment};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How full, and with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSettings {
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

/// Keeps the pool full until it is stopped.
pub struct DevicePool {
    bell: Arc<Bell>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl DevicePool {
    /// Makes a first device where there is none, and starts filling the pool.
    ///
    /// # Errors
    /// When a token that is there does not give a CA, or the thread cannot be started.
    pub fn start(
        store: Store,
        mut source: DeviceSource,
        settings: PoolSettings,
    ) -> Result<Self, NodeError> {
        let bell = Arc::new(Bell::default());
        // Whoever calls a fresh server at once finds a device. A server that cannot make one starts all
        // the same, for exports; the thread tries again.
        let first = PoolSettings {
            target: settings.target.min(1),
            ..settings
        };
        if let Err(error) = source.ca()
            && source.is_there()
        {
            return Err(error);
        }
        if let Err(error) = fill(&store, &mut source, first, &bell) {
            complain(&error);
        }
        let own = Arc::clone(&bell);
        let thread = thread::Builder::new()
            .name("device-pool".to_owned())
            .spawn(move || keep_full(&store, &mut source, settings, &own))?;
        Ok(Self {
            bell,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Says that devices were taken. Returns at once.
    pub fn wake(&self) {
        self.bell.ring();
    }

    /// Ends after the device in the making.
    pub fn stop(&self) {
        self.bell.stop();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the pool of prepared devices ended by a panic");
        }
    }
}

fn keep_full(store: &Store, source: &mut DeviceSource, settings: PoolSettings, bell: &Bell) {
    let mut back_off = BACK_OFF_FIRST;
    loop {
        let pause = match fill(store, source, settings, bell) {
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

fn complain(error: &NodeError) {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(%error, cause, "no more devices can be prepared for now");
}

/// New TSSs get devices of the token that the pool is filled in; those of any other do not count.
fn count(store: &Store, ca: &TestCa) -> Result<u64, LedgerError> {
    store.free_devices_in(ca.token(), Environment::Test)
}

fn fill(
    store: &Store,
    source: &mut DeviceSource,
    settings: PoolSettings,
    bell: &Bell,
) -> Result<(), NodeError> {
    while !bell.is_stopped() && settings.target > 0 {
        let Some(ca) = source.ca()? else {
            return Ok(());
        };
        if count(store, ca)? >= settings.target.into() {
            return Ok(());
        }
        store.add_device(&ca.prepare(settings.curve)?)?;
    }
    Ok(())
}
