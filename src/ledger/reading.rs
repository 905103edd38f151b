//! TSSs, clients, transactions and single messages, for those who only look.

use super::connection::{Database, unavailable};
use super::records::{ClientRecord, DeviceRecord, StepRecord, TransactionRecord, TssRecord};
use super::store::Store;
use super::tables::{client, device, log_message, transaction_step, tss, tss_transaction};
use super::values::{parse, signed};
use super::{
    ClientFilter, ClientRow, LedgerError, ListOrder, MessageRow, Page, TransactionFilter,
    TransactionRow, TssFilter, TssRow,
};
use crate::sma::{Client, TransactionRef};
use crate::terms::{
    ClientId, Environment, OrganizationId, Revision, SignatureCounter, TransactionNumber, TssId,
};
use diesel::prelude::*;

type Result<T> = std::result::Result<T, LedgerError>;

/// Whose rows: nothing of anybody else is ever found.
pub type Owner = (OrganizationId, Environment);

/// Result of looking for a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionLookup {
    /// Here it is.
    Found(Box<TransactionRow>),
    /// No such transaction.
    NoTransaction,
    /// The transaction exists, this revision does not.
    NoRevision,
}

/// Sorts by a column, then by what makes the order of a list complete.
macro_rules! sorted {
    ($query:expr, $order:expr, $column:expr, $then:expr) => {
        match $order {
            ListOrder::Ascending => $query.order(($column.asc(), $then)),
            ListOrder::Descending => $query.order(($column.desc(), $then)),
        }
    };
}
pub(super) use sorted;

/// The same for a column that may hold nothing, where the databases differ: what has not happened yet
/// comes after everything that has.
macro_rules! sorted_by_event {
    ($query:expr, $order:expr, $column:expr, $then:expr) => {
        match $order {
            ListOrder::Ascending => $query.order(($column.is_null().asc(), $column.asc(), $then)),
            ListOrder::Descending => {
                $query.order(($column.is_null().desc(), $column.desc(), $then))
            }
        }
    };
}
pub(super) use sorted_by_event;

/// Errors of all of these: [`LedgerError::Unavailable`] when the database does not answer.
impl Store {
    /// One TSS.
    pub fn tss(&self, id: TssId) -> Result<Option<TssRow>> {
        let row: Option<(TssRecord, DeviceRecord)> = tss::table
            .inner_join(device::table.on(device::serial_number.eq(tss::device_serial)))
            .filter(tss::id.eq(id.to_string()))
            .select((TssRecord::as_select(), DeviceRecord::as_select()))
            .first(&mut self.connection()?)
            .optional()
            .map_err(unavailable("read a TSS"))?;
        row.map(tss_row).transpose()
    }

    /// TSSs of an owner. Sorts by `description`, `state`, `time_init`, `time_disable` or, otherwise, by
    /// `time_creation`.
    pub fn tss_list(&self, owner: Owner, filter: &TssFilter, page: &Page) -> Result<Vec<TssRow>> {
        let mut query = tss::table
            .inner_join(device::table.on(device::serial_number.eq(tss::device_serial)))
            .filter(tss::organization_id.eq(owner.0.to_string()))
            .filter(tss::environment.eq(owner.1.as_str()))
            .select((TssRecord::as_select(), DeviceRecord::as_select()))
            .limit(page.limit.into())
            .offset(signed(page.offset))
            .into_boxed::<Database>();
        if !filter.states.is_empty() {
            let states = filter.states.iter().map(|state| state.as_str());
            query = query.filter(tss::state.eq_any(states));
        }
        let query = match page.order_by {
            "description" => sorted!(query, page.order, tss::description, tss::id),
            "state" => sorted!(query, page.order, tss::state, tss::id),
            "time_init" => sorted_by_event!(query, page.order, tss::time_init, tss::id),
            "time_disable" => sorted_by_event!(query, page.order, tss::time_disable, tss::id),
            _ => sorted!(query, page.order, tss::time_creation, tss::id),
        };
        let rows = query.load(&mut self.connection()?);
        let rows: Vec<(TssRecord, DeviceRecord)> = rows.map_err(unavailable("list TSSs"))?;
        rows.into_iter().map(tss_row).collect()
    }

    /// One client of a TSS.
    pub fn client(&self, tss: TssId, id: ClientId) -> Result<Option<Client>> {
        let row: Option<ClientRecord> = client::table
            .find(id.to_string())
            .filter(client::tss_id.eq(tss.to_string()))
            .select(ClientRecord::as_select())
            .first(&mut self.connection()?)
            .optional()
            .map_err(unavailable("read a client"))?;
        row.as_ref().map(ClientRecord::to_client).transpose()
    }

    /// Clients of an owner. Sorts by `serial_number` or, otherwise, by `time_creation`.
    pub fn clients(
        &self,
        owner: Owner,
        filter: &ClientFilter,
        page: &Page,
    ) -> Result<Vec<ClientRow>> {
        let mut query = client::table
            .inner_join(tss::table.on(tss::id.eq(client::tss_id)))
            .filter(tss::organization_id.eq(owner.0.to_string()))
            .filter(tss::environment.eq(owner.1.as_str()))
            .select(ClientRecord::as_select())
            .limit(page.limit.into())
            .offset(signed(page.offset))
            .into_boxed::<Database>();
        if let Some(of_tss) = filter.tss {
            query = query.filter(client::tss_id.eq(of_tss.to_string()));
        }
        if let Some(state) = filter.state {
            query = query.filter(client::state.eq(state.as_str()));
        }
        if let Some(serial) = &filter.serial {
            query = query.filter(client::serial.eq(serial.as_str()));
        }
        let query = match page.order_by {
            "serial_number" => sorted!(query, page.order, client::serial, client::id),
            _ => sorted!(query, page.order, client::time_creation, client::id),
        };
        let rows = query.load(&mut self.connection()?);
        let rows: Vec<ClientRecord> = rows.map_err(unavailable("list clients"))?;
        let into_row = |record: &ClientRecord| {
            Ok((parse("client.tss_id", &record.tss_id)?, record.to_client()?))
        };
        rows.iter().map(into_row).collect()
    }

    /// The transaction with its step of this revision (`None`: the latest).
    pub fn transaction(
        &self,
        tss: TssId,
        which: TransactionRef,
        revision: Option<Revision>,
    ) -> Result<TransactionLookup> {
        const ACTION: &str = "read a transaction";
        let mut connection = self.connection()?;
        let mut query = tss_transaction::table
            .inner_join(tss::table.on(tss::id.eq(tss_transaction::tss_id)))
            .inner_join(device::table.on(device::serial_number.eq(tss::device_serial)))
            .filter(tss_transaction::tss_id.eq(tss.to_string()))
            .select((TransactionRecord::as_select(), DeviceRecord::as_select()))
            .into_boxed::<Database>();
        query = match which {
            TransactionRef::Id(id) => query.filter(tss_transaction::id.eq(id.to_string())),
            TransactionRef::Number(number) => {
                query.filter(tss_transaction::number.eq(signed(number.value())))
            }
        };
        let found = query.first(&mut connection).optional();
        let found: Option<(TransactionRecord, DeviceRecord)> =
            found.map_err(unavailable(ACTION))?;
        let Some((record, device)) = found else {
            return Ok(TransactionLookup::NoTransaction);
        };
        let revision = revision.map_or(record.latest_revision, |revision| signed(revision.value()));
        let step: Option<StepRecord> = transaction_step::table
            .find((&record.tss_id, record.number, revision))
            .select(StepRecord::as_select())
            .first(&mut connection)
            .optional()
            .map_err(unavailable(ACTION))?;
        match step {
            Some(step) => Ok(TransactionLookup::Found(Box::new(
                record.to_row(&step, &device)?,
            ))),
            None => Ok(TransactionLookup::NoRevision),
        }
    }

    /// Transactions of an owner with their latest step. Sorts by `state`, `time_start`, `time_end` or,
    /// otherwise, by `number`.
    pub fn transactions(
        &self,
        owner: Owner,
        filter: &TransactionFilter,
        page: &Page,
    ) -> Result<Vec<TransactionRow>> {
        let latest = transaction_step::tss_id
            .eq(tss_transaction::tss_id)
            .and(transaction_step::transaction_number.eq(tss_transaction::number))
            .and(transaction_step::revision.eq(tss_transaction::latest_revision));
        let mut query = tss_transaction::table
            .inner_join(transaction_step::table.on(latest))
            .inner_join(tss::table.on(tss::id.eq(tss_transaction::tss_id)))
            .inner_join(device::table.on(device::serial_number.eq(tss::device_serial)))
            .filter(tss::organization_id.eq(owner.0.to_string()))
            .filter(tss::environment.eq(owner.1.as_str()))
            .select((
                TransactionRecord::as_select(),
                StepRecord::as_select(),
                DeviceRecord::as_select(),
            ))
            .limit(page.limit.into())
            .offset(signed(page.offset))
            .into_boxed::<Database>();
        if let Some(of_tss) = filter.tss {
            query = query.filter(tss_transaction::tss_id.eq(of_tss.to_string()));
        }
        if let Some(of_client) = filter.client {
            query = query.filter(tss_transaction::client_id.eq(of_client.to_string()));
        }
        if !filter.states.is_empty() {
            let states = filter.states.iter().map(|state| state.as_str());
            query = query.filter(tss_transaction::state.eq_any(states));
        }
        let then = (tss_transaction::tss_id, tss_transaction::number);
        let query = match page.order_by {
            "state" => sorted!(query, page.order, tss_transaction::state, then),
            "time_start" => sorted!(query, page.order, tss_transaction::time_start, then),
            "time_end" => sorted_by_event!(query, page.order, tss_transaction::time_end, then),
            _ => sorted!(query, page.order, tss_transaction::number, then),
        };
        let rows = query.load(&mut self.connection()?);
        let rows: Vec<(TransactionRecord, StepRecord, DeviceRecord)> =
            rows.map_err(unavailable("list transactions"))?;
        rows.iter()
            .map(|(record, step, device)| record.to_row(step, device))
            .collect()
    }

    /// The message with this signature counter.
    pub fn message(&self, tss: TssId, counter: SignatureCounter) -> Result<Option<MessageRow>> {
        let found: Option<(String, Vec<u8>)> = log_message::table
            .find((tss.to_string(), signed(counter.value())))
            .select((log_message::file_name, log_message::der))
            .first(&mut self.connection()?)
            .optional()
            .map_err(unavailable("read a log message"))?;
        Ok(found.map(|(file_name, der)| MessageRow {
            signature_counter: counter,
            file_name,
            der,
        }))
    }
}

fn tss_row((record, device): (TssRecord, DeviceRecord)) -> Result<TssRow> {
    Ok(TssRow {
        tss: record.to_tss(&device)?,
        certificate: device.certificate,
    })
}

/// A transaction number as the column holds it.
pub(super) fn number(number: TransactionNumber) -> i64 {
    signed(number.value())
}
