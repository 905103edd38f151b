//! Roles, environments and formats: the small closed lists.

use std::{fmt, str::FromStr};

/// Who acts at the interface of a TSS. There is exactly one user per role, whose user id is the
/// role's name (TR-03153-1 §5.3, rules U-1 and U-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Anyone who is not logged in.
    Unauthenticated,
    /// The till.
    Logger,
    /// The administrator of the TSS.
    Admin,
    /// The operator of the installation, who acts beside the interface and cannot log in (rule U-7).
    CentralOperator,
}

impl Role {
    /// Name of the role, and at the same time the user id.
    pub const fn user_id(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::Logger => "logger",
            Self::Admin => "admin",
            Self::CentralOperator => "centraloperator",
        }
    }
}

/// TEST or LIVE; the two differ in API keys, token, issuer and rows, and never mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Environment {
    /// Certificates of a test CA; the only environment with a CA of ours.
    Test,
    /// A foreign CA; still uncertified.
    Live,
}

impl Environment {
    /// As written on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Test => "TEST",
            Self::Live => "LIVE",
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Environment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "TEST" => Ok(Self::Test),
            "LIVE" => Ok(Self::Live),
            _ => Err("an environment is TEST or LIVE"),
        }
    }
}

/// Version of the log messages of a TSS, fixed when it is made (design decision 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogFormat {
    /// TR-03151 v1.0.1, version value 2.
    V2,
    /// TR-03151-1 v1.1.1, version value 3.
    V3,
}

impl LogFormat {
    /// As written in configuration and in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V3 => "v3",
        }
    }
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "v2" => Ok(Self::V2),
            "v3" => Ok(Self::V3),
            _ => Err("a log format is v2 or v3"),
        }
    }
}
