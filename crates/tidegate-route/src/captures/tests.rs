//! Values of variables: which escapes are decoded, which stay, and what is refused.

use super::*;

/// A raw value, and what it decodes to.
type Row = (&'static str, Result<&'static str, (usize, PathErrorKind)>);

fn check(mode: MultiEscape, table: &[Row]) {
    for (raw, wanted) in table {
        let got = decode(raw, mode);
        let got = got.as_deref().map_err(|fault| (fault.offset, fault.kind));
        assert_eq!(got, *wanted, "{raw}");
    }
}

#[test]
fn all_escapes_are_decoded_in_a_single_segment() {
    check(
        MultiEscape::All,
        &[
            ("", Ok("")),
            ("abc", Ok("abc")),
            ("a%20b", Ok("a b")),
            ("a%2Fb%2fc", Ok("a/b/c")),
            ("%252F", Ok("%2F")),
            ("a+b", Ok("a+b")),
            ("%E2%82%ac", Ok("€")),
            ("%00", Ok("\0")),
            ("%21%23%24%26%27%28%29%2A%2B%2C%2F%3A%3B%3D%3F%40%5B%5D", Ok("!#$&'()*+,/:;=?@[]")),
        ],
    );
}

#[test]
fn a_value_of_several_segments_keeps_what_the_route_says() {
    check(
        MultiEscape::KeepSlash,
        &[("p/a%20b/q/c%2Fd", Ok("p/a b/q/c%2Fd")), ("a%2fb%3a", Ok("a%2fb:")), ("a%5Cb", Ok("a\\b"))],
    );
    check(MultiEscape::Reserved, &[("a%2fb/%3a%20%25%5C", Ok("a%2fb/%3a %\\")), ("%21%23%5B%5d", Ok("%21%23%5B%5d"))]);
    check(MultiEscape::All, &[("a%2fb/c", Ok("a/b/c"))]);
}

#[test]
fn an_escaped_slash_hides_no_dot_segment() {
    for mode in [MultiEscape::All, MultiEscape::Reserved, MultiEscape::KeepSlash] {
        check(
            mode,
            &[
                ("..%2Fa", Err((2, PathErrorKind::DotSegment))),
                ("a%2f..", Err((6, PathErrorKind::DotSegment))),
                ("a%2F.%2Fb", Err((5, PathErrorKind::DotSegment))),
                ("a%5c..%5cb", Err((6, PathErrorKind::DotSegment))),
                ("x/a%5C../b", Err((8, PathErrorKind::DotSegment))),
                ("a%2F%2e%2E", Err((10, PathErrorKind::DotSegment))),
            ],
        );
    }
    check(MultiEscape::All, &[("a%2F...", Ok("a/...")), ("a%2F..b", Ok("a/..b")), ("%2F%2F", Ok("//"))]);
}

#[test]
fn escapes_that_are_wrong_are_errors_not_text() {
    check(
        MultiEscape::All,
        &[
            ("a%zz", Err((1, PathErrorKind::BadEscape))),
            ("a%1", Err((1, PathErrorKind::BadEscape))),
            ("a%", Err((1, PathErrorKind::BadEscape))),
            ("ab%ff", Err((2, PathErrorKind::InvalidUtf8))),
        ],
    );
}

#[test]
fn a_variable_that_is_not_there_is_empty() {
    let captures = Captures::new();
    assert_eq!(captures.raw(0, "/a"), "");
    assert_eq!(captures.decode(3, "/a", MultiEscape::All).as_deref(), Ok(""));
}
