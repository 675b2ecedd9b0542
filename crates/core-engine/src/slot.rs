//! The place of one source: its settings, its state, and the task that keeps it running.
//!
//! ```text
//!                  connect                    end of data
//!   Disconnected ───────────► Connected ───────────────────► Finished
//!                  │              ▲ │ breaks                    │
//!                  │ cannot open  │ ▼                           │ connect
//!                  └───────────► Down ◄────────────────────────┘ (Connected or Down)
//!                                 └─ tried again after 1 s, 2 s, 4 s … 30 s
//! ```
//! `connect` may come in any state: it stops what runs before it starts anew, whatever comes of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::EngineError;
use crate::feed::Feed;
use crate::ledger::ErrorKind;
use crate::settings::SourceDefinition;
use crate::source::{Source, SourceError, SourceSettings};
use crate::streams::StreamEnd;

/// First pause before a source that is down is tried again; it doubles up to the last.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(30);
/// How long an answer to `connect` waits for the first value.
const FIRST_VALUE: Duration = Duration::from_millis(500);

/// What a source is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Disconnected,
    Connected,
    Finished,
    Down,
}

/// One source that clients can name.
pub(crate) struct Slot {
    definition: SourceDefinition,
    replay_directory: PathBuf,
    feed: Feed,
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
    retry_after: Duration,
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
    /// Disconnected. Tasks are tracked by `tasks` and end with `stop`.
    pub(crate) fn new(
        definition: SourceDefinition,
        replay_directory: PathBuf,
        feed: Feed,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        let link = Link {
            state: State::Disconnected,
            source: None,
            reason: "nobody connected it yet".to_owned(),
            retry_after: RETRY_FIRST,
        };
        Self { definition, replay_directory, feed, link: Mutex::new(link), running: Default::default(), stop, tasks }
    }

    /// Its id.
    pub(crate) fn id(&self) -> &Arc<str> {
        self.feed.source()
    }

    /// The name of its type.
    pub(crate) fn type_name(&self) -> &'static str {
        self.definition.settings.type_name()
    }

    /// Whether it is connected at the start.
    pub(crate) fn connects_at_start(&self) -> bool {
        self.definition.connect
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
    /// `SourceDown`.
    pub(crate) fn source(&self) -> Result<Arc<dyn Source>, EngineError> {
        let link = self.link.lock();
        link.source.clone().ok_or_else(|| EngineError::SourceDown {
            source_id: self.id().to_string(),
            reason: link.reason.clone(),
            retry_after: link.retry_after,
        })
    }

    /// Connects, or connects again, with the definition's settings changed by `config`. Runs to its end even if the
    /// caller goes away.
    ///
    /// # Errors
    /// `InvalidField` (nothing changed) or `SourceDown` (what ran is stopped, and the new settings are tried again).
    pub(crate) async fn connect(
        self: &Arc<Self>,
        config: &BTreeMap<String, String>,
    ) -> Result<Arc<dyn Source>, EngineError> {
        let settings = self.definition.settings.with(config).and_then(|settings| {
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

    async fn replace(self: Arc<Self>, settings: SourceSettings) -> Result<Arc<dyn Source>, EngineError> {
        let mut running = self.running.lock().await;
        let opened = settings.open(&self.replay_directory).await;
        if let Some(old) = running.take() {
            old.stop.cancel();
            // A panic of the old task is no reason not to start a new one.
            let _ = old.task.await;
        }
        self.feed.restart();
        let source = match opened {
            Ok(source) => {
                self.set_connected(&source);
                Some(source)
            }
            Err(error) => {
                self.set_down(&error, RETRY_FIRST);
                None
            }
        };
        let stop = self.stop.child_token();
        let slot = Arc::clone(&self);
        let until = stop.clone();
        let task = self.tasks.spawn(async move {
            // `None` means stopped, which needs no further word.
            let _ = until.run_until_cancelled(slot.keep_running(settings, source)).await;
        });
        *running = Some(Running { task, stop });
        drop(running);
        let source = self.source()?;
        self.feed.first_value(FIRST_VALUE).await;
        Ok(source)
    }

    /// Runs the source, and opens it again after a pause whenever it breaks.
    async fn keep_running(&self, settings: SourceSettings, mut source: Option<Arc<dyn Source>>) {
        let mut pause = RETRY_FIRST;
        loop {
            if let Some(source) = source.take() {
                match source.run(&self.feed).await {
                    Ok(()) => return self.set_finished(),
                    Err(error) => self.set_down(&error, pause),
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_LAST);
            match settings.open(&self.replay_directory).await {
                Ok(opened) => {
                    pause = RETRY_FIRST;
                    self.set_connected(&opened);
                    source = Some(opened);
                }
                Err(error) => self.set_down(&error, pause),
            }
        }
    }

    fn set_connected(&self, source: &Arc<dyn Source>) {
        *self.link.lock() = Link {
            state: State::Connected,
            source: Some(Arc::clone(source)),
            reason: String::new(),
            retry_after: RETRY_FIRST,
        };
        tracing::info!(source_id = %self.id(), symbols = source.symbols().len(), "source connected");
    }

    fn set_finished(&self) {
        self.link.lock().state = State::Finished;
        self.feed.end_streams(&StreamEnd::Finished);
        tracing::info!(source_id = %self.id(), "source finished");
    }

    fn set_down(&self, error: &SourceError, retry_after: Duration) {
        let reason = error.to_string();
        tracing::warn!(source_id = %self.id(), reason, retry_after_s = retry_after.as_secs(), "source down");
        *self.link.lock() = Link { state: State::Down, source: None, reason: reason.clone(), retry_after };
        self.feed.error(ErrorKind::Unavailable, reason.clone());
        self.feed.end_streams(&StreamEnd::Down { reason, retry_after });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::feed::samples::feed;

    fn slot(folder: &Path) -> Arc<Slot> {
        let definition = SourceDefinition { settings: SourceSettings::replay(), connect: false };
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        Arc::new(Slot::new(definition, folder.to_owned(), feed("replay"), stop, tasks))
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
        assert_eq!(retry_after, Duration::from_secs(8));

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
