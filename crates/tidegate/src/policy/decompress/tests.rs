use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::Body as _;

use super::*;
use crate::body::BodyError;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 1).unwrap()
}

/// Without the header that it should have.
fn bare_deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

type Pack = fn(&[u8]) -> Vec<u8>;
const CODINGS: [(Coding, Pack); 4] =
    [(Coding::Gzip, gzip), (Coding::Deflate, deflate), (Coding::Deflate, bare_deflate), (Coding::Zstd, zstd)];

/// A body that comes in pieces.
struct Pieces(Vec<Bytes>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BodyError>>> {
        if self.0.is_empty() {
            Poll::Ready(None)
        } else {
            Poll::Ready(Some(Ok(http_body::Frame::data(self.0.remove(0)))))
        }
    }
}

struct Read {
    result: Result<Vec<u8>, BodyError>,
    /// The largest piece that was made.
    largest: usize,
    turns: usize,
}

/// Everything that comes of `packed` in pieces of `size`.
fn read(coding: Coding, packed: &[u8], size: usize, max: Option<u64>) -> Read {
    let pieces = Pieces(packed.chunks(size).map(Bytes::copy_from_slice).collect());
    let mut body = Decoded::new(RequestBody::stream(pieces), coding, max);
    let mut cx = Context::from_waker(Waker::noop());
    let (mut out, mut largest, mut turns) = (Vec::new(), 0, 0);
    let result = loop {
        match Pin::new(&mut body).poll_frame(&mut cx) {
            Poll::Pending => turns += 1,
            Poll::Ready(None) => break Ok(out),
            Poll::Ready(Some(Err(error))) => break Err(error),
            Poll::Ready(Some(Ok(frame))) => {
                let data = frame.into_data().unwrap();
                largest = largest.max(data.len());
                out.extend_from_slice(&data);
            }
        }
    };
    assert!(matches!(Pin::new(&mut body).poll_frame(&mut cx), Poll::Ready(None)), "nothing follows an end");
    Read { result, largest, turns }
}

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|at| b"the quick brown fox "[(at * at / 7) % 20]).collect()
}

#[test]
fn however_a_body_comes_it_is_inflated_the_same() {
    for (coding, pack) in CODINGS {
        for length in [0, 1, 5_000, 300_000] {
            let (plain, packed) = (text(length), pack(&text(length)));
            for size in [1, 7, 1_000, usize::MAX] {
                let read = read(coding, &packed, size.min(packed.len()), Some(300_000));
                assert_eq!(read.result.as_ref(), Ok(&plain), "{coding:?} {length} {size}");
            }
        }
    }
}

#[test]
fn what_would_become_too_large_is_refused_before_it_is() {
    for (coding, pack) in CODINGS {
        let packed = pack(&vec![0; 50_000_000]);
        let exact = read(coding, &pack(&vec![0; 100_000]), 1_000, Some(100_000));
        assert_eq!(exact.result.unwrap().len(), 100_000, "{coding:?}");
        let bomb = read(coding, &packed, 1_000, Some(99_999));
        assert_eq!(bomb.result, Err(BodyError::TooLarge), "{coding:?}");
        assert!(bomb.largest <= 32 * 1024, "{coding:?}");
        assert!(bomb.turns >= 2, "others get their turn: {coding:?} {}", bomb.turns);
    }
    // What has come counts as well, whatever it becomes.
    let nothing: Vec<u8> = std::iter::repeat_with(|| zstd(b"")).take(1_000).flatten().collect();
    assert_eq!(read(Coding::Zstd, &nothing, 100, Some(1_000)).result, Err(BodyError::TooLarge));
    let open = read(Coding::Zstd, &nothing, 100, None);
    assert_eq!(open.result, Ok(Vec::new()));
}

#[test]
fn what_is_cut_or_broken_is_never_taken_for_the_whole() {
    for (coding, pack) in CODINGS {
        let packed = pack(&text(2_000));
        for cut in 0..packed.len() {
            let read = read(coding, &packed[..cut], 64, Some(1 << 20));
            assert_eq!(read.result, Err(BodyError::Undecodable), "{coding:?} cut at {cut}");
        }
        let garbage = read(coding, b"{\"not\":\"compressed\"}", 64, Some(1 << 20));
        assert_eq!(garbage.result, Err(BodyError::Undecodable), "{coding:?}");
        let more = [packed.as_slice(), b"more"].concat();
        assert_eq!(read(coding, &more, 64, Some(1 << 20)).result, Err(BodyError::Undecodable), "{coding:?}");
    }
    let mut wrong = gzip(&text(2_000));
    let end = wrong.len() - 6;
    wrong[end] ^= 1;
    assert_eq!(read(Coding::Gzip, &wrong, 64, None).result, Err(BodyError::Undecodable), "its sum does not fit");
}

#[test]
fn members_follow_each_other_up_to_a_bound() {
    let two = [gzip(b"one "), gzip(b"two")].concat();
    assert_eq!(read(Coding::Gzip, &two, 3, None).result.unwrap(), b"one two");
    let frames = [zstd(b"one "), zstd(b"two")].concat();
    assert_eq!(read(Coding::Zstd, &frames, 3, None).result.unwrap(), b"one two");
    let many: Vec<u8> = std::iter::repeat_with(|| gzip(b"")).take(200).flatten().collect();
    assert_eq!(read(Coding::Gzip, &many, 1_000, None).result, Err(BodyError::Undecodable));
}

/// Its window would be a gigabyte, were it believed.
#[test]
fn a_window_that_no_client_may_use_is_refused() {
    let head = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa0, 0x01, 0x00, 0x00];
    assert_eq!(read(Coding::Zstd, &head, 64, None).result, Err(BodyError::Undecodable));
}

/// Of a body that may go on for ever, whose sender could hold its window as long.
#[test]
fn a_body_without_a_bound_gets_a_smaller_window() {
    // A window of 2 MiB, and an empty last block.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58, 0x01, 0x00, 0x00];
    assert_eq!(read(Coding::Zstd, &frame, 64, Some(100)).result, Ok(Vec::new()));
    assert_eq!(read(Coding::Zstd, &frame, 64, None).result, Err(BodyError::Undecodable));
}

#[test]
fn one_layer_is_undone_and_others_are_refused() {
    let check = |values: &[&str], expected: Option<bool>| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_ENCODING, HeaderValue::from_str(value).unwrap());
        }
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("9"));
        headers.insert("content-digest", HeaderValue::from_static("sha-256=:AAAA:"));
        let body = RequestBody::full(Bytes::from_static(b"123456789"));
        let result = Decompress::new(Some(100)).apply(&mut headers, body);
        match expected {
            None => {
                let reject = result.unwrap_err();
                assert_eq!((reject.reason, reject.coding), (Reason::UnsupportedMediaType, true), "{values:?}");
            }
            Some(coded) => {
                assert_eq!(matches!(result.unwrap(), RequestBody::Stream(_)), coded, "{values:?}");
                assert_eq!(headers.contains_key(CONTENT_LENGTH), !coded, "{values:?}");
                assert_eq!(headers.contains_key("content-digest"), !coded, "{values:?}");
                assert!(!headers.contains_key(CONTENT_ENCODING));
            }
        }
    };
    check(&[], Some(false));
    check(&["identity"], Some(false));
    check(&["gzip"], Some(true));
    check(&["X-GZIP"], Some(true));
    check(&["identity, zstd"], Some(true));
    check(&["deflate"], Some(true));
    check(&["gzip, gzip"], None);
    check(&["gzip", "identity", "zstd"], None);
    check(&["br"], None);
    check(&["aws-chunked"], None);
    check(&["gzip;q=1"], None);
}
