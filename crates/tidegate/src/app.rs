//! The parts of the process and the threads that they run on.
//!
//! ```text
//!   main thread = control    signals, reflection, name resolution, drain
//!   worker 0 … N-1           a runtime each: its sockets, its upstream connections, its timer wheel
//! ```

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use tidegate_config::valid::{RuntimeModel, Workers};
use tidegate_config::{Code, Diagnostic, Diagnostics, Valid};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::gateway::Gateway;
use crate::ids::{PerWorker, WorkerId};
use crate::lifecycle::Lifecycle;
use crate::listen::{BindOptions, Control, ListenError, Listeners, Settings, WorkerListeners};
use crate::refresh;
use crate::snapshot::compile::{self, Inputs};
use crate::snapshot::registry::Registry;
use crate::snapshot::{Snapshot, schemas};
use crate::tasks;
use crate::time::{self, Wheel};
use crate::upstream::{Cluster, Policy, Resolver, Wheels, keep_resolved};
use crate::version;

/// How the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every request was answered.
    Drained,
    /// The drain deadline passed, or a second signal came, with open requests.
    Cut,
}

/// Why the process could not start.
#[derive(Debug)]
pub enum StartError {
    /// What only descriptors, certificates and templates can show.
    Config(Diagnostics),
    /// A listener could not be opened.
    Listen(ListenError),
    /// The system refused a thread or a runtime.
    System(std::io::Error),
}

/// Compiles `valid` as far as it goes without the network, for `check` and `routes`.
///
/// # Errors
/// All problems.
pub fn draft(valid: &Arc<Valid>) -> Result<Snapshot, Diagnostics> {
    let wheels = wheels(1);
    let (registry, snapshot) = build(valid, &wheels, None)?;
    drop(registry);
    Ok(snapshot)
}

/// Choices of whoever starts the process.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Other processes may listen on the same ports.
    pub share_ports: bool,
    /// Where the last good descriptors are kept; `None` keeps nothing.
    pub state_dir: Option<PathBuf>,
    /// Where development certificates are kept; `None` is the user's cache directory.
    pub certificate_directory: Option<PathBuf>,
}

/// The running parts. Requests are answered from [`App::start`] on; [`App::serve`] keeps the control thread going.
#[derive(Debug)]
pub struct App {
    valid: Arc<Valid>,
    registry: Arc<Registry>,
    gateway: Arc<Gateway>,
    control: Arc<Control>,
    wheels: Wheels,
    addresses: Vec<(Arc<str>, SocketAddr)>,
    threads: Vec<JoinHandle<()>>,
}

impl App {
    /// Compiles the configuration, opens the listeners and starts the workers.
    ///
    /// # Errors
    /// [`StartError`]; nothing was served.
    pub fn start(valid: Valid, options: &Options) -> Result<Self, StartError> {
        let valid = Arc::new(valid);
        let workers = worker_count(&valid);
        // One more slot than workers: the control thread calls backends too (reflection).
        let wheels = wheels(workers + 1);
        let (registry, snapshot) = build(&valid, &wheels, options.state_dir.clone()).map_err(StartError::Config)?;
        refresh::expect(&valid, &registry.lifecycle);
        let settings = valid.listeners.iter().map(Settings::new).collect();
        let certificate_directory = options.certificate_directory.clone();
        let binding =
            BindOptions { workers, share_ports: options.share_ports, certificate_directory, ..BindOptions::default() };
        let mut listeners = Listeners::bind(settings, &binding).map_err(StartError::Listen)?;
        let addresses = listeners.addresses();
        let control = listeners.control();
        let gateway = Arc::new(Gateway::new(snapshot, Arc::default()));
        let start = match valid.runtime.model {
            RuntimeModel::PerCore => per_core,
            RuntimeModel::Shared => shared,
        };
        let threads = start(&mut listeners, workers, &gateway, &wheels)?;
        Ok(Self { valid, registry, gateway, control, wheels, addresses, threads })
    }

    /// Name and real address of each listener, in the order of the configuration.
    pub fn addresses(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.addresses.iter().map(|(name, address)| (&**name, *address))
    }

    /// Runs the control plane on this thread until `stop` is ready, then drains. A second `stop` ends at once.
    ///
    /// # Errors
    /// The system refused a runtime.
    pub fn serve<S: Stop>(self, stop: impl FnOnce() -> std::io::Result<S>) -> std::io::Result<Ended> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let ended = runtime.block_on(async {
            let mut stop = stop()?;
            let slot = WorkerId::new(u16::try_from(self.wheels.count() - 1).unwrap_or(u16::MAX));
            drop(tasks::spawn("control wheel", Arc::clone(self.wheels.get(slot)).run()));
            let (valid, registry) = (Arc::clone(&self.valid), Arc::clone(&self.registry));
            refresh::start(&valid, &registry, &self.gateway, slot);
            let resolver = Arc::new(Resolver::new());
            for cluster in &registry.clusters {
                drop(tasks::spawn("resolve", keep_resolved(Arc::downgrade(cluster), Arc::clone(&resolver))));
            }
            // Whoever reads this may send a signal at once, so it is said when all of them are heard.
            self.announce();
            stop.wait().await;
            let drained = self.drain(&mut stop).await;
            std::io::Result::Ok(if drained { Ended::Drained } else { Ended::Cut })
        });
        // Whatever has happened: without it the workers would go on, and joining them would never return.
        self.control.cut();
        for thread in self.threads {
            // A worker that panicked has said so; there is nothing left to wait for.
            let _ended = thread.join();
        }
        ended
    }

    /// True if every request was answered in time and nobody asked a second time.
    async fn drain(&self, stop: &mut impl Stop) -> bool {
        let drain = self.valid.drain;
        self.registry.lifecycle.begin_drain();
        tracing::info!(readiness_delay = ?drain.readiness_delay, timeout = ?drain.timeout, "draining");
        let finished = async {
            tokio::time::sleep(drain.readiness_delay).await;
            self.control.drain();
            let deadline = time::now() + drain.timeout;
            while self.control.open_requests() > 0 && time::now() < deadline {
                tokio::time::sleep(time::TICK).await;
            }
        };
        tokio::select! {
            () = stop.wait() => {}
            () = finished => {}
        }
        self.control.open_requests() == 0
    }

    /// Tells the log what was started.
    fn announce(&self) {
        for (listener, address) in self.addresses() {
            tracing::info!(listener, %address, "listening");
        }
        tracing::info!(
            version = version::VERSION,
            revision = version::REVISION,
            workers = self.wheels.count() - 1,
            routes = self.valid.routes.len(),
            services = self.valid.services.len(),
            "started"
        );
    }
}

/// Serves until TERM or INT.
///
/// # Errors
/// [`StartError`]; nothing was served.
pub fn run(valid: Valid, share_ports: bool) -> Result<Ended, StartError> {
    let app = App::start(valid, &Options { share_ports, state_dir: state_dir(), certificate_directory: None })?;
    let ended = app.serve(Signals::new).map_err(StartError::System)?;
    tracing::info!(outcome = ?ended, "stopped");
    Ok(ended)
}

/// What ends the process: signals, or a test.
pub trait Stop {
    /// Ready each time somebody asks for the end. Cancel-safe.
    fn wait(&mut self) -> impl Future<Output = ()>;
}

/// TERM and INT.
struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }
}

impl Stop for Signals {
    async fn wait(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

/// Everything that a configuration becomes, short of listening.
fn build(
    valid: &Arc<Valid>,
    wheels: &Wheels,
    state_dir: Option<PathBuf>,
) -> Result<(Arc<Registry>, Snapshot), Diagnostics> {
    let mut problems = Diagnostics::default();
    let lifecycle = Arc::new(Lifecycle::new());
    let schemas = schemas::load(valid, &mut problems);
    let clusters = clusters(valid, wheels, &mut problems);
    if problems.has_errors() {
        return Err(problems);
    }
    let hash = Arc::from("");
    let inputs =
        Inputs { valid, hash: &hash, schemas: &schemas, clusters: &clusters, lifecycle: &lifecycle, generation: 1 };
    let snapshot = compile::compile(&inputs)?;
    Ok((Arc::new(Registry::new(lifecycle, clusters, schemas, state_dir)), snapshot))
}

fn clusters(valid: &Valid, wheels: &Wheels, problems: &mut Diagnostics) -> Vec<Arc<Cluster>> {
    let mut clusters = Vec::with_capacity(valid.services.len());
    for service in &valid.services {
        match Cluster::new(service, Policy::default(), Arc::clone(wheels)) {
            Ok(cluster) => clusters.push(cluster),
            Err(error) => problems.push(Diagnostic::error(Code::Tls, error.to_string()).at(&service.place)),
        }
    }
    clusters
}

fn wheels(slots: usize) -> Wheels {
    Arc::new(PerWorker::new(slots, |_| Wheel::new()))
}

fn worker_count(valid: &Valid) -> usize {
    match valid.runtime.workers {
        // Counts what the scheduler and the cgroup let this process use.
        Workers::Auto => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        Workers::Count(count) => usize::from(count.get()),
    }
}

/// Where the last good descriptors are kept: `$XDG_STATE_HOME/tidegate`, or `~/.local/state/tidegate`.
fn state_dir() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = base.or_else(|| std::env::home_dir().map(|home| home.join(".local/state")));
    base.map(|base| base.join("tidegate"))
}

/// A thread and a runtime for each worker: nothing is stolen, nothing is contended.
fn per_core(
    listeners: &mut Listeners,
    workers: usize,
    gateway: &Arc<Gateway>,
    wheels: &Wheels,
) -> Result<Vec<JoinHandle<()>>, StartError> {
    let mut threads = Vec::with_capacity(workers);
    for worker in worker_ids(workers) {
        let Some(part) = listeners.take(worker) else { continue };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(StartError::System)?;
        let (gateway, wheel) = (Arc::clone(gateway), Arc::clone(wheels.get(worker)));
        let thread = std::thread::Builder::new().name(format!("worker-{}", worker.index()));
        let thread = thread.spawn(move || runtime.block_on(work(part, gateway, wheel)));
        threads.push(thread.map_err(StartError::System)?);
    }
    Ok(threads)
}

/// One runtime with as many threads as workers, which runs the same code; slots are then shared between threads.
fn shared(
    listeners: &mut Listeners,
    workers: usize,
    gateway: &Arc<Gateway>,
    wheels: &Wheels,
) -> Result<Vec<JoinHandle<()>>, StartError> {
    let runtime: Runtime = Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name("worker")
        .enable_all()
        .build()
        .map_err(StartError::System)?;
    let mut parts = Vec::with_capacity(workers);
    for worker in worker_ids(workers) {
        let Some(part) = listeners.take(worker) else { continue };
        let (gateway, wheel) = (Arc::clone(gateway), Arc::clone(wheels.get(worker)));
        parts.push(runtime.spawn(work(part, gateway, wheel)));
    }
    let thread = std::thread::Builder::new().name("workers".to_owned()).spawn(move || {
        runtime.block_on(async {
            for part in parts {
                // As above.
                let _ended = part.await;
            }
        });
    });
    Ok(vec![thread.map_err(StartError::System)?])
}

fn worker_ids(workers: usize) -> impl Iterator<Item = WorkerId> {
    (0..u16::try_from(workers).unwrap_or(u16::MAX)).map(WorkerId::new)
}

/// The life of a worker: serves until it is drained or cut.
async fn work(listeners: WorkerListeners, gateway: Arc<Gateway>, wheel: Arc<Wheel>) {
    drop(tasks::spawn("wheel", wheel.run()));
    if let Err(error) = listeners.run(gateway).await {
        tracing::error!(%error, "a worker cannot serve");
    }
}
