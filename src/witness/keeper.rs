//! The thread that writes the witnesses, and compares them with the ledger.

use super::WitnessError;
use super::compare::Testimony;
use super::file::NodeFile;
use super::opening::open_file;
use super::status::Status;
use super::stopping::{findings, stop_forgotten};
use super::tokens::{Anchored, has_lease, testimony};
use crate::csp::{Csp, CspError};
use crate::ledger::{LedgerError, Store, Survey};
use crate::terms::{Background, Bell, Clock, Entropy, Environment, chain};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How often the node file is written: in small parts, because the commits of SQLite wait while the disk takes it.
const EVERY: Duration = Duration::from_millis(250);
/// The same in milliseconds, nearly: who is rung for writes no more often.
const FILE_EVERY_MS: u64 = 200;
/// How often the totals of the ledger are added up for node file and anchors, in milliseconds, nearly.
const TOTALS_EVERY_MS: u64 = 900;
/// How often this node says that it is there, in milliseconds.
const GREET_EVERY_MS: u64 = 5_000;
/// How long the others are waited for before a new server is signed with, in milliseconds.
const OTHERS_WAIT_MS: u64 = 10_000;
/// Pause before the ledger is compared again where that was not possible.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How a node keeps its witnesses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessSettings {
    /// The node file.
    pub file: PathBuf,
    /// Whether a ledger may be begun anew where another one was used before.
    pub begins_anew: bool,
}

/// The running witnesses of a node. Stop them after the lanes.
pub struct Witnesses {
    store: Store,
    tokens: BTreeMap<String, Arc<dyn Csp>>,
    status: Arc<Mutex<Status>>,
    thread: Background,
}

impl Witnesses {
    /// Compares the ledger with node file and tokens, stops what it has forgotten, and goes on watching.
    /// Call it before lanes are started: from here on they sign only with what was compared.
    ///
    /// # Errors
    /// [`WitnessError`] where this does not seem to be the right ledger, or no look at it is possible.
    pub fn start(
        store: &Store,
        tokens: &BTreeMap<String, (Arc<dyn Csp>, Environment)>,
        settings: &WitnessSettings,
        clock: &Arc<dyn Clock>,
        entropy: &dyn Entropy,
    ) -> Result<Self, WitnessError> {
        store.clearance().guard();
        store.released().keep();
        let ledger = store.survey()?.ledger_id()?;
        let opened = open_file(settings, &ledger, store, entropy)?;
        let status = Status {
            has_file: opened.file.is_some(),
            ..Status::default()
        };
        let status = Arc::new(Mutex::new(status));
        let anchored = |(label, (csp, _)): (&String, &(Arc<dyn Csp>, Environment))| {
            (label.clone(), Anchored::new(Arc::clone(csp)))
        };
        let mut keeper = Keeper {
            store: store.clone(),
            clock: Arc::clone(clock),
            tokens: tokens.iter().map(anchored).collect(),
            file: opened.file,
            file_totals: opened.totals,
            ledger,
            node: opened.node,
            server: None,
            first_seen: None,
            greeted_ms: 0,
            status: Arc::clone(&status),
        };
        keeper.compare_now()?;
        let live = |label: &String| {
            let token = tokens.get(label);
            token.is_some_and(|(_, environment)| *environment == Environment::Live)
        };
        keeper.refuse_used_tokens(settings.begins_anew, live)?;
        let asked = Arc::clone(store.clearance().asked());
        let thread = Background::start_on(asked, "witnesses", move |bell| keeper.run(bell))
            .map_err(WitnessError::Thread)?;
        let csp = |(label, (csp, _)): (&String, &(Arc<dyn Csp>, Environment))| {
            (label.clone(), Arc::clone(csp))
        };
        Ok(Self {
            store: store.clone(),
            tokens: tokens.iter().map(csp).collect(),
            status,
            thread,
        })
    }

    /// Whether the ledger behind this node was compared, so that it can be signed with.
    pub fn is_compared(&self) -> bool {
        lock(&self.status).is_compared
    }

    /// What memory and tokens say of the ledger at this moment.
    ///
    /// # Errors
    /// When a token does not answer.
    pub fn testimonies(&self) -> Result<Vec<Testimony>, CspError> {
        let own = Testimony {
            name: "this node".to_owned(),
            marks: self.store.released().marks(),
            ..Testimony::default()
        };
        let anchors = super::testimonies(&self.tokens, self.store.ledger_id())?;
        Ok(std::iter::once(own).chain(anchors).collect())
    }

    /// What they say now.
    pub fn status(&self) -> Arc<Mutex<Status>> {
        Arc::clone(&self.status)
    }

    /// Writes the witnesses a last time, and ends.
    pub fn stop(&self) {
        self.thread.stop();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Keeper {
    store: Store,
    clock: Arc<dyn Clock>,
    tokens: BTreeMap<String, Anchored>,
    file: Option<NodeFile>,
    /// Totals as they stand in the file.
    file_totals: BTreeMap<String, u64>,
    ledger: String,
    node: String,
    /// The server that was compared last.
    server: Option<String>,
    /// A server that waits for the other nodes, and since when, on the monotonic clock.
    first_seen: Option<(String, u64)>,
    greeted_ms: u64,
    status: Arc<Mutex<Status>>,
}

impl Keeper {
    fn run(mut self, bell: &Bell) {
        let mut written_ms = self.clock.monotonic_ms();
        let mut file_ms = written_ms;
        let mut goes_on = true;
        while goes_on {
            goes_on = bell.wait(EVERY);
            if goes_on && self.has_doubts() {
                let compared = self.compare_now();
                if let Err(error) = &compared {
                    self.server = None;
                    tracing::warn!(error = %chain(error), "the ledger could not be compared yet");
                }
                if self.server.is_none() {
                    // Lanes ask again and again meanwhile.
                    thread::sleep(AGAIN_AFTER);
                }
            }
            let now_ms = self.clock.monotonic_ms();
            // A ring is no reason to write more often.
            let is_due = now_ms.saturating_sub(written_ms) >= TOTALS_EVERY_MS;
            if is_due || !goes_on {
                written_ms = now_ms;
                self.write(!goes_on);
                self.greet(now_ms);
                file_ms = now_ms;
            } else if now_ms.saturating_sub(file_ms) >= FILE_EVERY_MS {
                file_ms = now_ms;
                self.write_file(&BTreeMap::new());
            }
        }
        if let Err(error) = self.store.leave(&self.node) {
            tracing::debug!(%error, "the ledger does not know that this node has left");
        }
    }

    /// Whether something has come into place that was not compared.
    fn has_doubts(&mut self) -> bool {
        let now_ms = self.clock.monotonic_ms();
        let mut tokens = self.tokens.values_mut();
        let changed = tokens.any(|token| token.is_doubtful(&self.ledger, now_ms));
        // Both are asked, because asking forgets.
        let asked = self.store.clearance().take_asked();
        changed || asked || self.server.is_none()
    }

    /// Compares what stands behind a fresh connection, and clears it.
    fn compare_now(&mut self) -> Result<(), LedgerError> {
        // Generations first: a token that changes meanwhile is compared again.
        let generation =
            |(label, token): (&String, &Anchored)| (label.clone(), token.csp.generation());
        let generations: Vec<_> = self.tokens.iter().map(generation).collect();
        let now_ms = self.clock.monotonic_ms();
        let mut unread = Vec::new();
        for (label, token) in &mut self.tokens {
            if !token.try_read(&self.ledger, now_ms) {
                unread.push(label.clone());
            }
        }
        let testimonies = self.testimonies();
        let store = self.store.clone();
        let mut survey = store.survey()?;
        let found_ledger = survey.ledger_id()?;
        if found_ledger != self.ledger {
            return Err(LedgerError::Damaged(format!(
                "it was the ledger {} and is {found_ledger} now",
                self.ledger
            )));
        }
        let findings = findings(&mut survey, &testimonies)?;
        stop_forgotten(&mut survey, &findings, self.clock.as_ref())?;
        for (label, generation) in generations {
            if !unread.contains(&label) {
                store.clearance().clear_token(&label, generation);
                if let Some(token) = self.tokens.get_mut(&label) {
                    token.compared = Some(generation);
                }
            }
        }
        self.clear_server(&mut survey)?;
        self.tell_status();
        Ok(())
    }

    fn testimonies(&self) -> Vec<Testimony> {
        let own = Testimony {
            name: "this node".to_owned(),
            marks: self.store.released().marks(),
            totals: self.file_totals.clone(),
        };
        let anchors = self.tokens.iter();
        let anchors = anchors.filter_map(|(label, token)| testimony(label, token));
        std::iter::once(own).chain(anchors).collect()
    }

    /// Lets lanes sign with this server once every node that may know more of it has compared, too.
    fn clear_server(&mut self, survey: &mut Survey<'_>) -> Result<(), LedgerError> {
        let server = survey.server().to_owned();
        let others = survey.announce(&self.node)?;
        let now_ms = self.clock.monotonic_ms();
        self.greeted_ms = now_ms;
        let since_ms = match &self.first_seen {
            Some((seen, since_ms)) if *seen == server => *since_ms,
            Some(_) | None => now_ms,
        };
        self.first_seen = Some((server.clone(), since_ms));
        if !others.is_empty() && now_ms.saturating_sub(since_ms) < OTHERS_WAIT_MS {
            self.server = None;
            return Ok(());
        }
        if !others.is_empty() {
            tracing::warn!(
                nodes = others.len(),
                "{} other nodes have not compared the ledger; it is signed with all the same",
                others.len()
            );
            // One that is there all the same says so again.
            for node in others {
                self.store.leave(&node)?;
            }
        }
        self.store.clearance().clear_server(&server);
        self.server = Some(server);
        Ok(())
    }

    fn refuse_used_tokens(
        &self,
        begins_anew: bool,
        is_live: impl Fn(&String) -> bool,
    ) -> Result<(), WitnessError> {
        for (label, token) in &self.tokens {
            let most = token.others.iter().max_by_key(|anchor| anchor.spent);
            let Some(other) = most.filter(|_| token.spent == 0 && !begins_anew) else {
                continue;
            };
            if self.store.token_totals()?.contains_key(label) {
                continue;
            }
            let error = WitnessError::UsedToken {
                token: label.clone(),
                other: other.ledger.clone(),
                spent: other.spent,
                ledger: self.ledger.clone(),
            };
            // Ledgers for tests come and go.
            if is_live(label) {
                return Err(error);
            }
            tracing::warn!("{error}");
        }
        Ok(())
    }

    /// A node that signs nothing at the moment must not keep the others waiting for its comparison.
    fn look_for_another_server(&mut self) {
        let now = self.store.server();
        if now.is_ok_and(|now| self.server.as_ref().is_some_and(|known| *known != now)) {
            self.server = None;
        }
    }

    /// Node file and anchors, `in_the_end` those that rest, too. Nothing waits for this, and what fails is done a
    /// second later.
    fn write(&mut self, in_the_end: bool) {
        self.look_for_another_server();
        let totals = match self.store.token_totals() {
            Ok(totals) => totals,
            Err(error) => {
                tracing::debug!(%error, "the totals of the ledger could not be read");
                BTreeMap::new()
            }
        };
        self.write_file(&totals);
        let now_ms = self.clock.monotonic_ms();
        for (label, token) in &mut self.tokens {
            let Some(spent) = totals.get(label).filter(|spent| **spent > token.spent) else {
                continue;
            };
            // Also while it rests, or another node would write in between.
            let is_ours = token.keeps
                && has_lease(&self.store, &self.ledger, &self.node, label, token, now_ms);
            if is_ours && (in_the_end || !token.rests(now_ms)) {
                token.write(&self.ledger, *spent, self.clock.as_ref());
            }
        }
        let lag = self.tokens.iter_mut().filter_map(|(label, token)| {
            let lag = token.lag(*totals.get(label)?, now_ms)?;
            Some((label.clone(), lag))
        });
        lock(&self.status).anchor_lag = lag.collect();
    }

    fn write_file(&mut self, totals: &BTreeMap<String, u64>) {
        let Some(file) = &mut self.file else {
            return;
        };
        let fresh = self.store.released().take_fresh();
        let mut has_risen = false;
        for (token, spent) in totals {
            let known = self.file_totals.entry(token.clone()).or_default();
            has_risen |= *spent > *known;
            *known = (*known).max(*spent);
        }
        if fresh.marks.is_empty() && !has_risen && !file.lacks_something() {
            return;
        }
        let released = self.store.released();
        let was_told = file.lacks_something();
        if let Err(error) = file.add(&fresh, &self.file_totals, || released.marks())
            && !was_told
        {
            tracing::error!(error = %chain(&error), "the node file could not be written");
        }
    }

    fn greet(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.greeted_ms) < GREET_EVERY_MS {
            return;
        }
        self.greeted_ms = now_ms;
        if let Some(server) = &self.server
            && let Err(error) = self.store.announce(&self.node, server)
        {
            tracing::debug!(%error, "this node could not say that it is there");
        }
        self.tell_status();
    }

    fn tell_status(&self) {
        let held = self.store.held_count();
        let keeping = self.tokens.iter().filter(|(_, token)| token.keeps);
        let anchors = keeping.map(|(label, _)| label.clone()).collect();
        let mut status = lock(&self.status);
        status.is_compared = self.server.is_some();
        status.anchors = anchors;
        if let Ok(held) = held {
            status.held = held;
        }
    }
}
