//! Transactions, their steps, and log messages.

use super::device::{DeviceRecord, algorithm};
use crate::asn1::TransactionPhase;
use crate::ledger::lane::{SignedKind, SignedMessage};
use crate::ledger::tables::{log_message, transaction_step, tss_transaction};
use crate::ledger::values::{
    damaged, fixed, metadata, metadata_text, named, optional_time, parse, serial, signed, time,
    unsigned,
};
use crate::ledger::{LedgerError, TransactionRow};
use crate::receipt::{Schema, SchemaForm};
use crate::sma::{Transaction, TransactionState, TransactionStep};
use crate::terms::{
    ClientSerial, ProcessData, ProcessType, Revision, SeTime, SignatureCounter, TransactionNumber,
    TssId,
};
use diesel::prelude::*;

const STATES: [TransactionState; 3] = [
    TransactionState::Active,
    TransactionState::Finished,
    TransactionState::Cancelled,
];

#[derive(Clone, Debug, Insertable, Queryable, QueryableByName, Selectable)]
#[diesel(table_name = tss_transaction, treat_none_as_default_value = false)]
pub(in crate::ledger) struct TransactionRecord {
    pub tss_id: String,
    pub number: i64,
    pub id: String,
    pub state: String,
    pub latest_revision: i64,
    pub client_id: String,
    pub time_start: i64,
    pub time_end: Option<i64>,
    pub metadata: String,
}

impl TransactionRecord {
    pub fn new(tss: TssId, transaction: &Transaction) -> Self {
        Self {
            tss_id: tss.to_string(),
            number: signed(transaction.number.value()),
            id: transaction.id.to_string(),
            state: transaction.state.as_str().to_owned(),
            latest_revision: signed(transaction.latest_revision.value()),
            client_id: transaction.client.to_string(),
            time_start: transaction.time_start.unix_seconds(),
            time_end: transaction.time_end.map(SeTime::unix_seconds),
            metadata: metadata_text(&transaction.metadata),
        }
    }

    pub fn to_transaction(&self) -> Result<Transaction, LedgerError> {
        Ok(Transaction {
            number: TransactionNumber::new(unsigned("tss_transaction.number", self.number)?),
            id: parse("tss_transaction.id", &self.id)?,
            state: named(
                "tss_transaction.state",
                &STATES,
                TransactionState::as_str,
                &self.state,
            )?,
            latest_revision: Revision::new(unsigned(
                "tss_transaction.latest_revision",
                self.latest_revision,
            )?),
            client: parse("tss_transaction.client_id", &self.client_id)?,
            time_start: time("tss_transaction.time_start", self.time_start)?,
            time_end: optional_time("tss_transaction.time_end", self.time_end)?,
            metadata: metadata("tss_transaction.metadata", &self.metadata)?,
        })
    }

    /// With one of its steps, and what the device adds to an answer.
    pub fn to_row(
        &self,
        step: &StepRecord,
        device: &DeviceRecord,
    ) -> Result<TransactionRow, LedgerError> {
        Ok(TransactionRow {
            tss: parse("tss_transaction.tss_id", &self.tss_id)?,
            transaction: self.to_transaction()?,
            step: step.to_step()?,
            serial_number: serial("device.serial_number", &device.serial_number)?,
            algorithm: algorithm(&device.algorithm)?,
            public_point: device.key_point.clone(),
        })
    }
}

#[derive(Clone, Debug, Insertable, Queryable, QueryableByName, Selectable)]
#[diesel(table_name = transaction_step, treat_none_as_default_value = false)]
pub(in crate::ledger) struct StepRecord {
    pub tss_id: String,
    pub transaction_number: i64,
    pub revision: i64,
    pub state: String,
    pub phase: String,
    pub client_id: String,
    pub client_serial: String,
    pub schema_form: Option<String>,
    pub schema_process_type: Option<String>,
    pub schema_process_data: Option<Vec<u8>>,
    pub schema_echo: Option<String>,
    pub process_type: String,
    pub process_data: Vec<u8>,
    pub request_digest: Vec<u8>,
    pub metadata_digest: Option<Vec<u8>>,
    pub signature_counter: i64,
    pub log_time: i64,
    pub signature: Vec<u8>,
}

impl StepRecord {
    pub fn new(tss: TssId, step: &TransactionStep) -> Self {
        let schema = step.schema.as_ref();
        // Nearly always what was signed is what the schema says, and need not be kept twice.
        let other_type = schema.filter(|schema| schema.process_type != step.process_type);
        let other_data = schema.filter(|schema| schema.process_data != step.process_data);
        Self {
            tss_id: tss.to_string(),
            transaction_number: signed(step.number.value()),
            revision: signed(step.revision.value()),
            state: step.state.as_str().to_owned(),
            phase: step.phase.name().to_owned(),
            client_id: step.client.to_string(),
            client_serial: step.client_serial.as_str().to_owned(),
            schema_form: schema.map(|schema| schema.form.as_str().to_owned()),
            schema_process_type: other_type.map(|schema| schema.process_type.as_str().to_owned()),
            schema_process_data: other_data.map(|schema| schema.process_data.as_bytes().to_vec()),
            schema_echo: schema.map(|schema| schema.echo.clone()),
            process_type: step.process_type.as_str().to_owned(),
            process_data: step.process_data.as_bytes().to_vec(),
            request_digest: step.request_digest.to_vec(),
            metadata_digest: step.metadata_digest.map(|digest| digest.to_vec()),
            signature_counter: signed(step.signature_counter.value()),
            log_time: step.log_time.unix_seconds(),
            signature: step.signature.clone(),
        }
    }

    pub fn to_step(&self) -> Result<TransactionStep, LedgerError> {
        let phase = named(
            "transaction_step.phase",
            &TransactionPhase::ALL,
            TransactionPhase::name,
            &self.phase,
        )?;
        let client_serial = ClientSerial::try_from(self.client_serial.as_str());
        Ok(TransactionStep {
            number: TransactionNumber::new(unsigned(
                "transaction_step.transaction_number",
                self.transaction_number,
            )?),
            revision: Revision::new(unsigned("transaction_step.revision", self.revision)?),
            state: named(
                "transaction_step.state",
                &STATES,
                TransactionState::as_str,
                &self.state,
            )?,
            phase,
            client: parse("transaction_step.client_id", &self.client_id)?,
            client_serial: client_serial.map_err(|_| damaged("transaction_step.client_serial"))?,
            schema: self.to_schema()?,
            process_type: process_type(&self.process_type)?,
            process_data: ProcessData::new(self.process_data.clone()),
            request_digest: fixed("transaction_step.request_digest", &self.request_digest)?,
            metadata_digest: self
                .metadata_digest
                .as_ref()
                .map(|digest| fixed("transaction_step.metadata_digest", digest))
                .transpose()?,
            signature_counter: SignatureCounter::new(unsigned(
                "transaction_step.signature_counter",
                self.signature_counter,
            )?),
            log_time: time("transaction_step.log_time", self.log_time)?,
            signature: self.signature.clone(),
        })
    }

    fn to_schema(&self) -> Result<Option<Schema>, LedgerError> {
        let Some(form) = &self.schema_form else {
            return Ok(None);
        };
        let other_type = self.schema_process_type.as_ref();
        let other_data = self.schema_process_data.as_ref();
        Ok(Some(Schema {
            form: named(
                "transaction_step.schema_form",
                &SchemaForm::ALL,
                SchemaForm::as_str,
                form,
            )?,
            process_type: process_type(other_type.unwrap_or(&self.process_type))?,
            process_data: ProcessData::new(other_data.unwrap_or(&self.process_data).clone()),
            echo: self.schema_echo.clone().unwrap_or_default(),
        }))
    }
}

fn process_type(text: &str) -> Result<ProcessType, LedgerError> {
    ProcessType::try_from(text).map_err(|_| damaged("transaction_step.process_type"))
}

#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = log_message, treat_none_as_default_value = false)]
pub(in crate::ledger) struct MessageRecord {
    pub tss_id: String,
    pub signature_counter: i64,
    pub kind: &'static str,
    pub log_time: i64,
    pub transaction_number: Option<i64>,
    pub revision: Option<i64>,
    pub client_id: Option<String>,
    pub client_serial: Option<String>,
    pub file_name: String,
    pub der: Vec<u8>,
}

/// Kind of a transaction message; filters ask for it.
pub(in crate::ledger) const TRANSACTION: &str = "tra";

impl MessageRecord {
    pub fn new(tss: TssId, message: &SignedMessage) -> Self {
        let mut record = Self {
            tss_id: tss.to_string(),
            signature_counter: signed(message.signature_counter.value()),
            kind: TRANSACTION,
            log_time: message.log_time.unix_seconds(),
            transaction_number: None,
            revision: None,
            client_id: None,
            client_serial: None,
            file_name: message.file_name.clone(),
            der: message.der.clone(),
        };
        match &message.kind {
            SignedKind::Transaction {
                number,
                revision,
                client,
                client_serial,
            } => {
                record.transaction_number = Some(signed(number.value()));
                record.revision = Some(signed(revision.value()));
                record.client_id = Some(client.to_string());
                record.client_serial = Some(client_serial.as_str().to_owned());
            }
            SignedKind::System => record.kind = "sys",
            SignedKind::Audit => record.kind = "aud",
        }
        record
    }
}
