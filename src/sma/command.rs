//! What can be asked of a TSS, under the names of TR-03151, parsed once at the door.

use super::metadata::MetadataPatch;
use super::state::CredentialDigest;
use crate::receipt::Schema;
use crate::terms::{
    ClientId, ClientSerial, Environment, LogFormat, OrganizationId, Revision, SeTime, SessionId,
    TransactionId, TransactionNumber,
};
use std::collections::BTreeSet;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Owner the token speaks for.
    pub organization: OrganizationId,
    /// TEST or LIVE; a TSS of the other one does not exist for this caller.
    pub environment: Environment,
    /// Its session; whether that one is logged in as admin is TSS state (design decision 10).
    pub session: SessionId,
}

/// A call of one function of one TSS.
#[derive(Clone, Debug)]
pub enum Command {
    /// Assigns a prepared device to its owner; signs updateTime, configureLogging, startAudit.
    Assign(Box<NewTss>),
    /// CREATED → UNINITIALIZED: the owner has the PUK. Nothing is signed.
    TakeOver {
        /// Merged.
        metadata: MetadataPatch,
    },
    /// `initialize`.
    Initialize {
        /// Description, or `None` for the default one.
        description: Option<String>,
        /// Merged.
        metadata: MetadataPatch,
    },
    /// `disableSecureElement`.
    DisableSecureElement {
        /// Merged.
        metadata: MetadataPatch,
    },
    /// `disableSecureElement` by the operator of the installation, without PIN or log-in. No interface
    /// of a till leads here.
    DisableCentrally,
    /// Ends the TSS because of a fault that only a person could judge. Nothing is signed.
    DeclareDefective,
    /// Logs `enterSecureState` and `exitSecureState` after a loss that a person has judged; the counters
    /// were raised before. No interface of a till leads here.
    LeaveSecureState {
        /// When the loss was found.
        since: SeTime,
    },
    /// `unblockPin` of the admin: sets a new PIN by PUK.
    UnblockPin {
        /// Hash of the PUK given.
        puk: CredentialDigest,
        /// Hash of the PIN to be.
        new_pin: CredentialDigest,
    },
    /// `authenticateUser` of the admin.
    AuthenticateUser {
        /// Hash of the PIN given.
        pin: CredentialDigest,
    },
    /// `logOut`.
    LogOut,
    /// `registerClient` of a new client, or the same call again.
    RegisterClient {
        /// The client's id.
        id: ClientId,
        /// Its serial number.
        serial: ClientSerial,
        /// Merged.
        metadata: MetadataPatch,
    },
    /// `registerClient` of a client that was deregistered.
    ReregisterClient {
        /// The client's id.
        id: ClientId,
        /// Merged.
        metadata: MetadataPatch,
    },
    /// `deregisterClient`.
    DeregisterClient {
        /// The client's id.
        id: ClientId,
        /// Merged.
        metadata: MetadataPatch,
    },
    /// `startTransaction`.
    StartTransaction(TransactionInput),
    /// `updateTransaction`, signed (rule T-2).
    UpdateTransaction(TransactionInput),
    /// `finishTransaction`.
    FinishTransaction(TransactionInput, TransactionOutcome),
    /// Merges metadata into a resource. Nothing is signed.
    MergeMetadata {
        /// Which resource.
        target: MetadataTarget,
        /// What to merge.
        patch: MetadataPatch,
    },
}

impl Command {
    /// Which step of a transaction this is.
    pub fn revision(&self) -> Option<Revision> {
        self.transaction_step().map(|input| input.revision)
    }

    /// What the caller says of the step, if this is a step of a transaction.
    pub const fn transaction_step(&self) -> Option<&TransactionInput> {
        match self {
            Self::StartTransaction(input)
            | Self::UpdateTransaction(input)
            | Self::FinishTransaction(input, _) => Some(input),
            Self::Assign(_)
            | Self::TakeOver { .. }
            | Self::Initialize { .. }
            | Self::DisableSecureElement { .. }
            | Self::DisableCentrally
            | Self::DeclareDefective
            | Self::LeaveSecureState { .. }
            | Self::UnblockPin { .. }
            | Self::AuthenticateUser { .. }
            | Self::LogOut
            | Self::RegisterClient { .. }
            | Self::ReregisterClient { .. }
            | Self::DeregisterClient { .. }
            | Self::MergeMetadata { .. } => None,
        }
    }
}

/// What is needed to assign a TSS. Random values come from the caller (style rule 7).
#[derive(Clone, Debug)]
pub struct NewTss {
    /// Version of its log messages.
    pub format: LogFormat,
    /// Salt of its PIN and PUK digests.
    pub salt: [u8; 16],
    /// Hash of its PUK.
    pub puk: CredentialDigest,
    /// The PUK, encrypted.
    pub sealed_puk: Vec<u8>,
    /// Merged.
    pub metadata: MetadataPatch,
}

/// How a till names a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransactionRef {
    /// By the id it chose.
    Id(TransactionId),
    /// By the number we gave.
    Number(TransactionNumber),
}

/// One step of a transaction as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionInput {
    /// Which transaction.
    pub transaction: TransactionRef,
    /// Which step.
    pub revision: Revision,
    /// Which till.
    pub client: ClientId,
    /// What to sign, if given.
    pub schema: Option<Schema>,
    /// Merged.
    pub metadata: MetadataPatch,
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionOutcome {
    /// As meant.
    Finished,
    /// Aborted.
    Cancelled,
}

/// Whose metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataTarget {
    /// Of the TSS.
    Tss,
    /// Of a client.
    Client(ClientId),
    /// Of a transaction.
    Transaction(TransactionRef),
}

/// What has to be loaded before commands can be decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// A free device of the caller's environment, should the TSS not exist.
    pub free_device: Option<Environment>,
    /// These clients.
    pub clients: BTreeSet<ClientId>,
    /// Whether these client ids are taken anywhere.
    pub client_ids_new: BTreeSet<ClientId>,
    /// Who at this TSS has these serial numbers.
    pub serials: BTreeSet<ClientSerial>,
    /// These transactions with their latest step.
    pub transactions: BTreeSet<TransactionRef>,
    /// These steps.
    pub revisions: BTreeSet<(TransactionRef, Revision)>,
}

impl Needs {
    /// Adds what another command needs.
    pub fn add(&mut self, caller: &Caller, command: &Command) {
        match command {
            Command::Assign(_) => self.free_device = Some(caller.environment),
            Command::TakeOver { .. }
            | Command::Initialize { .. }
            | Command::DisableSecureElement { .. }
            | Command::DisableCentrally
            | Command::DeclareDefective
            | Command::LeaveSecureState { .. }
            | Command::UnblockPin { .. }
            | Command::AuthenticateUser { .. }
            | Command::LogOut => {}
            Command::RegisterClient { id, serial, .. } => {
                self.clients.insert(*id);
                self.client_ids_new.insert(*id);
                self.serials.insert(serial.clone());
            }
            Command::ReregisterClient { id, .. } | Command::DeregisterClient { id, .. } => {
                self.clients.insert(*id);
            }
            Command::StartTransaction(input)
            | Command::UpdateTransaction(input)
            | Command::FinishTransaction(input, _) => {
                self.clients.insert(input.client);
                self.transactions.insert(input.transaction);
                self.revisions.insert((input.transaction, input.revision));
            }
            Command::MergeMetadata { target, .. } => match target {
                MetadataTarget::Tss => {}
                MetadataTarget::Client(id) => {
                    self.clients.insert(*id);
                }
                MetadataTarget::Transaction(transaction) => {
                    self.transactions.insert(*transaction);
                }
            },
        }
    }
}
