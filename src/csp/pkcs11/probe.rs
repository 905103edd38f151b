//! What a token can do, tried out with throw-away keys.
//!
//! Each line stands for one ability. `hsm-config/*/capabilities.toml` lists by these lines what a module
//! is known not to do, and the contract suite checks that list both ways.

mod tries;

use super::attachment::Attachment;
use super::condition::Token;
use super::errors::Trouble;
use super::keys;
use super::token::Pkcs11Token;
use crate::csp::{CspError, KeyId};
use crate::terms::{Curve, chain};
use cryptoki::session::Session;
use std::time::Duration;

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The ability, such as `curve secp256r1`.
    pub line: String,
    /// What came out.
    pub verdict: Verdict,
    /// Whether Siegel cannot do without.
    pub needed: bool,
    /// Figures, or the module's answer.
    pub detail: String,
}

/// What came out of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The token can do it.
    Works,
    /// The token cannot do it.
    Fails,
    /// A figure, neither good nor bad.
    Measured,
}

/// How long and how much to probe.
#[derive(Clone, Copy, Debug)]
pub struct ProbeOptions {
    /// Milliseconds for each measurement of the signing rate.
    pub rate_ms: u64,
    /// Most sessions that are opened to see how many there are.
    pub sessions_max: usize,
    /// Destroys first what an earlier probe has left behind that was killed. Not while another probe of
    /// the same token may be running: its keys look the same.
    pub tidy: bool,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self {
            rate_ms: 1_000,
            sessions_max: 64,
            tidy: false,
        }
    }
}

/// How long a lost token may take to come back when throw-away keys are still on it.
const CLEAN_UP_WAIT_MAX: Duration = Duration::from_secs(10);

/// Whether the token has all that Siegel needs: everything marked so, and at least one curve for TSSs.
pub fn suffices(findings: &[Finding]) -> bool {
    let needs = findings
        .iter()
        .all(|finding| !finding.needed || finding.verdict == Verdict::Works);
    let curve = TSS_CURVES.into_iter().any(|curve| {
        findings
            .iter()
            .any(|finding| finding.line == curve_line(curve) && finding.verdict == Verdict::Works)
    });
    needs && curve
}

/// The line of the table that stands for a curve.
pub fn curve_line(curve: Curve) -> String {
    format!("curve {}", curve.name())
}

/// Curves that a TSS may have (design decision 6).
const TSS_CURVES: [Curve; 4] = [
    Curve::Secp256r1,
    Curve::Secp384r1,
    Curve::BrainpoolP256r1,
    Curve::BrainpoolP384r1,
];

/// Tries everything out. Takes a few seconds with the default options.
///
/// What it makes on the token it destroys again, however far it came: a token that is lost meanwhile is
/// waited for. What could not be destroyed is told in the last line.
pub fn probe(token: &Pkcs11Token, options: ProbeOptions) -> Vec<Finding> {
    let mut probe = Probe {
        port: token,
        token: token.inner(),
        options,
        run: keys::probe_id(token.inner().entropy.as_ref()),
        made: Vec::new(),
        findings: Vec::new(),
    };
    if options.tidy {
        probe.tidy();
    }
    probe.mechanisms();
    let key = probe.curves();
    if let Some(key) = &key {
        probe.protection(key);
        probe.digest_length(key);
        probe.hash_and_sign(key);
        probe.copying(key);
    }
    probe.wrapping();
    probe.data_objects();
    probe.sessions();
    if let Some(key) = &key {
        for threads in [1, 2] {
            probe.rate(key, threads);
        }
    }
    let cleaned = probe.clean_up();
    probe.note("throw-away keys can be destroyed", true, cleaned);
    std::mem::take(&mut probe.findings)
}

struct Probe<'a> {
    port: &'a Pkcs11Token,
    token: &'a Token,
    options: ProbeOptions,
    /// Names the data objects of this probe.
    run: KeyId,
    made: Vec<Made>,
    findings: Vec<Finding>,
}

/// A throw-away pair that has to be destroyed.
#[derive(Clone, Copy)]
struct Made {
    id: KeyId,
    /// Whether the token said that it made it. After an error there may be remains, or nothing.
    surely: bool,
}

impl Drop for Probe<'_> {
    /// Finds work only after a panic.
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Err(Reason(reason)) = self.clean_up()
        {
            tracing::error!(reason, "a probe broke down and left throw-away keys behind");
        }
    }
}

/// Why an ability is not there, as one line of text.
struct Reason(String);

impl From<CspError> for Reason {
    fn from(error: CspError) -> Self {
        Self(chain(&error))
    }
}

impl From<Trouble> for Reason {
    fn from(trouble: Trouble) -> Self {
        Self(trouble.describe().to_string())
    }
}

impl From<cryptoki::error::Error> for Reason {
    fn from(error: cryptoki::error::Error) -> Self {
        Trouble::Module(error).into()
    }
}

impl From<&str> for Reason {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl Probe<'_> {
    fn note(&mut self, line: &str, needed: bool, outcome: Result<String, impl Into<Reason>>) {
        let (verdict, detail) = match outcome {
            Ok(detail) => (Verdict::Works, detail),
            Err(reason) => (Verdict::Fails, reason.into().0),
        };
        self.findings.push(Finding {
            line: line.to_owned(),
            verdict,
            needed,
            detail,
        });
    }

    fn measured(&mut self, line: String, detail: String) {
        self.findings.push(Finding {
            line,
            verdict: Verdict::Measured,
            needed: false,
            detail,
        });
    }

    /// Runs on a fresh read/write session of its own.
    fn on_session<T>(
        &self,
        work: impl FnOnce(&Session, &Attachment) -> Result<T, Reason>,
    ) -> Result<T, Reason> {
        let pass = self.token.enter()?;
        let session = pass.attachment.api.open_rw_session(pass.attachment.slot)?;
        work(&session, &pass.attachment)
    }

    fn tidy(&mut self) {
        let line = "left behind by an earlier probe";
        match self
            .token
            .alter("destroy throw-away keys", keys::destroy_all_probes)
        {
            Ok(0) => {}
            Ok(count) => self.measured(line.to_owned(), format!("{count} objects, destroyed now")),
            Err(error) => self.note(line, true, Err::<String, _>(error)),
        }
    }

    /// Destroys everything this probe has made.
    fn clean_up(&mut self) -> Result<String, Reason> {
        // In vain for a token that stays away, which the next line tells in its own words.
        let _ = self.port.wait_until_ready(CLEAN_UP_WAIT_MAX);
        if let Ok(()) = self.destroy_made() {
            return Ok(String::new());
        }
        // Storage that was away for a while stays empty for some modules until they are initialised anew.
        self.token.reinitialise()?;
        let _ = self.port.wait_until_ready(CLEAN_UP_WAIT_MAX);
        self.destroy_made().map(|()| String::new())
    }

    fn destroy_made(&mut self) -> Result<(), Reason> {
        let run = self.run;
        let data = self.token.alter("destroy a throw-away object", |session| {
            keys::destroy_probe_data(session, Some(run))
        });
        let mut failed = data.err().map(Reason::from);
        let mut left = Vec::new();
        for made in std::mem::take(&mut self.made) {
            let Made { id, surely } = made;
            match self.token.destroy_probe(id) {
                Ok(true) => {}
                Ok(false) => {
                    left.push(made);
                    if surely {
                        failed.get_or_insert(Reason(format!("key {id} is not found again")));
                    }
                }
                Err(error) => {
                    left.push(made);
                    let Reason(text) = Reason::from(error);
                    failed.get_or_insert(Reason(format!("key {id} is left: {text}")));
                }
            }
        }
        match failed {
            None => Ok(()),
            Some(reason) => {
                self.made = left;
                Err(reason)
            }
        }
    }
}
