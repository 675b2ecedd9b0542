use std::collections::VecDeque;
use std::io::Read as _;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::ACCEPT_ENCODING;
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body, Frame, SizeHint};

use super::*;
use crate::body::BodyError;

const CODINGS: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| ((*name).try_into().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
}

/// Undoes a coding as far as there are bytes.
fn undone(coding: Coding, bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut out = Vec::new();
    let whole = match coding {
        Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out),
        Coding::Zstd => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut out),
        Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out),
    };
    (out, whole.is_ok())
}

/// Text that compresses as text does.
fn text(length: usize) -> Vec<u8> {
    let mut text = Vec::new();
    for number in 0_u64.. {
        text.extend_from_slice(format!("{{\"id\":{},\"of\":\"order\"}},", number.wrapping_mul(0x9e37_79b9)).as_bytes());
        if text.len() >= length {
            break;
        }
    }
    text.truncate(length);
    text
}

#[test]
fn the_best_that_a_client_takes_is_chosen() {
    use Coding::{Brotli, Gzip, Zstd};
    for (accept, coding, identity) in [
        (None, None, true),
        (Some(""), None, true),
        (Some("gzip"), Some(Gzip), true),
        (Some("x-gzip"), Some(Gzip), true),
        (Some("gzip, deflate, br, zstd"), Some(Zstd), true),
        (Some("gzip, deflate, br"), Some(Brotli), true),
        (Some("GZIP;Q=0.5, br;q=0.4"), Some(Gzip), true),
        (Some("gzip;q=1.0, zstd ; q=0.001"), Some(Gzip), true),
        (Some("*"), Some(Zstd), true),
        (Some("*;q=0.1, zstd;q=0"), Some(Brotli), true),
        (Some("gzip, *;q=0"), Some(Gzip), false),
        (Some("gzip, identity;q=0"), Some(Gzip), false),
        (Some("gzip;q=0"), None, true),
        (Some("gzip;q=0, identity;q=0"), None, false),
        (Some("identity, gzip;q=0.5"), None, true),
        (Some("identity;q=0.5, gzip;q=0.5"), Some(Gzip), true),
        (Some("deflate, compress"), None, true),
        (Some("gzip;q=2"), None, true),
        (Some("gzip;q=0.1234"), None, true),
        (Some("gzip;level=1"), None, true),
        (Some("gzip;q"), None, true),
        (Some(", ,gzip,,"), Some(Gzip), true),
    ] {
        let headers = accept.map_or_else(HeaderMap::new, |accept| headers(&[("accept-encoding", accept)]));
        assert_eq!(Compress::taken(&headers), Taken { coding, identity }, "{accept:?}");
    }
    let mut several = headers(&[("accept-encoding", "gzip;q=0.5")]);
    several.append(ACCEPT_ENCODING, HeaderValue::from_static("br"));
    assert_eq!(Compress::taken(&several).coding, Some(Brotli));
    several.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=0, no-transform"));
    assert_eq!(Compress::taken(&several).coding, None);
}

const WHOLE: Compress = Compress { streams: false, proxied: true };

fn answer(status: u16, fields: &[(&'static str, &str)], body: AnyBody) -> Response<AnyBody> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    *response.headers_mut() = headers(fields);
    response
}

fn gzip() -> Taken {
    Taken { coding: Some(Coding::Gzip), identity: true }
}

#[test]
fn what_cannot_or_need_not_be_compressed_is_left_alone() {
    const JSON: (&str, &str) = ("content-type", "application/json");
    type Case = (u16, &'static [(&'static str, &'static str)], usize);
    let left: &[Case] = &[
        (200, &[JSON], 1023),
        (200, &[], 2000),
        (200, &[("content-type", "image/png")], 2000),
        (200, &[("content-type", "application/grpc+proto")], 2000),
        (200, &[("content-type", "application/grpc-web+json")], 2000),
        (200, &[("content-type", "text/event-stream")], 2000),
        (200, &[("content-type", "application/x-ndjson")], 2000),
        (200, &[JSON, ("content-encoding", "br")], 2000),
        (200, &[JSON, ("cache-control", "private, No-Transform")], 2000),
        (200, &[JSON, ("repr-digest", "sha-256=:x:")], 2000),
        (206, &[JSON, ("content-range", "bytes 0-1/2")], 2000),
        (205, &[JSON], 2000),
        (304, &[JSON], 2000),
        (101, &[JSON], 2000),
    ];
    for (status, fields, length) in left {
        let before = answer(*status, fields, AnyBody::full(text(*length).into()));
        let after = WHOLE.apply(gzip(), false, before);
        assert_eq!(after.headers(), &headers(fields), "{status} {fields:?}");
        let exact = after.body().size_hint().exact();
        assert_eq!(exact, Some(*length as u64), "{status} {fields:?}");
    }
    for kind in [
        "application/json",
        "application/json; charset=utf-8",
        "APPLICATION/PROBLEM+JSON",
        "text/html",
        "image/svg+xml",
        "application/javascript",
        "application/yaml",
    ] {
        let before = answer(200, &[("content-type", kind)], AnyBody::full(text(2000).into()));
        let after = WHOLE.apply(gzip(), false, before);
        assert_eq!(after.headers()[CONTENT_ENCODING], "gzip", "{kind}");
    }
}

#[test]
fn the_head_says_what_has_become_of_the_body() {
    let fields = [
        ("content-type", "text/css"),
        ("content-length", "40000"),
        ("etag", "\"a\""),
        ("accept-ranges", "bytes"),
        ("vary", "origin"),
    ];
    let body = || AnyBody::full(text(40_000).into());
    let get = WHOLE.apply(gzip(), false, answer(200, &fields, body()));
    let mut expected =
        headers(&[("content-type", "text/css"), ("content-encoding", "gzip"), ("etag", "W/\"a\""), ("vary", "origin")]);
    expected.append(VARY, HeaderValue::from_static("accept-encoding"));
    assert_eq!(get.headers(), &expected);
    for body in [body(), AnyBody::Empty, AnyBody::stream(AnyBody::full(text(40_000).into()))] {
        let head = WHOLE.apply(gzip(), true, answer(200, &fields, body));
        assert_eq!(head.headers(), &expected);
        assert!(head.body().is_end_stream());
    }
    let none = Taken { coding: None, identity: true };
    let plain = WHOLE.apply(none, false, answer(200, &fields, body()));
    assert_eq!(
        (&plain.headers()[CONTENT_LENGTH], &plain.headers()[ETAG]),
        (&"40000".parse().unwrap(), &"\"a\"".parse().unwrap())
    );
    assert_eq!(plain.headers().get_all(VARY).iter().count(), 2, "caches must know all the same");
    for said in ["Accept-Encoding", "origin, accept-encoding", "*"] {
        let fields = [("content-type", "text/css"), ("vary", said), ("etag", "W/\"a\"")];
        let again = WHOLE.apply(gzip(), false, answer(200, &fields, body()));
        assert_eq!(again.headers().get_all(VARY).iter().collect::<Vec<_>>(), [said]);
        assert_eq!(again.headers()[ETAG], "W/\"a\"");
    }
}

#[test]
fn what_does_not_become_smaller_stays_as_it_is() {
    let noise: Vec<u8> =
        (0..4096_u64).flat_map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect();
    let noise = Bytes::from(noise).slice(..SLICE.min(20_000));
    for coding in CODINGS {
        let taken = Taken { coding: Some(coding), identity: true };
        let after =
            WHOLE.apply(taken, false, answer(200, &[("content-type", "text/plain")], AnyBody::full(noise.clone())));
        assert!(!after.headers().contains_key(CONTENT_ENCODING), "{coding:?}");
        assert_eq!(after.headers()[VARY], "accept-encoding");
        assert_eq!(after.body().size_hint().exact(), Some(noise.len() as u64));
    }
}

#[test]
fn small_answers_are_compressed_for_who_cannot_do_without() {
    let taken = Taken { coding: Some(Coding::Zstd), identity: false };
    let small = || answer(200, &[("content-type", "application/json")], AnyBody::full(text(500).into()));
    assert_eq!(WHOLE.apply(taken, false, small()).headers()[CONTENT_ENCODING], "zstd");
    let empty = answer(200, &[("content-type", "application/json")], AnyBody::Empty);
    assert!(!WHOLE.apply(taken, false, empty).headers().contains_key(CONTENT_ENCODING));
}

#[test]
fn streams_are_compressed_only_if_the_route_says_so() {
    let sse = |body| answer(200, &[("content-type", "text/event-stream")], body);
    let ours = |body| answer(200, &[("content-type", "application/json")], body);
    let stream = || AnyBody::stream(Pieces::of([Some(text(2000))]));
    let coded =
        |compress: Compress, response| compress.apply(gzip(), false, response).headers().contains_key(CONTENT_ENCODING);
    let streams = Compress { streams: true, ..WHOLE };
    assert!(!coded(WHOLE, sse(stream())) && coded(streams, sse(stream())));
    // Of what the gateway writes itself, a body in pieces is a stream whatever its type; a backend's may just be long.
    let (whole, streams) = (Compress { proxied: false, ..WHOLE }, Compress { proxied: false, ..streams });
    assert!(!coded(whole, ours(stream())) && coded(streams, ours(stream())) && coded(WHOLE, ours(stream())));
}

/// A body that comes in pieces; `None` is a pause.
struct Pieces {
    pieces: VecDeque<Option<Vec<u8>>>,
    end: Option<Result<Frame<Bytes>, BodyError>>,
}

impl Pieces {
    fn of(pieces: impl IntoIterator<Item = Option<Vec<u8>>>) -> Self {
        Self { pieces: pieces.into_iter().collect(), end: None }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.pieces.pop_front() {
            Some(Some(piece)) => Poll::Ready(Some(Ok(Frame::data(piece.into())))),
            Some(None) => Poll::Pending,
            None => Poll::Ready(self.end.take()),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// What comes out until the next pause of at least `body`, and what ended it.
fn drain(body: &mut Compressed, pauses: usize) -> (Vec<u8>, Option<Result<Frame<Bytes>, BodyError>>) {
    let mut cx = Context::from_waker(Waker::noop());
    let (mut out, mut paused) = (Vec::new(), 0);
    loop {
        match Pin::new(&mut *body).poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(frame))) if frame.is_data() => out.extend_from_slice(frame.data_ref().unwrap()),
            Poll::Ready(end) => return (out, end),
            Poll::Pending if paused == pauses => return (out, None),
            Poll::Pending => paused += 1,
        }
    }
}

#[test]
fn however_a_body_comes_its_coding_gives_it_back() {
    let whole = text(200_000);
    for coding in CODINGS {
        for size in [1_000, 7_777, 200_000] {
            let body = Pieces::of(whole.chunks(size).map(|piece| Some(piece.to_vec())));
            let mut body = Compressed::begin(AnyBody::stream(body), coding, true).ok().unwrap();
            let (bytes, end) = drain(&mut body, usize::MAX);
            assert!(end.is_none() && body.is_end_stream());
            assert_eq!(undone(coding, &bytes), (whole.clone(), true), "{coding:?} {size}");
            assert!(bytes.len() < whole.len() / 2);
        }
        let small = encoder::at_once(coding, &whole[..20_000]).unwrap();
        assert_eq!(undone(coding, &small), (whole[..20_000].to_vec(), true), "{coding:?}");
    }
}

#[test]
fn a_message_does_not_wait_for_the_next_one() {
    for coding in CODINGS {
        // A pause lasts: it is asked about again once what it let out was sent.
        let pieces = [Some(text(100)), Some(text(200)), None, None, Some(text(50)), None, None];
        let mut body = Compressed::begin(AnyBody::stream(Pieces::of(pieces)), coding, true).ok().unwrap();
        let (mut bytes, _) = drain(&mut body, 0);
        let expected = [text(100), text(200)].concat();
        assert_eq!(undone(coding, &bytes), (expected.clone(), false), "{coding:?}");
        bytes.extend(drain(&mut body, 0).0);
        assert_eq!(undone(coding, &bytes).0, [expected, text(50)].concat(), "{coding:?}");
        let (rest, end) = drain(&mut body, usize::MAX);
        bytes.extend(rest);
        assert!(undone(coding, &bytes).1 && end.is_none(), "{coding:?}");
    }
}

#[test]
fn what_breaks_off_is_sent_and_never_ends_well() {
    for coding in CODINGS {
        let mut pieces = Pieces::of([Some(text(5_000))]);
        pieces.end = Some(Err(BodyError::BrokenOff));
        let mut body = Compressed::begin(AnyBody::stream(pieces), coding, false).ok().unwrap();
        let (bytes, end) = drain(&mut body, 0);
        assert_eq!(end.unwrap().unwrap_err(), BodyError::BrokenOff);
        assert_eq!(undone(coding, &bytes), (text(5_000), false), "{coding:?}");
    }
}

#[test]
fn trailers_follow_the_end_of_the_coding() {
    let mut pieces = Pieces::of([Some(text(5_000))]);
    pieces.end = Some(Ok(Frame::trailers(headers(&[("grpc-status", "0")]))));
    let mut body = Compressed::begin(AnyBody::stream(pieces), Coding::Gzip, true).ok().unwrap();
    let (bytes, end) = drain(&mut body, 0);
    assert_eq!(undone(Coding::Gzip, &bytes), (text(5_000), true));
    assert_eq!(end.unwrap().unwrap().trailers_ref().unwrap()["grpc-status"], "0");
}

/// A large body must not hold up what else its worker has to do.
#[test]
fn others_get_their_turn_after_each_slice() {
    let slices = 20;
    let mut body = Compressed::begin(AnyBody::full(text(slices * SLICE).into()), Coding::Zstd, false).ok().unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let mut turns = 0;
    loop {
        match Pin::new(&mut body).poll_frame(&mut cx) {
            Poll::Ready(None) => break,
            Poll::Ready(Some(frame)) => drop(frame.unwrap()),
            Poll::Pending => turns += 1,
        }
    }
    assert_eq!(turns, slices - 1);
}
