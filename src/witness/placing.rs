//! Where messages from outside belong: what the ledger lacks, and what it has otherwise.

use super::signature::verifies;
use crate::asn1::{ReadKind, ReadLogMessage, read};
use crate::csp::PublicKey;
use crate::ledger::{LedgerError, Standing, Store};
use crate::terms::{SerialNumber, SignatureAlgorithm, SignatureCounter, TransactionNumber, TssId};
use std::collections::BTreeMap;

/// Where a message belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placing {
    /// The ledger is not long enough yet to have it.
    Lacking(TssId),
    /// The ledger goes beyond its number, but does not have it, though its key has signed it. This cannot be
    /// mended by putting anything back.
    Torn {
        /// Whose it is.
        tss: TssId,
        /// Its number.
        counter: SignatureCounter,
        /// Whether the ledger has another one in its place, or none.
        has_another: bool,
    },
    /// The ledger has it, a person has decided about its number, or it is of no TSS that is asked for.
    Elsewhere,
}

/// Looks at messages one by one, so that an archive may be of any size.
pub struct Placer<'a> {
    store: &'a Store,
    asked: BTreeMap<SerialNumber, Asked>,
}

struct Asked {
    tss: TssId,
    standing: Standing,
    key: PublicKey,
    algorithm: SignatureAlgorithm,
}

impl<'a> Placer<'a> {
    /// For messages of these TSSs.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn new<'s>(
        store: &'a Store,
        asked: impl IntoIterator<Item = (&'s TssId, &'s Standing)>,
    ) -> Result<Self, LedgerError> {
        let asked = asked.into_iter().map(|(tss, standing)| {
            let (key, algorithm) = store.signing_key(*tss)?;
            let asked = Asked {
                tss: *tss,
                standing: standing.clone(),
                key,
                algorithm,
            };
            Ok((standing.device, asked))
        });
        let asked = asked.collect::<Result<_, LedgerError>>()?;
        Ok(Self { store, asked })
    }

    /// Where this one belongs.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn place(&self, der: &[u8]) -> Result<Placing, LedgerError> {
        let Ok(message) = read(der) else {
            return Ok(Placing::Elsewhere);
        };
        let Some(asked) = self.asked.get(&message.serial_number) else {
            return Ok(Placing::Elsewhere);
        };
        let counter = SignatureCounter::new(message.signature_counter);
        if counter > asked.standing.signature_counter {
            return Ok(Placing::Lacking(asked.tss));
        }
        if counter <= asked.standing.settled {
            return Ok(Placing::Elsewhere);
        }
        let has_another = match self.store.message(asked.tss, counter)? {
            Some(stored) if is_same(&stored.der, &message, der) => return Ok(Placing::Elsewhere),
            Some(_) => true,
            None => false,
        };
        // A source that was touched is no witness.
        if !asked.has_signed(&message, der) {
            return Ok(Placing::Elsewhere);
        }
        Ok(Placing::Torn {
            tss: asked.tss,
            counter,
            has_another,
        })
    }

    /// Signature counter and transaction number of a message, if its key has signed it.
    pub fn numbers(&self, der: &[u8]) -> Option<(SignatureCounter, TransactionNumber)> {
        let message = read(der).ok()?;
        let asked = self.asked.get(&message.serial_number)?;
        let transaction = match message.kind {
            ReadKind::Transaction {
                transaction_number, ..
            } => transaction_number,
            ReadKind::System { .. } | ReadKind::Audit { .. } => 0,
        };
        let counter = SignatureCounter::new(message.signature_counter);
        let numbers = (counter, TransactionNumber::new(transaction));
        asked.has_signed(&message, der).then_some(numbers)
    }
}

impl Asked {
    fn has_signed(&self, message: &ReadLogMessage, der: &[u8]) -> bool {
        verifies(&self.key, self.algorithm.hash(), message, der).is_ok()
    }
}

/// Whether the key has signed this once. Anybody can write an ECDSA signature in a second way, with the same
/// first half; another first half is one that the key has made.
fn is_same(stored: &[u8], message: &ReadLogMessage, der: &[u8]) -> bool {
    let first_half = |signature: &[u8]| signature.get(..signature.len() / 2).map(<[u8]>::to_vec);
    let signed = der.get(message.signed_range.clone());
    stored == der
        || read(stored).is_ok_and(|kept| {
            signed.is_some()
                && stored.get(kept.signed_range) == signed
                && first_half(&kept.signature) == first_half(&message.signature)
        })
}
