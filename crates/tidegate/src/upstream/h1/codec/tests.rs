use super::*;

fn head(text: &str, is_head: bool) -> Result<Option<Head>, Fault> {
    take_head(&mut BytesMut::from(text), &mut 0, is_head)
}

/// The framing and whether the connection is kept, of an answer with `status` and `fields`.
fn framed(start: &str, fields: &str) -> Result<(Decoder, bool), Fault> {
    head(&format!("{start}\r\n{fields}\r\n"), false).map(|head| head.unwrap()).map(|head| (head.body, head.keep_alive))
}

#[test]
fn a_head_has_one_framing_or_is_refused() {
    const OK: &str = "HTTP/1.1 200 OK";
    let chunked = || Decoder::Chunked(Chunk::Size, 0);
    for (start, fields, expected) in [
        (OK, "content-length: 5\r\n", Some((Decoder::Length(5), true))),
        (OK, "Content-Length: 0\r\n", Some((Decoder::Done, true))),
        (OK, "transfer-encoding: Chunked\r\n", Some((chunked(), true))),
        (OK, "", Some((Decoder::UntilClose, false))),
        (OK, "content-length: 5\r\nconnection: x, Close\r\n", Some((Decoder::Length(5), false))),
        ("HTTP/1.1 204 No Content", "", Some((Decoder::Done, true))),
        ("HTTP/1.1 304 Not Modified", "content-length: 5\r\n", Some((Decoder::Done, true))),
        ("HTTP/1.1 200", "content-length: 1\r\n", Some((Decoder::Length(1), true))),
        ("HTTP/1.0 200 OK", "content-length: 5\r\n", Some((Decoder::Length(5), false))),
        ("HTTP/1.0 200 OK", "content-length: 5\r\nconnection: keep-alive\r\n", Some((Decoder::Length(5), true))),
        ("HTTP/1.0 200 OK", "transfer-encoding: chunked\r\n", None),
        (OK, "content-length: 5\r\ntransfer-encoding: chunked\r\n", None),
        (OK, "content-length: 5\r\ncontent-length: 5\r\n", None),
        (OK, "content-length: 5, 5\r\n", None),
        (OK, "content-length: +5\r\n", None),
        (OK, "content-length:\r\n", None),
        (OK, "content-length: 99999999999999999999\r\n", None),
        (OK, "transfer-encoding: gzip, chunked\r\n", None),
        (OK, "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", None),
        (OK, "a b: c\r\n", None),
        (OK, "a: b\r\n c\r\n", None),
        (OK, "a: b\nc: d\r\n", None),
        (OK, "a: \u{1}\r\n", None),
        (OK, ": b\r\n", None),
        ("HTTP/1.1 99 No", "", None),
        ("HTTP/1.1 600 No", "", None),
        ("HTTP/2 200 OK", "", None),
        ("ICY 200 OK", "", None),
        ("", "", None),
    ] {
        assert_eq!(framed(start, fields).ok(), expected, "{start} {fields:?}");
    }
    assert!(head("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", true).unwrap().unwrap().body.is_done());
}

#[test]
fn a_head_may_come_in_any_pieces() {
    let text = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: y\r\n\r\nab";
    for cut in 1..text.len() {
        let (mut input, mut scanned) = (BytesMut::from(&text[..cut]), 0);
        let first = take_head(&mut input, &mut scanned, false).unwrap();
        input.extend_from_slice(&text[cut..]);
        let head = first.or_else(|| take_head(&mut input, &mut scanned, false).unwrap()).unwrap();
        assert_eq!((head.headers["x"].as_bytes(), &*input), (&b"y"[..], &b"ab"[..]), "{cut}");
    }
}

#[test]
fn a_head_without_end_is_refused_when_it_is_too_large() {
    let mut input = BytesMut::from("HTTP/1.1 200 OK\r\n");
    let mut scanned = 0;
    while input.len() <= MAX_HEAD {
        assert!(take_head(&mut input, &mut scanned, false).unwrap().is_none());
        input.extend_from_slice(&[b'a'; 1000]);
    }
    assert!(take_head(&mut input, &mut scanned, false).is_err());
    let many = "a: b\r\n".repeat(MAX_FIELDS + 1);
    assert!(head(&format!("HTTP/1.1 200 OK\r\n{many}\r\n"), false).is_err());
}

/// Data, trailers, and what is left behind.
type Whole = (Vec<u8>, Option<HeaderMap>, Vec<u8>);

/// All of a body whose bytes come `step` at a time.
fn decode(mut decoder: Decoder, bytes: &[u8], step: usize) -> Result<Whole, Fault> {
    let (mut input, mut data, mut rest) = (BytesMut::new(), Vec::new(), bytes.chunks(step));
    loop {
        match decoder.next(&mut input)? {
            Step::Data(piece) => data.extend_from_slice(&piece),
            Step::End(trailers) => {
                return Ok((data, trailers, [&*input, &rest.flatten().copied().collect::<Vec<u8>>()].concat()));
            }
            Step::More => match rest.next() {
                Some(more) => input.extend_from_slice(more),
                None => return Err(Fault("cut")),
            },
        }
    }
}

#[test]
fn bodies_end_where_they_say_in_any_pieces() {
    let chunked = || Decoder::Chunked(Chunk::Size, 0);
    for step in [1, 2, 3, 7, 1000] {
        assert_eq!(decode(Decoder::Length(3), b"abcd", step).unwrap(), (b"abc".to_vec(), None, b"d".to_vec()));
        assert_eq!(decode(Decoder::Length(3), b"ab", step), Err(Fault("cut")));
        let text = b"3\r\nabc\r\nA;x=\"y\"\r\n0123456789\r\n0\r\n\r\nnext";
        assert_eq!(decode(chunked(), text, step).unwrap(), (b"abc0123456789".to_vec(), None, b"next".to_vec()));
        let text = b"1\r\na\r\n0\r\nx-sum: 7\r\nContent-Length: 9\r\n\r\n";
        let (data, trailers, _) = decode(chunked(), text, step).unwrap();
        let trailers = trailers.unwrap();
        assert_eq!((data.as_slice(), trailers.len(), &trailers["x-sum"]), (&b"a"[..], 1, &"7".parse().unwrap()));
        for cut in 0..text.len() {
            assert!(decode(chunked(), &text[..cut], step).is_err(), "{cut}");
        }
    }
}

#[test]
fn broken_chunks_are_faults() {
    let long = format!("1;{}\r\na\r\n", "x".repeat(MAX_CHUNK_LINE));
    let many = format!("1;{}\r\na\r\n", "x".repeat(1000)).repeat(MAX_EXTENSIONS / 1000 + 1);
    let trailers = format!("0\r\n{}\r\n", "a: b\r\n".repeat(MAX_TRAILERS / 6 + 1));
    for text in [
        "\r\n",
        "g\r\n",
        "-1\r\n",
        "0x1\r\n",
        "1 \r\na\r\n",
        "1\na\r\n",
        "1\r\nab\r\n",
        "1\r\na\n",
        "ffffffffffffffff\r\n",
        "0\r\na\r\n\r\n",
        "0\r\na: b\nc: d\r\n\r\n",
        &long,
        &many,
        &trailers,
    ] {
        let result = decode(Decoder::Chunked(Chunk::Size, 0), text.as_bytes(), 1000);
        assert!(result.is_err_and(|fault| fault != Fault("cut")), "{text:.40}");
    }
}
