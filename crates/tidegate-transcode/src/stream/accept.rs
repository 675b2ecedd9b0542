//! Choosing a stream format by `Accept`.
//!
//! Source: RFC 9110 section 12.5.1. A range that cannot be read is passed over, as a refusal would help nobody.

use super::StreamFormat;

/// Chooses among the formats that a route offers.
///
/// `accept` gives the values of all `Accept` headers in order; none means that everything is welcome. The highest
/// quality wins, then the more specific range, then the order of `offered`. When nothing fits, the first of `offered`
/// is taken (`Array` if that is empty): an answer in another format helps more than 406.
pub fn negotiate<'a>(accept: impl IntoIterator<Item = &'a [u8]>, offered: &[StreamFormat]) -> StreamFormat {
    let fallback = offered.first().copied().unwrap_or(StreamFormat::Array);
    let mut ranks = [Rank::default(); 3];
    for value in accept {
        for range in value.split(|&byte| byte == b',') {
            rate(range, &mut ranks);
        }
    }
    let mut best = (Rank::default(), fallback);
    for &format in offered {
        let rank = ranks[slot(format)];
        if rank.quality > 0 && (rank.quality, rank.specificity) > (best.0.quality, best.0.specificity) {
            best = (rank, format);
        }
    }
    best.1
}

/// How welcome a format is: by the most specific range that names it.
#[derive(Clone, Copy, Default)]
struct Rank {
    /// 0: no range; 1: `*/*`; 2: `type/*`; 3: the type itself.
    specificity: u8,
    /// In thousandths.
    quality: u16,
}

const fn slot(format: StreamFormat) -> usize {
    match format {
        StreamFormat::Array => 0,
        StreamFormat::Ndjson => 1,
        StreamFormat::Sse => 2,
    }
}

fn rate(range: &[u8], ranks: &mut [Rank; 3]) {
    use StreamFormat::{Array, Ndjson, Sse};
    let mut parts = range.split(|&byte| byte == b';');
    let media = parts.next().unwrap_or_default().trim_ascii();
    let named = |name: &str| media.eq_ignore_ascii_case(name.as_bytes());
    let (specificity, formats): (u8, &[StreamFormat]) = if named("application/json") {
        (3, &[Array])
    } else if named("application/x-ndjson") || named("application/ndjson") {
        (3, &[Ndjson])
    } else if named("text/event-stream") {
        (3, &[Sse])
    } else if named("application/*") {
        (2, &[Array, Ndjson])
    } else if named("text/*") {
        (2, &[Sse])
    } else if media == b"*/*" {
        (1, &[Array, Ndjson, Sse])
    } else {
        return;
    };
    let quality = quality(parts);
    for &format in formats {
        let rank = &mut ranks[slot(format)];
        if specificity > rank.specificity {
            *rank = Rank { specificity, quality };
        }
    }
}

/// The weight among the parameters of a range, in thousandths; 1000 if there is none that can be read.
fn quality<'a>(parameters: impl Iterator<Item = &'a [u8]>) -> u16 {
    for parameter in parameters {
        if let [b'q' | b'Q', b'=', weight @ ..] = parameter.trim_ascii() {
            return thousandths(weight).unwrap_or(1000);
        }
    }
    1000
}

fn thousandths(weight: &[u8]) -> Option<u16> {
    let (whole, fraction) = match weight {
        [whole] => (whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return None,
    };
    let mut sum = match whole {
        b'0' => 0,
        b'1' => 1000,
        _ => return None,
    };
    for (digit, unit) in fraction.iter().zip([100, 10, 1]) {
        if !digit.is_ascii_digit() {
            return None;
        }
        sum += u16::from(digit & 0x0f) * unit;
    }
    Some(sum.min(1000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use StreamFormat::{Array, Ndjson, Sse};

    #[test]
    fn the_best_offer_wins() {
        let all = [Array, Ndjson, Sse];
        let cases: [(&[&str], &[StreamFormat], StreamFormat); 20] = [
            (&[], &all, Array),
            (&[], &[Sse, Array], Sse),
            (&[""], &[Ndjson, Array], Ndjson),
            (&["*/*"], &[Sse, Ndjson, Array], Sse),
            (&["text/event-stream"], &all, Sse),
            (&["application/x-ndjson"], &all, Ndjson),
            (&["application/ndjson"], &all, Ndjson),
            (&["Application/JSON;charset=utf-8"], &[Sse, Array], Array),
            (&["text/event-stream, */*"], &all, Sse),
            (&["text/*"], &all, Sse),
            (&["application/*"], &[Sse, Ndjson], Ndjson),
            (&["application/json, text/event-stream"], &[Sse, Array], Sse),
            (&["application/json;q=0.5, text/event-stream;q=0.9"], &all, Sse),
            (&["application/json;q=0.5", "text/event-stream; q=0.499"], &all, Array),
            (&["application/json;q=0, */*;q=0.1"], &all, Ndjson),
            (&["*/*;q=0.1, application/json;q=0"], &all, Ndjson),
            (&["application/json;q=0"], &[Array], Array),
            (&["image/png, text/html"], &[Ndjson, Sse], Ndjson),
            (&["text/event-stream"], &[Array], Array),
            (&["text/event-stream"], &[], Array),
        ];
        for (accept, offered, expected) in cases {
            let values = accept.iter().map(|value| value.as_bytes());
            assert_eq!(negotiate(values, offered), expected, "{accept:?} {offered:?}");
        }
    }

    #[test]
    fn weights() {
        let cases: [(&str, Option<u16>); 9] = [
            ("1", Some(1000)),
            ("0", Some(0)),
            ("0.5", Some(500)),
            ("0.123", Some(123)),
            ("1.000", Some(1000)),
            ("1.5", Some(1000)),
            ("2", None),
            ("0.1234", None),
            ("0.x", None),
        ];
        for (text, expected) in cases {
            assert_eq!(thousandths(text.as_bytes()), expected, "{text}");
        }
    }
}
