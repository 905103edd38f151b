//! Anchors on the tokens: reading them as testimonies, writing them.

use super::compare::Testimony;
use crate::csp::{Anchor, Csp, CspError};
use crate::ledger::Store;
use crate::terms::{Clock, chain};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How long a node may write the anchors, in seconds, and when it asks again, in milliseconds.
const LEASE_S: u32 = 10;
const LEASE_LEFT_MS_MIN: u64 = 5_000;

/// A token, and what is known of its anchor.
pub(super) struct Anchored {
    pub csp: Arc<dyn Csp>,
    /// Generation in which it was compared last.
    pub compared: Option<u64>,
    /// Whether it keeps data objects, as far as is known.
    pub keeps: bool,
    /// The anchor of our ledger as it was read or written last.
    pub spent: u64,
    /// What is known of other ledgers.
    pub others: Vec<Anchor>,
    /// Until when nobody else writes its anchor, on the monotonic clock.
    pub lease_until_ms: u64,
    /// That its anchor cannot be read.
    pub silence: Option<Silence>,
    /// Until when its anchor is not written again, and when it last knew of all messages, on the monotonic clock.
    rests_until_ms: u64,
    complete_ms: Option<u64>,
}

/// How far the anchor of a token is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnchorLag {
    /// Committed messages that it does not know of.
    pub messages: u64,
    /// Milliseconds since it last knew of all of them.
    pub ms: u64,
}

/// An anchor is written, and signatures of the token may have to wait for that, in one part of the time out of so
/// many; at the latest after so many milliseconds.
const REST: u64 = 200;
const REST_MS_MAX: u64 = 60_000;

/// How often a token whose anchor cannot be read is asked again, and how soon and how late it is told again,
/// in milliseconds.
const ASK_EVERY_MS: u64 = 900;
const TELL_AFTER_MS_MIN: u64 = 10_000;
const TELL_AFTER_MS_MAX: u64 = 3_600_000;

/// The anchor of a token cannot be read. Times are those of the monotonic clock.
pub(super) struct Silence {
    generation: u64,
    ask_from_ms: u64,
    tell_from_ms: u64,
    tell_after_ms: u64,
}

impl Anchored {
    pub fn new(csp: Arc<dyn Csp>) -> Self {
        Self {
            csp,
            compared: None,
            keeps: true,
            spent: 0,
            others: Vec::new(),
            lease_until_ms: 0,
            silence: None,
            rests_until_ms: 0,
            complete_ms: None,
        }
    }

    /// Whether to write its anchor again would take too much of its time.
    pub const fn rests(&self, now_ms: u64) -> bool {
        now_ms < self.rests_until_ms
    }

    /// Whether it has to be compared, and can be.
    pub fn is_doubtful(&mut self, ledger: &str, now_ms: u64) -> bool {
        let generation = self.csp.generation();
        if self.compared == Some(generation) {
            return false;
        }
        // Where it is silent there is nothing to compare, however often lanes ask.
        let silence = self.silence.as_ref();
        silence.is_none_or(|silence| silence.generation != generation)
            || self.try_read(ledger, now_ms)
    }

    /// Reads the anchors if they are due; `false` when they are not known. Says so once, and then more and
    /// more rarely.
    pub fn try_read(&mut self, ledger: &str, now_ms: u64) -> bool {
        let generation = self.csp.generation();
        let silence = self.silence.as_ref();
        if silence.is_some_and(|one| one.generation == generation && now_ms < one.ask_from_ms) {
            return false;
        }
        let Err(error) = self.read(ledger) else {
            self.silence = None;
            return true;
        };
        let silence = self.silence.get_or_insert(Silence {
            generation,
            ask_from_ms: now_ms,
            tell_from_ms: now_ms,
            tell_after_ms: TELL_AFTER_MS_MIN,
        });
        silence.generation = generation;
        silence.ask_from_ms = now_ms.saturating_add(ASK_EVERY_MS);
        if silence.tell_from_ms <= now_ms {
            let label = self.csp.token();
            tracing::warn!(token = %label, error = %chain(&error), "token {label}: its anchor cannot be read");
            silence.tell_from_ms = now_ms.saturating_add(silence.tell_after_ms);
            silence.tell_after_ms = (silence.tell_after_ms * 2).min(TELL_AFTER_MS_MAX);
        }
        false
    }

    /// Reads the anchors of a token that may have changed.
    pub fn read(&mut self, ledger: &str) -> Result<(), CspError> {
        if !self.keeps {
            return Ok(());
        }
        match self.csp.anchors() {
            Ok(anchors) => {
                let (own, others): (Vec<_>, Vec<_>) = anchors
                    .into_iter()
                    .partition(|anchor| anchor.ledger == ledger);
                let spent = own.iter().map(|anchor| anchor.spent).max();
                self.spent = spent.unwrap_or_default();
                self.rests_until_ms = 0;
                self.others = others;
                Ok(())
            }
            Err(CspError::NotSupported { .. }) => {
                self.give_up();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Makes the token remember more.
    pub fn write(&mut self, ledger: &str, spent: u64, clock: &dyn Clock) {
        if !self.keeps || spent <= self.spent {
            return;
        }
        let anchor = Anchor {
            ledger: ledger.to_owned(),
            spent,
        };
        let began_ms = clock.monotonic_ms();
        let written = self.csp.write_anchor(&anchor);
        let ended_ms = clock.monotonic_ms();
        let rest_ms = ended_ms.saturating_sub(began_ms).saturating_mul(REST);
        self.rests_until_ms = ended_ms.saturating_add(rest_ms.min(REST_MS_MAX));
        match written {
            Ok(()) => self.spent = spent,
            Err(CspError::NotSupported { .. }) => self.give_up(),
            // A later second tries again; a token that is gone is reported by itself.
            Err(error) => {
                tracing::debug!(token = self.csp.token(), %error, "an anchor was not written");
            }
        }
    }

    /// How far it is behind so many messages. `None` where another node writes it, or there is none.
    pub fn lag(&mut self, spent: u64, now_ms: u64) -> Option<AnchorLag> {
        let messages = spent.saturating_sub(self.spent);
        let since_ms = self.complete_ms.get_or_insert(now_ms);
        if messages == 0 {
            *since_ms = now_ms;
        }
        let ms = now_ms.saturating_sub(*since_ms);
        let is_ours = messages == 0 || now_ms < self.lease_until_ms;
        (self.keeps && is_ours).then_some(AnchorLag { messages, ms })
    }

    fn give_up(&mut self) {
        self.keeps = false;
        let token = self.csp.token();
        tracing::warn!(
            token,
            "token {token} keeps no data objects: it is no witness against a ledger that was put back"
        );
    }
}

/// What the tokens say about a ledger: one testimony for each that says anything.
///
/// # Errors
/// [`CspError`] of the first token that does not answer.
pub fn testimonies(
    tokens: &BTreeMap<String, Arc<dyn Csp>>,
    ledger: &str,
) -> Result<Vec<Testimony>, CspError> {
    let mut testimonies = Vec::new();
    for (label, csp) in tokens {
        let mut anchored = Anchored::new(Arc::clone(csp));
        anchored.read(ledger)?;
        testimonies.extend(testimony(label, &anchored));
    }
    Ok(testimonies)
}

pub(super) fn testimony(label: &str, anchored: &Anchored) -> Option<Testimony> {
    (anchored.spent > 0).then(|| Testimony {
        name: format!("the anchor on token {label}"),
        totals: BTreeMap::from([(label.to_owned(), anchored.spent)]),
        ..Testimony::default()
    })
}

/// Only one node writes the anchors of a token, so that they do not take turns in destroying them.
pub(super) fn has_lease(
    store: &Store,
    ledger: &str,
    node: &str,
    label: &str,
    token: &mut Anchored,
    now_ms: u64,
) -> bool {
    if token.lease_until_ms > now_ms.saturating_add(LEASE_LEFT_MS_MIN) {
        return true;
    }
    let had = token.lease_until_ms > now_ms;
    let taken = store.take_lease(&format!("anchor:{label}"), node, LEASE_S);
    if !matches!(taken, Ok(true)) {
        token.lease_until_ms = 0;
        return false;
    }
    token.lease_until_ms = now_ms.saturating_add(u64::from(LEASE_S) * 1000);
    // Another node may have written it meanwhile.
    had || token.read(ledger).is_ok()
}
