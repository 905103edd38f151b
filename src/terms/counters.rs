//! Numbers that only go up, and never around.

use std::fmt;

/// Highest value of both counters: unsigned 32 bit (TR-03153-1 §9.1, §9.2).
pub const COUNTER_MAX: u64 = 0xFFFF_FFFF;

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// The value as it stands in a log message; foreign messages may exceed [`COUNTER_MAX`].
            pub const fn new(value: u64) -> Self {
                Self(value)
            }

            /// The plain number.
            pub const fn value(self) -> u64 {
                self.0
            }

            /// The next number, or `None` at the 32-bit ceiling: a counter never wraps.
            pub const fn next(self) -> Option<Self> {
                if self.0 >= COUNTER_MAX { None } else { Some(Self(self.0 + 1)) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter!(
    /// Number of signatures a TSS key has made (TR-03153-1 §9.1); 0 before the first one.
    SignatureCounter
);
counter!(
    /// Number of a transaction within its TSS (TR-03153-1 §9.2); the first one is 1.
    TransactionNumber
);
counter!(
    /// Number of a step within its transaction as the HTTP dialect counts it; the start is 1.
    Revision
);
