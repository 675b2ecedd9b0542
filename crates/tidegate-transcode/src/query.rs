//! Takes a query string apart: keys and values, decoded.
//!
//! What a key means is the business of [`crate::bind`]. Keys are decoded before anybody compares them, so that `a%62`
//! cannot slip past a rule about `ab`.
//!
//! Source: WHATWG URL, `application/x-www-form-urlencoded` parsing, but strict about escapes and UTF-8.

use std::borrow::Cow;

use memchr::{memchr, memchr3};

use crate::error::Fault;

/// How many parameters one query may have.
pub(crate) const MAX_PARAMETERS: usize = 1000;

/// Splits `query` (without its `?`) at `&` into decoded pairs, in order. Empty parts are passed over; a part without
/// `=` is a key with an empty value. `+` is a space unless `plus_is_literal`.
///
/// Allocates only for parts that need decoding.
pub(crate) fn parameters(query: &str, plus_is_literal: bool) -> Parameters<'_> {
    Parameters { rest: Some(query.as_bytes()), plus_is_literal, seen: 0 }
}

/// See [`parameters`]. Gives nothing more after an error.
pub(crate) struct Parameters<'a> {
    rest: Option<&'a [u8]>,
    plus_is_literal: bool,
    seen: usize,
}

/// A decoded key with its decoded value.
pub(crate) type Parameter<'a> = (Cow<'a, str>, Cow<'a, str>);

impl<'a> Iterator for Parameters<'a> {
    type Item = Result<Parameter<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.rest.take()?;
            let part = match memchr(b'&', rest) {
                Some(at) => {
                    self.rest = rest.get(at + 1..);
                    rest.get(..at).unwrap_or(rest)
                }
                None => rest,
            };
            if part.is_empty() {
                continue;
            }
            self.seen += 1;
            let pair = self.pair(part);
            if pair.is_err() {
                self.rest = None;
            }
            return Some(pair);
        }
    }
}

impl<'a> Parameters<'a> {
    fn pair(&self, part: &'a [u8]) -> Result<Parameter<'a>, Fault> {
        if self.seen > MAX_PARAMETERS {
            return Err(Fault::TooManyParameters);
        }
        let (key, value) = match memchr(b'=', part) {
            Some(at) => (part.get(..at).unwrap_or_default(), part.get(at + 1..).unwrap_or_default()),
            None => (part, &[][..]),
        };
        Ok((decode(key, self.plus_is_literal)?, decode(value, self.plus_is_literal)?))
    }
}

fn decode(text: &[u8], plus_is_literal: bool) -> Result<Cow<'_, str>, Fault> {
    let plus = if plus_is_literal { b'%' } else { b'+' };
    if memchr3(b'%', plus, plus, text).is_none() {
        let text = simdutf8::basic::from_utf8(text).map_err(|_| Fault::NotUtf8)?;
        return Ok(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'%' => {
                let high = bytes.next().and_then(hex).ok_or(Fault::BadEscape)?;
                let low = bytes.next().and_then(hex).ok_or(Fault::BadEscape)?;
                out.push(high << 4 | low);
            }
            b'+' if !plus_is_literal => out.push(b' '),
            _ => out.push(byte),
        }
    }
    let out = String::from_utf8(out).map_err(|_| Fault::NotUtf8)?;
    Ok(Cow::Owned(out))
}

fn hex(digit: &u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str, plus_is_literal: bool) -> Result<Vec<(String, String)>, Fault> {
        parameters(query, plus_is_literal)
            .map(|pair| pair.map(|(key, value)| (key.into_owned(), value.into_owned())))
            .collect()
    }

    #[test]
    fn pairs_are_decoded() {
        let cases: [(&str, &[(&str, &str)]); 11] = [
            ("", &[]),
            ("&&", &[]),
            ("a=1", &[("a", "1")]),
            ("a=1&b=2&a=3", &[("a", "1"), ("b", "2"), ("a", "3")]),
            ("a", &[("a", "")]),
            ("a=", &[("a", "")]),
            ("=x", &[("", "x")]),
            ("a=b=c", &[("a", "b=c")]),
            ("%61%2eb=%26%3D%2B", &[("a.b", "&=+")]),
            ("a+b=c+d", &[("a b", "c d")]),
            ("a=\u{e9}%C3%A9", &[("a", "\u{e9}\u{e9}")]),
        ];
        for (query, pairs) in cases {
            let pairs = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            assert_eq!(read(query, false), Ok(pairs), "{query}");
        }
        assert_eq!(read("a=1+1", true), Ok(vec![("a".to_owned(), "1+1".to_owned())]));
        assert_eq!(read("a=+%2B", true), Ok(vec![("a".to_owned(), "++".to_owned())]));
    }

    #[test]
    fn bad_text_is_refused() {
        for query in ["a=%", "a=%1", "a=%zz", "%g0=1", "b=1&a=%4", "a=%+1"] {
            assert_eq!(read(query, false), Err(Fault::BadEscape), "{query}");
        }
        for query in ["a=%ff", "%C3=1", "a=%ED%A0%80"] {
            assert_eq!(read(query, false), Err(Fault::NotUtf8), "{query}");
        }
    }

    #[test]
    fn the_number_of_parameters_is_bounded() {
        let query = |count: usize| "a=1&".repeat(count);
        assert_eq!(read(&query(1000), false).map(|pairs| pairs.len()), Ok(1000));
        assert_eq!(read(&query(1001), false), Err(Fault::TooManyParameters));
    }
}
