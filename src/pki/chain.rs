//! From a certificate up to a root, found and checked by OpenSSL.

use super::PkiError;
use super::foreign::ForeignCertificate;
use crate::terms::SeTime;
use openssl::error::ErrorStack;
use openssl::pkey::{PKeyRef, Public};
use openssl::stack::Stack;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::{X509VerifyFlags, X509VerifyParam};
use openssl::x509::{X509, X509StoreContext, X509StoreContextRef};

/// Numbers of `X509_V_ERR_…`: no issuer was found, or only one that nobody trusts.
const NO_ISSUER: [i32; 5] = [2, 18, 19, 20, 21];

/// The chain above a certificate does not hold.
#[derive(Debug)]
pub(super) struct Broken {
    /// How far up it was followed: 0 is the certificate itself.
    pub depth: usize,
    /// The issuer that is missing, where one is.
    pub missing: Option<String>,
    /// In the words of OpenSSL.
    pub reason: &'static str,
}

/// DER of the issuers of `leaf`, the nearest first and a self-signed root last. Signatures, names, times,
/// constraints and critical extensions were checked as RFC 5280 says, but for revocation.
pub(super) fn issuers(
    leaf: &ForeignCertificate,
    candidates: &[&ForeignCertificate],
    now: SeTime,
) -> Result<Result<Vec<Vec<u8>>, Broken>, PkiError> {
    let look = || -> Result<Result<Vec<Vec<u8>>, Broken>, ErrorStack> {
        let store = trusting(candidates, now)?;
        let mut between = Stack::new()?;
        for candidate in candidates {
            between.push(X509::from_der(candidate.der())?)?;
        }
        let leaf = X509::from_der(leaf.der())?;
        let mut context = X509StoreContext::new()?;
        context.init(&store, &leaf, &between, found)
    };
    look().map_err(|error| PkiError::Encoding(error.into()))
}

/// Whoever brings a root along vouches for it; that all links lead to one is what is checked.
fn trusting(candidates: &[&ForeignCertificate], now: SeTime) -> Result<X509Store, ErrorStack> {
    let mut store = X509StoreBuilder::new()?;
    for candidate in candidates {
        let certificate = X509::from_der(candidate.der())?;
        // A signature of another kind of key is an error to it, which says no as well.
        let confirms_itself = |key: &PKeyRef<Public>| certificate.verify(key).unwrap_or(false);
        if certificate
            .public_key()
            .is_ok_and(|key| confirms_itself(&key))
        {
            store.add_cert(certificate)?;
        }
    }
    let mut parameters = X509VerifyParam::new()?;
    parameters.set_time(now.unix_seconds());
    parameters.set_flags(X509VerifyFlags::CHECK_SS_SIGNATURE)?;
    store.set_param(&parameters)?;
    Ok(store.build())
}

fn found(context: &mut X509StoreContextRef) -> Result<Result<Vec<Vec<u8>>, Broken>, ErrorStack> {
    if !context.verify_cert()? {
        let error = context.error();
        let depth = usize::try_from(context.error_depth()).unwrap_or_default();
        let last = context.chain().and_then(|chain| chain.iter().nth(depth));
        let last = last.and_then(|last| last.to_der().ok());
        let last = last.and_then(|der| ForeignCertificate::from_der(&der).ok());
        return Ok(Err(Broken {
            depth,
            missing: last
                .filter(|_| NO_ISSUER.contains(&error.as_raw()))
                .map(|last| last.issuer()),
            reason: error.error_string(),
        }));
    }
    let chain = context.chain().into_iter().flatten();
    chain
        .skip(1)
        .map(|link| link.to_der())
        .collect::<Result<_, _>>()
        .map(Ok)
}
