//! The `baggage` header: passed on as far as it can be read and is small enough.
//!
//! Source: W3C Baggage. Members that cannot be read are left out; of a header that is too long the end is left out, by
//! whole members. What the members mean is nobody's business here.

use http::header::{HeaderName, HeaderValue};

use super::Cleaned;
use super::parent::trim;

/// Name of the header.
pub const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// Of the joined list, in bytes.
const MAX_LEN: usize = 8_192;

/// Members of the joined list.
const MAX_MEMBERS: usize = 180;

/// What is passed on of the header's lines, in their order. Allocates only if that is not one of them as it came.
#[must_use]
pub(super) fn clean(lines: &[HeaderValue]) -> Cleaned {
    if let [line] = lines
        && line.len() <= MAX_LEN
        && members(lines).take(MAX_MEMBERS + 1).count() <= MAX_MEMBERS
        && members(lines).all(is_member)
    {
        return Cleaned::AsSent;
    }
    let mut joined = Vec::new();
    for member in members(lines).filter(|member| is_member(member)).take(MAX_MEMBERS) {
        let comma = usize::from(!joined.is_empty());
        if joined.len() + comma + member.len() > MAX_LEN {
            break;
        }
        joined.extend_from_slice(b",".get(..comma).unwrap_or_default());
        joined.extend_from_slice(member);
    }
    match HeaderValue::from_bytes(&joined) {
        Ok(value) if !joined.is_empty() => Cleaned::Value(value),
        _ => Cleaned::Nothing,
    }
}

fn members(lines: &[HeaderValue]) -> impl Iterator<Item = &[u8]> {
    lines.iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(trim)
}

/// `key=value`, and `;property` or `;property=value` any number of times, with blanks between.
fn is_member(member: &[u8]) -> bool {
    let mut parts = member.split(|byte| *byte == b';').map(trim);
    let pair = |part: &[u8]| match part.iter().position(|byte| *byte == b'=') {
        None => None,
        Some(equals) => {
            let (key, value) = part.split_at(equals);
            Some(is_token(trim(key)) && trim(value.get(1..).unwrap_or_default()).iter().all(is_value))
        }
    };
    parts.next().and_then(pair) == Some(true) && parts.all(|part| pair(part).unwrap_or_else(|| is_token(part)))
}

fn is_token(name: &[u8]) -> bool {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.iter().all(is_token)
}

fn is_value(byte: &u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cleaned(lines: &[&str]) -> Option<String> {
        let lines: Vec<HeaderValue> = lines.iter().map(|line| HeaderValue::from_str(line).unwrap()).collect();
        let value = match clean(&lines) {
            Cleaned::Nothing => return None,
            Cleaned::AsSent => lines.first().unwrap().clone(),
            Cleaned::Value(value) => value,
        };
        Some(value.to_str().unwrap().to_owned())
    }

    fn check(lines: &[&str], expected: Option<&str>) {
        assert_eq!(cleaned(lines).as_deref(), expected, "{lines:?}");
    }

    #[test]
    fn members_that_cannot_be_read_are_left_out() {
        check(&[], None);
        check(&["key1=value1;property1;property2, key2 = value2, key3=value3; propertyKey=propertyValue"], {
            Some("key1=value1;property1;property2, key2 = value2, key3=value3; propertyKey=propertyValue")
        });
        check(&["serverNode=DF%2028", "userId=alice", "isProduction=false"], {
            Some("serverNode=DF%2028,userId=alice,isProduction=false")
        });
        check(&["a="], Some("a="));
        check(&["a=b=c"], Some("a=b=c"));
        for bad in ["", ",", "a", "=b", "a b=c", "a=b c", "a=\"b\"", "a=b\\c", "a=b;", "a=b;;c", "a=b;c d", ";a=b"] {
            check(&[bad], None);
            check(&[&format!("x=1,{bad},y=2")], Some("x=1,y=2"));
        }
    }

    #[test]
    fn a_long_header_loses_its_end_by_whole_members() {
        let member = |n: usize| format!("k{n}={}", "v".repeat(95));
        let list = |count: usize| (10..10 + count).map(member).collect::<Vec<_>>().join(",");
        // 82 × 99 + 81 are 8,199.
        check(&[&list(81)], Some(&list(81)));
        check(&[&list(82)], Some(&list(81)));
        check(&[&list(40), &list(3)], Some(&format!("{},{}", list(40), list(3))));
        check(&[&format!("k={}", "v".repeat(64 * 1024))], None);
        let many = |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        check(&[&many(180)], Some(&many(180)));
        check(&[&many(181)], Some(&many(180)));
    }

    proptest! {
        #[test]
        fn what_is_passed_on_stays_within_its_bounds(
            lines in proptest::collection::vec("([a-z =;,%\"\\\\]{0,40}|[a-z]{1,5}=[a-z;]{0,2000})", 0..12)
        ) {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            if let Some(passed) = cleaned(&lines) {
                prop_assert!(passed.len() <= MAX_LEN && passed.split(',').count() <= MAX_MEMBERS);
                prop_assert_eq!(cleaned(&[&passed]), Some(passed));
            }
        }
    }
}
