//! Plain text from what sources send as text: HTML, entities, and any amount of white space.

use std::borrow::Cow;

use quick_xml::escape::resolve_html5_entity;

/// Of one field that much is looked at; what is beyond is as good as cut off.
pub(super) const RAW_MAX_BYTES: usize = 64 * 1024;
/// Longest name of an entity, which is `CounterClockwiseContourIntegral`.
const ENTITY_MAX_BYTES: usize = 31;
/// Stands for what was cut off.
const CUT: char = '…';

/// Elements that do not part the words around them. All others do.
const INLINE: [&str; 24] = [
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "del", "em", "font", "i", "ins", "kbd", "mark",
    "q", "s", "small", "span", "strong", "sub", "sup", "u",
];
/// Elements whose content is no text.
const HIDDEN: [&str; 4] = ["script", "style", "template", "noscript"];

/// The visible text of a piece of HTML, at most `max_bytes` long: tags removed, entities decoded once, runs of white
/// space and control characters one space, none at the ends. What only looks like a tag or entity stays as it is.
///
/// One pass over at most [`RAW_MAX_BYTES`].
pub(super) fn plain(html: &str, max_bytes: usize) -> String {
    let mut rest = head(html, RAW_MAX_BYTES);
    let mut out = Collapsed::default();
    while let Some(at) = rest.find(['<', '&']) {
        let (before, special) = rest.split_at(at);
        out.push_str(before);
        rest = if special.starts_with('<') { tag(special, &mut out) } else { entity(special, &mut out) };
        if out.text.len() > max_bytes {
            return cut(out.text, max_bytes);
        }
    }
    out.push_str(rest);
    cut(out.text, max_bytes)
}

/// The text with white space collapsed and nothing else changed, at most `max_bytes` long.
pub(super) fn collapsed(text: &str, max_bytes: usize) -> String {
    let mut out = Collapsed::default();
    out.push_str(head(text, RAW_MAX_BYTES));
    cut(out.text, max_bytes)
}

/// Words in lower case, in order: runs of letters and digits. An acronym with dots is one word (`U.S.` is `us`), a
/// number with dots inside too (`3.5` is `35`), a possessive ending is dropped, and other apostrophes vanish.
pub(super) fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|character: char| !(character.is_alphanumeric() || is_joint(character))).flat_map(|chunk| {
        let chunk = chunk.trim_matches(is_joint);
        let chunk = chunk.strip_suffix(['s', 'S']).and_then(|stem| stem.strip_suffix(['\'', '’'])).unwrap_or(chunk);
        let apart = |part: &str| part.chars().nth(1).is_none();
        let whole = chunk.split('.').all(apart) || chunk.starts_with(|first: char| first.is_ascii_digit());
        let splits = move |character: char| character == '.' && !whole;
        chunk.split(splits).map(plain_word).filter(|word| !word.is_empty())
    })
}

fn plain_word(word: &str) -> String {
    word.chars().filter(|character| !is_joint(*character)).flat_map(char::to_lowercase).collect()
}

/// The longest beginning that has at most `max_bytes` and ends between characters.
pub(super) fn head(text: &str, max_bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(max_bytes)).unwrap_or(text)
}

fn is_joint(character: char) -> bool {
    matches!(character, '\'' | '’' | '.')
}

fn cut(mut text: String, max_bytes: usize) -> String {
    if text.len() > max_bytes {
        text.truncate(text.floor_char_boundary(max_bytes.saturating_sub(CUT.len_utf8())));
        text.truncate(text.trim_end().len());
        text.push(CUT);
    }
    // It is kept for long, and grew by doubling.
    text.shrink_to_fit();
    text
}

/// Text that never starts with a space and never has two in a row. A space is written when something follows it.
#[derive(Default)]
struct Collapsed {
    text: String,
    space: bool,
}

impl Collapsed {
    fn push(&mut self, character: char) {
        if character.is_whitespace() || character.is_control() {
            self.space = true;
            return;
        }
        // Byte order marks, and marks that would reverse the text around it on a terminal or a page.
        if matches!(character, '\u{feff}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            return;
        }
        if std::mem::take(&mut self.space) && !self.text.is_empty() {
            self.text.push(' ');
        }
        self.text.push(character);
    }

    fn push_str(&mut self, text: &str) {
        text.chars().for_each(|character| self.push(character));
    }
}

/// Skips the tag, comment or hidden element at the start of `html`; the rest. A tag ends before the next `<`, or it is
/// none: so no byte is looked at more than a few times, whatever the input.
fn tag<'h>(html: &'h str, out: &mut Collapsed) -> &'h str {
    if let Some(comment) = html.strip_prefix("<!--") {
        return comment.split_once("-->").map_or("", |(_, rest)| rest);
    }
    let after = html.get(1..).unwrap_or_default();
    let opens = |character: char| character.is_ascii_alphabetic() || matches!(character, '/' | '!' | '?');
    let end = if after.starts_with(opens) { tag_end(after) } else { None };
    let Some((inside, rest)) = end.and_then(|end| Some((after.get(..end)?, after.get(end + 1..)?))) else {
        out.push('<');
        return after;
    };
    let is_name = |character: char| character.is_ascii_alphanumeric();
    let closes = inside.starts_with('/');
    let name = inside.trim_start_matches('/');
    let name = name.split(|character| !is_name(character)).next().unwrap_or_default().to_ascii_lowercase();
    if !INLINE.contains(&name.as_str()) {
        out.push(' ');
    }
    if !closes && HIDDEN.contains(&name.as_str()) { after_closing(rest, &name) } else { rest }
}

/// Where the `>` of a tag is; one inside of quotes counts only if there is no other.
fn tag_end(inside: &str) -> Option<usize> {
    let mut quote = None;
    let mut quoted_end = None;
    for (at, byte) in inside.bytes().enumerate() {
        match (byte, quote) {
            (b'<', _) => return quoted_end,
            (b'>', None) => return Some(at),
            (b'>', Some(_)) => quoted_end = quoted_end.or(Some(at)),
            (b'"' | b'\'', None) => quote = Some(byte),
            (_, Some(open)) if open == byte => quote = None,
            _ => {}
        }
    }
    quoted_end
}

/// What follows the closing tag of `name`; nothing if there is none.
fn after_closing<'h>(html: &'h str, name: &str) -> &'h str {
    let mut rest = html;
    while let Some((_, closing)) = rest.split_once("</") {
        let found = closing.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name));
        if found {
            return closing.split_once('>').map_or("", |(_, rest)| rest);
        }
        rest = closing;
    }
    ""
}

/// Decodes the character reference at the start of `html`; the rest.
fn entity<'h>(html: &'h str, out: &mut Collapsed) -> &'h str {
    let after = html.get(1..).unwrap_or_default();
    let reference = head(after, ENTITY_MAX_BYTES + 1).split_once(';').map(|(name, _)| name);
    match reference.and_then(|name| Some((decode(name)?, after.get(name.len() + 1..)?))) {
        Some((decoded, rest)) => {
            out.push_str(&decoded);
            rest
        }
        None => {
            out.push('&');
            after
        }
    }
}

/// The characters that a reference stands for, without `&` and `;`. `None` if nobody knows it.
///
/// Source: HTML, named character references, and numeric references, where 128 to 159 mean windows-1252.
pub(super) fn decode(reference: &str) -> Option<Cow<'static, str>> {
    let Some(number) = reference.strip_prefix('#') else {
        return resolve_html5_entity(reference).map(Cow::Borrowed);
    };
    let code = match number.strip_prefix(['x', 'X']) {
        Some(hex) if hex.starts_with(|digit: char| digit.is_ascii_hexdigit()) => u32::from_str_radix(hex, 16).ok()?,
        None if number.starts_with(|digit: char| digit.is_ascii_digit()) => number.parse().ok()?,
        _ => return None,
    };
    match u8::try_from(code) {
        Ok(byte @ 0x80..=0x9f) => Some(Cow::Owned(encoding_rs::WINDOWS_1252.decode(&[byte]).0.into_owned())),
        _ => char::from_u32(code).map(|character| Cow::Owned(character.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_disappears_and_text_stays() {
        for (html, expected) in [
            ("", ""),
            ("  Stocks\n\t rise\u{a0} ", "Stocks rise"),
            ("<p>One</p><p>two</p>three<br/>four", "One two three four"),
            ("a<b>b</b>c <A HREF='x'>d</A>", "abc d"),
            ("<img alt=\"a > b\" src=x>text", "text"),
            ("<img alt=\"never closed>text", "text"),
            ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
            ("<not a tag", "<not a tag"),
            ("a <b c <i>d</i>", "a <b c d"),
            ("<", "<"),
            ("&", "&"),
            ("a<!-- <p>x --> b<!-- open", "a b"),
            ("a<script>if (1 < 2) { x('</p>') }</SCRIPT >b", "a b"),
            ("a<style>b", "a"),
            (
                "AT&T &amp; S&amp;P &lt;b&gt; &copy; &#8364;&#x20AC; &#146; &nosuch; &#xD800; &#;",
                "AT&T & S&P <b> © €€ ’ &nosuch; &#xD800; &#;",
            ),
            ("&#0;&#27;a&nbsp;&nbsp;b", "a b"),
            ("\u{feff}a\u{202e}b", "ab"),
            ("&#+65;&#x+41;", "&#+65;&#x+41;"),
            ("<![CDATA[x]]>", ""),
        ] {
            assert_eq!(plain(html, 1000), expected, "{html:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(plain("abcdef", 6), "abcdef");
        assert_eq!(plain("abcdefg", 6), "abc…");
        assert_eq!(plain("ab  defg", 6), "ab…");
        assert_eq!(plain("äöüß", 7), "äö…");
        assert_eq!(plain("<b>a</b>bcdefg<i>h", 6), "abc…");
        let long = "x&amp;".repeat(100_000);
        assert!(plain(&long, 500).len() <= 500);
    }

    #[test]
    fn words_are_lower_case_and_plain() {
        let found: Vec<_> = words("The U.S. Fed's rate—hike: 3.5%, ÜBER-good ... ' don't end.Next").collect();
        assert_eq!(found, ["the", "us", "fed", "rate", "hike", "35", "über", "good", "dont", "end", "next"]);
    }

    #[test]
    fn hostile_markup_takes_one_pass() {
        for piece in ["<a ", "<a \"", "<!", "&#", "</", "<script>", "&amp"] {
            let html = piece.repeat(RAW_MAX_BYTES / piece.len());
            let _ = plain(&html, RAW_MAX_BYTES);
        }
    }
}
