use super::info::info_csv;
use super::tar_blocks::{END, append};
use crate::terms::{LogFormat, SeTime};
use std::io::Read as _;

fn time() -> SeTime {
    SeTime::try_from(1_787_078_299).unwrap()
}

/// Reads an archive with the library, which knows nothing of how it was written.
fn unpacked(bytes: &[u8]) -> Vec<(String, Vec<u8>, u64)> {
    let mut archive = tar::Archive::new(bytes);
    archive
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (name, content, entry.header().mtime().unwrap())
        })
        .collect()
}

#[test]
fn files_come_out_of_an_archive_as_they_went_in() {
    let long = format!(
        "Unixt_1_Sig-1_Log-Tra_No-1_Start_Client-{}.log",
        "a".repeat(70)
    );
    assert!(long.len() > 100);
    for len in [0, 1, 511, 512, 513] {
        let content = vec![7; len];
        let mut out = Vec::new();
        append(&mut out, "info.csv", b"x", time()).unwrap();
        append(&mut out, &long, &content, time()).unwrap();
        out.extend_from_slice(&END);
        assert_eq!(out.len() % 512, 0);
        assert_eq!(
            unpacked(&out),
            [
                ("info.csv".to_owned(), b"x".to_vec(), 1_787_078_299),
                (long.clone(), content, 1_787_078_299)
            ]
        );
    }
}

#[test]
fn a_short_name_needs_no_pax_header() {
    let name = "a".repeat(100);
    let mut out = Vec::new();
    append(&mut out, &name, b"", time()).unwrap();
    assert_eq!(out.len(), 512);
    assert_eq!(&out[257..265], b"ustar\x0000");
    append(&mut out, &"a".repeat(101), b"", time()).unwrap();
    assert_eq!(out.len(), 4 * 512);
}

#[test]
fn a_name_with_other_characters_is_never_written() {
    for name in ["", ".", "..", "a/b", "../a", "a:b", "a?b", "\u{e4}", "a\n"] {
        let mut out = Vec::new();
        assert!(append(&mut out, name, b"", time()).is_err(), "{name:?}");
        assert!(out.is_empty());
    }
}

#[test]
fn info_of_version_2_is_one_quoted_line() {
    let text = String::from_utf8(info_csv(LogFormat::V2, "Till 1")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        r#""description:","Till 1","manufacturer:","Siegel","version:","{version} (nicht BSI-zertifiziert)""#
    );
    assert_eq!(text, expected);
}

#[test]
fn info_of_version_3_has_ten_fields_in_each_line() {
    let text = String::from_utf8(info_csv(LogFormat::V3, "say \"when\"")).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 6);
    for line in &lines {
        assert_eq!(line.matches(',').count(), 9, "{line}");
    }
    assert_eq!(lines[5], r#""description:","say ""when""",,,,,,,,"#);
    assert!(text.ends_with('\n'));
}
