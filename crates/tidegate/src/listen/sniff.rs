//! Tells HTTP/2 with prior knowledge from HTTP/1 on a plaintext connection, by its first bytes.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

/// What every HTTP/2 client sends first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes that are read at once: a usual request head, so that it needs no second read.
const FIRST_READ: usize = 1024;

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sniffed {
    /// HTTP/1, or nothing that is known: its parser finds out.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// Reads until the protocol is known. What was read stands in `read`, also after an error or if the future is dropped.
///
/// # Errors
/// Those of reading. The end of the stream is none: what has come is HTTP/1.
pub(super) async fn sniff<Io: AsyncRead + Unpin>(io: &mut Io, read: &mut BytesMut) -> io::Result<Sniffed> {
    read.reserve(FIRST_READ);
    loop {
        if io.read_buf(read).await? == 0 {
            return Ok(Sniffed::Http1);
        }
        if let Some(sniffed) = classify(read) {
            return Ok(sniffed);
        }
    }
}

/// `None`: more bytes are needed.
fn classify(bytes: &[u8]) -> Option<Sniffed> {
    if bytes.starts_with(PREFACE) {
        return Some(Sniffed::Http2);
    }
    (!PREFACE.starts_with(bytes)).then_some(Sniffed::Http1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_preface_is_http2() {
        let cases: [(&[u8], Option<Sniffed>); 8] = [
            (b"", None),
            (b"P", None),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", None),
            (PREFACE, Some(Sniffed::Http2)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04", Some(Sniffed::Http2)),
            (b"PRI * HTTP/2.0\r\n\r\nXM", Some(Sniffed::Http1)),
            (b"POST / HTTP/1.1\r\n", Some(Sniffed::Http1)),
            (b"\x16\x03\x01", Some(Sniffed::Http1)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(classify(bytes), expected, "{bytes:?}");
        }
    }
}
