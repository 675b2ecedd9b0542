//! UTF-8 that is checked as it comes, so that a fault is found with its first byte and not at the end of a message.

/// How far a text that grows has been checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checked {
    /// Up to here it is UTF-8; what follows, at most three bytes, is the beginning of a character.
    upto: usize,
}

/// The text is not UTF-8, whatever may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotUtf8;

impl Checked {
    pub(crate) const fn new() -> Self {
        Self { upto: 0 }
    }

    /// Checks what `text` has grown by. It only ever grows at its end.
    pub(crate) fn grown(&mut self, text: &[u8]) -> Result<(), NotUtf8> {
        match std::str::from_utf8(text.get(self.upto..).unwrap_or_default()) {
            Ok(_) => self.upto = text.len(),
            Err(error) if error.error_len().is_none() => self.upto += error.valid_up_to(),
            Err(_) => return Err(NotUtf8),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_found_with_its_first_byte() {
        for (text, bad_at) in [
            (&b"caf\xc3\xa9 \xf0\x9f\x8c\x8a"[..], None),
            (b"a\xff", Some(1)),
            (b"\xc0\xaf", Some(0)),
            (b"\xce\xba\xed\xa0\x80", Some(3)),
            (b"\xf4\x90\x80\x80", Some(1)),
            (b"\xe2\x82a", Some(2)),
            (b"\x80", Some(0)),
        ] {
            let mut checked = Checked::new();
            let first = (1..=text.len()).find(|end| checked.grown(&text[..*end]).is_err());
            assert_eq!(first, bad_at.map(|at: usize| at + 1), "{text:x?}");
            let mut at_once = Checked::new();
            assert_eq!(at_once.grown(text).is_err(), bad_at.is_some(), "{text:x?}");
        }
    }
}
