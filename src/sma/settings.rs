//! Limits of one TSS, which the operator may set.

use crate::terms::Environment;

/// Limits and defaults that the rules need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Registered clients per TSS.
    pub clients_registered_max: u32,
    /// Open transactions per TSS.
    pub transactions_open_max: u32,
    /// Wrong PINs in a row until the PIN is blocked (rule P-3).
    pub pin_retries_max: u32,
    /// Text before the TSS id in the description of a TSS that was given none; `None` for a text that
    /// says what the environment is.
    pub description_prefix: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            clients_registered_max: 199,
            transactions_open_max: 2000,
            pin_retries_max: 5,
            description_prefix: None,
        }
    }
}

impl Settings {
    /// Text before the TSS id in the description of a TSS of this environment.
    pub fn description_prefix(&self, environment: Environment) -> &str {
        match (&self.description_prefix, environment) {
            (Some(prefix), _) => prefix,
            (None, Environment::Test) => "Siegel TSE (test operation, not certified)",
            (None, Environment::Live) => "Siegel TSE (not certified)",
        }
    }
}

/// Wrong PUKs in a row that cost no waiting.
pub const PUK_FREE_TRIES: u32 = 3;

/// Longest waiting time after wrong PUKs, in seconds: a PUK delays growingly but never blocks for
/// good, because it is the only way back (rule P-5).
const PUK_DELAY_S_MAX: i64 = 3600;

/// Seconds during which no PUK is looked at after this many wrong ones in a row.
pub fn puk_delay_s(failures: u32) -> i64 {
    let Some(beyond_free) = failures.checked_sub(PUK_FREE_TRIES) else {
        return 0;
    };
    // 0 s for the free tries, then 1, 2, 4 … seconds.
    let doublings = beyond_free.checked_sub(1);
    doublings.map_or(0, |n| {
        1_i64
            .checked_shl(n.min(32))
            .unwrap_or(PUK_DELAY_S_MAX)
            .min(PUK_DELAY_S_MAX)
    })
}
