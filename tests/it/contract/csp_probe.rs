//! A probe leaves nothing on the token, however far it comes.

use super::csp::{key, probes_left, sign, suite};
use crate::support::elsewhere::lines;
use crate::support::token::{self, TestClock, TestEntropy, TestToken};
use siegel::csp::Csp;
use siegel::csp::pkcs11::{
    Finding, Pkcs11Token, ProbeOptions, TokenConfig, Verdict, probe, suffices,
};
use siegel::terms::{Clock, Entropy};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

suite! {
    a_probe_that_breaks_down_anywhere_leaves_nothing,
    a_probe_on_trial_leaves_no_canary_either,
    what_a_killed_probe_left_is_destroyed_by_the_next_one_and_nothing_else,
}

/// The shortest probe.
const QUICK: ProbeOptions = ProbeOptions {
    rate_ms: 0,
    sessions_max: 1,
    tidy: false,
};

/// Randomness that does something when it is asked for often enough.
struct Fuse<F> {
    /// How often it may be asked before it acts; the next number counts from there.
    left: Mutex<VecDeque<usize>>,
    act: F,
}

impl<F: Fn() + Send + Sync> Fuse<F> {
    fn new(act: F) -> Arc<Self> {
        let left = Mutex::default();
        Arc::new(Self { left, act })
    }

    fn arm(&self, left: impl Into<VecDeque<usize>>) {
        *self.left.lock().unwrap() = left.into();
    }

    /// Whether there is something that it did not come to.
    fn is_armed(&self) -> bool {
        !self.left.lock().unwrap().is_empty()
    }

    fn burns_down(&self) -> bool {
        let mut left = self.left.lock().unwrap();
        match left.front_mut() {
            None => false,
            Some(0) => left.pop_front().is_some(),
            Some(count) => {
                *count -= 1;
                false
            }
        }
    }
}

impl<F: Fn() + Send + Sync> Entropy for Fuse<F> {
    fn fill(&self, buffer: &mut [u8]) {
        TestEntropy.fill(buffer);
        if self.burns_down() {
            (self.act)();
        }
    }
}

fn finding<'a>(findings: &'a [Finding], line: &str) -> &'a Finding {
    findings
        .iter()
        .find(|finding| finding.line == line)
        .unwrap_or_else(|| panic!("no line {line} in {findings:?}"))
}

fn a_probe_that_breaks_down_anywhere_leaves_nothing(token: &TestToken) {
    let fuse = Fuse::new(|| panic!("the probe breaks down"));
    let open = Pkcs11Token::open(token.config(), fuse.clone(), TestClock::start()).unwrap();
    let kept = key(&open);
    let mut broken = 0;
    loop {
        fuse.arm([broken]);
        let outcome = catch_unwind(AssertUnwindSafe(|| probe(&open, QUICK)));
        let came_through = fuse.is_armed();
        fuse.arm([]);
        assert_eq!(probes_left(token), "[0, 0, 0]", "broken at {broken}");
        assert_eq!(outcome.is_ok(), came_through);
        if came_through {
            break;
        }
        broken += 1;
    }
    // The identifier of the probe, one of each curve, and at least one signature of each module.
    assert!(broken > 8, "{broken}");
    assert_eq!(open.key_ids().unwrap(), [kept.id]);
    sign(&open, &kept);
}

fn a_probe_on_trial_leaves_no_canary_either(token: &TestToken) {
    let open = || {
        Pkcs11Token::open_on_trial(token.config(), Arc::new(TestEntropy), TestClock::start())
            .unwrap()
    };
    let trial = open();
    trial.check_health().unwrap();
    assert!(suffices(&probe(&trial, QUICK)));
    trial.check_health().unwrap();
    drop(trial);
    assert_eq!(probes_left(token), "[0, 0, 0]");
    assert_eq!(lines(&token.elsewhere("count siegel-canary")), ["0"]);
    // A canary that is there is used and stays.
    drop(token.open());
    assert!(suffices(&probe(&open(), QUICK)));
    assert_eq!(lines(&token.elsewhere("count siegel-canary")), ["1"]);
}

fn what_a_killed_probe_left_is_destroyed_by_the_next_one_and_nothing_else(token: &TestToken) {
    let open = token.open();
    let kept = key(&open);
    // Made by a process that ends without cleaning up: both marks, then each of them alone.
    token.elsewhere("remain sglprobe siegel-probe");
    token.elsewhere("remain siegel-- siegel-probe");
    token.elsewhere("remain sglprobe another-label");
    assert_eq!(probes_left(token), "[2, 2, 2]");
    // SoftHSM overlooks what another process made unless it searches before it writes.
    assert_eq!(open.key_ids().unwrap().len(), 2);
    // Another probe may be running, so nothing is destroyed unless asked for.
    probe(&open, QUICK);
    assert_eq!(probes_left(token), "[2, 2, 2]");
    let tidy = ProbeOptions {
        tidy: true,
        ..QUICK
    };
    let findings = probe(&open, tidy);
    let left = finding(&findings, "left behind by an earlier probe");
    assert_eq!(left.verdict, Verdict::Measured);
    assert_eq!(left.detail, "4 objects, destroyed now");
    assert_eq!(probes_left(token), "[1, 1, 0]");
    let others = token.elsewhere("objects another-label");
    assert_eq!(lines(&others), ["[1, 1, 1]"]);
    sign(&open, &kept);
}

#[test]
fn a_probe_that_loses_the_token_cleans_up_when_it_is_back() {
    storage_goes_and_comes_back(Pkcs11Token::open);
}

#[test]
fn a_probe_on_trial_that_loses_the_token_cleans_up_when_it_is_back() {
    storage_goes_and_comes_back(Pkcs11Token::open_on_trial);
}

type Open =
    fn(TokenConfig, Arc<dyn Entropy>, Arc<dyn Clock>) -> Result<Pkcs11Token, siegel::csp::CspError>;

/// Takes the storage of a token away while it is probed, and gives it back before the end.
fn storage_goes_and_comes_back(open: Open) {
    let token = token::softhsm();
    let bystander = token::softhsm().open();
    let storage = token.storage();
    let away = token::home().join(storage.file_name().unwrap());
    let moves = AtomicUsize::new(0);
    let fuse = Fuse::new(move || {
        let is_here = moves.fetch_add(1, Ordering::SeqCst) == 0;
        let (from, to) = if is_here {
            (&storage, &away)
        } else {
            (&away, &storage)
        };
        std::fs::rename(from, to).unwrap();
    });
    let open = open(token.config(), fuse.clone(), TestClock::start()).unwrap();
    // Asked for the identifiers of the probe and of its first key, then for what that key signs first.
    fuse.arm([2, 2]);
    let findings = probe(&open, QUICK);
    assert!(!fuse.is_armed(), "it came back");
    // Other lines may be well: other tests initialise the module anew as well.
    let first = finding(&findings, "curve secp256r1");
    assert_eq!(first.verdict, Verdict::Fails, "{findings:?}");
    let cleaned = finding(&findings, "throw-away keys can be destroyed");
    assert_eq!(cleaned.verdict, Verdict::Works, "{findings:?}");
    assert_eq!(probes_left(&token), "[0, 0, 0]");
    bystander.check_health().unwrap();
}
