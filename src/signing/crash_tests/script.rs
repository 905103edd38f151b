//! What callers ask: an admin's way from no TSS to a working one, and tills with their transactions.

use super::disk::Disk;
use crate::receipt::{Schema, SchemaForm};
use crate::signing::SigningError;
use crate::sma::{
    Caller, Command, CredentialDigest, MetadataPatch, MetadataTarget, NewTss, Outcome, Rejection,
    TransactionInput, TransactionOutcome, TransactionRef, TssState,
};
use crate::terms::{
    ClientId, ClientSerial, Environment, LogFormat, OrganizationId, ProcessData, ProcessType,
    Revision, SessionId, TransactionId, TssId,
};
use std::collections::VecDeque;
use uuid::Uuid;

pub const SESSION: u128 = 1;
const PUK: CredentialDigest = CredentialDigest::new([2; 32]);
const PIN: CredentialDigest = CredentialDigest::new([1; 32]);
const WRONG_PIN: CredentialDigest = CredentialDigest::new([3; 32]);

/// A client id that every TSS wants; one gets it.
const CONTESTED: u128 = 777;
/// A client that comes and goes.
const SPARE: u128 = 900;

pub fn tss(number: u128) -> TssId {
    TssId::new(Uuid::from_u128(number))
}

pub fn client(tss: u128, till: u128) -> ClientId {
    ClientId::new(Uuid::from_u128(1_000_000 + tss * 1000 + till))
}

fn contested() -> ClientId {
    ClientId::new(Uuid::from_u128(CONTESTED))
}

pub fn caller(session: u128) -> Caller {
    Caller {
        organization: OrganizationId::new(Uuid::from_u128(5)),
        environment: Environment::Test,
        session: SessionId::new(Uuid::from_u128(session)),
    }
}

pub fn assign() -> Command {
    Command::Assign(Box::new(NewTss {
        format: LogFormat::V2,
        salt: [9; 16],
        puk: PUK,
        sealed_puk: b"sealed".to_vec(),
        metadata: MetadataPatch::new(),
    }))
}

pub fn take_over() -> Command {
    Command::TakeOver {
        metadata: MetadataPatch::new(),
    }
}

const fn unblock() -> Command {
    Command::UnblockPin {
        puk: PUK,
        new_pin: PIN,
    }
}

pub fn initialize(description: Option<&str>) -> Command {
    Command::Initialize {
        description: description.map(str::to_owned),
        metadata: MetadataPatch::new(),
    }
}

pub fn register(id: ClientId, serial: &str) -> Command {
    Command::RegisterClient {
        id,
        serial: ClientSerial::try_from(serial).unwrap(),
        metadata: MetadataPatch::new(),
    }
}

pub fn merge(key: &str) -> Command {
    Command::MergeMetadata {
        target: MetadataTarget::Tss,
        patch: MetadataPatch::from([(key.to_owned(), Some("kept".to_owned()))]),
    }
}

fn input(tss: u128, till: u128, transaction: u128, revision: u64) -> TransactionInput {
    let id = tss * 1_000_000 + till * 1000 + transaction;
    let data = format!("{tss} {till} {transaction} {revision}");
    TransactionInput {
        transaction: TransactionRef::Id(TransactionId::new(Uuid::from_u128(id))),
        revision: Revision::new(revision),
        client: client(tss, till),
        schema: Some(Schema {
            form: SchemaForm::Raw,
            process_type: ProcessType::try_from("Kassenbeleg-V1").unwrap(),
            process_data: ProcessData::new(data.into_bytes()),
            echo: String::new(),
        }),
        metadata: MetadataPatch::new(),
    }
}

pub fn start(tss: u128, till: u128, transaction: u128) -> Command {
    Command::StartTransaction(input(tss, till, transaction, 1))
}

pub fn update(tss: u128, till: u128, transaction: u128) -> Command {
    Command::UpdateTransaction(input(tss, till, transaction, 2))
}

pub fn finish(tss: u128, till: u128, transaction: u128, revision: u64) -> Command {
    let input = input(tss, till, transaction, revision);
    Command::FinishTransaction(input, TransactionOutcome::Finished)
}

/// The commands that lead from no TSS to one that signs, with this many tills.
pub fn setup(tss: u128, tills: u128) -> Vec<Command> {
    let mut commands = vec![
        assign(),
        take_over(),
        unblock(),
        Command::AuthenticateUser { pin: PIN },
        initialize(None),
    ];
    commands.extend((0..tills).map(|till| register(client(tss, till), &format!("till-{till}"))));
    commands
}

/// Commands that are refused, whatever has happened before.
pub fn refused(tss: u128) -> Vec<Command> {
    let unknown = TransactionInput {
        client: client(tss, 999),
        ..input(tss, 999, 1, 1)
    };
    let later = input(tss, 998, 1, 4);
    vec![
        Command::StartTransaction(unknown),
        Command::UpdateTransaction(later.clone()),
        Command::FinishTransaction(later, TransactionOutcome::Finished),
    ]
}

/// Transaction and revision that a command names.
pub fn step_name(command: &Command) -> Option<(TransactionRef, Revision)> {
    if let Command::StartTransaction(input)
    | Command::UpdateTransaction(input)
    | Command::FinishTransaction(input, _) = command
    {
        return Some((input.transaction, input.revision));
    }
    None
}

/// Something that was answered and must stay true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    Exists,
    TakenOver,
    Initialized,
    Registered(ClientId),
    Merged(String),
}

pub fn facts(command: &Command) -> Vec<Fact> {
    match command {
        Command::Assign(_) => vec![Fact::Exists],
        Command::TakeOver { .. } => vec![Fact::TakenOver],
        Command::Initialize { .. } => vec![Fact::Initialized],
        Command::RegisterClient { id, .. } => vec![Fact::Registered(*id)],
        Command::MergeMetadata { patch, .. } => {
            patch.keys().map(|key| Fact::Merged(key.clone())).collect()
        }
        Command::StartTransaction(_)
        | Command::UpdateTransaction(_)
        | Command::FinishTransaction(..)
        | Command::DisableSecureElement { .. }
        | Command::DisableCentrally
        | Command::LeaveSecureState { .. }
        | Command::DeclareDefective
        | Command::UnblockPin { .. }
        | Command::AuthenticateUser { .. }
        | Command::LogOut
        | Command::ReregisterClient { .. }
        | Command::DeregisterClient { .. } => Vec::new(),
    }
}

impl Fact {
    pub fn holds(&self, id: TssId, disk: &Disk) -> bool {
        let Some(tss) = disk.tss.get(&id) else {
            return false;
        };
        match self {
            Self::Exists => true,
            Self::TakenOver => tss.state != TssState::Created,
            Self::Initialized => tss.state == TssState::Initialized,
            Self::Registered(client) => disk
                .clients
                .get(client)
                .is_some_and(|(owner, _)| *owner == id),
            Self::Merged(key) => tss.metadata.pairs().contains_key(key),
        }
    }
}

/// What one caller does.
pub struct Script {
    commands: VecDeque<Command>,
    pub session: u128,
    /// A till waits until the admin is done.
    waits: bool,
}

impl Script {
    pub fn admin(tss: u128, tills: u128, rounds: u32) -> Self {
        let mut commands = setup(tss, tills);
        commands.push(Command::AuthenticateUser { pin: WRONG_PIN });
        commands.push(register(contested(), "contested"));
        commands.extend((0..=rounds).map(|number| merge(&format!("key-{number}"))));
        commands.push(register(client(tss, SPARE), "spare"));
        let metadata = MetadataPatch::new;
        for round in 0..rounds {
            commands.push(Command::DeregisterClient {
                id: client(tss, SPARE),
                metadata: metadata(),
            });
            commands.push(merge(&format!("round-{round}")));
            commands.push(Command::ReregisterClient {
                id: client(tss, SPARE),
                metadata: metadata(),
            });
        }
        commands.push(Command::LogOut);
        Self {
            commands: commands.into(),
            session: SESSION,
            waits: false,
        }
    }

    pub fn till(tss: u128, till: u128, transactions: u128) -> Self {
        let mut commands = VecDeque::new();
        for transaction in 0..transactions {
            let outcome = match transaction % 3 {
                0 => TransactionOutcome::Cancelled,
                _ => TransactionOutcome::Finished,
            };
            commands.push_back(start(tss, till, transaction));
            let mut last = 2;
            if transaction % 2 == 0 {
                commands.push_back(update(tss, till, transaction));
                last = 3;
            }
            let finish = input(tss, till, transaction, last);
            commands.push_back(Command::FinishTransaction(finish, outcome));
        }
        Self {
            commands,
            session: 100 + till,
            waits: true,
        }
    }

    pub fn next(&self) -> Option<&Command> {
        self.commands.front()
    }

    /// Goes on, asks the same again, or complains.
    pub fn hear(&mut self, answer: &Result<Outcome, SigningError>) -> Option<String> {
        let rejection = match answer {
            Err(SigningError::Unavailable { .. }) => return None,
            Err(SigningError::Rejected(rejection)) => rejection,
            Ok(_) | Err(SigningError::Told(_) | SigningError::Broken { .. }) => {
                self.commands.pop_front();
                return None;
            }
        };
        let is_too_early = matches!(
            rejection,
            Rejection::TssNotFound
                | Rejection::TssNotInitialized
                | Rejection::ClientNotFound
                | Rejection::ClientNotRegistered
        );
        // Or another lane has its hands on the last device.
        let not_yet = self.waits && is_too_early || *rejection == Rejection::NoFreeDevice;
        if not_yet {
            return None;
        }
        let command = self.commands.pop_front();
        match (rejection, command) {
            // A lost answer to a wrong PIN, asked again too often.
            (Rejection::PinBlocked, _) => {
                self.commands.push_front(unblock());
                None
            }
            (Rejection::ClientConflict, Some(Command::RegisterClient { id, .. }))
                if id == contested() =>
            {
                None
            }
            (rejection, command) => Some(format!("{command:?} is refused: {rejection}")),
        }
    }
}
