//! `GET /tss/{tss_id}/tx/{tx_id_or_number}/receipt`: what has to be on paper (§ 6 KassenSichV), ready to
//! be printed. An addition of ours; the dialect has no such call.

use super::VERSION;
use super::transactions::{TIME_FORMAT, find, qr_code};
use crate::asn1::TransactionPhase;
use crate::http::auth::Authorized;
use crate::http::door::Desk;
use crate::http::endpoint::Endpoint;
use crate::http::problem::Problem;
use crate::http::problem_codes::ErrorCode;
use crate::ledger::TransactionRow;
use crate::receipt::QrTime;
use crate::terms::{Environment, SeTime};
use actix_web::http::Method;
use actix_web::http::header::{Accept, Header as _, Quality, VARY};
use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use qrcode::render::svg;
use qrcode::{Color, EcLevel, QrCode};
use serde_json::{Map, Value, json};
use std::cmp::Reverse;

/// Characters of a printer's line.
const COLUMNS: usize = 42;
/// How far values on lines of their own are set in.
const INDENT: usize = 2;
/// Pixels per module of the picture: 0.75 mm on a printer with 203 dots per inch.
const MODULE_PIXELS: usize = 6;
/// Modules of white around the code (ISO/IEC 18004).
const QUIET_ZONE: usize = 4;

pub(super) const ENDPOINTS: &[Endpoint] = &[Endpoint::new(
    Method::GET,
    "/tss/{tss_id}/tx/{tx_id_or_number}/receipt",
    |route| route.to(receipt),
)];

async fn receipt(
    desk: web::Data<Desk>,
    Authorized(caller): Authorized,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let row = find(&desk, &caller, &request).await?;
    if row.step.phase != TransactionPhase::Finish {
        let message = "the transaction is not ended at this revision";
        return Err(Problem::new(ErrorCode::TxNotEnded, message));
    }
    let form = Form::wanted(&request);
    // Drawing takes milliseconds, which is too long for a worker that others wait for.
    let (content_type, body) = desk
        .compute(move || form.print(&row, caller.environment))
        .await??;
    Ok(HttpResponse::Ok()
        .content_type(content_type)
        .insert_header((VARY, "Accept"))
        .body(body))
}

/// What `Accept` may choose.
#[derive(Clone, Copy)]
enum Form {
    Json,
    Png,
    Svg,
    Text,
}

impl Form {
    /// Among equals the first: JSON for those who take anything, the picture that every program can draw
    /// for those who want any picture.
    const ALL: [Self; 4] = [Self::Json, Self::Png, Self::Svg, Self::Text];

    const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Png => "image/png",
            Self::Svg => "image/svg+xml",
            Self::Text => "text/plain",
        }
    }

    /// The form of the greatest quality; of several the one that was named more precisely, then the one
    /// that was named first. JSON where nothing fits: a client may ask for one thing and read another.
    fn wanted(request: &HttpRequest) -> Self {
        let ranges = Accept::parse(request).map(|accept| accept.0);
        let ranges = ranges.unwrap_or_default();
        let worth = |form: &Self| {
            let fitting = ranges.iter().enumerate().filter_map(|(place, range)| {
                let precision = form.precision_of(range.item.essence_str())?;
                Some((precision, Reverse(place), range.quality))
            });
            // The most precise range speaks for the form, even if it says no (RFC 9110, 12.5.1).
            let (precision, place, quality) = fitting.max()?;
            (quality > Quality::ZERO).then_some((quality, precision, place))
        };
        let best = Self::ALL.into_iter().rev().max_by_key(worth);
        best.filter(|form| worth(form).is_some())
            .unwrap_or(Self::Json)
    }

    /// How precisely a range names this form, if at all.
    fn precision_of(self, range: &str) -> Option<u8> {
        let (kind, _) = self.media_type().split_once('/')?;
        match range.split_once('/')? {
            _ if range == self.media_type() => Some(2),
            (wanted, "*") if wanted == kind => Some(1),
            ("*", "*") => Some(0),
            (_, _) => None,
        }
    }

    fn print(
        self,
        row: &TransactionRow,
        environment: Environment,
    ) -> Result<(&'static str, Vec<u8>), Problem> {
        let none = || {
            let message = "no QR code can show what was signed";
            Problem::new(ErrorCode::QrCodeNotAvailable, message)
        };
        Ok(match self {
            Self::Json => {
                let body = answer(row, environment)?.to_string();
                ("application/json", body.into_bytes())
            }
            Self::Svg => {
                let code = Drawn::new(row).ok_or_else(none)?;
                ("image/svg+xml", code.svg().into_bytes())
            }
            Self::Png => ("image/png", Drawn::new(row).ok_or_else(none)?.png()?),
            Self::Text => ("text/plain; charset=utf-8", paper(row).into_bytes()),
        })
    }
}

/// The fields of the paper under the names they have in a transaction, then the code in every form.
fn answer(row: &TransactionRow, environment: Environment) -> Result<Value, Problem> {
    let (transaction, step) = (&row.transaction, &row.step);
    let mut answer = Map::new();
    let mut put = |key: &str, value: Value| answer.insert(key.to_owned(), value);
    put("state", json!(step.state.as_str()));
    put("number", json!(transaction.number.value()));
    put("time_start", json!(transaction.time_start.unix_seconds()));
    put("time_end", json!(step.log_time.unix_seconds()));
    put("client_serial_number", json!(step.client_serial.as_str()));
    put("tss_serial_number", json!(row.serial_number.to_string()));
    put("process_type", json!(step.process_type.as_str()));
    put("signature_counter", json!(step.signature_counter.value()));
    put("signature_value", json!(STANDARD.encode(&step.signature)));
    put("signature_algorithm", json!(row.algorithm.name()));
    put("log_time_format", json!(TIME_FORMAT.name()));
    put("public_key", json!(STANDARD.encode(&row.public_point)));
    put("text", json!(paper(row)));
    if let Some(code) = Drawn::new(row) {
        put("qr_code_data", json!(code.text));
        put("qr_code_svg", json!(code.svg()));
        put("qr_code_png", json!(STANDARD.encode(code.png()?)));
    }
    put("tss_id", json!(row.tss.to_string()));
    put("_id", json!(transaction.id.to_string()));
    put("_type", json!("RECEIPT"));
    put("_env", json!(environment.as_str()));
    put("_version", json!(VERSION));
    Ok(Value::Object(answer))
}

/// The block of text that a till prints below its own lines: name and address of the shop, goods, taxes
/// and payments are known to the till alone.
fn paper(row: &TransactionRow) -> String {
    let (transaction, step) = (&row.transaction, &row.step);
    let time = |time: SeTime| match QrTime::try_from(time) {
        Ok(time) => time.to_string(),
        Err(_) => time.unix_seconds().to_string(),
    };
    let mut paper = Paper::default();
    paper.rule();
    paper.pair("TSE-Transaktion", &transaction.number.to_string());
    paper.pair("TSE-Start", &time(transaction.time_start));
    paper.pair("TSE-Stop", &time(step.log_time));
    paper.pair("Vorgangsart", step.process_type.as_str());
    paper.pair("Signaturzähler", &step.signature_counter.to_string());
    paper.block("Seriennummer der Kasse", step.client_serial.as_str());
    paper.block("Seriennummer der TSE", &row.serial_number.to_string());
    paper.block("Prüfwert", &STANDARD.encode(&step.signature));
    paper.line("TSE nicht BSI-zertifiziert");
    paper.rule();
    paper.0
}

/// Lines of [`COLUMNS`] characters at most.
#[derive(Default)]
struct Paper(String);

impl Paper {
    fn line(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    fn rule(&mut self) {
        self.line(&"-".repeat(COLUMNS));
    }

    /// Title left and value right, where both fit on one line.
    fn pair(&mut self, title: &str, value: &str) {
        let len = title.chars().count() + value.chars().count();
        match COLUMNS.checked_sub(len).filter(|blanks| *blanks > 0) {
            Some(blanks) => self.line(&format!("{title}{}{value}", " ".repeat(blanks))),
            None => self.block(title, value),
        }
    }

    /// Title, then the value on as many lines as it takes.
    fn block(&mut self, title: &str, value: &str) {
        self.line(title);
        let characters: Vec<char> = value.chars().collect();
        for piece in characters.chunks(COLUMNS - INDENT) {
            let piece: String = piece.iter().collect();
            self.line(&format!("{}{piece}", " ".repeat(INDENT)));
        }
    }
}

/// The code of a receipt.
struct Drawn {
    text: String,
    code: QrCode,
}

impl Drawn {
    /// `None` when there is no such code, or its text is too long for any. As much correction of errors
    /// as the text leaves room for, up to what printed paper needs.
    fn new(row: &TransactionRow) -> Option<Self> {
        let text = qr_code(row)?.text();
        let code = [EcLevel::M, EcLevel::L]
            .into_iter()
            .find_map(|level| QrCode::with_error_correction_level(&text, level).ok())?;
        Some(Self { text, code })
    }

    fn svg(&self) -> String {
        self.code
            .render::<svg::Color<'_>>()
            .dark_color(svg::Color("#000"))
            .light_color(svg::Color("#fff"))
            .build()
    }

    /// One bit per pixel, white around it.
    fn png(&self) -> Result<Vec<u8>, Problem> {
        let modules = self.code.to_colors();
        let width = self.code.width();
        let side = (width + 2 * QUIET_ZONE) * MODULE_PIXELS;
        let dark = |x: usize, y: usize| {
            let module = |at: usize| (at / MODULE_PIXELS).checked_sub(QUIET_ZONE);
            let (column, line) = (module(x)?, module(y)?);
            let at = line.checked_mul(width)?.checked_add(column)?;
            (column < width).then(|| modules.get(at) == Some(&Color::Dark))
        };
        let mut rows = Vec::with_capacity(side * side.div_ceil(8));
        for y in 0..side {
            for first in (0..side).step_by(8) {
                let byte = (first..first + 8).fold(0_u8, |bits, x| {
                    let is_white = !dark(x, y).unwrap_or(false);
                    (bits << 1) | u8::from(is_white)
                });
                rows.push(byte);
            }
        }
        encode(side, &rows).map_err(|error| Problem::internal(&error))
    }
}

fn encode(side: usize, rows: &[u8]) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let side = u32::try_from(side).unwrap_or(u32::MAX);
    let mut encoder = png::Encoder::new(&mut bytes, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(rows)?;
    writer.finish()?;
    Ok(bytes)
}
