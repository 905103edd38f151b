//! A token that takes its time.

use super::*;
use crate::csp::{KeyId, PublicKey};
use crate::terms::{Curve, SeTime};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Stands still, so that a deadline is always as far away as it was set.
struct Still;

impl Clock for Still {
    fn now(&self) -> SeTime {
        SeTime::UNSET
    }

    fn monotonic_ms(&self) -> u64 {
        0
    }
}

struct Slow(AtomicUsize);

impl Csp for Slow {
    fn token(&self) -> &str {
        "slow"
    }

    fn generate_key_pair(&self, _: KeyId, _: Curve) -> Result<KeyPair, CspError> {
        unreachable!("nobody makes keys")
    }

    fn sign(&self, _: &KeyPair, digest: &[u8]) -> Result<Vec<u8>, CspError> {
        // Nobody unparks it.
        thread::park_timeout(Duration::from_millis(5));
        self.0.fetch_add(1, SeqCst);
        Ok(digest.to_vec())
    }

    fn check_health(&self) -> Result<(), CspError> {
        Ok(())
    }

    fn generation(&self) -> u64 {
        1
    }
}

#[test]
fn what_a_slow_token_has_made_by_the_deadline_counts_and_the_rest_is_not_made() {
    const SIGNERS: usize = 2;
    let key = KeyPair {
        id: KeyId::new([1; 16]),
        public_key: PublicKey {
            curve: Curve::Secp256r1,
            point: vec![4; 65],
        },
    };
    let digests: Vec<_> = (0..200).map(|number| (key.clone(), vec![number])).collect();
    let slow = Arc::new(Slow(AtomicUsize::new(0)));
    let csp: Arc<dyn Csp> = slow.clone();
    let clock: Arc<dyn Clock> = Arc::new(Still);
    let token = Token::start(csp, Environment::Test, &clock, SIGNERS).unwrap();
    let mut counted = 0;
    for _ in 0..3 {
        let begun = token.begin(digests.clone());
        let results = begun.wait(&Deadline::after(&Still, 60));
        let in_time = results.iter().filter(|result| result.is_ok()).count();
        assert!(in_time > 0, "nothing in time");
        counted += in_time;
        for (number, result) in results.iter().enumerate() {
            match result {
                Ok(signature) => assert_eq!(signature, &digests[number].1),
                Err(error) => assert!(matches!(error, CspError::Busy { .. }), "{error}"),
            }
        }
    }
    // Its signers end when all is done that somebody waits for.
    assert_eq!(token.waiting(), 0);
    drop(token);
    let made = slow.0.load(SeqCst);
    assert!(
        made <= counted + 3 * SIGNERS,
        "{made} made, {counted} counted"
    );
}
