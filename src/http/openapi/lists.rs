//! Envelopes of lists, receipts and the state of the node, as the document describes them.

use super::answers::{Client, Env, Export, Transaction, Tss};
use super::requests::TransactionState;
use std::collections::BTreeMap;
use utoipa::ToSchema;

macro_rules! list {
    ($(#[$meta:meta])* $name:ident of $item:ident) => {
        $(#[$meta])*
        #[derive(ToSchema)]
        pub struct $name {
            /// A page of them.
            #[schema(max_items = 100)]
            pub data: Vec<$item>,
            /// How many are in this page.
            #[schema(maximum = 100)]
            pub count: u32,
            /// Kind of the list.
            pub _type: String,
            /// Environment.
            pub _env: Env,
            /// Version of the dialect.
            pub _version: String,
        }
    };
}

list! {
    /// TSSs.
    TssList of Tss
}
list! {
    /// Clients.
    ClientList of Client
}
list! {
    /// Transactions, each at its latest revision.
    TransactionList of Transaction
}
list! {
    /// Exports.
    ExportList of Export
}

/// What has to be on paper (§ 6 KassenSichV) beside what the till alone knows.
#[derive(ToSchema)]
pub struct PrintedReceipt {
    /// FINISHED or CANCELLED.
    pub state: TransactionState,
    /// Transaction number (§ 6 Satz 1 Nr. 4).
    #[schema(minimum = 1)]
    pub number: u64,
    /// Unix seconds of the start (Nr. 2).
    pub time_start: i64,
    /// Unix seconds of the end (Nr. 2).
    pub time_end: i64,
    /// Serial number of the till (Nr. 6).
    pub client_serial_number: String,
    /// Serial number of the TSS (Nr. 6).
    pub tss_serial_number: String,
    /// Kind of what was signed.
    pub process_type: String,
    /// Signature counter (Nr. 8).
    #[schema(minimum = 1)]
    pub signature_counter: u64,
    /// Check value (Nr. 9): `r || s` in base64.
    pub signature_value: String,
    /// How it was signed.
    pub signature_algorithm: String,
    /// Form of the time in the log message.
    pub log_time_format: String,
    /// Uncompressed point in base64.
    pub public_key: String,
    /// All of it as a block of lines of at most 42 characters.
    pub text: String,
    /// Text of the QR code. This and the pictures of it are left out where no code can show what was
    /// signed.
    #[schema(nullable = false)]
    pub qr_code_data: Option<String>,
    /// The QR code as an SVG document.
    #[schema(nullable = false)]
    pub qr_code_svg: Option<String>,
    /// The QR code as a PNG picture in base64.
    #[schema(nullable = false)]
    pub qr_code_png: Option<String>,
    /// The TSS.
    #[schema(format = Uuid)]
    pub tss_id: String,
    /// Id of the transaction.
    #[schema(format = Uuid)]
    pub _id: String,
    /// `RECEIPT`
    pub _type: String,
    /// Environment.
    pub _env: Env,
    /// Version of the dialect.
    pub _version: String,
}

/// The process answers.
#[derive(ToSchema)]
pub struct Live {
    /// `live`
    pub status: String,
}

/// Whether this node can sign.
#[derive(ToSchema)]
pub struct Ready {
    /// `ready` or `not ready`.
    pub status: String,
    /// `answers`, `does not answer`, or `does not commit` what was signed.
    pub ledger: String,
    /// By name of the section of the configuration.
    pub tokens: BTreeMap<String, TokenHealth>,
    /// `know no more than the ledger`, `know more than the ledger` or `not compared`.
    pub witnesses: String,
    /// TSSs that sign nothing until a person decides, because the ledger was put back.
    pub stopped_tss: u64,
    /// What the check of the ledger in the background has found.
    pub ledger_check: LedgerCheck,
}

/// What the check of the ledger in the background has found.
#[derive(ToSchema)]
pub struct LedgerCheck {
    /// Rounds through the whole ledger since the start.
    pub rounds: u64,
    /// Messages in the latest round.
    pub messages: u64,
    /// How many things were wrong in the latest round.
    pub findings: u64,
}

/// One token.
#[derive(ToSchema)]
pub struct TokenHealth {
    /// Whether it signs, with a key of its own that is no TSS's.
    pub signs: bool,
    /// `ready`: logged in; `paused`: its module is being initialised anew for another token; `gone`: not there,
    /// being looked for; `pin_refused`: it refused the PIN, only a person can help.
    pub state: String,
    /// `active`: signs for its TSSs; `standby`: waits for a switch.
    pub role: String,
    /// Label of the token that its keys belong to.
    pub label: String,
    /// Counts up whenever login, sessions and handles were made anew.
    pub generation: u64,
}
