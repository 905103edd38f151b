//! The recorded sale of the dialect, from the body of its till to the bytes that were signed: its
//! signature, made by another device, verifies over what our code builds.

use super::client::receipt;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::ecdsa::EcdsaSig;
use openssl::nid::Nid;
use openssl::sha::sha256;
use siegel::asn1::{Content, Header, TransactionContent, TransactionPhase, to_be_signed};
use siegel::receipt::{LogTimeFormat, QrCode, QrTime, Schema};
use siegel::terms::{
    ClientSerial, Hash, LogFormat, SeTime, SerialNumber, SignatureAlgorithm, SignatureCounter,
    TransactionNumber,
};
use siegel::verify::verify_qr;

const CLIENT: &str = "UT-TEST-101bd1cd-286c-4c3b-9ae5-43d4fad02f08";
const TIME: i64 = 1_787_078_299;
const PUBLIC_KEY: &str =
    "BAVHkwS3tptbKRK2Z8E6a8u8N/Qkw/6gBr89NivYZciYJVpF5uQPQTpgb64I3STVhUpLVc/ZCZOz7eaBol+qUnY=";
const SIGNATURE: &str =
    "kHCYf4/f/zz+51m5XlzLtuEOFvVyAF3wrzsz+p+iyQcxzICkza8O9m/P45pRDQRWwEvxYzYZQWR3wGqEsSf2iA==";

fn signed_bytes(amount: &str) -> Vec<u8> {
    let schema = Schema::parse(&receipt(amount)).unwrap().unwrap();
    let point = STANDARD.decode(PUBLIC_KEY).unwrap();
    let header = Header {
        format: LogFormat::V2,
        serial_number: SerialNumber::of_public_point(&point),
        algorithm: SignatureAlgorithm::ecdsa_plain(Hash::Sha256),
        signature_counter: SignatureCounter::new(27),
        time: SeTime::try_from(TIME).unwrap(),
    };
    let content = Content::Transaction(TransactionContent {
        phase: TransactionPhase::Finish,
        client: ClientSerial::try_from(CLIENT).unwrap(),
        process_data: schema.process_data,
        process_type: schema.process_type,
        number: TransactionNumber::new(1),
    });
    to_be_signed(&header, &content).unwrap()
}

fn verifies(signed: &[u8]) -> bool {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let mut context = BigNumContext::new().unwrap();
    let point = STANDARD.decode(PUBLIC_KEY).unwrap();
    let point = EcPoint::from_bytes(&group, &point, &mut context).unwrap();
    let key = EcKey::from_public_key(&group, &point).unwrap();
    let signature = STANDARD.decode(SIGNATURE).unwrap();
    let (r, s) = signature.split_at(32);
    let number = |half| BigNum::from_slice(half).unwrap();
    EcdsaSig::from_private_components(number(r), number(s))
        .unwrap()
        .verify(&sha256(signed), &key)
        .unwrap()
}

#[test]
fn the_recorded_signature_verifies_over_the_bytes_that_we_would_have_signed() {
    assert!(verifies(&signed_bytes("4.20")));
    assert!(!verifies(&signed_bytes("4.21")));
}

#[test]
fn the_recorded_code_is_the_one_that_we_would_have_printed() {
    let schema = Schema::parse(&receipt("4.20")).unwrap().unwrap();
    let time = QrTime::try_from(SeTime::try_from(TIME).unwrap()).unwrap();
    let code = QrCode {
        client_serial: CLIENT.to_owned(),
        process_type: schema.process_type.as_str().to_owned(),
        process_data: String::from_utf8(schema.process_data.as_bytes().to_vec()).unwrap(),
        transaction_number: TransactionNumber::new(1),
        signature_counter: SignatureCounter::new(27),
        time_start: time,
        log_time: time,
        algorithm: SignatureAlgorithm::ecdsa_plain(Hash::Sha256),
        time_format: LogTimeFormat::UnixTime,
        signature: STANDARD.decode(SIGNATURE).unwrap(),
        public_key: STANDARD.decode(PUBLIC_KEY).unwrap(),
    };
    let text = code.text();
    assert_eq!(
        text,
        format!(
            "V0;{CLIENT};Kassenbeleg-V1;Beleg^4.20_0.00_0.00_0.00_0.00^4.20:Unbar;1;27;\
             2026-08-18T18:38:19.000Z;2026-08-18T18:38:19.000Z;ecdsa-plain-SHA256;unixTime;\
             {SIGNATURE};{PUBLIC_KEY}"
        )
    );
    let report = verify_qr(&text).unwrap();
    assert!(report.signature_valid);
    assert_eq!(report.findings, []);
}
