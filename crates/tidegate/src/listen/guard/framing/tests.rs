use proptest::prelude::*;

use super::*;

fn follower() -> Follower {
    Follower::new(HeadLimits::default())
}

/// Follows `input` in pieces of `cut` bytes; how many bytes passed before the fault, and the fault.
fn follow(input: &[u8], cut: usize) -> (usize, Option<Fault>, Place, u64) {
    let mut follower = follower();
    let mut passed = 0;
    for piece in input.chunks(cut.max(1)) {
        let followed = follower.follow(piece);
        passed += followed.pass;
        if followed.fault.is_some() {
            return (passed, followed.fault, follower.place(), follower.heads());
        }
    }
    (passed, None, follower.place(), follower.heads())
}

fn check(input: &str, expected: Result<(Place, u64), Fault>) {
    for cut in [input.len(), 1, 2, 3, 7] {
        let (_, fault, place, heads) = follow(input.as_bytes(), cut);
        let seen = fault.map_or(Ok((place, heads)), Err);
        assert_eq!(seen, expected, "{input:?} in pieces of {cut}");
    }
}

fn check_field(field: &str, expected: Result<Place, Fault>) {
    check(&format!("POST / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n"), expected.map(|place| (place, 1)));
}

#[test]
fn requests_are_followed_to_their_ends() {
    use Place::{Between, Body, Head};
    let cases = [
        ("", Between, 0),
        ("G", Head, 0),
        ("GET / HTTP/1.1\r\nHost: a\r\n", Head, 0),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Between, 1),
        ("GET / HTTP/1.0\r\n\r\n", Between, 1),
        ("\r\nGET / HTTP/1.1\r\n\r\n", Between, 1),
        ("GET / HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nG", Head, 2),
        ("POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", Between, 1),
        ("POST / HTTP/1.1\r\ncontent-length:3\r\n\r\nab", Body, 1),
        ("POST / HTTP/1.1\r\nContent-Length: \t3 \r\n\r\nabcGET / HTTP/1.1\r\n\r\n", Between, 2),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", Body, 1),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n00a;x=\"\\\"\";y\r\n0123456789\r\n",
            Body,
            1,
        ),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", Between, 1),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx-sum: 1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            Between,
            2,
        ),
        ("GET http://a.example/?` HTTP/1.1\r\n\r\nOPTIONS * HTTP/1.1\r\n\r\n", Between, 2),
        ("PURGE /a?b=c{} HTTP/1.1\r\n", Head, 0),
    ];
    for (input, place, heads) in cases {
        check(input, Ok((place, heads)));
    }
}

#[test]
fn request_lines_that_parsers_read_differently_are_refused() {
    let cases = [
        ("\x16\x03\x01\x02\x00", Fault::NotHttp),
        (" GET / HTTP/1.1\r\n", Fault::NotHttp),
        ("\n", Fault::BareLf),
        ("\r\n\r\n\r\n", Fault::RequestLine),
        ("GET / HTTP/1.1\nHost: a\n\n", Fault::BareLf),
        ("GET /\r\n", Fault::RequestLine),
        ("GET\r\n", Fault::RequestLine),
        ("GET  HTTP/1.1\r\n", Fault::RequestLine),
        ("GET / HTTP/1.1 \r\n", Fault::RequestLine),
        ("GET  / HTTP/1.1\r\n", Fault::Target),
        ("GET / / HTTP/1.1\r\n", Fault::Target),
        ("GET /\t HTTP/1.1\r\n", Fault::Target),
        ("GET /a#b HTTP/1.1\r\n", Fault::Target),
        ("GET /a\"b HTTP/1.1\r\n", Fault::Target),
        ("GET /ä HTTP/1.1\r\n", Fault::Target),
        ("GET /a`b HTTP/1.1\r\n", Fault::Target),
        ("GET a HTTP/1.1 HTTP/1.1\r\n", Fault::Target),
        ("GET http:///x HTTP/1.1\r\n", Fault::Target),
        ("G(T / HTTP/1.1\r\n", Fault::RequestLine),
        ("GET / HTTP/2.0\r\n", Fault::Version),
        ("GET / HTTP/1.2\r\n", Fault::Version),
        ("GET / http/1.1\r\n", Fault::RequestLine),
        ("GET / HTTP/1.1\r\r\n", Fault::RequestLine),
        ("GET / HTTP/11\r\n", Fault::RequestLine),
        ("PRI * HTTP/2.0\r\n", Fault::Version),
    ];
    for (input, fault) in cases {
        check(input, Err(fault));
    }
}

#[test]
fn fields_that_parsers_read_differently_are_refused() {
    let cases = [
        ("A: b", Ok(Place::Between)),
        ("A:", Ok(Place::Between)),
        ("A: \u{e4}\tb", Ok(Place::Between)),
        (" A: b", Err(Fault::Fold)),
        ("\tb", Err(Fault::Fold)),
        ("A : b", Err(Fault::FieldName)),
        (": b", Err(Fault::FieldName)),
        ("A b", Err(Fault::FieldName)),
        ("A(: b", Err(Fault::FieldName)),
        ("A: b\0c", Err(Fault::FieldValue)),
        ("A: b\rc", Err(Fault::FieldValue)),
        ("A: b\x7f", Err(Fault::FieldValue)),
        ("A: b\x1f", Err(Fault::FieldValue)),
        ("A: b\nB: c", Err(Fault::BareLf)),
    ];
    for (field, expected) in cases {
        check_field(field, expected);
    }
}

#[test]
fn a_body_has_exactly_one_framing() {
    let cases = [
        ("Content-Length: 5", Ok(Place::Body)),
        ("Content-Length: 9223372036854775807", Ok(Place::Body)),
        ("Content-Length: 9223372036854775808", Err(Fault::Length)),
        ("Content-Length: 99999999999999999999", Err(Fault::Length)),
        ("Content-Length:", Err(Fault::Length)),
        ("Content-Length: +5", Err(Fault::Length)),
        ("Content-Length: -1", Err(Fault::Length)),
        ("Content-Length: 0x5", Err(Fault::Length)),
        ("Content-Length: 5, 5", Err(Fault::Length)),
        ("Content-Length: 5 5", Err(Fault::Length)),
        ("Content-Length: 5\r\nContent-Length: 5", Err(Fault::TwoLengths)),
        ("Content-Length: 5\r\nCONTENT-LENGTH: 6", Err(Fault::TwoLengths)),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", Err(Fault::LengthAndCoding)),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0", Err(Fault::LengthAndCoding)),
        ("Transfer-Encoding: chunked", Ok(Place::Body)),
        ("transfer-encoding:chunked\t", Ok(Place::Body)),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Err(Fault::LengthAndCoding)),
        ("Transfer-Encoding: Chunked", Err(Fault::Coding)),
        ("Transfer-Encoding: chunked, chunked", Err(Fault::Coding)),
        ("Transfer-Encoding: gzip, chunked", Err(Fault::Coding)),
        ("Transfer-Encoding: xchunked", Err(Fault::Coding)),
        ("Transfer-Encoding: \"chunked\"", Err(Fault::Coding)),
        ("Transfer-Encoding:", Err(Fault::Coding)),
        ("Transfer-Encoding: gzip", Err(Fault::UnknownCoding)),
        ("Transfer-Encoding: identity", Err(Fault::UnknownCoding)),
    ];
    for (field, expected) in cases {
        check_field(field, expected);
    }
    check("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Err(Fault::Coding));
}

#[test]
fn chunks_are_exact() {
    let cases = [
        ("", Ok(Place::Body)),
        ("f", Ok(Place::Body)),
        ("0\r\n\r\n", Ok(Place::Between)),
        ("000\r\n\r\n", Ok(Place::Between)),
        ("1;a\r\nx\r\n0;b=c;d=\"e;\\\\\"\r\n\r\n", Ok(Place::Between)),
        ("\r\n", Err(Fault::Chunk)),
        ("x\r\n", Err(Fault::Chunk)),
        ("-1\r\n", Err(Fault::Chunk)),
        ("0x1\r\n", Err(Fault::Chunk)),
        (" 1\r\n", Err(Fault::Chunk)),
        ("1 \r\n", Err(Fault::Chunk)),
        ("1\nx\r\n", Err(Fault::Chunk)),
        ("1\r\nxy", Err(Fault::Chunk)),
        ("1\r\nx\n", Err(Fault::Chunk)),
        ("1\r\nx\rx", Err(Fault::Chunk)),
        ("1;\r\nx", Err(Fault::Chunk)),
        ("1;;\r\nx", Err(Fault::Chunk)),
        ("1; a\r\nx", Err(Fault::Chunk)),
        ("1;a=\r\nx", Err(Fault::Chunk)),
        ("1;a=b c\r\nx", Err(Fault::Chunk)),
        ("1;a=\"\0\"\r\nx", Err(Fault::Chunk)),
        ("1;a=\"b\"c\r\nx", Err(Fault::Chunk)),
        ("7fffffffffffffff\r\n", Err(Fault::Chunk)),
        ("0\r\nbad line\r\n\r\n", Err(Fault::FieldName)),
        ("0\r\na: b\nc: d\r\n", Err(Fault::BareLf)),
        ("0\r\n folded\r\n", Err(Fault::Fold)),
    ];
    for (body, expected) in cases {
        let input = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        check(&input, expected.map(|place| (place, 1)));
    }
}

#[test]
fn every_limit_is_kept_and_none_is_off_by_one() {
    let target = |len: usize| format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(len - 1));
    check(&target(8 * 1024), Ok((Place::Between, 1)));
    check(&target(8 * 1024 + 1), Err(Fault::UriTooLong));
    let fields = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count));
    check(&fields(100), Ok((Place::Between, 1)));
    check(&fields(101), Err(Fault::TooManyFields));
    let head = |bytes: usize| {
        let empty = "GET / HTTP/1.1\r\na: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(bytes - empty))
    };
    check(&head(32 * 1024), Ok((Place::Between, 1)));
    check(&head(32 * 1024 + 1), Err(Fault::HeadTooLarge));
    let method = |len: usize| format!("{} / HTTP/1.1\r\n\r\n", "M".repeat(len));
    check(&method(32), Ok((Place::Between, 1)));
    check(&method(33), Err(Fault::RequestLine));
    let extension =
        |bytes: usize| format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0;{}\r\n\r\n", "x".repeat(bytes));
    // The CR that ends an extension is the last byte that counts.
    check(&extension(16 * 1024 - 1), Ok((Place::Between, 1)));
    check(&extension(16 * 1024), Err(Fault::Chunk));
}

#[test]
fn a_line_without_end_is_refused_at_its_limit() {
    for (start, fault) in
        [("G", Fault::RequestLine), ("GET /", Fault::UriTooLong), ("GET / HTTP/1.1\r\na: ", Fault::HeadTooLarge)]
    {
        let mut follower = follower();
        assert_eq!(follower.follow(start.as_bytes()).fault, None);
        let mut bytes = 0;
        let found = loop {
            if let Some(fault) = follower.follow(&[b'x'; 100]).fault {
                break fault;
            }
            bytes += 100;
            assert!(bytes < 40_000);
        };
        assert_eq!(found, fault);
        assert!(follower.partial.capacity() < 80_000);
    }
}

#[test]
fn only_complete_lines_of_a_head_pass() {
    let mut follower = follower();
    let mut pass = |bytes: &str| follower.follow(bytes.as_bytes()).pass;
    assert_eq!(pass("GET / HT"), 0);
    assert_eq!(pass("TP/1.1\r\nHost"), 8);
    assert_eq!(pass(": a\r"), 0);
    assert_eq!(pass("\nContent-Length: 5\r\n\r\nab"), 24);
    assert_eq!(pass("cdeG"), 3);
}

#[test]
fn requests_before_the_fault_pass() {
    let good = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut input = good.to_vec();
    input.extend_from_slice(b"GET /2 HTTP/1.1\r\nHost : a\r\n\r\n");
    let (passed, fault, ..) = follow(&input, input.len());
    assert_eq!((passed, fault), (good.len(), Some(Fault::FieldName)));
    let body = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\nzz";
    let (passed, fault, place, _) = follow(body, body.len());
    assert_eq!((fault, place), (Some(Fault::Chunk), Place::Body));
    assert!(passed <= body.len() - 2);
}

/// What a follower makes of a whole input.
pub(in crate::listen) struct FollowedWhole {
    pub(in crate::listen) heads: u64,
    pub(in crate::listen) fault: bool,
    /// The input ends inside a head.
    pub(in crate::listen) partial: bool,
}

pub(in crate::listen) fn follow_whole(input: &[u8]) -> FollowedWhole {
    let (_, fault, place, heads) = follow(input, input.len());
    FollowedWhole { heads, fault: fault.is_some(), partial: place == Place::Head }
}

/// Pieces that mean something to the follower, so that random joins get far.
pub(in crate::listen) fn piece() -> impl Strategy<Value = Vec<u8>> {
    let words: [&[u8]; 22] = [
        b"GET / HTTP/1.1\r\n",
        b"POST /a?b HTTP/1.1\r\n",
        b"GET / HTTP/1.0\r\n",
        b"Host: a\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"Content-Length: 3\r\n",
        b"Content-Length: ",
        b"Transfer-Encoding: chunked\r\n",
        b"abc",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"0\r\n",
        b"a;b=c\r\n",
        b" ",
        b":",
        b"x: y\r\n",
        b"\0",
        b"\xff",
        b"5",
        b"Expect: 100-continue\r\n",
    ];
    prop_oneof![
        8 => proptest::sample::select(words.to_vec()).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..8),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn splits_change_nothing(pieces in proptest::collection::vec(piece(), 0..12), cut in 1_usize..40) {
        let input = pieces.concat();
        let (_, fault, place, heads) = follow(&input, input.len());
        let (_, cut_fault, cut_place, cut_heads) = follow(&input, cut);
        prop_assert_eq!((fault, heads), (cut_fault, cut_heads));
        if fault.is_none() {
            prop_assert_eq!(place, cut_place);
        }
    }
}

#[test]
fn behind_a_head_that_asks_for_a_websocket_nothing_is_looked_at_until_it_is_answered() {
    let heads = [
        ("GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nHost: a\r\nupgrade: h2c, WebSocket\r\nConnection: close\r\n\r\n", true),
        ("POST / HTTP/1.1\r\nContent-Length: 0\r\nUPGRADE: websocket\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nUpgrade: websockets\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nX-Upgrade: websocket\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nUpgrade: websocket\r\n\r\n", false),
    ];
    for (head, waits) in heads {
        for cut in [head.len(), 1, 2, 3, 7] {
            let mut follower = follower();
            let passed: usize = head.as_bytes().chunks(cut).map(|piece| follower.follow(piece).pass).sum();
            assert_eq!((follower.waits(), follower.place(), follower.heads()), (waits, Place::Between, 1), "{head:?}");
            // What was held back of a line passes with its end.
            assert!(passed > 0 && passed <= head.len());
            let frame = follower.follow(b"\x81\x80");
            let expected = if waits { (0, None) } else { (0, Some(Fault::NotHttp)) };
            assert_eq!((frame.pass, frame.fault), expected, "{head:?}");
            follower.resume();
            if waits {
                assert_eq!(follower.follow(b"GET / HTTP/1.1\r\n\r\n").fault, None);
                assert_eq!(follower.heads(), 2);
            }
        }
    }
    let mut follower = follower();
    let both = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\nGET /2 HTTP/1.1\r\n\r\n";
    let followed = follower.follow(both);
    assert_eq!((followed.pass, follower.heads()), (both.len() - 19, 1));
    let body = b"POST / HTTP/1.1\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\n";
    let mut follower = self::follower();
    follower.follow(body);
    assert_eq!((follower.waits(), follower.place()), (false, Place::Body));
}
