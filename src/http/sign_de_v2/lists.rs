//! Lists: which rows, in which order, and the envelope around them (HTTP dialect §3).

use super::VERSION;
use super::query::{Malformed, Query};
use crate::http::door::Desk;
use crate::http::problem::Problem;
use crate::ledger::{
    ClientFilter, ExportFilter, ExportState, LedgerError, ListOrder, Owner, Page, Store,
    TransactionFilter, TssFilter,
};
use crate::sma::{Caller, ClientState, TransactionState, TssState};
use crate::terms::{ClientId, ClientSerial, Environment, TssId};
use serde_json::{Value, json};

/// Most items of a page, and the number when none is given.
const LIMIT_MAX: u32 = 100;
/// Greatest offset: the greatest integer every JSON reader knows.
const OFFSET_MAX: u64 = (1 << 53) - 1;

/// What a list request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRequest<Filter> {
    /// `None` when nothing can match, such as only states that we never have. An empty list then,
    /// whereas an empty filter means everything.
    pub filter: Option<Filter>,
    /// Which part of it, in which order.
    pub page: Page,
}

/// `GET /tss`
///
/// # Errors
/// [`Malformed`] names the parameter that does not fit; so in all functions here.
pub fn tss_list(query: &Query) -> Result<ListRequest<TssFilter>, Malformed> {
    const COLUMNS: &[&str] = &[
        "time_creation",
        "description",
        "state",
        "time_init",
        "time_disable",
    ];
    // Two states of the dialect that no TSS of ours gets into: we never delete what was signed.
    let never = ["DELETED", "EVICTED"];
    let states = states(query, &TssState::ALL, TssState::as_str, &never)?;
    Ok(ListRequest {
        filter: states.map(|states| TssFilter { states }),
        page: page(query, COLUMNS)?,
    })
}

/// `GET /client` and `GET /tss/{tss_id}/client`
pub fn client_list(
    query: &Query,
    tss: Option<TssId>,
) -> Result<ListRequest<ClientFilter>, Malformed> {
    const COLUMNS: &[&str] = &["time_creation", "serial_number"];
    let state = match query.one("state")? {
        None => None,
        Some("REGISTERED") => Some(ClientState::Registered),
        Some("DEREGISTERED") => Some(ClientState::Deregistered),
        Some(_) => return Err(not_allowed("state")),
    };
    let serial = query.one("serial_number")?.map(ClientSerial::try_from);
    let page = page(query, COLUMNS)?;
    // What is no serial number, no client has.
    let filter = serial
        .transpose()
        .ok()
        .map(|serial| ClientFilter { tss, state, serial });
    Ok(ListRequest { filter, page })
}

/// `GET /tx`, `GET /tss/{tss_id}/tx` and `GET /tss/{tss_id}/client/{client_id}/tx`
pub fn transaction_list(
    query: &Query,
    tss: Option<TssId>,
    client: Option<ClientId>,
) -> Result<ListRequest<TransactionFilter>, Malformed> {
    const COLUMNS: &[&str] = &["number", "state", "time_start", "time_end"];
    let all = [
        TransactionState::Active,
        TransactionState::Finished,
        TransactionState::Cancelled,
    ];
    let states = states(query, &all, TransactionState::as_str, &[])?;
    Ok(ListRequest {
        filter: states.map(|states| TransactionFilter {
            tss,
            client,
            states,
        }),
        page: page(query, COLUMNS)?,
    })
}

/// `GET /export` and `GET /tss/{tss_id}/export`
pub fn export_list(
    query: &Query,
    tss: Option<TssId>,
) -> Result<ListRequest<ExportFilter>, Malformed> {
    const COLUMNS: &[&str] = &[
        "time_request",
        "state",
        "time_start",
        "time_end",
        "time_expiration",
        "time_error",
    ];
    // Two states that clients know and that we do not have.
    let never = ["EXPIRED", "DELETED"];
    let states = states(query, &ExportState::ALL, ExportState::as_str, &never)?;
    Ok(ListRequest {
        filter: states.map(|states| ExportFilter { tss, states }),
        page: page(query, COLUMNS)?,
    })
}

/// How the ledger reads rows of an owner.
type Read<Filter, Row> = fn(&Store, Owner, &Filter, &Page) -> Result<Vec<Row>, LedgerError>;

/// What a list request finds of what the caller owns.
pub(super) async fn rows<Filter: Send + 'static, Row: Send + 'static>(
    desk: &Desk,
    caller: &Caller,
    wanted: ListRequest<Filter>,
    read: Read<Filter, Row>,
) -> Result<Vec<Row>, Problem> {
    let owner = (caller.organization, caller.environment);
    let ListRequest { filter, page } = wanted;
    match filter {
        None => Ok(Vec::new()),
        Some(filter) => {
            desk.ask(move |store| read(store, owner, &filter, &page))
                .await
        }
    }
}

/// The envelope of a list; `kind` such as `TSS_LIST`. `count` is the number of items of this page,
/// with which clients that read on until a page is short and clients that read only `data` both work.
pub fn list(kind: &str, data: Vec<Value>, environment: Environment) -> Value {
    let count = data.len();
    json!({
        "data": data,
        "count": count,
        "_type": kind,
        "_env": environment.as_str(),
        "_version": VERSION,
    })
}

/// Page of a list that can be sorted by these columns; the first one is the default. Tills may send
/// `show_deleted`, too; it changes nothing, because nothing is ever deleted.
pub(in crate::http) fn page(
    query: &Query,
    columns: &'static [&'static str],
) -> Result<Page, Malformed> {
    let limit = query.integer("limit", 1, LIMIT_MAX.into())?;
    let offset = query.integer("offset", 0, OFFSET_MAX)?;
    let order = match query.one("order")? {
        None => ListOrder::Ascending,
        Some(order) if order.eq_ignore_ascii_case("asc") => ListOrder::Ascending,
        Some(order) if order.eq_ignore_ascii_case("desc") => ListOrder::Descending,
        Some(_) => return Err(not_allowed("order")),
    };
    let order_by = match query.one("order_by")? {
        None => columns.first(),
        Some(name) => columns.iter().find(|column| **column == name),
    };
    Ok(Page {
        limit: limit.map_or(LIMIT_MAX, |limit| u32::try_from(limit).unwrap_or(LIMIT_MAX)),
        offset: offset.unwrap_or(0),
        order_by: order_by.copied().ok_or_else(|| not_allowed("order_by"))?,
        order,
    })
}

/// The states asked for, none twice; empty for any, `None` when only states that `never` occur were
/// asked for.
fn states<State: Copy + PartialEq>(
    query: &Query,
    all: &[State],
    name_of: fn(State) -> &'static str,
    never: &[&str],
) -> Result<Option<Vec<State>>, Malformed> {
    let asked = query.many("states");
    let mut states = Vec::new();
    for name in &asked {
        match all.iter().find(|state| name_of(**state) == *name) {
            Some(state) if states.contains(state) => {}
            Some(state) => states.push(*state),
            None if never.contains(name) => {}
            None => return Err(not_allowed("states")),
        }
    }
    let nothing_matches = states.is_empty() && !asked.is_empty();
    Ok((!nothing_matches).then_some(states))
}

fn not_allowed(name: &str) -> Malformed {
    Malformed::field(
        "querystring",
        name,
        "should be equal to one of the allowed values",
    )
}

#[cfg(test)]
mod tests;
