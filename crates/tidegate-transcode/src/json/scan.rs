//! Reads JSON tokens from a byte slice that is known to be UTF-8.
//!
//! Strict RFC 8259: no comments, no trailing commas, no control characters in strings, no byte-order mark, no lone
//! surrogates. The scanner decides what a token is; what it means is up to the reader.

use super::error::{Expected, ReadError, ReadErrorKind};
use super::text::find_special;

pub(super) type Result<T> = std::result::Result<T, Box<ReadError>>;

/// A string token without its quotes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Str<'a> {
    /// As in the text: escapes are still there if `escaped`.
    raw: &'a [u8],
    escaped: bool,
}

/// A position in a JSON text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    #[cold]
    pub(super) fn error(&self, kind: ReadErrorKind) -> Box<ReadError> {
        ReadError::new(kind, self.at)
    }

    /// The error for a byte that cannot stand here: the text is over, or it is not what the grammar wants.
    #[cold]
    pub(super) fn unexpected(&self) -> Box<ReadError> {
        let over = self.at >= self.bytes.len();
        self.error(if over { ReadErrorKind::UnexpectedEnd } else { ReadErrorKind::Syntax })
    }

    /// The error for a value that is JSON, or begins like it, but of another type.
    #[cold]
    pub(super) fn mismatch(&self, expected: Expected) -> Box<ReadError> {
        match self.bytes.get(self.at) {
            Some(b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                self.error(ReadErrorKind::Expected(expected))
            }
            _ => self.unexpected(),
        }
    }

    /// Skips white space and looks at the next byte; zero at the end of the text, which no token begins with.
    #[inline]
    pub(super) fn peek(&mut self) -> u8 {
        match self.bytes.get(self.at) {
            Some(&byte) if byte > b' ' => byte,
            _ => self.peek_after_space(),
        }
    }

    fn peek_after_space(&mut self) -> u8 {
        while let Some(&byte) = self.bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return byte;
            }
            self.at += 1;
        }
        0
    }

    /// Steps over `len` bytes that were just looked at.
    #[inline]
    pub(super) fn advance(&mut self, len: usize) {
        self.at += len;
    }

    /// Skips white space and takes `byte` if it is next.
    #[inline]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        // Not `self.at += usize::from(found)`: rustc 1.95 loses that addition in optimised builds when the comparison is
        // branched on as well (MIR pass SimplifyComparisonIntegral).
        if self.peek() != byte {
            return false;
        }
        self.at += 1;
        true
    }

    /// Skips white space and demands `byte`.
    #[inline]
    pub(super) fn demand(&mut self, byte: u8) -> Result<()> {
        if self.take(byte) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Takes `null` if it is next.
    #[inline]
    pub(super) fn null(&mut self) -> Result<bool> {
        if self.peek() != b'n' {
            return Ok(false);
        }
        self.word(b"null")?;
        Ok(true)
    }

    /// Takes `true` or `false`.
    #[inline]
    pub(super) fn boolean(&mut self) -> Result<bool> {
        match self.peek() {
            b't' => self.word(b"true").map(|()| true),
            b'f' => self.word(b"false").map(|()| false),
            _ => Err(self.mismatch(Expected::Bool)),
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<()> {
        if !self.rest().starts_with(word) {
            return Err(self.unexpected());
        }
        self.at += word.len();
        Ok(())
    }

    /// Demands the end of the text.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.peek();
        if self.at < self.bytes.len() { Err(self.error(ReadErrorKind::TrailingText)) } else { Ok(()) }
    }

    /// Takes a string; the next byte must be its opening quote.
    #[inline]
    pub(super) fn string(&mut self, expected: Expected) -> Result<Str<'a>> {
        if self.peek() != b'"' {
            return Err(self.mismatch(expected));
        }
        let start = self.at + 1;
        let end = find_special(self.bytes, start);
        if self.bytes.get(end) == Some(&b'"') {
            self.at = end + 1;
            return Ok(Str { raw: self.bytes.get(start..end).unwrap_or_default(), escaped: false });
        }
        self.escaped_string(start, end)
    }

    /// Goes on from the first byte that is not ordinary; checks every escape.
    #[cold]
    fn escaped_string(&mut self, start: usize, mut end: usize) -> Result<Str<'a>> {
        loop {
            self.at = end;
            match self.bytes.get(end) {
                Some(b'"') => break,
                Some(b'\\') => end += self.escape_len()?,
                _ => return Err(self.unexpected()),
            }
            end = find_special(self.bytes, end);
        }
        self.at = end + 1;
        Ok(Str { raw: self.bytes.get(start..end).unwrap_or_default(), escaped: true })
    }

    /// Length of the valid escape at the current byte; a surrogate pair counts as one escape.
    fn escape_len(&self) -> Result<usize> {
        let rest = self.rest();
        let invalid = || self.error(ReadErrorKind::InvalidEscape);
        match rest.get(1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => return Ok(2),
            Some(b'u') => {}
            Some(_) => return Err(invalid()),
            None => return Err(self.error(ReadErrorKind::UnexpectedEnd)),
        }
        match escaped_char(rest) {
            Some((_, len)) => Ok(len),
            None => Err(invalid()),
        }
    }

    /// Takes the text of a number.
    #[inline]
    pub(super) fn number(&mut self, expected: Expected) -> Result<&'a [u8]> {
        let first = self.peek();
        if first != b'-' && !first.is_ascii_digit() {
            return Err(self.mismatch(expected));
        }
        let rest = self.rest();
        match number_len(rest) {
            Some(len) => {
                self.at += len;
                Ok(rest.get(..len).unwrap_or_default())
            }
            None => Err(self.error(ReadErrorKind::Syntax)),
        }
    }

    /// Skips one value, which must be valid JSON. `levels` is how deep it may nest.
    pub(super) fn skip_value(&mut self, levels: u32) -> Result<()> {
        match self.peek() {
            b'"' => self.string(Expected::String).map(|_| ()),
            b't' | b'f' => self.boolean().map(|_| ()),
            b'n' => self.word(b"null"),
            b'-' | b'0'..=b'9' => self.number(Expected::Number).map(|_| ()),
            b'{' => {
                let levels = self.deeper(levels)?;
                self.members(|scanner, _| scanner.skip_value(levels))
            }
            b'[' => {
                let levels = self.deeper(levels)?;
                self.elements(|scanner, _| scanner.skip_value(levels))
            }
            _ => Err(self.unexpected()),
        }
    }

    fn deeper(&self, levels: u32) -> Result<u32> {
        levels.checked_sub(1).ok_or_else(|| self.error(ReadErrorKind::TooDeep))
    }

    /// Takes an object, calling `each` with every key; `each` takes the value.
    fn members(&mut self, mut each: impl FnMut(&mut Self, Str<'a>) -> Result<()>) -> Result<()> {
        self.demand(b'{')?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let key = self.key()?;
            each(self, key)?;
            if !self.take(b',') {
                return self.demand(b'}');
            }
        }
    }

    fn elements(&mut self, mut each: impl FnMut(&mut Self, usize) -> Result<()>) -> Result<()> {
        self.demand(b'[')?;
        if self.take(b']') {
            return Ok(());
        }
        for index in 0.. {
            each(self, index)?;
            if !self.take(b',') {
                break;
            }
        }
        self.demand(b']')
    }

    /// Takes a key and its colon.
    #[inline]
    pub(super) fn key(&mut self) -> Result<Str<'a>> {
        if self.peek() != b'"' {
            return Err(self.unexpected());
        }
        let key = self.string(Expected::String)?;
        self.demand(b':')?;
        Ok(key)
    }

    /// Looks for a key of the object that begins at the next byte and gives its value if that is a string. Leaves the
    /// position as it is; also says how many bytes were looked at.
    pub(super) fn find_string_member(&self, name: &[u8], levels: u32) -> Result<(Option<Str<'a>>, usize)> {
        let mut ahead = *self;
        let mut found = None;
        ahead.members(|scanner, key| {
            if found.is_none() && key.equals(name) && scanner.peek() == b'"' {
                found = Some(scanner.string(Expected::String)?);
                return Ok(());
            }
            scanner.skip_value(levels)
        })?;
        Ok((found, ahead.at - self.at))
    }
}

/// Length of the JSON number at the start of `bytes`; `None` if it is malformed.
#[inline]
pub(super) fn number_len(bytes: &[u8]) -> Option<usize> {
    let digits = |from: usize| -> usize {
        bytes.get(from..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let mut at = if bytes.first() == Some(&b'-') { 1 } else { 0 };
    let whole = digits(at);
    if whole == 0 || (whole > 1 && bytes.get(at) == Some(&b'0')) {
        return None;
    }
    at += whole;
    if bytes.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if fraction == 0 {
            return None;
        }
        at += 1 + fraction;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += if matches!(bytes.get(at + 1), Some(b'+' | b'-')) { 2 } else { 1 };
        let exponent = digits(at);
        if exponent == 0 {
            return None;
        }
        at += exponent;
    }
    Some(at)
}

/// The character that the escape at the start of `bytes` stands for, and the length of the escape.
fn escaped_char(bytes: &[u8]) -> Option<(char, usize)> {
    let simple = match bytes.get(1)? {
        b'u' => {
            let unit = hex4(bytes.get(2..6)?)?;
            if !(0xd800..0xe000).contains(&unit) {
                return Some((char::from_u32(unit)?, 6));
            }
            // A high surrogate must be followed by the escape of a low one.
            let low = bytes.get(6..12)?.strip_prefix(b"\\u").and_then(hex4)?;
            if unit >= 0xdc00 || !(0xdc00..0xe000).contains(&low) {
                return None;
            }
            let code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
            return Some((char::from_u32(code)?, 12));
        }
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        &other => char::from(other),
    };
    Some((simple, 2))
}

fn hex4(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, &digit| Some(value << 4 | char::from(digit).to_digit(16)?))
}

impl<'a> Str<'a> {
    /// The decoded bytes if that takes no work.
    #[inline]
    pub(super) fn plain(self) -> Option<&'a [u8]> {
        (!self.escaped).then_some(self.raw)
    }

    /// Appends the decoded string.
    #[inline]
    pub(super) fn append_to(self, out: &mut Vec<u8>) {
        if self.escaped {
            self.append_unescaped(out);
        } else {
            out.extend_from_slice(self.raw);
        }
    }

    #[cold]
    fn append_unescaped(self, out: &mut Vec<u8>) {
        let mut rest = self.raw;
        while let Some(at) = memchr::memchr(b'\\', rest) {
            let (plain, escape) = rest.split_at(at);
            out.extend_from_slice(plain);
            // The scanner has checked every escape, so there always is a character.
            let (decoded, len) = escaped_char(escape).unwrap_or((char::REPLACEMENT_CHARACTER, escape.len()));
            out.extend_from_slice(decoded.encode_utf8(&mut [0; 4]).as_bytes());
            rest = escape.get(len..).unwrap_or_default();
        }
        out.extend_from_slice(rest);
    }

    /// The decoded string, in `scratch` if there are escapes.
    #[inline]
    pub(super) fn decode<'s>(self, scratch: &'s mut Vec<u8>) -> &'s [u8]
    where
        'a: 's,
    {
        if !self.escaped {
            return self.raw;
        }
        scratch.clear();
        self.append_unescaped(scratch);
        scratch
    }

    /// True if the decoded string is `other`.
    pub(super) fn equals(self, other: &[u8]) -> bool {
        match self.plain() {
            Some(plain) => plain == other,
            None => self.decode(&mut Vec::new()) == other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_grammar() {
        let good = ["0", "-0", "12", "1.5", "-1.50", "1e5", "1E+5", "1.0e-05", "0.1", "0e0"];
        for text in good {
            assert_eq!(number_len(text.as_bytes()), Some(text.len()), "{text}");
        }
        let bad = ["", "-", "01", "-01", "1.", ".5", "1e", "1e+", "1.e5", "+1", "00"];
        for text in bad {
            assert_eq!(number_len(text.as_bytes()), None, "{text}");
        }
        assert_eq!(number_len(b"12,3"), Some(2));
    }

    fn string(json: &str) -> std::result::Result<String, ReadErrorKind> {
        let mut scanner = Scanner::new(json.as_bytes());
        let token = scanner.string(Expected::String).map_err(|error| error.kind)?;
        scanner.finish().map_err(|error| error.kind)?;
        let mut out = Vec::new();
        token.append_to(&mut out);
        assert!(token.equals(&out));
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn strings_are_decoded() {
        let cases = [
            (r#""""#, ""),
            (r#""plain""#, "plain"),
            (r#""a\"b\\c\/d""#, "a\"b\\c/d"),
            (r#""\b\f\n\r\t""#, "\u{8}\u{c}\n\r\t"),
            (r#""\u00e9\u20ac\ud83d\ude00!""#, "é€😀!"),
            (r#""é and then some more text \u0041""#, "é and then some more text A"),
        ];
        for (json, expected) in cases {
            assert_eq!(string(json).as_deref(), Ok(expected), "{json}");
        }
    }

    #[test]
    fn broken_strings_are_refused() {
        use ReadErrorKind::{Expected as Wrong, InvalidEscape, Syntax, TrailingText, UnexpectedEnd};
        let cases = [
            (r#""open"#, UnexpectedEnd),
            (r#""open\"#, UnexpectedEnd),
            (r#""\x""#, InvalidEscape),
            (r#""\u12g4""#, InvalidEscape),
            (r#""\ud800""#, InvalidEscape),
            (r#""\ud800\u0041""#, InvalidEscape),
            (r#""\udc00""#, InvalidEscape),
            (r#""\udc00\ud800""#, InvalidEscape),
            ("\"a\nb\"", Syntax),
            ("\"a\0b\"", Syntax),
            (r#""a" x"#, TrailingText),
            ("12", Wrong(Expected::String)),
            ("\u{feff}\"a\"", Syntax),
        ];
        for (json, expected) in cases {
            assert_eq!(string(json), Err(expected), "{json}");
        }
    }

    #[test]
    fn skipped_values_must_be_json() {
        let skip = |json: &str| {
            let mut scanner = Scanner::new(json.as_bytes());
            scanner.skip_value(2).and_then(|()| scanner.finish()).map_err(|error| error.kind)
        };
        for json in ["{}", "[]", " [ 1 , {\"a\" : [ ] } ] ".trim(), "null", "true", "\"x\"", "-1.5e3"] {
            let expected = if json.contains("[ ]") { Err(ReadErrorKind::TooDeep) } else { Ok(()) };
            assert_eq!(skip(json), expected, "{json}");
        }
        for json in ["[1,]", "{\"a\":1,}", "{1:2}", "{\"a\"}", "nul", "tru", "[1 2]", "[", "{", "", "'a'"] {
            assert!(skip(json).is_err(), "{json}");
        }
    }
}
