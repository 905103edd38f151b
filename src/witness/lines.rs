//! The lines of a node file: eight digits of a hash, a space, one JSON object.

use crate::ledger::{Mark, ReleasedMessage, SignedKind, SignedMessage};
use crate::sma::TransactionState;
use crate::terms::{ClientSerial, Revision, SeTime, SignatureCounter, TransactionNumber, TssId};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// One line.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// First line: which ledger.
    Ledger(String),
    /// Which node this is, as the other nodes know it.
    Node(String),
    /// How far a TSS was.
    Mark {
        tss: String,
        device: String,
        signature_counter: u64,
        transaction: u64,
        sha256: String,
    },
    /// Numbers spent by the keys of a token.
    Total { token: String, spent: u64 },
    /// A released message.
    Message {
        tss: String,
        signature_counter: u64,
        log_time: i64,
        file_name: String,
        kind: Kind,
        der: String,
    },
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Transaction {
        number: u64,
        revision: u64,
        client: String,
        client_serial: String,
        id: Option<String>,
        request_sha256: Option<String>,
        state: Option<String>,
    },
    System {
        /// Ids and serial numbers.
        clients: Vec<(String, String)>,
    },
    Audit,
}

impl Line {
    pub fn mark(tss: TssId, mark: &Mark) -> Self {
        Self::Mark {
            tss: tss.to_string(),
            device: mark.device.to_string(),
            signature_counter: mark.signature_counter.value(),
            transaction: mark.transaction.value(),
            sha256: hex::encode(mark.digest),
        }
    }

    pub fn message(released: &ReleasedMessage) -> Self {
        let message = &released.message;
        let kind = match &message.kind {
            SignedKind::Transaction {
                number,
                revision,
                client,
                client_serial,
            } => Kind::Transaction {
                number: number.value(),
                revision: revision.value(),
                client: client.to_string(),
                client_serial: client_serial.as_str().to_owned(),
                id: released.transaction.map(|id| id.to_string()),
                request_sha256: released.request_digest.map(hex::encode),
                state: released.state.map(|state| state.as_str().to_owned()),
            },
            SignedKind::System => Kind::System {
                clients: released
                    .clients
                    .iter()
                    .map(|(id, serial)| (id.to_string(), serial.to_string()))
                    .collect(),
            },
            SignedKind::Audit => Kind::Audit,
        };
        Self::Message {
            tss: released.tss.to_string(),
            signature_counter: message.signature_counter.value(),
            log_time: message.log_time.unix_seconds(),
            file_name: message.file_name.clone(),
            kind,
            der: STANDARD.encode(&message.der),
        }
    }

    /// As it stands in the file, with its end.
    pub fn write(&self) -> String {
        // Maps with text keys only, so this cannot fail.
        let json = serde_json::to_string(self).unwrap_or_default();
        format!("{} {json}\n", check_digits(&json))
    }

    /// `None` for a line that was cut off or touched.
    pub fn read(text: &str) -> Option<Self> {
        let (digits, json) = text.split_once(' ')?;
        if digits != check_digits(json) {
            return None;
        }
        serde_json::from_str(json).ok()
    }
}

fn check_digits(json: &str) -> String {
    let mut digits = hex::encode(Sha256::digest(json));
    digits.truncate(8);
    digits
}

/// `None` where the parts make no sense.
pub(super) fn to_mark(
    device: &str,
    signature_counter: u64,
    transaction: u64,
    sha256: &str,
) -> Option<Mark> {
    let mut digest = [0; 32];
    hex::decode_to_slice(sha256, &mut digest).ok()?;
    Some(Mark {
        device: device.parse().ok()?,
        signature_counter: SignatureCounter::new(signature_counter),
        transaction: TransactionNumber::new(transaction),
        digest,
    })
}

/// `None` for another kind of line, or where the parts make no sense.
pub(super) fn to_message(line: &Line) -> Option<ReleasedMessage> {
    let Line::Message {
        tss,
        signature_counter,
        log_time,
        file_name,
        kind,
        der,
    } = line
    else {
        return None;
    };
    let mut released = ReleasedMessage {
        tss: tss.parse().ok()?,
        message: SignedMessage {
            signature_counter: SignatureCounter::new(*signature_counter),
            log_time: SeTime::try_from(*log_time).ok()?,
            file_name: file_name.clone(),
            kind: SignedKind::Audit,
            der: STANDARD.decode(der).ok()?,
        },
        transaction: None,
        request_digest: None,
        state: None,
        clients: Vec::new(),
    };
    take_kind(&mut released, kind)?;
    Some(released)
}

fn take_kind(released: &mut ReleasedMessage, kind: &Kind) -> Option<()> {
    match kind {
        Kind::Audit => {}
        Kind::System { clients } => {
            released.message.kind = SignedKind::System;
            let client = |(id, serial): &(String, String)| {
                let serial = ClientSerial::try_from(serial.as_str()).ok()?;
                Some((id.parse().ok()?, serial))
            };
            released.clients = clients.iter().map(client).collect::<Option<_>>()?;
        }
        Kind::Transaction {
            number,
            revision,
            client,
            client_serial,
            id,
            request_sha256,
            state,
        } => {
            released.message.kind = SignedKind::Transaction {
                number: TransactionNumber::new(*number),
                revision: Revision::new(*revision),
                client: client.parse().ok()?,
                client_serial: ClientSerial::try_from(client_serial.as_str()).ok()?,
            };
            released.transaction = id.as_ref().and_then(|id| id.parse().ok());
            released.request_digest = request_sha256.as_ref().and_then(|text| {
                let mut digest = [0; 32];
                hex::decode_to_slice(text, &mut digest).ok()?;
                Some(digest)
            });
            released.state = state
                .as_ref()
                .and_then(|state| STATES.into_iter().find(|known| known.as_str() == state));
        }
    }
    Some(())
}

const STATES: [TransactionState; 3] = [
    TransactionState::Active,
    TransactionState::Finished,
    TransactionState::Cancelled,
];
