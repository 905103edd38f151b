//! Exact decimal numbers as tills send them: JSON numbers or text, never floating point.

use serde_json::Value;

/// Digits after the point that a till may send; the dialect's pattern ends there.
const DECIMALS_MAX: usize = 5;
/// Digits after the point of a quantity in DSFinV-K; the others are cut off.
const QUANTITY_DECIMALS_MAX: usize = 3;
/// Digits before the point; a taximeter may send as many, and more is no money.
const INTEGER_DIGITS_MAX: usize = 16;
/// Greatest sum of amounts, in cents.
const CENTS_MAX: i128 = 10_i128.pow(18);

const NO_NUMBER: &str =
    "should be a decimal number such as -1.50, with at most 16 digits before the point";

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

/// `-?\d+(\.\d+)?`. The dialect's own pattern wants two decimals at least; one or none are taken as
/// well, because a JSON number cannot carry trailing zeros and older clients write `10.0`.
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
    (integer.len() <= INTEGER_DIGITS_MAX).then_some(Digits {
        negative,
        integer,
        decimals,
    })
}

/// An amount of money in hundredths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Amount(i128);

impl Amount {
    /// Reads an amount; decimals beyond the second are rounded, half away from zero. `None` when the
    /// text is no amount.
    pub(super) fn rounded(text: &str) -> Option<Self> {
        let digits = split(text).filter(|digits| digits.decimals.len() <= DECIMALS_MAX)?;
        let scaled = format!(
            "{}{:0<width$}",
            digits.integer,
            digits.decimals,
            width = DECIMALS_MAX
        );
        // Thousandths of a cent: five decimals, two of them are cents.
        let fine = scaled.parse::<i128>().ok()?;
        let cents = (fine + 500) / 1000;
        Some(Self(if digits.negative { -cents } else { cents }))
    }

    /// Reads an amount that is written as it is.
    ///
    /// # Errors
    /// What is wrong with the text: it is no number, or it has more than two decimals.
    pub(super) fn exact(text: &str) -> Result<Self, &'static str> {
        let digits = split(text).ok_or(NO_NUMBER)?;
        if digits.decimals.len() > 2 {
            return Err("should not have more than two decimals");
        }
        Self::rounded(text).ok_or(NO_NUMBER)
    }

    /// The sum. Whether it can be written is a question for the last sum: on the way there the order
    /// of the amounts must not matter.
    pub(super) const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Nothing owed, nothing paid.
    pub(super) const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// It is money, and no mistake of somebody's arithmetic.
    pub(super) const fn can_be_written(self) -> bool {
        self.0.unsigned_abs() < CENTS_MAX.unsigned_abs()
    }
}

impl std::fmt::Display for Amount {
    /// Exactly two decimals, at least one digit before the point, never `-0.00`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let cents = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", cents / 100, cents % 100)
    }
}

/// A quantity as DSFinV-K writes it: as few decimals as possible, never `-0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Quantity(String);

impl Quantity {
    /// Reads a quantity with all the decimals that the dialect allows. `None` when the text is none.
    pub(super) fn as_sent(text: &str) -> Option<Self> {
        let digits = split(text).filter(|digits| digits.decimals.len() <= DECIMALS_MAX)?;
        Some(Self::from(&digits))
    }

    /// Reads a quantity and cuts off what is behind the third decimal.
    ///
    /// # Errors
    /// The text is no number.
    pub(super) fn cut(text: &str) -> Result<Self, &'static str> {
        let mut digits = split(text).ok_or(NO_NUMBER)?;
        let decimals = digits.decimals;
        digits.decimals = decimals.get(..QUANTITY_DECIMALS_MAX).unwrap_or(decimals);
        Ok(Self::from(&digits))
    }

    /// The text as written.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&Digits<'_>> for Quantity {
    fn from(digits: &Digits<'_>) -> Self {
        let decimals = digits.decimals.trim_end_matches('0');
        let is_zero = digits.integer.is_empty() && decimals.is_empty();
        let sign = if digits.negative && !is_zero { "-" } else { "" };
        let integer = match digits.integer {
            "" => "0",
            some => some,
        };
        let point = if decimals.is_empty() { "" } else { "." };
        Self(format!("{sign}{integer}{point}{decimals}"))
    }
}
