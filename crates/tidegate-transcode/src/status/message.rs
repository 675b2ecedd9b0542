//! The text of a `grpc-message`: percent-decoding on the way in, percent-encoding on the way out.
//!
//! The text comes from a backend and is shown to clients, so it is made harmless once, here: broken UTF-8 is replaced,
//! control characters become visible escapes, and it is cut at [`MAX_MESSAGE_BYTES`].

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode, percent_encode};

/// Longest message that is kept, in bytes of UTF-8 after decoding and escaping.
pub const MAX_MESSAGE_BYTES: usize = 4096;

/// What gRPC wants encoded: everything outside of space to `~`, and the percent sign.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// Decodes the raw value of a `grpc-message` header or trailer into text for clients and logs.
///
/// A bad escape stays as it was sent (the gRPC specification forbids to lose the message over it). At most
/// [`MAX_MESSAGE_BYTES`] bytes come back, cut between characters.
#[must_use]
pub fn decode_message(raw: &[u8]) -> String {
    // Three bytes of input make one decoded byte at most; the slack keeps the last character whole.
    let raw = raw.get(..MAX_MESSAGE_BYTES * 3 + 12).unwrap_or(raw);
    let text = percent_decode(raw).decode_utf8_lossy();
    harmless(&text)
}

/// Makes control characters visible and cuts the text at [`MAX_MESSAGE_BYTES`].
pub(super) fn harmless(text: &str) -> String {
    if text.len() <= MAX_MESSAGE_BYTES && !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len().min(MAX_MESSAGE_BYTES));
    for character in text.chars() {
        let kept = out.len();
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if character.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            _ => out.push(character),
        }
        if out.len() > MAX_MESSAGE_BYTES {
            out.truncate(kept);
            break;
        }
    }
    out
}

/// Encodes text as the value of a `grpc-message` header or trailer: printable ASCII, everything else as `%XX`.
#[must_use]
pub fn encode_message(text: &str) -> String {
    percent_encode(text.as_bytes(), ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_become_harmless_text() {
        let cases: [(&[u8], &str); 9] = [
            (b"", ""),
            (b"order 7 unknown", "order 7 unknown"),
            (b"t%C3%A4st%20100%25", "t\u{e4}st 100%"),
            ("t\u{e4}st".as_bytes(), "t\u{e4}st"),
            (b"50% of %zz %1", "50% of %zz %1"),
            (b"a%FFb", "a\u{fffd}b"),
            (b"a%0Ab%09c%0D%00%1B[31m", "a\\nb\\tc\\r\\u0000\\u001b[31m"),
            (b"%C2%85", "\\u0085"),
            (b"\"<\\", "\"<\\"),
        ];
        for (raw, text) in cases {
            assert_eq!(decode_message(raw), text, "{raw:?}");
        }
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        assert_eq!(decode_message(&[b'a'; 5000]).len(), MAX_MESSAGE_BYTES);
        assert_eq!(decode_message(&[b'a'; 4096]).len(), MAX_MESSAGE_BYTES);
        let wide = "a".to_owned() + &"\u{20ac}".repeat(3000);
        assert_eq!(decode_message(wide.as_bytes()).len(), 4096);
        let escapes = "%E2%82%AC".repeat(3000);
        assert_eq!(decode_message(escapes.as_bytes()).len(), 4095);
        assert_eq!(decode_message(&[0; 5000]).len(), 4092);
    }

    #[test]
    fn encoding_is_undone_by_decoding() {
        for text in ["", "plain", "100% \u{20ac} \u{1f600}"] {
            let encoded = encode_message(text);
            assert!(encoded.bytes().all(|b| (0x20..0x7f).contains(&b)));
            assert_eq!(decode_message(encoded.as_bytes()), text);
        }
    }
}
