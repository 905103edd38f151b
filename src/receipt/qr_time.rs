//! A time as it is printed on receipts: UTC with milliseconds.

use crate::terms::SeTime;
use std::fmt;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

const NANOSECONDS_PER_MILLISECOND: u32 = 1_000_000;

/// A time in UTC, exact to the millisecond, between the years 0 and 9999. We sign whole seconds;
/// other makers' devices may have finer times, and nothing may be rounded (AEAO zu § 146a 2.4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QrTime(OffsetDateTime);

/// The time has more than four digits in its year.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the time is after the year 9999")]
pub struct QrTimeError;

impl QrTime {
    /// Unix seconds, fractions cut off towards the past.
    pub const fn unix_seconds(self) -> i64 {
        self.0.unix_timestamp()
    }

    /// Thousandths of a second beyond [`Self::unix_seconds`], 0 to 999.
    pub const fn milliseconds(self) -> u16 {
        self.0.millisecond()
    }

    /// Reads `YYYY-MM-DDThh:mm:ss[.fff]Z`; `None` when it is something else or finer than this type
    /// can tell.
    pub(super) fn parse(text: &str) -> Option<Self> {
        // The parser takes any letter between date and time, and offsets of zero.
        if text.as_bytes().get(10) != Some(&b'T') || !text.ends_with('Z') {
            return None;
        }
        let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        let whole = time.nanosecond() % NANOSECONDS_PER_MILLISECOND == 0;
        (whole && time.offset() == UtcOffset::UTC).then_some(Self(time))
    }
}

impl TryFrom<SeTime> for QrTime {
    type Error = QrTimeError;

    fn try_from(time: SeTime) -> Result<Self, QrTimeError> {
        OffsetDateTime::from_unix_timestamp(time.unix_seconds())
            .map(Self)
            .map_err(|_| QrTimeError)
    }
}

impl fmt::Display for QrTime {
    /// `YYYY-MM-DDThh:mm:ss.fffZ`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hour, minute, second, millisecond) = self.0.to_hms_milli();
        write!(
            f,
            "{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z",
            self.0.year(),
            u8::from(self.0.month()),
            self.0.day(),
        )
    }
}
