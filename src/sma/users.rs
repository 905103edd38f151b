//! The admin: PIN, PUK, log-in and log-out (TR-03151-1 §§3.2.3–3.2.5).

use super::decide::{Context, Decision, refuse_defective, require_taken_over};
use super::lifecycle::by_admin;
use super::plan::{Answer, Rejection, SeError};
use super::settings::puk_delay_s;
use super::state::{CredentialDigest, Tss};
use super::step::{Change, Step};
use crate::asn1::{AuthenticationResult, LogOutCause, Origin, SystemEvent, UnblockResult};
use crate::terms::{Role, SeTime, SessionId};

/// Sets a new PIN by PUK, which ends every login that an older one has made; there is no cause of a
/// `logOut` message for that, so the login simply ends. A wrong PUK signs exactly its message and makes
/// the next try wait longer.
pub(super) fn unblock_pin(
    tss: &Tss,
    context: &Context<'_>,
    puk: CredentialDigest,
    new_pin: CredentialDigest,
) -> Decision {
    require_taken_over(tss)?;
    let wait_s = tss.admin.puk_blocked_until.unix_seconds() - context.now.unix_seconds();
    if wait_s > 0 {
        return Err(Rejection::PukTemporarilyBlocked {
            retry_after_s: wait_s,
        });
    }
    if puk != tss.admin.puk {
        let count = tss.admin.puk_failures.saturating_add(1);
        let blocked_until = context.now.plus_seconds(puk_delay_s(count));
        let step = unblocked(
            tss,
            context,
            UnblockResult::IncorrectPuk,
            vec![Change::PukFailures {
                count,
                blocked_until,
            }],
        );
        return Ok((vec![step], Err(SeError::IncorrectPuk)));
    }
    let changes = vec![
        Change::Pin(new_pin),
        Change::PinRetries(context.settings.pin_retries_max),
        Change::PukFailures {
            count: 0,
            blocked_until: SeTime::UNSET,
        },
        Change::Session(None::<SessionId>),
    ];
    let step = unblocked(tss, context, UnblockResult::Success, changes);
    Ok((vec![step], Ok(Answer::Done)))
}

fn unblocked(
    tss: &Tss,
    context: &Context<'_>,
    result: UnblockResult,
    changes: Vec<Change>,
) -> Step {
    let event = SystemEvent::UnblockPin {
        user_id: Role::Admin.user_id().to_owned(),
        result,
    };
    Step::signed(
        event,
        Origin::IntegrationInterface,
        Some(acting_role(tss, context)),
        changes,
    )
}

/// Logs the admin in. The retry counter goes down in the same durable commit as the message that
/// testifies to the wrong PIN (rules P-1, P-2); a blocked PIN is not looked at and nothing is signed.
pub(super) fn authenticate_user(
    tss: &Tss,
    context: &Context<'_>,
    pin: CredentialDigest,
) -> Decision {
    require_taken_over(tss)?;
    let known = match tss.admin.pin {
        Some(known) if tss.admin.pin_retries > 0 => known,
        Some(_) | None => return Err(Rejection::PinBlocked),
    };
    if pin != known {
        let remaining = tss.admin.pin_retries.saturating_sub(1);
        let step = authenticated(
            tss,
            context,
            AuthenticationResult::IncorrectPin,
            remaining,
            vec![Change::PinRetries(remaining)],
        );
        return Ok((vec![step], Err(SeError::IncorrectPin { remaining })));
    }
    let retries = context.settings.pin_retries_max;
    let changes = vec![
        Change::PinRetries(retries),
        Change::Session(Some(context.caller.session)),
    ];
    let step = authenticated(
        tss,
        context,
        AuthenticationResult::Success,
        retries,
        changes,
    );
    Ok((vec![step], Ok(Answer::Done)))
}

fn authenticated(
    tss: &Tss,
    context: &Context<'_>,
    result: AuthenticationResult,
    remaining_retries: u32,
    changes: Vec<Change>,
) -> Step {
    let event = SystemEvent::AuthenticateUser {
        user_id: Role::Admin.user_id().to_owned(),
        role: Some(Role::Admin),
        result,
        remaining_retries,
    };
    Step::signed(
        event,
        Origin::IntegrationInterface,
        Some(acting_role(tss, context)),
        changes,
    )
}

/// Logs the admin out; harmless for everybody else, who signs nothing by it.
pub(super) fn log_out(tss: &Tss, context: &Context<'_>) -> Decision {
    refuse_defective(tss)?;
    if tss.admin.session != Some(context.caller.session) {
        return Ok((Vec::new(), Ok(Answer::Done)));
    }
    let event = SystemEvent::LogOut {
        user_id: Role::Admin.user_id().to_owned(),
        cause: LogOutCause::UserCalledLogOut,
    };
    let step = by_admin(event, vec![Change::Session(None::<SessionId>)]);
    Ok((vec![step], Ok(Answer::Done)))
}

/// Who the caller was when the call arrived (requirements §14, point 6).
fn acting_role(tss: &Tss, context: &Context<'_>) -> Role {
    if tss.admin.session == Some(context.caller.session) {
        Role::Admin
    } else {
        Role::Unauthenticated
    }
}
