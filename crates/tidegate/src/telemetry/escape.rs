//! Text of strangers inside a line of a log: whatever the bytes are, what comes out is the inside of a JSON string, on
//! one line, that a terminal shows and does not obey.
//!
//! Beyond what JSON demands, DEL and the C1 controls (terminals act on them), the line separators U+2028 and U+2029, and
//! the marks that turn the direction of text are escaped. What is not UTF-8 becomes U+FFFD.

use std::fmt;

/// The longest text of one field, in bytes as written. A cut never splits a character or an escape.
pub(super) const MAX_TEXT_BYTES: usize = 8 * 1024;

/// Bytes that are looked at together; the compiler makes vector instructions of it.
const STRIDE: usize = 16;

/// Appends `bytes`, escaped and cut to [`MAX_TEXT_BYTES`].
pub(super) fn push(out: &mut Vec<u8>, bytes: &[u8]) {
    // Nearly every text is short printable ASCII.
    if bytes.len() <= MAX_TEXT_BYTES && is_plain(bytes) {
        out.extend_from_slice(bytes);
        return;
    }
    Escaped::new(out).push(bytes);
}

/// Text that comes in pieces, for `write!`; all pieces together are cut to [`MAX_TEXT_BYTES`].
pub(super) struct Escaped<'a> {
    out: &'a mut Vec<u8>,
    room: usize,
}

impl<'a> Escaped<'a> {
    /// The next text at the end of `out`.
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, room: MAX_TEXT_BYTES }
    }

    fn push(&mut self, bytes: &[u8]) {
        for chunk in bytes.utf8_chunks() {
            for character in chunk.valid().chars() {
                self.push_char(character);
                if self.room == 0 {
                    return;
                }
            }
            if !chunk.invalid().is_empty() {
                self.push_char(char::REPLACEMENT_CHARACTER);
            }
        }
    }

    fn push_char(&mut self, character: char) {
        let mut place = [0; 4];
        match character {
            '"' => self.put(b"\\\""),
            '\\' => self.put(b"\\\\"),
            _ if is_unsafe(character) => {
                let code = u32::from(character);
                let digit = |shift: u32| {
                    let digit = u8::try_from((code >> shift) & 15).unwrap_or(0);
                    if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }
                };
                self.put(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
            }
            _ => self.put(character.encode_utf8(&mut place).as_bytes()),
        }
    }

    /// Once something did not fit, nothing does: a shorter piece behind a gap would falsify the text.
    fn put(&mut self, piece: &[u8]) {
        if piece.len() > self.room {
            self.room = 0;
            return;
        }
        self.room -= piece.len();
        self.out.extend_from_slice(piece);
    }
}

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

/// True if all bytes are printable ASCII that stands for itself in a JSON string.
fn is_plain(bytes: &[u8]) -> bool {
    let (strides, rest) = bytes.as_chunks::<STRIDE>();
    let plain = |bytes: &[u8]| bytes.iter().fold(true, |plain, byte| plain & is_plain_byte(*byte));
    strides.iter().all(|stride| plain(stride)) && plain(rest)
}

fn is_plain_byte(byte: u8) -> bool {
    // Without branches, for the vector instructions.
    (b' '..0x7f).contains(&byte) & (byte != b'"') & (byte != b'\\')
}

/// True for the characters that a terminal or a viewer would obey. All are below U+10000.
fn is_unsafe(character: char) -> bool {
    matches!(
        character,
        '\0'..'\u{20}'
            | '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn escaped(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        push(&mut out, bytes);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_a_terminal_obeys_is_spelled_out() {
        for (given, written) in [
            ("/v1/orders/7", "/v1/orders/7"),
            ("", ""),
            ("say \"a\\b\"", "say \\\"a\\\\b\\\""),
            ("a\r\nb\tc\0", "a\\u000d\\u000ab\\u0009c\\u0000"),
            ("\u{1b}[31mred\u{7f}", "\\u001b[31mred\\u007f"),
            ("\u{9b}31m \u{85}", "\\u009b31m \\u0085"),
            ("a\u{2028}b\u{2029}", "a\\u2028b\\u2029"),
            ("\u{202e}gnp.exe\u{2066}\u{200f}\u{61c}", "\\u202egnp.exe\\u2066\\u200f\\u061c"),
            ("grüße 注文 🦀 \u{a0}", "grüße 注文 🦀 \u{a0}"),
        ] {
            assert_eq!(escaped(given.as_bytes()), written, "{given:?}");
        }
        assert_eq!(escaped(b"a\xff\xc3(\xed\xa0\x80\x9b"), "a\u{fffd}\u{fffd}(\u{fffd}\u{fffd}\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_cut_splits_neither_characters_nor_escapes() {
        let plain = "a".repeat(MAX_TEXT_BYTES);
        assert_eq!(escaped(plain.as_bytes()), plain);
        assert_eq!(escaped(format!("{plain}b").as_bytes()), plain);
        let nearly = "a".repeat(MAX_TEXT_BYTES - 1);
        for behind in ["é", "\n", "\"", "🦀"] {
            // What follows would have fitted.
            assert_eq!(escaped(format!("{nearly}{behind}z").as_bytes()), nearly);
        }
        assert_eq!(escaped(&[b'\n'; MAX_TEXT_BYTES]).len(), MAX_TEXT_BYTES / 6 * 6);
    }

    proptest! {
        #[test]
        fn any_bytes_become_one_harmless_json_string(bytes in prop::collection::vec(any::<u8>(), 0..200), repeat in 1usize..100) {
            let bytes = bytes.repeat(repeat);
            let written = escaped(&bytes);
            prop_assert!(written.len() <= MAX_TEXT_BYTES);
            prop_assert!(!written.chars().any(is_unsafe));
            let read: String = serde_json::from_str(&format!("\"{written}\"")).unwrap();
            prop_assert!(String::from_utf8_lossy(&bytes).starts_with(&read));
        }

        #[test]
        fn pieces_give_the_same_as_the_whole(pieces in prop::collection::vec(".{0,2000}", 0..12)) {
            let mut out = Vec::new();
            let mut writing = Escaped::new(&mut out);
            for piece in &pieces {
                writing.write_str(piece).unwrap();
            }
            prop_assert_eq!(String::from_utf8(out).unwrap(), escaped(pieces.concat().as_bytes()));
        }
    }
}
