//! Log messages of both versions (TR-03151 v1.0.1 §2, TR-03151-1 §2.1).

use super::der::{integer, oid, tlv};
use super::pki::{Digest, point};
use openssl::ec::EcKey;
use openssl::ecdsa::EcdsaSig;
use openssl::pkey::Private;
use openssl::sha::sha256;

/// A key that signs log messages.
pub struct Signer {
    pub key: EcKey<Private>,
    pub digest: Digest,
    pub serial: [u8; 32],
}

impl Signer {
    pub fn new(key: EcKey<Private>, digest: Digest) -> Self {
        let serial = sha256(&point(&key));
        Self {
            key,
            digest,
            serial,
        }
    }

    fn sign(&self, bytes: &[u8]) -> EcdsaSig {
        EcdsaSig::sign(&self.digest.of(bytes), &self.key).unwrap()
    }

    /// `r || s`.
    pub fn plain(&self, bytes: &[u8]) -> Vec<u8> {
        let field_len = i32::try_from(self.key.group().degree().div_ceil(8)).unwrap();
        let signature = self.sign(bytes);
        let r = signature.r().to_vec_padded(field_len).unwrap();
        let s = signature.s().to_vec_padded(field_len).unwrap();
        [r, s].concat()
    }

    /// `SEQUENCE { r, s }`.
    pub fn der(&self, bytes: &[u8]) -> Vec<u8> {
        self.sign(bytes).to_der().unwrap()
    }
}

/// The time of a message in one of its forms.
#[derive(Clone, Debug)]
pub enum Time {
    Unix(i64),
    Utc(String),
    Generalized(String),
}

impl Time {
    fn element(&self) -> Vec<u8> {
        match self {
            Self::Unix(seconds) => tlv(0x02, &integer((*seconds).into())),
            Self::Utc(text) => tlv(0x17, text.as_bytes()),
            Self::Generalized(text) => tlv(0x18, text.as_bytes()),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Unix(seconds) => format!("Unixt_{seconds}"),
            Self::Utc(text) => format!("Utc_{text}"),
            Self::Generalized(text) => format!("Gent_{text}"),
        }
    }
}

/// What distinguishes the kinds of messages.
#[derive(Clone, Debug)]
pub enum Body {
    Transaction {
        /// `Start`, `Update`, `Finish`.
        phase: &'static str,
        number: u64,
        client: String,
    },
    System {
        event: String,
        data: Vec<u8>,
    },
    Audit,
}

/// A message before it is signed. What is `None` is as the guideline wants it.
#[derive(Clone, Debug)]
pub struct Message {
    pub version: u8,
    pub counter: u64,
    pub time: Time,
    pub body: Body,
    /// The element of processData, whole.
    pub process_data: Option<Vec<u8>>,
    /// Elements behind processType: additional data.
    pub external: Vec<u8>,
    pub operation: Option<&'static str>,
    pub algorithm: Option<&'static str>,
    /// Whatever stands behind the algorithm's identifier.
    pub parameters: Vec<u8>,
    pub signature_is_der: bool,
    pub name: Option<String>,
}

impl Message {
    fn new(counter: u64, time: i64, body: Body) -> Self {
        Self {
            version: 2,
            counter,
            time: Time::Unix(time),
            body,
            process_data: None,
            external: Vec::new(),
            operation: None,
            algorithm: None,
            parameters: Vec::new(),
            signature_is_der: false,
            name: None,
        }
    }

    fn transaction(phase: &'static str, counter: u64, time: i64, number: u64) -> Self {
        let client = "KASSE 1".to_owned();
        let body = Body::Transaction {
            phase,
            number,
            client,
        };
        Self::new(counter, time, body)
    }

    pub fn start(counter: u64, time: i64, number: u64) -> Self {
        Self::transaction("Start", counter, time, number)
    }

    pub fn update(counter: u64, time: i64, number: u64) -> Self {
        Self::transaction("Update", counter, time, number)
    }

    pub fn finish(counter: u64, time: i64, number: u64) -> Self {
        Self::transaction("Finish", counter, time, number)
    }

    /// A system message with the fields of its event (v2) or its eventData (v3).
    pub fn system(counter: u64, time: i64, event: &str, data: Vec<u8>) -> Self {
        let event = event.to_owned();
        Self::new(counter, time, Body::System { event, data })
    }

    pub fn start_audit(counter: u64, time: i64) -> Self {
        Self::system(counter, time, "startAudit", Vec::new())
    }

    /// The clock is set from one time to another.
    pub fn update_time(counter: u64, from: i64, to: i64) -> Self {
        let times = [(0x81, from), (0x82, to)];
        let data = times.map(|(tag, time)| tlv(tag, &integer(time.into())));
        Self::system(counter, to, "updateTime", data.concat())
    }

    /// The client of all transactions is registered.
    pub fn register(counter: u64, time: i64) -> Self {
        Self::system(counter, time, "registerClient", tlv(0x81, b"KASSE 1"))
    }

    /// The device is disabled.
    pub fn disable(counter: u64, time: i64) -> Self {
        let data = tlv(0x81, &tlv(0x02, &integer(time.into())));
        Self::system(counter, time, "disableSecureElement", data)
    }

    pub fn audit(counter: u64, time: i64) -> Self {
        Self::new(counter, time, Body::Audit)
    }

    #[must_use]
    pub fn v3(mut self) -> Self {
        self.version = 3;
        self
    }

    #[must_use]
    pub fn at(mut self, time: Time) -> Self {
        self.time = time;
        self
    }

    /// What is signed.
    pub fn signed(&self, signer: &Signer) -> Vec<u8> {
        let kind = match &self.body {
            Body::Transaction { .. } => 1,
            Body::System { .. } => 2,
            Body::Audit => 3,
        };
        let mut bytes = tlv(0x02, &[self.version]);
        bytes.extend(tlv(0x06, &oid(&format!("0.4.0.127.0.7.3.7.1.{kind}"))));
        bytes.extend(self.certified());
        bytes.extend(tlv(0x04, &signer.serial));
        let identifier = self.algorithm.unwrap_or(signer.digest.oid());
        let algorithm = [tlv(0x06, &oid(identifier)), self.parameters.clone()].concat();
        bytes.extend(tlv(0x30, &algorithm));
        if matches!(self.body, Body::Audit) {
            bytes.extend(tlv(0x04, &[0x30, 0x03, 0x02, 0x01, 0x01]));
        }
        bytes.extend(tlv(0x02, &integer(self.counter.into())));
        bytes.extend(self.time.element());
        bytes
    }

    fn certified(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match &self.body {
            Body::Transaction {
                phase,
                number,
                client,
            } => {
                let case = |letter: char| match self.version {
                    2 => letter,
                    _ => letter.to_ascii_lowercase(),
                };
                let first = phase.chars().next().map(case).unwrap();
                let operation = format!("{first}{}Transaction", &phase[1..]);
                let operation = self.operation.map_or(operation, str::to_owned);
                bytes.extend(tlv(0x80, operation.as_bytes()));
                bytes.extend(tlv(0x81, client.as_bytes()));
                let (data, kind): (&[u8], &[u8]) = match *phase {
                    "Start" => (b"", b""),
                    _ => (
                        b"Beleg^1.19_0.00_0.00_0.00_0.00^1.19:Bar",
                        b"Kassenbeleg-V1",
                    ),
                };
                bytes.extend(self.process_data.clone().unwrap_or_else(|| tlv(0x82, data)));
                bytes.extend(tlv(0x83, kind));
                bytes.extend(&self.external);
                bytes.extend(tlv(0x85, &integer((*number).into())));
            }
            Body::System { event, data } => {
                bytes.extend(tlv(0x80, event.as_bytes()));
                if self.version == 2 {
                    bytes.extend(tlv(0x81, data));
                } else {
                    bytes.extend(tlv(0x81, b"SMA"));
                    bytes.extend(tlv(0xA3, data));
                }
                bytes.extend(&self.external);
            }
            Body::Audit => {}
        }
        bytes
    }

    /// The bytes of the file.
    pub fn bytes(&self, signer: &Signer) -> Vec<u8> {
        let signed = self.signed(signer);
        let signature = if self.signature_is_der {
            signer.der(&signed)
        } else {
            signer.plain(&signed)
        };
        sealed(&signed, &signature)
    }

    /// Name and bytes of the file.
    pub fn file(&self, signer: &Signer) -> (String, Vec<u8>) {
        let kind = match &self.body {
            Body::Transaction {
                phase,
                number,
                client,
            } => format!("Tra_No-{number}_{phase}_Client-{client}"),
            Body::System { event, .. } => format!("Sys_{event}"),
            Body::Audit => "Aud".to_owned(),
        };
        let time = self.time.name();
        let name = format!("{time}_Sig-{}_Log-{kind}.log", self.counter);
        (self.name.clone().unwrap_or(name), self.bytes(signer))
    }
}

/// A message with its signature.
pub fn sealed(signed: &[u8], signature: &[u8]) -> Vec<u8> {
    tlv(0x30, &[signed.to_vec(), tlv(0x04, signature)].concat())
}
