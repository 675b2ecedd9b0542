//! What gRPC-Web does differently from gRPC: base64 in text mode, and the trailers as a last frame of the body.
//!
//! Pure functions of bytes. Source: grpc/grpc, `doc/PROTOCOL-WEB.md`.

use crate::json::base64;

/// The flag of the frame that holds the trailers.
const TRAILERS: u8 = 0x80;

/// A body in text mode is not base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is not base64")]
pub struct BadText;

/// Undoes the base64 of a body in text mode, however it is cut. Padding may stand inside: each message, or each flush,
/// may be encoded by itself.
#[derive(Debug, Default)]
pub struct TextDecoder {
    quad: [u8; 4],
    filled: usize,
}

impl TextDecoder {
    /// Appends what the next characters complete.
    ///
    /// # Errors
    /// A character of no alphabet, or padding in a wrong place. Final.
    pub fn push(&mut self, mut text: &[u8], out: &mut Vec<u8>) -> Result<(), BadText> {
        out.reserve(text.len() / 4 * 3 + 3);
        while let Some((byte, rest)) = text.split_first() {
            if self.filled == 0 {
                // Whole groups without padding go by in one step.
                let run = text.iter().position(|byte| *byte == b'=').unwrap_or(text.len()) / 4 * 4;
                if run > 0 {
                    let (whole, left) = text.split_at(run);
                    base64::decode(whole, out).ok_or(BadText)?;
                    text = left;
                    continue;
                }
            }
            if let Some(place) = self.quad.get_mut(self.filled) {
                *place = *byte;
            }
            self.filled += 1;
            text = rest;
            if self.filled == self.quad.len() {
                self.filled = 0;
                base64::decode(&self.quad, out).ok_or(BadText)?;
            }
        }
        Ok(())
    }

    /// Whether the body may end here.
    ///
    /// # Errors
    /// Inside a group of four characters.
    pub fn finish(&self) -> Result<(), BadText> {
        if self.filled == 0 { Ok(()) } else { Err(BadText) }
    }
}

/// Appends `bytes` in text mode, padded, so that whatever follows can be encoded by itself.
pub fn encode_text(bytes: &[u8], out: &mut Vec<u8>) {
    base64::encode(bytes, out);
}

/// Appends the frame of the trailers: lines of `name: value`, in the order in which they come. Names are lower case as
/// HTTP/2 has them; values hold no line ends, which no header may.
pub fn write_trailers<'a>(trailers: impl IntoIterator<Item = (&'a str, &'a [u8])>, out: &mut Vec<u8>) {
    let at = out.len();
    out.extend_from_slice(&[TRAILERS, 0, 0, 0, 0]);
    let begin = out.len();
    for (name, value) in trailers {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    // Metadata is bounded far below 4 GiB.
    let length = u32::try_from(out.len() - begin).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(at + 1..begin) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(parts: &[&[u8]]) -> Result<Vec<u8>, BadText> {
        let mut decoder = TextDecoder::default();
        let mut out = Vec::new();
        for part in parts {
            decoder.push(part, &mut out)?;
        }
        decoder.finish().map(|()| out)
    }

    #[test]
    fn padding_may_stand_inside_and_any_split_gives_the_same_bytes() {
        let pieces: [&[u8]; 5] = [b"a", b"bc", b"def", b"", b"0123456789"];
        let mut text = Vec::new();
        for piece in pieces {
            encode_text(piece, &mut text);
        }
        assert_eq!(text, b"YQ==YmM=ZGVmMDEyMzQ1Njc4OQ==");
        let expected = pieces.concat();
        for a in 0..=text.len() {
            for b in a..=text.len() {
                let (first, rest) = text.split_at(a);
                let (second, third) = rest.split_at(b - a);
                assert_eq!(decode(&[first, second, third]).as_ref(), Ok(&expected), "{a} {b}");
            }
        }
    }

    #[test]
    fn what_is_not_base64_is_refused_at_every_split() {
        for text in ["YQ=", "YQ", "Y===", "====", "YQ==Y", "Y=Q=", "YQ=a", "YWJj YWJj", "YWJj\n", "YWJ*", "YQ==="] {
            for at in 0..=text.len() {
                let (a, b) = text.as_bytes().split_at(at);
                assert_eq!(decode(&[a, b]), Err(BadText), "{text} {at}");
            }
        }
    }

    #[test]
    fn trailers_are_one_frame_of_lines() {
        let mut out = b"x".to_vec();
        write_trailers([("grpc-status", &b"0"[..]), ("grpc-message", b"")], &mut out);
        assert_eq!(out, b"x\x80\0\0\0\x20grpc-status: 0\r\ngrpc-message: \r\n");
        out.clear();
        write_trailers([], &mut out);
        assert_eq!(out, b"\x80\0\0\0\0");
    }
}
