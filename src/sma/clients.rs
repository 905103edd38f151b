//! Tills: registered, deregistered, registered again (TR-03151-1 §§3.7.3–3.7.4, rule K-2).

use super::decide::{Context, Decision, require_admin, require_taken_over};
use super::lifecycle::by_admin;
use super::metadata::{Metadata, MetadataPatch};
use super::plan::{Answer, Rejection};
use super::state::{Client, ClientState, Slice, Tss};
use super::step::{Change, Step};
use crate::asn1::SystemEvent;
use crate::terms::{ClientId, ClientSerial};

/// Registers a new client; the same call again answers the same and signs nothing.
pub(super) fn register(
    slice: &Slice,
    tss: &Tss,
    context: &Context<'_>,
    id: ClientId,
    serial: &ClientSerial,
    metadata: &MetadataPatch,
) -> Decision {
    require_taken_over(tss)?;
    require_admin(tss, context)?;
    if let Some(known) = slice.clients.get(&id) {
        if known.serial != *serial {
            return Err(Rejection::ClientConflict);
        }
        return unchanged(known, metadata);
    }
    if slice.clients_elsewhere.contains(&id) || slice.serials.contains_key(serial) {
        return Err(Rejection::ClientConflict);
    }
    require_room(tss, context)?;
    let client = Client {
        id,
        serial: serial.clone(),
        state: ClientState::Registered,
        time_creation: context.now,
        time_update: context.now,
        metadata: Metadata::default().merged(metadata)?,
    };
    let event = SystemEvent::RegisterClient {
        client: serial.clone(),
    };
    Ok((
        vec![by_admin(event, vec![Change::Client(Box::new(client))])],
        Ok(Answer::Client(id)),
    ))
}

/// DEREGISTERED → REGISTERED.
pub(super) fn reregister(
    slice: &Slice,
    tss: &Tss,
    context: &Context<'_>,
    id: ClientId,
    metadata: &MetadataPatch,
) -> Decision {
    require_taken_over(tss)?;
    require_admin(tss, context)?;
    let known = slice.clients.get(&id).ok_or(Rejection::ClientNotFound)?;
    match known.state {
        ClientState::Registered => unchanged(known, metadata),
        ClientState::Deregistered => {
            require_room(tss, context)?;
            let event = SystemEvent::RegisterClient {
                client: known.serial.clone(),
            };
            changed(known, ClientState::Registered, event, metadata)
        }
    }
}

/// REGISTERED → DEREGISTERED; open transactions are no obstacle (rule K-3).
pub(super) fn deregister(
    slice: &Slice,
    tss: &Tss,
    context: &Context<'_>,
    id: ClientId,
    metadata: &MetadataPatch,
) -> Decision {
    require_taken_over(tss)?;
    require_admin(tss, context)?;
    let known = slice.clients.get(&id).ok_or(Rejection::ClientNotFound)?;
    match known.state {
        ClientState::Deregistered => unchanged(known, metadata),
        ClientState::Registered => {
            let event = SystemEvent::DeregisterClient {
                client: known.serial.clone(),
            };
            changed(known, ClientState::Deregistered, event, metadata)
        }
    }
}

/// The client with this id, if it may sign.
pub(super) fn require_registered(slice: &Slice, id: ClientId) -> Result<&Client, Rejection> {
    let client = slice.clients.get(&id).ok_or(Rejection::ClientNotFound)?;
    match client.state {
        ClientState::Registered => Ok(client),
        ClientState::Deregistered => Err(Rejection::ClientNotRegistered),
    }
}

const fn require_room(tss: &Tss, context: &Context<'_>) -> Result<(), Rejection> {
    let max = context.settings.clients_registered_max;
    if tss.clients_registered >= max {
        Err(Rejection::ClientLimitReached { max })
    } else {
        Ok(())
    }
}

fn changed(
    known: &Client,
    state: ClientState,
    event: SystemEvent,
    metadata: &MetadataPatch,
) -> Decision {
    let client = Client {
        state,
        metadata: known.metadata.merged(metadata)?,
        ..known.clone()
    };
    let answer = Answer::Client(client.id);
    Ok((
        vec![by_admin(event, vec![Change::Client(Box::new(client))])],
        Ok(answer),
    ))
}

fn unchanged(known: &Client, metadata: &MetadataPatch) -> Decision {
    let mut steps = Vec::new();
    if !metadata.is_empty() {
        let merged = known.metadata.merged(metadata)?;
        steps.push(Step::unsigned(vec![Change::ClientMetadata(
            known.id, merged,
        )]));
    }
    Ok((steps, Ok(Answer::Client(known.id))))
}
