//! Certificates of a foreign CA for devices that wait: whether they may be taken.
//!
//! A key gets one certificate, ever, so what is wrong with one must show before it is kept. Either all
//! of a run is taken, or nothing.

use super::foreign::ForeignCertificate;
use super::links::{IssuerOf, Links, unreadable};
use super::{CaCertificate, CaRole, PkiError, PreparedDevice, WaitingDevice};
use crate::terms::{Environment, SeTime, SerialNumber};
use std::collections::{BTreeMap, BTreeSet};

/// What is kept about the keys and issuers that certificates name.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Keys with a request, whether they have a certificate by now or not.
    pub requested: Vec<WaitingDevice>,
    /// Those of them that get no certificate, and why.
    pub unusable: BTreeMap<SerialNumber, String>,
    /// Keys with a certificate.
    pub certified: Vec<PreparedDevice>,
    /// All CAs of both environments.
    pub cas: Vec<CaCertificate>,
}

/// Which of the given certificates are of devices, and which of CAs.
#[derive(Default)]
struct Sorted<'c> {
    devices: Vec<(SerialNumber, &'c ForeignCertificate)>,
    authorities: Vec<&'c ForeignCertificate>,
}

/// A run of the check.
pub struct Import<'a> {
    /// Label of the token whose keys the certificates must be for.
    pub token: &'a str,
    /// What that token is for.
    pub environment: Environment,
    /// The present time.
    pub now: SeTime,
    /// What is kept already.
    pub known: &'a Known,
}

/// What may be kept.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Devices with their certificates.
    pub devices: Vec<PreparedDevice>,
    /// CAs above them that are not kept yet.
    pub cas: Vec<CaCertificate>,
    /// Keys that have this very certificate already.
    pub repeated: Vec<SerialNumber>,
    /// What is not as the profile wants it, each for people; TEST only.
    pub notes: Vec<String>,
}

/// Why a certificate is not taken. Nothing of the run is.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// No certificate of a device among them.
    #[error("there is no certificate of a device among them, only of CAs")]
    NoDevice,
    /// The key is not one of ours.
    #[error("the certificate {subject:?} is of a key that this ledger made no request for")]
    UnknownKey {
        /// Subject.
        subject: String,
    },
    /// The key is in another token.
    #[error(
        "the key of device {device} is in the token {token:?} for {environment}, not in this one"
    )]
    OtherToken {
        /// Which device.
        device: SerialNumber,
        /// Label of its token.
        token: String,
        /// What that token is for.
        environment: Environment,
    },
    /// The key must not sign for a TSS.
    #[error("device {device} gets no certificate: {reason}")]
    UnusableKey {
        /// Which device.
        device: SerialNumber,
        /// Why, as it is kept.
        reason: String,
    },
    /// The key has a certificate, and gets no other.
    #[error("device {device} has another certificate already; a key gets one, ever")]
    SecondCertificate {
        /// Which device.
        device: SerialNumber,
    },
    /// The certificate of the device is not fit for log messages.
    #[error("the certificate of device {device} {problem}")]
    Unfit {
        /// Which device.
        device: SerialNumber,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An issuer is missing.
    #[error(
        "the chain of device {device} is incomplete: no certificate of {issuer:?}; add it with --chain"
    )]
    ChainIncomplete {
        /// Which device.
        device: SerialNumber,
        /// The issuer that is missing, as its certificate names it.
        issuer: String,
    },
    /// A link does not hold.
    #[error("the chain of device {device} does not hold, {depth} above its certificate: {reason}")]
    ChainBroken {
        /// Which device.
        device: SerialNumber,
        /// 0 is the certificate of the device.
        depth: usize,
        /// Why.
        reason: &'static str,
    },
    /// An issuer is not fit.
    #[error("the issuer {subject:?} of device {device} {problem}")]
    UnfitIssuer {
        /// Which device.
        device: SerialNumber,
        /// Subject of the issuer.
        subject: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The key of a CA is kept with another certificate, and an export can hold only one for each key.
    #[error("the CA {subject:?} is kept with another certificate of the same key")]
    CaConflict {
        /// Subject.
        subject: String,
    },
    /// Something in it cannot be read.
    #[error("the certificate {subject:?} cannot be read")]
    Unreadable {
        /// Subject.
        subject: String,
        /// Why.
        source: PkiError,
    },
}

impl Import<'_> {
    /// Checks certificates of devices, and those of CAs among them as their chains need them.
    ///
    /// # Errors
    /// [`ImportError`] for the first one that may not be taken.
    pub fn check(&self, given: &[ForeignCertificate]) -> Result<Checked, ImportError> {
        let kept = self.kept_cas()?;
        let Sorted {
            devices,
            authorities,
        } = self.sort(given)?;
        let candidates: Vec<_> = kept.iter().chain(authorities).collect();
        refuse_second_of_a_key(&candidates)?;
        let mut checked = Checked::default();
        let mut seen = BTreeMap::new();
        for (device, certificate) in devices {
            match seen.insert(device, certificate.der()) {
                None => self.check_device(device, certificate, &candidates, &mut checked)?,
                Some(first) if first == certificate.der() => {}
                Some(_) => return Err(ImportError::SecondCertificate { device }),
            }
        }
        if seen.is_empty() {
            return Err(ImportError::NoDevice);
        }
        Ok(checked)
    }

    /// Of both environments, so that a chain into the other one is seen for what it is.
    fn kept_cas(&self) -> Result<Vec<ForeignCertificate>, ImportError> {
        let read = |ca: &CaCertificate| {
            ForeignCertificate::from_der(&ca.certificate).map_err(|error| ImportError::Unreadable {
                subject: ca.serial_number.to_string(),
                source: error.into(),
            })
        };
        self.known.cas.iter().map(read).collect()
    }

    fn sort<'c>(&self, given: &'c [ForeignCertificate]) -> Result<Sorted<'c>, ImportError> {
        let requested = self.known.requested.iter().map(|one| one.serial_number);
        let certified = self.known.certified.iter().map(|one| one.serial_number);
        let ours: BTreeSet<_> = requested.chain(certified).collect();
        let mut sorted = Sorted::default();
        for certificate in given {
            match certificate.key_serial().filter(|key| ours.contains(key)) {
                Some(device) => sorted.devices.push((device, certificate)),
                None if certificate.is_ca() => sorted.authorities.push(certificate),
                None => {
                    let subject = certificate.subject();
                    return Err(ImportError::UnknownKey { subject });
                }
            }
        }
        Ok(sorted)
    }

    fn check_device(
        &self,
        device: SerialNumber,
        certificate: &ForeignCertificate,
        candidates: &[&ForeignCertificate],
        checked: &mut Checked,
    ) -> Result<(), ImportError> {
        let certified = &self.known.certified;
        if let Some(kept) = certified.iter().find(|kept| kept.serial_number == device) {
            self.require_token(device, &kept.token, kept.environment)?;
            if kept.certificate != certificate.der() {
                return Err(ImportError::SecondCertificate { device });
            }
            checked.repeated.push(device);
            return Ok(());
        }
        let requested = &self.known.requested;
        let Some(waiting) = requested.iter().find(|one| one.serial_number == device) else {
            let subject = certificate.subject();
            return Err(ImportError::UnknownKey { subject });
        };
        self.require_token(device, &waiting.token, waiting.environment)?;
        if let Some(reason) = self.known.unusable.get(&device) {
            let reason = reason.clone();
            return Err(ImportError::UnusableKey { device, reason });
        }
        let mut chain = Links {
            device,
            certificate,
            is_live: self.environment == Environment::Live,
            deviations: Vec::new(),
        };
        let end_of_use = chain.check_leaf(waiting, self.now)?;
        let issuers = chain.follow(candidates, self.now)?;
        let mut end = end_of_use;
        let mut below = certificate;
        let mut serials = Vec::with_capacity(issuers.len());
        for issuer in &issuers {
            serials.push(chain.check_issuer(issuer, below, self.environment_of(issuer))?);
            end = end.min(issuer.not_after().map_err(unreadable(issuer))?);
            below = issuer;
        }
        chain.check_root(below)?;
        checked.notes.append(&mut chain.deviations);
        let Some(first) = serials.first().copied() else {
            return Err(chain.unfit("has no issuer"));
        };
        for (at, (issuer, serial)) in issuers.iter().zip(&serials).enumerate() {
            let is_kept = self.known.cas.iter().any(|ca| ca.serial_number == *serial);
            if is_kept || checked.cas.iter().any(|ca| ca.serial_number == *serial) {
                continue;
            }
            let above = serials.get(at.saturating_add(1));
            checked.cas.push(CaCertificate {
                serial_number: *serial,
                environment: self.environment,
                role: above.map_or(CaRole::Root, |_| CaRole::Issuing),
                issuer: *above.unwrap_or(serial),
                key: None,
                certificate: issuer.der().to_vec(),
            });
        }
        let der = certificate.der().to_vec();
        checked.devices.push(waiting.certified(der, first, end));
        Ok(())
    }

    fn require_token(
        &self,
        device: SerialNumber,
        token: &str,
        environment: Environment,
    ) -> Result<(), ImportError> {
        if token == self.token && environment == self.environment {
            return Ok(());
        }
        Err(ImportError::OtherToken {
            device,
            token: token.to_owned(),
            environment,
        })
    }

    /// Which environment an issuer belongs to here; a new one to that of the token.
    fn environment_of(&self, issuer: &ForeignCertificate) -> IssuerOf {
        let kept = issuer.key_serial().and_then(|serial| {
            let mut cas = self.known.cas.iter();
            cas.find(|ca| ca.serial_number == serial)
        });
        match kept {
            Some(kept) if kept.environment != self.environment => IssuerOf::OtherEnvironment,
            Some(_) | None => IssuerOf::ThisEnvironment,
        }
    }
}

/// The exports of a TSS name certificates by their keys.
fn refuse_second_of_a_key(candidates: &[&ForeignCertificate]) -> Result<(), ImportError> {
    let mut by_key = BTreeMap::new();
    for candidate in candidates {
        let Some(key) = candidate.key_serial() else {
            continue;
        };
        let first = by_key.entry(key).or_insert(*candidate);
        if first.der() != candidate.der() {
            let subject = candidate.subject();
            return Err(ImportError::CaConflict { subject });
        }
    }
    Ok(())
}
