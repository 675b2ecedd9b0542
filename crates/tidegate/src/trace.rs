//! W3C Trace Context: which trace a request belongs to, whether it is recorded, and what the backend is told of it.
//!
//! Everything is decided once, when the exchange begins. An exchange that is not recorded owns nothing on the heap for
//! it: ids are read in place, and headers that may pass as they came are moved on.

mod baggage;
mod forward;
mod ids;
mod parent;
mod record;
mod state;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;
use std::time::Instant;

use http::header::{HeaderMap, HeaderValue};

pub use self::baggage::BAGGAGE;
pub use self::forward::Sent;
pub use self::ids::{SpanId, TraceId};
pub use self::parent::{SAMPLED, TRACEPARENT, TraceParent};
pub use self::record::{Attempt, Attribute, Event, Failed, Log, MAX_TEXT, Record, Value};
pub use self::state::TRACESTATE;

/// What is passed on of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cleaned {
    /// Nothing.
    Nothing,
    /// Its one line, as it came.
    AsSent,
    /// This instead.
    Value(HeaderValue),
}

/// Which share of the traces is recorded.
///
/// The trace id decides, so that requests of the same trace are recorded together. Of one that a client has made up it is
/// mixed with a secret of this process first: clients choose their ids, and could choose those that are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    /// Traces whose 63 random bits are below it are recorded; at most 2^63.
    below: u64,
}

impl Sampler {
    /// Records the share `ratio` of traces; values outside of 0 to 1 count as these.
    ///
    /// Source: `TraceIdRatioBased` of the OpenTelemetry specification, with the threshold as most of its SDKs have it.
    #[must_use]
    pub fn new(ratio: f64) -> Self {
        const ALL: u64 = 1 << 63;
        Self { below: (ratio.clamp(0.0, 1.0) * ALL as f64) as u64 }
    }

    /// Of a trace that begins here, whose id is random.
    fn takes(self, trace: TraceId) -> bool {
        self.is_below(trace.low())
    }

    /// Of a trace that the client names.
    fn takes_foreign(self, trace: TraceId) -> bool {
        static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        self.is_below(SECRET.hash_one(trace.bytes()))
    }

    fn is_below(self, random: u64) -> bool {
        random >> 1 < self.below
    }
}

/// The trace of a request. There is none if the client names none and nothing is recorded.
#[derive(Debug)]
pub struct TraceContext {
    /// The client's, or one that begins here.
    pub trace_id: TraceId,
    /// What the client sent; `None` if the trace begins here.
    pub parent: Option<TraceParent>,
    decision: Decision,
}

#[derive(Debug)]
enum Decision {
    /// Tracing is off: the client's context is passed through.
    Off,
    /// Not recorded, and whoever comes next is told so.
    Unsampled,
    Sampled(Box<Record>),
}

impl TraceContext {
    /// Reads the client's context and decides. `sampler` is `None` if tracing is off; `random` is asked for 128 bits for
    /// each id that is made.
    ///
    /// A client that has not recorded is followed. One that has recorded counts within our ratio: its word alone must
    /// not make us record everything.
    #[must_use]
    pub fn begin(headers: &HeaderMap, sampler: Option<Sampler>, mut random: impl FnMut() -> u128) -> Option<Self> {
        let parent = TraceParent::of(headers);
        let Some(sampler) = sampler else {
            return parent.map(|parent| Self {
                trace_id: parent.trace_id,
                parent: Some(parent),
                decision: Decision::Off,
            });
        };
        let trace_id = match parent {
            Some(parent) => parent.trace_id,
            None => TraceId::random(random()),
        };
        let sampled = match parent {
            Some(parent) => parent.is_sampled() && sampler.takes_foreign(trace_id),
            None => sampler.takes(trace_id),
        };
        if !sampled {
            return parent.map(|_| Self { trace_id, parent, decision: Decision::Unsampled });
        }
        let record = Record::new(SpanId::random(random() as u64), forward::state_of(headers, parent.is_some()));
        Some(Self { trace_id, parent, decision: Decision::Sampled(Box::new(record)) })
    }

    /// What is recorded; `None` if nothing is.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        match &self.decision {
            Decision::Sampled(record) => Some(record),
            Decision::Off | Decision::Unsampled => None,
        }
    }

    /// A backend is about to be asked, with `metadata`. An attempt with a span of its own begins in `record`, whose name
    /// the backend is told; `random` gives it.
    pub fn attempt(&self, record: &Record, now: Instant, random: impl FnOnce() -> u64, metadata: &mut HeaderMap) {
        let span = SpanId::random(random());
        record.attempt(span, now);
        metadata.insert(TRACEPARENT, forward::changing(self.child(span)));
    }

    fn child(&self, span: SpanId) -> HeaderValue {
        let flags = self.parent.map_or(0, |parent| parent.flags) | SAMPLED;
        TraceParent { trace_id: self.trace_id, span_id: span, flags }.write()
    }

    /// `sent`, which is this context's parent, as a backend may have it when nothing is recorded.
    fn unrecorded(&self, sent: HeaderValue) -> HeaderValue {
        let Some(parent) = self.parent else { return sent };
        let told = TraceParent { flags: parent.flags & !SAMPLED, ..parent };
        match self.decision {
            Decision::Off => sent,
            Decision::Unsampled if !parent.is_sampled() && told.is_written_as(&sent) => sent,
            Decision::Unsampled | Decision::Sampled(_) => told.write(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "12345678901234567890123456789012";

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn parent(version: &str, flags: &str) -> String {
        format!("{version}-{TRACE}-1234567890123456-{flags}")
    }

    /// What is decided for a client's `traceparent` under a ratio: recorded, and what the backend gets if not.
    fn check(sent: Option<&str>, ratio: Option<f64>, recorded: bool, passed: Option<&str>) {
        let sent: Vec<(&str, &str)> = sent.map(|value| ("traceparent", value)).into_iter().collect();
        let headers = headers(&sent);
        let context = TraceContext::begin(&headers, ratio.map(Sampler::new), || 7 << 64 | 7);
        let is_recorded = context.as_ref().is_some_and(|context| context.record().is_some());
        assert_eq!(is_recorded, recorded, "{sent:?} {ratio:?}");
        let mut metadata = HeaderMap::new();
        let mut on_its_way = Sent::default();
        for value in headers.get_all("traceparent") {
            on_its_way.take_context(&TRACEPARENT, value.clone()).unwrap();
        }
        on_its_way.forward(context.as_ref(), &mut metadata);
        let got = metadata.get("traceparent").map(|value| value.to_str().unwrap());
        assert_eq!(got, passed, "{sent:?} {ratio:?}");
    }

    #[test]
    fn the_decision_follows_the_client_within_our_ratio() {
        let [yes, no] = [parent("00", "01"), parent("00", "00")];
        let [yes, no] = [yes.as_str(), no.as_str()];
        let [later, invalid, unknown_flags] = [parent("cc", "ff"), parent("ff", "01"), parent("00", "07")];
        // Off: passed through as it came, unless it is invalid.
        check(None, None, false, None);
        check(Some(yes), None, false, Some(yes));
        check(Some(no), None, false, Some(no));
        check(Some(&later), None, false, Some(&later));
        check(Some(&invalid), None, false, None);
        // Nothing is recorded: said to whoever comes next.
        check(None, Some(0.0), false, None);
        check(Some(yes), Some(0.0), false, Some(no));
        check(Some(no), Some(0.0), false, Some(no));
        check(Some(&parent("cc", "01")), Some(0.0), false, Some(no));
        check(Some(&unknown_flags), Some(0.0), false, Some(&parent("00", "02")));
        check(Some(&invalid), Some(0.0), false, None);
        // Everything is recorded that the client has recorded, or that begins here.
        check(None, Some(1.0), true, None);
        check(Some(yes), Some(1.0), true, None);
        check(Some(no), Some(1.0), false, Some(no));
        check(Some(&invalid), Some(1.0), true, None);
    }

    #[test]
    fn a_share_of_the_traces_is_recorded_whatever_the_client_says() {
        let sampler = Some(Sampler::new(0.25));
        let mut numbers = fastrand::Rng::with_seed(7);
        let mut taken = [0, 0];
        for _ in 0..4_000 {
            let id = TraceId::random(numbers.u128(..));
            let sent = headers(&[("traceparent", &format!("00-{id}-1234567890123456-01"))]);
            let context = TraceContext::begin(&sent, sampler, || numbers.u128(..)).unwrap();
            taken[0] += usize::from(context.record().is_some());
            let context = TraceContext::begin(&HeaderMap::new(), sampler, || numbers.u128(..));
            taken[1] += usize::from(context.is_some());
        }
        assert!(taken.iter().all(|count| (800..1_200).contains(count)), "{taken:?} of 4000 each");
    }

    #[test]
    fn a_client_cannot_choose_ids_that_are_recorded() {
        let sampler = Some(Sampler::new(0.25));
        let taken = (1..4_000_u128).filter(|id| {
            // The low half is below any threshold; whoever draws ids at random would never send these.
            let sent = headers(&[("traceparent", &format!("00-{:032x}-1234567890123456-01", id << 64 | 1))]);
            let context = TraceContext::begin(&sent, sampler, || 7).unwrap();
            let again = TraceContext::begin(&sent, sampler, || 8).unwrap();
            assert_eq!(context.record().is_some(), again.record().is_some(), "requests of one trace stay together");
            context.record().is_some()
        });
        let taken = taken.count();
        assert!((800..1_200).contains(&taken), "{taken} of 4000");
    }

    #[test]
    fn ratios_have_their_bounds() {
        let [low, high] = [1_u128, u128::MAX].map(TraceId::random);
        for (ratio, takes_low, takes_high) in
            [(0.0, false, false), (f64::NAN, false, false), (-1.0, false, false), (0.5, true, false), (1.0, true, true)]
        {
            let sampler = Sampler::new(ratio);
            assert_eq!((sampler.takes(low), sampler.takes(high)), (takes_low, takes_high), "{ratio}");
        }
    }

    #[test]
    fn a_child_is_a_part_of_the_trace_and_recorded() {
        let sent = headers(&[("traceparent", &parent("00", "03"))]);
        let context = TraceContext::begin(&sent, Some(Sampler::new(1.0)), || 5).unwrap();
        assert_eq!(context.child(SpanId::random(9)), format!("00-{TRACE}-0000000000000009-03").as_str());
        let context = TraceContext::begin(&HeaderMap::new(), Some(Sampler::new(1.0)), || 5).unwrap();
        let expected = "00-00000000000000000000000000000005-0000000000000009-01";
        assert_eq!(context.child(SpanId::random(9)), expected);
    }
}
