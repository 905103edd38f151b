//! The tokens that can sign, each with a bounded pool of signer threads.

use crate::csp::{Csp, CspError, KeyPair};
use crate::terms::Environment;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Signatures that may wait for a signer thread of one token.
const SIGN_QUEUE_LEN_MAX: usize = 1024;

/// How long a dropped token waits for its signers.
const SIGNERS_END_MAX: Duration = Duration::from_secs(5);

/// A token as the lanes see it.
pub struct Token {
    csp: Arc<dyn Csp>,
    environment: Environment,
    /// `None` only while this is dropped.
    work: Option<SyncSender<SignWork>>,
    /// Closed once every signer thread has let go of the token.
    ended: Mutex<Receiver<()>>,
}

/// One signature to make.
struct SignWork {
    index: usize,
    key: KeyPair,
    digest: Vec<u8>,
    done: Sender<(usize, Result<Vec<u8>, CspError>)>,
}

impl Token {
    /// Starts `signers` threads, which end when the token is dropped; dropping waits for them.
    pub fn start(
        csp: Arc<dyn Csp>,
        environment: Environment,
        signers: usize,
    ) -> std::io::Result<Self> {
        let (work, queue) = sync_channel(SIGN_QUEUE_LEN_MAX);
        let queue = Arc::new(Mutex::new(queue));
        let (ending, ended) = channel::<()>();
        for number in 0..signers.max(1) {
            let (csp, queue, ending) = (Arc::clone(&csp), Arc::clone(&queue), ending.clone());
            thread::Builder::new()
                .name(format!("sign-{}-{number}", csp.token()))
                .spawn(move || {
                    sign_until_closed(csp.as_ref(), &queue);
                    drop(csp);
                    drop(ending);
                })?;
        }
        drop(ending);
        Ok(Self {
            csp,
            environment,
            work: Some(work),
            ended: Mutex::new(ended),
        })
    }

    /// The token itself.
    pub const fn csp(&self) -> &Arc<dyn Csp> {
        &self.csp
    }

    /// What its keys are for.
    pub const fn environment(&self) -> Environment {
        self.environment
    }

    /// Signs all digests, in parallel, each tried once more if it fails. Results in the order given.
    /// What is not there in time counts as not signed: the module may still be working on it, but its
    /// signature never leaves this function.
    pub(super) fn sign_all(
        &self,
        digests: Vec<(KeyPair, Vec<u8>)>,
        timeout_ms: u64,
    ) -> Vec<Result<Vec<u8>, CspError>> {
        let mut ordered: Vec<_> = digests.iter().map(|_| None).collect();
        let (done, results) = channel();
        for (index, (key, digest)) in digests.into_iter().enumerate() {
            let work = SignWork {
                index,
                key,
                digest,
                done: done.clone(),
            };
            let taken = self.work.as_ref().map(|queue| queue.try_send(work));
            if !matches!(taken, Some(Ok(()))) {
                // Every signer hangs and the queue is full.
                break;
            }
        }
        drop(done);
        while let Ok((index, result)) = results.recv_timeout(Duration::from_millis(timeout_ms)) {
            if let Some(place) = ordered.get_mut(index) {
                *place = Some(result);
            }
        }
        let gone = || CspError::DeviceGone {
            token: self.csp.token().to_owned(),
            source: None,
        };
        ordered
            .into_iter()
            .map(|result| result.unwrap_or_else(|| Err(gone())))
            .collect()
    }
}

impl Drop for Token {
    /// A thread that still closes sessions while the process exits meets a module that is already
    /// taken down, and crashes. A token that hangs is not waited for.
    fn drop(&mut self) {
        self.work = None;
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(SIGNERS_END_MAX) == Err(RecvTimeoutError::Timeout) {
            let token = self.csp.token();
            tracing::error!(token, "the token hangs; its signers are left behind");
        }
    }
}

fn sign_until_closed(csp: &dyn Csp, queue: &Mutex<Receiver<SignWork>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(work) = next else { return };
        let result = sign_twice(csp, &work.key, &work.digest);
        // The lane may have given up waiting; the signature then never left the CSP.
        let _ = work.done.send((work.index, result));
    }
}

/// One more try, because a lost session is repaired by the next call (design decision 1).
fn sign_twice(csp: &dyn Csp, key: &KeyPair, digest: &[u8]) -> Result<Vec<u8>, CspError> {
    csp.sign(key, digest).or_else(|first| match first {
        CspError::SessionLost { .. } | CspError::Failed { .. } | CspError::DeviceGone { .. } => {
            csp.sign(key, digest)
        }
        CspError::PinRefused { .. }
        | CspError::KeyMissing { .. }
        | CspError::WrongKey { .. }
        | CspError::NotSupported { .. }
        | CspError::Busy { .. } => Err(first),
    })
}
