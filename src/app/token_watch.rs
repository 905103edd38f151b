//! Looks which token of each pair is active, and switches by itself where that is wanted.

use crate::csp::Csp;
use crate::ledger::{ActiveToken, Store, Switched};
use crate::signing::{Member, TokenPair, TokenPairs};
use crate::terms::{Background, Bell, Clock, chain};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// How often the ledger is asked, and each token that a switch depends on.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A pair that switches by itself.
struct Automatic {
    label: String,
    after_ms: u64,
    main: Pulse,
    standby: Pulse,
}

/// When a token signed last with its canary, in milliseconds of the monotonic clock.
struct Pulse {
    name: String,
    last_ms: Arc<AtomicU64>,
}

/// Starts it: one thread beside the lanes, and two more for each pair that switches by itself. A token that
/// hangs is not waited for in the end. `switch_after_s` by label: how long the main token must not sign until its standby takes
/// over; never where it is 0 or missing.
///
/// # Errors
/// When a thread cannot be started.
pub(super) fn start(
    store: Store,
    tokens: Arc<TokenPairs>,
    clock: Arc<dyn Clock>,
    switch_after_s: &BTreeMap<String, u32>,
) -> std::io::Result<Background> {
    let bell = Arc::<Bell>::default();
    let mut automatic = Vec::new();
    for (label, after_s) in switch_after_s.iter().filter(|(_, after_s)| **after_s > 0) {
        let pair = tokens.get(label);
        let Some((main, standby)) = pair.and_then(|pair| Some((pair.main(), pair.standby()?)))
        else {
            continue;
        };
        automatic.push(Automatic {
            label: label.clone(),
            after_ms: u64::from(*after_s).saturating_mul(1000),
            main: Pulse::feel(main, &clock, &bell)?,
            standby: Pulse::feel(standby, &clock, &bell)?,
        });
    }
    Background::start_on(bell, "token-watch", move |bell| {
        loop {
            look(&store, &tokens, clock.as_ref(), &automatic);
            if !bell.wait(LOOK_EVERY) {
                return;
            }
        }
    })
}

impl Pulse {
    /// Asks the token again and again, on a thread of its own: one that hangs must not keep the watch.
    fn feel(member: &Member, clock: &Arc<dyn Clock>, bell: &Arc<Bell>) -> std::io::Result<Self> {
        let last_ms = Arc::new(AtomicU64::new(clock.monotonic_ms()));
        let (csp, clock, bell): (Arc<dyn Csp>, _, _) = (
            Arc::clone(member.token.csp()),
            Arc::clone(clock),
            Arc::clone(bell),
        );
        let last = Arc::clone(&last_ms);
        let feel = move || {
            loop {
                if csp.check_health().is_ok() {
                    last.store(clock.monotonic_ms(), Ordering::Release);
                }
                if !bell.wait(LOOK_EVERY) {
                    return;
                }
            }
        };
        thread::Builder::new()
            .name(format!("pulse-{}", member.name))
            .spawn(feel)?;
        Ok(Self {
            name: member.name.clone(),
            last_ms,
        })
    }

    fn silent_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.last_ms.load(Ordering::Acquire))
    }
}

fn look(store: &Store, tokens: &TokenPairs, clock: &dyn Clock, automatic: &[Automatic]) {
    let found = match store.active_tokens() {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(error = %chain(&error), "which tokens are active could not be read");
            return;
        }
    };
    for active in found {
        let Some(pair) = tokens.get(&active.label) else {
            continue;
        };
        tell(pair, &active);
        if let Some(automatic) = automatic.iter().find(|one| one.label == active.label)
            && let Some(ActiveToken { section, .. }) = take_over(store, clock, automatic, &active)
        {
            pair.saw_active(&section);
        }
    }
}

fn tell(pair: &TokenPair, active: &ActiveToken) {
    let before = pair.active_as_seen().map(|member| member.name.clone());
    pair.saw_active(&active.section);
    if before.as_deref() != Some(active.section.as_str()) {
        let ActiveToken {
            label,
            section,
            epoch,
        } = active;
        tracing::warn!(token = %label, section, epoch, "token {label}: {section} is active from now on");
    }
}

/// Only from the main token to its standby: back again is for a person, who knows whether the keys that were
/// made meanwhile are there.
fn take_over(
    store: &Store,
    clock: &dyn Clock,
    automatic: &Automatic,
    active: &ActiveToken,
) -> Option<ActiveToken> {
    let now_ms = clock.monotonic_ms();
    let (main, standby) = (&automatic.main, &automatic.standby);
    let alive_ms = u64::try_from(LOOK_EVERY.as_millis())
        .unwrap_or(u64::MAX)
        .saturating_mul(3);
    let is_due = active.section == main.name
        && main.silent_ms(now_ms) >= automatic.after_ms
        && standby.silent_ms(now_ms) <= alive_ms;
    if !is_due {
        return None;
    }
    let label = &automatic.label;
    let (from, to) = (&main.name, &standby.name);
    match store.switch_token(label, to, Some(active.epoch), clock.now()) {
        Ok(Switched::Done(now)) => {
            let epoch = now.epoch;
            tracing::error!(token = %label, epoch, "token {label}: {from} is silent, {to} takes over");
            Some(now)
        }
        Ok(Switched::WasAlready(now) | Switched::Overtaken(now)) => Some(now),
        Ok(Switched::NoPair) => None,
        Err(error) => {
            tracing::error!(error = %chain(&error), "token {label}: {from} is silent, and {to} could not take over yet");
            None
        }
    }
}
