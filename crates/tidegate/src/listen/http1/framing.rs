//! Takes the bytes of a client apart: heads, and bodies out of their framing, without I/O or clock.
//!
//! Stricter than others where two parsers could read the same bytes differently, which is what request smuggling is made of:
//! a bare LF, `Content-Length` beside `Transfer-Encoding`, two equal lengths, another spelling of `chunked`.
//!
//! Invariants: what is taken does not depend on how the input is cut; what waits for its end is bounded by [`HeadLimits`];
//! after a fault nothing more may be asked.
//!
//! ```text
//!            empty line                last byte of the body
//!   Head ─────────────────▶ a body ─────────────────────────▶ Head
//!     ▲            │ (none)
//!     └────────────┘
//! ```
//! Source: RFC 9112.

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{StatusCode, Version};

use crate::reject::{Reason, Reject};

use super::head::{HeadReader, Says};
use super::line;
use crate::lines;
use crate::listen::guard::clock::Place;

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

/// What is wrong with the bytes. After any of these the connection cannot be used further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
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
    pub(crate) fn reject(self) -> Reject {
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

/// One head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) parts: Box<Parts>,
    pub(super) says: Says,
    pub(super) body: BodyLength,
}

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyLength {
    /// No body.
    None,
    /// So many bytes; not 0.
    Sized(u64),
    /// Chunks.
    Chunked,
}

/// What was found of a body.
#[derive(Debug)]
pub(super) enum Part {
    /// Some of it; not empty.
    Data(Bytes),
    /// The end, with the trailers if there were any.
    End(Option<HeaderMap>),
    /// More bytes are needed.
    More,
}

/// Takes one connection apart, from its first byte.
#[derive(Debug)]
pub(super) struct Framing {
    limits: HeadLimits,
    state: State,
    /// Of a head that has not come as a whole. Most do, so that no connection holds the room for one.
    reader: Option<Box<HeadReader>>,
}

#[derive(Debug)]
enum State {
    Head,
    Sized { left: u64 },
    Chunked { part: ChunkPart, extension_bytes: u32 },
    Trailers(Box<Trailers>),
}

/// The trailers of a body, as far as they have come.
#[derive(Debug, Default)]
struct Trailers {
    fields: HeaderMap,
    count: usize,
    bytes: usize,
    /// How far the end of the present line has been looked for in vain.
    searched: usize,
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

impl Framing {
    pub(super) fn new(limits: HeadLimits) -> Self {
        Self { limits, state: State::Head, reader: None }
    }

    /// Where the next byte stands, if `input` is what has come and was not taken.
    pub(super) fn place(&self, input: &[u8]) -> Place {
        match self.state {
            State::Head if input.is_empty() => Place::Between,
            State::Head => Place::Head,
            State::Sized { .. } | State::Chunked { .. } | State::Trailers(_) => Place::Body,
        }
    }

    /// Whether a body has begun and not ended.
    pub(super) fn is_in_body(&self) -> bool {
        !matches!(self.state, State::Head)
    }

    /// Takes the next head out of `input`, if all of it is there. Only between two requests.
    ///
    /// # Errors
    /// Nothing that follows can be understood.
    pub(super) fn head(&mut self, input: &mut BytesMut) -> Result<Option<Head>, Fault> {
        let Some((parts, says)) = self.read_head(input)? else { return Ok(None) };
        let body = body_length(&parts, &says)?;
        self.state = match body {
            BodyLength::None => State::Head,
            BodyLength::Sized(left) => State::Sized { left },
            BodyLength::Chunked => State::Chunked { part: ChunkPart::Size { size: 0, digits: 0 }, extension_bytes: 0 },
        };
        Ok(Some(Head { parts, says, body }))
    }

    fn read_head(&mut self, input: &mut BytesMut) -> Result<Option<(Box<Parts>, Says)>, Fault> {
        if input.is_empty() {
            return Ok(None);
        }
        if let Some(reader) = &mut self.reader {
            let head = reader.take(input, self.limits)?;
            if head.is_some() {
                self.reader = None;
            }
            return Ok(head);
        }
        let mut reader = HeadReader::default();
        let head = reader.take(input, self.limits)?;
        if head.is_none() {
            self.reader = Some(Box::new(reader));
        }
        Ok(head)
    }

    /// The whole of a body whose length is known, if it has come.
    pub(super) fn at_hand(&mut self, input: &mut BytesMut) -> Option<Bytes> {
        let State::Sized { left } = self.state else { return None };
        let length = usize::try_from(left).ok().filter(|length| *length <= input.len())?;
        self.state = State::Head;
        Some(take(input, length))
    }

    /// Takes the next part of a body out of `input`.
    ///
    /// # Errors
    /// Nothing that follows can be understood.
    pub(super) fn body(&mut self, input: &mut BytesMut) -> Result<Part, Fault> {
        loop {
            match &mut self.state {
                State::Head => return Ok(Part::End(None)),
                State::Sized { left } | State::Chunked { part: ChunkPart::Data { left }, .. } if *left > 0 => {
                    if input.is_empty() {
                        return Ok(Part::More);
                    }
                    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    *left -= length as u64;
                    if matches!(self.state, State::Sized { left: 0 }) {
                        self.state = State::Head;
                    }
                    return Ok(Part::Data(take(input, length)));
                }
                State::Sized { .. } => self.state = State::Head,
                State::Chunked { part, extension_bytes } => match chunk(input, part, extension_bytes)? {
                    Chunk::More => return Ok(Part::More),
                    Chunk::Data => {}
                    Chunk::Last => self.state = State::Trailers(Box::default()),
                },
                State::Trailers(trailers) => {
                    if !trailers.read(input, self.limits)? {
                        return Ok(Part::More);
                    }
                    let fields = std::mem::take(&mut trailers.fields);
                    self.state = State::Head;
                    return Ok(Part::End((!fields.is_empty()).then_some(fields)));
                }
            }
        }
    }

    /// How much of a body is still to come, if that is known.
    pub(super) fn left(&self) -> Option<u64> {
        match self.state {
            State::Sized { left } => Some(left),
            State::Head | State::Chunked { .. } | State::Trailers(_) => None,
        }
    }

    /// Drops what has come of a body that nobody reads; whether that was the rest of it.
    pub(super) fn discard(&mut self, input: &mut BytesMut) -> bool {
        loop {
            match self.body(input) {
                Ok(Part::Data(_)) => {}
                Ok(Part::End(_)) => return true,
                Ok(Part::More) | Err(_) => return false,
            }
        }
    }
}

/// What follows a head (RFC 9112, section 6.3).
fn body_length(parts: &Parts, says: &Says) -> Result<BodyLength, Fault> {
    match (says.length, says.chunked) {
        (Some(_), true) => Err(Fault::LengthAndCoding),
        (None, true) if parts.version == Version::HTTP_10 => Err(Fault::Coding),
        (None, true) => Ok(BodyLength::Chunked),
        (None | Some(0), false) => Ok(BodyLength::None),
        (Some(length), false) => Ok(BodyLength::Sized(length)),
    }
}

/// The first `length` bytes, without an allocation if that is all.
fn take(input: &mut BytesMut, length: usize) -> Bytes {
    let taken = if length == input.len() { std::mem::take(input) } else { input.split_to(length) };
    taken.freeze()
}

/// How a chunk goes on.
enum Chunk {
    /// Its line has not ended.
    More,
    /// Data follow.
    Data,
    /// It was the last one: the trailers follow.
    Last,
}

/// Takes what stands between the data of two chunks.
fn chunk(input: &mut BytesMut, part: &mut ChunkPart, extension_bytes: &mut u32) -> Result<Chunk, Fault> {
    if matches!(part, ChunkPart::Data { left: 0 }) {
        *part = ChunkPart::DataCr;
    }
    let (mut taken, mut found) = (0, Chunk::More);
    for byte in input.iter().copied() {
        taken += 1;
        if part.is_extension() {
            *extension_bytes = extension_bytes.saturating_add(1);
            if *extension_bytes > MAX_EXTENSION_BYTES {
                return Err(Fault::Chunk);
            }
        }
        if matches!(part, ChunkPart::SizeLf { size: 0 }) && byte == b'\n' {
            found = Chunk::Last;
            break;
        }
        *part = part.after(byte)?;
        if matches!(part, ChunkPart::Data { .. }) {
            found = Chunk::Data;
            break;
        }
    }
    input.advance(taken);
    Ok(found)
}

impl Trailers {
    /// Takes lines out of `input` up to the empty one; whether that has come. They obey the rules of header fields.
    fn read(&mut self, input: &mut BytesMut, limits: HeadLimits) -> Result<bool, Fault> {
        loop {
            let end = memchr::memchr(b'\n', input.get(self.searched..).unwrap_or_default());
            let length = end.map_or(input.len(), |end| self.searched + end + 1);
            if self.bytes + length > limits.head_bytes {
                return Err(Fault::HeadTooLarge);
            }
            if end.is_none() {
                self.searched = length;
                return Ok(false);
            }
            self.searched = 0;
            self.bytes += length;
            let line = input.split_to(length).freeze();
            let line = line.strip_suffix(b"\n").and_then(|line| line.strip_suffix(b"\r")).ok_or(Fault::BareLf)?;
            if line.is_empty() {
                return Ok(true);
            }
            self.count += 1;
            if self.count > limits.fields {
                return Err(Fault::TooManyFields);
            }
            self.field(line)?;
        }
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Fault> {
        let (name, value) = line.split_at_checked(line::field_name_len(line)?).ok_or(Fault::FieldName)?;
        let name = HeaderName::from_bytes(name).map_err(|_| Fault::FieldName)?;
        let value = value.strip_prefix(b":").unwrap_or_default().trim_ascii();
        let value = HeaderValue::from_bytes(value).map_err(|_| Fault::FieldValue)?;
        self.fields.try_append(name, value).map_err(|_| Fault::TooManyFields)?;
        Ok(())
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
            Self::NameStart { size } if lines::is_token_byte(byte) => Ok(Self::Name { size }),
            Self::Name { size } if lines::is_token_byte(byte) => Ok(Self::Name { size }),
            Self::Name { size } if byte == b'=' => Ok(Self::ValueStart { size }),
            Self::ValueStart { size } if byte == b'"' => Ok(Self::Quoted { size }),
            Self::ValueStart { size } | Self::Value { size } if lines::is_token_byte(byte) => Ok(Self::Value { size }),
            Self::Quoted { size } if byte == b'"' => Ok(Self::QuotedEnd { size }),
            Self::Quoted { size } if byte == b'\\' => Ok(Self::QuotedPair { size }),
            Self::Quoted { size } | Self::QuotedPair { size } if lines::is_value_byte(byte) => {
                Ok(Self::Quoted { size })
            }
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
