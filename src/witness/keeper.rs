//! The thread that writes the witnesses, and compares them with the ledger.

use super::WitnessError;
use super::compare::{Findings, Testimony, TssFault, compare, highest_marks};
use super::file::{self, Content, NodeFile};
use super::tokens::{Anchored, testimony};
use crate::csp::Csp;
use crate::ledger::{Hold, HoldScope, LedgerError, Store, Survey};
use crate::terms::{Bell, Clock, Entropy, Environment};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often the witnesses are written.
const EVERY: Duration = Duration::from_secs(1);
/// How often this node says that it is there, in milliseconds.
const GREET_EVERY_MS: u64 = 5_000;
/// How long a node that was not heard of counts as being there, in seconds.
const GREETED_S: u32 = 15;
/// How long the others are waited for before a new server is signed with, in milliseconds.
const OTHERS_WAIT_MS: u64 = 10_000;
/// Pause before the ledger is compared again where that was not possible.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How long a node may write the anchors, in seconds, and when it asks again, in milliseconds.
const LEASE_S: u32 = 10;
const LEASE_LEFT_MS_MIN: u64 = 5_000;

/// How a node keeps its witnesses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessSettings {
    /// The node file.
    pub file: PathBuf,
    /// Whether a ledger may be begun anew where another one was used before.
    pub begins_anew: bool,
}

/// What the witnesses of this node say, for readiness and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether the ledger behind this node was compared.
    pub is_compared: bool,
    /// TSSs that wait for a person's decision.
    pub held: u64,
    /// Whether this process writes its node file.
    pub has_file: bool,
    /// Tokens that keep an anchor.
    pub anchors: Vec<String>,
}

/// The running witnesses of a node. Stop them after the lanes.
pub struct Witnesses {
    bell: Arc<Bell>,
    status: Arc<Mutex<Status>>,
    thread: Mutex<Option<JoinHandle<()>>>,
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
        let (node_file, file_totals) = open_file(settings, &ledger, store)?;
        let status = Status {
            has_file: node_file.is_some(),
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
            file: node_file,
            file_totals,
            ledger,
            node: node_id(entropy),
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
        let bell = Arc::clone(store.clearance().asked());
        let own = Arc::clone(&bell);
        let thread = thread::Builder::new()
            .name("witnesses".to_owned())
            .spawn(move || keeper.run(&own))
            .map_err(WitnessError::Thread)?;
        Ok(Self {
            bell,
            status,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// What they say now.
    pub fn status(&self) -> Arc<Mutex<Status>> {
        Arc::clone(&self.status)
    }

    /// Writes the witnesses a last time, and ends.
    pub fn stop(&self) {
        self.bell.stop();
        if lock(&self.thread)
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            tracing::error!("the witnesses ended by a panic");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn node_id(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    hex::encode(bytes)
}

/// The node file, and what it says taken into memory; `None` where another process of this machine has it.
fn open_file(
    settings: &WitnessSettings,
    ledger: &str,
    store: &Store,
) -> Result<(Option<NodeFile>, BTreeMap<String, u64>), WitnessError> {
    let path = settings.file.as_path();
    let failed = |source| WitnessError::File {
        path: path.to_owned(),
        source,
    };
    let Some(lock) = file::lock(path).map_err(failed)? else {
        tracing::warn!(
            "another process writes the node file {}; what this one releases is witnessed by the tokens only",
            path.display()
        );
        return Ok((None, BTreeMap::new()));
    };
    let mut known = file::read(path).map_err(failed)?.unwrap_or_default();
    if !known.ledger.is_empty() && known.ledger != ledger {
        known = begin_anew(settings, path, ledger, &known)?;
    }
    ledger.clone_into(&mut known.ledger);
    if known.lines_damaged > 0 {
        tracing::warn!(
            lines = known.lines_damaged,
            "the node file {} was cut off; the rest of it counts",
            path.display()
        );
    }
    let file = NodeFile::begin(path, lock, &known).map_err(failed)?;
    store.released().remember(known.marks);
    Ok((Some(file), known.totals))
}

/// Moves the file of another ledger away, if a person wants that.
fn begin_anew(
    settings: &WitnessSettings,
    path: &Path,
    ledger: &str,
    known: &Content,
) -> Result<Content, WitnessError> {
    if !settings.begins_anew {
        return Err(WitnessError::OtherLedger {
            path: path.to_owned(),
            other: known.ledger.clone(),
            ledger: ledger.to_owned(),
        });
    }
    let kept = file::beside(path, &known.ledger);
    std::fs::rename(path, &kept).map_err(|source| WitnessError::File {
        path: path.to_owned(),
        source: file::FileError::Disk {
            action: "moved away",
            source,
        },
    })?;
    tracing::warn!(
        "the node file of the ledger {} is {} now",
        known.ledger,
        kept.display()
    );
    Ok(Content::default())
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
            let is_due = now_ms.saturating_sub(written_ms) >= 900;
            if is_due || !goes_on {
                written_ms = now_ms;
                self.write();
                self.greet(now_ms);
            }
        }
        if let Err(error) = self.store.leave(&self.node) {
            tracing::debug!(%error, "the ledger does not know that this node has left");
        }
    }

    /// Whether something has come into place that was not compared.
    fn has_doubts(&self) -> bool {
        let mut tokens = self.tokens.values();
        let changed = tokens.any(|token| token.compared != Some(token.csp.generation()));
        // Both are asked, because asking forgets.
        let asked = self.store.clearance().take_asked();
        changed || asked || self.server.is_none()
    }

    /// Compares what stands behind a fresh connection, and clears it.
    fn compare_now(&mut self) -> Result<(), LedgerError> {
        // Generations first: a token that changes meanwhile is compared again.
        let generations: Vec<(String, u64)> = self.tokens.iter().map(generation).collect();
        let mut unread = Vec::new();
        for (label, token) in &mut self.tokens {
            if let Err(error) = token.read(&self.ledger) {
                tracing::warn!(token = %label, error = %chain(&error), "token {label}: its anchor cannot be read");
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
        self.tell_status(&store);
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
        let others = survey.announce(&self.node, GREETED_S)?;
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

    /// Node file and anchors. Nothing waits for this, and what fails is done a second later.
    fn write(&mut self) {
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
            if token.keeps && has_lease(&self.store, &self.ledger, &self.node, label, token, now_ms)
            {
                token.write(&self.ledger, *spent);
            }
        }
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
        if let Err(error) = file.add(&fresh, &self.file_totals, || released.marks()) {
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
        let store = self.store.clone();
        self.tell_status(&store);
    }

    fn tell_status(&self, store: &Store) {
        let held = store.held_count();
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

fn generation((label, token): (&String, &Anchored)) -> (String, u64) {
    (label.clone(), token.csp.generation())
}

/// Only one node writes the anchors of a token, so that they do not take turns in destroying them.
fn has_lease(
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

/// What the witnesses know more of than this ledger.
pub(super) fn findings(
    survey: &mut Survey<'_>,
    testimonies: &[Testimony],
) -> Result<Findings, LedgerError> {
    let standings = survey.all_standings()?;
    let totals = survey.token_totals()?;
    let counters = highest_marks(testimonies)
        .into_iter()
        .map(|(tss, (_, mark))| (tss, mark.signature_counter))
        .collect();
    let digests = survey.digests(&counters)?;
    Ok(compare(testimonies, &standings, &totals, &digests))
}

/// Writes into the ledger what must not be signed, where every node sees it, and says so.
fn stop_forgotten(
    survey: &mut Survey<'_>,
    findings: &Findings,
    clock: &dyn Clock,
) -> Result<(), LedgerError> {
    let since = clock.now();
    for (tss, finding) in &findings.tss {
        let (witness, known) = (&finding.witness, finding.signature_counter);
        let reason = match finding.fault {
            TssFault::Lost => {
                let reason = format!("{witness} knows signature {known} of it for TSS {tss}");
                if survey.set_device_aside(finding.device, &reason)? {
                    tracing::error!(device = %finding.device, "no TSS is made of device {}: {reason}", finding.device);
                }
                tracing::error!(tss.id = %tss, "the ledger does not know TSS {tss}, but {witness} does; see `siegel ledger inspect`");
                continue;
            }
            TssFault::Behind => format!(
                "{witness} knows signature {known}, the ledger only {}",
                finding.ledger_counter
            ),
            TssFault::Hole => format!("the message that {witness} knows is not there"),
            TssFault::Forked => {
                format!("another message stands where {witness} knows one that was released")
            }
        };
        tracing::error!(tss.id = %tss, "TSS {tss} is stopped: {reason}; see `siegel ledger inspect`");
        let hold = Hold {
            reason,
            signature_counter: known,
            transaction: finding.transaction,
            since,
            scope: HoldScope::Tss,
        };
        survey.hold(*tss, &hold)?;
    }
    for (token, finding) in &findings.tokens {
        let reason = format!(
            "{} knows {} numbers spent, the ledger {}",
            finding.witness, finding.witness_total, finding.ledger_total
        );
        tracing::error!(%token, "all TSSs of token {token} are stopped: {reason}; see `siegel ledger inspect`");
        survey.hold_token(token, finding.missing, &reason, since)?;
    }
    Ok(())
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
