//! The receipt as a printer would put it on paper (§ 6 KassenSichV), with its QR code.

use crate::cli::client::text;
use anyhow::Context as _;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use serde_json::Value;
use std::fmt::Write as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Text for a terminal with a dark background.
pub(super) fn receipt(answer: &Value) -> anyhow::Result<String> {
    let mut paper = String::new();
    writeln!(paper, "\n  2 x Maultaschen                   19.00 EUR")?;
    writeln!(paper, "  1 x Apfelschorle                   2.42 EUR")?;
    writeln!(paper, "  Summe                             21.42 EUR\n")?;
    let number = |name: &str| {
        answer
            .pointer(name)
            .and_then(Value::as_i64)
            .with_context(|| format!("the answer has no number {name}"))
    };
    let moment = |name: &str| -> anyhow::Result<String> {
        Ok(OffsetDateTime::from_unix_timestamp(number(name)?)?.format(&Rfc3339)?)
    };
    for (title, value) in [
        ("TSE-Transaktion", number("/number")?.to_string()),
        ("TSE-Start", moment("/time_start")?),
        ("TSE-Stop", moment("/time_end")?),
        ("Kasse", text(answer, "client_serial_number")?.to_owned()),
        (
            "TSE-Seriennummer",
            text(answer, "tss_serial_number")?.to_owned(),
        ),
        (
            "TSE-Signaturzähler",
            number("/signature/counter")?.to_string(),
        ),
        ("TSE-Signatur", text(answer, "signature.value")?.to_owned()),
    ] {
        writeln!(paper, "  {title:<20} {value}")?;
    }
    // The lowest level of error correction: a terminal has no coffee stains, but few lines.
    let code = QrCode::with_error_correction_level(text(answer, "qr_code_data")?, EcLevel::L)?;
    let image = code
        .render::<Dense1x2>()
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .build();
    write!(paper, "\n{image}")?;
    Ok(paper)
}
