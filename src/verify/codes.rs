//! Every kind of finding and note there is: one table each.

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The records are not what was signed, not all of them, or not signed by whom they claim.
    Error,
    /// The archive departs from the guideline in a way that does not touch the records as such.
    Warning,
}

impl Severity {
    /// As in JSON and in the summary.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

macro_rules! finding_codes {
    ($($(#[doc = $doc:literal])+ $name:ident $code:literal $severity:ident,)+) => {
        /// What can be found. `code()` is stable: tools may rely on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FindingCode {
            $($(#[doc = $doc])+ #[doc = concat!("\n\n`", $code, "`, ", stringify!($severity))] $name,)+
        }

        impl FindingCode {
            /// Every code there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The code as in JSON and in the summary.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// How bad it is.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)+ }
            }
        }
    };
}

macro_rules! note_codes {
    ($($(#[doc = $doc:literal])+ $name:ident $code:literal,)+) => {
        /// What is worth knowing without being wrong. `code()` is stable: tools may rely on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum NoteCode {
            $($(#[doc = $doc])+ #[doc = concat!("\n\n`", $code, "`")] $name,)+
        }

        impl NoteCode {
            /// Every code there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The code as in JSON and in the summary.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }
        }
    };
}

finding_codes! {
    /// The input could not be read at all, or is no archive.
    NotReadable "not-readable" Error,
    /// A file given with `--trust` could not be read, so nothing was checked.
    TrustNotReadable "trust-not-readable" Error,
    /// The archive ends before its end: within a file, or without two blocks of zeros.
    ArchiveTruncated "archive-truncated" Error,
    /// A header within the archive is damaged; what follows it was not read.
    ArchiveDamaged "archive-damaged" Error,
    /// There are bytes after the end of the archive, which other readers might take for more files.
    DataAfterEnd "data-after-end" Error,
    /// What fills up the last block of a file is not zero: nothing signs it, and nobody sees it.
    PaddingNotZero "padding-not-zero" Warning,
    /// A global pax header, which may change names and contents for other readers (TR-03151-1 Appendix B).
    PaxGlobalHeader "pax-global-header" Error,
    /// A pax keyword beside `path`, `atime`, `mtime` and `size`; other readers may see other names or
    /// contents because of it (TR-03151-1 Appendix B).
    PaxKeyword "pax-keyword" Error,
    /// A link, a device, a folder with content or another entry that is no file (TR-03151-1 Appendix B).
    EntryNotAFile "entry-not-a-file" Error,
    /// A file larger than any log message, certificate or description may be; it was not read.
    FileTooLarge "file-too-large" Error,
    /// More certificates than the checker takes.
    TooManyCertificates "too-many-certificates" Error,
    /// A file that is neither log message, certificate nor `info.csv` (TR-03151-1 §2.5.1).
    ForeignFile "foreign-file" Warning,
    /// There is no `info.csv`, or more than one.
    InfoMissing "info-missing" Warning,
    /// There is no log message in the archive.
    NoMessages "no-messages" Warning,
    /// A certificate file that holds no X.509 certificate.
    CertificateUnreadable "certificate-unreadable" Error,
    /// A certificate whose key is none that may sign log messages or certificates (TR-03116-5 §2.2).
    CertificateUnsupported "certificate-unsupported" Warning,
    /// The name of a TSS certificate's file is not the hash of its key (TR-03151-1 §2.5.4).
    CertificateName "certificate-name" Error,
    /// No certificate in the archive has the key that a log message names.
    CertificateMissing "certificate-missing" Error,
    /// No issuer certificate confirms the signature of a certificate although one has the right name.
    CertificateSignature "certificate-signature" Error,
    /// An issuer's certificate may not issue certificates, or a TSS certificate may not sign data.
    CertificateUsage "certificate-usage" Error,
    /// A certificate of the chain has a critical extension that this checker does not know, which says
    /// that it must not be relied upon (RFC 5280 §4.2).
    CriticalExtension "critical-extension" Error,
    /// The authorityKeyIdentifier of a certificate names another key than the one that signed it
    /// (TR-03153-1 §10).
    AuthorityKey "authority-key" Warning,
    /// An issuer confirms a certificate by signature, but its name is another (TR-03153-1 §10).
    IssuerName "issuer-name" Warning,
    /// The issuer of a certificate is neither in the archive nor among the trusted ones.
    ChainIncomplete "chain-incomplete" Error,
    /// The chain does not lead to one of the trusted certificates.
    ChainUntrusted "chain-untrusted" Error,
    /// A certificate of the chain was not valid when the message was signed (TR-03145-5 §6.1).
    CertificateNotValid "certificate-not-valid" Error,
    /// A `.log` file that holds no log message.
    MessageUnreadable "message-unreadable" Error,
    /// The file name says something else than the message.
    NameContent "name-content" Error,
    /// A signature algorithm that may not sign log messages, or one this checker does not know.
    AlgorithmUnsupported "algorithm-unsupported" Error,
    /// The signature algorithm has parameters (TR-03153-1 §9.6).
    AlgorithmParameters "algorithm-parameters" Warning,
    /// The signature is not one of this key over this message.
    SignatureInvalid "signature-invalid" Error,
    /// The signature is good, but in DER form where `r || s` belongs (TR-03111 §5.2.1).
    SignatureForm "signature-form" Warning,
    /// The operation of a transaction log is none of the three in the form of its version.
    OperationType "operation-type" Warning,
    /// A known system event with content that does not fit it.
    EventMalformed "event-malformed" Warning,
    /// The time is no time.
    TimeUnreadable "time-unreadable" Error,
    /// Several forms of time in one archive (TR-03151-1 §3.5.1).
    TimeFormMixed "time-form-mixed" Warning,
    /// Messages of both log versions under one key.
    LogVersionMixed "log-version-mixed" Warning,
    /// A message is older than the one before it, and no time was set in between, or the message is older
    /// than the time that was set, too.
    TimeBackwards "time-backwards" Error,
    /// Messages of more than one key (TR-03153-1 §5.2).
    SeveralKeys "several-keys" Warning,
    /// The signature counter 0, which no signature can have.
    CounterZero "counter-zero" Error,
    /// Signature counters are missing inside a complete archive.
    CounterMissing "counter-missing" Error,
    /// Two messages with the same signature counter.
    CounterRepeated "counter-repeated" Error,
    /// A transaction goes on or ends without having begun.
    TransactionNotStarted "transaction-not-started" Error,
    /// A transaction begins twice.
    TransactionRepeated "transaction-repeated" Error,
    /// A transaction goes on after its end.
    TransactionAfterFinish "transaction-after-finish" Error,
    /// A transaction, or an event that only a call makes, after `disableSecureElement`: from then on every
    /// such call must be refused (TR-03153-1 §3.9.4).
    MessageAfterDisable "message-after-disable" Warning,
    /// The text is no QR code of a receipt.
    QrUnreadable "qr-unreadable" Error,
    /// The public key in a QR code is no key on a known curve.
    PublicKeyUnusable "public-key-unusable" Error,
    /// The start time on the receipt is after the end.
    StartAfterEnd "start-after-end" Error,
    /// There are more findings than are listed.
    FindingsCut "findings-cut" Error,
}

note_codes! {
    /// With `--partial`: signature counters that are not in the archive, as ranges.
    CounterGap "counter-gap",
    /// The archive begins after signature counter 2.
    LateStart "late-start",
    /// Transactions without an end.
    OpenTransactions "open-transactions",
    /// Transactions whose beginning is not in the archive.
    StartOutside "start-outside",
    /// Transactions that began before one with a smaller number. A number is given before its start is
    /// signed, and parallel starts may be signed in another order (TR-03153-1 §9.2; seen in the field).
    StartsOvertaken "starts-overtaken",
    /// Transaction numbers between others that no message carries; a failed start consumes one
    /// (TR-03153-1 §9.4).
    TransactionNumbersSkipped "transaction-numbers-skipped",
    /// Transactions of a client that no message before them registers, although the archive begins with
    /// the device. Not every device registers clients.
    ClientUnregistered "client-unregistered",
    /// Events after `disableSecureElement` that a device may log by itself, or for the little that it
    /// still does.
    EventAfterDisable "event-after-disable",
    /// No trusted certificate was given: the chain agrees with itself, and that is all it proves.
    ChainUnanchored "chain-unanchored",
    /// Whether a certificate was revoked is not known; an official check must know (TR-03153-1 §10.1).
    RevocationUnchecked "revocation-unchecked",
    /// A certificate that no message and no chain needs.
    CertificateUnused "certificate-unused",
    /// The file name of an issuer's certificate is not the hash of its key.
    IssuerFileName "issuer-file-name",
    /// `info.csv` is not in the form of the guideline.
    InfoForm "info-form",
    /// The archive was packed again: folders, or names with a path.
    Repacked "repacked",
    /// Messages that depart from strict DER or the guideline in a known, harmless way.
    Deviation "deviation",
    /// Messages with additional data that the guideline reserves or forbids.
    AdditionalData "additional-data",
    /// System events that no guideline knows.
    EventUnknown "event-unknown",
    /// System or audit messages with time 0, as signed before the time was set (TR-03153-1 §9.5.4).
    TimeUnset "time-unset",
    /// With `--partial`: a message is older than the one before it, across a gap that may hide why.
    TimeBackwardsAcrossGap "time-backwards-across-gap",
    /// QR: signed by the key in the code; whose key it is, the code cannot tell (TR-03153-1 §10).
    KeyUnconfirmed "key-unconfirmed",
    /// QR: the start time is not covered by the signature.
    StartNotSigned "start-not-signed",
    /// QR: how the signed bytes had to be put together for the signature to fit.
    SignedAs "signed-as",
    /// QR: the processData is not in the form that DSFinV-K Anhang I demands.
    ProcessData "process-data",
}
