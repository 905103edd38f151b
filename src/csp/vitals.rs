//! How a token is, as far as that can be told without asking it.

/// Condition and use of a token at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenVitals {
    /// Its condition, as its last call found it.
    pub state: TokenState,
    /// Counts up whenever the module was initialised anew.
    pub generation: u64,
    /// Sessions that sign or list keys now.
    pub sessions_in_use: usize,
    /// Most sessions that may do so; fewer than configured where the token allows no more.
    pub sessions_max: usize,
}

/// What can be expected of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// It signs.
    Ready,
    /// Its module is being initialised anew because of another token.
    Paused,
    /// Lost; it is being looked for.
    Gone,
    /// It refused its PIN: only a person can help.
    PinRefused,
}

impl TokenState {
    /// Every state there is.
    pub const ALL: [Self; 4] = [Self::Ready, Self::Paused, Self::Gone, Self::PinRefused];

    /// As metrics name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Paused => "paused",
            Self::Gone => "gone",
            Self::PinRefused => "pin_refused",
        }
    }
}
