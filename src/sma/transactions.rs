//! Transactions: start, signed update, finish, cancel (TR-03151-1 §§3.7.5–3.7.7).

use super::clients::require_registered;
use super::command::{TransactionInput, TransactionOutcome, TransactionRef};
use super::decide::{Context, Decision, refuse_defective, require_initialized};
use super::metadata::{Metadata, patch_digest};
use super::plan::{Answer, Rejection};
use super::state::{Slice, Transaction, TransactionState, TransactionStep, Tss};
use super::step::{Change, Step};
use crate::asn1::{Content, TransactionContent, TransactionPhase};
use crate::receipt::{ABORTED_RECEIPT, Schema, SchemaForm};
use crate::terms::{ProcessData, ProcessType, Revision, SeTime, SignatureCounter};
use sha2::{Digest as _, Sha256};

/// Revision of a start.
const FIRST: Revision = Revision::new(1);

/// The transaction a till means, if it exists.
pub(super) fn find(slice: &Slice, reference: TransactionRef) -> Option<&Transaction> {
    let number = match reference {
        TransactionRef::Number(number) => number,
        TransactionRef::Id(id) => *slice.transaction_ids.get(&id)?,
    };
    slice.transactions.get(&number)
}

pub(super) fn start(
    slice: &Slice,
    tss: &Tss,
    context: &Context<'_>,
    input: &TransactionInput,
) -> Decision {
    let target = TransactionState::Active;
    if let Some(known) = find(slice, input.transaction) {
        return repeat(slice, tss, known, input, target)
            .unwrap_or_else(|| conflict(input, Some(known)));
    }
    let TransactionRef::Id(id) = input.transaction else {
        return Err(Rejection::TransactionNotFound);
    };
    if input.revision != FIRST {
        return conflict(input, None);
    }
    require_initialized(tss)?;
    // Order of checks: rule T-6.
    let max = context.settings.transactions_open_max;
    if tss.transactions_open >= max {
        return Err(Rejection::TransactionLimitReached { max });
    }
    require_registered(slice, input.client)?;
    let number = tss
        .transaction_counter
        .next()
        .ok_or(Rejection::TransactionCounterExhausted)?;
    let transaction = Transaction {
        number,
        id,
        state: target,
        latest_revision: FIRST,
        client: input.client,
        time_start: context.now,
        time_end: None,
        metadata: Metadata::default().merged(&input.metadata)?,
    };
    let schema = input.schema.clone();
    let signed = schema.as_ref().map(Signed::as_given).unwrap_or_default();
    sign(
        slice,
        input,
        transaction,
        TransactionPhase::Start,
        schema,
        signed,
    )
}

pub(super) fn update(slice: &Slice, tss: &Tss, input: &TransactionInput) -> Decision {
    let state = TransactionState::Active;
    let (known, schema) = match next_step(slice, tss, input, state)? {
        Next::Repeat(decision) => return Ok(decision),
        Next::New(known, schema) => (known, schema),
    };
    let transaction = advanced(known, input, state)?;
    let signed = schema.as_ref().map(Signed::as_given).unwrap_or_default();
    sign(
        slice,
        input,
        transaction,
        TransactionPhase::Update,
        schema,
        signed,
    )
}

pub(super) fn finish(
    slice: &Slice,
    tss: &Tss,
    input: &TransactionInput,
    outcome: TransactionOutcome,
) -> Decision {
    let state = match outcome {
        TransactionOutcome::Finished => TransactionState::Finished,
        TransactionOutcome::Cancelled => TransactionState::Cancelled,
    };
    let (known, schema) = match next_step(slice, tss, input, state)? {
        Next::Repeat(decision) => return Ok(decision),
        Next::New(known, schema) => (known, schema),
    };
    let given = schema.as_ref().ok_or(Rejection::NoTypeDefined)?;
    let signed = match outcome {
        // What a taximeter measured until the end nobody knew earlier.
        TransactionOutcome::Finished
            if given.form == SchemaForm::TaximeterStart
                || (given.form.is_taximeter() && input.schema.is_none()) =>
        {
            return Err(Rejection::TaximeterDataMissing);
        }
        TransactionOutcome::Finished => Signed::as_given(given),
        TransactionOutcome::Cancelled => Signed::as_cancelled(given),
    };
    let transaction = advanced(known, input, state)?;
    sign(
        slice,
        input,
        transaction,
        TransactionPhase::Finish,
        schema,
        signed,
    )
}

/// What a request for a later step turns out to be.
enum Next<'a> {
    /// The same request again: its first answer.
    Repeat((Vec<Step>, Result<Answer, super::plan::SeError>)),
    /// A new step on this transaction, with the schema in force.
    New(&'a Transaction, Option<Schema>),
}

/// Checks that are common to update and finish; the repeat comes first, so that it is answered
/// whatever has happened to client and TSS since.
fn next_step<'a>(
    slice: &'a Slice,
    tss: &Tss,
    input: &TransactionInput,
    target: TransactionState,
) -> Result<Next<'a>, Rejection> {
    let known = match (find(slice, input.transaction), input.transaction) {
        (Some(known), _) => known,
        (None, TransactionRef::Number(_)) => return Err(Rejection::TransactionNotFound),
        (None, TransactionRef::Id(_)) => {
            require_initialized(tss)?;
            return Err(revision_conflict(input, None));
        }
    };
    if let Some(decision) = repeat(slice, tss, known, input, target) {
        return decision.map(Next::Repeat);
    }
    require_initialized(tss)?;
    let open = known.state == TransactionState::Active;
    if !open || known.latest_revision.next() != Some(input.revision) {
        return Err(revision_conflict(input, Some(known)));
    }
    require_registered(slice, input.client)?;
    let latest = slice.steps.get(&(known.number, known.latest_revision));
    let earlier = latest.and_then(|step| step.schema.as_ref());
    let given = input.schema.as_ref();
    let of_taximeter = |schema: Option<&Schema>| schema.is_some_and(|it| it.form.is_taximeter());
    if target == TransactionState::Active && (of_taximeter(earlier) || of_taximeter(given)) {
        return Err(Rejection::TaximeterUpdate);
    }
    Ok(Next::New(known, in_force(earlier, given)?))
}

/// The schema that counts: the one given now, else the one given earlier. A transaction keeps its
/// process type once it has one.
fn in_force(earlier: Option<&Schema>, given: Option<&Schema>) -> Result<Option<Schema>, Rejection> {
    match (earlier, given) {
        (Some(earlier), Some(given))
            if !earlier.process_type.as_str().is_empty()
                && earlier.process_type != given.process_type =>
        {
            Err(Rejection::IllegalTypeChange)
        }
        (_, Some(given)) => Ok(Some(given.clone())),
        (earlier, None) => Ok(earlier.cloned()),
    }
}

/// `Some` when the named revision exists already: its answer if the request is the one that made it,
/// a conflict if it is another.
fn repeat(
    slice: &Slice,
    tss: &Tss,
    known: &Transaction,
    input: &TransactionInput,
    target: TransactionState,
) -> Option<Decision> {
    let step = slice.steps.get(&(known.number, input.revision))?;
    if step.request_digest != request_digest(known, input, target) {
        return Some(conflict(input, Some(known)));
    }
    let answer = Answer::Transaction(known.number, input.revision);
    let steps = repeated_metadata(tss, known, step, input);
    Some(steps.map(|steps| (steps, Ok(answer))))
}

/// What a repeat changes: its metadata is merged (HTTP dialect §10), unless that was done when the step
/// was signed. Once other steps have followed, it takes no key from them.
fn repeated_metadata(
    tss: &Tss,
    known: &Transaction,
    step: &TransactionStep,
    input: &TransactionInput,
) -> Result<Vec<Step>, Rejection> {
    let patch = &input.metadata;
    if step.metadata_digest == Some(patch_digest(patch)) {
        return Ok(Vec::new());
    }
    let is_latest = input.revision == known.latest_revision && step.metadata_digest.is_some();
    let merged = match is_latest {
        true => known.metadata.merged(patch)?,
        false => known.metadata.merged(&known.metadata.missing_of(patch))?,
    };
    if merged == known.metadata {
        return Ok(Vec::new());
    }
    refuse_defective(tss)?;
    let change = Change::TransactionMetadata(known.number, merged);
    Ok(vec![Step::unsigned(vec![change])])
}

/// Digest of what makes two requests the same: TSS and transaction (by where it is stored), revision,
/// target state, client, and the parsed schema as given.
fn request_digest(
    transaction: &Transaction,
    input: &TransactionInput,
    target: TransactionState,
) -> [u8; 32] {
    let mut hash = Sha256::new();
    // Every part carries its length, so that no two different requests can look alike.
    let mut part = |bytes: &[u8]| {
        hash.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(bytes);
    };
    part(transaction.id.uuid().as_bytes());
    part(&input.revision.value().to_be_bytes());
    part(target.as_str().as_bytes());
    part(input.client.uuid().as_bytes());
    if let Some(schema) = &input.schema {
        part(schema.form.as_str().as_bytes());
        part(schema.process_type.as_str().as_bytes());
        part(schema.process_data.as_bytes());
        part(schema.echo.as_bytes());
    }
    hash.finalize().into()
}

/// The transaction as it will be after its next step.
fn advanced(
    known: &Transaction,
    input: &TransactionInput,
    state: TransactionState,
) -> Result<Transaction, Rejection> {
    Ok(Transaction {
        state,
        latest_revision: input.revision,
        client: input.client,
        metadata: known.metadata.merged(&input.metadata)?,
        ..known.clone()
    })
}

/// processType and processData as they will be signed.
#[derive(Default)]
struct Signed {
    process_type: ProcessType,
    process_data: ProcessData,
}

impl Signed {
    fn as_given(schema: &Schema) -> Self {
        Self {
            process_type: schema.process_type.clone(),
            process_data: schema.process_data.clone(),
        }
    }

    /// An aborted receipt says so and nothing else, whatever amounts were echoed; an aborted order is
    /// an empty one, and so is whatever else did not come about; raw data is the till's own
    /// responsibility.
    fn as_cancelled(schema: &Schema) -> Self {
        let process_data = match schema.form {
            SchemaForm::Receipt => ProcessData::new(ABORTED_RECEIPT.as_bytes().to_vec()),
            SchemaForm::Order
            | SchemaForm::Other
            | SchemaForm::TaximeterStart
            | SchemaForm::Taximeter => ProcessData::default(),
            SchemaForm::Raw => schema.process_data.clone(),
        };
        Self {
            process_type: schema.process_type.clone(),
            process_data,
        }
    }
}

fn sign(
    slice: &Slice,
    input: &TransactionInput,
    transaction: Transaction,
    phase: TransactionPhase,
    schema: Option<Schema>,
    signed: Signed,
) -> Decision {
    let client = require_registered(slice, input.client)?;
    let content = TransactionContent {
        phase,
        client: client.serial.clone(),
        process_data: signed.process_data.clone(),
        process_type: signed.process_type.clone(),
        number: transaction.number,
    };
    let step = TransactionStep {
        number: transaction.number,
        revision: input.revision,
        state: transaction.state,
        phase,
        client: input.client,
        client_serial: client.serial.clone(),
        schema,
        process_type: signed.process_type,
        process_data: signed.process_data,
        request_digest: request_digest(&transaction, input, transaction.state),
        metadata_digest: Some(patch_digest(&input.metadata)),
        // Both become known when the step is recorded.
        signature_counter: SignatureCounter::default(),
        log_time: SeTime::UNSET,
        signature: Vec::new(),
    };
    let answer = Answer::Transaction(transaction.number, input.revision);
    let changes = vec![
        Change::Transaction(Box::new(transaction)),
        Change::TransactionStep(Box::new(step)),
    ];
    Ok((
        vec![Step {
            message: Some(Content::Transaction(content)),
            changes,
        }],
        Ok(answer),
    ))
}

fn conflict(input: &TransactionInput, known: Option<&Transaction>) -> Decision {
    Err(revision_conflict(input, known))
}

fn revision_conflict(input: &TransactionInput, known: Option<&Transaction>) -> Rejection {
    Rejection::RevisionConflict {
        revision: input.revision,
        state: known.map(|transaction| transaction.state),
        latest: known.map_or(Revision::default(), |transaction| {
            transaction.latest_revision
        }),
    }
}
