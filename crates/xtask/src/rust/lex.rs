//! Tokens with their lines. Comments are kept apart; the content of literals is dropped.

/// A Rust file as tokens and comments.
#[derive(Debug, Default)]
pub(crate) struct Source<'a> {
    pub(crate) tokens: Vec<Token<'a>>,
    pub(crate) comments: Vec<Comment<'a>>,
}

/// One token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    /// `::`, `=>`, `->`, `==`, `!=`, `<=`, `>=`, `..` are one token; every other sign is its own.
    pub(crate) text: &'a str,
    /// Counted from 1; that of its first byte.
    pub(crate) line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Word,
    Sign,
    Lifetime,
    /// A string, character or number.
    Literal,
}

/// A comment, of any kind, with its slashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Comment<'a> {
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

impl<'a> Source<'a> {
    /// Reads a file. Text that is no Rust gives tokens too, without sense.
    pub(crate) fn read(text: &'a str) -> Self {
        let mut source = Self::default();
        let mut rest = text;
        let mut line = 1;
        while let Some(first) = rest.chars().next() {
            let len = if first.is_whitespace() {
                first.len_utf8()
            } else if let Some(len) = comment(rest) {
                source.comments.push(Comment { text: &rest[..len], line });
                len
            } else {
                let (kind, len) = token(rest, first);
                source.tokens.push(Token { kind, text: &rest[..len], line });
                len
            };
            line += rest[..len].matches('\n').count();
            rest = &rest[len..];
        }
        source
    }
}

fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if !rest.starts_with("/*") {
        return None;
    }
    // Block comments nest.
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        let tail = &rest.as_bytes()[at..];
        if tail.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += 1;
        }
    }
    Some(rest.len())
}

fn token(rest: &str, first: char) -> (Kind, usize) {
    if let Some(len) = string(rest) {
        return (Kind::Literal, len);
    }
    if first == '\'' {
        return quote(rest);
    }
    if first.is_ascii_digit() {
        return (Kind::Literal, number(rest));
    }
    let raw = if rest.starts_with("r#") { 2 } else { 0 };
    let word = rest[raw..].find(|char: char| !is_word(char)).map_or(rest.len(), |len| raw + len);
    if word > raw {
        return (Kind::Word, word);
    }
    const PAIRS: &[&str] = &["::", "=>", "->", "==", "!=", "<=", ">=", ".."];
    let pair = PAIRS.iter().any(|pair| rest.starts_with(pair));
    (Kind::Sign, if pair { 2 } else { first.len_utf8() })
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// `"…"`, `b"…"`, `c"…"`, `r#"…"#`, `br"…"`, `cr"…"`.
fn string(rest: &str) -> Option<usize> {
    let (prefix, after) = rest.split_at(rest.len() - rest.trim_start_matches(['b', 'c', 'r']).len());
    match prefix {
        "" | "b" | "c" => Some(prefix.len() + 1 + until(after.strip_prefix('"')?, b'"')),
        "r" | "br" | "cr" => {
            let hashes = after.len() - after.trim_start_matches('#').len();
            let body = after[hashes..].strip_prefix('"')?;
            let end = format!("\"{}", &after[..hashes]);
            let len = body.find(&end).map_or(body.len(), |at| at + end.len());
            Some(prefix.len() + hashes + 1 + len)
        }
        _ => None,
    }
}

/// Length up to and with the first `end` that is not escaped.
fn until(body: &str, end: u8) -> usize {
    let mut escaped = false;
    for (at, byte) in body.bytes().enumerate() {
        if escaped {
            escaped = false;
        } else if byte == b'\\' {
            escaped = true;
        } else if byte == end {
            return at + 1;
        }
    }
    body.len()
}

/// A character (`'a'`, `'\''`) or a lifetime (`'a`).
fn quote(rest: &str) -> (Kind, usize) {
    let body = &rest[1..];
    let mut chars = body.chars();
    let (first, second) = (chars.next(), chars.next());
    match (first, second) {
        (Some('\\'), _) => (Kind::Literal, 1 + until(body, b'\'')),
        (Some(char), Some('\'')) => (Kind::Literal, 2 + char.len_utf8()),
        _ => (Kind::Lifetime, 1 + body.find(|char| !is_word(char)).unwrap_or(body.len())),
    }
}

/// `1_000`, `0xff_u8`, `1.5`, `1e-3`; in `0..n` and `x.0.1` the dots are not part of it.
fn number(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let next_is_digit = bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
        let exponent = at > 0 && matches!(bytes[at - 1], b'e' | b'E') && !rest.starts_with("0x");
        let part = byte.is_ascii_alphanumeric()
            || *byte == b'_'
            || (*byte == b'.' && next_is_digit)
            || (matches!(byte, b'+' | b'-') && exponent && next_is_digit);
        if !part {
            break;
        }
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<&str> {
        Source::read(source).tokens.iter().map(|token| token.text).collect()
    }

    #[test]
    fn signs_words_and_literals_are_told_apart() {
        for (source, expected) in [
            ("a::b => c", vec!["a", "::", "b", "=>", "c"]),
            ("x = \"// no \\\" comment\";", vec!["x", "=", "\"// no \\\" comment\"", ";"]),
            (r##"r#"a " b"# r#type"##, vec![r##"r#"a " b"#"##, "r#type"]),
            ("b\"x\" br\"y\" b'z'", vec!["b\"x\"", "br\"y\"", "b", "'z'"]),
            ("&'a str, 'b', '\\'', '{'", vec!["&", "'a", "str", ",", "'b'", ",", "'\\''", ",", "'{'"]),
            ("0..10 1.5e-3 0xe-1", vec!["0", "..", "10", "1.5e-3", "0xe", "-", "1"]),
            ("bare broken crate", vec!["bare", "broken", "crate"]),
        ] {
            assert_eq!(texts(source), expected, "{source}");
        }
    }

    #[test]
    fn comments_are_kept_apart_and_lines_counted() {
        let source = Source::read("a // one\n/* two /* nested */\n */ b\n\"x\ny\" c");
        let lines: Vec<_> = source.tokens.iter().map(|token| (token.text, token.line)).collect();
        assert_eq!(lines, [("a", 1), ("b", 3), ("\"x\ny\"", 4), ("c", 5)]);
        assert_eq!(source.comments.iter().map(|comment| comment.line).collect::<Vec<_>>(), [1, 2]);
    }
}
