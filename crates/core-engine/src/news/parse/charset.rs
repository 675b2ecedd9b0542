//! The text of a document, whatever its encoding.
//!
//! A byte order mark wins over the transport, the transport over the document itself (RFC 7303, section 3.2), and
//! without any it is UTF-8. Bytes that are no text become U+FFFD and are reported, not refused.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8};

/// An XML declaration that has not ended by then is none.
const DECLARATION_MAX_BYTES: usize = 512;

/// The text, and whether some bytes were none. `charset` is the parameter of the content type, if it has one.
pub(super) fn decode<'d>(document: &'d [u8], charset: Option<&str>) -> (Cow<'d, str>, bool) {
    let told = charset.and_then(|label| Encoding::for_label(label.trim().trim_matches(['"', '\'']).as_bytes()));
    let encoding = told.or_else(|| declared(document)).unwrap_or(UTF_8);
    let (text, _, damaged) = encoding.decode(document);
    (text, damaged)
}

/// What the XML declaration says. It was read as ASCII, so it cannot be true if it says UTF-16.
fn declared(document: &[u8]) -> Option<&'static Encoding> {
    let start = document.trim_ascii_start();
    let start = start.get(..DECLARATION_MAX_BYTES).unwrap_or(start);
    let start = String::from_utf8_lossy(start);
    let (declaration, _) = start.strip_prefix("<?xml")?.split_once("?>")?;
    let (_, value) = declaration.split_once("encoding")?;
    let value = value.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let label = value.get(1..)?.split(quote).next()?;
    Encoding::for_label(label.as_bytes()).map(Encoding::output_encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_wins_over_the_transport_and_that_over_the_declaration() {
        for (document, charset, expected, damaged) in [
            (b"plain".as_slice(), None, "plain", false),
            ("Zürich".as_bytes(), None, "Zürich", false),
            (b"Z\xfcrich", None, "Z\u{fffd}rich", true),
            (b"Z\xfcrich", Some("ISO-8859-1"), "Zürich", false),
            (b"Z\xfcrich", Some("\"latin1\""), "Zürich", false),
            (b"Z\xfcrich", Some("no such"), "Z\u{fffd}rich", true),
            (b"\xef\xbb\xbfZ\xc3\xbcrich", Some("ISO-8859-1"), "Zürich", false),
            (b"\xff\xfeZ\0", None, "Z", false),
            (
                b"<?xml version='1.0' encoding='windows-1252'?>\x93a\x94",
                None,
                "<?xml version='1.0' encoding='windows-1252'?>“a”",
                false,
            ),
            (
                b" <?xml version=\"1.0\" encoding = \"iso-8859-1\"?>\xe9",
                None,
                " <?xml version=\"1.0\" encoding = \"iso-8859-1\"?>é",
                false,
            ),
            ("<?xml encoding='utf-16'?>é".as_bytes(), None, "<?xml encoding='utf-16'?>é", false),
            ("<?xml encoding='?>é".as_bytes(), None, "<?xml encoding='?>é", false),
        ] {
            let (text, found_damaged) = decode(document, charset);
            assert_eq!((text.as_ref(), found_damaged), (expected, damaged), "{document:?}");
        }
    }
}
