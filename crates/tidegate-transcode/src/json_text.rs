//! Quoting text that is not part of a message: error texts, field names.

/// Something that JSON text can be appended to.
pub(crate) trait Sink {
    fn push_text(&mut self, text: &str);
}

impl Sink for String {
    fn push_text(&mut self, text: &str) {
        self.push_str(text);
    }
}

impl Sink for Vec<u8> {
    fn push_text(&mut self, text: &str) {
        self.extend_from_slice(text.as_bytes());
    }
}

/// Appends `text` as a JSON string with quotes. Other characters than quotes, backslashes and controls stay as they
/// are.
pub(crate) fn quote(text: &str, out: &mut impl Sink) {
    out.push_text("\"");
    let mut clean = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_text(text.get(clean..at).unwrap_or_default());
        clean = at + 1;
        match byte {
            b'"' => out.push_text("\\\""),
            b'\\' => out.push_text("\\\\"),
            b'\n' => out.push_text("\\n"),
            b'\r' => out.push_text("\\r"),
            b'\t' => out.push_text("\\t"),
            _ => out.push_text(&format!("\\u{byte:04x}")),
        }
    }
    out.push_text(text.get(clean..).unwrap_or_default());
    out.push_text("\"");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text_reads_back() {
        for text in [
            "",
            "plain",
            "a\"b\\c\nd\re\tf\u{1}g",
            "\u{e9}\u{1f600}\u{7f}\u{85}",
        ] {
            let mut out = String::new();
            quote(text, &mut out);
            assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
            let mut bytes = Vec::new();
            quote(text, &mut bytes);
            assert_eq!(bytes, out.as_bytes());
        }
    }
}
