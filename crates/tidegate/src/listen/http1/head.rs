//! Reads heads of requests, line by line as they come, and makes the values of one that is complete. Pure.
//!
//! Nearly every line is at hand as a whole and has nothing unusual about it: it is read in one pass, and only what that does
//! not understand goes to the careful reader (`line`), which finds it good or names the fault. Every line is judged as soon
//! as it has ended, so that a client is refused at its first fault and not at its deadline; no byte is looked at twice, however
//! the input is cut, but those of the line that has just ended.
//!
//! Source: RFC 9112, sections 2 to 5.

use bytes::{Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Uri, Version};
use smallvec::SmallVec;

use super::framing::{Fault, HeadLimits};
use super::line::{self, Special};
use crate::lines;

/// Empty lines that may stand before a request line (RFC 9112, section 2.2, asks to ignore at least one).
const MAX_BLANK_LINES: u8 = 2;

/// Fields of a head for which no memory is needed to remember where they stand.
const USUAL_FIELDS: usize = 16;

/// Where some bytes of a head stand.
type Span = std::ops::Range<u32>;

/// Reads one head.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    /// Where the line begins that comes next.
    at: usize,
    /// How far its end has been looked for in vain.
    searched: usize,
    blank_lines: u8,
    request_line: Option<RequestLine>,
    fields: SmallVec<[(Span, Span); USUAL_FIELDS]>,
    says: Says,
}

#[derive(Debug)]
struct RequestLine {
    method: Span,
    target: Span,
    http_10: bool,
}

/// What the fields of a head say of its connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Says {
    /// `Content-Length`.
    pub(super) length: Option<u64>,
    /// `Transfer-Encoding: chunked`.
    pub(super) chunked: bool,
    /// `Connection` names `close`.
    pub(super) close: bool,
    /// `Connection` names `keep-alive`.
    pub(super) keep_alive: bool,
    /// `Upgrade` names WebSocket.
    pub(super) websocket: bool,
    /// `Expect` is there.
    pub(super) expects: bool,
    /// `TE` names trailers.
    pub(super) takes_trailers: bool,
}

/// What became of a line.
enum Line {
    /// Its end has not come.
    Begun,
    /// It was read.
    Read,
    /// It was the empty one at the end.
    End,
}

impl HeadReader {
    /// Reads on in `input`, whose first byte is that of the head. The head is taken out of it when it is complete, and then the
    /// reader has done its work; until then the caller adds to the end of `input` only.
    ///
    /// # Errors
    /// Nothing that follows can be understood.
    pub(super) fn take(
        &mut self,
        input: &mut BytesMut,
        limits: HeadLimits,
    ) -> Result<Option<(Box<Parts>, Says)>, Fault> {
        loop {
            let line = match self.request_line {
                None => self.first_line(input, limits)?,
                Some(_) => self.field_line(input, limits)?,
            };
            if self.at > limits.head_bytes {
                return Err(self.too_large(&[]));
            }
            match line {
                Line::Begun => return Ok(None),
                Line::Read => {}
                Line::End => {
                    let bytes = if self.at == input.len() { std::mem::take(input) } else { input.split_to(self.at) };
                    return self.values(&bytes.freeze()).map(Some);
                }
            }
        }
    }

    /// Looks at the first byte of a request, so that a TLS hello is refused at once and not at the deadline.
    fn first_line(&mut self, input: &[u8], limits: HeadLimits) -> Result<Line, Fault> {
        let rest = input.get(self.at..).unwrap_or_default();
        match rest.first() {
            None => return Ok(Line::Begun),
            Some(b'\n') => return Err(Fault::BareLf),
            Some(byte) if !lines::is_token_byte(*byte) && *byte != b'\r' => return Err(Fault::NotHttp),
            Some(_) => {}
        }
        if self.searched == self.at
            && let Some((method_len, target_len)) = line::usual_request_line(rest)
            && target_len <= limits.uri_bytes
        {
            self.begin(method_len, target_len, false);
            self.ended(method_len + target_len + line::REQUEST_LINE_REST);
            return Ok(Line::Read);
        }
        let Some(line) = self.whole_line(input, limits)? else { return Ok(Line::Begun) };
        let len = line.len() + 2;
        if line.is_empty() {
            self.blank_lines = self.blank_lines.saturating_add(1);
            if self.blank_lines > MAX_BLANK_LINES {
                return Err(Fault::RequestLine);
            }
        } else {
            let line::RequestLine { method_len, target_len, http_10 } = line::request_line(line)?;
            if target_len > limits.uri_bytes {
                return Err(Fault::UriTooLong);
            }
            self.begin(method_len, target_len, http_10);
        }
        self.ended(len);
        Ok(Line::Read)
    }

    /// The request line at `at` has been read.
    fn begin(&mut self, method_len: usize, target_len: usize, http_10: bool) {
        let target = self.at + method_len + 1;
        self.request_line =
            Some(RequestLine { method: span(self.at, method_len), target: span(target, target_len), http_10 });
    }

    fn field_line(&mut self, input: &[u8], limits: HeadLimits) -> Result<Line, Fault> {
        let rest = input.get(self.at..).unwrap_or_default();
        if rest.starts_with(b"\r\n") {
            self.ended(2);
            return Ok(Line::End);
        }
        if self.searched == self.at
            && let Some((name_len, value_len)) = lines::usual_field(rest)
        {
            self.field(rest, name_len, value_len, limits)?;
            self.ended(name_len + 1 + value_len + 2);
            return Ok(Line::Read);
        }
        let Some(line) = self.whole_line(input, limits)? else { return Ok(Line::Begun) };
        let name_len = line::field_name_len(line)?;
        self.field(line, name_len, line.len() - name_len - 1, limits)?;
        self.ended(line.len() + 2);
        Ok(Line::Read)
    }

    /// Remembers the field at the beginning of `line`, and what it says.
    fn field(&mut self, line: &[u8], name_len: usize, value_len: usize, limits: HeadLimits) -> Result<(), Fault> {
        if self.fields.len() >= limits.fields {
            return Err(Fault::TooManyFields);
        }
        let name = line.get(..name_len).unwrap_or_default();
        let value = line.get(name_len + 1..name_len + 1 + value_len).unwrap_or_default();
        let begin = value.len() - value.trim_ascii_start().len();
        let value = value.trim_ascii();
        let spans = (span(self.at, name_len), span(self.at + name_len + 1 + begin, value.len()));
        self.fields.push(spans);
        match line::special(name) {
            None => Ok(()),
            Some(special) => self.says.note(special, value),
        }
    }

    /// The next line without its end, once that has come.
    fn whole_line<'a>(&mut self, input: &'a [u8], limits: HeadLimits) -> Result<Option<&'a [u8]>, Fault> {
        let from = self.searched.max(self.at);
        let Some(end) = memchr::memchr(b'\n', input.get(from..).unwrap_or_default()).map(|end| from + end) else {
            self.searched = input.len();
            let begun = input.get(self.at..).unwrap_or_default();
            let first_line_full =
                self.request_line.is_none() && begun.len() > limits.uri_bytes + line::REQUEST_LINE_EXTRA;
            if input.len() > limits.head_bytes || first_line_full {
                return Err(self.too_large(begun));
            }
            return Ok(None);
        };
        let line = input.get(self.at..end).unwrap_or_default();
        if end + 1 > limits.head_bytes {
            return Err(self.too_large(line));
        }
        line.strip_suffix(b"\r").map(Some).ok_or(Fault::BareLf)
    }

    /// What is too large, if `begun` is what there is of the line.
    fn too_large(&self, begun: &[u8]) -> Fault {
        if self.request_line.is_some() {
            Fault::HeadTooLarge
        } else if line::has_method(begun) {
            Fault::UriTooLong
        } else {
            Fault::RequestLine
        }
    }

    /// The line at `at`, of `len` bytes with its end, has been read.
    fn ended(&mut self, len: usize) {
        self.at += len;
        self.searched = self.at;
    }

    /// The values of the head `bytes`, which has been read; they share its memory.
    fn values(&self, bytes: &Bytes) -> Result<(Box<Parts>, Says), Fault> {
        let line = self.request_line.as_ref().ok_or(Fault::RequestLine)?;
        let mut parts = Box::new(Request::new(()).into_parts().0);
        parts.method = Method::from_bytes(part(bytes, &line.method)).map_err(|_| Fault::RequestLine)?;
        parts.uri = Uri::from_maybe_shared(shared(bytes, &line.target)).map_err(|_| Fault::Target)?;
        parts.version = if line.http_10 { Version::HTTP_10 } else { Version::HTTP_11 };
        let mut headers = HeaderMap::try_with_capacity(self.fields.len()).map_err(|_| Fault::TooManyFields)?;
        for (name, value) in &self.fields {
            let name = HeaderName::from_bytes(part(bytes, name)).map_err(|_| Fault::FieldName)?;
            let value = HeaderValue::from_maybe_shared(shared(bytes, value)).map_err(|_| Fault::FieldValue)?;
            headers.try_append(name, value).map_err(|_| Fault::TooManyFields)?;
        }
        parts.headers = headers;
        Ok((parts, self.says))
    }
}

impl Says {
    /// # Errors
    /// It cannot be said, or not beside what was said before.
    fn note(&mut self, special: Special, value: &[u8]) -> Result<(), Fault> {
        match special {
            Special::ContentLength => {
                if self.length.is_some() {
                    return Err(Fault::TwoLengths);
                }
                self.length = Some(line::content_length(value)?);
            }
            Special::TransferEncoding => {
                if self.chunked {
                    return Err(Fault::LengthAndCoding);
                }
                line::transfer_encoding(value)?;
                self.chunked = true;
            }
            Special::Connection => {
                self.close |= lines::names(value, b"close");
                self.keep_alive |= lines::names(value, b"keep-alive");
            }
            Special::Upgrade => self.websocket |= lines::names(value, b"websocket"),
            Special::Expect => self.expects = true,
            Special::Te => self.takes_trailers |= lines::names(value, b"trailers"),
        }
        Ok(())
    }
}

/// Heads are far smaller than 4 GiB: their limit is a `u32` too.
fn span(from: usize, len: usize) -> Span {
    let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    number(from)..number(from + len)
}

fn range(span: &Span) -> std::ops::Range<usize> {
    span.start as usize..span.end as usize
}

fn part<'a>(bytes: &'a [u8], span: &Span) -> &'a [u8] {
    bytes.get(range(span)).unwrap_or_default()
}

fn shared(bytes: &Bytes, span: &Span) -> Bytes {
    bytes.slice_ref(part(bytes, span))
}
