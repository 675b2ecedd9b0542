//! What answers of backends are read as, for `fuzz/` and `tests/corpus.rs`.

use bytes::BytesMut;
use http::HeaderMap;

use super::codec::{Fault, Step, take_head};

/// What was found in the bytes of a backend.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    /// A head: status, fields.
    Head(u16, HeaderMap),
    /// All that came of a body.
    Data(Vec<u8>),
    /// A body has ended, with these trailers.
    End(HeaderMap),
    /// Nothing more is understood.
    Fault(String),
}

/// What comes of one answer, and of interim ones before it, if its bytes arrive in these pieces. `is_head`: to a `HEAD`
/// request.
pub fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, is_head: bool) -> Vec<Seen> {
    let mut seen = Vec::new();
    if let Err(fault) = follow(pieces, is_head, &mut seen) {
        seen.push(Seen::Fault(fault.to_string()));
    }
    seen
}

fn follow<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, is_head: bool, seen: &mut Vec<Seen>) -> Result<(), Fault> {
    let (mut input, mut scanned, mut body) = (BytesMut::new(), 0, None);
    for piece in pieces {
        input.extend_from_slice(piece);
        while body.is_none() {
            let Some(head) = take_head(&mut input, &mut scanned, is_head)? else { break };
            scanned = 0;
            body = (!head.status.is_informational()).then_some(head.body);
            seen.push(Seen::Head(head.status.as_u16(), head.headers));
        }
        let Some(body) = &mut body else { continue };
        loop {
            match body.next(&mut input)? {
                Step::More => break,
                Step::End(trailers) => {
                    seen.push(Seen::End(trailers.unwrap_or_default()));
                    return Ok(());
                }
                Step::Data(data) => match seen.last_mut() {
                    Some(Seen::Data(before)) => before.extend_from_slice(&data),
                    _ => seen.push(Seen::Data(data.to_vec())),
                },
            }
        }
    }
    Ok(())
}
