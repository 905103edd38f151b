//! Where rooms are wired together; the one place that knows all of them.
//!
//! Invariant: no rules, no SQL, no HTTP types; only what is made of what, in which order, and who stops
//! whom. The clock and the randomness of the machine are asked here and nowhere else.

mod active_csp;
mod clock;
mod device_pool;
mod device_source;
mod entropy;
mod node;
mod token_watch;
mod tokens;

pub use clock::SystemClock;
pub use entropy::SystemEntropy;
pub use node::{Node, NodeError};
