//! Raw paths and their canonical form, or the offset and kind of their first fault.

use proptest::prelude::*;

use super::PathErrorKind as Kind;
use super::*;

const STRICT: CanonicalOptions = CanonicalOptions { merge_slashes: false };
const MERGE: CanonicalOptions = CanonicalOptions { merge_slashes: true };

fn check_bad(table: &[(&[u8], usize, Kind)]) {
    for &(raw, offset, kind) in table {
        let shown = raw.escape_ascii();
        for options in [STRICT, MERGE] {
            let fault = canonicalize(raw, options).expect_err(&shown.to_string());
            assert_eq!((fault.offset, fault.kind), (offset, kind), "{shown}");
        }
    }
}

#[test]
fn a_path_that_is_canonical_is_borrowed() {
    for path in [
        "/",
        "/a",
        "/a/",
        "/v1/books/7:read",
        "/-._~!$&'()*+,;=:@",
        "/...",
        "/.a/a./..a",
        "/admin;x",
        "/%20%25%2F%5c%C3%A9%e2%82%ac%F0%9F%92%a9",
        "/%252e%252e",
    ] {
        let canonical = canonicalize(path.as_bytes(), STRICT).unwrap_or_else(|e| panic!("{path}: {e}"));
        assert_eq!(&*canonical, path);
        assert!(!canonical.is_changed(), "{path}");
    }
}

#[test]
fn escapes_of_unreserved_characters_are_decoded_once() {
    for (raw, wanted) in [
        ("/%41%7a%30%2d%5F%7e", "/Az0-_~"),
        ("/a%2Eb", "/a.b"),
        ("/%2e%2e%2e", "/..."),
        ("/%41%2f%42", "/A%2fB"),
        ("/%25%34%31", "/%2541"),
        ("/x%C3%A9%79", "/x%C3%A9y"),
    ] {
        let canonical = canonicalize(raw.as_bytes(), STRICT).unwrap_or_else(|e| panic!("{raw}: {e}"));
        assert_eq!(&*canonical, wanted);
        assert!(canonical.is_changed(), "{raw}");
    }
}

#[test]
fn repeated_slashes_are_refused_or_merged() {
    for (raw, offset, merged) in
        [("//", 1, "/"), ("//a", 1, "/a"), ("/a//b", 3, "/a/b"), ("/a///", 3, "/a/"), ("/%61//%2F", 5, "/a/%2F")]
    {
        let fault = canonicalize(raw.as_bytes(), STRICT).expect_err(raw);
        assert_eq!((fault.offset, fault.kind), (offset, Kind::EmptySegment), "{raw}");
        let path = canonicalize(raw.as_bytes(), MERGE).unwrap_or_else(|e| panic!("{raw}: {e}"));
        assert_eq!(&*path, merged);
    }
}

#[test]
fn what_servers_read_in_different_ways_is_refused() {
    check_bad(&[
        (b"", 0, Kind::NotAbsolute),
        (b"*", 0, Kind::NotAbsolute),
        (b"a/b", 0, Kind::NotAbsolute),
        (b"http://a/", 0, Kind::NotAbsolute),
        (b"/a b", 2, Kind::InvalidCharacter),
        (b"/a\x00", 2, Kind::InvalidCharacter),
        (b"/a\tb", 2, Kind::InvalidCharacter),
        (b"/a\x7f", 2, Kind::InvalidCharacter),
        (b"/\xc3\xa9", 1, Kind::InvalidCharacter),
        (b"/a%41\xff", 5, Kind::InvalidCharacter),
        (b"/a%zz", 2, Kind::BadEscape),
        (b"/a%", 2, Kind::BadEscape),
        (b"/a%4", 2, Kind::BadEscape),
        (b"/a%4/1", 2, Kind::BadEscape),
        (b"/%%34%31", 1, Kind::BadEscape),
        (b"/a%u0041", 2, Kind::BadEscape),
        (b"/a%+1", 2, Kind::BadEscape),
        (b"/a%00", 2, Kind::ControlCharacter),
        (b"/a%0d%0A", 2, Kind::ControlCharacter),
        (b"/a%1F", 2, Kind::ControlCharacter),
        (b"/a%7f", 2, Kind::ControlCharacter),
        (b"/%80", 1, Kind::InvalidUtf8),
        (b"/%C3", 1, Kind::InvalidUtf8),
        (b"/%C3%", 4, Kind::BadEscape),
        (b"/%C3A9", 1, Kind::InvalidUtf8),
        (b"/%C3/%A9", 1, Kind::InvalidUtf8),
        (b"/%C3%28", 1, Kind::InvalidUtf8),
        (b"/%C0%AF", 1, Kind::InvalidUtf8),
        (b"/%E0%80%AF", 1, Kind::InvalidUtf8),
        (b"/%ED%A0%80", 1, Kind::InvalidUtf8),
        (b"/%F4%90%80%80", 1, Kind::InvalidUtf8),
        (b"/%F5%80%80%80", 1, Kind::InvalidUtf8),
        (b"/.", 2, Kind::DotSegment),
        (b"/..", 3, Kind::DotSegment),
        (b"/./a", 2, Kind::DotSegment),
        (b"/a/../b", 5, Kind::DotSegment),
        (b"/a/%2e", 6, Kind::DotSegment),
        (b"/a/%2E%2e/b", 9, Kind::DotSegment),
        (b"/a/.%2e", 7, Kind::DotSegment),
    ]);
    for byte in *b"#\\\"<>^{|}[]`?" {
        check_bad(&[(&[b'/', byte], 1, Kind::InvalidCharacter)]);
    }
}

#[test]
fn escaped_slashes_are_noted() {
    for (raw, wanted) in [("/a%2Fb", true), ("/a%2fb", true), ("/a%5Cb", true), ("/a%5cb", true), ("/a%252Fb/c", false)]
    {
        let path = canonicalize(raw.as_bytes(), STRICT).unwrap_or_else(|e| panic!("{raw}: {e}"));
        assert_eq!(path.has_escaped_slash(), wanted, "{raw}");
        assert_eq!(path.into_owned().has_escaped_slash(), wanted, "{raw}");
    }
}

#[test]
fn the_key_ignores_the_case_of_escapes_only() {
    let key = |raw: &str| {
        let path = canonicalize(raw.as_bytes(), STRICT).unwrap_or_else(|e| panic!("{raw}: {e}"));
        (path.key().into_owned(), matches!(path.key(), Cow::Borrowed(_)))
    };
    assert_eq!(key("/a%2fb%e2%82%aC/cc"), ("/a%2Fb%E2%82%AC/cc".to_owned(), false));
    assert_eq!(key("/a%2Fb/aB%25ff"), ("/a%2Fb/aB%25ff".to_owned(), true));
}

#[test]
fn a_query_holds_visible_ascii_but_no_hash() {
    for good in ["", "a=b&c=%zz", "\\\"<>^{|}[]`?/"] {
        assert_eq!(check_query(good.as_bytes()), Ok(good));
    }
    for (bad, offset) in [(&b"a b"[..], 1), (b"#", 0), (b"a=\xc3\xa9", 2), (b"a\x7f", 1), (b"a\r\n", 1)] {
        assert_eq!(check_query(bad), Err(PathError { kind: Kind::InvalidCharacter, offset }));
    }
}

/// Paths that are mostly good and full of what matters.
fn raw_path() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z]{1,3}",
        3 => Just("/".to_owned()),
        1 => Just(".".to_owned()),
        2 => "%[2-7][0-9A-Fa-f]",
        1 => "%2[EeFf5]",
        1 => Just("%c3%A9".to_owned()),
        1 => "[%:;@\\\\]",
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

/// The rules again, in the plainest way: decode, split, look.
fn by_the_book(raw: &str, merge: bool) -> Option<String> {
    let mut out = String::new();
    let mut decoded = Vec::new();
    let mut rest = raw;
    while let Some(first) = rest.chars().next() {
        if first != '%' {
            if !(first.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/".contains(first)) {
                return None;
            }
            out.push(first);
            decoded.push(if first == '/' { 0 } else { first as u8 });
            rest = &rest[1..];
            continue;
        }
        let byte = u8::from_str_radix(rest.get(1..3)?, 16).ok()?;
        if byte < 0x20 || byte == 0x7f {
            return None;
        }
        decoded.push(byte);
        match char::from(byte) {
            c if c.is_ascii_alphanumeric() || "-._~".contains(c) => out.push(c),
            _ => out.push_str(&rest[..3]),
        }
        rest = &rest[3..];
    }
    std::str::from_utf8(&decoded).ok()?;
    let segments: Vec<&[u8]> = decoded.split(|&b| b == 0).skip(1).collect();
    let (_, inner) = segments.split_last()?;
    if segments.iter().any(|s| matches!(*s, b"." | b"..")) || !merge && inner.iter().any(|s| s.is_empty()) {
        return None;
    }
    while merge && out.contains("//") {
        out = out.replace("//", "/");
    }
    Some(out)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn the_form_is_that_of_the_rules(raw in raw_path(), merge: bool) {
        let got = canonicalize(raw.as_bytes(), CanonicalOptions { merge_slashes: merge });
        prop_assert_eq!(got.ok().map(|path| path.to_string()), by_the_book(&raw, merge));
    }

    #[test]
    fn the_form_is_stable(raw in raw_path(), merge: bool) {
        let options = CanonicalOptions { merge_slashes: merge };
        if let Ok(once) = canonicalize(raw.as_bytes(), options) {
            let twice = canonicalize(once.as_bytes(), STRICT).expect("canonical already");
            prop_assert!(!twice.is_changed());
            prop_assert_eq!(&*twice, &*once);
            prop_assert_eq!(twice.has_escaped_slash(), once.has_escaped_slash());
        }
    }

    #[test]
    fn any_bytes_are_judged(raw in proptest::collection::vec(any::<u8>(), 0..64), merge: bool) {
        let raw = [b"/".as_slice(), &raw].concat();
        if let Err(fault) = canonicalize(&raw, CanonicalOptions { merge_slashes: merge }) {
            prop_assert!(fault.offset <= raw.len());
        }
    }
}
