//! Receipts ready to be printed: the fields, the text, and codes that a camera can read.

use super::client::{Answer, Till, keys, order, receipt};
use crate::support::server::{START_S, on_both, shared};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use siegel::verify::verify_qr;

const KEYS: [&str; 21] = [
    "state",
    "number",
    "time_start",
    "time_end",
    "client_serial_number",
    "tss_serial_number",
    "process_type",
    "signature_counter",
    "signature_value",
    "signature_algorithm",
    "log_time_format",
    "public_key",
    "text",
    "qr_code_data",
    "qr_code_svg",
    "qr_code_png",
    "tss_id",
    "_id",
    "_type",
    "_env",
    "_version",
];

fn get(till: &Till, tx: &str, accept: Option<&str>) -> Answer {
    let path = till.path(&format!("/tx/{tx}/receipt"));
    let headers: Vec<_> = accept
        .map(|accept| ("accept", accept))
        .into_iter()
        .collect();
    till.api.call("GET", &path, None, &headers)
}

fn id(transaction: &Value) -> &str {
    transaction["_id"].as_str().unwrap()
}

/// What a camera reads in a square of light and dark.
fn read_code(side: usize, is_dark: impl Fn(usize, usize) -> bool) -> String {
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(side, side, |x, y| {
        if is_dark(x, y) { 0 } else { 255 }
    });
    let grids = image.detect_grids();
    assert_eq!(grids.len(), 1, "one code");
    grids[0].decode().unwrap().1
}

fn read_png(bytes: &[u8]) -> String {
    let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut pixels).unwrap();
    assert_eq!(frame.width, frame.height);
    let side = usize::try_from(frame.width).unwrap();
    read_code(side, |x, y| pixels[y * side + x] == 0)
}

/// Reads the one path of the picture: `M x y h w v h …` of modules, each as large as the others.
fn read_svg(svg: &str) -> String {
    let attribute = |name: &str| {
        let (_, rest) = svg.split_once(&format!(" {name}=\"")).unwrap();
        rest.split('"').next().unwrap()
    };
    let side: usize = attribute("width").parse().unwrap();
    let mut dark = vec![false; side * side];
    for rectangle in attribute("d").split('M').skip(1) {
        let numbers: Vec<usize> = rectangle
            .split(|letter: char| !letter.is_ascii_digit())
            .filter(|number| !number.is_empty())
            .map(|number| number.parse().unwrap())
            .collect();
        let [left, top, width, height, ..] = numbers[..] else {
            panic!("{rectangle} is no rectangle");
        };
        for y in top..top + height {
            dark[y * side..][left..left + width].fill(true);
        }
    }
    read_code(side, |x, y| dark[y * side + x])
}

#[test]
fn a_receipt_says_what_the_law_wants_and_its_code_verifies() {
    on_both(|server| {
        let till = Till::new(server);
        let sold = till.sell();
        let paper = till.signing(0, || get(&till, id(&sold), None).ok());
        assert_eq!(keys(&paper), KEYS);
        for (own, of_transaction) in [
            ("state", "/state"),
            ("number", "/number"),
            ("time_start", "/time_start"),
            ("time_end", "/time_end"),
            ("client_serial_number", "/client_serial_number"),
            ("tss_serial_number", "/tss_serial_number"),
            ("process_type", "/schema/raw/process_type"),
            ("signature_counter", "/signature/counter"),
            ("signature_value", "/signature/value"),
            ("signature_algorithm", "/signature/algorithm"),
            ("log_time_format", "/log/timestamp_format"),
            ("public_key", "/signature/public_key"),
            ("qr_code_data", "/qr_code_data"),
            ("tss_id", "/tss_id"),
            ("_id", "/_id"),
        ] {
            assert_eq!(&paper[own], sold.pointer(of_transaction).unwrap(), "{own}");
        }
        let text = paper["qr_code_data"].as_str().unwrap();
        let report = verify_qr(text).unwrap();
        assert!(report.signature_valid);
        assert_eq!(report.findings, []);
        let png = STANDARD
            .decode(paper["qr_code_png"].as_str().unwrap())
            .unwrap();
        assert_eq!(read_png(&png), text);
        assert_eq!(read_svg(paper["qr_code_svg"].as_str().unwrap()), text);
        // Also by number.
        let number = paper["number"].to_string();
        assert_eq!(get(&till, &number, None).ok(), paper);
    });
}

#[test]
fn the_text_fits_a_printer_of_42_columns() {
    let till = Till::new(shared());
    let sold = till.sell();
    let paper = get(&till, id(&sold), None).ok();
    let text = paper["text"].as_str().unwrap();
    assert!(
        text.lines().all(|line| line.chars().count() <= 42),
        "{text}"
    );
    let rule = "-".repeat(42);
    let split = |name: &str, pointer: &str| {
        let value = sold.pointer(pointer).unwrap().as_str().unwrap();
        let lines: Vec<_> = value
            .as_bytes()
            .chunks(40)
            .map(|piece| format!("  {}\n", str::from_utf8(piece).unwrap()))
            .collect();
        format!("{name}\n{}", lines.concat())
    };
    let expected = format!(
        "{rule}\n\
         TSE-Transaktion                          1\n\
         TSE-Start         2027-01-15T08:00:00.000Z\n\
         TSE-Stop          2027-01-15T08:00:00.000Z\n\
         Vorgangsart                 Kassenbeleg-V1\n\
         Signaturzähler{:>28}\n\
         {}{}{}\
         TSE nicht BSI-zertifiziert\n\
         {rule}\n",
        sold["signature"]["counter"].to_string(),
        split("Seriennummer der Kasse", "/client_serial_number"),
        split("Seriennummer der TSE", "/tss_serial_number"),
        split("Prüfwert", "/signature/value"),
    );
    assert_eq!(sold["time_start"], START_S);
    assert_eq!(text, expected);
}

#[test]
fn what_the_caller_accepts_decides_about_the_form() {
    let till = Till::new(shared());
    let sold = till.sell();
    let paper = get(&till, id(&sold), None).ok();
    let form = |accept: &str| {
        let answer = get(&till, id(&sold), Some(accept));
        assert_eq!(answer.status, 200, "{accept}: {}", answer.text());
        let vary = answer.headers.get_all("vary").iter();
        let vary: Vec<_> = vary.map(|value| value.to_str().unwrap()).collect();
        assert!(vary.join(",").contains("Accept"), "{vary:?}");
        (
            answer.header("content-type").unwrap().to_owned(),
            answer.bytes,
        )
    };
    let png = STANDARD
        .decode(paper["qr_code_png"].as_str().unwrap())
        .unwrap();
    let bytes = |key: &str| paper[key].as_str().unwrap().as_bytes().to_vec();
    for (accept, kind, body) in [
        ("image/svg+xml", "image/svg+xml", bytes("qr_code_svg")),
        ("image/png", "image/png", png.clone()),
        ("text/plain", "text/plain; charset=utf-8", bytes("text")),
        (
            "text/html, image/png;q=0.5, text/plain;q=0.1",
            "image/png",
            png.clone(),
        ),
        // Any picture is the one that every program can draw.
        ("image/*", "image/png", png.clone()),
        (
            "image/png;q=0, image/*",
            "image/svg+xml",
            bytes("qr_code_svg"),
        ),
        (
            "image/png;q=0.1, image/*;q=0.2",
            "image/svg+xml",
            bytes("qr_code_svg"),
        ),
        ("*/*;q=0.8, image/*", "image/png", png.clone()),
        // As a browser asks for the picture of a page.
        (
            "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8",
            "image/svg+xml",
            bytes("qr_code_svg"),
        ),
        ("image/svg+xml, */*", "image/svg+xml", bytes("qr_code_svg")),
        ("text/*", "text/plain; charset=utf-8", bytes("text")),
        ("image/png, image/svg+xml", "image/png", png.clone()),
        (
            "image/svg+xml, image/png",
            "image/svg+xml",
            bytes("qr_code_svg"),
        ),
        (
            "text/plain;q=0.2, image/svg+xml",
            "image/svg+xml",
            bytes("qr_code_svg"),
        ),
    ] {
        assert_eq!(form(accept), (kind.to_owned(), body), "{accept}");
    }
    // Never 406: some clients ask for one thing and read another.
    for accept in [
        "*/*",
        "application/*",
        "image/*;q=0.5, */*",
        "image/*;q=0",
        "image/png;q=0.9, application/json",
        // As a browser opens a page.
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
        "application/json",
        "application/octet-stream",
        "video/mp4",
        "",
        "?",
    ] {
        let (kind, body) = form(accept);
        assert_eq!(kind, "application/json", "{accept}");
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), paper);
    }
}

#[test]
fn there_is_no_receipt_before_the_end() {
    let till = Till::new(shared());
    let tx = till.start();
    get(&till, &tx, None).refused(409, "E_TX_NOT_ENDED");
    till.step(&tx, 2, "ACTIVE", Some(order())).ok();
    get(&till, &tx, Some("image/png")).refused(409, "E_TX_NOT_ENDED");
    till.step(&tx, 3, "CANCELLED", None).ok();
    let paper = get(&till, &tx, None).ok();
    assert_eq!(paper["state"], "CANCELLED");
    assert_eq!(paper["process_type"], "Bestellung-V1");
    assert!(
        verify_qr(paper["qr_code_data"].as_str().unwrap())
            .unwrap()
            .signature_valid
    );
    get(&till, &format!("{tx}/receipt"), None).refused(404, "E_NOT_FOUND");
    let earlier = till.path(&format!("/tx/{tx}/receipt?tx_revision=1"));
    till.api.get(&earlier).refused(409, "E_TX_NOT_ENDED");
    let later = till.path(&format!("/tx/{tx}/receipt?tx_revision=4"));
    till.api.get(&later).refused(400, "E_TX_REVISION_NOT_FOUND");
}

#[test]
fn a_receipt_without_a_code_still_has_its_fields() {
    let till = Till::new(shared());
    let finished = |data: &[u8]| {
        let raw = json!({"raw": {"process_type": "X", "process_data": STANDARD.encode(data)}});
        let tx = till.start();
        till.step(&tx, 2, "FINISHED", Some(raw)).ok();
        tx
    };
    // No text, and more of it than the largest code holds.
    for tx in [finished(&[0xFF]), finished(&[b'x'; 3000])] {
        let paper = get(&till, &tx, None).ok();
        let left: Vec<_> = KEYS
            .into_iter()
            .filter(|key| !key.starts_with("qr_code"))
            .collect();
        assert_eq!(keys(&paper), left);
        let text = get(&till, &tx, Some("text/plain"));
        assert_eq!(text.text(), paper["text"].as_str().unwrap());
        for image in ["image/svg+xml", "image/png"] {
            get(&till, &tx, Some(image)).refused(409, "E_QR_CODE_NOT_AVAILABLE");
        }
    }
    // A long one gets less correction of errors.
    let tx = finished(&[b'x'; 2500]);
    let answer = get(&till, &tx, Some("image/png"));
    assert!(read_png(&answer.bytes).contains(&"x".repeat(2500)));
}

#[test]
fn a_receipt_of_umlauts_can_be_read() {
    let till = Till::new(shared());
    let tx = till.start();
    let lines = json!({"standard_v1": {"order": {"line_items": [
        {"quantity": "1", "text": "Käsespätzle; groß", "price_per_unit": "12.00"},
    ]}}});
    till.step(&tx, 2, "FINISHED", Some(lines)).ok();
    let paper = get(&till, &tx, None).ok();
    let text = paper["qr_code_data"].as_str().unwrap();
    assert!(text.contains("Käsespätzle; groß"));
    assert_eq!(read_svg(paper["qr_code_svg"].as_str().unwrap()), text);
    till.step(&till.start(), 2, "FINISHED", Some(receipt("1.00")))
        .ok();
}
