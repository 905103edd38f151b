//! A thread that works beside the calls.

use super::Bell;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// A background thread and its bell: it works when the bell rings, or when it is time, until it is stopped.
#[derive(Debug)]
pub struct Background {
    name: &'static str,
    bell: Arc<Bell>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Background {
    /// Starts `work`, which returns once its bell says that it is time to end. `name` is the thread's.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        name: &'static str,
        work: impl FnOnce(&Bell) + Send + 'static,
    ) -> std::io::Result<Self> {
        Self::start_on(Arc::default(), name, work)
    }

    /// The same with a bell that others know as well.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start_on(
        bell: Arc<Bell>,
        name: &'static str,
        work: impl FnOnce(&Bell) + Send + 'static,
    ) -> std::io::Result<Self> {
        let own = Arc::clone(&bell);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(&own))?;
        Ok(Self {
            name,
            bell,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// There is work. Returns at once.
    pub fn wake(&self) {
        self.bell.ring();
    }

    /// Ends it after what is at hand, and waits for that.
    pub fn stop(&self) {
        self.bell.stop();
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.take().is_some_and(|thread| thread.join().is_err()) {
            let name = self.name;
            tracing::error!(thread = name, "the thread {name} ended by a panic");
        }
    }
}
