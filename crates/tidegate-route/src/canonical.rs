//! One canonical form of a path, made once per request, so that no two decisions can see different paths.
//!
//! Refused is what servers, libraries and proxies are known to read in different ways: raw characters outside
//! RFC 3986, broken or control escapes, invalid UTF-8, dot segments, empty segments. What remains is changed as little
//! as possible: escapes of unreserved characters are decoded, once, and (on request) repeated slashes are merged.
//! The form is stable: canonicalising a canonical path changes nothing.
//!
//! Escaped slashes are kept and only noted ([`CanonicalPath::has_escaped_slash`]), as each route decides about them.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::{fmt, ops};

use thiserror::Error;

/// What may be repaired instead of refused. The default repairs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CanonicalOptions {
    /// `//` counts as `/`; otherwise it is an error.
    pub merge_slashes: bool,
}

/// A path that passed [`canonicalize`]: ASCII, starts with `/`, no query.
///
/// Reads as a `&str`. Comparing two of them byte by byte distinguishes `%2f` from `%2F`; [`CanonicalPath::key`] does
/// not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanonicalPath<'a> {
    text: Cow<'a, str>,
    escaped_slash: bool,
}

/// Why a path, a query or the value of a variable was refused. Its text is constant per kind and safe to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{kind}")]
pub struct PathError {
    /// What is wrong.
    pub kind: PathErrorKind,
    /// Offset in bytes of the fault, in the text that was given (for a variable, within its part of the path).
    pub offset: usize,
}

/// The ways in which a path can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PathErrorKind {
    /// Empty, or the first character is not `/`.
    #[error("the path does not start with '/'")]
    NotAbsolute,
    /// A raw character that RFC 3986 does not allow there.
    #[error("a character that must be percent-encoded")]
    InvalidCharacter,
    /// `%` without two hexadecimal digits.
    #[error("malformed percent-encoding")]
    BadEscape,
    /// `%00` to `%1F` or `%7F`.
    #[error("an escaped control character")]
    ControlCharacter,
    /// The escapes do not decode to UTF-8.
    #[error("percent-encoding that is not valid UTF-8")]
    InvalidUtf8,
    /// A segment, or a part of a variable behind an escaped slash, is `.` or `..`.
    #[error("a path segment '.' or '..'")]
    DotSegment,
    /// Two slashes in a row.
    #[error("an empty path segment")]
    EmptySegment,
}

/// Checks a raw path and gives its canonical form, borrowed if nothing changes.
///
/// `raw` is the path of the request target without query. One scan; a second one and an allocation of at most
/// `raw.len()` bytes only if something changes.
///
/// # Errors
/// The first fault from the left. Faults of a segment are seen at its end.
///
/// Source: RFC 3986 sections 2.3, 3.3 and 6.2.2.
pub fn canonicalize(raw: &[u8], options: CanonicalOptions) -> Result<CanonicalPath<'_>, PathError> {
    if raw.first() != Some(&b'/') {
        return Err(PathError { kind: PathErrorKind::NotAbsolute, offset: 0 });
    }
    let found = scan(raw, options)?;
    let text = match std::str::from_utf8(raw) {
        Ok(text) if !found.changes => Cow::Borrowed(text),
        Ok(text) => Cow::Owned(rewrite(text, options)),
        // Every raw byte was checked to be an ASCII path character.
        Err(e) => {
            return Err(PathError { kind: PathErrorKind::InvalidCharacter, offset: e.valid_up_to() });
        }
    };
    Ok(CanonicalPath { text, escaped_slash: found.escaped_slash })
}

/// Checks a raw query: any visible ASCII but `#`. Escapes in it are its reader's business. May be empty.
///
/// # Errors
/// `InvalidCharacter` at the first other byte.
pub fn check_query(raw: &[u8]) -> Result<&str, PathError> {
    let wrong = |offset| PathError { kind: PathErrorKind::InvalidCharacter, offset };
    if let Some(offset) = raw.iter().position(|&b| !b.is_ascii_graphic() || b == b'#') {
        return Err(wrong(offset));
    }
    std::str::from_utf8(raw).map_err(|e| wrong(e.valid_up_to()))
}

impl<'a> CanonicalPath<'a> {
    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the canonical form differs from what was sent.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        matches!(self.text, Cow::Owned(_))
    }

    /// Whether `%2F` or `%5C` occurs, in either case. Such a path has no single meaning for servers that decode before
    /// they split, so a proxied route refuses it unless it says otherwise. A transcoded route may take it inside a
    /// variable, where [`Captures::decode`](crate::Captures::decode) guards against `.` and `..`.
    #[must_use]
    pub fn has_escaped_slash(&self) -> bool {
        self.escaped_slash
    }

    /// The form for cache and limit keys: as the path, with the digits of escapes in upper case. Borrowed if they are.
    #[must_use]
    pub fn key(&self) -> Cow<'_, str> {
        let bytes = self.text.as_bytes();
        let lower = |&at: &usize| bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().any(u8::is_ascii_lowercase));
        if !memchr::memchr_iter(b'%', bytes).any(|at| lower(&at)) {
            return Cow::Borrowed(&self.text);
        }
        let mut digits = 0;
        let upper = self.text.chars().map(|c| {
            if c == '%' {
                digits = 2;
            } else if digits > 0 {
                digits -= 1;
                return c.to_ascii_uppercase();
            }
            c
        });
        Cow::Owned(upper.collect())
    }

    /// The same path with its own text. Allocates if it was borrowed.
    #[must_use]
    pub fn into_owned(self) -> CanonicalPath<'static> {
        CanonicalPath { text: Cow::Owned(self.text.into_owned()), escaped_slash: self.escaped_slash }
    }

    /// The text alone.
    #[must_use]
    pub fn into_text(self) -> Cow<'a, str> {
        self.text
    }
}

impl ops::Deref for CanonicalPath<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for CanonicalPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a byte may stand in a path as it is: `pchar` of RFC 3986 without escapes, and `/`.
pub(crate) fn is_path_char(byte: u8) -> bool {
    matches!(CLASS.get(usize::from(byte)), Some(Class::Unreserved | Class::Reserved | Class::Slash | Class::Dot))
}

/// The value of the two hexadecimal digits at `at`, if both are there.
pub(crate) fn hex_pair(bytes: &[u8], at: usize) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let (high, low) = (*bytes.get(at)?, *bytes.get(at.checked_add(1)?)?);
    Some(digit(high)? << 4 | digit(low)?)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Invalid,
    Unreserved,
    /// `sub-delims`, `:` and `@`: as they are in a path, but not the same as their escapes.
    Reserved,
    /// Unreserved too, but segments are judged by it.
    Dot,
    Slash,
    Percent,
}

static CLASS: [Class; 256] = classes();

const fn classes() -> [Class; 256] {
    let mut table = [Class::Invalid; 256];
    let mut i = 0;
    while i < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "i < 256")]
        let byte = i as u8;
        table[i] = match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => Class::Unreserved,
            b'.' => Class::Dot,
            b'/' => Class::Slash,
            b'%' => Class::Percent,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@' => {
                Class::Reserved
            }
            _ => Class::Invalid,
        };
        i += 1;
    }
    table
}

struct Scan {
    changes: bool,
    escaped_slash: bool,
}

/// Finds every fault, and whether anything is to be changed. Segments are judged in decoded form: `%2e.` is `..`.
fn scan(raw: &[u8], options: CanonicalOptions) -> Result<Scan, PathError> {
    let mut found = Scan { changes: false, escaped_slash: false };
    let mut segment = SegmentShape::default();
    let mut at = 1; // behind the first slash
    while let Some(&byte) = raw.get(at) {
        match CLASS.get(usize::from(byte)) {
            Some(Class::Unreserved | Class::Reserved) => segment.other(),
            Some(Class::Dot) => segment.dot(),
            Some(Class::Slash) => {
                segment.check(at)?;
                if segment.is_empty() {
                    if !options.merge_slashes {
                        return Err(PathError { kind: PathErrorKind::EmptySegment, offset: at });
                    }
                    found.changes = true;
                }
                segment = SegmentShape::default();
            }
            Some(Class::Percent) => {
                at += escape(raw, at, &mut segment, &mut found)?;
                continue;
            }
            Some(Class::Invalid) | None => {
                return Err(PathError { kind: PathErrorKind::InvalidCharacter, offset: at });
            }
        }
        at += 1;
    }
    segment.check(at)?;
    Ok(found)
}

/// Judges the escape at `at`, together with those that form one character with it. Returns their length in bytes.
fn escape(raw: &[u8], at: usize, segment: &mut SegmentShape, found: &mut Scan) -> Result<usize, PathError> {
    let error = |kind, offset| PathError { kind, offset };
    let decoded = hex_pair(raw, at + 1).ok_or(error(PathErrorKind::BadEscape, at))?;
    match decoded {
        0x00..=0x1f | 0x7f => return Err(error(PathErrorKind::ControlCharacter, at)),
        b'.' => {
            found.changes = true;
            segment.dot();
        }
        0x80.. => {
            segment.other();
            return multi_byte(raw, at, decoded);
        }
        b'/' | b'\\' => {
            found.escaped_slash = true;
            segment.other();
        }
        _ => {
            found.changes |= is_unreserved(decoded);
            segment.other();
        }
    }
    Ok(3)
}

/// Checks the escapes of one character beyond ASCII. Returns their length.
fn multi_byte(raw: &[u8], at: usize, lead: u8) -> Result<usize, PathError> {
    let invalid = PathError { kind: PathErrorKind::InvalidUtf8, offset: at };
    let len = match lead {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return Err(invalid),
    };
    let mut char = [lead, 0, 0, 0];
    let mut next = at + 3;
    for byte in char.iter_mut().take(len).skip(1) {
        if raw.get(next) != Some(&b'%') {
            return Err(invalid);
        }
        *byte = hex_pair(raw, next + 1).ok_or(PathError { kind: PathErrorKind::BadEscape, offset: next })?;
        next += 3;
    }
    match char.get(..len).map(std::str::from_utf8) {
        Some(Ok(_)) => Ok(next - at),
        _ => Err(invalid),
    }
}

fn is_unreserved(byte: u8) -> bool {
    matches!(CLASS.get(usize::from(byte)), Some(Class::Unreserved | Class::Dot))
}

/// What a segment consists of, as far as it matters.
#[derive(Default)]
pub(crate) struct SegmentShape {
    dots: u32,
    others: bool,
}

impl SegmentShape {
    pub(crate) fn dot(&mut self) {
        self.dots = self.dots.saturating_add(1);
    }

    pub(crate) fn other(&mut self) {
        self.others = true;
    }

    fn is_empty(&self) -> bool {
        self.dots == 0 && !self.others
    }

    /// Refuses `.` and `..`; `end` is where the segment ends.
    pub(crate) fn check(&self, end: usize) -> Result<(), PathError> {
        if !self.others && (self.dots == 1 || self.dots == 2) {
            return Err(PathError { kind: PathErrorKind::DotSegment, offset: end });
        }
        Ok(())
    }
}

/// The canonical text of a path without faults. Never longer than `raw`.
fn rewrite(raw: &str, options: CanonicalOptions) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(special) = rest.bytes().position(|b| b == b'%' || b == b'/') {
        let (plain, tail) = rest.split_at(special);
        out.push_str(plain);
        if let Some(behind) = tail.strip_prefix('/') {
            if !(options.merge_slashes && out.ends_with('/')) {
                out.push('/');
            }
            rest = behind;
            continue;
        }
        let (escape, tail) = tail.split_at(tail.len().min(3));
        match hex_pair(escape.as_bytes(), 1) {
            Some(byte) if is_unreserved(byte) => out.push(char::from(byte)),
            _ => out.push_str(escape),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}
