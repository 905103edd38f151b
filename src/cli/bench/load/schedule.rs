//! When the next transaction begins.

use crate::app::MachineWatch;
use std::cell::Cell;
use std::rc::Rc;
use std::thread;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Hands out the moments at which transactions begin, as time since the start of the run.
#[derive(Clone)]
pub(super) struct Schedule {
    watch: MachineWatch,
    end: Duration,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    /// At once, until the end.
    Closed,
    /// At fixed times, whatever becomes of them.
    Open(Rc<Open>),
}

struct Open {
    due: Mutex<UnboundedReceiver<Duration>>,
    /// Until when what came due may still be begun.
    patience: Duration,
    not_started: Cell<u64>,
}

/// What came due within the run may begin so much later; the rest counts as not started.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest the pacing thread sleeps before it looks whether anybody is still there.
const NAP_MAX: Duration = Duration::from_millis(100);

impl Schedule {
    /// Starts now. The pacing of an open loop has a thread of its own: timers of the runtime are a
    /// millisecond coarse.
    pub(super) fn start(rate: Option<f64>, end: Duration) -> anyhow::Result<Self> {
        let watch = MachineWatch::start();
        let kind = match rate {
            None => Kind::Closed,
            Some(rate) => {
                let (sender, due) = unbounded_channel();
                let pace = move || {
                    for at in moments(rate, end) {
                        while let Some(nap) = at.checked_sub(watch.elapsed()) {
                            if sender.is_closed() {
                                return;
                            }
                            thread::sleep(nap.min(NAP_MAX));
                        }
                        if sender.send(at).is_err() {
                            return;
                        }
                    }
                };
                thread::Builder::new()
                    .name("bench-pace".to_owned())
                    .spawn(pace)?;
                Kind::Open(Rc::new(Open {
                    due: Mutex::new(due),
                    patience: end.saturating_add(PATIENCE),
                    not_started: Cell::new(0),
                }))
            }
        };
        Ok(Self { watch, end, kind })
    }

    /// Waits for the next transaction; the moment it should begin at, or `None` after the last one.
    pub(super) async fn next(&self) -> Option<Duration> {
        match &self.kind {
            Kind::Closed => Some(self.elapsed()).filter(|now| *now < self.end),
            Kind::Open(open) => {
                let at = open.due.lock().await.recv().await?;
                if self.elapsed() <= open.patience {
                    return Some(at);
                }
                open.not_started
                    .set(open.not_started.get().saturating_add(1));
                while open.due.lock().await.recv().await.is_some() {
                    open.not_started
                        .set(open.not_started.get().saturating_add(1));
                }
                None
            }
        }
    }

    /// Time since the start of the run.
    pub(super) fn elapsed(&self) -> Duration {
        self.watch.elapsed()
    }

    /// Whether the run, apart from what has begun, is over.
    pub(super) fn is_over(&self) -> bool {
        self.elapsed() >= self.end
    }

    /// Transactions that came due and were not begun.
    pub(super) fn not_started(&self) -> u64 {
        match &self.kind {
            Kind::Closed => 0,
            Kind::Open(open) => open.not_started.get(),
        }
    }
}

/// Every moment at which a transaction begins.
fn moments(rate: f64, end: Duration) -> impl Iterator<Item = Duration> {
    let first = Duration::ZERO;
    let mut number = 0_u32;
    std::iter::successors(Some(first), move |_| {
        number = number.checked_add(1)?;
        Some(Duration::from_secs_f64(f64::from(number) / rate))
    })
    .take_while(move |at| *at < end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_gives_its_number_of_moments_evenly() {
        let at: Vec<_> = moments(4.0, Duration::from_secs(2)).collect();
        assert_eq!(at.len(), 8);
        assert_eq!(at[0], Duration::ZERO);
        assert_eq!(at[7], Duration::from_millis(1_750));
        assert_eq!(moments(0.5, Duration::from_secs(5)).count(), 3);
    }
}
