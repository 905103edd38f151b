//! The signatures of a batch: made token by token, and what becomes of a TSS that lacks one.

use super::SigningError;
use super::job::Job;
use super::pairs::{Member, TokenPairs};
use super::plan::PlannedTss;
use super::tokens::Deadline;
use crate::csp::{CspError, KeyPair};
use crate::ledger::ActiveToken;
use crate::terms::{SerialNumber, TssId, chain};
use std::collections::BTreeMap;

/// A TSS with as many of its messages signed as came before the first failure.
pub(super) struct SignedTss {
    pub planned: PlannedTss,
    failure: Option<CspError>,
    /// Signed by a standby that is active: what is missing or another there may be well in the main token.
    on_standby: bool,
}

/// Where each signature belongs (TSS, message), and what to sign.
type Work = (Vec<(usize, usize)>, Vec<(KeyPair, Vec<u8>)>);

/// Signs everything, all TSSs and all tokens at once, so that a token that hangs costs the others of
/// the batch no more than the deadline.
pub(super) fn sign_all(
    planned: Vec<PlannedTss>,
    tokens: &TokenPairs,
    deadline: &Deadline<'_>,
) -> Vec<SignedTss> {
    let mut work = BTreeMap::<(&str, &str), (&Member, Work)>::new();
    let mut signed = Vec::with_capacity(planned.len());
    for (at, planned) in planned.into_iter().enumerate() {
        let signer = signer(&planned, tokens);
        if let (Some((label, member, _)), Some(key)) = (signer, &planned.key) {
            let empty = || (member, Work::default());
            let place = work.entry((label, &member.name)).or_insert_with(empty);
            let (places, digests) = &mut place.1;
            for (number, message) in planned.messages.iter().enumerate() {
                places.push((at, number));
                digests.push((key.clone(), message.digest.clone()));
            }
        }
        signed.push(SignedTss {
            on_standby: signer.is_some_and(|(_, _, is_main)| !is_main),
            planned,
            failure: None,
        });
    }
    let begun: Vec<_> = work
        .into_values()
        .map(|(member, (places, digests))| (places, member.token.begin(digests)))
        .collect();
    for (places, signatures) in begun {
        for ((at, number), result) in places.into_iter().zip(signatures.wait(deadline)) {
            if let Some(tss) = signed.get_mut(at) {
                tss.take(number, result);
            }
        }
    }
    signed
}

/// The token that signs for a TSS, the active one, as loaded under its lock; and whether it is the main one.
fn signer<'a>(tss: &PlannedTss, tokens: &'a TokenPairs) -> Option<(&'a str, &'a Member, bool)> {
    let (label, pair) = tokens.get_key_value(tss.token.as_ref()?)?;
    let section = tss.active.as_ref().map(|active| active.section.as_str());
    if let Some(section) = section {
        pair.saw_active(section);
    }
    let member = pair.active(section)?;
    Some((label, member, member.name == pair.main().name))
}

/// What is left of a TSS whose messages were not all signed.
pub(super) struct Rest {
    pub tss: TssId,
    /// Jobs whose messages were all signed, and the signatures.
    pub before: Vec<Job>,
    pub signatures: Vec<Vec<u8>>,
    /// Jobs that are worth another try.
    pub again: Vec<Job>,
    /// Whether nothing more may be signed for this TSS.
    pub is_broken: bool,
    /// The TSS was to be made of this one.
    pub bad_device: Option<BadDevice>,
}

/// A device that no TSS can be made of.
pub(super) struct BadDevice {
    pub device: SerialNumber,
    /// For the person who looks into the ledger.
    pub reason: &'static str,
    /// Set where it is so only on the standby, which was active then; the ledger need not know.
    pub standby: Option<ActiveToken>,
}

impl SignedTss {
    pub fn is_whole(&self) -> bool {
        self.signed_count() == self.planned.messages.len()
    }

    /// Takes a signature over; the first failure ends it, so that no gap can arise.
    fn take(&mut self, number: usize, result: Result<Vec<u8>, CspError>) {
        if self.failure.is_some() {
            return;
        }
        match (result, self.planned.messages.get_mut(number)) {
            (Ok(signature), Some(message)) => message.signature = signature,
            (Ok(_), None) => {}
            (Err(error), _) => self.failure = Some(error),
        }
    }

    fn signed_count(&self) -> usize {
        self.planned
            .messages
            .iter()
            .take_while(|message| !message.signature.is_empty())
            .count()
    }

    /// The device that failed a TSS which was to be made of it, where nothing of the TSS is left that
    /// needs this very device.
    fn bad_device(&self, signed_count: usize) -> Option<BadDevice> {
        let reason = self.failure.as_ref().and_then(device_flaw)?;
        let is_new = self.planned.expected_counter.is_none();
        let mut jobs = self.planned.jobs.iter();
        let stays = jobs.any(|job| (1..=signed_count).contains(&job.messages));
        let device = &self.planned.slice.tss.as_ref()?.device;
        (is_new && !stays).then_some(BadDevice {
            device: device.serial_number,
            reason,
            standby: self.planned.active.clone().filter(|_| self.on_standby),
        })
    }

    /// Answers or puts aside the jobs whose messages were not all signed.
    pub fn give_up_the_rest(self) -> Rest {
        let signed_count = self.signed_count();
        let bad_device = self.bad_device(signed_count);
        let failure = match &bad_device {
            Some(bad) => {
                let (tss, device, reason) = (self.planned.tss, bad.device, bad.reason);
                tracing::error!(
                    tss.id = %tss, %device, reason,
                    "device {device} is unusable: {reason}; TSS {tss} gets another one"
                );
                Failure::OtherDevice
            }
            None => Failure::of(self.planned.tss, self.failure.as_ref(), self.on_standby),
        };
        let mut rest = Rest {
            tss: self.planned.tss,
            before: Vec::new(),
            signatures: Vec::new(),
            again: Vec::new(),
            is_broken: matches!(failure, Failure::Never(_)),
            bad_device,
        };
        for decided in self.planned.jobs {
            let mut job = decided.job;
            if decided.messages <= signed_count {
                rest.before.push(job);
            } else if matches!(failure, Failure::OtherDevice) {
                // Ends with the free devices, because this one is not among them any more.
                rest.again.push(job);
            } else if matches!(failure, Failure::Again(_)) && !job.tried_before {
                job.tried_before = true;
                rest.again.push(job);
            } else {
                job.answer.send(Err(failure.to_error()));
            }
        }
        let messages = self.planned.messages.into_iter();
        let signatures = messages.map(|message| message.signature);
        rest.signatures = signatures.take(signed_count).collect();
        rest
    }
}

/// Why a message could not be signed, by what helps.
#[derive(Clone, Copy)]
enum Failure {
    /// Deciding anew at once may.
    Again(&'static str),
    /// Time may.
    Later(&'static str),
    /// Only a person may.
    Never(&'static str),
    /// Another key may: there is no TSS yet.
    OtherDevice,
}

const KEY_MISSING: &str = "its key is not in the token";
const OTHER_KEY: &str = "its key in the token is another";
const KEY_UNUSABLE: &str = "the token cannot sign with its key";

/// What can be wrong with a device, as the ledger keeps it. Nothing of what its key may have signed was told.
pub const DEVICE_FLAWS: [&str; 3] = [KEY_MISSING, OTHER_KEY, KEY_UNUSABLE];

/// What is wrong with the device, if it is the device that the error speaks of.
const fn device_flaw(error: &CspError) -> Option<&'static str> {
    match error {
        CspError::KeyMissing { .. } => Some(KEY_MISSING),
        CspError::WrongKey { .. } => Some(OTHER_KEY),
        CspError::NotSupported { .. } => Some(KEY_UNUSABLE),
        CspError::SessionLost { .. }
        | CspError::Failed { .. }
        | CspError::Busy { .. }
        | CspError::DeviceGone { .. }
        | CspError::PinRefused { .. } => None,
    }
}

impl Failure {
    fn of(tss: TssId, error: Option<&CspError>, on_standby: bool) -> Self {
        let Some(error) = error else {
            tracing::error!(tss.id = %tss, "TSS {tss}: its token is not configured here");
            return Self::Later("the token of the TSS is not available here");
        };
        tracing::error!(tss.id = %tss, error = %chain(error), "TSS {tss}: log message not signed");
        match error {
            CspError::SessionLost { .. } | CspError::Failed { .. } => {
                Self::Again("the token failed to sign")
            }
            CspError::Busy { .. } => Self::Again("the token is busy"),
            CspError::DeviceGone { .. } => Self::Later("the token is not reachable"),
            CspError::PinRefused { .. } => Self::Later("the token does not accept its PIN"),
            CspError::KeyMissing { .. } if on_standby => {
                Self::Later("the key has not come to the standby token")
            }
            CspError::KeyMissing { .. } => Self::Later("the token does not show the key"),
            CspError::NotSupported { .. } => Self::Later("the token cannot make this signature"),
            // Never released, and asked about each time anew: a switch back ends it.
            CspError::WrongKey { .. } if on_standby => {
                Self::Later("the key in the standby token is not the expected one")
            }
            CspError::WrongKey { .. } => Self::Never(WRONG_KEY),
        }
    }

    const fn to_error(self) -> SigningError {
        match self {
            Self::Again(reason) | Self::Later(reason) => SigningError::Unavailable {
                reason,
                retry_after_s: 2,
            },
            Self::Never(reason) => SigningError::Broken { reason },
            Self::OtherDevice => SigningError::Unavailable {
                reason: "the prepared device cannot be used",
                retry_after_s: 2,
            },
        }
    }
}

/// Why nothing more is signed for a TSS whose key was found to be another.
pub(super) const WRONG_KEY: &str = "its key in the token is not the expected one";
