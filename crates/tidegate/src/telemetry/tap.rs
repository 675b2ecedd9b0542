//! Live views of requests, for somebody who looks: each line of the access log as it is written, thinned out or not.
//!
//! While nobody looks it costs a load. A view that does not keep up loses lines, which it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::access::AccessLine;

/// Views at once: each is a person, or a script of one.
pub const MAX_VIEWS: usize = 8;

/// Lines that wait for one view. At a browser's pace a second or two; what comes on top is dropped.
const MAX_WAITING: usize = 512;

/// Which requests are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this route alone.
    pub route: Option<String>,
    /// With this status, or all of its hundred (`5xx`) alone.
    pub status: Option<StatusFilter>,
}

/// A status or a hundred of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusFilter {
    /// `404`.
    Exactly(u16),
    /// `5xx` is 5.
    Hundred(u16),
}

impl StatusFilter {
    /// Reads `404` or `5xx`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(hundred) = text.strip_suffix("xx") {
            return hundred.parse().ok().filter(|hundred| (1..=5).contains(hundred)).map(Self::Hundred);
        }
        text.parse().ok().filter(|status| (100..=599).contains(status)).map(Self::Exactly)
    }

    fn admits(self, status: Option<u16>) -> bool {
        match self {
            Self::Exactly(wanted) => status == Some(wanted),
            Self::Hundred(wanted) => status.is_some_and(|status| status / 100 == wanted),
        }
    }
}

impl Filter {
    fn admits(&self, line: &AccessLine<'_>) -> bool {
        self.route.as_deref().is_none_or(|route| line.route == Some(route))
            && self.status.is_none_or(|status| status.admits(line.status))
    }
}

/// Where finished requests are offered.
#[derive(Debug, Default)]
pub struct Tap {
    open: AtomicUsize,
    views: Arc<Mutex<Vec<Sender>>>,
}

#[derive(Debug)]
struct Sender {
    filter: Filter,
    lines: mpsc::Sender<Bytes>,
    dropped: Arc<AtomicU64>,
}

/// One live view. Ends when it is dropped.
#[derive(Debug)]
pub struct View {
    lines: mpsc::Receiver<Bytes>,
    dropped: Arc<AtomicU64>,
}

impl Tap {
    /// Somebody looks.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    /// Begins to look; `None` if [`MAX_VIEWS`] look already.
    #[must_use]
    pub fn view(&self, filter: Filter) -> Option<View> {
        let mut views = self.views.lock();
        views.retain(|view| !view.lines.is_closed());
        if views.len() >= MAX_VIEWS {
            return None;
        }
        let (lines, receiver) = mpsc::channel(MAX_WAITING);
        let dropped = Arc::new(AtomicU64::new(0));
        views.push(Sender { filter, lines, dropped: Arc::clone(&dropped) });
        self.open.store(views.len(), Ordering::Relaxed);
        Some(View { lines: receiver, dropped })
    }

    /// A request has ended. Never waits.
    pub fn offer(&self, line: &AccessLine<'_>) {
        let mut views = self.views.lock();
        views.retain(|view| !view.lines.is_closed());
        self.open.store(views.len(), Ordering::Relaxed);
        let mut written: Option<Bytes> = None;
        for view in views.iter().filter(|view| view.filter.admits(line)) {
            let bytes = written.get_or_insert_with(|| {
                let mut out = Vec::with_capacity(512);
                line.write(&mut out);
                // Without its line feed.
                out.pop();
                out.into()
            });
            if view.lines.try_send(bytes.clone()).is_err() {
                view.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl View {
    /// The next line: one JSON object. `None` never comes while the tap lives.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.lines.recv().await
    }

    /// How many lines were lost since the last call.
    #[must_use]
    pub fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(route: &'static str, status: u16) -> AccessLine<'static> {
        AccessLine { route: Some(route), status: Some(status), ..AccessLine::default() }
    }

    #[tokio::test]
    async fn a_view_sees_what_its_filter_admits() {
        let tap = Tap::default();
        assert!(!tap.is_on());
        let filter = Filter { route: Some("a".to_owned()), status: StatusFilter::parse("5xx") };
        let mut view = tap.view(filter).unwrap();
        for (route, status) in [("a", 200), ("b", 500), ("a", 503)] {
            tap.offer(&line(route, status));
        }
        let seen = String::from_utf8(view.next().await.unwrap().to_vec()).unwrap();
        assert!(seen.contains("\"route\":\"a\",\"status\":503"), "{seen}");
        assert!(view.lines.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_view_that_does_not_keep_up_loses_lines_and_nobody_waits() {
        let tap = Tap::default();
        let view = tap.view(Filter::default()).unwrap();
        for _ in 0..MAX_WAITING + 5 {
            tap.offer(&line("a", 200));
        }
        assert_eq!(view.take_dropped(), 5);
        drop(view);
        tap.offer(&line("a", 200));
        assert!(!tap.is_on(), "a view that was dropped is forgotten");
    }

    #[test]
    fn views_are_bounded() {
        let tap = Tap::default();
        let views: Vec<_> = (0..MAX_VIEWS).map(|_| tap.view(Filter::default()).unwrap()).collect();
        assert!(tap.view(Filter::default()).is_none());
        drop(views);
        assert!(tap.view(Filter::default()).is_some());
    }

    #[test]
    fn statuses_are_single_or_hundreds() {
        assert_eq!(StatusFilter::parse("404"), Some(StatusFilter::Exactly(404)));
        assert_eq!(StatusFilter::parse("4xx"), Some(StatusFilter::Hundred(4)));
        for bad in ["", "xx", "6xx", "99", "600", "abc"] {
            assert_eq!(StatusFilter::parse(bad), None, "{bad}");
        }
    }
}
