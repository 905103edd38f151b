//! The one table from a module's return codes to what can be done about them.
//!
//! The same fault has different codes in different modules, and one code stands for different faults
//! (a deleted key and vanished storage are both `ObjectHandleInvalid` in SoftHSM, `GeneralError` in
//! Kryoptic). Such codes are *doubtful*: the canary key decides.

use crate::csp::{CspError, KeyId, ModuleError};
use cryptoki::error::{Error, RvError};

/// What a failed call means for the token, as far as the code alone can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// PIN wrong, locked or expired: nobody may try again by themselves.
    Pin,
    /// The session is gone, the token may be well.
    Session,
    /// Device, link, storage or login is gone.
    Device,
    /// Too many sessions are open.
    Busy,
    /// The token cannot do this, now and later.
    Unsupported,
    /// The code does not tell; ask the canary.
    Doubtful,
}

const TABLE: &[(Fault, &[RvError])] = &[
    (
        Fault::Pin,
        &[
            RvError::PinIncorrect,
            RvError::PinInvalid,
            RvError::PinLenRange,
            RvError::PinExpired,
            RvError::PinLocked,
            RvError::UserPinNotInitialized,
        ],
    ),
    (
        Fault::Session,
        &[
            RvError::SessionClosed,
            RvError::SessionHandleInvalid,
            RvError::OperationActive,
            RvError::OperationNotInitialized,
        ],
    ),
    (
        Fault::Device,
        &[
            RvError::CryptokiNotInitialized,
            RvError::DeviceError,
            RvError::DeviceRemoved,
            RvError::FipsSelfTestFailed,
            RvError::SlotIdInvalid,
            RvError::TokenNotPresent,
            RvError::TokenNotRecognized,
            RvError::UserNotLoggedIn,
        ],
    ),
    (Fault::Busy, &[RvError::SessionCount]),
    (
        Fault::Unsupported,
        &[
            RvError::AttributeReadOnly,
            RvError::AttributeTypeInvalid,
            RvError::AttributeValueInvalid,
            RvError::CurveNotSupported,
            RvError::DomainParamsInvalid,
            RvError::FunctionNotSupported,
            RvError::KeyFunctionNotPermitted,
            RvError::KeySizeRange,
            RvError::KeyTypeInconsistent,
            RvError::MechanismInvalid,
            RvError::MechanismParamInvalid,
            RvError::TemplateIncomplete,
            RvError::TemplateInconsistent,
            RvError::TokenWriteProtected,
        ],
    ),
];

/// Classifies a failed call. A code that the table does not name is doubtful, vendors' own among them.
pub(super) fn classify(error: &Error) -> Fault {
    if let Error::Pkcs11(code, _) = error {
        return TABLE
            .iter()
            .find(|(_, codes)| codes.contains(code))
            .map_or(Fault::Doubtful, |(fault, _)| *fault);
    }
    if matches!(error, Error::NotSupported | Error::NullFunctionPointer) {
        return Fault::Unsupported;
    }
    Fault::Doubtful
}

/// The module's answer in one short line, such as `C_Login: PinIncorrect`. (The library's own text
/// for a code is a paragraph of the standard.)
pub(super) fn describe(error: &Error) -> ModuleError {
    ModuleError(match error {
        Error::Pkcs11(code, function) => format!("C_{function:?}: {code:?}"),
        Error::LibraryLoading(_)
        | Error::NotSupported
        | Error::TryFromInt(_)
        | Error::TryFromSlice(_)
        | Error::ParseInt(_)
        | Error::Utf8(_)
        | Error::NulError(_)
        | Error::NullFunctionPointer
        | Error::MissingSymbol(_)
        | Error::InvalidValue
        | Error::PinNotSet => error.to_string(),
    })
}

/// Something failed while we talked to the module, before it is known what that means for the token.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The module's answer.
    Module(Error),
    /// All sessions were busy for too long.
    Busy,
    /// Known already, no matter how the token is.
    Known(Known),
}

/// Troubles that need no look at the canary.
#[derive(Debug)]
pub(super) enum Known {
    /// The signature does not verify under the expected key.
    WrongKey(KeyId),
    /// No token fits the configuration just now.
    TokenNotFound,
    /// More than one token fits the configuration.
    TokenAmbiguous,
    /// What the token made is not what was asked for.
    Unfit {
        /// What it cannot do.
        action: &'static str,
    },
    /// The token does not show the key that a key was wrapped with.
    KekMissing,
    /// The canary is not there, or its signature is not good.
    CanaryMissing,
    /// The token says that its user PIN is locked. It was not tried.
    PinLocked,
    /// The token says that one more wrong PIN locks it. It was not tried.
    PinFinalTry,
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Module(error)
    }
}

impl Trouble {
    /// Whether it may mean that the token cannot do what was tried, and never could. Modules say so by many
    /// codes; that it is lost, busy or does not accept its PIN is something else.
    pub(super) fn is_inability(&self) -> bool {
        match self {
            Self::Module(error) => match classify(error) {
                Fault::Unsupported | Fault::Doubtful => true,
                Fault::Pin | Fault::Session | Fault::Device | Fault::Busy => false,
            },
            Self::Known(Known::Unfit { .. }) => true,
            Self::Busy | Self::Known(_) => false,
        }
    }

    /// Whether it may mean that the session or the device is lost.
    pub(super) fn may_be_loss(&self) -> bool {
        match self {
            Self::Module(error) => matches!(classify(error), Fault::Session | Fault::Device),
            Self::Busy | Self::Known(_) => false,
        }
    }

    /// Whether a signature may have failed because of what signed alone: a handle that is dead, or a copy that does not
    /// do what its key does.
    pub(super) fn may_spare_key(&self, is_copy: bool) -> bool {
        match self {
            Self::Module(error) => match classify(error) {
                Fault::Doubtful => true,
                Fault::Unsupported => is_copy,
                Fault::Pin | Fault::Session | Fault::Device | Fault::Busy => false,
            },
            Self::Known(Known::WrongKey(_)) => is_copy,
            Self::Busy | Self::Known(_) => false,
        }
    }

    /// What the trouble is, for a person who reads `hsm check` or a trace.
    pub(super) fn describe(&self) -> ModuleError {
        match self {
            Self::Module(error) => describe(error),
            Self::Busy => ModuleError("no session became free".to_owned()),
            Self::Known(known) => ModuleError(
                match known {
                    Known::WrongKey(_) => "the signature does not verify",
                    Known::TokenNotFound => "no slot shows the token",
                    Known::TokenAmbiguous => "more than one token fits",
                    Known::Unfit { action } => action,
                    Known::KekMissing => "the key that wrapped it is not there",
                    Known::CanaryMissing => "the canary key is not there",
                    Known::PinLocked => {
                        "the token says that its user PIN is locked, so it was not tried; have the \
                         security officer set it anew with the maker's tools"
                    }
                    Known::PinFinalTry => {
                        "the token says that one more wrong PIN locks it, so it was not tried; log in \
                         once with the right PIN by the maker's tools, which ends this state, and \
                         correct the PIN of Siegel before it is started again"
                    }
                }
                .to_owned(),
            ),
        }
    }

    /// The error for the caller when the token as such is known to be well, or is not yet in use.
    pub(super) fn settle(self, token: &str, action: &'static str) -> CspError {
        let token = token.to_owned();
        match self {
            Self::Busy => CspError::Busy { token },
            Self::Known(Known::WrongKey(key)) => CspError::WrongKey { token, key },
            Self::Known(Known::TokenNotFound | Known::CanaryMissing) => CspError::DeviceGone {
                token,
                source: Some(self.describe()),
            },
            Self::Known(Known::PinLocked | Known::PinFinalTry) => CspError::PinRefused {
                token,
                source: self.describe(),
            },
            // No word about the key that was wrapped: it may be as good as the others.
            Self::Known(Known::KekMissing) => CspError::Failed {
                token,
                action: "open a wrapped key",
                source: self.describe(),
            },
            Self::Known(Known::TokenAmbiguous) => CspError::Failed {
                token,
                action: "be told apart from another one; choose it by serial number",
                source: self.describe(),
            },
            Self::Known(Known::Unfit { action }) => CspError::NotSupported {
                token,
                action,
                source: None,
            },
            Self::Module(error) => {
                let source = describe(&error);
                match classify(&error) {
                    Fault::Pin => CspError::PinRefused { token, source },
                    Fault::Session => CspError::SessionLost { token, source },
                    Fault::Device => CspError::DeviceGone {
                        token,
                        source: Some(source),
                    },
                    Fault::Busy => CspError::Busy { token },
                    Fault::Unsupported => CspError::NotSupported {
                        token,
                        action,
                        source: Some(source),
                    },
                    Fault::Doubtful => CspError::Failed {
                        token,
                        action,
                        source,
                    },
                }
            }
        }
    }
}
