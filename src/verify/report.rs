//! What is told: findings, notes, and the one table of their codes.

/// Findings kept per archive. What is so broken is broken, and memory must not grow with it.
pub(super) const FINDINGS_MAX: usize = 10_000;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Something was changed, is missing, or was signed by somebody else.
    Error,
    /// Against the guideline, but nothing speaks for manipulation.
    Warning,
}

impl Severity {
    /// Name in the JSON report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

macro_rules! codes {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident => $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            /// Every code there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Name in reports.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

codes! {
    /// Kinds of findings.
    Code {
        /// The archive ends in the middle.
        ArchiveTruncated => "archive_truncated",
        /// A header of the archive makes no sense.
        ArchiveDamaged => "archive_damaged",
        /// A file that does not belong into an export.
        UnexpectedFile => "unexpected_file",
        /// A file that is larger than any of its kind can be.
        FileTooLarge => "file_too_large",
        /// There is no info.csv.
        InfoMissing => "info_missing",
        /// A certificate cannot be read.
        CertificateUnreadable => "certificate_unreadable",
        /// A certificate is named by another key than its own.
        CertificateNameMismatch => "certificate_name_mismatch",
        /// A certificate of a signer does not lead to a root.
        ChainBroken => "chain_broken",
        /// A chain does not end at a trusted root.
        ChainUntrusted => "chain_untrusted",
        /// A message cannot be read.
        MessageUnreadable => "message_unreadable",
        /// The name of a file is not the name of a message.
        NameUnreadable => "name_unreadable",
        /// Name and content of a message differ.
        NameMismatch => "name_mismatch",
        /// The certificate of a message's signer is missing.
        CertificateMissing => "certificate_missing",
        /// The signature algorithm is none that may sign messages.
        AlgorithmUnknown => "algorithm_unknown",
        /// A signature does not verify.
        SignatureInvalid => "signature_invalid",
        /// A certificate of the chain was not valid when the message was signed.
        NotValidAtSigning => "not_valid_at_signing",
        /// The time of a message is no time.
        TimeUnreadable => "time_unreadable",
        /// A signature counter is missing inside the archive.
        CounterMissing => "counter_missing",
        /// Two messages have the same signature counter.
        CounterDuplicate => "counter_duplicate",
        /// The time goes back without a correction of the clock.
        TimeBackwards => "time_backwards",
        /// A transaction starts twice.
        TransactionStart => "transaction_start",
        /// A transaction goes on without a start, or after its end.
        TransactionOrder => "transaction_order",
        /// The text is no receipt code.
        QrUnreadable => "qr_unreadable",
        /// The public key of a receipt code is none.
        QrKeyInvalid => "qr_key_invalid",
        /// There are more findings than are told.
        MoreFindings => "more_findings",
    }
}

impl Code {
    /// How bad it is.
    pub const fn severity(self) -> Severity {
        match self {
            Self::UnexpectedFile
            | Self::InfoMissing
            | Self::CertificateUnreadable
            | Self::CertificateNameMismatch => Severity::Warning,
            Self::ArchiveTruncated
            | Self::ArchiveDamaged
            | Self::FileTooLarge
            | Self::ChainBroken
            | Self::ChainUntrusted
            | Self::MessageUnreadable
            | Self::NameUnreadable
            | Self::NameMismatch
            | Self::CertificateMissing
            | Self::AlgorithmUnknown
            | Self::SignatureInvalid
            | Self::NotValidAtSigning
            | Self::TimeUnreadable
            | Self::CounterMissing
            | Self::CounterDuplicate
            | Self::TimeBackwards
            | Self::TransactionStart
            | Self::TransactionOrder
            | Self::QrUnreadable
            | Self::QrKeyInvalid
            | Self::MoreFindings => Severity::Error,
        }
    }
}

codes! {
    /// Kinds of notes: worth knowing, nothing wrong.
    NoteCode {
        /// There is no message.
        NoMessages => "no_messages",
        /// The first signature counter is later than 2.
        LateStart => "late_start",
        /// Signature counters are missing, as filters make them.
        CountersLeftOut => "counters_left_out",
        /// Transactions go on whose start is not here.
        StartNotHere => "start_not_here",
        /// Transactions are open.
        OpenTransactions => "open_transactions",
        /// Transaction numbers that never started.
        NumbersUnused => "numbers_unused",
        /// Chain without a trusted root to compare with.
        ChainUnanchored => "chain_unanchored",
        /// Nothing is known about revocation.
        RevocationUnknown => "revocation_unknown",
        /// Deviations from the guideline that devices in the field have.
        Tolerated => "tolerated",
        /// Events that the guideline does not know.
        UnknownEvents => "unknown_events",
        /// Signed by more than one key.
        SeveralSigners => "several_signers",
        /// The archive was packed again: names begin with `./`, folders.
        Repacked => "repacked",
        /// A certificate of a CA is named by another key than its own.
        CaName => "ca_name",
        /// The processData of a receipt code does not follow its grammar.
        ProcessDataForm => "process_data_form",
        /// The start time of a receipt code is covered by no signature in it.
        StartNotSigned => "start_not_signed",
        /// The signature of a receipt code is written as DER.
        DerSignature => "der_signature",
    }
}

/// Something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind.
    pub code: Code,
    /// The file it is about, as named in the archive; `None` for the archive as a whole.
    pub message_file: Option<String>,
    /// For people: what was expected and what was found.
    pub text: String,
}

/// Worth knowing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What kind.
    pub code: NoteCode,
    /// For people.
    pub text: String,
}

impl Note {
    pub(super) fn new(code: NoteCode, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }
}

/// What was found out about an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchiveReport {
    /// Log messages in it, readable or not.
    pub logs: u64,
    /// Those whose signature verifies under a certificate of the archive.
    pub signatures_valid: u64,
    /// In the order of the archive; what only all messages show comes last.
    pub findings: Vec<Finding>,
    /// In a fixed order.
    pub notes: Vec<Note>,
}

/// What was found out about a receipt code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QrReport {
    /// Whether the signature verifies.
    pub signature_valid: bool,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Worth knowing.
    pub notes: Vec<Note>,
}

/// The input cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The file cannot be opened or read.
    #[error("the file cannot be read")]
    File(#[source] std::io::Error),
    /// Its beginning is not that of a TAR archive.
    #[error("this is no TAR archive: {0}")]
    NotTar(&'static str),
}
