//! Whether this node lives, and whether it can sign.

use super::door::{Desk, Door};
use crate::csp::TokenState;
use crate::signing::{Role, TokensNeeded};
use crate::terms::{Clock, chain};
use crate::witness::{CheckStatus, Status};
use actix_web::rt::task::spawn_blocking;
use actix_web::{HttpResponse, web};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a look is believed, in milliseconds: anybody may ask, and every look costs signatures.
const FRESH_MS: u64 = 1000;

/// Whatever takes longer to answer than this, in milliseconds, counts as not working.
const LOOK_MS_MAX: u64 = 2000;

/// The latest looks at the ledger and at each token, apart from each other: one that hangs says nothing
/// about the others.
#[derive(Default)]
pub(super) struct Health(Mutex<Looks>);

#[derive(Default)]
struct Looks {
    ledger: Look,
    /// Whether it was told that the ledger does not answer.
    ledger_told: Arc<AtomicBool>,
    /// By name of the section.
    tokens: BTreeMap<String, Look>,
}

/// The latest look at one thing.
///
/// Only one look is under way at a time, so that a thing that hangs costs one thread, however often
/// somebody asks.
#[derive(Default)]
struct Look(Option<Begun>);

#[derive(Clone)]
struct Begun {
    at_ms: u64,
    /// Closed without an answer when the look has panicked.
    told: watch::Receiver<Option<Seen>>,
}

#[derive(Clone, Copy)]
struct Seen {
    at_ms: u64,
    works: bool,
}

impl Begun {
    /// Whether this look answers those who ask now: it is under way, or its answer is not old.
    fn is_current(&self, now_ms: u64) -> bool {
        let seen = *self.told.borrow();
        match seen {
            Some(seen) => now_ms.saturating_sub(seen.at_ms) < FRESH_MS,
            None => self.told.has_changed().is_ok(),
        }
    }

    /// Waits for the answer until the look has taken too long; then it is "no", at once.
    async fn works(mut self, now_ms: u64) -> bool {
        let taken_ms = now_ms.saturating_sub(self.at_ms);
        let left = Duration::from_millis(LOOK_MS_MAX.saturating_sub(taken_ms));
        let answer = timeout(left, self.told.wait_for(Option::is_some)).await;
        let seen = answer
            .ok()
            .and_then(|told| told.ok().and_then(|seen| *seen));
        seen.is_some_and(|seen| seen.works)
    }
}

impl Look {
    /// The look that answers those who ask now; begins one unless there is one. `question` blocks.
    fn begin(
        &mut self,
        clock: &Arc<dyn Clock>,
        question: impl FnOnce() -> bool + Send + 'static,
    ) -> Begun {
        let now_ms = clock.monotonic_ms();
        if let Some(current) = self.0.as_ref().filter(|begun| begun.is_current(now_ms)) {
            return current.clone();
        }
        let (tell, told) = watch::channel(None);
        let clock = Arc::clone(clock);
        drop(spawn_blocking(move || {
            let works = question();
            let at_ms = clock.monotonic_ms();
            tell.send_replace(Some(Seen { at_ms, works }));
        }));
        let begun = Begun {
            at_ms: now_ms,
            told,
        };
        self.0 = Some(begun.clone());
        begun
    }
}

/// What is known of a token without asking it.
struct Known {
    name: String,
    label: String,
    role: Role,
    state: TokenState,
    generation: u64,
}

struct Report {
    ledger: bool,
    /// Nothing signed waits for a commit.
    commits: bool,
    witnesses: Status,
    check: CheckStatus,
    /// Each with whether it signs.
    tokens: Vec<(Known, bool)>,
}

impl Report {
    /// A standby signs for nobody as long as it is one.
    fn is_ready(&self, needed: TokensNeeded) -> bool {
        let active = self
            .tokens
            .iter()
            .filter(|(known, _)| known.role == Role::Active);
        let mut sign = active.map(|(_, signs)| *signs);
        self.ledger
            && self.commits
            && self.witnesses.is_compared
            && match needed {
                TokensNeeded::None => true,
                TokensNeeded::Any => sign.any(|signs| signs),
                TokensNeeded::Every => sign.all(|signs| signs),
            }
    }
}

impl Known {
    fn to_json(&self, signs: bool) -> Value {
        json!({
            "signs": signs,
            "state": self.state.as_str(),
            "role": match self.role {
                Role::Active => "active",
                Role::Standby => "standby",
            },
            "label": self.label,
            "generation": self.generation,
        })
    }
}

impl Health {
    async fn report(&self, door: &Door) -> Report {
        let (ledger, tokens) = self.begin(door);
        // All looks are under way, so waiting for one after the other takes as long as the slowest.
        let ledger = ledger.works(door.clock.monotonic_ms()).await;
        let mut answers = Vec::with_capacity(tokens.len());
        for (known, begun) in tokens {
            // One that is known to be gone is not waited for.
            let signs = match begun {
                Some(begun) => begun.works(door.clock.monotonic_ms()).await,
                None => false,
            };
            answers.push((known, signs));
        }
        Report {
            ledger,
            commits: door.lanes.keeps_up(),
            witnesses: copy_of(&door.witnesses),
            check: copy_of(&door.ledger_check),
            tokens: answers,
        }
    }

    fn begin(&self, door: &Door) -> (Begun, Vec<(Known, Option<Begun>)>) {
        // Nobody waits for anything under this lock.
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (store, told) = (door.store.clone(), Arc::clone(&looks.ledger_told));
        let ledger = looks.ledger.begin(&door.clock, move || {
            let health = store.check_health();
            // Once when it begins, however often somebody asks.
            let was_told = told.swap(health.is_err(), Ordering::AcqRel);
            if let (Err(error), false) = (&health, was_told) {
                tracing::error!(error = %chain(error), "the ledger does not answer");
            }
            health.is_ok()
        });
        let tokens = door.lanes.token_health().into_iter();
        let tokens = tokens.map(|status| {
            let begun = match status.state {
                TokenState::Ready | TokenState::Paused => {
                    let look = looks.tokens.entry(status.name.clone()).or_default();
                    Some(look.begin(&door.clock, status.signs))
                }
                TokenState::Gone | TokenState::PinRefused => None,
            };
            let known = Known {
                name: status.name,
                label: status.label,
                role: status.role,
                state: status.state,
                generation: status.generation,
            };
            (known, begun)
        });
        (ledger, tokens.collect())
    }
}

fn copy_of<T: Clone>(shared: &Mutex<T>) -> T {
    shared
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// `GET /health/live`: the process answers.
pub(super) async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "live"}))
}

/// `GET /health/ready`: the ledger answers, was compared with its witnesses, nothing signed waits for a
/// commit, and as many active tokens sign as the settings want. The state of each token is in the body, and how
/// many TSSs wait for a person's decision.
pub(super) async fn ready(desk: web::Data<Desk>) -> HttpResponse {
    let report = desk.health.report(&desk.door).await;
    let ready = report.is_ready(desk.door.settings.ready_when);
    let tokens: Map<String, Value> = report
        .tokens
        .into_iter()
        .map(|(known, signs)| (known.name.clone(), known.to_json(signs)))
        .collect();
    let body = json!({
        "status": if ready { "ready" } else { "not ready" },
        "ledger": match (report.ledger, report.commits) {
            (true, true) => "answers",
            (true, false) => "does not commit",
            (false, _) => "does not answer",
        },
        "tokens": tokens,
        "witnesses": match (report.witnesses.is_compared, report.witnesses.held) {
            (false, _) => "not compared",
            (true, 0) => "know no more than the ledger",
            (true, _) => "know more than the ledger",
        },
        "stopped_tss": report.witnesses.held,
        "ledger_check": {
            "rounds": report.check.rounds,
            "messages": report.check.last.messages,
            "findings": report.check.last.findings,
        },
    });
    if ready {
        HttpResponse::Ok().json(body)
    } else {
        HttpResponse::ServiceUnavailable().json(body)
    }
}
