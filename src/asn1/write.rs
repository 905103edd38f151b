//! The strict DER writer.

use super::event::{Origin, SystemEvent};
use super::event_table::{self, Field};
use super::file_name::{LogFileName, LogKindName, TransactionPhase};
use super::read::LogTime;
use crate::terms::{
    ClientSerial, Hash, LogFormat, ProcessData, ProcessType, Role, SeTime, SerialNumber,
    SignatureAlgorithm, SignatureCounter, TransactionNumber,
};
use const_oid::ObjectIdentifier;
use der::asn1::{OctetStringRef, PrintableStringRef};
use der::{Encode, EncodeValue, FixedTag, Header as DerHeader, Length, Tag, TagNumber, Tagged};

/// What a log message says, before it gets counter, time and signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A step of a transaction.
    Transaction(TransactionContent),
    /// A system event.
    System {
        /// What happened.
        event: SystemEvent,
        /// Where it came from (v3; not written in v2).
        origin: Origin,
        /// User at the interface, `None` when the TSS acted by itself (v3; not written in v2).
        triggered_by: Option<Role>,
    },
    /// An audit message of the CSP; the DER of our seAuditData.
    Audit {
        /// Complete DER element.
        se_audit_data: Vec<u8>,
    },
}

/// A step of a transaction (TR-03151 v1.0.1 §2.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionContent {
    /// Start, update or finish.
    pub phase: TransactionPhase,
    /// The till.
    pub client: ClientSerial,
    /// Signed as given; written with definite length.
    pub process_data: ProcessData,
    /// Signed as given; always present, possibly empty.
    pub process_type: ProcessType,
    /// Number of the transaction.
    pub number: TransactionNumber,
}

/// What every log message carries besides its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Version of the message.
    pub format: LogFormat,
    /// Names the key.
    pub serial_number: SerialNumber,
    /// How it will be signed.
    pub algorithm: SignatureAlgorithm,
    /// Number of this signature.
    pub signature_counter: SignatureCounter,
    /// `unixTime` form (design decision 9).
    pub time: SeTime,
}

/// Why a message cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// A text is outside ASN.1 PrintableString.
    #[error("{field} is not a PrintableString")]
    NotPrintable {
        /// Which field.
        field: &'static str,
    },
    /// The event has no form in this log format: the format does not know it, or asks for a field
    /// that is not there (the user of an event of v2 that nobody triggered, the component of a
    /// `selfTest` without results).
    #[error("the event has no form in log format {}", .0.as_str())]
    NotInFormat(LogFormat),
    /// The message is longer than DER lengths we write.
    #[error("the message is too long")]
    TooLong,
}

/// The bytes that are signed: all elements before signatureValue, with tags and lengths, without the
/// outer SEQUENCE header (TR-03151 v1.0.1 §2.4, rule L-5).
///
/// # Errors
/// [`WriteError::NotPrintable`] for a text outside PrintableString, [`WriteError::NotInFormat`] for
/// an event the format does not know, [`WriteError::TooLong`] from 4 GiB on.
pub fn to_be_signed(header: &Header, content: &Content) -> Result<Vec<u8>, WriteError> {
    let mut out = Vec::new();
    put_value(&mut out, &version(header.format))?;
    match content {
        Content::Transaction(transaction) => {
            put_value(&mut out, &OID_TRANSACTION_LOG)?;
            put_transaction(&mut out, header.format, transaction)?;
        }
        Content::System {
            event,
            origin,
            triggered_by,
        } => {
            put_value(&mut out, &OID_SYSTEM_LOG)?;
            put_system(&mut out, header.format, event, *origin, *triggered_by)?;
        }
        Content::Audit { .. } => put_value(&mut out, &OID_AUDIT_LOG)?,
    }
    put_octets(&mut out, Tag::OctetString, header.serial_number.as_bytes())?;
    let mut algorithm = Vec::new();
    put_value(&mut algorithm, &algorithm_oid(header.algorithm))?;
    put_octets(&mut out, Tag::Sequence, &algorithm)?;
    if let Content::Audit { se_audit_data } = content {
        put_octets(&mut out, Tag::OctetString, se_audit_data)?;
    }
    put_value(&mut out, &header.signature_counter.value())?;
    put_value(&mut out, &header.time.unix_seconds())?;
    Ok(out)
}

/// The log message itself: SEQUENCE { signed bytes, signatureValue }.
///
/// # Errors
/// [`WriteError::TooLong`] from 4 GiB on.
pub fn assemble(signed_bytes: &[u8], signature: &[u8]) -> Result<Vec<u8>, WriteError> {
    let mut signature_value = Vec::new();
    put_octets(&mut signature_value, Tag::OctetString, signature)?;
    let length = signed_bytes.len().saturating_add(signature_value.len());
    let length = Length::try_from(length).map_err(too_long)?;
    let mut out = Vec::new();
    DerHeader::new(Tag::Sequence, length)
        .encode(&mut out)
        .map_err(too_long)?;
    out.extend_from_slice(signed_bytes);
    out.append(&mut signature_value);
    Ok(out)
}

/// The file name of a message being written (TR-03151 v1.0.1 §5.1.2), without file counter.
///
/// # Errors
/// [`WriteError::NotInFormat`] for an event the format does not know.
pub fn file_name(header: &Header, content: &Content) -> Result<LogFileName, WriteError> {
    let kind = match content {
        Content::Transaction(transaction) => LogKindName::Transaction {
            number: transaction.number.value(),
            phase: transaction.phase,
            client_id: transaction.client.as_str().to_owned(),
        },
        Content::System { event, .. } => LogKindName::System {
            event_type: event
                .name(header.format)
                .ok_or(WriteError::NotInFormat(header.format))?
                .to_owned(),
        },
        Content::Audit { .. } => LogKindName::Audit,
    };
    Ok(LogFileName {
        time: LogTime::Unix(header.time.unix_seconds()),
        signature_counter: header.signature_counter.value(),
        kind,
        file_counter: None,
    })
}

const OID_TRANSACTION_LOG: ObjectIdentifier = ObjectIdentifier::new_unwrap("0.4.0.127.0.7.3.7.1.1");
const OID_SYSTEM_LOG: ObjectIdentifier = ObjectIdentifier::new_unwrap("0.4.0.127.0.7.3.7.1.2");
const OID_AUDIT_LOG: ObjectIdentifier = ObjectIdentifier::new_unwrap("0.4.0.127.0.7.3.7.1.3");

const fn version(format: LogFormat) -> u8 {
    match format {
        LogFormat::V2 => 2,
        LogFormat::V3 => 3,
    }
}

/// Parsed while compiling, so that writing cannot fail for it.
const fn algorithm_oid(algorithm: SignatureAlgorithm) -> ObjectIdentifier {
    const fn oid(hash: Hash) -> ObjectIdentifier {
        ObjectIdentifier::new_unwrap(SignatureAlgorithm::ecdsa_plain(hash).oid())
    }
    match algorithm.hash() {
        Hash::Sha256 => const { oid(Hash::Sha256) },
        Hash::Sha384 => const { oid(Hash::Sha384) },
        Hash::Sha512 => const { oid(Hash::Sha512) },
        Hash::Sha3_256 => const { oid(Hash::Sha3_256) },
        Hash::Sha3_384 => const { oid(Hash::Sha3_384) },
        Hash::Sha3_512 => const { oid(Hash::Sha3_512) },
    }
}

/// TR-03151 v1.0.1 §2.3.1, TR-03151-1 §3.7.2: no additional data is ever ours (rule L-9).
fn put_transaction(
    out: &mut Vec<u8>,
    format: LogFormat,
    transaction: &TransactionContent,
) -> Result<(), WriteError> {
    let TransactionContent {
        phase,
        client,
        process_data,
        process_type,
        number,
    } = transaction;
    let operation = phase.operation_type(format);
    put_text(out, context(0), "operationType", operation)?;
    put_text(out, context(1), "clientId", client.as_str())?;
    put_octets(out, context(2), process_data.as_bytes())?;
    put_text(out, context(3), "processType", process_type.as_str())?;
    put(out, context(5), &number.value())
}

fn put_system(
    out: &mut Vec<u8>,
    format: LogFormat,
    event: &SystemEvent,
    origin: Origin,
    triggered_by: Option<Role>,
) -> Result<(), WriteError> {
    let form = event_table::row(event, triggered_by)
        .form(format)
        .ok_or(WriteError::NotInFormat(format))?;
    let mut data = Vec::new();
    put_text(out, context(0), "operationType", form.name)?;
    match format {
        LogFormat::V2 => {
            put_fields_v2(&mut data, 1, &form.fields)?;
            put_octets(out, context(1), &data)
        }
        LogFormat::V3 => {
            put_text(out, context(1), "eventOrigin", origin.name(format))?;
            if let Some(role) = triggered_by {
                put_text(out, context(2), "eventTriggeredByUser", role.user_id())?;
            }
            put_fields_v3(&mut data, &form.fields)?;
            put_octets(out, TagNumber(3).context_specific(true), &data)
        }
    }
}

/// Each position has its own context tag, counted from `first_tag`.
fn put_fields_v2(
    out: &mut Vec<u8>,
    first_tag: u32,
    fields: &[Field<'_>],
) -> Result<(), WriteError> {
    for (number, field) in (first_tag..).zip(fields) {
        let tag = context(number);
        match field {
            Field::List(groups) => {
                let mut list = Vec::new();
                put_groups(&mut list, groups, |group, fields| {
                    put_fields_v2(group, 0, fields)
                })?;
                put_octets(out, tag, &list)?;
            }
            Field::Lacking => return Err(WriteError::NotInFormat(LogFormat::V2)),
            Field::Text(..)
            | Field::Boolean(_)
            | Field::Enumerated(_)
            | Field::Integer(_)
            | Field::Time(_)
            | Field::Absent => put_field(out, |_universal| tag, field)?,
        }
    }
    Ok(())
}

/// Each field keeps its universal tag.
fn put_fields_v3(out: &mut Vec<u8>, fields: &[Field<'_>]) -> Result<(), WriteError> {
    for field in fields {
        match field {
            Field::List(groups) => put_groups(out, groups, put_fields_v3)?,
            Field::Lacking => return Err(WriteError::NotInFormat(LogFormat::V3)),
            Field::Text(..)
            | Field::Boolean(_)
            | Field::Enumerated(_)
            | Field::Integer(_)
            | Field::Time(_)
            | Field::Absent => put_field(out, |universal| universal, field)?,
        }
    }
    Ok(())
}

/// SEQUENCE OF SEQUENCE.
fn put_groups<'f, 'a: 'f>(
    out: &mut Vec<u8>,
    groups: &'f [Vec<Field<'a>>],
    put_fields: impl Fn(&mut Vec<u8>, &'f [Field<'a>]) -> Result<(), WriteError>,
) -> Result<(), WriteError> {
    let mut list = Vec::new();
    for fields in groups {
        let mut group = Vec::new();
        put_fields(&mut group, fields)?;
        put_octets(&mut list, Tag::Sequence, &group)?;
    }
    put_octets(out, Tag::Sequence, &list)
}

/// A field without inner structure; `tagged` may replace its universal tag.
fn put_field(
    out: &mut Vec<u8>,
    tagged: impl Fn(Tag) -> Tag,
    field: &Field<'_>,
) -> Result<(), WriteError> {
    match field {
        Field::Text(name, text) => put_text(out, tagged(Tag::PrintableString), name, text),
        Field::Boolean(value) => put(out, tagged(Tag::Boolean), value),
        Field::Enumerated(value) => put(out, tagged(Tag::Enumerated), value),
        Field::Integer(value) => put(out, tagged(Tag::Integer), value),
        Field::Time(time) => put(out, tagged(Tag::Integer), &time.unix_seconds()),
        Field::Absent | Field::List(_) | Field::Lacking => Ok(()),
    }
}

/// Context tags are IMPLICIT: they replace the universal tag of a primitive type.
const fn context(number: u32) -> Tag {
    Tag::ContextSpecific {
        constructed: false,
        number: TagNumber(number),
    }
}

fn put_text(
    out: &mut Vec<u8>,
    tag: Tag,
    field: &'static str,
    text: &str,
) -> Result<(), WriteError> {
    let printable =
        PrintableStringRef::new(text).map_err(|_| WriteError::NotPrintable { field })?;
    put(out, tag, &printable)
}

fn put_octets(out: &mut Vec<u8>, tag: Tag, octets: &[u8]) -> Result<(), WriteError> {
    let octets = OctetStringRef::new(octets).map_err(too_long)?;
    put(out, tag, &octets)
}

/// A value under its own universal tag.
fn put_value(out: &mut Vec<u8>, value: &(impl EncodeValue + FixedTag)) -> Result<(), WriteError> {
    put(out, value.tag(), value)
}

/// A value under a tag of choice.
fn put(out: &mut Vec<u8>, tag: Tag, value: &impl EncodeValue) -> Result<(), WriteError> {
    let length = value.value_len().map_err(too_long)?;
    DerHeader::new(tag, length).encode(out).map_err(too_long)?;
    value.encode_value(out).map_err(too_long)
}

/// Writing into memory fails for no other reason.
fn too_long(_: der::Error) -> WriteError {
    WriteError::TooLong
}
