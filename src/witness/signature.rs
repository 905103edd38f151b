//! Whether a log message is what its TSS has signed.

use crate::asn1::{LogTime, ReadLogMessage};
use crate::csp::{PublicKey, check, digest};
use crate::sma::Tss;
use crate::terms::{Hash, SeTime};

/// The time as our messages have it.
pub(super) fn log_time(read: &ReadLogMessage) -> Option<SeTime> {
    match read.time {
        LogTime::Unix(seconds) => SeTime::try_from(seconds).ok(),
        LogTime::Utc(_) | LogTime::Generalized(_) => None,
    }
}

/// Whether this device has signed it in its way.
pub(super) fn check_signature(
    tss: &Tss,
    key: &PublicKey,
    message: &ReadLogMessage,
    der: &[u8],
) -> Result<(), &'static str> {
    if message.serial_number != tss.device.serial_number {
        return Err("it is of another device");
    }
    if message.algorithm.known() != Some(tss.device.algorithm) {
        return Err("it is signed in another way");
    }
    verifies(key, tss.device.algorithm.hash(), message, der)
}

/// Whether the signature of a message is that of this key.
pub(super) fn verifies(
    key: &PublicKey,
    algorithm: Hash,
    message: &ReadLogMessage,
    der: &[u8],
) -> Result<(), &'static str> {
    let signed = der.get(message.signed_range.clone());
    let signed = signed.ok_or("its signed bytes are not in it")?;
    let digest = digest(algorithm, signed).map_err(|_| "it cannot be hashed")?;
    check::verify(key, &digest, &message.signature).map_err(|_| "its signature does not verify")
}
