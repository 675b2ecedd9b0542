//! What a backend gets of the client's trace headers.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::{BAGGAGE, Cleaned, TRACEPARENT, TRACESTATE, TraceContext, baggage, state};

/// The client's trace headers, taken out of a request's head on its way to a backend.
#[derive(Debug, Default)]
pub struct Sent {
    parent: Option<HeaderValue>,
    state: SmallVec<[HeaderValue; 1]>,
    baggage: SmallVec<[HeaderValue; 1]>,
}

impl Sent {
    /// Keeps the value of `traceparent` or `tracestate`.
    ///
    /// # Errors
    /// The value, if it is another header's.
    pub fn take_context(&mut self, name: &HeaderName, value: HeaderValue) -> Result<(), HeaderValue> {
        if *name == TRACEPARENT {
            self.parent = Some(value);
        } else if *name == TRACESTATE {
            self.state.push(value);
        } else {
            return Err(value);
        }
        Ok(())
    }

    /// Keeps a value of `baggage`.
    pub fn take_baggage(&mut self, value: HeaderValue) {
        self.baggage.push(value);
    }

    /// Adds to `metadata` what may pass under `context`. Of a recorded exchange the `traceparent` is left to each
    /// attempt. Gives the bytes of names and values that were added.
    pub fn forward(self, context: Option<&TraceContext>, metadata: &mut HeaderMap) -> usize {
        let mut bytes = 0_usize;
        let mut add = |name: HeaderName, value: Option<HeaderValue>| {
            let Some(value) = value else { return };
            bytes = bytes.saturating_add(name.as_str().len()).saturating_add(value.len());
            metadata.append(name, value);
        };
        // Without a valid parent nobody may look at the state.
        if let Some(context) = context {
            let parent = self.parent.filter(|_| context.record().is_none());
            add(TRACEPARENT, parent.map(|sent| changing(context.unrecorded(sent))));
            if context.parent.is_some() {
                add(TRACESTATE, passed(state::clean(&self.state), self.state).map(changing));
            }
        }
        add(BAGGAGE, passed(baggage::clean(&self.baggage), self.baggage));
        bytes
    }
}

/// A value that differs from request to request: kept out of the connection's table of fields (HPACK), where it would
/// only push out what repeats.
pub(super) fn changing(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

fn passed(cleaned: Cleaned, lines: SmallVec<[HeaderValue; 1]>) -> Option<HeaderValue> {
    match cleaned {
        Cleaned::Nothing => None,
        Cleaned::AsSent => lines.into_iter().next(),
        Cleaned::Value(value) => Some(value),
    }
}

/// The client's state as it is passed on, for the spans of a recorded exchange.
pub(super) fn state_of(headers: &HeaderMap, has_parent: bool) -> Option<HeaderValue> {
    if !has_parent {
        return None;
    }
    let lines: SmallVec<[HeaderValue; 1]> = headers.get_all(TRACESTATE).iter().cloned().collect();
    passed(state::clean(&lines), lines)
}

#[cfg(test)]
mod tests {
    use super::super::Sampler;
    use super::*;

    const PARENT: (&str, &str) = ("traceparent", "00-12345678901234567890123456789012-1234567890123456-00");

    /// Sends `fields` through under `ratio`; `expected` is what the backend gets.
    fn check(fields: &[(&str, &str)], ratio: Option<f64>, expected: &[(&str, &str)]) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let context = TraceContext::begin(&headers, ratio.map(Sampler::new), || 1);
        let mut sent = Sent::default();
        for (name, value) in &headers {
            if let Err(value) = sent.take_context(name, value.clone()) {
                sent.take_baggage(value);
            }
        }
        let mut metadata = HeaderMap::new();
        let bytes = sent.forward(context.as_ref(), &mut metadata);
        let got: Vec<_> = metadata.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(got, expected, "{fields:?} {ratio:?}");
        assert_eq!(bytes, expected.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>());
    }

    #[test]
    fn state_follows_its_parent_and_baggage_goes_alone() {
        let (state, baggage) = (("tracestate", "a=1"), ("baggage", "k=v"));
        for ratio in [None, Some(0.0), Some(1.0)] {
            check(&[], ratio, &[]);
            check(&[PARENT, state, baggage], ratio, &[PARENT, state, baggage]);
            check(&[state, baggage], ratio, &[baggage]);
            check(&[("traceparent", "bad"), state], ratio, &[]);
            check(&[PARENT, PARENT, state], ratio, &[]);
            check(&[PARENT, state, ("tracestate", "b=2")], ratio, &[PARENT, ("tracestate", "a=1,b=2")]);
            check(&[PARENT, ("tracestate", "a=1,a=2"), ("baggage", "k")], ratio, &[PARENT]);
        }
    }

    #[test]
    fn only_headers_of_the_context_are_taken() {
        let value = HeaderValue::from_static("v");
        let other = HeaderName::from_static("trace-parent");
        assert_eq!(Sent::default().take_context(&other, value.clone()), Err(value));
    }
}
