//! A token in memory, for measurements that are not about the token: real keys, real signatures, gone
//! with the process. Not for anything that is kept.

use crate::csp::{Csp, CspError, KeyId, KeyPair, ModuleError, PublicKey, check};
use crate::terms::Curve;
use openssl::bn::BigNumContext;
use openssl::ec::{EcKey, PointConversionForm};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::pkey::Private;
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

const LABEL: &str = "siegel-bench";

/// See the module comment.
#[derive(Default)]
pub(super) struct SoftToken {
    keys: RwLock<HashMap<KeyId, EcKey<Private>>>,
}

impl Csp for SoftToken {
    fn token(&self) -> &str {
        LABEL
    }

    fn generate_key_pair(&self, id: KeyId, curve: Curve) -> Result<KeyPair, CspError> {
        let make = || -> Result<_, ErrorStack> {
            let group = check::group(curve)?;
            let key = EcKey::generate(&group)?;
            let form = PointConversionForm::UNCOMPRESSED;
            let mut context = BigNumContext::new()?;
            let point = key.public_key().to_bytes(&group, form, &mut context)?;
            Ok((key, point))
        };
        let (key, point) = make().map_err(failed("make a key pair"))?;
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.insert(id, key);
        let public_key = PublicKey { curve, point };
        Ok(KeyPair { id, public_key })
    }

    fn sign(&self, key: &KeyPair, digest: &[u8]) -> Result<Vec<u8>, CspError> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let own = keys.get(&key.id).ok_or_else(|| CspError::KeyMissing {
            token: LABEL.to_owned(),
            key: key.id,
        })?;
        let len = i32::try_from(key.public_key.curve.field_len()).unwrap_or(i32::MAX);
        let sign = || -> Result<_, ErrorStack> {
            let signature = EcdsaSig::sign(digest, own)?;
            let mut plain = signature.r().to_vec_padded(len)?;
            plain.extend(signature.s().to_vec_padded(len)?);
            Ok(plain)
        };
        sign().map_err(failed("sign"))
    }

    fn check_health(&self) -> Result<(), CspError> {
        Ok(())
    }

    fn generation(&self) -> u64 {
        0
    }
}

fn failed(action: &'static str) -> impl Fn(ErrorStack) -> CspError {
    move |stack| CspError::Failed {
        token: LABEL.to_owned(),
        action,
        source: ModuleError(stack.to_string()),
    }
}
