//! Close frames and their codes.
//!
//! Source: RFC 6455, sections 5.5.1 and 7.4, and the registry of close codes (1012 to 1014).

use crate::fault::Fault;
use crate::frame::{MAX_CONTROL, Opcode, write_frame};

/// Codes with a name.
pub mod code {
    /// All is said.
    pub const NORMAL: u16 = 1000;
    /// The server goes down, or the client has left the page.
    pub const GOING_AWAY: u16 = 1001;
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// Binary messages, or text, are not taken.
    pub const UNSUPPORTED: u16 = 1003;
    /// Text that is not UTF-8.
    pub const NOT_CONSISTENT: u16 = 1007;
    /// The peer does what is not allowed here.
    pub const POLICY: u16 = 1008;
    /// A message is too large.
    pub const TOO_BIG: u16 = 1009;
    /// A fault of the server.
    pub const INTERNAL: u16 = 1011;
}

/// What a close frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseFrame<'a> {
    /// Why, as a number.
    pub code: u16,
    /// Why, in words; may be empty.
    pub reason: &'a str,
}

/// Whether `code` may stand in a close frame.
#[must_use]
pub const fn is_valid_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// What the payload of a close frame says; `None` if it has none.
pub(crate) fn read(payload: &[u8]) -> Result<Option<CloseFrame<'_>>, Fault> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(None) } else { Err(Fault::BadClose) };
    };
    let code = u16::from_be_bytes(*code);
    if !is_valid_code(code) {
        return Err(Fault::BadClose);
    }
    let reason = std::str::from_utf8(reason).map_err(|_| Fault::NotUtf8)?;
    Ok(Some(CloseFrame { code, reason }))
}

/// Appends a close frame of a server. A reason of more than 123 bytes is cut between two characters.
pub fn write_close(code: u16, reason: &str, out: &mut Vec<u8>) {
    let mut payload = [0; MAX_CONTROL];
    let reason = reason.get(..reason.floor_char_boundary(MAX_CONTROL - 2)).unwrap_or_default();
    for (to, from) in payload.iter_mut().zip(code.to_be_bytes().iter().chain(reason.as_bytes())) {
        *to = *from;
    }
    write_frame(Opcode::Close, payload.get(..2 + reason.len()).unwrap_or_default(), out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_may_be_sent_are_taken() {
        for (code, valid) in [
            (0, false),
            (999, false),
            (1000, true),
            (1003, true),
            (1004, false),
            (1005, false),
            (1006, false),
            (1007, true),
            (1014, true),
            (1015, false),
            (1016, false),
            (2999, false),
            (3000, true),
            (4999, true),
            (5000, false),
            (u16::MAX, false),
        ] {
            assert_eq!(is_valid_code(code), valid, "{code}");
            let read = read(&code.to_be_bytes()).map(|close| close.map(|close| close.code));
            assert_eq!(read, if valid { Ok(Some(code)) } else { Err(Fault::BadClose) });
        }
        assert_eq!(read(b""), Ok(None));
        assert_eq!(read(b"\x03"), Err(Fault::BadClose));
        assert_eq!(read(b"\x03\xe8\xff"), Err(Fault::NotUtf8));
        assert_eq!(read(b"\x03\xe8bye"), Ok(Some(CloseFrame { code: 1000, reason: "bye" })));
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let mut out = Vec::new();
        write_close(4000, &"ä".repeat(100), &mut out);
        assert_eq!(out[..4], [0x88, 124, 0x0f, 0xa0]);
        assert_eq!(std::str::from_utf8(&out[4..]).unwrap(), "ä".repeat(61));
    }
}
