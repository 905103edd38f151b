//! Curves, hashes and signature algorithms of log messages (TR-03116-5 §2.2, rule C-1).

/// An elliptic curve that may sign log messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Curve {
    /// NIST P-256.
    Secp256r1,
    /// NIST P-384.
    Secp384r1,
    /// NIST P-521.
    Secp521r1,
    /// RFC 5639.
    BrainpoolP256r1,
    /// RFC 5639.
    BrainpoolP384r1,
    /// RFC 5639.
    BrainpoolP512r1,
}

impl Curve {
    /// Every curve there is.
    pub const ALL: [Self; 6] = [
        Self::Secp256r1,
        Self::Secp384r1,
        Self::Secp521r1,
        Self::BrainpoolP256r1,
        Self::BrainpoolP384r1,
        Self::BrainpoolP512r1,
    ];

    /// Name as in RFC 5639 and SEC 2; also used in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Secp256r1 => "secp256r1",
            Self::Secp384r1 => "secp384r1",
            Self::Secp521r1 => "secp521r1",
            Self::BrainpoolP256r1 => "brainpoolP256r1",
            Self::BrainpoolP384r1 => "brainpoolP384r1",
            Self::BrainpoolP512r1 => "brainpoolP512r1",
        }
    }

    /// The curve with this [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|curve| curve.name() == name)
    }

    /// Object identifier in dotted form.
    pub const fn oid(self) -> &'static str {
        match self {
            Self::Secp256r1 => "1.2.840.10045.3.1.7",
            Self::Secp384r1 => "1.3.132.0.34",
            Self::Secp521r1 => "1.3.132.0.35",
            Self::BrainpoolP256r1 => "1.3.36.3.3.2.8.1.1.7",
            Self::BrainpoolP384r1 => "1.3.36.3.3.2.8.1.1.11",
            Self::BrainpoolP512r1 => "1.3.36.3.3.2.8.1.1.13",
        }
    }

    /// Bytes of one coordinate, and of each half of a plain signature (TR-03111 §5.2.1).
    pub const fn field_len(self) -> usize {
        match self {
            Self::Secp256r1 | Self::BrainpoolP256r1 => 32,
            Self::Secp384r1 | Self::BrainpoolP384r1 => 48,
            Self::BrainpoolP512r1 => 64,
            Self::Secp521r1 => 66,
        }
    }

    /// Bytes of an uncompressed point `04 || X || Y`.
    pub const fn point_len(self) -> usize {
        1 + 2 * self.field_len()
    }

    /// Bytes of a plain signature `r || s`.
    pub const fn signature_len(self) -> usize {
        2 * self.field_len()
    }

    /// The hash our own signatures use with this curve.
    pub const fn default_hash(self) -> Hash {
        match self {
            Self::Secp256r1 | Self::BrainpoolP256r1 => Hash::Sha256,
            Self::Secp384r1 | Self::BrainpoolP384r1 => Hash::Sha384,
            Self::Secp521r1 | Self::BrainpoolP512r1 => Hash::Sha512,
        }
    }
}

/// A hash that may stand in a signature algorithm; at least 256 bit (rule C-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hash {
    /// SHA-2, 256 bit.
    Sha256,
    /// SHA-2, 384 bit.
    Sha384,
    /// SHA-2, 512 bit.
    Sha512,
    /// SHA-3, 256 bit.
    Sha3_256,
    /// SHA-3, 384 bit.
    Sha3_384,
    /// SHA-3, 512 bit.
    Sha3_512,
}

/// `ecdsa-plain-…` (TR-03111 §5.2.1): ECDSA with the signature written as `r || s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignatureAlgorithm(Hash);

impl SignatureAlgorithm {
    /// Every algorithm there is.
    pub const ALL: [Self; 6] = [
        Self(Hash::Sha256),
        Self(Hash::Sha384),
        Self(Hash::Sha512),
        Self(Hash::Sha3_256),
        Self(Hash::Sha3_384),
        Self(Hash::Sha3_512),
    ];

    /// ecdsa-plain with this hash.
    pub const fn ecdsa_plain(hash: Hash) -> Self {
        Self(hash)
    }

    /// The hash it signs.
    pub const fn hash(self) -> Hash {
        self.0
    }

    /// Name as on receipts and in QR codes.
    pub const fn name(self) -> &'static str {
        match self.0 {
            Hash::Sha256 => "ecdsa-plain-SHA256",
            Hash::Sha384 => "ecdsa-plain-SHA384",
            Hash::Sha512 => "ecdsa-plain-SHA512",
            Hash::Sha3_256 => "ecdsa-plain-SHA3-256",
            Hash::Sha3_384 => "ecdsa-plain-SHA3-384",
            Hash::Sha3_512 => "ecdsa-plain-SHA3-512",
        }
    }

    /// The algorithm with this [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }

    /// Object identifier in dotted form (TR-03151 v1.0.1 Appendix E as corrected by its amendment).
    pub const fn oid(self) -> &'static str {
        match self.0 {
            Hash::Sha256 => "0.4.0.127.0.7.1.1.4.1.3",
            Hash::Sha384 => "0.4.0.127.0.7.1.1.4.1.4",
            Hash::Sha512 => "0.4.0.127.0.7.1.1.4.1.5",
            Hash::Sha3_256 => "0.4.0.127.0.7.1.1.4.1.9",
            Hash::Sha3_384 => "0.4.0.127.0.7.1.1.4.1.10",
            Hash::Sha3_512 => "0.4.0.127.0.7.1.1.4.1.11",
        }
    }

    /// The algorithm with this object identifier.
    pub fn from_oid(oid: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.oid() == oid)
    }
}
