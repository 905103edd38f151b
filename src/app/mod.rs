//! Where rooms are wired together; the one place that knows all of them.

mod clock;
mod device_pool;
mod entropy;
mod node;

pub use clock::SystemClock;
pub use entropy::SystemEntropy;
pub use node::{Node, NodeError};
