//! What a request costs in heap allocations. Counts, never times.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use http::HeaderMap;
use tidegate::trace::{Sampler, Sent, TraceContext};

/// Decides about `fields` under `ratio` and passes them on, as a request does.
fn check(fields: &[(&str, &str)], ratio: Option<f64>, allocations: u64) {
    let headers: HeaderMap =
        fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    let sampler = ratio.map(Sampler::new);
    let mut metadata = HeaderMap::with_capacity(8);
    let counted = allocation_counter::measure(|| {
        let context = TraceContext::begin(&headers, sampler, || 1 << 126 | u128::from(u64::MAX));
        let mut sent = Sent::default();
        for (name, value) in headers {
            let name = name.unwrap();
            if let Err(value) = sent.take_context(&name, value) {
                sent.take_baggage(value);
            }
        }
        sent.forward(context.as_ref(), &mut metadata);
    });
    assert_eq!(counted.count_total, allocations, "{fields:?} {ratio:?}");
    assert_eq!(metadata.len(), fields.len());
}

#[test]
fn an_unsampled_request_allocates_nothing_for_its_trace() {
    let no = ("traceparent", "00-12345678901234567890123456789012-f234567890123456-00");
    let yes = ("traceparent", "00-12345678901234567890123456789012-f234567890123456-01");
    let (state, baggage) = (("tracestate", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"), ("baggage", "user=alice,day=1"));
    for ratio in [None, Some(0.0), Some(0.05)] {
        check(&[], ratio, 0);
        check(&[baggage], ratio, 0);
        check(&[no, state, baggage], ratio, 0);
    }
    check(&[yes, state, baggage], None, 0);
    // The backend is told that nothing was recorded: the value of one header.
    check(&[yes, state, baggage], Some(0.0), 1);
}
