//! CREATED → UNINITIALIZED → INITIALIZED → DISABLED, and DEFECTIVE.

use super::command::NewTss;
use super::decide::{Context, Decision, refuse_defective, require_admin};
use super::metadata::{Metadata, MetadataPatch};
use super::plan::{Answer, Rejection};
use super::state::{AdminUser, Device, Slice, Tss, TssState};
use super::step::{Change, Step};
use crate::asn1::{LoggingParameter, Origin, SystemEvent};
use crate::terms::{LogFormat, Role, SeTime, SessionId, TransactionNumber, TssId};

/// Assigns a prepared device. The same call again answers the same as long as the TSS is CREATED.
pub(super) fn assign(slice: &Slice, context: &Context<'_>, new: &NewTss) -> Decision {
    if let Some(tss) = &slice.tss {
        if !tss.belongs_to(&context.caller) || tss.state != TssState::Created {
            return Err(Rejection::TssConflict);
        }
        return Ok((metadata_step(tss, &new.metadata)?, Ok(Answer::Tss)));
    }
    let device = slice.free_device.as_ref().ok_or(Rejection::NoFreeDevice)?;
    let id = slice.tss_id.ok_or(Rejection::TssNotFound)?;
    let tss = new_tss(id, context, new, device)?;
    Ok((first_steps(tss, context.now), Ok(Answer::Tss)))
}

fn new_tss(
    id: TssId,
    context: &Context<'_>,
    new: &NewTss,
    device: &Device,
) -> Result<Tss, Rejection> {
    let environment = context.caller.environment;
    let prefix = context.settings.description_prefix(environment);
    Ok(Tss {
        id,
        organization: context.caller.organization,
        environment,
        format: new.format,
        device: device.clone(),
        state: TssState::Created,
        description: format!("{prefix} ({id})"),
        transaction_counter: TransactionNumber::default(),
        last_se_time: SeTime::UNSET,
        clients_registered: 0,
        transactions_open: 0,
        admin: AdminUser {
            salt: new.salt,
            pin: None,
            pin_retries: 0,
            puk: new.puk,
            puk_failures: 0,
            puk_blocked_until: SeTime::UNSET,
            sealed_puk: Some(new.sealed_puk.clone()),
            session: None,
        },
        metadata: Metadata::default().merged(&new.metadata)?,
        time_creation: context.now,
        time_uninit: None,
        time_init: None,
        time_disable: None,
        time_defective: None,
    })
}

/// What a device says first: its clock was set, its audit was configured and started (rule D-1).
fn first_steps(tss: Tss, now: SeTime) -> Vec<Step> {
    let parameters = logged_events(tss.format);
    vec![
        // The clock of the CSP was already running, so the correction is none (as devices in the
        // field write it).
        Step::signed(
            SystemEvent::UpdateTime {
                before: now,
                after: now,
            },
            Origin::Csp,
            None,
            vec![Change::CreateTss(Box::new(tss))],
        ),
        Step::signed(
            SystemEvent::ConfigureLogging {
                successful: true,
                parameters,
            },
            Origin::Sma,
            None,
            Vec::new(),
        ),
        Step::signed(SystemEvent::StartAudit, Origin::Sma, None, Vec::new()),
    ]
}

/// Every event this TSS logs, by its name in the format; all are switched on for good (rule D-1).
fn logged_events(format: LogFormat) -> Vec<LoggingParameter> {
    let names: &[&str] = match format {
        LogFormat::V2 => &[
            "initialize",
            "updateTime",
            "disableSecureElement",
            "authenticateUser",
            "logOut",
            "unblockUser",
            "registerClient",
            "deregisterClient",
            "startAudit",
            "configureLogging",
            "enterSecureState",
            "exitSecureState",
            "selfTest",
            "lockTransactionLogging",
            "unlockTransactionLogging",
        ],
        LogFormat::V3 => &[
            "initialize",
            "setDescription",
            "updateTime",
            "disableSecureElement",
            "authenticateUser",
            "logOut",
            "unblockPin",
            "registerClient",
            "deregisterClient",
            "startAudit",
            "configureLogging",
            "enterSecureState",
            "exitSecureState",
            "selfTest",
            "lockTransactionLogging",
            "unlockTransactionLogging",
        ],
    };
    let on = |name: &&str| LoggingParameter {
        event_name: (*name).to_owned(),
        enabled: true,
    };
    names.iter().map(on).collect()
}

/// CREATED → UNINITIALIZED. From now on only the hash of the PUK is known.
pub(super) fn take_over(tss: &Tss, metadata: &MetadataPatch) -> Decision {
    match tss.state {
        TssState::Created => {
            let mut changes = vec![Change::State(TssState::Uninitialized), Change::ForgetPuk];
            changes.push(Change::TssMetadata(tss.metadata.merged(metadata)?));
            Ok((vec![Step::unsigned(changes)], Ok(Answer::Tss)))
        }
        TssState::Uninitialized => unchanged(tss, metadata),
        TssState::Initialized | TssState::Disabled => illegal(tss, TssState::Uninitialized),
        TssState::Defective => Err(Rejection::TssDefective),
    }
}

/// UNINITIALIZED → INITIALIZED (rule Y-1).
pub(super) fn initialize(
    tss: &Tss,
    context: &Context<'_>,
    description: Option<&str>,
    metadata: &MetadataPatch,
) -> Decision {
    match tss.state {
        TssState::Uninitialized => {
            require_admin(tss, context)?;
            let description = description.unwrap_or(&tss.description).to_owned();
            let changes = vec![
                Change::Description(description.clone()),
                Change::State(TssState::Initialized),
                Change::TssMetadata(tss.metadata.merged(metadata)?),
            ];
            Ok((
                vec![by_admin(SystemEvent::Initialize { description }, changes)],
                Ok(Answer::Tss),
            ))
        }
        TssState::Initialized => unchanged(tss, metadata),
        TssState::Created | TssState::Disabled => illegal(tss, TssState::Initialized),
        TssState::Defective => Err(Rejection::TssDefective),
    }
}

/// → DISABLED, for good. The log-out that would follow could not be signed any more, so the login
/// simply ends.
pub(super) fn disable_secure_element(
    tss: &Tss,
    context: &Context<'_>,
    metadata: &MetadataPatch,
) -> Decision {
    match tss.state {
        TssState::Uninitialized | TssState::Initialized => {
            require_admin(tss, context)?;
            let mut changes = disabled();
            changes.push(Change::TssMetadata(tss.metadata.merged(metadata)?));
            Ok((vec![by_admin(disabling(context), changes)], Ok(Answer::Tss)))
        }
        TssState::Disabled => unchanged(tss, metadata),
        TssState::Created => illegal(tss, TssState::Disabled),
        TssState::Defective => Err(Rejection::TssDefective),
    }
}

/// The same by the operator, who is both origin and user of the message (rule U-7).
pub(super) fn disable_centrally(tss: &Tss, context: &Context<'_>) -> Decision {
    match tss.state {
        TssState::Uninitialized | TssState::Initialized => {
            let step = Step::signed(
                disabling(context),
                Origin::CentralOperator,
                Some(Role::CentralOperator),
                disabled(),
            );
            Ok((vec![step], Ok(Answer::Tss)))
        }
        TssState::Disabled => Ok((Vec::new(), Ok(Answer::Tss))),
        TssState::Created => illegal(tss, TssState::Disabled),
        TssState::Defective => Err(Rejection::TssDefective),
    }
}

const fn disabling(context: &Context<'_>) -> SystemEvent {
    SystemEvent::DisableSecureElement {
        time_of_deactivation: context.now,
    }
}

fn disabled() -> Vec<Change> {
    vec![
        Change::State(TssState::Disabled),
        Change::Session(None::<SessionId>),
    ]
}

/// → DEFECTIVE, from anywhere. What broke cannot be trusted to sign a farewell.
pub(super) fn declare_defective(tss: &Tss) -> Decision {
    refuse_defective(tss)?;
    let changes = vec![
        Change::State(TssState::Defective),
        Change::ForgetPuk,
        Change::Session(None::<SessionId>),
    ];
    Ok((vec![Step::unsigned(changes)], Ok(Answer::Tss)))
}

/// Testifies that the TSS was stopped by a loss, and that a person has let it go on (rules F-3, S-9).
/// Entering is logged late, so it says when it was.
pub(super) fn leave_secure_state(tss: &Tss, since: SeTime) -> Decision {
    match tss.state {
        TssState::Created | TssState::Uninitialized | TssState::Initialized => {
            let entered = SystemEvent::EnterSecureState {
                time_of_event: Some(since),
            };
            let own = |event| Step::signed(event, Origin::Sma, None, Vec::new());
            let steps = vec![own(entered), own(SystemEvent::ExitSecureState)];
            Ok((steps, Ok(Answer::Tss)))
        }
        TssState::Disabled => Err(Rejection::TssDisabled),
        TssState::Defective => Err(Rejection::TssDefective),
    }
}

/// A step that the admin called for at the interface.
pub(super) fn by_admin(event: SystemEvent, changes: Vec<Change>) -> Step {
    Step::signed(
        event,
        Origin::IntegrationInterface,
        Some(Role::Admin),
        changes,
    )
}

/// The state asked for is the state it has: success, metadata merged, nothing signed.
fn unchanged(tss: &Tss, metadata: &MetadataPatch) -> Decision {
    Ok((metadata_step(tss, metadata)?, Ok(Answer::Tss)))
}

fn metadata_step(tss: &Tss, metadata: &MetadataPatch) -> Result<Vec<Step>, Rejection> {
    if metadata.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![Step::unsigned(vec![Change::TssMetadata(
        tss.metadata.merged(metadata)?,
    )])])
}

const fn illegal(tss: &Tss, to: TssState) -> Decision {
    Err(Rejection::IllegalStateChange {
        from: tss.state,
        to,
    })
}
