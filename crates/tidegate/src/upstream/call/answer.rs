//! Reading what a backend answered: is it gRPC, what is its status, how are its messages compressed.
//!
//! Pure functions of headers and bytes. Source: "gRPC over HTTP2" (PROTOCOL-HTTP2.md of grpc/grpc).

use std::io::Read;

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, StatusCode, response};
use tidegate_transcode::status::{Code, Status, decode_message};
use zstd::stream::read::Decoder as ZstdDecoder;

use super::error::{Failure, Malformed};

pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// What we can inflate; sent with every call.
pub(super) const ACCEPTED_CODINGS: &str = "identity,gzip,zstd";

/// Largest window of Zstandard: 8 MiB. Only what is written into it is memory.
const ZSTD_WINDOW_BITS: u32 = 23;

/// Reserved at once for an inflated message.
const INFLATE_RESERVE: usize = 4 * 1024;

/// How the messages of an answer are compressed where their flag says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Coding {
    /// Named none: a set flag is a fault.
    #[default]
    Identity,
    Gzip,
    Zstd,
    /// One that we did not offer; a fault only if a message uses it.
    Unknown,
}

/// Whether the head belongs to a gRPC answer, and how its messages are compressed.
///
/// # Errors
/// The status that stands for an answer that is not gRPC, by the table of HTTP statuses; or the one that the head
/// brings itself, if its HTTP status is not 200.
pub(super) fn check_head(parts: &response::Parts) -> Result<Coding, Box<Failure>> {
    if parts.status == StatusCode::OK && is_grpc(&parts.headers) {
        return Ok(coding(&parts.headers));
    }
    if let Some(status) = read_status(&parts.headers).and_then(Result::err) {
        return Err(Box::new(Failure { status, metadata: parts.headers.clone(), cause: None }));
    }
    let kind = parts.headers.get(CONTENT_TYPE).map_or("no content type".into(), |value| {
        String::from_utf8_lossy(value.as_bytes()).chars().take(100).collect::<String>()
    });
    Err(Box::new(Failure {
        status: Status::new(Code::from_http_status(parts.status.as_u16()), NOT_GRPC),
        metadata: HeaderMap::new(),
        cause: Some(format!("not gRPC: HTTP {}, {kind}", parts.status.as_u16())),
    }))
}

const NOT_GRPC: &str = "the service did not answer with gRPC";

/// The status of an answer that ended without `grpc-status`.
pub(super) fn missing_status() -> Box<Failure> {
    Box::new(Failure {
        status: Status::new(Code::from_http_status(200), "the service ended the call without a status"),
        metadata: HeaderMap::new(),
        cause: Some("the answer has no grpc-status".to_owned()),
    })
}

/// The status in trailers (or in a head without a body): `None` if there is none, `Ok` for OK. Costs nothing for OK.
/// Details stay in the trailers: only who has the schema can read them.
pub(super) fn read_status(trailers: &HeaderMap) -> Option<Result<(), Status>> {
    let code = Code::from_grpc_status(Some(trailers.get(&GRPC_STATUS)?.as_bytes()));
    if code == Code::Ok {
        return Some(Ok(()));
    }
    let message = trailers.get(&GRPC_MESSAGE).map_or_else(String::new, |value| decode_message(value.as_bytes()));
    Some(Err(Status::new(code, message)))
}

/// Undoes the compression of one message.
///
/// # Errors
/// A coding that we did not offer, damaged data, more than `limit` bytes. Never holds more than `limit` + 1.
pub(super) fn inflate(coding: Coding, message: &[u8], limit: usize) -> Result<Bytes, Malformed> {
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut inflated = Vec::with_capacity(INFLATE_RESERVE);
    let read = match coding {
        Coding::Identity | Coding::Unknown => return Err(Malformed::UnknownCoding),
        Coding::Gzip => GzDecoder::new(message).take(bound).read_to_end(&mut inflated),
        Coding::Zstd => {
            let mut decoder = ZstdDecoder::new(message).map_err(|_| Malformed::BadCompression)?;
            decoder.window_log_max(ZSTD_WINDOW_BITS).map_err(|_| Malformed::BadCompression)?;
            decoder.take(bound).read_to_end(&mut inflated)
        }
    };
    read.map_err(|_| Malformed::BadCompression)?;
    if inflated.len() > limit {
        return Err(Malformed::InflatedTooLarge { limit });
    }
    Ok(inflated.into())
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return false;
    };
    // `application/grpc-web` is another protocol.
    match value.as_bytes().strip_prefix(b"application/grpc") {
        Some(rest) => matches!(rest.first(), None | Some(b'+' | b';' | b' ')),
        None => false,
    }
}

fn coding(headers: &HeaderMap) -> Coding {
    match headers.get(&GRPC_ENCODING).map(|value| value.as_bytes()) {
        None | Some(b"identity") => Coding::Identity,
        Some(b"gzip") => Coding::Gzip,
        Some(b"zstd") => Coding::Zstd,
        Some(_) => Coding::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn head(status: u16, headers: &[(&'static str, &'static str)]) -> response::Parts {
        let mut answer = http::Response::builder().status(status);
        for (name, value) in headers {
            answer = answer.header(*name, *value);
        }
        answer.body(()).unwrap().into_parts().0
    }

    #[test]
    fn answers_that_are_not_grpc_get_the_code_of_their_http_status() {
        const HTML: (&str, &str) = ("content-type", "text/html");
        const GRPC: (&str, &str) = ("content-type", "application/grpc");
        type Case = (u16, &'static [(&'static str, &'static str)], Result<Coding, u8>);
        let cases: &[Case] = &[
            (200, &[GRPC], Ok(Coding::Identity)),
            (200, &[("content-type", "application/grpc+proto")], Ok(Coding::Identity)),
            (200, &[("content-type", "application/grpc; charset=utf-8")], Ok(Coding::Identity)),
            (200, &[GRPC, ("grpc-encoding", "gzip")], Ok(Coding::Gzip)),
            (200, &[GRPC, ("grpc-encoding", "zstd")], Ok(Coding::Zstd)),
            (200, &[GRPC, ("grpc-encoding", "snappy")], Ok(Coding::Unknown)),
            (200, &[("content-type", "application/grpc-web")], Err(2)),
            (200, &[HTML], Err(2)),
            (200, &[], Err(2)),
            (400, &[HTML], Err(13)),
            (401, &[HTML], Err(16)),
            (403, &[HTML], Err(7)),
            (404, &[HTML], Err(12)),
            (429, &[HTML], Err(14)),
            (502, &[HTML], Err(14)),
            (503, &[GRPC], Err(14)),
            (504, &[HTML], Err(14)),
            (500, &[HTML], Err(2)),
            (503, &[GRPC, ("grpc-status", "8")], Err(8)),
            (503, &[GRPC, ("grpc-status", "0")], Err(14)),
        ];
        for (status, headers, expected) in cases {
            let got = check_head(&head(*status, headers)).map_err(|failure| failure.status.code.number());
            assert_eq!(got, *expected, "{status} {headers:?}");
        }
    }

    #[test]
    fn a_status_is_read_with_its_text() {
        let trailers = |fields: &[(&'static str, &'static str)]| head(200, fields).headers;
        assert_eq!(read_status(&trailers(&[])), None);
        assert_eq!(read_status(&trailers(&[("grpc-status", "0")])), Some(Ok(())));
        let full = [("grpc-status", "5"), ("grpc-message", "no%20order")];
        let status = read_status(&trailers(&full)).unwrap().unwrap_err();
        assert_eq!((status.code, status.message.as_str()), (Code::NotFound, "no order"));
        for (code, expected) in [("99", 2), ("x", 2), ("-1", 2), ("16", 16), ("", 2)] {
            let status = read_status(&trailers(&[("grpc-status", code)])).unwrap().unwrap_err();
            assert_eq!(status.code.number(), expected, "{code}");
        }
    }

    #[test]
    fn inflating_keeps_to_the_limit() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&[7; 100_000]).unwrap();
        let packed = encoder.finish().unwrap();
        assert_eq!(inflate(Coding::Gzip, &packed, 100_000).unwrap().len(), 100_000);
        assert_eq!(inflate(Coding::Gzip, &packed, 99_999), Err(Malformed::InflatedTooLarge { limit: 99_999 }));
        assert_eq!(inflate(Coding::Gzip, &packed[..50], 100_000), Err(Malformed::BadCompression));
        assert_eq!(inflate(Coding::Gzip, b"no gzip", 100), Err(Malformed::BadCompression));
        let packed_zstd = zstd::bulk::compress(&[7; 100_000], 1).unwrap();
        assert_eq!(inflate(Coding::Zstd, &packed_zstd, 100_000).unwrap().len(), 100_000);
        assert_eq!(inflate(Coding::Zstd, &packed_zstd, 99_999), Err(Malformed::InflatedTooLarge { limit: 99_999 }));
        let cut = &packed_zstd[..packed_zstd.len() / 2];
        assert_eq!(inflate(Coding::Zstd, cut, 100_000), Err(Malformed::BadCompression));
        assert_eq!(inflate(Coding::Zstd, b"no zstd", 100), Err(Malformed::BadCompression));
        assert_eq!(inflate(Coding::Identity, &packed, 100), Err(Malformed::UnknownCoding));
        assert_eq!(inflate(Coding::Unknown, &packed, 100), Err(Malformed::UnknownCoding));
    }
}
