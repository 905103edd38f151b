//! Exact decimal numbers as tills send them: JSON numbers or text, never floating point.

use serde_json::Value;

/// Digits after the point that a till may send; the dialect's pattern ends there.
const DECIMALS_MAX: usize = 5;
/// Digits before the point; more is no money.
const INTEGER_DIGITS_MAX: usize = 15;
/// Greatest amount and greatest sum of amounts, in cents.
const CENTS_MAX: i128 = 10_i128.pow(17);

/// A number that was checked and split: sign, digits before the point without leading zeros, and
/// digits after it as given.
struct Digits<'a> {
    negative: bool,
    integer: &'a str,
    decimals: &'a str,
}

/// The text of a JSON string or number; numbers are taken by their shortest JSON text, so `10.5`
/// means the same with and without quotes.
pub(super) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// `-?\d+(\.\d{1,5})?`. The dialect's own pattern wants two decimals at least; one or none are taken
/// as well, because a JSON number cannot carry trailing zeros and older clients write `10.0`.
fn split(text: &str) -> Option<Digits<'_>> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (integer, decimals) = match unsigned.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (unsigned, ""),
    };
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if integer.is_empty() || !digits(integer) || !digits(decimals) {
        return None;
    }
    let integer = integer.trim_start_matches('0');
    if integer.len() > INTEGER_DIGITS_MAX || decimals.len() > DECIMALS_MAX {
        return None;
    }
    Some(Digits {
        negative,
        integer,
        decimals,
    })
}

/// An amount of money in hundredths, within ±10^15 units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Amount(i128);

impl Amount {
    /// Reads an amount; decimals beyond the second are rounded, half away from zero. `None` when the
    /// text is no amount.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = split(text)?;
        let scaled = format!(
            "{}{:0<width$}",
            digits.integer,
            digits.decimals,
            width = DECIMALS_MAX
        );
        // Thousandths of a cent: five decimals, two of them are cents.
        let fine = scaled.parse::<i128>().ok()?;
        let cents = (fine + 500) / 1000;
        Self(if digits.negative { -cents } else { cents }).within_bounds()
    }

    /// The sum, or `None` when it is beyond all money.
    pub(super) fn plus(self, other: Self) -> Option<Self> {
        Self(self.0.checked_add(other.0)?).within_bounds()
    }

    /// Nothing owed, nothing paid.
    pub(super) const fn is_zero(self) -> bool {
        self.0 == 0
    }

    fn within_bounds(self) -> Option<Self> {
        (self.0.abs() <= CENTS_MAX).then_some(self)
    }
}

impl std::fmt::Display for Amount {
    /// Exactly two decimals, at least one digit before the point, never `-0.00`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let cents = self.0.abs();
        write!(f, "{sign}{}.{:02}", cents / 100, cents % 100)
    }
}

/// A quantity as DSFinV-K writes it: as few decimals as possible, never `-0`. `None` when the text is
/// no quantity.
pub(super) fn quantity(text: &str) -> Option<String> {
    let digits = split(text)?;
    let decimals = digits.decimals.trim_end_matches('0');
    let integer = match digits.integer {
        "" => "0",
        some => some,
    };
    let sign = if digits.negative && (integer != "0" || !decimals.is_empty()) {
        "-"
    } else {
        ""
    };
    Some(match decimals {
        "" => format!("{sign}{integer}"),
        some => format!("{sign}{integer}.{some}"),
    })
}
