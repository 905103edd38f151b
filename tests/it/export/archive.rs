//! How an archive is built: headers, names, ends, pieces.

use super::rig::{Rig, START, Say, till};
use super::{members, two_tills};
use siegel::export::ExportError;
use siegel::terms::LogFormat;
use std::process::Command;

const BLOCK_LEN: usize = 512;
const END: [u8; 2 * BLOCK_LEN] = [0; 2 * BLOCK_LEN];

#[test]
fn an_archive_with_another_number_of_messages_than_counted_never_ends_well() {
    let (mut rig, ..) = two_tills();
    let row = rig.export("");
    for wrong in [11, 13] {
        let mut row = row.clone();
        row.messages = Some(wrong);
        let mut pieces: Vec<_> = rig.archive(&row).collect();
        let last = pieces.pop().unwrap();
        let Err(ExportError::Incomplete { counted, found }) = last else {
            panic!("{last:?}")
        };
        assert_eq!((counted, found), (wrong, 12));
        let sent: Vec<_> = pieces.into_iter().map(Result::unwrap).collect();
        assert!(!sent.concat().ends_with(&END), "it must not look whole");
    }
}

#[test]
fn a_name_outside_the_characters_of_the_guideline_ends_the_archive() {
    let (mut rig, ..) = two_tills();
    let mut row = rig.export("");
    row.certificates[1].0 = "../evil.cer".to_owned();
    let pieces: Vec<_> = rig.archive(&row).collect();
    assert_eq!(pieces.len(), 1);
    let Err(ExportError::IllegalName(name)) = &pieces[0] else {
        panic!("{pieces:?}")
    };
    assert_eq!(name, "../evil.cer");
}

#[test]
fn headers_are_plain_ustar_and_pax_only_where_a_name_is_too_long() {
    let mut rig = Rig::new(LogFormat::V2);
    let (short, long) = (till(0xa, "K"), till(0xb, &"L".repeat(70)));
    rig.say(&Say::Start(&short, 1), 1);
    rig.say(&Say::Start(&long, 2), 2);
    rig.say(&Say::System, 3);
    let row = rig.export("");
    let bytes = rig.bytes(&row);
    let headers = headers(&bytes);
    let kinds: Vec<_> = headers.iter().map(|header| header[156]).collect();
    assert_eq!(kinds, b"000000x00");
    let long_name = &rig.kept[2].name;
    assert!(long_name.len() > 100, "{long_name}");
    for header in &headers {
        assert_eq!(&header[257..265], b"ustar\x0000");
        let sum: u64 = (0..BLOCK_LEN)
            .map(|at| match at {
                148..156 => u64::from(b' '),
                _ => u64::from(header[at]),
            })
            .sum();
        assert_eq!(octal(&header[148..156]), sum);
        assert_eq!(
            octal(&header[136..148]),
            u64::try_from(START + 1000).unwrap()
        );
        assert_eq!((octal(&header[108..116]), octal(&header[116..124])), (0, 0));
        // Link name, owners, device, prefix, padding: empty.
        assert!(header[157..257].iter().all(|byte| *byte == 0));
        assert!(header[265..329].iter().all(|byte| *byte == 0));
        assert!(header[345..].iter().all(|byte| *byte == 0));
    }
    let record = format!("{} path={long_name}\n", long_name.len() + 10);
    let at = bytes
        .windows(record.len())
        .position(|window| window == record.as_bytes());
    assert_eq!(at.map(|at| at % BLOCK_LEN), Some(0), "{record}");
    assert!(bytes.ends_with(&END));
    assert_eq!(bytes.len() % BLOCK_LEN, 0);
}

fn octal(field: &[u8]) -> u64 {
    let digits: String = field
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .map(|byte| char::from(*byte))
        .collect();
    u64::from_str_radix(&digits, 8).unwrap_or_default()
}

/// The headers of an archive, found by nothing but the lengths in them.
fn headers(bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while rest.iter().take(BLOCK_LEN).any(|byte| *byte != 0) {
        let (header, content) = rest.split_at(BLOCK_LEN);
        let len = usize::try_from(octal(&header[124..136])).unwrap();
        found.push(header);
        rest = &content[len.next_multiple_of(BLOCK_LEN)..];
    }
    assert_eq!(rest, END, "two blocks of zeros, and nothing behind them");
    found
}

#[test]
fn the_systems_tar_lists_and_unpacks_an_export() {
    let mut rig = Rig::new(LogFormat::V2);
    let long = till(0xb, &"Kasse (1) + 'x'.=,".repeat(3));
    rig.say(&Say::Start(&long, 1), 1);
    rig.say(&Say::Finish(&long, 1), 2);
    let row = rig.export("");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("export.tar");
    std::fs::write(&file, rig.bytes(&row)).unwrap();
    let tar = |how: &str| {
        let output = Command::new("tar")
            .arg(how)
            .arg(&file)
            .arg("-C")
            .arg(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "no complaint");
        String::from_utf8(output.stdout).unwrap()
    };
    let members = members(&rig.bytes(&row));
    let names: Vec<_> = members.iter().map(|member| member.name.clone()).collect();
    assert_eq!(tar("tf").lines().collect::<Vec<_>>(), names);
    assert_eq!(names.iter().filter(|name| name.len() > 100).count(), 2);
    // Without time stamps: the clock of these tests is ahead, which tar would remark.
    tar("xmf");
    for member in members {
        let unpacked = std::fs::read(folder.path().join(&member.name)).unwrap();
        assert_eq!(unpacked, member.content, "{}", member.name);
    }
}

#[test]
fn pieces_stay_small_however_large_the_messages_are() {
    let mut rig = Rig::new(LogFormat::V2);
    let a = till(0xa, "A");
    rig.process_data = vec![b'x'; 700_000];
    rig.say_starts(&a, 1..41, 1);
    rig.process_data = vec![b'x'; 50];
    rig.say_starts(&a, 41..1041, 2);
    let row = rig.export("");
    let pieces: Vec<_> = rig.archive(&row).map(Result::unwrap).collect();
    let bytes = pieces.concat();
    assert_eq!(members(&bytes).len(), 4 + 1 + 40 + 1000);
    // 128 KiB, and the file that goes over it.
    let longest = pieces.iter().map(bytes::Bytes::len).max().unwrap();
    assert!(longest < 128 * 1024 + 702_000, "{longest}");
    // Small messages share a piece: each but the first and the last one is well filled.
    let (first, others) = pieces.split_first().unwrap();
    assert!(first.len() < 16 * 1024);
    let (_, filled) = others.split_last().unwrap();
    assert!(filled.iter().all(|piece| piece.len() >= 128 * 1024));
    assert!(filled.len() > 40);
}
