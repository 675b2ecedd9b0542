//! What the client is told of its limits.

use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Fields of the draft `draft-ietf-httpapi-ratelimit-headers`.
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// What came before the draft, and is understood more widely.
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// What a limit says of itself; the same for all its requests.
#[derive(Debug)]
pub struct LimitLabel {
    /// In the configuration: `[A-Za-z0-9_.-]`, so it needs no escape in a field.
    pub name: Arc<str>,
    policy: HeaderValue,
    limit: HeaderValue,
}

/// How a request stands with the limit that leaves it the least.
#[derive(Debug)]
pub struct Standing {
    /// Which limit.
    pub label: Arc<LimitLabel>,
    /// Requests that could follow at once.
    pub remaining: u64,
    /// Until nothing is lacking.
    pub full_in: Duration,
    /// The limit refused the request.
    pub is_refused: bool,
}

/// What the limits before and after authentication said.
#[derive(Debug, Default)]
pub struct Standings {
    first: OnceLock<Standing>,
    second: OnceLock<Standing>,
}

impl LimitLabel {
    /// A limit of `requests` in `window_s` seconds, of which `burst` may come at once.
    #[must_use]
    pub fn new(name: &Arc<str>, requests: u64, window_s: u64, burst: u64) -> Self {
        let policy = HeaderValue::from_str(&format!("\"{name}\";q={requests};w={window_s}"));
        Self {
            name: Arc::clone(name),
            policy: policy.unwrap_or(HeaderValue::from_static("")),
            limit: HeaderValue::from(burst),
        }
    }
}

impl Standings {
    /// What a stage of limits said.
    pub fn told(&self, standing: Standing) {
        if let Err(standing) = self.first.set(standing) {
            let _third = self.second.set(standing);
        }
    }

    /// The limit that refused the request, or the one that leaves it the least; `None` without limits.
    #[must_use]
    pub fn tightest(&self) -> Option<&Standing> {
        let first = self.first.get()?;
        let Some(second) = self.second.get() else { return Some(first) };
        Some(if second.is_tighter_than(first) { second } else { first })
    }

    /// Writes what is known into an answer, in the place of what a backend says of limits of its own.
    pub fn write(&self, headers: &mut HeaderMap) {
        let Some(Standing { label, remaining, full_in, .. }) = self.tightest() else { return };
        // Rounded up: who comes back too early would find less than was promised.
        let reset = full_in.as_secs() + u64::from(full_in.subsec_nanos() > 0);
        let (mut left, mut seconds) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (left, seconds) = (left.format(*remaining), seconds.format(reset));
        // One allocation for three values: the two numbers are parts of the first one.
        let mut text = Vec::with_capacity(label.name.len() + left.len() + seconds.len() + 8);
        text.push(b'"');
        text.extend_from_slice(label.name.as_bytes());
        text.extend_from_slice(b"\";r=");
        let left = append(&mut text, left);
        text.extend_from_slice(b";t=");
        let seconds = append(&mut text, seconds);
        let text = Bytes::from(text);
        headers.insert(POLICY, label.policy.clone());
        headers.insert(LIMIT, label.limit.clone());
        for (name, value) in [(RATE_LIMIT, text.clone()), (REMAINING, text.slice(left)), (RESET, text.slice(seconds))] {
            if let Ok(value) = HeaderValue::from_maybe_shared(value) {
                headers.insert(name, value);
            }
        }
    }
}

/// Where in `text` the `number` stands that was added to it.
fn append(text: &mut Vec<u8>, number: &str) -> Range<usize> {
    let begin = text.len();
    text.extend_from_slice(number.as_bytes());
    begin..text.len()
}

impl Standing {
    /// A refusal first, then fewer requests left, then a longer wait.
    #[must_use]
    pub fn is_tighter_than(&self, other: &Self) -> bool {
        let rank = |it: &Self| (!it.is_refused, it.remaining, std::cmp::Reverse(it.full_in));
        rank(self) < rank(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(name: &str, remaining: u64, full_in_ms: u64, is_refused: bool) -> Standing {
        let label = Arc::new(LimitLabel::new(&name.into(), 100, 60, 200));
        Standing { label, remaining, full_in: Duration::from_millis(full_in_ms), is_refused }
    }

    fn written(standings: Vec<Standing>) -> Vec<String> {
        let told = Standings::default();
        standings.into_iter().for_each(|standing| told.told(standing));
        let mut headers = HeaderMap::new();
        headers.insert(REMAINING, HeaderValue::from_static("what a backend says"));
        told.write(&mut headers);
        [POLICY, RATE_LIMIT, LIMIT, REMAINING, RESET]
            .iter()
            .filter_map(|name| Some(headers.get(name)?.to_str().unwrap().to_owned()))
            .collect()
    }

    #[test]
    fn the_tightest_limit_is_told() {
        let one = ["\"a\";q=100;w=60", "\"a\";r=7;t=2", "200", "7", "2"];
        assert_eq!(written(vec![standing("a", 7, 1_001, false)]), one);
        assert_eq!(written(vec![standing("a", 7, 2_000, false), standing("b", 9, 9_000, false)]), one);
        assert_eq!(written(vec![standing("b", 9, 9_000, false), standing("a", 7, 1_500, false)]), one);
        assert_eq!(written(vec![standing("b", 7, 1_000, false), standing("a", 7, 1_500, false)]), one);
        assert_eq!(written(vec![standing("b", 0, 9_000, false), standing("a", 7, 1_500, true)]), one);
    }

    #[test]
    fn without_limits_what_a_backend_says_stays() {
        assert_eq!(written(Vec::new()), ["what a backend says"]);
    }
}
