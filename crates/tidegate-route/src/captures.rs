//! Where the variables of a matched template lie in the path, and what their values are.
//!
//! A match stores only byte ranges; a value is decoded when somebody asks for it. That keeps matching free of
//! allocation and leaves the choice of decoding to the route.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::canonical::{PathError, PathErrorKind, SegmentShape, hex_pair};
use crate::template::{Segment, Template};

/// Which escapes stay as they are in a value of several segments. Values of one segment are always decoded entirely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MultiEscape {
    /// `%2F` and `%2f` stay as sent, so that a slash in the value is always a separator.
    #[default]
    KeepSlash,
    /// Escapes of RFC 3986 reserved characters (``:/?#[]@!$&'()*+,;=``) stay as sent.
    Reserved,
    /// None stays.
    All,
}

/// Places of the variables of the last match, in the order of [`Template::variables`].
///
/// Holds eight without allocating. Made to be reused: each [`find`](crate::Router::find) replaces the content.
#[derive(Debug, Clone, Default)]
pub struct Captures {
    spans: SmallVec<[Span; 8]>,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
    multi_segment: bool,
}

impl Captures {
    /// Without any place.
    #[must_use]
    pub fn new() -> Captures {
        Captures::default()
    }

    /// How many variables the matched template has; 0 after a miss.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Whether a template with more than eight variables made this value allocate.
    #[must_use]
    pub fn spilled(&self) -> bool {
        self.spans.spilled()
    }

    /// The part of `path` that variable `i` matched, escapes as they are; may be empty. `path` is the text that was
    /// given to `find`. Empty if there is no such variable.
    #[must_use]
    pub fn raw<'p>(&self, i: usize, path: &'p str) -> &'p str {
        let Some(span) = self.spans.get(i) else {
            return "";
        };
        let (Ok(start), Ok(end)) = (usize::try_from(span.start), usize::try_from(span.end)) else {
            return "";
        };
        path.get(start..end).unwrap_or_default()
    }

    /// The value of variable `i`, borrowed if it has no escapes. `path` is the text that was given to `find`.
    ///
    /// A single-segment variable decodes every escape, so its value may hold `/`; one of several segments decodes as
    /// `mode` says. Empty if there is no such variable.
    ///
    /// # Errors
    /// `BadEscape` and `InvalidUtf8`, which a canonical path does not have. `DotSegment` if an escaped slash or
    /// backslash hides a part `.` or `..`, whatever `mode` keeps: the next reader may decode it.
    pub fn decode<'p>(&self, i: usize, path: &'p str, mode: MultiEscape) -> Result<Cow<'p, str>, PathError> {
        let multi_segment = self.spans.get(i).is_some_and(|span| span.multi_segment);
        decode(self.raw(i, path), if multi_segment { mode } else { MultiEscape::All })
    }

    /// The values of all variables, in order; see [`Captures::decode`].
    ///
    /// # Errors
    /// The first value that cannot be decoded.
    pub fn decode_all<'p>(&self, path: &'p str, mode: MultiEscape) -> Result<SmallVec<[Cow<'p, str>; 8]>, PathError> {
        (0..self.len()).map(|i| self.decode(i, path, mode)).collect()
    }

    pub(crate) fn clear(&mut self) {
        self.spans.clear();
    }

    /// Finds the extents in a path that their template matches. `path` ends before the verb.
    pub(crate) fn fill(&mut self, extents: &[Extent], path: &[u8]) {
        self.spans.clear();
        let mut cursor = Cursor { path, index: 0, offset: 1 };
        for extent in extents {
            // In the order of the template, so the cursor only moves forward.
            let start = cursor.start_of(extent.start);
            let end = cursor.start_of(extent.end).saturating_sub(1);
            // A `**` that matched nothing begins behind the end of the path, or behind the literal that follows.
            let start = start.min(end);
            let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(end)) else {
                continue;
            };
            self.spans.push(Span { start, end, multi_segment: extent.multi_segment });
        }
    }
}

/// Which segments of a path belong to a variable: from the beginning of `start` to before the slash of `end`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    start: Edge,
    end: Edge,
    multi_segment: bool,
}

/// A segment of the path by its position. Behind a `**` only the distance from the end is known.
#[derive(Debug, Clone, Copy)]
enum Edge {
    FromStart(usize),
    FromEnd(usize),
}

/// The extents of all variables of a template.
pub(crate) fn extents(template: &Template) -> Box<[Extent]> {
    let count = template.segments.len();
    let double_star = template.segments.iter().position(|s| *s == Segment::DoubleStar).unwrap_or(count);
    let edge = |index: usize| {
        if index <= double_star { Edge::FromStart(index) } else { Edge::FromEnd(count.saturating_sub(index)) }
    };
    let extent = |v: &crate::template::Variable| Extent {
        start: edge(v.first),
        end: edge(v.end),
        multi_segment: v.multi_segment,
    };
    template.variables.iter().map(extent).collect()
}

/// Walks from segment to segment.
struct Cursor<'p> {
    path: &'p [u8],
    index: usize,
    /// Where segment `index` starts; one behind the end if there is no such segment.
    offset: usize,
}

impl Cursor<'_> {
    /// Where a segment starts; one behind the end for the segment after the last.
    fn start_of(&mut self, edge: Edge) -> usize {
        match edge {
            Edge::FromStart(index) => {
                while self.index < index {
                    let rest = self.path.get(self.offset..).unwrap_or_default();
                    let len = memchr::memchr(b'/', rest).unwrap_or(rest.len());
                    self.offset = self.offset.saturating_add(len).saturating_add(1).min(self.path.len() + 1);
                    self.index += 1;
                }
                self.offset
            }
            Edge::FromEnd(count) => {
                let mut end = self.path.len();
                for _ in 0..count {
                    end = memchr::memrchr(b'/', self.path.get(..end).unwrap_or_default()).unwrap_or(0);
                }
                end + 1
            }
        }
    }
}

fn decode(raw: &str, mode: MultiEscape) -> Result<Cow<'_, str>, PathError> {
    let bytes = raw.as_bytes();
    let Some(first) = memchr::memchr(b'%', bytes) else {
        return Ok(Cow::Borrowed(raw));
    };
    let mut out = Vec::with_capacity(bytes.len());
    let mut part = SegmentShape::default();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let (value, len) = match byte {
            b'%' => (hex_pair(bytes, at + 1).ok_or(PathError { kind: PathErrorKind::BadEscape, offset: at })?, 3),
            _ => (byte, 1),
        };
        match value {
            b'/' | b'\\' => {
                part.check(at)?;
                part = SegmentShape::default();
            }
            b'.' => part.dot(),
            _ => part.other(),
        }
        match bytes.get(at..at + len) {
            Some(escape) if len == 3 && mode.keeps(value) => out.extend_from_slice(escape),
            _ => out.push(value),
        }
        at += len;
    }
    part.check(at)?;
    let utf8 = |_| PathError { kind: PathErrorKind::InvalidUtf8, offset: first };
    String::from_utf8(out).map(Cow::Owned).map_err(utf8)
}

impl MultiEscape {
    /// Whether the escape of `value` stays.
    fn keeps(self, value: u8) -> bool {
        match self {
            MultiEscape::KeepSlash => value == b'/',
            MultiEscape::Reserved => b":/?#[]@!$&'()*+,;=".contains(&value),
            MultiEscape::All => false,
        }
    }
}
