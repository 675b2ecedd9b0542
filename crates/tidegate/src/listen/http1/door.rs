//! What requests are read as, for `fuzz/` and `tests/corpus.rs`.

use bytes::BytesMut;
use http::HeaderMap;

use super::framing::{Fault, Framing, HeadLimits, Part};

/// What was found in the bytes of a client.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    /// A head: method, target, whether it is HTTP/1.0, fields.
    Head(String, String, bool, HeaderMap),
    /// All that came of a body.
    Data(Vec<u8>),
    /// A body has ended, with these trailers.
    End(HeaderMap),
    /// Nothing more is understood.
    Fault(String),
}

/// What comes of a connection whose bytes arrive in these pieces, by the limits that are built in.
pub fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
    let mut framing = Framing::new(HeadLimits::default());
    let (mut input, mut seen) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match step(&mut framing, &mut input, &mut seen) {
                Ok(true) => {}
                Ok(false) => break,
                Err(fault) => {
                    seen.push(Seen::Fault(format!("{fault:?}")));
                    return seen;
                }
            }
        }
    }
    seen
}

/// Whether there may be more in `input`.
fn step(framing: &mut Framing, input: &mut BytesMut, seen: &mut Vec<Seen>) -> Result<bool, Fault> {
    if !framing.is_in_body() {
        let Some(head) = framing.head(input)? else { return Ok(false) };
        let parts = *head.parts;
        let is_10 = parts.version == http::Version::HTTP_10;
        seen.push(Seen::Head(parts.method.to_string(), parts.uri.to_string(), is_10, parts.headers));
        return Ok(true);
    }
    match framing.body(input)? {
        Part::More => return Ok(false),
        Part::End(trailers) => seen.push(Seen::End(trailers.unwrap_or_default())),
        Part::Data(data) => match seen.last_mut() {
            Some(Seen::Data(before)) => before.extend_from_slice(&data),
            _ => seen.push(Seen::Data(data.to_vec())),
        },
    }
    Ok(true)
}
