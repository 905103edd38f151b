//! The one writer of Kassenbeleg-V1 and Bestellung-V1 (DSFinV-K Anhang I).
//!
//! It takes only parts that can be written, so whatever it writes has the form of Anhang I. What a
//! caller may say, and in which words, is up to the two entrances: the dialect's (`cash_receipt`,
//! `order`) and the strict one (`strict`).

use super::decimal::{Amount, Quantity};
use std::collections::BTreeMap;

/// processType of a receipt.
pub(super) const RECEIPT: &str = "Kassenbeleg-V1";
/// processType of an order.
pub(super) const ORDER: &str = "Bestellung-V1";
/// processType of anything else; it has no version.
pub(super) const OTHER: &str = "SonstigerVorgang";

/// What an entrance says where [`Turnover`] or [`Payments`] cannot be written.
pub(super) const SUM_PROBLEM: &str = "adds up to more than can be written";

/// What a receipt is (`BON_TYP`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReceiptKind {
    Sale,
    Training,
    Transfer,
    Order,
    Aborted,
    BenefitInKind,
    Invoice,
    Other,
    /// A flag on a receipt that is taken back; no till with a TSS has it.
    Annulled,
}

impl ReceiptKind {
    pub(super) const ALL: [Self; 9] = [
        Self::Sale,
        Self::Training,
        Self::Transfer,
        Self::Order,
        Self::Aborted,
        Self::BenefitInKind,
        Self::Invoice,
        Self::Other,
        Self::Annulled,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Sale => "Beleg",
            Self::Training => "AVTraining",
            Self::Transfer => "AVTransfer",
            Self::Order => "AVBestellung",
            Self::Aborted => "AVBelegabbruch",
            Self::BenefitInKind => "AVSachbezug",
            Self::Invoice => "AVRechnung",
            Self::Other => "AVSonstige",
            Self::Annulled => "AVBelegstorno",
        }
    }
}

/// Where a turnover stands: by the legal class of its rate, not by the percentage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum VatSlot {
    /// § 12 (1) UStG.
    General,
    /// § 12 (2) UStG.
    Reduced,
    /// § 24 (1) no. 3 UStG.
    FarmAverage,
    /// § 24 (1) no. 1 UStG.
    ForestAverage,
    /// Not taxable, exempt, not determinable, zero rate, or no turnover at all.
    Zero,
}

impl VatSlot {
    pub(super) const ALL: [Self; 5] = [
        Self::General,
        Self::Reduced,
        Self::FarmAverage,
        Self::ForestAverage,
        Self::Zero,
    ];
}

/// Gross amounts, added up per slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Turnover(BTreeMap<VatSlot, Amount>);

impl Turnover {
    pub(super) fn add(&mut self, slot: VatSlot, amount: Amount) {
        let sum = self.0.entry(slot).or_default();
        *sum = sum.plus(amount);
    }

    /// The named slots in their order, unused ones as `0.00`; `None` when a sum is beyond all money.
    pub(super) fn written(&self, slots: &[VatSlot]) -> Option<String> {
        let sums = slots.iter().map(|slot| {
            let sum = self.0.get(slot).copied().unwrap_or_default();
            sum.can_be_written().then(|| sum.to_string())
        });
        Some(sums.collect::<Option<Vec<_>>>()?.join("_"))
    }
}

/// How something was paid. The order is the order in processData: cash first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PaymentKind {
    Cash,
    NonCash,
}

/// A currency; the base currency sorts before all others and is not written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Currency {
    Euro,
    Foreign(String),
}

impl Currency {
    /// By its code of three upper-case letters.
    pub(super) fn from_code(code: &str) -> Option<Self> {
        let fits = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase());
        fits.then(|| match code {
            "EUR" => Self::Euro,
            foreign => Self::Foreign(foreign.to_owned()),
        })
    }
}

/// Payments, added up per kind and currency.
#[derive(Clone, Debug, Default)]
pub(super) struct Payments(BTreeMap<(PaymentKind, Currency), Amount>);

impl Payments {
    pub(super) fn add(&mut self, kind: PaymentKind, currency: Currency, amount: Amount) {
        let sum = self.0.entry((kind, currency)).or_default();
        *sum = sum.plus(amount);
    }

    /// Cash before non-cash, euro before the other currencies from A to Z, without sums of zero;
    /// `None` when a sum is beyond all money.
    pub(super) fn written(&self) -> Option<String> {
        let sums = self.0.iter().filter(|(_, sum)| !sum.is_zero());
        let written = sums.map(|((kind, currency), sum)| {
            let kind = match kind {
                PaymentKind::Cash => "Bar",
                PaymentKind::NonCash => "Unbar",
            };
            sum.can_be_written().then(|| match currency {
                Currency::Euro => format!("{sum}:{kind}"),
                Currency::Foreign(code) => format!("{sum}:{kind}:{code}"),
            })
        });
        Some(written.collect::<Option<Vec<_>>>()?.join("_"))
    }
}

/// processData of a receipt, from parts that were written by [`Turnover`] and [`Payments`].
pub(super) fn receipt(kind: ReceiptKind, turnover: &str, payments: &str) -> String {
    format!("{}^{turnover}^{payments}", kind.as_str())
}

/// The text of an order line: a line break would start a new line of the order.
#[derive(Clone, Debug)]
pub(super) struct LineText(String);

impl LineText {
    /// A text without line breaks.
    pub(super) fn one_line(text: &str) -> Option<Self> {
        (!text.contains(['\r', '\n'])).then(|| Self(text.to_owned()))
    }

    /// Any text; its line breaks become blanks.
    pub(super) fn flattened(text: &str) -> Self {
        Self(text.replace("\r\n", " ").replace(['\r', '\n'], " "))
    }
}

/// The lines of an order.
#[derive(Clone, Debug, Default)]
pub(super) struct Order(Vec<String>);

impl Order {
    /// `price` is the gross price of one unit.
    pub(super) fn add(&mut self, quantity: &Quantity, text: &LineText, price: Amount) {
        let quoted = text.0.replace('"', "\"\"");
        let quantity = quantity.as_str();
        self.0.push(format!("{quantity};\"{quoted}\";{price}"));
    }

    /// processData; an order without lines is empty.
    pub(super) fn written(&self) -> String {
        self.0.join("\r")
    }
}
