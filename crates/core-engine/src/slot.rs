//! The place of one source: its settings, its state, and the task that keeps it running.
//!
//! ```text
//!                  connect                    end of data
//!   Disconnected ───────────► Connected ───────────────────► Finished
//!                  │              ▲ │ breaks                    │
//!                  │ cannot open  │ ▼                           │ connect
//!                  └───────────► Down ◄────────────────────────┘ (Connected or Down)
//!                                 └─ tried again after 1 s, 2 s, 4 s … 30 s, or when its server wants it
//! ```
//! `connect` and `disconnect` may come in any state: they stop what runs, whatever comes of it. A source across a
//! network is down until it gives its first sign of life. Down with the wish of its server to be asked less is called
//! throttled.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::EngineError;
use crate::feed::Feed;
use crate::net::Refusal;
use crate::settings::SourceDefinition;
use crate::source::{FetchError, RETRY_FIRST, Setter, Source, SourceError, SourceSettings, Surroundings};
use crate::streams::StreamEnd;
use crate::tick::Value;

/// The pause before a source that is down is tried again starts with [`RETRY_FIRST`] and doubles up to this.
const RETRY_LAST: Duration = Duration::from_secs(30);
/// How long an answer to `connect` waits for the first value.
const FIRST_VALUE: Duration = Duration::from_millis(500);
/// How long an answer to `connect` waits for the first sign of life of a source across a network.
const FIRST_SIGN: Duration = Duration::from_secs(5);

/// What a source is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Disconnected,
    Connected,
    Finished,
    Down,
    Throttled,
}

/// One source that clients can name.
pub(crate) struct Slot {
    definition: SourceDefinition,
    around: Surroundings,
    setter: Setter,
    feed: Feed,
    /// The newest change of `link` that tells how an attempt ended.
    settled: Notify,
    link: Mutex<Link>,
    /// The task of the connection. Held while a connect is under way, so that two do not mix.
    running: tokio::sync::Mutex<Option<Running>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

struct Link {
    state: State,
    /// Set while connected or finished.
    source: Option<Arc<dyn Source>>,
    /// Why it is down.
    reason: String,
    /// When it is tried again.
    retry_at: Instant,
}

struct Running {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

/// What a client may know of a slot.
#[derive(Debug)]
pub(crate) struct SlotView {
    pub(crate) state: State,
    /// Empty unless it is down or disconnected.
    pub(crate) reason: String,
    /// Symbols that it covers.
    pub(crate) symbols: usize,
}

impl Slot {
    /// Disconnected. What clients may set, `setter` says; tasks are tracked by `tasks` and end with `stop`.
    pub(crate) fn new(
        definition: SourceDefinition,
        around: Surroundings,
        setter: Setter,
        feed: Feed,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        let link = Link {
            state: State::Disconnected,
            source: None,
            reason: "nobody connected it yet".to_owned(),
            retry_at: Instant::now() + RETRY_FIRST,
        };
        let (link, running) = (Mutex::new(link), tokio::sync::Mutex::default());
        Self { definition, around, setter, feed, settled: Notify::new(), link, running, stop, tasks }
    }

    /// Its id.
    pub(crate) fn id(&self) -> &Arc<str> {
        self.feed.source()
    }

    /// The name of its type.
    pub(crate) fn type_name(&self) -> &'static str {
        self.definition.settings.type_name()
    }

    /// What it was made of.
    pub(crate) fn definition(&self) -> &SourceDefinition {
        &self.definition
    }

    /// Whether it delivers news, and no market data.
    pub(crate) fn is_news(&self) -> bool {
        self.definition.settings.is_news()
    }

    /// Its values and books.
    pub(crate) fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Its state now.
    pub(crate) fn view(&self) -> SlotView {
        let link = self.link.lock();
        SlotView {
            state: link.state,
            reason: link.reason.clone(),
            symbols: link.source.as_ref().map_or(0, |source| source.symbols().len()),
        }
    }

    /// The source, if it can answer.
    ///
    /// # Errors
    /// `SourceDown`, `SourceThrottled`.
    pub(crate) fn source(&self) -> Result<Arc<dyn Source>, EngineError> {
        let link = self.link.lock();
        let retry_after = match link.state {
            State::Disconnected => RETRY_FIRST,
            _ => link.retry_at.saturating_duration_since(Instant::now()),
        };
        link.source.clone().ok_or_else(|| self.fault(link.state == State::Throttled, link.reason.clone(), retry_after))
    }

    /// Asks the source for current values.
    ///
    /// # Errors
    /// `SourceDown`, `SourceThrottled`, `UnknownSymbol`.
    pub(crate) async fn fetch(
        &self,
        source: &Arc<dyn Source>,
        symbols: &[Arc<str>],
    ) -> Result<Vec<Arc<Value>>, EngineError> {
        source.fetch(symbols, &self.feed).await.map_err(|error| self.fetch_fault(error))
    }

    /// An error of the source as its clients are told.
    pub(crate) fn fetch_fault(&self, error: FetchError) -> EngineError {
        match error {
            FetchError::UnknownSymbol(symbol) => {
                EngineError::UnknownSymbol { symbol: symbol.to_string(), source_id: Some(self.id().to_string()) }
            }
            FetchError::Source(error) => {
                let paused = self.around.guard.refusal().map(Refusal::retry_after);
                let retry_after = error.retry_after().or(paused).unwrap_or(RETRY_FIRST);
                self.fault(error.is_throttled(), error.to_string(), retry_after)
            }
        }
    }

    fn fault(&self, throttled: bool, reason: String, retry_after: Duration) -> EngineError {
        let retry_after = rounded_up(retry_after);
        let source_id = self.id().to_string();
        match throttled {
            true => EngineError::SourceThrottled { source_id, reason, retry_after },
            false => EngineError::SourceDown { source_id, reason, retry_after },
        }
    }

    /// Connects, or connects again, with the definition's settings changed by `config`. Runs to its end even if the
    /// caller goes away.
    ///
    /// # Errors
    /// `InvalidField` (nothing changed), `SourceDown` or `SourceThrottled` (what ran is stopped, and the new settings are
    /// tried again).
    pub(crate) async fn connect(
        self: &Arc<Self>,
        config: &BTreeMap<String, String>,
    ) -> Result<Arc<dyn Source>, EngineError> {
        let settings = self.definition.settings.with(config, self.setter).and_then(|settings| {
            settings.check_complete()?;
            Ok(settings)
        });
        let settings =
            settings.map_err(|fault| EngineError::InvalidField { field: fault.field, problem: fault.problem })?;
        let slot = Arc::clone(self);
        // A task of its own: half a connect would leave a source that is stopped but says that it runs.
        let connecting = self.tasks.spawn(async move { slot.replace(settings).await });
        connecting.await.unwrap_or(Err(EngineError::ShuttingDown))
    }

    /// Stops what runs. Runs to its end even if the caller goes away.
    pub(crate) async fn disconnect(self: &Arc<Self>) {
        let slot = Arc::clone(self);
        let disconnecting = self.tasks.spawn(async move {
            let mut running = slot.running.lock().await;
            Running::end(running.take()).await;
            *slot.link.lock() = Link {
                state: State::Disconnected,
                source: None,
                reason: "it was disconnected".to_owned(),
                retry_at: Instant::now() + RETRY_FIRST,
            };
            slot.feed.end_streams(&StreamEnd::Disconnected);
            tracing::info!(source_id = %slot.id(), "source disconnected");
        });
        // Only a stop of the engine ends the task early, and then nothing is connected any more.
        let _ = disconnecting.await;
    }

    async fn replace(self: Arc<Self>, settings: SourceSettings) -> Result<Arc<dyn Source>, EngineError> {
        let mut running = self.running.lock().await;
        let opened = settings.open(&self.around).await;
        Running::end(running.take()).await;
        self.feed.restart();
        let mut sign = None;
        let source = match opened {
            Ok(source) => {
                if source.is_heard_first() {
                    self.set_connecting();
                    sign = Some(Box::pin(self.settled.notified()));
                } else {
                    self.set_connected(&source);
                }
                Some(source)
            }
            Err(error) => {
                self.set_down(&error, RETRY_FIRST);
                None
            }
        };
        if let Some(sign) = &mut sign {
            // Registered before the task runs, so that its first word is not missed.
            sign.as_mut().enable();
        }
        let stop = self.stop.child_token();
        let slot = Arc::clone(&self);
        let until = stop.clone();
        let task = self.tasks.spawn(async move {
            // `None` means stopped, which needs no further word.
            let _ = until.run_until_cancelled(slot.keep_running(settings, source)).await;
        });
        *running = Some(Running { task, stop });
        drop(running);
        if let Some(sign) = sign {
            // Without a sign it is down, which is what the answer then says.
            let _ = tokio::time::timeout(FIRST_SIGN, sign).await;
        }
        let source = self.source()?;
        if !self.is_news() {
            self.feed.first_value(FIRST_VALUE).await;
        }
        Ok(source)
    }

    /// Runs the source, and runs or opens it again after a pause whenever it breaks.
    async fn keep_running(&self, settings: SourceSettings, mut source: Option<Arc<dyn Source>>) {
        let mut pause = RETRY_FIRST;
        loop {
            if let Some(running) = &source {
                let before = self.feed.books().received;
                // A fault of ours in reading one source is that source's fault to everybody else.
                let outcome = AssertUnwindSafe(self.run(running)).catch_unwind().await;
                match outcome.unwrap_or(Err(SourceError::Panicked)) {
                    Ok(()) => return self.set_finished(),
                    Err(error) => {
                        if self.feed.books().received > before {
                            pause = RETRY_FIRST;
                        }
                        self.set_down(&error, pause);
                    }
                }
            }
            let retry_at = self.link.lock().retry_at;
            tokio::time::sleep_until(retry_at).await;
            pause = (pause * 2).min(RETRY_LAST);
            source = source.filter(|source| source.runs_again());
            if source.is_some() {
                continue;
            }
            match settings.open(&self.around).await {
                Ok(opened) => {
                    pause = RETRY_FIRST;
                    if !opened.is_heard_first() {
                        self.set_connected(&opened);
                    }
                    source = Some(opened);
                }
                Err(error) => self.set_down(&error, pause),
            }
        }
    }

    async fn run(&self, source: &Arc<dyn Source>) -> Result<(), SourceError> {
        let mut run = source.run(&self.feed);
        if source.is_heard_first() {
            tokio::select! {
                biased;
                outcome = &mut run => return outcome,
                () = self.feed.next_sign() => self.set_connected(source),
            }
        }
        run.await
    }

    fn set_connecting(&self) {
        *self.link.lock() = Link {
            state: State::Down,
            source: None,
            reason: "it is being connected".to_owned(),
            retry_at: Instant::now() + RETRY_FIRST,
        };
    }

    fn set_connected(&self, source: &Arc<dyn Source>) {
        *self.link.lock() = Link {
            state: State::Connected,
            source: Some(Arc::clone(source)),
            reason: String::new(),
            retry_at: Instant::now() + RETRY_FIRST,
        };
        self.settled.notify_waiters();
        tracing::info!(source_id = %self.id(), symbols = source.symbols().len(), "source connected");
    }

    fn set_finished(&self) {
        self.link.lock().state = State::Finished;
        self.feed.end_streams(&StreamEnd::Finished);
        tracing::info!(source_id = %self.id(), "source finished");
    }

    /// Down, and tried again after `pause`, or later if its guard demands it.
    fn set_down(&self, error: &SourceError, pause: Duration) {
        let reason = error.to_string();
        let refusal = self.around.guard.refusal().filter(|refusal| !refusal.retry_after().is_zero());
        let wanted = error.retry_after().unwrap_or_default().max(pause);
        let retry_after = refusal.map_or(wanted, Refusal::retry_after);
        let throttled = error.is_throttled() || matches!(refusal, Some(Refusal::Throttled(_)));
        let state = if throttled { State::Throttled } else { State::Down };
        tracing::warn!(source_id = %self.id(), reason, throttled, retry_after_s = retry_after.as_secs_f64(), "source down");
        let retry_at = Instant::now() + retry_after;
        *self.link.lock() = Link { state, source: None, reason: reason.clone(), retry_at };
        if !matches!(error, SourceError::Refused(_)) {
            self.feed.error(error.kind(), reason.clone());
        }
        self.feed.end_streams(&StreamEnd::Down { reason, retry_after });
        self.settled.notify_waiters();
    }
}

impl Running {
    async fn end(running: Option<Self>) {
        if let Some(old) = running {
            old.stop.cancel();
            // A panic of the old task is no reason not to start a new one.
            let _ = old.task.await;
        }
    }
}

/// To tenths of a second, as nobody needs to know it better.
fn rounded_up(duration: Duration) -> Duration {
    let tenths = duration.as_millis().div_ceil(100);
    Duration::from_millis(u64::try_from(tenths).unwrap_or(u64::MAX).saturating_mul(100))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::feed::samples::feed;
    use crate::ledger::ErrorKind;

    fn slot(folder: &Path) -> Arc<Slot> {
        let definition = SourceDefinition { settings: SourceSettings::replay(), connect: false, made: false };
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let around = Surroundings { replay_directory: folder.to_owned(), guard: Arc::default() };
        Arc::new(Slot::new(definition, around, Setter::Client, feed("replay"), stop, tasks))
    }

    fn config(repeat: &str) -> BTreeMap<String, String> {
        [("path", "day.csv"), ("repeat", repeat)].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    }

    async fn reach(slot: &Slot, state: State) -> Duration {
        let started = tokio::time::Instant::now();
        while slot.view().state != state {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        started.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_is_down_is_tried_again_ever_more_slowly() {
        let folder = tempfile::tempdir().unwrap();
        let slot = slot(folder.path());
        assert!(matches!(slot.connect(&config("false")).await, Err(EngineError::SourceDown { .. })));
        // Tried after 1, 3 and 7 s; the fourth time would be after 15 s.
        tokio::time::sleep(Duration::from_millis(7_500)).await;
        assert_eq!(slot.feed().books().errors[&ErrorKind::Unavailable], 4);
        let Err(EngineError::SourceDown { retry_after, .. }) = slot.source() else { panic!("it is down") };
        // Half a second of the eight has passed.
        assert_eq!(retry_after, Duration::from_millis(7_500));

        std::fs::write(folder.path().join("day.csv"), "symbol,price,timestamp\nA,1,0\nA,2,60000\n").unwrap();
        let took = reach(&slot, State::Connected).await;
        assert!((7_000..8_000).contains(&took.as_millis()), "{took:?}");
        assert_eq!(slot.source().unwrap().symbols().len(), 1);
        reach(&slot, State::Finished).await;
        assert_eq!(slot.feed().books().received, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_breaks_ends_its_streams_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("day.csv");
        std::fs::write(&file, "symbol,price,timestamp\nA,1,0\n").unwrap();
        let slot = slot(folder.path());
        slot.connect(&config("true")).await.unwrap();
        let subscription = slot.feed().subscribe(&[Arc::from("A")]).unwrap();
        std::fs::remove_file(&file).unwrap();
        let end = loop {
            if let Err(end) = subscription.next().await {
                break end;
            }
        };
        assert!(matches!(end, StreamEnd::Down { .. }), "{end:?}");
        assert_eq!(slot.view().state, State::Down);
        std::fs::write(&file, "symbol,price,timestamp\nA,1,0\n").unwrap();
        reach(&slot, State::Connected).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_connect_with_bad_settings_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("day.csv"), "symbol,price,timestamp\nA,1,0\n").unwrap();
        let slot = slot(folder.path());
        slot.connect(&config("true")).await.unwrap();
        assert!(matches!(slot.connect(&config("often")).await, Err(EngineError::InvalidField { .. })));
        assert_eq!(slot.view().state, State::Connected);
        assert_eq!(slot.feed().books().connects, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_the_task_of_a_source() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("day.csv"), "symbol,price,timestamp\nA,1,0\n").unwrap();
        let slot = slot(folder.path());
        slot.connect(&config("true")).await.unwrap();
        slot.stop.cancel();
        slot.tasks.close();
        slot.tasks.wait().await;
    }
}
