//! What a batch needs, in a bounded number of queries whatever the size of the batch.

use super::connection::{Database, EitherConnection, unavailable};
use super::records::DeviceRecord;
use super::tables::device;
use super::token_pairs::{self, PairRecord};
use super::values::parse;
use super::{LedgerError, LoadedTss, WithheldDevices, points, postgres};
use crate::sma::{Needs, Slice, TransactionRef};
use crate::terms::{ClientId, Environment, Revision, TransactionNumber, TssId};
use diesel::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

type Result<T> = std::result::Result<T, LedgerError>;
type AllNeeds = BTreeMap<TssId, Needs>;
type AllLoaded = BTreeMap<TssId, LoadedTss>;

const ACTION: &str = "load the state of a TSS";

/// Which free devices a lane may give to new TSSs.
pub(super) struct DeviceChoice {
    /// Label of the token they must be in; `None`: any.
    pub token: Option<String>,
    pub withheld: WithheldDevices,
}

/// Loads everything that `needs` names, beside what is known of these TSSs. Runs inside the transaction that
/// holds the locks.
pub(super) fn load(
    connection: &mut EitherConnection,
    needs: &AllNeeds,
    known: AllLoaded,
    choice: &DeviceChoice,
) -> Result<AllLoaded> {
    let mut loaded = tss_with_keys(connection, needs, known)?;
    give_devices(connection, needs, choice, &mut loaded)?;
    load_clients(connection, needs, &mut loaded)?;
    load_serials(connection, needs, &mut loaded)?;
    let transactions = load_transactions(connection, needs, &mut loaded)?;
    load_steps(connection, needs, &transactions, &mut loaded)?;
    Ok(loaded)
}

fn tss_with_keys(
    connection: &mut EitherConnection,
    needs: &AllNeeds,
    known: AllLoaded,
) -> Result<AllLoaded> {
    let empty = |id: &TssId| {
        let slice = Slice {
            tss_id: Some(*id),
            ..Slice::default()
        };
        let loaded = LoadedTss {
            slice,
            key: None,
            token: None,
            is_held: false,
            active: None,
        };
        (*id, loaded)
    };
    let unknown = || needs.keys().filter(|id| !known.contains_key(id));
    let ids: Vec<_> = unknown().map(ToString::to_string).collect();
    let mut loaded: AllLoaded = unknown().map(empty).collect();
    loaded.extend(known);
    if ids.is_empty() {
        return Ok(loaded);
    }
    let rows = points::tss(connection, ids).map_err(unavailable(ACTION))?;
    for (record, device, hold_reason, pair) in rows {
        let tss = record.to_tss(&device)?;
        if let Some(place) = loaded.get_mut(&tss.id) {
            place.is_held = hold_reason.is_some();
            place.key = Some(device.to_key()?);
            place.token = Some(device.token);
            place.active = pair.map(PairRecord::into_active).transpose()?;
            place.slice.tss = Some(tss);
        }
    }
    Ok(loaded)
}

/// A free device for each TSS that does not exist and is to be assigned.
fn give_devices(
    connection: &mut EitherConnection,
    needs: &AllNeeds,
    choice: &DeviceChoice,
    loaded: &mut AllLoaded,
) -> Result<()> {
    for environment in [Environment::Test, Environment::Live] {
        let new: Vec<TssId> = needs
            .iter()
            .filter(|(_, needs)| needs.free_device == Some(environment))
            .map(|(id, _)| *id)
            .filter(|id| {
                loaded
                    .get(id)
                    .is_some_and(|found| found.slice.tss.is_none())
            })
            .collect();
        if new.is_empty() {
            continue;
        }
        let free = free_devices(connection, environment, choice, new.len())?;
        let labels = free.iter().map(|device| device.token.clone()).collect();
        let pairs = token_pairs::of(connection, labels)?;
        for (id, record) in new.iter().zip(free) {
            if let Some(place) = loaded.get_mut(id) {
                place.key = Some(record.to_key()?);
                place.slice.free_device = Some(record.to_device()?);
                place.active = pairs.get(&record.token).cloned();
                place.token = Some(record.token);
            }
        }
    }
    Ok(())
}

fn free_devices(
    connection: &mut EitherConnection,
    environment: Environment,
    choice: &DeviceChoice,
    count: usize,
) -> Result<Vec<DeviceRecord>> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let environment = environment.as_str();
    let oldest_first = (device::time_creation, device::serial_number);
    let withheld = || -> Vec<String> {
        let all = choice.withheld.all();
        all.iter().map(ToString::to_string).collect()
    };
    let token = choice.token.as_deref();
    if let EitherConnection::Postgres(postgres) = connection {
        let serials = postgres::reserve_devices(postgres, environment, token, &withheld(), count)
            .map_err(unavailable(ACTION))?;
        // Now that the rows are reserved, nobody can begin to withhold them. Another lane may have just
        // before it let go of one, which is rare enough for the caller to be told to come again.
        let withheld = withheld();
        let serials = serials.into_iter().filter(|one| !withheld.contains(one));
        return device::table
            .filter(device::serial_number.eq_any(serials))
            .order(oldest_first)
            .select(DeviceRecord::as_select())
            .load(connection)
            .map_err(unavailable(ACTION));
    }
    let mut free = device::table
        .filter(device::tss_id.is_null())
        .filter(device::unusable_reason.is_null())
        .filter(device::environment.eq(environment))
        .filter(device::serial_number.ne_all(withheld()))
        .order(oldest_first)
        .limit(count)
        .select(DeviceRecord::as_select())
        .into_boxed::<Database>();
    if let Some(token) = token {
        free = free.filter(device::token.eq(token));
    }
    free.load(connection).map_err(unavailable(ACTION))
}

/// The named clients, and which of the new ids are taken: by another TSS, or by another TSS of this
/// batch that asks for the same id.
fn load_clients(
    connection: &mut EitherConnection,
    needs: &AllNeeds,
    loaded: &mut AllLoaded,
) -> Result<()> {
    let ids: BTreeSet<ClientId> = needs
        .values()
        .flat_map(|needs| needs.clients.iter().chain(&needs.client_ids_new))
        .copied()
        .collect();
    if ids.is_empty() {
        return Ok(());
    }
    let ids = ids.iter().map(ToString::to_string).collect();
    let rows = points::clients(connection, ids).map_err(unavailable(ACTION))?;
    let mut owners = BTreeMap::new();
    for record in rows {
        let found = record.to_client()?;
        let owner: TssId = parse("client.tss_id", &record.tss_id)?;
        owners.insert(found.id, owner);
        let named = needs
            .get(&owner)
            .is_some_and(|needs| needs.clients.contains(&found.id));
        if let Some(place) = loaded.get_mut(&owner).filter(|_| named) {
            place.slice.clients.insert(found.id, found);
        }
    }
    for (tss, needs) in needs {
        for id in &needs.client_ids_new {
            let owner = *owners.entry(*id).or_insert(*tss);
            if let Some(place) = loaded.get_mut(tss).filter(|_| owner != *tss) {
                place.slice.clients_elsewhere.insert(*id);
            }
        }
    }
    Ok(())
}

fn load_serials(
    connection: &mut EitherConnection,
    needs: &AllNeeds,
    loaded: &mut AllLoaded,
) -> Result<()> {
    let wanted: Vec<_> = needs
        .iter()
        .flat_map(|(tss, needs)| needs.serials.iter().map(move |serial| (*tss, serial)))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let records = points::serials(connection, &wanted).map_err(unavailable(ACTION))?;
    for record in records {
        let tss: TssId = parse("client.tss_id", &record.tss_id)?;
        let found = record.to_client()?;
        if let Some(place) = loaded.get_mut(&tss) {
            place.slice.serials.insert(found.serial, found.id);
        }
    }
    Ok(())
}

/// The named transactions; returns how each was named.
fn load_transactions(
    connection: &mut EitherConnection,
    needs: &AllNeeds,
    loaded: &mut AllLoaded,
) -> Result<BTreeMap<(TssId, TransactionRef), TransactionNumber>> {
    let wanted: BTreeSet<_> = needs
        .iter()
        .flat_map(|(tss, needs)| {
            let revisions = needs.revisions.iter().map(|(named, _)| named);
            let named = needs.transactions.iter().chain(revisions);
            named.map(move |named| (*tss, *named))
        })
        .collect();
    let wanted: Vec<_> = wanted.into_iter().collect();
    let records = points::transactions(connection, &wanted).map_err(unavailable(ACTION))?;
    let mut named = BTreeMap::new();
    for record in records {
        let tss: TssId = parse("tss_transaction.tss_id", &record.tss_id)?;
        let found = record.to_transaction()?;
        named.insert((tss, TransactionRef::Id(found.id)), found.number);
        named.insert((tss, TransactionRef::Number(found.number)), found.number);
        if let Some(place) = loaded.get_mut(&tss) {
            place.slice.transaction_ids.insert(found.id, found.number);
            place.slice.transactions.insert(found.number, found);
        }
    }
    Ok(named)
}

/// Of each named transaction the latest step, and the steps that are named.
fn load_steps(
    connection: &mut EitherConnection,
    needs: &AllNeeds,
    named: &BTreeMap<(TssId, TransactionRef), TransactionNumber>,
    loaded: &mut AllLoaded,
) -> Result<()> {
    let mut wanted: BTreeSet<(TssId, TransactionNumber, Revision)> = loaded
        .iter()
        .flat_map(|(tss, found)| {
            let (transactions, steps) = (&found.slice.transactions, &found.slice.steps);
            let latest = transactions
                .values()
                .map(|found| (found.number, found.latest_revision));
            let missing = latest.filter(|latest| !steps.contains_key(latest));
            missing.map(move |(number, revision)| (*tss, number, revision))
        })
        .collect();
    for (tss, needs) in needs {
        for (transaction, revision) in &needs.revisions {
            if let Some(number) = named.get(&(*tss, *transaction)) {
                wanted.insert((*tss, *number, *revision));
            }
        }
    }
    let wanted: Vec<_> = wanted.into_iter().collect();
    let records = points::steps(connection, &wanted).map_err(unavailable(ACTION))?;
    for record in records {
        let tss: TssId = parse("transaction_step.tss_id", &record.tss_id)?;
        let step = record.to_step()?;
        let key = (step.number, step.revision);
        if let Some(place) = loaded.get_mut(&tss) {
            place.slice.steps.insert(key, step);
        }
    }
    Ok(())
}
