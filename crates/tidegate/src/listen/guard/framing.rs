//! Follows the HTTP/1 framing of a client's bytes, head by head and body by body, without I/O or clock.
//!
//! The parser behind it (hyper) repairs or hides what request smuggling is made of: a bare LF, `Content-Length`
//! beside `Transfer-Encoding`, two equal lengths. So each head is read once before hyper reads it. This only
//! refuses; it never changes a byte, and what it lets through hyper understands in the same way.
//!
//! Invariants: every byte is looked at once, however the input is cut; memory is at most one incomplete line;
//! after a fault the follower must not be used any more.
//!
//! ```text
//!            first byte            empty line            last byte of the body
//!   Between ───────────▶ Head ─────────────────▶ Body ─────────────────────────▶ Between
//!      ▲                   │ (no body)
//!      └───────────────────┘
//! ```
//! Behind a head that asks for a WebSocket it stops: whether HTTP goes on there, the answer says.

use http::StatusCode;

use crate::reject::{Reason, Reject};

use super::line::{self, FieldName, RequestLine};
use super::whole::{self, Whole};

/// Bounds of one request's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Request line and fields together, in bytes, line ends included.
    pub head_bytes: usize,
    /// Number of fields.
    pub fields: usize,
    /// The request target, in bytes.
    pub uri_bytes: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { head_bytes: 32 * 1024, fields: 100, uri_bytes: 8 * 1024 }
    }
}

/// Bytes of chunk extensions that one body may carry; they are dropped, so this only bounds waste.
const MAX_EXTENSION_BYTES: u32 = 16 * 1024;

/// Hexadecimal digits of a chunk size. Fifteen keep the sum of 64-bit arithmetic far from its end.
const MAX_SIZE_DIGITS: u8 = 15;

/// Empty lines that may stand before a request line (RFC 9112, section 2.2, asks to ignore at least one).
const MAX_BLANK_LINES: u8 = 2;

/// What is wrong with the bytes. After any of these the connection cannot be used further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The first bytes cannot begin a request; often TLS on a plaintext port.
    NotHttp,
    /// The request line does not consist of a method, a target and a version.
    RequestLine,
    /// A byte in the target that RFC 3986 does not know, or a fragment.
    Target,
    /// A version other than 1.0 and 1.1.
    Version,
    /// A line that ends with LF alone.
    BareLf,
    /// A line that continues the one before it (`obs-fold`).
    Fold,
    /// A field name that is empty or not a token; also a space before the colon.
    FieldName,
    /// A control character in a field value.
    FieldValue,
    /// `Content-Length` is not plain digits, or far too large.
    Length,
    /// `Content-Length` more than once, even with the same value.
    TwoLengths,
    /// `Content-Length` beside `Transfer-Encoding`, or two of the latter.
    LengthAndCoding,
    /// `Transfer-Encoding` in HTTP/1.0 or in a spelling other than `chunked`.
    Coding,
    /// A transfer coding that is known to HTTP but not spoken here.
    UnknownCoding,
    /// The target is longer than permitted.
    UriTooLong,
    /// The head is larger than permitted.
    HeadTooLarge,
    /// The head has more fields than permitted.
    TooManyFields,
    /// Chunk size, extension or line end is wrong.
    Chunk,
    /// The head was not complete in time.
    HeadTimeout,
    /// An HTTP/1 request where only HTTP/2 is spoken.
    OnlyHttp2,
}

impl Fault {
    /// The refusal that a client sees: always with the end of the connection.
    #[must_use]
    pub fn reject(self) -> Reject {
        let (status, detail) = match self {
            Self::NotHttp => (400, "the bytes are not an HTTP request"),
            Self::RequestLine => (400, "malformed request line"),
            Self::Target => (400, "the request target holds a character that must be escaped"),
            Self::Version => (505, "HTTP version not supported"),
            Self::BareLf => (400, "a line of the head does not end with CR LF"),
            Self::Fold => (400, "a header line is folded"),
            Self::FieldName => (400, "malformed header name"),
            Self::FieldValue => (400, "control character in a header value"),
            Self::Length => (400, "malformed Content-Length"),
            Self::TwoLengths => (400, "Content-Length is repeated"),
            Self::LengthAndCoding => (400, "Content-Length and Transfer-Encoding contradict each other"),
            Self::Coding => (400, "malformed Transfer-Encoding"),
            Self::UnknownCoding => (501, "transfer coding not supported"),
            Self::UriTooLong => (414, "request target too long"),
            Self::HeadTooLarge => (431, "request head too large"),
            Self::TooManyFields => (431, "too many header fields"),
            Self::Chunk => (400, "malformed chunk"),
            Self::HeadTimeout => (408, "the request head was not complete in time"),
            Self::OnlyHttp2 => (505, "only HTTP/2 is spoken here"),
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        Reject::new(Reason::BadRequest).status(status).detail(detail).close()
    }
}

/// Where in the framing the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Between two requests: nothing of the next one has come.
    Between,
    /// In a head that is not complete.
    Head,
    /// In a body that is not complete.
    Body,
}

/// What became of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Followed {
    /// How many of the bytes, from the first, may go on to the parser now. Without a fault the rest is the beginning
    /// of a line of a head, to be held back until it is complete: the parser must not judge it first.
    pub(crate) pass: usize,
    /// Why the rest may never go on.
    pub(crate) fault: Option<Fault>,
}

/// Follows one connection from its first byte.
#[derive(Debug)]
pub(crate) struct Follower {
    limits: HeadLimits,
    state: State,
    /// The beginning of a line whose end has not come; empty, and without memory, nearly always.
    partial: Vec<u8>,
    head: Head,
    blank_lines: u8,
    heads: u64,
}

/// What the lines of the present head have said so far.
#[derive(Debug, Default)]
struct Head {
    bytes: usize,
    fields: usize,
    request_line: bool,
    http_10: bool,
    length: Option<u64>,
    chunked: bool,
    /// `Upgrade` names WebSocket.
    websocket: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Between,
    Head,
    Sized {
        left: u64,
    },
    Chunked {
        part: ChunkPart,
        extension_bytes: u32,
    },
    Trailers,
    /// Behind a head that asks for a WebSocket: what follows is HTTP or is not.
    Upgrade,
}

#[derive(Clone, Copy, Debug)]
enum ChunkPart {
    Size {
        size: u64,
        digits: u8,
    },
    /// After a `;`: a name must follow.
    NameStart {
        size: u64,
    },
    Name {
        size: u64,
    },
    /// After a `=`: a value must follow.
    ValueStart {
        size: u64,
    },
    Value {
        size: u64,
    },
    Quoted {
        size: u64,
    },
    QuotedPair {
        size: u64,
    },
    QuotedEnd {
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
}

impl Follower {
    pub(crate) fn new(limits: HeadLimits) -> Self {
        Self { limits, state: State::Between, partial: Vec::new(), head: Head::default(), blank_lines: 0, heads: 0 }
    }

    /// How many heads have been complete so far.
    pub(crate) fn heads(&self) -> u64 {
        self.heads
    }

    /// The last head asks for a WebSocket. What follows is not looked at until [`Follower::resume`].
    pub(crate) fn waits(&self) -> bool {
        matches!(self.state, State::Upgrade)
    }

    /// There is no WebSocket: the next request follows.
    pub(crate) fn resume(&mut self) {
        if self.waits() {
            self.state = State::Between;
        }
    }

    /// Where the next byte stands.
    pub(crate) fn place(&self) -> Place {
        match self.state {
            State::Between | State::Upgrade => Place::Between,
            State::Head => Place::Head,
            State::Sized { .. } | State::Chunked { .. } | State::Trailers => Place::Body,
        }
    }

    /// Reads the next `bytes` of the connection. After a fault those before the request at fault pass, so that the
    /// requests before it can still be answered.
    pub(crate) fn follow(&mut self, bytes: &[u8]) -> Followed {
        let mut at = 0;
        let mut sound = 0;
        while let Some(rest) = bytes.get(at..)
            && !rest.is_empty()
        {
            let step = match self.state {
                State::Between => {
                    sound = at;
                    self.begin_head(rest)
                }
                State::Head => self.head_line(rest),
                State::Sized { left } => {
                    let (taken, left) = skip(rest, left);
                    self.state = if left == 0 { State::Between } else { State::Sized { left } };
                    Ok(taken)
                }
                State::Chunked { part, extension_bytes } => self.chunk(rest, part, extension_bytes),
                State::Trailers => self.trailer_line(rest),
                State::Upgrade => return Followed { pass: at, fault: None },
            };
            match step {
                Ok(taken) => at = at.saturating_add(taken),
                Err(fault) => {
                    // In a body the bytes before this piece are sound; in a head none of the head is.
                    let pass = if self.place() == Place::Body { at } else { sound };
                    return Followed { pass, fault: Some(fault) };
                }
            }
        }
        let held = if matches!(self.state, State::Head) { self.partial.len() } else { 0 };
        Followed { pass: bytes.len().saturating_sub(held), fault: None }
    }

    /// Looks at the first byte of a request, so that a TLS hello is refused at once and not at the deadline. Takes the
    /// whole head if it is at hand.
    fn begin_head(&mut self, rest: &[u8]) -> Result<usize, Fault> {
        if rest.first().is_some_and(|byte| !line::is_token_byte(*byte) && *byte != b'\r') {
            return Err(if rest.first() == Some(&b'\n') { Fault::BareLf } else { Fault::NotHttp });
        }
        self.head = Head::default();
        if let Some(Whole { len, fields, length, chunked }) = whole::read(rest, &self.limits) {
            self.head = Head { bytes: len, fields, request_line: true, length, chunked, ..Head::default() };
            self.line_done(HeadLine::End)?;
            return Ok(len);
        }
        self.state = State::Head;
        Ok(0)
    }

    /// Reads up to and including the next line end of a head.
    fn head_line(&mut self, rest: &[u8]) -> Result<usize, Fault> {
        let end = memchr::memchr(b'\n', rest);
        let taken = end.map_or(rest.len(), |end| end.saturating_add(1));
        self.head.bytes = self.head.bytes.saturating_add(taken);
        if self.head.bytes > self.limits.head_bytes {
            return Err(self.too_large(rest));
        }
        let Some(end) = end else {
            self.partial.extend_from_slice(rest);
            let longest = self.limits.uri_bytes.saturating_add(line::REQUEST_LINE_EXTRA);
            if !self.head.request_line && self.partial.len() > longest {
                return Err(self.too_large(&[]));
            }
            return Ok(taken);
        };
        let piece = rest.get(..end).unwrap_or_default();
        if self.partial.is_empty() {
            let complete = self.head.line(self.limits, piece)?;
            self.line_done(complete)?;
            return Ok(taken);
        }
        let mut whole = std::mem::take(&mut self.partial);
        whole.extend_from_slice(piece);
        let complete = self.head.line(self.limits, &whole)?;
        self.line_done(complete)?;
        Ok(taken)
    }

    /// What is too large, now that `rest` comes behind what is held of its line.
    fn too_large(&self, rest: &[u8]) -> Fault {
        if self.head.request_line {
            return Fault::HeadTooLarge;
        }
        let begun = if self.partial.is_empty() { rest } else { &self.partial };
        if line::has_method(begun) { Fault::UriTooLong } else { Fault::RequestLine }
    }

    fn line_done(&mut self, line: HeadLine) -> Result<(), Fault> {
        match line {
            HeadLine::More => {}
            HeadLine::Blank => {
                self.blank_lines = self.blank_lines.saturating_add(1);
                if self.blank_lines > MAX_BLANK_LINES {
                    return Err(Fault::RequestLine);
                }
                self.state = State::Between;
            }
            HeadLine::End => {
                self.blank_lines = 0;
                self.state = self.head.body()?;
                self.heads = self.heads.wrapping_add(1);
            }
        }
        Ok(())
    }

    fn chunk(&mut self, rest: &[u8], mut part: ChunkPart, mut extension_bytes: u32) -> Result<usize, Fault> {
        let mut at = 0;
        while let Some(byte) = rest.get(at).copied() {
            if let ChunkPart::Data { left } = part {
                let (taken, left) = skip(rest.get(at..).unwrap_or_default(), left);
                at = at.saturating_add(taken);
                part = if left == 0 { ChunkPart::DataCr } else { ChunkPart::Data { left } };
                continue;
            }
            at = at.saturating_add(1);
            if part.is_extension() {
                extension_bytes = extension_bytes.saturating_add(1);
                if extension_bytes > MAX_EXTENSION_BYTES {
                    return Err(Fault::Chunk);
                }
            }
            if matches!(part, ChunkPart::SizeLf { size: 0 }) && byte == b'\n' {
                self.head = Head::default();
                self.state = State::Trailers;
                return Ok(at);
            }
            part = part.after(byte)?;
        }
        self.state = State::Chunked { part, extension_bytes };
        Ok(at)
    }

    /// Trailers obey the rules of header fields. They are dropped later, except on gRPC routes.
    fn trailer_line(&mut self, rest: &[u8]) -> Result<usize, Fault> {
        let end = memchr::memchr(b'\n', rest);
        let taken = end.map_or(rest.len(), |end| end.saturating_add(1));
        self.head.bytes = self.head.bytes.saturating_add(taken);
        if self.head.bytes > self.limits.head_bytes {
            return Err(Fault::HeadTooLarge);
        }
        self.partial.extend_from_slice(rest.get(..end.unwrap_or(rest.len())).unwrap_or_default());
        if end.is_none() {
            return Ok(taken);
        }
        let whole = std::mem::take(&mut self.partial);
        let Some(line) = whole.strip_suffix(b"\r") else {
            return Err(Fault::BareLf);
        };
        if line.is_empty() {
            self.state = State::Between;
            return Ok(taken);
        }
        self.head.fields = self.head.fields.saturating_add(1);
        if self.head.fields > self.limits.fields {
            return Err(Fault::TooManyFields);
        }
        line::field(line)?;
        Ok(taken)
    }
}

/// What a line was to its head.
#[derive(Clone, Copy)]
enum HeadLine {
    /// An empty line before the request line.
    Blank,
    /// A request line or a field.
    More,
    /// The empty line at the end.
    End,
}

impl Head {
    /// Takes one line, without its LF.
    fn line(&mut self, limits: HeadLimits, line: &[u8]) -> Result<HeadLine, Fault> {
        let Some(line) = line.strip_suffix(b"\r") else {
            return Err(Fault::BareLf);
        };
        if line.is_empty() {
            return Ok(if self.request_line { HeadLine::End } else { HeadLine::Blank });
        }
        if !self.request_line {
            let RequestLine { target_len, http_10 } = line::request_line(line)?;
            if target_len > limits.uri_bytes {
                return Err(Fault::UriTooLong);
            }
            self.request_line = true;
            self.http_10 = http_10;
            return Ok(HeadLine::More);
        }
        self.fields = self.fields.saturating_add(1);
        if self.fields > limits.fields {
            return Err(Fault::TooManyFields);
        }
        let (name, value) = line::field(line)?;
        match name {
            FieldName::ContentLength => {
                if self.length.is_some() {
                    return Err(Fault::TwoLengths);
                }
                self.length = Some(line::content_length(value)?);
            }
            FieldName::TransferEncoding => {
                if self.chunked {
                    return Err(Fault::LengthAndCoding);
                }
                line::transfer_encoding(value)?;
                self.chunked = true;
            }
            FieldName::Upgrade => self.websocket |= line::asks_for_websocket(value),
            FieldName::Other => {}
        }
        Ok(HeadLine::More)
    }

    /// What follows this head.
    fn body(&self) -> Result<State, Fault> {
        match (self.length, self.chunked) {
            (Some(_), true) => Err(Fault::LengthAndCoding),
            (None, true) if self.http_10 => Err(Fault::Coding),
            (None, true) => Ok(State::Chunked { part: ChunkPart::Size { size: 0, digits: 0 }, extension_bytes: 0 }),
            (None | Some(0), false) if self.websocket && !self.http_10 => Ok(State::Upgrade),
            (None | Some(0), false) => Ok(State::Between),
            (Some(left), false) => Ok(State::Sized { left }),
        }
    }
}

impl ChunkPart {
    fn is_extension(self) -> bool {
        match self {
            Self::NameStart { .. }
            | Self::Name { .. }
            | Self::ValueStart { .. }
            | Self::Value { .. }
            | Self::Quoted { .. }
            | Self::QuotedPair { .. }
            | Self::QuotedEnd { .. } => true,
            Self::Size { .. } | Self::SizeLf { .. } | Self::Data { .. } | Self::DataCr | Self::DataLf => false,
        }
    }

    /// The part after `byte`. Stricter than RFC 9112 in one point: no white space around `;` and `=`, because
    /// parsers disagree about it.
    fn after(self, byte: u8) -> Result<Self, Fault> {
        let after_extension = |size| match byte {
            b';' => Ok(Self::NameStart { size }),
            b'\r' => Ok(Self::SizeLf { size }),
            _ => Err(Fault::Chunk),
        };
        match self {
            Self::Size { size, digits } => match hex(byte) {
                Some(digit) if digits < MAX_SIZE_DIGITS => {
                    Ok(Self::Size { size: (size << 4) | u64::from(digit), digits: digits.saturating_add(1) })
                }
                None if digits > 0 => after_extension(size),
                Some(_) | None => Err(Fault::Chunk),
            },
            Self::NameStart { size } if line::is_token_byte(byte) => Ok(Self::Name { size }),
            Self::Name { size } if line::is_token_byte(byte) => Ok(Self::Name { size }),
            Self::Name { size } if byte == b'=' => Ok(Self::ValueStart { size }),
            Self::ValueStart { size } if byte == b'"' => Ok(Self::Quoted { size }),
            Self::ValueStart { size } | Self::Value { size } if line::is_token_byte(byte) => Ok(Self::Value { size }),
            Self::Quoted { size } if byte == b'"' => Ok(Self::QuotedEnd { size }),
            Self::Quoted { size } if byte == b'\\' => Ok(Self::QuotedPair { size }),
            Self::Quoted { size } | Self::QuotedPair { size } if line::is_value_byte(byte) => Ok(Self::Quoted { size }),
            Self::Name { size } | Self::Value { size } | Self::QuotedEnd { size } => after_extension(size),
            Self::SizeLf { size } if byte == b'\n' => Ok(Self::Data { left: size }),
            Self::DataCr if byte == b'\r' => Ok(Self::DataLf),
            Self::DataLf if byte == b'\n' => Ok(Self::Size { size: 0, digits: 0 }),
            Self::NameStart { .. }
            | Self::ValueStart { .. }
            | Self::Quoted { .. }
            | Self::QuotedPair { .. }
            | Self::SizeLf { .. }
            | Self::Data { .. }
            | Self::DataCr
            | Self::DataLf => Err(Fault::Chunk),
        }
    }
}

/// Passes over at most `left` of `bytes`; how many there were, and how many are still to come.
fn skip(bytes: &[u8], left: u64) -> (usize, u64) {
    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    (taken, left.saturating_sub(taken as u64))
}

fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
pub(in crate::listen) mod tests;
