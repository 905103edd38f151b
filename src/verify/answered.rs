//! Steps as a server answers them: the signed message is put together again from the answer, and the
//! signature checked with the key that the TSS showed when it was made.

use super::key::{PublicKey, Verdict};
use super::signed::{self, Transaction, integer};
use crate::asn1::TransactionPhase;
use crate::terms::SignatureAlgorithm;
use std::sync::atomic::{AtomicU8, Ordering};

/// A signed step, in the words of an answer; log times are `unixTime`.
#[derive(Clone, Copy, Debug)]
pub struct AnsweredStep<'a> {
    /// Start, update or finish.
    pub phase: TransactionPhase,
    /// Serial number of the till.
    pub client_serial: &'a str,
    /// As signed, possibly empty.
    pub process_type: &'a str,
    /// As signed, possibly empty.
    pub process_data: &'a [u8],
    /// Number of the transaction.
    pub number: u64,
    /// Signature counter of this step.
    pub counter: u64,
    /// Seconds since 1970.
    pub log_time: i64,
    /// How it was signed.
    pub algorithm: SignatureAlgorithm,
    /// Plain `r || s`.
    pub signature: &'a [u8],
}

/// Versions of log messages; an answer does not tell which one it is.
const VERSIONS: [u8; 2] = [2, 3];

/// The key of one TSS. May be used from many threads.
pub struct AnswerKey {
    key: PublicKey,
    /// The version that fitted last, tried first.
    version: AtomicU8,
}

impl AnswerKey {
    /// `None` unless the bytes are a point `04 || X || Y` of a curve that TR-03116-5 allows.
    pub fn from_point(point: &[u8]) -> Option<Self> {
        let key = PublicKey::from_point(point).into_iter().next()?;
        Some(Self {
            key,
            version: AtomicU8::new(2),
        })
    }

    /// Whether the key has signed this step, as a log message of either version.
    pub fn confirms(&self, step: &AnsweredStep<'_>) -> bool {
        let known = self.version.load(Ordering::Relaxed);
        let others = VERSIONS.into_iter().filter(|version| *version != known);
        std::iter::once(known).chain(others).any(|version| {
            let fits = self.confirms_as(version, step);
            if fits {
                self.version.store(version, Ordering::Relaxed);
            }
            fits
        })
    }

    fn confirms_as(&self, version: u8, step: &AnsweredStep<'_>) -> bool {
        let bytes = signed::transaction(&Transaction {
            version,
            phase: step.phase,
            client_serial: step.client_serial.as_bytes(),
            process_data: step.process_data,
            process_type: Some(step.process_type.as_bytes()),
            number: step.number,
            serial: self.key.serial_number(),
            algorithm: step.algorithm,
            counter: step.counter,
            time_tag: 0x02,
            time: &integer(step.log_time.into()),
        });
        let hash = step.algorithm.hash();
        self.key.verdict(hash, &bytes, step.signature) == Verdict::Plain
    }
}
