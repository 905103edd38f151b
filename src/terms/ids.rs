//! Identifiers chosen by clients or by us; always a UUID, always written in lower case.

use std::{fmt, str::FromStr};
use uuid::Uuid;

/// The text is not a UUID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID")]
pub struct IdError;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID of any version; the version nibble carries no meaning for us.
            pub const fn new(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID itself.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            /// Accepts the hyphenated form in either case, nothing else.
            fn from_str(text: &str) -> Result<Self, IdError> {
                if text.len() != uuid::fmt::Hyphenated::LENGTH {
                    return Err(IdError);
                }
                Uuid::try_parse(text).map(Self).map_err(|_| IdError)
            }
        }
    };
}

id!(
    /// A TSS; unique system-wide.
    TssId
);
id!(
    /// A client (till) of a TSS; unique system-wide.
    ClientId
);
id!(
    /// A transaction as its till names it; unique per TSS.
    TransactionId
);
id!(
    /// An export of a TSS.
    ExportId
);
id!(
    /// Owner of TSSs and API keys.
    OrganizationId
);
id!(
    /// One login of an API key; survives token refresh.
    SessionId
);
