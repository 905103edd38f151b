//! The three forms of time in a log message, as seconds.

use super::read::LogTime;
use time::{Date, Month, PrimitiveDateTime, Time};

impl LogTime {
    /// Unix seconds (fractions cut off), or `None` when the text is no such time.
    ///
    /// UTCTime is `YYMMDDhhmm[ss]Z` with years from 1950 to 2049, GeneralizedTime
    /// `YYYYMMDDhhmmss[.fff]Z` (TR-03151 v1.0.1 §2.2, TR-03151-1 §2.1.6).
    pub fn unix_seconds(&self) -> Option<i64> {
        match self {
            Self::Unix(seconds) => Some(*seconds),
            Self::Utc(text) => {
                let digits = text.strip_suffix('Z')?;
                let (year, rest) = digits.split_at_checked(2)?;
                let year = number(year)?;
                let century = if year < 50 { 2000 } else { 1900 };
                let seconds_left_out = rest.len() == 8;
                let rest = format!("{rest}{}", if seconds_left_out { "00" } else { "" });
                seconds_of(century + year, &rest)
            }
            Self::Generalized(text) => {
                let digits = text.strip_suffix('Z')?;
                let whole = match digits.split_once('.') {
                    Some((whole, fraction)) => {
                        number(fraction.get(..1)?)?;
                        fraction
                            .bytes()
                            .all(|byte| byte.is_ascii_digit())
                            .then_some(whole)?
                    }
                    None => digits,
                };
                let (year, rest) = whole.split_at_checked(4)?;
                seconds_of(number(year)?, rest)
            }
        }
    }

    /// A time whose type the tag does not tell, as in the system data of v2: text of the two text
    /// forms has at least 11 characters, an INTEGER of 64 bits at most 9 bytes.
    pub(super) fn from_untagged_text(content: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(content).ok()?;
        match text.len() {
            11 | 13 => Some(Self::Utc(text.to_owned())),
            15.. => Some(Self::Generalized(text.to_owned())),
            _ => None,
        }
    }
}

/// `MMDDhhmmss` of a year.
fn seconds_of(year: u16, rest: &str) -> Option<i64> {
    if rest.len() != 10 {
        return None;
    }
    let pair = |at: usize| -> Option<u8> { number(rest.get(at..at + 2)?)?.try_into().ok() };
    let month = Month::try_from(pair(0)?).ok()?;
    let date = Date::from_calendar_date(year.into(), month, pair(2)?).ok()?;
    let time = Time::from_hms(pair(4)?, pair(6)?, pair(8)?).ok()?;
    Some(
        PrimitiveDateTime::new(date, time)
            .assume_utc()
            .unix_timestamp(),
    )
}

/// Decimal digits only: `parse` alone would take a sign.
fn number(digits: &str) -> Option<u16> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}
