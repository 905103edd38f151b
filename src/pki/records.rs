//! What the ledger keeps of keys and certificates.

use crate::csp::KeyPair;
use crate::terms::{Environment, SeTime, SerialNumber, SignatureAlgorithm, SignatureCounter};

/// A key and its certificate request; somebody else makes the certificate (design decision 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingDevice {
    /// Hash of the public key.
    pub serial_number: SerialNumber,
    /// TEST or LIVE.
    pub environment: Environment,
    /// Label of the token that holds its key.
    pub token: String,
    /// Its key.
    pub key: KeyPair,
    /// How it signs.
    pub algorithm: SignatureAlgorithm,
    /// Signatures made: 1, the request.
    pub signature_counter: SignatureCounter,
    /// DER of the PKCS#10 request, the only one that this key ever signs.
    pub request: Vec<u8>,
    /// When it was made.
    pub time_creation: SeTime,
}

impl WaitingDevice {
    /// What it is with its certificate (DER), which `issuer` signed.
    pub fn certified(
        &self,
        certificate: Vec<u8>,
        issuer: SerialNumber,
        certificate_not_after: SeTime,
    ) -> PreparedDevice {
        PreparedDevice {
            serial_number: self.serial_number,
            environment: self.environment,
            token: self.token.clone(),
            key: self.key.clone(),
            algorithm: self.algorithm,
            signature_counter: self.signature_counter,
            certificate,
            issuer,
            certificate_not_after,
            time_creation: self.time_creation,
        }
    }
}

/// A device to be put into the pool (design decision 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedDevice {
    /// Hash of the public key.
    pub serial_number: SerialNumber,
    /// TEST or LIVE.
    pub environment: Environment,
    /// Label of the token that holds its key.
    pub token: String,
    /// Its key.
    pub key: KeyPair,
    /// How it signs.
    pub algorithm: SignatureAlgorithm,
    /// Signatures made: 1, the certificate request.
    pub signature_counter: SignatureCounter,
    /// DER of its certificate.
    pub certificate: Vec<u8>,
    /// Hash of the issuing CA's public key.
    pub issuer: SerialNumber,
    /// From when on it must not sign any more: the end of its certificate, or of one above it.
    pub certificate_not_after: SeTime,
    /// When it was made.
    pub time_creation: SeTime,
}

/// Place of a CA in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaRole {
    /// Self-signed.
    Root,
    /// Signs TSS certificates.
    Issuing,
}

/// A certificate above those of TSSs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaCertificate {
    /// Hash of its public key; its file name in exports.
    pub serial_number: SerialNumber,
    /// TEST or LIVE.
    pub environment: Environment,
    /// Place in the chain.
    pub role: CaRole,
    /// Hash of its issuer's public key; its own for a root.
    pub issuer: SerialNumber,
    /// Label of the token and the key, where the CA is ours.
    pub key: Option<(String, KeyPair)>,
    /// DER.
    pub certificate: Vec<u8>,
}
