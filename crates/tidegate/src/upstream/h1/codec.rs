//! HTTP/1.1 of backends as bytes: heads of answers, and bodies out of their framing. Pure.
//!
//! Backends are read with the same care as clients: what two readers could take apart differently is a fault, and its
//! connection is not used again. Source: RFC 9112.

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{StatusCode, Version};

use crate::lines;

/// Largest head of an answer.
pub(super) const MAX_HEAD: usize = 64 * 1024;

/// Fields of one head.
const MAX_FIELDS: usize = 128;

/// Room in a head for fields that the gateway adds on the way to the client, so that the map need not grow for them.
const OURS: usize = 8;

/// Longest line with the size of a chunk, its extensions included.
const MAX_CHUNK_LINE: usize = 4 * 1024;

/// Extensions of all chunks of one body.
const MAX_EXTENSIONS: usize = 16 * 1024;

/// Largest trailers.
const MAX_TRAILERS: usize = 16 * 1024;

/// Fields that cannot be trailers, or are of one connection alone.
const NO_TRAILERS: [HeaderName; 10] = [
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    TRAILER,
    HOST,
    CONNECTION,
    TE,
    UPGRADE,
    SET_COOKIE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Why an answer cannot be read. The text is constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub(in crate::upstream) &'static str);

/// The head of an answer.
#[derive(Debug)]
pub(in crate::upstream) struct Head {
    pub(in crate::upstream) status: StatusCode,
    pub(in crate::upstream) headers: HeaderMap,
    pub(in crate::upstream) body: Decoder,
    /// The connection may carry another request after the body.
    pub(super) keep_alive: bool,
}

/// Takes a head out of `input` if all of it is there. `scanned` remembers how far was looked, from 0 for each head.
/// `is_head`: the request was a HEAD, whose answer has no body.
///
/// # Errors
/// It is too large or broken, or two framings are possible.
pub(super) fn take_head(input: &mut BytesMut, scanned: &mut usize, is_head: bool) -> Result<Option<Head>, Fault> {
    let Some(end) = find_end(input, scanned) else {
        return if input.len() > MAX_HEAD { Err(Fault("the head is too large")) } else { Ok(None) };
    };
    if end > MAX_HEAD {
        return Err(Fault("the head is too large"));
    }
    let bytes = if end == input.len() { std::mem::take(input) } else { input.split_to(end) }.freeze();
    let (status, version, fields) = status_line(&bytes).ok_or(Fault("the head is malformed"))?;
    let status = StatusCode::from_u16(status).map_err(|_| Fault("an unknown status"))?;
    let headers = header_map(&bytes, fields)?;
    let body = framing(status, version, &headers, is_head)?;
    let keep_alive = !matches!(body, Decoder::UntilClose) && keeps_alive(version, &headers);
    Ok(Some(Head { status, headers, body, keep_alive }))
}

/// Status, version and what follows the line (RFC 9112, section 4).
fn status_line(bytes: &[u8]) -> Option<(u16, Version, &[u8])> {
    let rest = bytes.strip_prefix(b"HTTP/1.")?;
    let (version, rest) = match rest {
        [b'1', b' ', rest @ ..] => (Version::HTTP_11, rest),
        [b'0', b' ', rest @ ..] => (Version::HTTP_10, rest),
        _ => return None,
    };
    let (code, rest) = rest.split_first_chunk::<3>()?;
    let status =
        lines::decimal(code).and_then(|code| u16::try_from(code).ok()).filter(|code| (100..=599).contains(code))?;
    // A reason may be missing, and the space before it.
    let end = memchr::memchr(b'\n', rest)?;
    let (reason, fields) = rest.split_at_checked(end + 1)?;
    let reason = reason.strip_suffix(b"\r\n")?;
    let sound = reason.is_empty() || (reason.starts_with(b" ") && reason.iter().copied().all(lines::is_value_byte));
    sound.then_some((status, version, fields))
}

/// Where the empty line ends that ends a head. Looks at no byte twice. A search for the whole pattern would take longer to
/// prepare than a head is long.
fn find_end(input: &[u8], scanned: &mut usize) -> Option<usize> {
    const END: &[u8] = b"\r\n\r\n";
    let from = std::mem::replace(scanned, input.len());
    let line_ends = memchr::memchr_iter(b'\n', input.get(from..).unwrap_or_default());
    line_ends.map(|at| from + at + 1).find(|end| input.get(..*end).is_some_and(|head| head.ends_with(END)))
}

/// Reads the fields of a head or of trailers up to the empty line, which ends them. Values are slices of `bytes`.
fn header_map(bytes: &Bytes, mut fields: &[u8]) -> Result<HeaderMap, Fault> {
    let lines = memchr::memchr_iter(b'\n', fields).count().min(MAX_FIELDS);
    let mut headers = HeaderMap::with_capacity(lines + OURS);
    while fields != b"\r\n" {
        let (name_len, value_len) = lines::usual_field(fields).ok_or(Fault("a field is malformed"))?;
        let (name, rest) = fields.split_at_checked(name_len).unwrap_or_default();
        let (value, rest) = rest.get(1..).and_then(|rest| rest.split_at_checked(value_len)).unwrap_or_default();
        fields = rest.get(2..).unwrap_or_default();
        if headers.len() >= MAX_FIELDS {
            return Err(Fault("the head has too many fields"));
        }
        let name = HeaderName::from_bytes(name).map_err(|_| Fault("a field has a broken name"))?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(value.trim_ascii()));
        headers.append(name, value.map_err(|_| Fault("a field has a broken value"))?);
    }
    Ok(headers)
}

/// Source: RFC 9112, section 6.3.
fn framing(status: StatusCode, version: Version, headers: &HeaderMap, is_head: bool) -> Result<Decoder, Fault> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let (coding, length) = (codings.next(), lengths.next());
    if codings.next().is_some() || lengths.next().is_some() || (coding.is_some() && length.is_some()) {
        return Err(Fault("the body has two framings"));
    }
    let framed = match (coding, length) {
        (Some(coding), _) if version == Version::HTTP_11 && coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Decoder::Chunked(Chunk::Size, 0)
        }
        (Some(_), _) => return Err(Fault("the body has an unknown transfer coding")),
        (None, Some(length)) => {
            Decoder::Length(lines::decimal(length.as_bytes()).ok_or(Fault("a broken content-length"))?)
        }
        (None, None) => Decoder::UntilClose,
    };
    let bodiless = is_head || status.is_informational() || matches!(status.as_u16(), 204 | 304);
    Ok(if bodiless || matches!(framed, Decoder::Length(0)) { Decoder::Done } else { framed })
}

fn keeps_alive(version: Version, headers: &HeaderMap) -> bool {
    let says = |word: &[u8]| headers.get_all(CONNECTION).iter().any(|value| lines::names(value.as_bytes(), word));
    if version == Version::HTTP_11 { !says(b"close") } else { says(b"keep-alive") }
}

/// Takes a body out of its framing.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Decoder {
    /// Nothing (more) will come.
    Done,
    /// So many bytes are left.
    Length(u64),
    /// In chunks; with the bytes of extensions so far.
    Chunked(Chunk, usize),
    /// Whatever comes, until the backend closes.
    UntilClose,
}

/// Where a chunked body stands.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Chunk {
    /// Before the line with a size.
    Size,
    /// So many bytes of the chunk are left.
    Data(u64),
    /// Before the line end behind a chunk.
    DataEnd,
    /// Before the trailers, whose end was sought so far.
    Trailers(usize),
}

/// What a decoder found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Some of the body; not empty.
    Data(Bytes),
    /// The end, with the trailers if there were any.
    End(Option<HeaderMap>),
    /// More bytes are needed.
    More,
}

impl Decoder {
    /// The next part of the body in `input`.
    ///
    /// # Errors
    /// Broken chunks or trailers.
    pub(super) fn next(&mut self, input: &mut BytesMut) -> Result<Step, Fault> {
        loop {
            match self {
                Self::Done => return Ok(Step::End(None)),
                Self::UntilClose if input.is_empty() => return Ok(Step::More),
                Self::UntilClose => return Ok(Step::Data(std::mem::take(input).freeze())),
                Self::Length(left) => {
                    let Some(data) = take(input, left) else { return Ok(Step::More) };
                    if *left == 0 {
                        *self = Self::Done;
                    }
                    return Ok(Step::Data(data));
                }
                Self::Chunked(chunk, extensions) => match chunk {
                    Chunk::Size => {
                        let Some(size) = take_size(input, extensions)? else { return Ok(Step::More) };
                        *chunk = if size == 0 { Chunk::Trailers(0) } else { Chunk::Data(size) };
                    }
                    Chunk::Data(left) => {
                        let Some(data) = take(input, left) else { return Ok(Step::More) };
                        if *left == 0 {
                            *chunk = Chunk::DataEnd;
                        }
                        return Ok(Step::Data(data));
                    }
                    Chunk::DataEnd => match &**input {
                        [] | [b'\r'] => return Ok(Step::More),
                        [b'\r', b'\n', ..] => {
                            input.advance(2);
                            *chunk = Chunk::Size;
                        }
                        [..] => return Err(Fault("a chunk is longer than its size")),
                    },
                    Chunk::Trailers(scanned) => {
                        let Some(trailers) = take_trailers(input, scanned)? else { return Ok(Step::More) };
                        *self = Self::Done;
                        return Ok(Step::End((!trailers.is_empty()).then_some(trailers)));
                    }
                },
            }
        }
    }

    /// Whether all of the body has come.
    pub(in crate::upstream) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

/// As much of `left` bytes as there is; `None` if that is nothing.
pub(super) fn take(input: &mut BytesMut, left: &mut u64) -> Option<Bytes> {
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
    if count == 0 {
        return None;
    }
    *left -= count as u64;
    // What is left of an input that was split would hold on to its memory, though it is empty.
    let taken = if count == input.len() { std::mem::take(input) } else { input.split_to(count) };
    Some(taken.freeze())
}

/// The size of the next chunk, if its line is there.
fn take_size(input: &mut BytesMut, extensions: &mut usize) -> Result<Option<u64>, Fault> {
    let searched = input.get(..MAX_CHUNK_LINE).unwrap_or(input);
    let Some(end) = memchr::memchr(b'\n', searched) else {
        return if searched.len() < MAX_CHUNK_LINE { Ok(None) } else { Err(Fault("the size of a chunk is too long")) };
    };
    let line = searched.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    let line = line.ok_or(Fault("the size of a chunk has a broken line end"))?;
    let digits = line.iter().position(|byte| *byte == b';').unwrap_or(line.len());
    *extensions += line.len() - digits;
    if *extensions > MAX_EXTENSIONS {
        return Err(Fault("the extensions of chunks are too long"));
    }
    let size = hexadecimal(line.get(..digits).unwrap_or_default()).ok_or(Fault("a broken size of a chunk"))?;
    input.advance(end + 1);
    Ok(Some(size))
}

/// At most 15 digits, which no chunk needs, so that it cannot overflow.
fn hexadecimal(digits: &[u8]) -> Option<u64> {
    if !(1..=15).contains(&digits.len()) {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| Some(number << 4 | u64::from(char::from(*digit).to_digit(16)?)))
}

fn take_trailers(input: &mut BytesMut, scanned: &mut usize) -> Result<Option<HeaderMap>, Fault> {
    match input.get(..2) {
        None => return Ok(None),
        Some(b"\r\n") => {
            input.advance(2);
            return Ok(Some(HeaderMap::new()));
        }
        Some(_) => {}
    }
    let Some(end) = find_end(input, scanned).filter(|end| *end <= MAX_TRAILERS) else {
        return if input.len() < MAX_TRAILERS { Ok(None) } else { Err(Fault("the trailers are too large")) };
    };
    let bytes = input.split_to(end).freeze();
    let mut trailers = header_map(&bytes, &bytes)?;
    // They come too late to say how the message is framed or where it goes (RFC 9110, section 6.5.1).
    for name in NO_TRAILERS {
        trailers.remove(name);
    }
    Ok(Some(trailers))
}

#[cfg(test)]
mod tests;
