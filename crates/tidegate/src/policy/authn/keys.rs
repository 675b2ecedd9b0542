//! Keys that tokens are verified with: fixed ones, and those that are fetched from where the issuer has them.
//!
//! Fetching is the business of the control thread ([`RemoteKeys::told`] and [`RemoteKeys::wished`] are its side). A worker
//! that has no key for a token wishes for a fetch and waits; all who wait share one. There is at most one fetch in
//! [`COOL_DOWN`], counted from its begin and whatever comes of it, so tokens with made-up key ids cost nobody anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tidegate_config::valid::{JwtRules, KeySource, Url};
use tidegate_jwt::{Algorithm, KeyError, KeySet, Symmetric};
use tokio::sync::{Notify, watch};

use crate::telemetry::metrics::AuthSeries;
use crate::time;

/// Shortest time between two fetches that unknown keys can cause.
pub const COOL_DOWN: Duration = Duration::from_secs(30);

/// Longest time of one fetch.
pub const FETCH_TIME: Duration = Duration::from_secs(5);

/// How long keys are good for when they cannot be fetched again.
pub const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Most requests that wait for one fetch; others are refused at once.
const MAX_WAITING: usize = 1_024;

/// A key set with a number that no other one of the process has.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) set: KeySet,
    pub(super) number: u64,
    fetched: Option<Instant>,
}

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

impl Current {
    fn new(set: KeySet, fetched: Option<Instant>) -> Arc<Self> {
        Arc::new(Self { set, number: NEXT_NUMBER.fetch_add(1, Ordering::Relaxed), fetched })
    }
}

/// The keys of one provider.
#[derive(Debug)]
pub(super) enum Keys {
    /// From the configuration or a file; another file makes another provider.
    Fixed(Arc<Current>),
    /// From elsewhere.
    Remote(Arc<RemoteKeys>),
}

impl Keys {
    /// Reads the keys that `rules` name; `file` is what their file has. `before` is kept if it is from the same place.
    pub(super) fn load(
        provider: &Arc<str>,
        rules: &JwtRules,
        file: &[u8],
        series: &Arc<AuthSeries>,
        before: Option<&Arc<RemoteKeys>>,
    ) -> Result<Self, KeyError> {
        let algorithms: Vec<Algorithm> = rules.algorithms.iter().filter_map(|name| Algorithm::parse(name)).collect();
        let set = match &rules.keys {
            KeySource::Secret { secret, weak } => KeySet::from_secret(secret.expose().as_bytes(), &algorithms, *weak)?,
            KeySource::Pem(_) => KeySet::from_pem(file, &algorithms)?,
            KeySource::File(_) => {
                // A file is ours, as the configuration is. Secrets count if algorithms for them are asked for.
                let (set, left_out) = KeySet::from_jwks(file, &algorithms, Symmetric::Allowed)?;
                for key in left_out {
                    tracing::warn!(provider = &**provider, kid = key.kid.as_deref().unwrap_or(""), why = %key.why, "a key of the set is not used");
                }
                set
            }
            KeySource::Url(_) | KeySource::Discovery(_) => {
                let source = Source { rules: rules.clone(), algorithms };
                let kept = before.filter(|before| before.source.is_same(&source));
                return Ok(Self::Remote(kept.map_or_else(
                    || Arc::new(RemoteKeys::new(Arc::clone(provider), source, Arc::clone(series))),
                    Arc::clone,
                )));
            }
        };
        Ok(Self::Fixed(Current::new(set, None)))
    }

    /// The keys there are; `None` if none were ever fetched, or too long ago.
    pub(super) fn current(&self) -> Option<Arc<Current>> {
        match self {
            Self::Fixed(current) => Some(Arc::clone(current)),
            Self::Remote(remote) => remote.current(),
        }
    }

    pub(super) fn remote(&self) -> Option<&Arc<RemoteKeys>> {
        match self {
            Self::Remote(remote) => Some(remote),
            Self::Fixed(_) => None,
        }
    }
}

/// Where keys come from.
#[derive(Debug)]
pub struct Source {
    rules: JwtRules,
    algorithms: Vec<Algorithm>,
}

impl Source {
    /// Where to begin, and whether that is the issuer, who says where the keys are.
    #[must_use]
    pub fn url(&self) -> Option<(&Url, bool)> {
        match &self.rules.keys {
            KeySource::Url(url) => Some((url, false)),
            KeySource::Discovery(url) => Some((url, true)),
            KeySource::Secret { .. } | KeySource::Pem(_) | KeySource::File(_) => None,
        }
    }

    /// The rules of its provider.
    #[must_use]
    pub fn rules(&self) -> &JwtRules {
        &self.rules
    }

    fn is_same(&self, other: &Self) -> bool {
        (&self.rules.keys, &self.rules.ca, &self.algorithms) == (&other.rules.keys, &other.rules.ca, &other.algorithms)
    }
}

/// What became of a fetch.
#[derive(Debug)]
pub enum Fetched {
    /// The document.
    Document(Vec<u8>),
    /// Nothing that could be used; why, for the log.
    Failed(String),
}

/// Keys that are fetched. Shared by workers, which read and wish, and a task of the control thread, which fetches.
#[derive(Debug)]
pub struct RemoteKeys {
    /// Name of the provider.
    pub provider: Arc<str>,
    /// Where they come from.
    pub source: Source,
    series: Arc<AuthSeries>,
    current: ArcSwapOption<Current>,
    state: Mutex<State>,
    wish: Notify,
    /// Counts fetches that are over.
    over: watch::Sender<u64>,
    waiting: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    /// When the last fetch began.
    begun: Option<Instant>,
    /// One is wished for or under way.
    is_fetching: bool,
    /// The bytes of the keys there are.
    document: Vec<u8>,
}

impl RemoteKeys {
    fn new(provider: Arc<str>, source: Source, series: Arc<AuthSeries>) -> Self {
        // The first fetch begins at once: requests that come now wait for it.
        let state = State { begun: None, is_fetching: true, document: Vec::new() };
        Self {
            provider,
            source,
            series,
            current: ArcSwapOption::empty(),
            state: Mutex::new(state),
            wish: Notify::new(),
            over: watch::Sender::new(0),
            waiting: AtomicUsize::new(0),
        }
    }

    fn current(&self) -> Option<Arc<Current>> {
        let current = self.current.load_full()?;
        let age = current.fetched.map(|fetched| time::now().saturating_duration_since(fetched));
        age.is_none_or(|age| age < KEPT).then_some(current)
    }

    /// When the keys there are were fetched; `None` if there are none.
    #[must_use]
    pub fn fetched(&self) -> Option<Instant> {
        self.current()?.fetched
    }

    /// Waits for a fetch that may bring a key that is missing; returns at once if there will be none. The state may have
    /// changed in any case: whoever calls looks once more.
    pub async fn wanted(&self) {
        let mut over = self.over.subscribe();
        {
            let mut state = self.state.lock();
            if !state.is_fetching {
                let now = time::now();
                if state.begun.is_some_and(|begun| now.saturating_duration_since(begun) < COOL_DOWN) {
                    return;
                }
                // Stamped before the fetch: a slow one is not asked for twice.
                state.begun = Some(now);
                state.is_fetching = true;
                self.wish.notify_one();
            }
        }
        if let Some(_place) = Place::take(&self.waiting) {
            // The fetch has its own deadline; this one holds if the control thread is stuck.
            let _over = tokio::time::timeout(FETCH_TIME + FETCH_TIME, over.changed()).await;
        }
    }

    /// Resolves when somebody wishes for a fetch.
    pub async fn wished(&self) {
        self.wish.notified().await;
    }

    /// A fetch begins.
    pub fn begin(&self) {
        let mut state = self.state.lock();
        state.begun = Some(time::now());
        state.is_fetching = true;
    }

    /// A fetch is over. Keys that were good stay if what came cannot be used. True if there are fresh keys.
    pub fn told(&self, fetched: Fetched) -> bool {
        let taken = match fetched {
            Fetched::Document(document) => self.take(document),
            Fetched::Failed(why) => Err(why),
        };
        let is_fresh = taken.is_ok();
        self.series.refreshed(is_fresh, time::unix_ms());
        if let Err(error) = taken {
            let kept = self.current().is_some();
            tracing::warn!(provider = &*self.provider, error, kept, "keys of tokens cannot be fetched");
        }
        self.state.lock().is_fetching = false;
        self.over.send_modify(|over| *over = over.wrapping_add(1));
        is_fresh
    }

    /// How many keys of a document can be used.
    ///
    /// # Errors
    /// Why none can.
    pub fn usable(&self, document: &[u8]) -> Result<usize, String> {
        let keys = KeySet::from_jwks(document, &self.source.algorithms, Symmetric::Refused);
        keys.map(|(set, _)| set.len()).map_err(|error| error.to_string())
    }

    fn take(&self, document: Vec<u8>) -> Result<(), String> {
        let now = Some(time::now());
        if let Some(current) = self.current.load_full()
            && self.state.lock().document == document
        {
            // The same keys keep their number, and with it the tokens that they have verified.
            let same = Current { set: current.set.clone(), number: current.number, fetched: now };
            self.current.store(Some(Arc::new(same)));
            return Ok(());
        }
        let (set, left_out) = KeySet::from_jwks(&document, &self.source.algorithms, Symmetric::Refused)
            .map_err(|error| error.to_string())?;
        for key in left_out {
            tracing::warn!(provider = &*self.provider, kid = key.kid.as_deref().unwrap_or(""), why = %key.why, "a key of the set is not used");
        }
        tracing::info!(provider = &*self.provider, keys = set.len(), "keys of tokens fetched");
        self.current.store(Some(Current::new(set, now)));
        self.state.lock().document = document;
        Ok(())
    }
}

/// One who waits; given back even if the client leaves.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let place = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < MAX_WAITING).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
