//! Another configuration without a restart: read, validate, build, and then commit one snapshot.
//!
//! ```text
//!   file, HUP, admin ──▶ read ──▶ validate ──▶ build ──▶ commit
//!                         │          │           │          infallible: one pointer, then listeners, followers
//!                         └──────────┴───────────┴──▶ Rejected, NeedsRestart, Unchanged: nothing has changed
//! ```
//! A reload is one step of the control thread without a wait, and so is taking in new descriptors: neither ever sees
//! half of the other. What runs is kept as far as it has not changed: connections to backends, schemas, followers,
//! listeners. Whatever has begun ends on the snapshot that it began with.

mod handle;
mod history;
mod outcome;
mod problems;
mod restart;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::Loaded;
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tokio::time::interval;

use self::handle::Order;
pub use self::handle::ReloadHandle;
pub use self::history::{Generation, History, LastReload};
pub use self::outcome::{Outcome, Refusal, Trigger};
use self::problems::{cannot_listen, first_error, rejected};
use self::watch::Watch;
use crate::gateway::Gateway;
use crate::listen::{self, Settings};
use crate::notify::Notifier;
use crate::refresh::Followers;
use crate::snapshot::diff::Diff;
use crate::snapshot::draft::{self, Draft, Surroundings};
use crate::snapshot::inputs::{Digest, Inputs, Kept, Recorder};
use crate::snapshot::registry::{Process, Registry};
use crate::snapshot::retire;
use crate::{tasks, time};

/// Between two looks at the files, for changes that no watch has told: network file systems tell none.
const POLL: Duration = Duration::from_secs(30);

/// Replaces the configuration. Lives on the control thread.
#[derive(Debug)]
pub struct Reloader {
    parts: Parts,
    main: PathBuf,
    /// What could be read but once.
    kept: Kept,
    /// What stands in place of the main file.
    put: Option<Put>,
    /// What the configuration in force was read from.
    applied: Inputs,
    /// What the last reload has read.
    seen: Inputs,
    /// What the main file has had when it was last read from the disk.
    on_disk: Option<Digest>,
    /// How the last reload failed, if it did.
    failed: Option<Outcome>,
    history: Arc<History>,
    orders: mpsc::Receiver<Order>,
    /// Keeps the queue of orders open.
    _handle: ReloadHandle,
}

/// What a reload changes.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The services.
    pub registry: Arc<Registry>,
    /// The snapshot.
    pub gateway: Arc<Gateway>,
    /// The listeners.
    pub listeners: Arc<listen::Control>,
}

/// A text in place of the main file.
#[derive(Clone, Debug)]
struct Put {
    text: Arc<[u8]>,
    /// What the file has had when the text was put in its place.
    file: Option<Digest>,
}

/// Everything that can fail has been done.
struct Ready {
    draft: Draft,
    plan: listen::Plan,
    warnings: usize,
}

impl Reloader {
    /// Takes over a process that has begun with the snapshot of the gateway, which was built through `recorder`.
    #[must_use]
    pub fn new(parts: Parts, recorder: &Recorder) -> (Self, ReloadHandle) {
        let snapshot = parts.gateway.snapshot();
        let history = Arc::new(History::new(Generation {
            generation: snapshot.generation,
            hash: Arc::clone(&snapshot.hash),
            trigger: Trigger::Start,
            at_ms: time::unix_ms(),
            diff: Arc::default(),
        }));
        let (handle, orders) = ReloadHandle::new(Arc::clone(&history));
        let reloader = Self {
            parts,
            main: recorder.main().to_owned(),
            kept: recorder.kept(),
            put: None,
            on_disk: recorder.inputs().file(recorder.main()),
            applied: recorder.inputs(),
            seen: Inputs::default(),
            failed: None,
            history,
            orders,
            _handle: handle.clone(),
        };
        (reloader, handle)
    }

    /// Serves orders, HUP and changes of files until the process drains. Without `watching` only the first two.
    pub async fn run(mut self, mut followers: Followers, mut hup: Signal, watching: bool, notifier: Arc<Notifier>) {
        let mut watch = if watching { Watch::new() } else { Watch::off() };
        self.aim(&mut watch, &mut followers);
        let mut poll = interval(POLL);
        // Not at once.
        poll.reset();
        let learned = followers.learned();
        loop {
            let cause = tokio::select! {
                order = self.orders.recv() => order.map_or(Cause::End, Cause::Order),
                told = hup.recv() => told.map_or(Cause::End, |()| Cause::Reload(Trigger::Hup)),
                () = watch.settled() => Cause::Reload(Trigger::File),
                _ = poll.tick(), if watching => Cause::Reload(Trigger::Poll),
                () = learned.notified() => Cause::Reload(Trigger::Descriptors),
            };
            if self.parts.registry.process.lifecycle.is_draining() {
                return;
            }
            match cause {
                Cause::End => return,
                Cause::Order(order) => self.serve(order, &mut followers),
                Cause::Reload(Trigger::Hup) => {
                    // Whoever has sent it may be the service manager, which waits for both.
                    notifier.reloading();
                    let outcome = self.reload(Trigger::Hup, &mut followers);
                    notifier.ready();
                    if !outcome.result().is_success() {
                        // The manager takes a reload for done when the process is ready again; people can read this.
                        notifier.status("serving; the last configuration was refused, the one before is in force");
                    }
                }
                // New descriptors are no reason to look at the files, unless those wait for them.
                Cause::Reload(Trigger::Descriptors) if self.failed.is_none() => continue,
                Cause::Reload(trigger) => drop(self.reload(trigger, &mut followers)),
            }
            self.aim(&mut watch, &mut followers);
        }
    }

    /// Watches where something can change, and looks once at what was not watched until now.
    fn aim(&mut self, watch: &mut Watch, followers: &mut Followers) {
        let folders = |of: &Self| of.applied.folders().into_iter().chain(of.seen.folders()).collect();
        if watch.aim(folders(self)) {
            drop(self.reload(Trigger::Poll, followers));
            watch.aim(folders(self));
        }
    }

    fn serve(&mut self, order: Order, followers: &mut Followers) {
        // Whoever does not wait for the answer any more does not need it, and has been told that nothing was done.
        match order {
            Order::Reload { answer, .. } if answer.is_closed() => {}
            Order::Put { answer, .. } if answer.is_closed() => {}
            Order::Reload { trigger, answer } => drop(answer.send(self.reload(trigger, followers))),
            Order::Put { text, if_match, answer } => drop(answer.send(self.put(text, &if_match, followers))),
        }
    }

    /// Reads again what has changed, if anything has, and puts it in force.
    fn reload(&mut self, trigger: Trigger, followers: &mut Followers) -> Outcome {
        let outcome = match self.wanted(trigger) {
            Some(put) => self.attempt(trigger, put, followers),
            None => Outcome::Unchanged,
        };
        self.report(trigger, &outcome);
        if trigger == Trigger::Hup {
            followers.ask_now();
        }
        outcome
    }

    fn put(&mut self, text: Arc<[u8]>, if_match: &str, followers: &mut Followers) -> Result<Outcome, Refusal> {
        let hash = self.parts.registry.process.lifecycle.config_hash();
        let tag = if_match.trim();
        let tag = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag);
        if tag != "*" && *tag != *hash {
            return Err(Refusal::PreconditionFailed { hash });
        }
        // Not what it has now: an edit of this moment is still to be seen.
        let file = self.on_disk;
        let outcome = self.attempt(Trigger::Put, Some(Put { text, file }), followers);
        self.report(Trigger::Put, &outcome);
        Ok(outcome)
    }

    /// What is to stand in place of the main file in the next attempt; `None` if there is no reason for one.
    fn wanted(&self, trigger: Trigger) -> Option<Option<Put>> {
        let mut now = self.applied.again();
        let mut kept = None;
        if let Some(put) = &self.put {
            let live = self.parts.registry.live();
            let files = live.valid.files.iter().map(|name| Path::new(&**name)).filter(|path| *path != self.main);
            let asked = matches!(trigger, Trigger::Hup | Trigger::Admin);
            if asked || Inputs::digest_now(&self.main) != put.file || now.differs_in(&self.applied, files) {
                return Some(None);
            }
            now.take_file(&self.main, &self.applied);
            kept = Some(put.clone());
        }
        (self.failed.is_some() || now != self.applied).then_some(kept)
    }

    fn attempt(&mut self, trigger: Trigger, put: Option<Put>, followers: &mut Followers) -> Outcome {
        let mut kept = self.kept.clone();
        kept.extend(put.as_ref().map(|put| (self.main.clone(), Arc::clone(&put.text))));
        let recorder = Recorder::with(&self.main, kept);
        let built = self.build(&recorder);
        self.seen = recorder.inputs();
        if put.is_none() {
            self.on_disk = self.seen.file(&self.main);
            self.kept = recorder.kept();
        }
        match built {
            Ok(ready) => {
                self.put = put;
                self.commit(trigger, ready, followers)
            }
            Err(Outcome::Unchanged) => {
                self.put = put;
                Outcome::Unchanged
            }
            Err(outcome) => {
                // Series that were made for names of the draft go again.
                self.parts.registry.in_force(&self.parts.gateway.snapshot());
                outcome
            }
        }
    }

    /// Everything that can fail. Leaves no trace if it does.
    fn build(&self, recorder: &Recorder) -> Result<Ready, Outcome> {
        let Loaded { valid, mut diagnostics } = recorder.load().map_err(rejected)?;
        let Parts { registry, gateway, listeners } = &self.parts;
        let live = registry.live();
        let around = Surroundings {
            process: &registry.process,
            before: Some(&live),
            generation: gateway.snapshot().generation.saturating_add(1),
        };
        let draft = match draft::build(&Arc::new(valid), recorder, &around) {
            Ok(draft) => draft,
            Err(more) => {
                more.problems().iter().for_each(|problem| diagnostics.push(problem.clone()));
                return Err(rejected(diagnostics));
            }
        };
        if draft.inputs == self.applied {
            return Err(Outcome::Unchanged);
        }
        let fields = restart::fields(&live.valid, &draft.live.valid);
        if !fields.is_empty() {
            return Err(Outcome::NeedsRestart { fields });
        }
        let settings = Settings::all(&draft.live.valid);
        match listeners.plan(settings) {
            Ok(plan) => {
                let plan = plan.drain_within(draft.live.valid.drain.timeout);
                Ok(Ready { draft, plan, warnings: diagnostics.warnings() })
            }
            Err(error) => {
                diagnostics.push(cannot_listen(&draft.live.valid, &error));
                Err(rejected(diagnostics))
            }
        }
    }

    /// Puts `ready` in force. Cannot fail.
    fn commit(&mut self, trigger: Trigger, ready: Ready, followers: &mut Followers) -> Outcome {
        let Ready { draft: Draft { snapshot, live, inputs }, plan, warnings } = ready;
        let Parts { registry, gateway, listeners } = &self.parts;
        let before = registry.live();
        let is_yaml = |path: &Path| live.valid.files.iter().any(|name| Path::new(&**name) == path);
        let files: Vec<&Path> = inputs
            .changed_files(&self.applied)
            .into_iter()
            .filter(|path| !is_yaml(path) && *path != self.main)
            .collect();
        let diff = Arc::new(Diff::between(&before.valid, &live.valid, &files));
        let (generation, hash) = (snapshot.generation, Arc::clone(&live.hash));
        registry.replace(live);
        let snapshot = Arc::new(snapshot);
        let replaced = gateway.commit(Arc::clone(&snapshot));
        drop(tasks::spawn("retire", retire(replaced)));
        registry.process.telemetry.configure(&snapshot.valid.observability);
        listeners.apply(plan);
        registry.in_force(&snapshot);
        registry.process.telemetry.metrics.config.serves(&hash, time::unix_ms());
        followers.follow(&before);
        registry.process.lifecycle.put_in_force(&hash);
        self.applied = inputs;
        tracing::info!(generation, hash = &*hash, by = trigger.word(), changes = diff.summary(), warnings, "reloaded");
        let at_ms = time::unix_ms();
        self.history.applied(Generation { generation, hash, trigger, at_ms, diff: Arc::clone(&diff) });
        Outcome::Applied { generation, diff }
    }

    /// Logs and counts, unless it is known already and nobody waits for it.
    fn report(&mut self, trigger: Trigger, outcome: &Outcome) {
        let recovered = self.failed.is_some();
        let known = match &self.failed {
            Some(failed) => outcome.fails_like(failed),
            None => trigger == Trigger::Poll && matches!(outcome, Outcome::Unchanged),
        };
        self.failed = (!outcome.result().is_success()).then(|| outcome.clone());
        if known && trigger.is_automatic() {
            return;
        }
        let by = trigger.word();
        match outcome {
            // Told by the commit.
            Outcome::Applied { .. } => {}
            // Not even at debug: the log may lie in a folder that is watched.
            Outcome::Unchanged if trigger.is_automatic() && !recovered => {}
            Outcome::Unchanged => tracing::info!(by, "nothing to reload: what was read is in force"),
            Outcome::Rejected { diagnostics } => {
                let first = first_error(diagnostics);
                let problems = diagnostics.errors();
                tracing::error!(by, problems, first, "configuration refused; the one before stays in force");
            }
            Outcome::NeedsRestart { fields } => {
                let keys = fields.join(", ");
                tracing::error!(by, keys, "configuration refused: it changes what needs a restart");
            }
        }
        let Process { lifecycle, telemetry, .. } = &self.parts.registry.process;
        lifecycle.reloaded(outcome.result());
        telemetry.metrics.config.reloaded(outcome.result(), time::unix_ms());
        if !outcome.result().is_success() {
            // What was compiled in vain has begun series that nothing will count.
            telemetry.metrics.sweep(time::now());
        }
        self.history.ended(LastReload { trigger, at_ms: time::unix_ms(), outcome: outcome.clone() });
    }
}

/// Why the loop has woken up.
enum Cause {
    Reload(Trigger),
    Order(Order),
    End,
}
