//! QR texts of receipts (DSFinV-K Anhang I).

use super::T0;
use super::message::{Body, Message, Signer};
use super::pki::point;
use openssl::base64::encode_block;

/// A receipt of one transaction that began and ended at these times.
pub fn receipt(signer: &Signer, process_data: &str, start: i64, end: i64) -> String {
    let mut message = Message::finish(2, end, 1);
    message.process_data = Some(super::der::tlv(0x82, process_data.as_bytes()));
    let Body::Transaction { client, number, .. } = &message.body else {
        unreachable!("it is a transaction");
    };
    let signature = signer.plain(&message.signed(signer));
    format!(
        "V0;{client};Kassenbeleg-V1;{process_data};{number};{};{};{};{};unixTime;{};{}",
        message.counter,
        time(start),
        time(end),
        signer.digest.name(),
        encode_block(&signature),
        encode_block(&point(&signer.key)),
    )
}

/// A time of the hour in which the tests' messages are signed.
fn time(seconds: i64) -> String {
    // T0 is 13 min and 20 s after ten in the evening.
    let of_hour = seconds - T0 + 800;
    assert!((0..3600).contains(&of_hour), "outside of the hour");
    format!("2023-11-14T22:{:02}:{:02}.000Z", of_hour / 60, of_hour % 60)
}
