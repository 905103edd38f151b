//! One till, and the requests it sends.

use super::Server;

/// A registered client of a TSS.
pub(super) struct Till {
    pub tss: String,
    pub client: String,
    /// Place of the TSS among those that were made.
    pub tss_at: usize,
    pub serial: String,
}

/// One call of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Start,
    Update,
    Finish,
}

impl Operation {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Update => "update",
            Self::Finish => "finish",
        }
    }
}

/// What a sale looks like: two VAT rates, one payment, as most receipts have it.
const RECEIPT: &str = r#","schema":{"standard_v1":{"receipt":{"receipt_type":"RECEIPT","amounts_per_vat_rate":[{"vat_rate":"NORMAL","amount":"2.42"},{"vat_rate":"REDUCED_1","amount":"19.00"}],"amounts_per_payment_type":[{"payment_type":"NON_CASH","amount":"21.42"}]}}}"#;

impl Till {
    /// Writes the request of one call over what `out` held.
    pub(super) fn write_request(
        &self,
        out: &mut Vec<u8>,
        server: &Server,
        transaction: &str,
        revision: u32,
        operation: Operation,
    ) {
        let (state, schema) = match operation {
            Operation::Start => ("ACTIVE", ""),
            Operation::Update => ("ACTIVE", RECEIPT),
            Operation::Finish => ("FINISHED", RECEIPT),
        };
        let client = &self.client;
        let body = format!(r#"{{"state":"{state}","client_id":"{client}"{schema}}}"#);
        let (path, tss) = (&server.path, &self.tss);
        let revision = revision.to_string();
        let len = body.len().to_string();
        out.clear();
        for part in [
            "PUT ",
            path,
            "/tss/",
            tss,
            "/tx/",
            transaction,
            "?tx_revision=",
            &revision,
            " HTTP/1.1\r\nhost: ",
            &server.authority,
            "\r\nauthorization: Bearer ",
            &server.token,
            "\r\nuser-agent: siegel-bench\r\ncontent-type: application/json\r\ncontent-length: ",
            &len,
            "\r\n\r\n",
            &body,
        ] {
            out.extend_from_slice(part.as_bytes());
        }
    }
}
