//! The one entrance: a command, a slice of state and the time give a plan.

use super::command::{Caller, Command, MetadataTarget};
use super::metadata::MetadataPatch;
use super::plan::{Answer, Outcome, Plan, Rejection, SeError};
use super::settings::Settings;
use super::state::{Slice, Tss, TssState};
use super::step::{Change, Step};
use super::{clients, lifecycle, transactions, users};
use crate::terms::{COUNTER_MAX, SeTime};

/// What a decision may look at besides the state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub caller: Caller,
    pub settings: &'a Settings,
    pub now: SeTime,
}

/// Result of a rule: steps and what to answer after them.
pub(super) type Decision = Result<(Vec<Step>, Result<Answer, SeError>), Rejection>;

/// Decides one command. Asks the rules and changes nothing.
pub fn decide(
    slice: &Slice,
    caller: &Caller,
    command: &Command,
    settings: &Settings,
    now: SeTime,
) -> Plan {
    let context = Context {
        caller: *caller,
        settings,
        now,
    };
    match decide_function(slice, &context, command) {
        Err(rejection) => Plan::Refuse(rejection),
        Ok((steps, _)) if !has_numbers_for(slice, &steps) => {
            Plan::Refuse(Rejection::SignatureCounterExhausted)
        }
        Ok((steps, answer)) => {
            let expired = after_expiry(slice, command, &steps, now)
                .or_else(|| repeated_after_expiry(slice, &steps, &answer));
            Plan::Act {
                steps,
                answer: expired.map_or(answer, Err),
            }
        }
    }
}

fn decide_function(slice: &Slice, context: &Context<'_>, command: &Command) -> Decision {
    if let Command::Assign(new) = command {
        return lifecycle::assign(slice, context, new);
    }
    let tss = slice.tss.as_ref().ok_or(Rejection::TssNotFound)?;
    if !tss.belongs_to(&context.caller) {
        return Err(Rejection::TssNotFound);
    }
    match command {
        // Answered above; a second assignment can only be the first one again.
        Command::Assign(new) => lifecycle::assign(slice, context, new),
        Command::TakeOver { metadata } => lifecycle::take_over(tss, metadata),
        Command::Initialize {
            description,
            metadata,
        } => lifecycle::initialize(tss, context, description.as_deref(), metadata),
        Command::DisableSecureElement { metadata } => {
            lifecycle::disable_secure_element(tss, context, metadata)
        }
        Command::DisableCentrally => lifecycle::disable_centrally(tss, context),
        Command::DeclareDefective => lifecycle::declare_defective(tss),
        Command::LeaveSecureState { since } => lifecycle::leave_secure_state(tss, *since),
        Command::UnblockPin { puk, new_pin } => users::unblock_pin(tss, context, *puk, *new_pin),
        Command::AuthenticateUser { pin } => users::authenticate_user(tss, context, *pin),
        Command::LogOut => users::log_out(tss, context),
        Command::RegisterClient {
            id,
            serial,
            metadata,
        } => clients::register(slice, tss, context, *id, serial, metadata),
        Command::ReregisterClient { id, metadata } => {
            clients::reregister(slice, tss, context, *id, metadata)
        }
        Command::DeregisterClient { id, metadata } => {
            clients::deregister(slice, tss, context, *id, metadata)
        }
        Command::StartTransaction(input) => transactions::start(slice, tss, context, input),
        Command::UpdateTransaction(input) => transactions::update(slice, tss, input),
        Command::FinishTransaction(input, outcome) => {
            transactions::finish(slice, tss, input, *outcome)
        }
        Command::MergeMetadata { target, patch } => merge_metadata(slice, tss, *target, patch),
    }
}

/// Whether the signature counter can number every message of these steps (rule L-12), and one more
/// for a clock correction that may have to go first.
fn has_numbers_for(slice: &Slice, steps: &[Step]) -> bool {
    let messages = steps.iter().filter(|step| step.message.is_some()).count();
    let used = slice
        .tss
        .as_ref()
        .map_or(0, |tss| tss.device.signature_counter.value());
    let left = COUNTER_MAX.saturating_sub(used);
    messages == 0 || u64::try_from(messages).is_ok_and(|messages| messages < left)
}

/// These functions do their work, keep the message and only then say that the certificate has
/// expired (TR-03153-1 life cycle L3b; authenticateUser, logOut, unblockPin and disableSecureElement
/// are exempt).
fn after_expiry(slice: &Slice, command: &Command, steps: &[Step], now: SeTime) -> Option<SeError> {
    let affected = match command {
        Command::Initialize { .. }
        | Command::RegisterClient { .. }
        | Command::ReregisterClient { .. }
        | Command::DeregisterClient { .. }
        | Command::StartTransaction(_)
        | Command::UpdateTransaction(_)
        | Command::FinishTransaction(..) => true,
        Command::Assign(_)
        | Command::TakeOver { .. }
        | Command::DisableSecureElement { .. }
        | Command::DisableCentrally
        | Command::DeclareDefective
        | Command::LeaveSecureState { .. }
        | Command::UnblockPin { .. }
        | Command::AuthenticateUser { .. }
        | Command::LogOut
        | Command::MergeMetadata { .. } => false,
    };
    let signs = steps.iter().any(|step| step.message.is_some());
    let expired = slice
        .tss
        .as_ref()
        .is_some_and(|tss| now > tss.device.certificate_not_after);
    (affected && signs && expired).then_some(SeError::CertificateExpired)
}

/// The same call again is told the same: that its step was signed after the certificate had expired.
fn repeated_after_expiry(
    slice: &Slice,
    steps: &[Step],
    answer: &Result<Answer, SeError>,
) -> Option<SeError> {
    let Ok(Answer::Transaction(number, revision)) = answer else {
        return None;
    };
    if steps.iter().any(|step| step.message.is_some()) {
        return None;
    }
    let step = slice.steps.get(&(*number, *revision))?;
    let tss = slice.tss.as_ref()?;
    (step.log_time > tss.device.certificate_not_after).then_some(SeError::CertificateExpired)
}

fn merge_metadata(
    slice: &Slice,
    tss: &Tss,
    target: MetadataTarget,
    patch: &MetadataPatch,
) -> Decision {
    refuse_defective(tss)?;
    let (change, answer) = match target {
        MetadataTarget::Tss => (
            Change::TssMetadata(tss.metadata.merged(patch)?),
            Answer::Tss,
        ),
        MetadataTarget::Client(id) => {
            let client = slice.clients.get(&id).ok_or(Rejection::ClientNotFound)?;
            (
                Change::ClientMetadata(id, client.metadata.merged(patch)?),
                Answer::Client(id),
            )
        }
        MetadataTarget::Transaction(reference) => {
            let transaction =
                transactions::find(slice, reference).ok_or(Rejection::TransactionNotFound)?;
            let merged = transaction.metadata.merged(patch)?;
            (
                Change::TransactionMetadata(transaction.number, merged),
                Answer::TransactionMetadata(transaction.number),
            )
        }
    };
    let steps = if patch.is_empty() {
        Vec::new()
    } else {
        vec![Step::unsigned(vec![change])]
    };
    Ok((steps, Ok(answer)))
}

impl Tss {
    /// Nobody else may learn that it exists.
    pub fn belongs_to(&self, caller: &Caller) -> bool {
        self.organization == caller.organization && self.environment == caller.environment
    }
}

/// A defective TSS takes no writes at all.
pub(super) const fn refuse_defective(tss: &Tss) -> Result<(), Rejection> {
    match tss.state {
        TssState::Defective => Err(Rejection::TssDefective),
        TssState::Created
        | TssState::Uninitialized
        | TssState::Initialized
        | TssState::Disabled => Ok(()),
    }
}

/// Users and clients: from taken over until disabled.
pub(super) const fn require_taken_over(tss: &Tss) -> Result<(), Rejection> {
    match tss.state {
        TssState::Created => Err(Rejection::TssNotInitialized),
        TssState::Uninitialized | TssState::Initialized => Ok(()),
        TssState::Disabled => Err(Rejection::TssDisabled),
        TssState::Defective => Err(Rejection::TssDefective),
    }
}

/// Transactions: while initialised.
pub(super) const fn require_initialized(tss: &Tss) -> Result<(), Rejection> {
    match tss.state {
        TssState::Created | TssState::Uninitialized => Err(Rejection::TssNotInitialized),
        TssState::Initialized => Ok(()),
        TssState::Disabled => Err(Rejection::TssDisabled),
        TssState::Defective => Err(Rejection::TssDefective),
    }
}

/// Role check of everything that is the admin's (TR-03153-1 table 9).
pub(super) fn require_admin(tss: &Tss, context: &Context<'_>) -> Result<(), Rejection> {
    if tss.admin.session == Some(context.caller.session) {
        Ok(())
    } else {
        Err(Rejection::UserNotAuthenticated)
    }
}

impl Slice {
    /// Fills an answer in from the state as it is now. `None` would mean that the rules named
    /// something that the slice does not hold.
    pub fn outcome(&self, answer: Answer) -> Option<Outcome> {
        Some(match answer {
            Answer::Done => Outcome::Done,
            Answer::Tss => Outcome::Tss(Box::new(self.tss.clone()?)),
            Answer::Client(id) => Outcome::Client(Box::new(self.clients.get(&id)?.clone())),
            Answer::Transaction(number, revision) => Outcome::Transaction(Box::new((
                self.tss.clone()?,
                self.transactions.get(&number)?.clone(),
                self.steps.get(&(number, revision))?.clone(),
            ))),
            Answer::TransactionMetadata(number) => {
                Outcome::TransactionMetadata(Box::new(self.transactions.get(&number)?.clone()))
            }
        })
    }
}
