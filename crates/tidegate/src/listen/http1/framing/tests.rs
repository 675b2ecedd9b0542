use proptest::prelude::*;

use super::*;

/// What becomes of an input.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    fault: Option<Fault>,
    place: Place,
    heads: u64,
    bodies: Vec<Vec<u8>>,
}

/// Takes `input` apart, which comes in pieces of `cut` bytes.
fn follow(input: &[u8], cut: usize) -> Seen {
    let mut framing = Framing::new(HeadLimits::default());
    let (mut waiting, mut heads, mut bodies) = (BytesMut::new(), 0, Vec::<Vec<u8>>::new());
    for piece in input.chunks(cut.max(1)) {
        waiting.extend_from_slice(piece);
        let fault = loop {
            if framing.is_in_body() {
                match framing.body(&mut waiting) {
                    Ok(Part::Data(data)) => bodies.last_mut().unwrap().extend_from_slice(&data),
                    Ok(Part::End(_)) => {}
                    Ok(Part::More) => break None,
                    Err(fault) => break Some(fault),
                }
                continue;
            }
            match framing.head(&mut waiting) {
                Ok(Some(_)) => {
                    heads += 1;
                    bodies.push(Vec::new());
                }
                Ok(None) => break None,
                Err(fault) => break Some(fault),
            }
        };
        if fault.is_some() {
            return Seen { fault, place: framing.place(&waiting), heads, bodies };
        }
    }
    Seen { fault: None, place: framing.place(&waiting), heads, bodies }
}

fn check(input: &str, expected: Result<(Place, u64), Fault>) {
    for cut in [input.len(), 1, 2, 3, 7] {
        let Seen { fault, place, heads, .. } = follow(input.as_bytes(), cut);
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
        let mut framing = Framing::new(HeadLimits::default());
        let mut waiting = BytesMut::from(start);
        let found = loop {
            match framing.head(&mut waiting) {
                Ok(head) => assert!(head.is_none()),
                Err(fault) => break fault,
            }
            assert!(waiting.len() < 40_000);
            waiting.extend_from_slice(&[b'x'; 100]);
        };
        assert_eq!(found, fault);
    }
}

#[test]
fn heads_become_values() {
    let mut framing = Framing::new(HeadLimits::default());
    let text = "\r\nPOST http://b/x?y HTTP/1.0\r\nHost: a\r\nX-Two:  b\tc \r\nx-two:\r\nConnection: Keep-Alive\r\n\
                TE: deflate, trailers;q=1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabcGET";
    let mut input = BytesMut::from(text);
    let Head { parts, says, body } = framing.head(&mut input).unwrap().unwrap();
    assert_eq!((parts.method.as_str(), parts.version), ("POST", Version::HTTP_10));
    assert_eq!(parts.uri.to_string(), "http://b/x?y");
    let twos: Vec<_> = parts.headers.get_all("x-two").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(
        (twos, &parts.headers["host"], parts.headers.len()),
        (vec!["b\tc", ""], &HeaderValue::from_static("a"), 7)
    );
    assert!(says.keep_alive && says.takes_trailers && says.expects && !says.close && !says.websocket);
    assert_eq!(body, BodyLength::Sized(3));
    assert_eq!(framing.at_hand(&mut input).as_deref(), Some(&b"abc"[..]));
    assert_eq!((framing.place(&input), &*input), (Place::Head, &b"GET"[..]));
}

#[test]
fn a_body_that_is_not_at_hand_comes_in_parts() {
    let mut framing = Framing::new(HeadLimits::default());
    let mut input = BytesMut::from("PUT / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc");
    framing.head(&mut input).unwrap().unwrap();
    assert_eq!(framing.at_hand(&mut input), None);
    assert!(!framing.discard(&mut input) && input.is_empty() && framing.is_in_body());
    input.extend_from_slice(b"deGET / HTTP/1.1\r\n\r\n");
    assert!(framing.discard(&mut input) && framing.head(&mut input).unwrap().is_some());
}

#[test]
fn chunks_become_a_body_and_trailers() {
    let mut framing = Framing::new(HeadLimits::default());
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut input = BytesMut::from(format!("{head}3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum:  7\r\n\r\n").as_bytes());
    framing.head(&mut input).unwrap().unwrap();
    let mut pieces = Vec::new();
    let trailers = loop {
        match framing.body(&mut input).unwrap() {
            Part::Data(data) => pieces.push(data),
            Part::End(trailers) => break trailers.unwrap(),
            Part::More => panic!("all of it is there"),
        }
    };
    assert_eq!(pieces, ["abc", "de"]);
    assert_eq!((trailers.len(), &trailers["x-sum"]), (1, &HeaderValue::from_static("7")));
}

/// What becomes of a whole input.
pub(in crate::listen) struct FollowedWhole {
    pub(in crate::listen) heads: u64,
    pub(in crate::listen) fault: bool,
    /// The input ends inside a head.
    pub(in crate::listen) partial: bool,
}

pub(in crate::listen) fn follow_whole(input: &[u8]) -> FollowedWhole {
    let Seen { fault, place, heads, .. } = follow(input, input.len());
    FollowedWhole { heads, fault: fault.is_some(), partial: place == Place::Head }
}

/// Pieces that mean something here, so that random joins get far.
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
        let whole = follow(&input, input.len());
        let parts = follow(&input, cut);
        prop_assert_eq!((whole.fault, whole.heads, &whole.bodies), (parts.fault, parts.heads, &parts.bodies));
        if whole.fault.is_none() {
            prop_assert_eq!(whole.place, parts.place);
        }
    }
}

#[test]
fn heads_say_whether_they_ask_for_a_websocket() {
    let heads = [
        ("GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nHost: a\r\nupgrade: h2c, WebSocket\r\nConnection: close\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nUpgrade: websockets\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nX-Upgrade: websocket\r\n\r\n", false),
    ];
    for (text, asks) in heads {
        let mut framing = Framing::new(HeadLimits::default());
        let mut input = BytesMut::from(text);
        input.extend_from_slice(b"\x81\x80");
        let head = framing.head(&mut input).unwrap().unwrap();
        // What follows is not looked at until the answer says what it is.
        assert_eq!((head.says.websocket, &*input), (asks, &b"\x81\x80"[..]), "{text:?}");
    }
}
