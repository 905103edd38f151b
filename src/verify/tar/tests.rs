//! Fields of headers.

use super::{Extension, number, pax, text};

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
fn the_last_record_of_a_keyword_counts_and_unknown_ones_do_not() {
    let mut extension = Extension::default();
    let content = [
        &b"9 path=x\n"[..],
        b"12 comment=\n",
        b"9 path=y\n",
        b"9 size=7\n",
        b"\0\0",
    ];
    assert_eq!(pax(&content.concat(), &mut extension), Some(()));
    assert_eq!(extension.name.as_deref(), Some(&b"y"[..]));
    assert_eq!(extension.size, Some(7));
}
