//! Where rooms are wired together; the one place that knows all of them.
//!
//! Invariant: no rules, no SQL, no HTTP types; only what is made of what, in which order, and who stops
//! whom. The clock and the randomness of the machine are asked here and nowhere else.

mod active_csp;
mod ca_source;
mod clock;
mod device_pool;
mod entropy;
mod foreign_ca;
mod node;
mod opening;
mod sampler;
mod token_watch;
mod tokens;

pub use clock::{MachineWatch, SystemClock};
pub use entropy::SystemEntropy;
pub use foreign_ca::{ForeignCa, ForeignCaError};
pub use node::{Node, NodeError};
pub use tokens::{label_of, wrapping};
