//! The parser of path templates: one pass from left to right, the first fault ends it.
//!
//! Never panics and never looks back, whatever the text. Columns are byte offsets plus one, which is exact because
//! every character outside ASCII is itself the first fault.

#[cfg(test)]
mod tests;

use crate::canonical::is_path_char;
use crate::template::{Segment, Template, TemplateError, TemplateErrorKind as Kind, TemplateOptions, Variable};

/// Parses `text`; see [`Template`] for the grammar.
pub(crate) fn template(text: &str, options: TemplateOptions) -> Result<Template, TemplateError> {
    let mut parser =
        Parser { text, at: 0, options, segments: Vec::new(), variables: Vec::new(), double_star_column: None };
    let verb = parser.template()?;
    Ok(Template { text: text.to_owned(), segments: parser.segments, verb, variables: parser.variables })
}

struct Parser<'t> {
    text: &'t str,
    /// Offset of the next byte to read.
    at: usize,
    options: TemplateOptions,
    segments: Vec<Segment>,
    variables: Vec<Variable>,
    /// Where `**` was seen.
    double_star_column: Option<usize>,
}

impl Parser<'_> {
    fn template(&mut self) -> Result<Option<String>, TemplateError> {
        if !self.eat(b'/') {
            return Err(error(0, Kind::MissingSlash));
        }
        if self.peek().is_none() {
            self.segments.push(Segment::Literal(String::new()));
            return Ok(None);
        }
        loop {
            match self.peek() {
                Some(b'{') => self.variable()?,
                // The column is that of the slash which opens the empty segment.
                Some(b'/' | b':') => {
                    return Err(error(self.at.saturating_sub(1), Kind::EmptySegment));
                }
                Some(_) => self.segment()?,
                None if self.options.trailing_slash => {
                    self.push(Segment::Literal(String::new()), self.at.saturating_sub(1))?;
                    return Ok(None);
                }
                None => return Err(error(self.at.saturating_sub(1), Kind::TrailingSlash)),
            }
            match self.peek() {
                None => return Ok(None),
                Some(b'/') => self.at += 1,
                Some(b':') => return self.verb().map(Some),
                Some(_) => return Err(self.unexpected()),
            }
        }
    }

    /// `{a.b}` or `{a.b=x/*}`, from its brace on.
    fn variable(&mut self) -> Result<(), TemplateError> {
        let brace = self.at;
        self.at += 1;
        let name_at = self.at;
        let field_path = self.field_path(brace)?;
        if self.variables.iter().any(|v| v.field_path == field_path) {
            return Err(error(name_at, Kind::DuplicateVariable));
        }
        let first = self.segments.len();
        match self.peek() {
            Some(b'}') => self.push(Segment::Star, brace)?,
            Some(b'=') => self.variable_segments(brace)?,
            Some(_) => return Err(self.unexpected()),
            None => return Err(error(brace, Kind::UnclosedBrace)),
        }
        self.at += 1; // the closing brace
        let end = self.segments.len();
        let multi_segment = match self.segments.get(first..end) {
            Some([only]) => *only == Segment::DoubleStar,
            _ => true,
        };
        self.variables.push(Variable { field_path, multi_segment, column: name_at + 1, first, end });
        Ok(())
    }

    /// `=x/*` up to the closing brace, which stays unread.
    fn variable_segments(&mut self, brace: usize) -> Result<(), TemplateError> {
        loop {
            self.at += 1; // '=' or '/'
            match self.peek() {
                None => return Err(error(brace, Kind::UnclosedBrace)),
                Some(b'/' | b'}') => return Err(error(self.at, Kind::EmptySegment)),
                Some(b'{') => return Err(error(self.at, Kind::NestedVariable)),
                Some(b':') => return Err(error(self.at, Kind::VerbInVariable)),
                Some(_) => self.segment()?,
            }
            match self.peek() {
                None => return Err(error(brace, Kind::UnclosedBrace)),
                Some(b'}') => return Ok(()),
                Some(b'/') => {}
                Some(b':') => return Err(error(self.at, Kind::VerbInVariable)),
                Some(_) => return Err(self.unexpected()),
            }
        }
    }

    fn field_path(&mut self, brace: usize) -> Result<String, TemplateError> {
        let start = self.at;
        loop {
            match self.peek() {
                Some(b) if b.is_ascii_alphabetic() || b == b'_' => self.at += 1,
                Some(_) => return Err(error(self.at, Kind::BadName)),
                None => return Err(error(brace, Kind::UnclosedBrace)),
            }
            while self.peek().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_') {
                self.at += 1;
            }
            if !self.eat(b'.') {
                return Ok(self.since(start));
            }
        }
    }

    /// `*`, `**` or a literal. What follows is the caller's to judge.
    fn segment(&mut self) -> Result<(), TemplateError> {
        let start = self.at;
        if self.eat(b'*') {
            let segment = if self.eat(b'*') { Segment::DoubleStar } else { Segment::Star };
            return self.push(segment, start);
        }
        let literal = self.literal()?;
        if literal.is_empty() {
            return Err(self.unexpected());
        }
        if literal == "." || literal == ".." {
            return Err(error(start, Kind::DotSegment));
        }
        self.push(Segment::Literal(literal), start)
    }

    /// `:verb`, the end of the template.
    fn verb(&mut self) -> Result<String, TemplateError> {
        let colon = self.at;
        self.at += 1;
        let verb = self.literal()?;
        match self.peek() {
            None if verb.is_empty() => Err(error(colon, Kind::EmptyVerb)),
            None => Ok(verb),
            Some(_) => Err(self.unexpected()),
        }
    }

    /// As many literal characters as there are, perhaps none.
    fn literal(&mut self) -> Result<String, TemplateError> {
        let start = self.at;
        while self.peek().is_some_and(is_literal_char) {
            self.at += 1;
        }
        if self.peek() == Some(b'%') {
            return Err(error(self.at, Kind::Escape));
        }
        Ok(self.since(start))
    }

    fn push(&mut self, segment: Segment, at: usize) -> Result<(), TemplateError> {
        if self.segments.len() == Template::MAX_SEGMENTS {
            return Err(error(at, Kind::TooManySegments));
        }
        if let Some(double_star) = self.double_star_column {
            if !self.options.inner_wildcard {
                return Err(error(double_star, Kind::DoubleStarNotLast));
            }
            if !matches!(segment, Segment::Literal(_)) {
                return Err(error(at, Kind::WildcardAfterDoubleStar));
            }
        }
        if segment == Segment::DoubleStar {
            self.double_star_column = Some(at);
        }
        self.segments.push(segment);
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        // Not `self.at += usize::from(found)`: rustc 1.95 can lose that addition in optimised builds.
        if self.peek() == Some(byte) {
            self.at += 1;
            return true;
        }
        false
    }

    /// The text from `start` to here; both lie between ASCII characters.
    fn since(&self, start: usize) -> String {
        self.text.get(start..self.at).unwrap_or_default().to_owned()
    }

    fn unexpected(&self) -> TemplateError {
        let char = self.text.get(self.at..).and_then(|rest| rest.chars().next());
        error(self.at, Kind::Unexpected(char.unwrap_or('\u{fffd}')))
    }
}

/// What a canonical path holds unescaped, without what has a meaning in a template.
fn is_literal_char(byte: u8) -> bool {
    is_path_char(byte) && !matches!(byte, b'/' | b':' | b'*')
}

fn error(offset: usize, kind: Kind) -> TemplateError {
    TemplateError { column: offset.saturating_add(1), kind }
}
