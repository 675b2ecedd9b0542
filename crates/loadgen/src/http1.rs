//! The part of HTTP/1.1 that a load generator needs: where does this answer end, and what is in it.
//!
//! The parser keeps no state: it is asked again with a longer buffer until the answer is complete. That makes it
//! trivially independent of how the bytes were split; answers here arrive in one to three reads, so looking again
//! costs less than keeping state would.

use std::borrow::Cow;

use memchr::memmem;

/// A gateway that sends a larger head is broken, and waiting for its end would hide that.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// One complete answer at the front of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Status code.
    pub status: u16,
    /// The body with any chunked framing removed; borrowed unless it was chunked into several pieces.
    pub body: Cow<'a, [u8]>,
    /// How many bytes of the buffer belong to this answer.
    pub len: usize,
    /// The server will close the connection after this answer.
    pub closes: bool,
}

/// Why a buffer cannot become an answer.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Malformed {
    /// The first line is not `HTTP/1.1 NNN`.
    StatusLine,
    /// The head has no end within 64 KiB.
    HeadTooLarge,
    /// Neither `content-length` nor `chunked`, or a length that is not a number.
    Framing,
    /// A chunk size that is not hexadecimal, or a chunk without its line end.
    Chunk,
}

/// The answer at the front of `buffer`, or `None` while it is incomplete.
///
/// Answers to `HEAD` are not supported: they look like answers with a missing body.
///
/// # Errors
/// The bytes can never become an HTTP/1.1 answer, or one whose end is the end of the connection.
pub fn parse(buffer: &[u8]) -> Result<Option<Answer<'_>>, Malformed> {
    let Some(head_len) = memmem::find(buffer, b"\r\n\r\n") else {
        return if buffer.len() > HEAD_BYTES_MAX { Err(Malformed::HeadTooLarge) } else { Ok(None) };
    };
    let (head, rest) = (&buffer[..head_len], &buffer[head_len + 4..]);
    let head = Head::parse(head)?;
    let body = match head.framing {
        Framing::Length(len) => rest.get(..len).map(|body| (Cow::Borrowed(body), len)),
        Framing::Chunked => unchunk(rest)?,
    };
    Ok(body.map(|(body, len)| Answer { status: head.status, body, len: head_len + 4 + len, closes: head.closes }))
}

struct Head {
    status: u16,
    framing: Framing,
    closes: bool,
}

enum Framing {
    Length(usize),
    Chunked,
}

impl Head {
    fn parse(head: &[u8]) -> Result<Self, Malformed> {
        let mut ends = memmem::find_iter(head, b"\r\n");
        let mut start = ends.next().unwrap_or(head.len());
        let status = status(&head[..start]).ok_or(Malformed::StatusLine)?;
        let (mut length, mut chunked, mut closes) = (None, false, false);
        while start < head.len() {
            let end = ends.next().unwrap_or(head.len());
            let line = &head[start + 2..end];
            start = end;
            let Some(colon) = memchr::memchr(b':', line) else {
                continue;
            };
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if name.eq_ignore_ascii_case(b"content-length") {
                length = Some(decimal(value).ok_or(Malformed::Framing)?);
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                chunked = value.eq_ignore_ascii_case(b"chunked");
            } else if name.eq_ignore_ascii_case(b"connection") {
                closes = value.eq_ignore_ascii_case(b"close");
            }
        }
        let framing = match (chunked, length) {
            (true, None) => Framing::Chunked,
            (false, Some(len)) => Framing::Length(len),
            (false, None) if matches!(status, 204 | 304) => Framing::Length(0),
            _ => return Err(Malformed::Framing),
        };
        Ok(Self { status, framing, closes })
    }
}

fn status(line: &[u8]) -> Option<u16> {
    let digits = line.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    u16::try_from(decimal(digits)?).ok()
}

fn decimal(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A body and the bytes that it took on the wire.
type Body<'a> = (Cow<'a, [u8]>, usize);

/// The joined chunks and the bytes that they took, trailer section included; `None` while incomplete.
fn unchunk(rest: &[u8]) -> Result<Option<Body<'_>>, Malformed> {
    let mut body: Cow<'_, [u8]> = Cow::Borrowed(b"");
    let mut at = 0;
    loop {
        let Some(line_len) = memmem::find(&rest[at..], b"\r\n") else {
            return Ok(None);
        };
        let size = hexadecimal(&rest[at..at + line_len]).ok_or(Malformed::Chunk)?;
        at += line_len + 2;
        if size == 0 {
            return Ok(trailers_end(rest, at).map(|end| (body, end)));
        }
        let Some(chunk) = rest.get(at..at.saturating_add(size)) else {
            return Ok(None);
        };
        let Some(line_end) = rest.get(at + size..at + size + 2) else {
            return Ok(None);
        };
        if line_end != b"\r\n" {
            return Err(Malformed::Chunk);
        }
        if body.is_empty() {
            body = Cow::Borrowed(chunk);
        } else {
            body.to_mut().extend_from_slice(chunk);
        }
        at += size + 2;
    }
}

fn hexadecimal(line: &[u8]) -> Option<usize> {
    let digits = line.split(|byte| *byte == b';').next()?;
    usize::from_str_radix(std::str::from_utf8(digits).ok()?.trim(), 16).ok()
}

fn trailers_end(rest: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let line_len = memmem::find(&rest[at..], b"\r\n")?;
        at += line_len + 2;
        if line_len == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer must be found when it is whole, and at no cut before that.
    fn check(text: &str, status: u16, body: &str, closes: bool) {
        let with_more = format!("{text}HTTP/1.1 999");
        for buffer in [text, &with_more] {
            let answer = parse(buffer.as_bytes()).unwrap().unwrap();
            let expected = Answer { status, body: Cow::Borrowed(body.as_bytes()), len: text.len(), closes };
            assert_eq!(answer, expected);
        }
        for cut in 0..text.len() {
            assert_eq!(parse(&text.as_bytes()[..cut]), Ok(None), "cut after {cut} bytes of {text:?}");
        }
    }

    fn refuse(text: &str, why: Malformed) {
        assert_eq!(parse(text.as_bytes()), Err(why), "{text:?}");
    }

    #[test]
    fn a_length_says_where_the_body_ends() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nx: y\r\n\r\nhello", 200, "hello", false);
        check("HTTP/1.1 404 \r\ncontent-length:0\r\nConnection: close\r\n\r\n", 404, "", true);
        check("HTTP/1.1 204 No Content\r\n\r\n", 204, "", false);
    }

    #[test]
    fn chunks_are_joined_and_trailers_skipped() {
        check(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=1\r\n, world!!!\r\n0\r\nt: u\r\n\r\n",
            200,
            "hello, world!!!",
            false,
        );
        check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 200, "", false);
    }

    #[test]
    fn what_can_never_be_an_answer_is_refused() {
        refuse("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", Malformed::StatusLine);
        refuse("HTTP/1.1 2x0 OK\r\ncontent-length: 0\r\n\r\n", Malformed::StatusLine);
        refuse("HTTP/1.1 200 OK\r\n\r\n", Malformed::Framing);
        refuse("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", Malformed::Framing);
        refuse("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", Malformed::Framing);
        refuse("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", Malformed::Chunk);
        refuse("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabcd", Malformed::Chunk);
        refuse(&"x".repeat(HEAD_BYTES_MAX + 1), Malformed::HeadTooLarge);
    }
}
