//! Tokens that cannot be asked.

use super::TOKEN;
use crate::csp::{Anchor, Csp, CspError, KeyId, KeyPair};
use crate::terms::Curve;
use crate::witness::tokens::Anchored;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

/// A token that is away.
struct Gone;

impl Csp for Gone {
    fn token(&self) -> &str {
        TOKEN
    }

    fn generate_key_pair(&self, _: KeyId, _: Curve) -> Result<KeyPair, CspError> {
        Err(gone())
    }

    fn sign(&self, _: &KeyPair, _: &[u8]) -> Result<Vec<u8>, CspError> {
        Err(gone())
    }

    fn check_health(&self) -> Result<(), CspError> {
        Err(gone())
    }

    fn generation(&self) -> u64 {
        1
    }

    fn anchors(&self) -> Result<Vec<Anchor>, CspError> {
        Err(gone())
    }
}

fn gone() -> CspError {
    CspError::DeviceGone {
        token: TOKEN.to_owned(),
        source: None,
    }
}

/// Counts warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl<S: tracing::Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() == tracing::Level::WARN {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_token_that_is_away_is_told_of_at_once_and_then_more_and_more_rarely() {
    let warnings = Warnings::default();
    let subscriber = tracing_subscriber::registry().with(warnings.clone());
    let _quiet = tracing::subscriber::set_default(subscriber);
    let mut token = Anchored::new(Arc::new(Gone));
    assert!(token.is_doubtful("ledger", 0), "it was never compared");
    assert!(!token.try_read("ledger", 0));
    assert_eq!(warnings.0.load(Ordering::Relaxed), 1);
    for second in 1..86_400 {
        // There is nothing to compare the ledger with.
        assert!(!token.is_doubtful("ledger", second * 1000));
    }
    let told = warnings.0.load(Ordering::Relaxed);
    assert!((20..50).contains(&told), "{told} times in a day");
}
