//! When a running stream ends because the gateway, or the listener that it came over, does.
//!
//! ```text
//!   drain begins                                                         what is left is cut
//!   ├────────────────┼────────────────┼────────────────┼────────────────┤
//!    SSE, at random                                    all other formats
//!    WebSockets, at random over all of this time
//! ```
//! Clients of SSE connect again by themselves, so they are sent away early, and not all at once. Others get what time
//! there is to end by themselves; what is left of it then is for the clients to take the end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tidegate_transcode::StreamFormat;

use super::{Begun, Ending, Window};
use crate::time::{Deadline, Wheel};

/// How long a client of SSE is asked to wait before it connects again, in milliseconds: long enough for whoever comes
/// after this process to listen, and different for each client.
const RETRY_MS: std::ops::RangeInclusive<u64> = 1_000..=4_000;

/// The leave of one stream.
#[derive(Debug)]
pub struct Leave {
    ending: Arc<Ending>,
    begun: Begun,
    wheel: Arc<Wheel>,
    /// `None` for a WebSocket.
    format: Option<StreamFormat>,
    /// Set once the drain has begun.
    timer: Option<Deadline>,
}

impl Leave {
    /// Of a stream in `format`.
    #[must_use]
    pub fn new(ending: &Arc<Ending>, wheel: &Arc<Wheel>, format: StreamFormat) -> Self {
        Self::of(ending, wheel, Some(format))
    }

    /// Of a WebSocket.
    #[must_use]
    pub fn of_socket(ending: &Arc<Ending>, wheel: &Arc<Wheel>) -> Self {
        Self::of(ending, wheel, None)
    }

    fn of(ending: &Arc<Ending>, wheel: &Arc<Wheel>, format: Option<StreamFormat>) -> Self {
        let (ending, wheel) = (Arc::clone(ending), Arc::clone(wheel));
        Self { begun: ending.begun(), ending, wheel, format, timer: None }
    }

    /// There is a time at which the stream ends. Costs next to nothing.
    #[must_use]
    pub fn is_near(&self) -> bool {
        self.ending.window().is_some()
    }

    /// Ready when it is time. Wakes the task also when the drain begins.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.timer.is_none() {
            if self.ending.window().is_none() {
                std::task::ready!(self.begun.as_mut().poll(cx));
            }
            let Some(window) = self.ending.window() else { return Poll::Pending };
            self.timer = Some(self.wheel.at(moment(window, self.format, fastrand::f64())));
        }
        self.timer.as_mut().map_or(Poll::Pending, |timer| Pin::new(timer).poll(cx))
    }
}

/// `random` is from 0 to 1.
fn moment(window: Window, format: Option<StreamFormat>, random: f64) -> Instant {
    let part = match format {
        Some(StreamFormat::Sse) => random / 4.0,
        Some(StreamFormat::Array | StreamFormat::Ndjson) => 0.75,
        None => random * 0.75,
    };
    window.from + window.length.mul_f64(part)
}

/// What a client is asked to wait before it connects again.
#[must_use]
pub fn retry_after() -> Duration {
    Duration::from_millis(fastrand::u64(RETRY_MS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::now;

    #[test]
    fn clients_that_come_back_go_first_and_not_at_once() {
        let (from, length) = (now(), Duration::from_secs(40));
        let at = |format, random| moment(Window { from, length }, format, random) - from;
        assert_eq!(at(Some(StreamFormat::Sse), 0.0), Duration::ZERO);
        assert_eq!(at(Some(StreamFormat::Sse), 0.5), Duration::from_secs(5));
        assert_eq!(at(Some(StreamFormat::Sse), 1.0), Duration::from_secs(10));
        for format in [StreamFormat::Array, StreamFormat::Ndjson] {
            assert_eq!(at(Some(format), 0.5), Duration::from_secs(30));
        }
        assert_eq!((at(None, 0.0), at(None, 1.0)), (Duration::ZERO, Duration::from_secs(30)));
    }
}
