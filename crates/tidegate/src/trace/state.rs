//! The `tracestate` header: checked, joined, and cut to what must be passed on.
//!
//! Source: W3C Trace Context, section "tracestate Header". A list that cannot be read is dropped as a whole, as its
//! public test suite demands: a wrong member, a key that stands twice, more than 32 members.

use http::header::{HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::Cleaned;
use super::parent::trim;

/// Name of the header.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// More members are no list.
const MAX_MEMBERS: usize = 32;

/// What everybody has to pass on, in characters of the joined list; we pass on no more.
const MAX_LEN: usize = 512;

/// Members above this go first when the list is too long.
const LARGE_MEMBER: usize = 128;

const MAX_KEY: usize = 256;
/// Parts of a key with `@`: tenant, system.
const MAX_TENANT: usize = 241;
const MAX_SYSTEM: usize = 14;
const MAX_VALUE: usize = 256;

type Members<'a> = SmallVec<[&'a [u8]; MAX_MEMBERS]>;

/// What is passed on of the header's lines, in their order. Allocates only if that is not one of them as it came.
#[must_use]
pub(super) fn clean(lines: &[HeaderValue]) -> Cleaned {
    let Some(members) = read(lines) else { return Cleaned::Nothing };
    if members.is_empty() {
        return Cleaned::Nothing;
    }
    if let [line] = lines
        && line.len() <= MAX_LEN
        && line.as_bytes().iter().filter(|byte| **byte == b',').count() < members.len()
    {
        return Cleaned::AsSent;
    }
    join(&shorten(members))
}

/// All members of all lines, or `None` if they are no list. Empty members are allowed and mean nothing.
fn read(lines: &[HeaderValue]) -> Option<Members<'_>> {
    let mut members = Members::new();
    let all = lines.iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    for member in all.map(trim).filter(|member| !member.is_empty()) {
        let key = key(member)?;
        let twice = members.iter().any(|known| known.starts_with(key) && known.get(key.len()) == Some(&b'='));
        if twice || members.len() == MAX_MEMBERS {
            return None;
        }
        members.push(member);
    }
    Some(members)
}

/// The key of a member that is written as it should be.
fn key(member: &[u8]) -> Option<&[u8]> {
    let equals = member.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (member.get(..equals)?, member.get(equals + 1..)?);
    let value_fits = (1..=MAX_VALUE).contains(&value.len())
        && value.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'='));
    (is_key(key) && value_fits).then_some(key)
}

fn is_key(key: &[u8]) -> bool {
    match key.iter().position(|byte| *byte == b'@') {
        None => is_name(key, MAX_KEY, true),
        Some(at) => {
            let (tenant, system) = key.split_at(at);
            is_name(tenant, MAX_TENANT, true) && is_name(system.get(1..).unwrap_or_default(), MAX_SYSTEM, false)
        }
    }
}

/// Level 2 of the standard lets a key begin with a digit.
fn is_name(name: &[u8], longest: usize, digit_first: bool) -> bool {
    let first = name.first().is_some_and(|byte| byte.is_ascii_lowercase() || (digit_first && byte.is_ascii_digit()));
    let rest = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/');
    first && name.len() <= longest && name.iter().all(rest)
}

/// Drops whole members until the joined list has its length: large ones first, then from the end.
fn shorten(mut members: Members<'_>) -> Members<'_> {
    while joined_len(&members) > MAX_LEN {
        match members.iter().rposition(|member| member.len() > LARGE_MEMBER) {
            Some(large) => drop(members.remove(large)),
            None => drop(members.pop()),
        }
    }
    members
}

fn joined_len(members: &[&[u8]]) -> usize {
    members.iter().map(|member| member.len() + 1).sum::<usize>().saturating_sub(1)
}

fn join(members: &[&[u8]]) -> Cleaned {
    if members.is_empty() {
        return Cleaned::Nothing;
    }
    match HeaderValue::from_bytes(&members.join(&b',')) {
        Ok(value) => Cleaned::Value(value),
        Err(_) => Cleaned::Nothing,
    }
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
    fn lists_are_read_by_the_rules_of_the_standard() {
        check(&[], None);
        check(&["foo=1,bar=2"], Some("foo=1,bar=2"));
        check(&["foo=1,bar=2", "rojo=1,congo=2", "baz=3"], Some("foo=1,bar=2,rojo=1,congo=2,baz=3"));
        // Empty lines and members mean nothing.
        check(&[""], None);
        check(&["foo=1", ""], Some("foo=1"));
        check(&["", "foo=1"], Some("foo=1"));
        check(&[" , ,"], None);
        check(&["foo=1 \t , \t bar=2", "\t baz=3 "], Some("foo=1,bar=2,baz=3"));
        // A key stands once.
        check(&["foo=1,foo=1"], None);
        check(&["foo=1,foo=2"], None);
        check(&["foo=1", "foo=2"], None);
        check(&["foo=1,fo=2,fooo=3"], Some("foo=1,fo=2,fooo=3"));
        // Keys.
        for bad in ["foo =1", "FOO=1", "foo.bar=1", "foo@=1,bar=2", "@foo=1,bar=2", "foo@@bar=1,bar=2"] {
            check(&[bad], None);
        }
        for bad in ["foo@bar@baz=1,bar=2", "foo", "=1", "=,;;", "_a=1", "a@1=2"] {
            check(&[bad], None);
        }
        check(&["0a=1,1@a-b_c*d/e=2"], Some("0a=1,1@a-b_c*d/e=2"));
        // Values.
        check(&["foo=bar=baz"], None);
        check(&["foo=,bar=3"], None);
        check(&["foo=\u{e4}"], None);
        let every: String = (' '..='~').filter(|character| !",=".contains(*character)).collect();
        let every = format!("abcdefghijklmnopqrstuvwxyz0123456789_-*/@a-z0-9_-*/={every}");
        check(&[&every], Some(&every));
    }

    #[test]
    fn names_and_values_have_their_lengths() {
        for (member, valid) in [
            (format!("{}=1", "z".repeat(256)), true),
            (format!("{}=1", "z".repeat(257)), false),
            (format!("{}@{}=1", "t".repeat(241), "v".repeat(14)), true),
            (format!("{}@v=1", "t".repeat(242)), false),
            (format!("t@{}=1", "v".repeat(15)), false),
            (format!("k={}", "v".repeat(256)), true),
            (format!("k={}", "v".repeat(257)), false),
        ] {
            check(&["foo=1", &member], valid.then(|| format!("foo=1,{member}")).as_deref());
        }
    }

    #[test]
    fn more_than_32_members_are_no_list() {
        let list = |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        check(&[&list(32)], Some(&list(32)));
        check(&[&list(33)], None);
        check(&[&list(32), "foo=1"], None);
    }

    #[test]
    fn a_long_list_loses_large_members_and_then_its_end() {
        let large = format!("large={}", "v".repeat(200));
        let small = |name: &str| format!("{name}={}", "v".repeat(98));
        let names = ["a", "b", "c", "d", "e", "f"];
        let line = |names: &[&str]| names.iter().map(|name| small(name)).collect::<Vec<_>>().join(",");
        // 5 × 100 + 4 are 504.
        check(&[&line(&names)], Some(&line(&names[..5])));
        check(&[&large, &line(&names[..4])], Some(&line(&names[..4])));
        check(&[&format!("{},{large},z=1", small("a"))], Some(&format!("{},{large},z=1", small("a"))));
    }

    fn member() -> impl Strategy<Value = String> {
        ("[a-z0-9_@=-]{0,4}=[ -~]{0,200}").prop_map(|text| text)
    }

    proptest! {
        #[test]
        fn what_is_passed_on_is_a_valid_list_within_its_bounds(
            lines in proptest::collection::vec(proptest::collection::vec(member(), 0..9), 0..6)
        ) {
            let lines: Vec<String> = lines.iter().map(|members| members.join(",")).collect();
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            if let Some(passed) = cleaned(&lines) {
                prop_assert!(passed.len() <= MAX_LEN && passed.split(',').count() <= MAX_MEMBERS);
                prop_assert_eq!(cleaned(&[&passed]), Some(passed.clone()));
                for member in passed.split(',').map(str::trim).filter(|member| !member.is_empty()) {
                    prop_assert!(lines.iter().any(|line| line.contains(member)));
                }
            }
        }

        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(0x20_u8.., 0..600)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let _ = clean(&[value]);
            }
        }
    }
}
