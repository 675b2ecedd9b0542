//! What a writer says about itself in the process log: an output that fails, at most once a minute, and how many lines
//! were lost, once no more are. The writer of the process log does the same; its words wait in its own buffer.

use std::time::{Duration, Instant};

use super::output::Output;
use crate::time;

/// Between two lines about a failing output.
const FAILURE_PAUSE: Duration = Duration::from_secs(60);

/// As long as nothing must have been lost for the losses to count as over.
const QUIET: Duration = Duration::from_secs(1);

/// What was said and what was seen.
#[derive(Debug)]
pub(super) struct Report {
    writer: &'static str,
    failure_told: Option<Instant>,
    lost_told: u64,
    lost_seen: u64,
    seen_at: Instant,
}

impl Report {
    pub(super) fn new(writer: &'static str) -> Self {
        Self { writer, failure_told: None, lost_told: 0, lost_seen: 0, seen_at: time::now() }
    }

    /// Called after each round. `lost` counts from the start; `now` asks for the losses without waiting for their end.
    pub(super) fn tell(&mut self, output: &mut Output, lost: u64, now: bool) {
        if let Some(error) = output.take_failure()
            && self.failure_told.is_none_or(|told| told + FAILURE_PAUSE <= time::now())
        {
            self.failure_told = Some(time::now());
            tracing::error!(writer = self.writer, output = output.name(), %error, "a log cannot be written");
        }
        if lost > self.lost_seen {
            (self.lost_seen, self.seen_at) = (lost, time::now());
        }
        if lost > self.lost_told && (now || self.seen_at + QUIET <= time::now()) {
            tracing::warn!(
                writer = self.writer,
                output = output.name(),
                lines = lost - self.lost_told,
                "lines of a log were lost"
            );
            self.lost_told = lost;
        }
    }

    /// When it must be asked again although nothing happens.
    pub(super) fn pending(&self) -> Option<Duration> {
        (self.lost_seen > self.lost_told).then_some(QUIET)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tracing_subscriber::layer::{Context, SubscriberExt as _};

    use super::*;

    /// Names the messages of events, and the number of lost lines.
    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<String>>>);

    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Heard {
        fn on_event(&self, event: &tracing::Event<'_>, _context: Context<'_, S>) {
            let mut text = String::new();
            event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| match field.name() {
                "message" | "lines" => text += &format!("{value:?} "),
                _ => {}
            });
            self.0.lock().push(text.trim_end().to_owned());
        }
    }

    impl Heard {
        fn take(&self) -> Vec<String> {
            std::mem::take(&mut *self.0.lock())
        }
    }

    fn full() -> Output {
        Output::opened(OpenOptions::new().write(true).open("/dev/full").unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_output_is_told_at_once_and_then_once_a_minute() {
        let heard = Heard::default();
        let _listening = tracing::subscriber::set_default(tracing_subscriber::registry().with(heard.clone()));
        let (mut output, mut report) = (full(), Report::new("test"));
        report.tell(&mut output, 0, false);
        assert!(heard.take().is_empty());
        for (seconds, told) in [(0, true), (1, false), (58, false), (1, true), (59, false), (3_600, true)] {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            output.write(b"a\n");
            report.tell(&mut output, 0, false);
            assert_eq!(heard.take().len(), usize::from(told), "{seconds}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn losses_are_told_once_they_are_over() {
        let heard = Heard::default();
        let _listening = tracing::subscriber::set_default(tracing_subscriber::registry().with(heard.clone()));
        let (mut output, mut report) = (full(), Report::new("test"));
        assert_eq!(report.pending(), None);
        for (milliseconds, lost, told) in [
            (0, 5, ""),
            (900, 7, ""),
            (900, 7, ""),
            (100, 7, "lines of a log were lost 7"),
            (5_000, 7, ""),
            (0, 8, ""),
            (1_000, 8, "lines of a log were lost 1"),
        ] {
            tokio::time::advance(Duration::from_millis(milliseconds)).await;
            report.tell(&mut output, lost, false);
            assert_eq!(heard.take().concat(), told);
            assert_eq!(report.pending().is_some(), told.is_empty() && milliseconds < 5_000);
        }
        report.tell(&mut output, 10, true);
        assert_eq!(heard.take(), ["lines of a log were lost 2"], "the end of the process does not wait");
    }
}
