//! The `traceparent` header.
//!
//! Source: W3C Trace Context, sections "traceparent Header" and "Versioning of traceparent"; the cases are those of its
//! public test suite (`test/test.py`).

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::ids::{SpanId, TraceId, from_hex};

/// Name of the header.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The caller has recorded its part of the trace.
pub const SAMPLED: u8 = 0b01;

/// The trace id is random (Level 2 of the standard); passed on as it came.
const RANDOM: u8 = 0b10;

/// Of a value of version 00, and the least of any later one.
const LEN: usize = 55;

/// Who called: the trace, the caller's span, what it has decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace that the request belongs to.
    pub trace_id: TraceId,
    /// The caller's span.
    pub span_id: SpanId,
    /// As sent; of a later version than 00 only [`SAMPLED`] has a meaning.
    pub flags: u8,
}

impl TraceParent {
    /// The parent that `headers` name. Two headers name none: nobody knows which of them would count.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let parent = Self::parse(values.next()?.as_bytes());
        if values.next().is_some() { None } else { parent }
    }

    /// Parses one value; blanks around it are no part of it. `None` is an invalid value: the trace begins anew.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value = trim(value);
        let (known, more) = value.split_at_checked(LEN)?;
        let mut fields = known.split(|byte| *byte == b'-');
        let version: [u8; 1] = from_hex(fields.next()?)?;
        let trace_id = TraceId::new(from_hex(fields.next()?)?)?;
        let span_id = SpanId::new(from_hex(fields.next()?)?)?;
        let flags: [u8; 1] = from_hex(fields.next()?)?;
        let (version, flags) = (u8::from_be_bytes(version), u8::from_be_bytes(flags));
        let more_fits = match version {
            0 => more.is_empty(),
            0xff => false,
            // What later versions append begins with a dash.
            _ => more.first().is_none_or(|byte| *byte == b'-'),
        };
        (more_fits && fields.next().is_none()).then_some(Self { trace_id, span_id, flags })
    }

    /// The caller says that it has recorded its part.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// As version 00 writes it, with the flags that it knows.
    #[must_use]
    pub fn write(&self) -> HeaderValue {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let flags = [b'0', b'0' + (self.flags & (SAMPLED | RANDOM))];
        let (trace, span) = (self.trace_id.hex(), self.span_id.hex());
        let fields: [(usize, &[u8]); 3] = [(3, &trace), (36, &span), (53, &flags)];
        for (start, field) in fields {
            if let Some(place) = text.get_mut(start..start + field.len()) {
                place.copy_from_slice(field);
            }
        }
        HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static(""))
    }

    /// True if `value`, which was parsed as this, is what [`TraceParent::write`] would write.
    #[must_use]
    pub fn is_written_as(&self, value: &HeaderValue) -> bool {
        value.len() == LEN && value.as_bytes().starts_with(b"00-") && self.flags & !(SAMPLED | RANDOM) == 0
    }
}

/// Without spaces and tabs around it.
pub(super) fn trim(value: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    value.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-12345678901234567890123456789012-1234567890123456-01";

    /// (value, flags if it is valid)
    const CASES: &[(&str, Option<u8>)] = &[
        (GOOD, Some(1)),
        ("00-12345678901234567890123456789012-1234567890123456-00", Some(0)),
        ("00-12345678901234567890123456789012-1234567890123456-ff", Some(0xff)),
        ("00-12345678901234567890123456789012-1234567890123456-09", Some(9)),
        // Version 00 has nothing behind the flags.
        ("00-12345678901234567890123456789012-1234567890123456-01.", None),
        ("00-12345678901234567890123456789012-1234567890123456-01-", None),
        ("00-12345678901234567890123456789012-1234567890123456-01-what-the-future-will-be-like", None),
        // A later one may, after a dash.
        ("cc-12345678901234567890123456789012-1234567890123456-01", Some(1)),
        ("cc-12345678901234567890123456789012-1234567890123456-01-what-the-future-will-be-like", Some(1)),
        ("cc-12345678901234567890123456789012-1234567890123456-01.what-the-future-will-be-like", None),
        ("01-12345678901234567890123456789012-1234567890123456-0", None),
        // Versions that are none.
        ("ff-12345678901234567890123456789012-1234567890123456-01", None),
        (".0-12345678901234567890123456789012-1234567890123456-01", None),
        ("0.-12345678901234567890123456789012-1234567890123456-01", None),
        ("CC-12345678901234567890123456789012-1234567890123456-01", None),
        ("000-12345678901234567890123456789012-1234567890123456-01", None),
        ("0000-12345678901234567890123456789012-1234567890123456-01", None),
        ("0-12345678901234567890123456789012-1234567890123456-01", None),
        // Trace ids.
        ("00-00000000000000000000000000000000-1234567890123456-01", None),
        ("00-.2345678901234567890123456789012-1234567890123456-01", None),
        ("00-1234567890123456789012345678901.-1234567890123456-01", None),
        ("00-123456789012345678901234567890123-1234567890123456-01", None),
        ("00-1234567890123456789012345678901-1234567890123456-01", None),
        ("00-ABCDEF78901234567890123456789012-1234567890123456-01", None),
        // Span ids.
        ("00-12345678901234567890123456789012-0000000000000000-01", None),
        ("00-12345678901234567890123456789012-.234567890123456-01", None),
        ("00-12345678901234567890123456789012-123456789012345.-01", None),
        ("00-12345678901234567890123456789012-12345678901234567-01", None),
        ("00-12345678901234567890123456789012-123456789012345-01", None),
        ("00-12345678901234567890123456789012-ABCDEF7890123456-01", None),
        // Flags.
        ("00-12345678901234567890123456789012-1234567890123456-.0", None),
        ("00-12345678901234567890123456789012-1234567890123456-0.", None),
        ("00-12345678901234567890123456789012-1234567890123456-0A", None),
        ("00-12345678901234567890123456789012-1234567890123456-001", None),
        ("00-12345678901234567890123456789012-1234567890123456-1", None),
        ("00-12345678901234567890123456789012-1234567890123456", None),
        // Separators.
        ("00_12345678901234567890123456789012_1234567890123456_01", None),
        ("00-1234567890123456789012345678901--1234567890123456-01", None),
        ("", None),
        ("-", None),
        // Blanks around it.
        (" 00-12345678901234567890123456789012-1234567890123456-01", Some(1)),
        ("\t 00-12345678901234567890123456789012-1234567890123456-01 \t", Some(1)),
        (" ", None),
    ];

    #[test]
    fn values_are_read_by_the_rules_of_the_standard() {
        for (value, flags) in CASES {
            let parsed = TraceParent::parse(value.as_bytes());
            assert_eq!(parsed.map(|parent| parent.flags), *flags, "{value:?}");
            if let Some(parent) = parsed {
                assert_eq!(parent.trace_id.to_string(), "12345678901234567890123456789012");
                assert_eq!(parent.span_id.to_string(), "1234567890123456");
            }
        }
    }

    #[test]
    fn two_headers_are_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(TraceParent::of(&headers), None);
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert!(TraceParent::of(&headers).is_some());
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert_eq!(TraceParent::of(&headers), None);
    }

    #[test]
    fn flags_without_a_meaning_and_later_versions_are_not_passed_on() {
        for (value, written, same) in [
            (GOOD, GOOD, true),
            (
                "00-12345678901234567890123456789012-1234567890123456-fe",
                "00-12345678901234567890123456789012-1234567890123456-02",
                false,
            ),
            ("cc-12345678901234567890123456789012-1234567890123456-01-more", GOOD, false),
            ("cc-12345678901234567890123456789012-1234567890123456-01", GOOD, false),
        ] {
            let parent = TraceParent::parse(value.as_bytes()).unwrap();
            assert_eq!(parent.write(), written);
            assert_eq!(parent.is_written_as(&HeaderValue::from_static(value)), same, "{value}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(trace in 1_u128.., span in 1_u64.., flags in 0_u8..4) {
            let parent = TraceParent { trace_id: TraceId::random(trace), span_id: SpanId::random(span), flags };
            let written = parent.write();
            prop_assert!(parent.is_written_as(&written));
            prop_assert_eq!(TraceParent::parse(written.as_bytes()), Some(parent));
        }

        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = TraceParent::parse(&bytes);
        }

        #[test]
        fn a_change_of_one_character_is_read_as_the_standard_says(place in 0_usize..55, byte in 0x20_u8..0x7f) {
            let mut value = GOOD.as_bytes().to_vec();
            value[place] = byte;
            let hex = matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            let dash = [2, 35, 52].contains(&place);
            let padded = byte == b' ' && (place == 0 || place == 54);
            let good = if dash { byte == b'-' } else { hex };
            prop_assert_eq!(TraceParent::parse(&value).is_some(), good && !padded, "{}", value.escape_ascii());
        }
    }
}
