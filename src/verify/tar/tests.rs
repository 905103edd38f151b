//! Fields of headers.

use super::{Disputed, Extension, number, read_records, text};

#[test]
fn numbers_are_octal_or_binary_with_padding_around() {
    for (field, value) in [
        (&b"00000000017\0"[..], Some(15)),
        (b"         17 \0", Some(15)),
        (b"17", Some(15)),
        (b"17 \0 \0", Some(15)),
        (b"777777777777", Some((1 << 36) - 1)),
        (b"1777777777777777777777", Some(u64::MAX)),
        (b"\x80\0\0\0\0\0\0\0\0\0\x01\0", Some(256)),
        (b"\0\0\0", Some(0)),
        (b"", Some(0)),
        // Bad neighbours.
        (b"2000000000000000000000", None),
        (b"18", None),
        (b"-1", None),
        (b"1 7", None),
        (b"1\x007", None),
        (b"0x1", None),
        (b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", None),
        (b"\x80\0\0\x01\0\0\0\0\0\0\0\0", None),
    ] {
        assert_eq!(number(field), value, "{field:?}");
    }
}

#[test]
fn names_lose_their_dots_and_slashes_in_front_and_may_be_latin() {
    assert_eq!(text(b"././x/./y"), "x/./y");
    assert_eq!(text(b"./"), "");
    assert_eq!(text(b"../x"), "../x");
    assert_eq!(text(b"K\xE4se"), "K\u{e4}se");
    assert_eq!(text("Käse".as_bytes()), "Käse");
}

#[test]
fn the_last_record_of_a_keyword_counts_and_unknown_ones_are_remembered() {
    let mut extension = Extension::default();
    let content = [
        &b"9 path=x\n"[..],
        b"12 comment=\n",
        b"9 path=y\n",
        b"9 size=7\n",
        b"\0\0",
    ];
    let mut disputed = Disputed::default();
    let read = read_records(&content.concat(), &mut extension, &mut disputed);
    assert_eq!(read, Some(()));
    assert_eq!(disputed.keywords, [("comment".to_owned(), 1)].into());
    assert_eq!(disputed.global_headers, 0);
    assert_eq!(extension.name.as_deref(), Some(&b"y"[..]));
    assert_eq!(extension.size, Some(7));
}

#[test]
fn only_so_many_unknown_keywords_are_remembered_and_none_at_full_length() {
    let mut disputed = Disputed::default();
    let mut extension = Extension::default();
    for number in 0..100 {
        let keyword = format!("{number:03}{}", "x".repeat(500));
        let record = format!("508 {keyword}\n").replace("\n", "=\n");
        let record = record.replacen("508", &record.len().to_string(), 1);
        let read = read_records(record.as_bytes(), &mut extension, &mut disputed);
        assert_eq!(read, Some(()));
    }
    assert_eq!(disputed.keywords.len(), 20);
    assert!(disputed.keywords.keys().all(|keyword| keyword.len() == 100));
}
