//! Finds the JSON values of an upload while it arrives: one array of them, or one after the other.
//!
//! The splitter only finds out where a value ends, by brackets and quotes; whether it is JSON, and of the right shape,
//! is the codec's business, which sees exactly the bytes of one value. Invariants: the values and the failure do not
//! depend on how the body is cut into chunks; a value inside one chunk is not copied; nothing longer than the limit
//! is kept.
//!
//! ```text
//!   start ── '[' ──► array: value or ']' ──► ',' or ']' ──► value or ']' …  ']' ──► closed (white space only)
//!     └── other ──► sequence: value, value, …
//! ```
//! One comma before `]` is accepted, because here the array is framing and not data.

use memchr::memchr2;

/// Deepest nesting of brackets in one value. Far above what a message of 100 levels can need (each level may bring a
/// list or map of its own), so it only stops text that could never be accepted.
const MAX_NESTING: u32 = 256;

/// Why an upload cannot be split any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SplitFault {
    /// A comma, a closing bracket or text where it cannot stand.
    Misplaced,
    /// A value is longer than the limit.
    ValueTooLarge,
    /// More than [`MAX_NESTING`] open brackets.
    TooDeep,
    /// The body ended inside the array or inside a value.
    Truncated,
}

/// Either the splitter or the receiver of the values gave up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SplitError<E> {
    Split(SplitFault),
    Value(E),
}

impl<E> From<SplitFault> for SplitError<E> {
    fn from(fault: SplitFault) -> Self {
        Self::Split(fault)
    }
}

/// The state between two chunks.
#[derive(Debug)]
pub(crate) struct ValueSplitter {
    max_value: usize,
    place: Place,
    value: Value,
    /// The beginning of a value whose end has not arrived.
    held: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    Sequence,
    /// After `[` or after a comma.
    ArrayItem {
        after_comma: bool,
    },
    ArrayNext,
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    /// Between values.
    None,
    /// A number or a word; ends before the first byte that cannot belong to it.
    Bare,
    /// Inside `open` brackets, 0 for a string that is the whole value.
    Nested { open: u32, string: Option<Text> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    Plain,
    AfterBackslash,
}

impl ValueSplitter {
    /// A splitter that refuses values above `max_value` bytes.
    pub(crate) fn new(max_value: usize) -> Self {
        Self { max_value, place: Place::Start, value: Value::None, held: Vec::new() }
    }

    /// Reads the next chunk and gives each value to `each` as soon as it is complete.
    pub(crate) fn push<E>(
        &mut self,
        mut chunk: &[u8],
        each: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), SplitError<E>> {
        while !chunk.is_empty() {
            if self.value == Value::None {
                chunk = self.between(chunk)?;
                continue;
            }
            // One byte more than allowed is looked at: it may be what ends a bare value of exactly the limit.
            let allowed = self.max_value - self.held.len();
            let window = chunk.get(..allowed.saturating_add(1)).unwrap_or(chunk);
            let end = self.scan(window)?;
            if end.unwrap_or(window.len()) > allowed {
                return Err(SplitFault::ValueTooLarge.into());
            }
            let (piece, rest) = chunk.split_at(end.unwrap_or(window.len()));
            chunk = rest;
            if end.is_none() {
                self.held.extend_from_slice(piece);
                continue;
            }
            self.emit(piece, each)?;
        }
        Ok(())
    }

    /// The end of the body.
    pub(crate) fn finish<E>(&mut self, each: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), SplitError<E>> {
        if self.value == Value::Bare && self.place == Place::Sequence {
            self.emit(&[], each)?;
        }
        match (self.value, self.place) {
            (Value::None, Place::Start | Place::Sequence | Place::Closed) => Ok(()),
            _ => Err(SplitFault::Truncated.into()),
        }
    }

    fn emit<E>(&mut self, last: &[u8], each: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), SplitError<E>> {
        self.value = Value::None;
        if self.place != Place::Sequence {
            self.place = Place::ArrayNext;
        }
        if self.held.is_empty() {
            return each(last).map_err(SplitError::Value);
        }
        self.held.extend_from_slice(last);
        let result = each(&self.held);
        self.held.clear();
        result.map_err(SplitError::Value)
    }

    /// Skips white space and framing; gives what is left, which begins with a value if one has begun.
    fn between<'a>(&mut self, chunk: &'a [u8]) -> Result<&'a [u8], SplitFault> {
        let Some(at) = chunk.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) else {
            return Ok(&[]);
        };
        let chunk = chunk.get(at..).unwrap_or_default();
        let Some((&byte, rest)) = chunk.split_first() else {
            return Ok(&[]);
        };
        match (self.place, byte) {
            (Place::Start, b'[') => self.place = Place::ArrayItem { after_comma: false },
            (Place::ArrayNext, b',') => self.place = Place::ArrayItem { after_comma: true },
            (Place::ArrayNext | Place::ArrayItem { .. }, b']') => self.place = Place::Closed,
            (Place::ArrayNext | Place::Closed, _) | (_, b',' | b']' | b'}') => {
                return Err(SplitFault::Misplaced);
            }
            (Place::Start | Place::Sequence | Place::ArrayItem { .. }, _) => {
                if self.place == Place::Start {
                    self.place = Place::Sequence;
                }
                self.value = match byte {
                    b'{' | b'[' | b'"' => Value::Nested { open: 0, string: None },
                    _ => Value::Bare,
                };
                return Ok(chunk);
            }
        }
        Ok(rest)
    }

    /// How many bytes of `window` belong to the value that has begun, if it ends here.
    fn scan(&mut self, window: &[u8]) -> Result<Option<usize>, SplitFault> {
        let Value::Nested { mut open, mut string } = self.value else {
            return Ok(window.iter().position(|byte| ends_bare(*byte)));
        };
        let mut at = 0;
        while let Some(&byte) = window.get(at) {
            at += 1;
            match string {
                Some(Text::AfterBackslash) => string = Some(Text::Plain),
                Some(Text::Plain) => {
                    let from = at - 1;
                    let tail = window.get(from..).unwrap_or_default();
                    let Some(found) = memchr2(b'"', b'\\', tail) else {
                        break;
                    };
                    at = from + found + 1;
                    if tail.get(found) == Some(&b'\\') {
                        string = Some(Text::AfterBackslash);
                        continue;
                    }
                    string = None;
                    if open == 0 {
                        return Ok(Some(at));
                    }
                }
                None => match byte {
                    b'"' => string = Some(Text::Plain),
                    b'{' | b'[' if open == MAX_NESTING => return Err(SplitFault::TooDeep),
                    b'{' | b'[' => open += 1,
                    b'}' | b']' => {
                        open = open.saturating_sub(1);
                        if open == 0 {
                            return Ok(Some(at));
                        }
                    }
                    _ => {}
                },
            }
        }
        self.value = Value::Nested { open, string };
        Ok(None)
    }
}

const fn ends_bare(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b',' | b']' | b'}' | b'[' | b'{' | b'"')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Outcome = (Vec<String>, Result<(), SplitFault>);

    fn split(body: &[u8], cut: impl Fn(usize) -> usize, max_value: usize) -> Outcome {
        let mut values = Vec::new();
        let mut each = |value: &[u8]| -> Result<(), SplitFault> {
            values.push(String::from_utf8_lossy(value).into_owned());
            Ok(())
        };
        let mut splitter = ValueSplitter::new(max_value);
        let (mut at, mut count) = (0, 0);
        let mut run = || {
            while at < body.len() {
                let end = body.len().min(at + cut(count).max(1));
                splitter.push(&body[at..end], &mut each)?;
                (at, count) = (end, count + 1);
            }
            splitter.finish(&mut each)
        };
        let result = run().map_err(|error| match error {
            SplitError::Split(fault) | SplitError::Value(fault) => fault,
        });
        (values, result)
    }

    #[test]
    fn arrays_and_sequences() {
        use SplitFault::{Misplaced, Truncated, ValueTooLarge};
        let cases: [(&str, &[&str], Result<(), SplitFault>); 30] = [
            ("", &[], Ok(())),
            (" \r\n\t", &[], Ok(())),
            ("[]", &[], Ok(())),
            ("[ ] \n", &[], Ok(())),
            ("[{}]", &["{}"], Ok(())),
            (r#"[{"a":1},{"b":[2]}]"#, &[r#"{"a":1}"#, r#"{"b":[2]}"#], Ok(())),
            ("[{},]", &["{}"], Ok(())),
            ("[{},,]", &["{}"], Err(Misplaced)),
            ("[,]", &[], Err(Misplaced)),
            ("[{}", &["{}"], Err(Truncated)),
            ("[{},", &["{}"], Err(Truncated)),
            ("[", &[], Err(Truncated)),
            ("[{} {}]", &["{}"], Err(Misplaced)),
            ("[{}]]", &["{}"], Err(Misplaced)),
            ("[{}][{}]", &["{}"], Err(Misplaced)),
            ("[1,null, \"x\" ]", &["1", "null", "\"x\""], Ok(())),
            ("[1", &[], Err(Truncated)),
            ("{}{}", &["{}", "{}"], Ok(())),
            ("{}\n{}\n", &["{}", "{}"], Ok(())),
            ("{},{}", &["{}"], Err(Misplaced)),
            ("1 2\n3", &["1", "2", "3"], Ok(())),
            (r#""a""b\"c""\\""#, &[r#""a""#, r#""b\"c""#, r#""\\""#], Ok(())),
            (r#"{"]":"}\\\"{"}"#, &[r#"{"]":"}\\\"{"}"#], Ok(())),
            ("{", &[], Err(Truncated)),
            ("\"abc", &[], Err(Truncated)),
            ("}", &[], Err(Misplaced)),
            ("{]{]", &["{]", "{]"], Ok(())),
            ("1234567890123456 7", &["1234567890123456", "7"], Ok(())),
            ("12345678901234567", &[], Err(ValueTooLarge)),
            ("[{\"a\":\"123456789\"}, {}]", &[], Err(ValueTooLarge)),
        ];
        for (body, values, end) in cases {
            let expected = (values.iter().map(|v| (*v).to_owned()).collect(), end);
            for size in [usize::MAX / 2, 1, 2, 3] {
                assert_eq!(split(body.as_bytes(), |_| size, 16), expected, "{body} by {size}");
            }
        }
    }

    #[test]
    fn nesting_is_bounded_and_the_bound_is_generous() {
        let deep = |levels: usize| "[".to_owned() + &"[".repeat(levels) + &"]".repeat(levels) + "]";
        let limit = MAX_NESTING as usize;
        assert_eq!(split(deep(limit).as_bytes(), |_| 7, 1 << 20).1, Ok(()));
        let (values, end) = split(deep(limit + 1).as_bytes(), |_| 7, 1 << 20);
        assert_eq!((values.len(), end), (0, Err(SplitFault::TooDeep)));
        assert_eq!(split(&[b'['; 100_000], |_| 1000, 1 << 20).1, Err(SplitFault::TooDeep));
    }

    #[test]
    fn a_value_inside_one_chunk_is_not_copied() {
        let chunk = b"[{\"a\":1},{\"b\":2}]";
        let range = chunk.as_ptr_range();
        let mut splitter = ValueSplitter::new(100);
        let mut count = 0;
        let result: Result<(), SplitError<()>> = splitter.push(chunk, &mut |value| {
            count += 1;
            assert!(range.contains(&value.as_ptr()));
            Ok(())
        });
        assert_eq!((result, count), (Ok(()), 2));
        assert_eq!(splitter.held.capacity(), 0);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_values(
            tokens in prop::collection::vec(prop::sample::select(vec![
                "[", "]", "{", "}", ",", "\"", "\\", " ", "\n", "1", "-2.5e3", "null", "\"a\"", ":", "\u{e9}", "{\"a\":[1]}", "{},",
            ]), 0..40),
            cuts in prop::collection::vec(1usize..9, 1..10),
            max_value in 1usize..60,
        ) {
            let body = tokens.concat();
            let whole = split(body.as_bytes(), |_| usize::MAX / 2, max_value);
            let bytes = split(body.as_bytes(), |_| 1, max_value);
            let random = split(body.as_bytes(), |i| cuts[i % cuts.len()], max_value);
            prop_assert_eq!(&whole, &bytes);
            prop_assert_eq!(&whole, &random);
        }
    }
}
