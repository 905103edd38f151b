//! Adapter of the CSP port to any PKCS#11 module, through `cryptoki`.
//!
//! Invariant: a session and an object handle live in the `attachment` of one generation of the
//! module and are dropped before the module is finalized; their numbers repeat afterwards and may then
//! name another key. Whoever calls into a module holds a ticket of its `gate`.
//!
//! | File | What it does |
//! |---|---|
//! | `config`, `environment` | the `[[token]]` section; variables that modules read |
//! | `module`, `gate` | one loaded library for all its tokens; initialising it anew |
//! | `token`, `condition` | [`Pkcs11Token`]: the port, and what an error means |
//! | `reconnect` | losing a token and coming back to it |
//! | `attachment`, `pool`, `keys`, `entry` | login, sessions and handles of one generation |
//! | `anchor` | the data object that remembers how far a ledger was |
//! | `making` | the template of keys that sign |
//! | `wrapping` | keys beyond the token's capacity |
//! | `copies` | copies that sign faster than the keys on the token |
//! | `session_keys` | how many of both there are at a time |
//! | `errors`, `curves` | tables |
//! | `slots`, `probe` | for `siegel hsm list` and `siegel hsm check` |
//! | `throw_away` | for `siegel bench --csp` |
//!
//! Absent on purpose: no retry of a PIN, no logout, no search per signature, no key import or export but
//! that of wrapped keys.

mod anchor;
mod attachment;
mod condition;
mod config;
mod copies;
mod curves;
mod entry;
pub mod environment;
mod errors;
mod gate;
mod keys;
mod making;
mod module;
mod pool;
mod probe;
mod reconnect;
mod session_keys;
mod slots;
mod throw_away;
mod token;
mod wrapping;

pub use config::{PinSource, RawToken, Selector, TokenConfig, TokenConfigError};
pub use probe::{Finding, ProbeOptions, Verdict, curve_line, probe, suffices};
pub use slots::{ModuleReport, SlotReport, TokenReport, initialise_token, label_in, report};
pub use throw_away::ThrowAwayKey;
pub use token::Pkcs11Token;

#[cfg(test)]
mod tests;
