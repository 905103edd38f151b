//! A log message from the step that wants it to what the ledger keeps.

use super::SigningError;
use crate::asn1::{Content, assemble, file_name, to_be_signed};
use crate::csp::digest;
use crate::ledger::{SignedKind, SignedMessage};
use crate::sma::{Slice, StampedMessage};

/// A message and, once it was made, its signature.
pub struct PlannedMessage {
    stamped: StampedMessage,
    signed_bytes: Vec<u8>,
    /// What the token signs.
    pub digest: Vec<u8>,
    /// Plain `r || s`; empty until it was made.
    pub signature: Vec<u8>,
}

impl PlannedMessage {
    /// Encodes what is to be signed.
    ///
    /// # Errors
    /// [`SigningError::Broken`] when it cannot be encoded or hashed.
    pub fn new(stamped: StampedMessage) -> Result<Self, SigningError> {
        let (header, content) = (&stamped.header, &stamped.content);
        let signed_bytes = to_be_signed(header, content).map_err(|error| {
            let serial = header.serial_number;
            tracing::error!(%serial, %error, "TSE {serial}: a message could not be encoded");
            SigningError::Broken {
                reason: "a log message could not be encoded",
            }
        })?;
        let digest = digest(header.algorithm.hash(), &signed_bytes);
        Ok(Self {
            digest: digest.map_err(|_| SigningError::Broken {
                reason: "a log message could not be hashed",
            })?,
            stamped,
            signed_bytes,
            signature: Vec::new(),
        })
    }

    /// Puts signature and signed bytes together, and hands the signature to the step that answers with it.
    ///
    /// # Errors
    /// [`SigningError::Broken`] when the message does not belong to this state.
    pub fn into_signed(self, slice: &mut Slice) -> Result<SignedMessage, SigningError> {
        let broken = |reason| SigningError::Broken { reason };
        assert!(
            !self.signature.is_empty(),
            "a message without signature must never be kept"
        );
        let (header, content) = (&self.stamped.header, &self.stamped.content);
        let der = assemble(&self.signed_bytes, &self.signature)
            .map_err(|_| broken("a log message could not be put together"))?;
        let name =
            file_name(header, content).map_err(|_| broken("a log message has no file name"))?;
        let kind = match (content, self.stamped.transaction_step) {
            (Content::Transaction(_), Some(key)) => {
                let step = slice.steps.get_mut(&key);
                let step = step.ok_or(broken("a transaction step is missing"))?;
                step.signature = self.signature;
                SignedKind::Transaction {
                    number: step.number,
                    revision: step.revision,
                    client: step.client,
                    client_serial: step.client_serial.clone(),
                }
            }
            (Content::Transaction(_), None) => {
                return Err(broken("a transaction message has no step"));
            }
            (Content::System { .. }, _) => SignedKind::System,
            (Content::Audit { .. }, _) => SignedKind::Audit,
        };
        Ok(SignedMessage {
            signature_counter: header.signature_counter,
            log_time: header.time,
            file_name: name.to_string(),
            kind,
            der,
        })
    }
}
