//! Randomness of this machine.

use crate::terms::Entropy;

/// OpenSSL's generator, seeded by the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    /// # Panics
    /// When the generator fails, which leaves no way to go on safely.
    fn fill(&self, buffer: &mut [u8]) {
        let filled = openssl::rand::rand_bytes(buffer);
        assert!(
            filled.is_ok(),
            "the random number generator of this machine does not work"
        );
    }
}
