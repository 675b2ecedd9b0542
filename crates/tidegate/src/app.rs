//! The parts of the process and the threads that they run on.
//!
//! ```text
//!   main thread = control    signals, reflection, name resolution, drain
//!   worker 0 … N-1           a runtime each: its sockets, its upstream connections, its timer wheel
//! ```

mod stop;
pub mod workbench;
mod workers;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tidegate_config::valid::{RuntimeModel, Workers};
use tidegate_config::{Diagnostics, Valid};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use self::stop::Signals;
pub use self::stop::Stop;
use self::workers::{per_core, shared};
use crate::action::metrics::{Order, Page};
use crate::admin::{Admin, Handles, Socket};
use crate::export::Exporter;
use crate::gateway::Gateway;
use crate::heartbeat::Heartbeat;
use crate::ids::{PerWorker, WorkerId};
use crate::lifecycle::Lifecycle;
use crate::listen::handover::Upgrade;
use crate::listen::{BindOptions, Control, Inherited, ListenError, Listeners, Settings};
use crate::notify::Notifier;
use crate::refresh::{self, Followers};
use crate::reload::{Parts, ReloadHandle, Reloader};
use crate::scrape;
use crate::snapshot::Snapshot;
use crate::snapshot::draft::{self, Draft, Surroundings};
use crate::snapshot::inputs::Recorder;
use crate::snapshot::registry::{Process, Registry};
use crate::tasks;
use crate::telemetry::{self, Telemetry, logs};
use crate::time::{self, Wheel};
use crate::version;

/// What the socket of the admin API is called while it is handed over.
const ADMIN: &str = "admin API";

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
    let recorder = Recorder::new(Path::new(""), None);
    let (process, _orders) = process(valid, 1);
    build(valid, &recorder, &process).map(|draft| draft.snapshot)
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
    /// Files are not watched: a reload comes by HUP or through the handle alone.
    pub unwatched: bool,
    /// Listening sockets that the service manager has passed.
    pub inherited: Inherited,
    /// Where a running process hands its sockets over, and this one to its successor.
    pub handover: Option<PathBuf>,
}

/// The running parts. Requests are answered from [`App::start`] on; [`App::serve`] keeps the control thread going.
#[derive(Debug)]
pub struct App {
    registry: Arc<Registry>,
    gateway: Arc<Gateway>,
    control: Arc<Control>,
    reloads: ReloadHandle,
    reloader: Reloader,
    watching: bool,
    /// Who wants the page of metrics.
    pages: mpsc::Receiver<Order>,
    addresses: Vec<(Arc<str>, SocketAddr)>,
    upgrade: Upgrade,
    admin: Option<Admin>,
    /// Somebody asked for the end over the admin API.
    drain: mpsc::Receiver<()>,
    threads: Vec<JoinHandle<()>>,
}

impl App {
    /// Compiles the configuration, which was read through `recorder`, opens the listeners and starts the workers.
    ///
    /// # Errors
    /// [`StartError`]; nothing was served.
    pub fn start(valid: Valid, recorder: &Recorder, options: &Options) -> Result<Self, StartError> {
        let valid = Arc::new(valid);
        let workers = worker_count(&valid);
        // One more slot than workers: the control thread calls backends too (reflection).
        let (process, pages) = process(&valid, workers + 1);
        let Process { lifecycle, telemetry, .. } = &process;
        let Draft { snapshot, live, .. } = build(&valid, recorder, &process).map_err(StartError::Config)?;
        refresh::expect(&live, lifecycle);
        lifecycle.put_in_force(&live.hash);
        let settings = live.valid.listeners.iter().map(Settings::new).collect();
        let (upgrade, mut inherited) = Upgrade::begin(options.handover.as_deref(), options.inherited.clone())
            .map_err(|error| StartError::Listen(error.into()))?;
        let admin_socket = open_admin(&live.valid, &mut inherited).map_err(StartError::Listen)?;
        let certificate_directory = options.certificate_directory.clone();
        let binding = BindOptions {
            workers,
            share_ports: options.share_ports,
            certificate_directory,
            inherited,
            telemetry: Arc::clone(telemetry),
        };
        let mut listeners = Listeners::bind(settings, &binding).map_err(StartError::Listen)?;
        let addresses = listeners.addresses();
        let control = listeners.control();
        let gateway = Arc::new(Gateway::new(snapshot, Arc::clone(telemetry)));
        let start = match live.valid.runtime.model {
            RuntimeModel::PerCore => per_core,
            RuntimeModel::Shared => shared,
        };
        telemetry.access.start().map_err(StartError::System)?;
        let threads = start(&mut listeners, workers, &gateway, &process)?;
        let registry = Arc::new(Registry::new(process, options.state_dir.as_deref(), live));
        let parts =
            Parts { registry: Arc::clone(&registry), gateway: Arc::clone(&gateway), listeners: Arc::clone(&control) };
        let (reloader, reloads) = Reloader::new(parts, recorder);
        let (drain, drained) = mpsc::channel(1);
        let admin = match (admin_socket, &registry.live().valid.admin) {
            (Some(socket), Some(settings)) => {
                let copy = socket.copy().map_err(StartError::System)?;
                control.hand_over_also(ADMIN, settings.address, copy);
                let handles = Handles {
                    registry: Arc::clone(&registry),
                    gateway: Arc::clone(&gateway),
                    listeners: Arc::clone(&control),
                    reloads: reloads.clone(),
                    drain,
                };
                Some(Admin::start(socket, settings, handles).map_err(StartError::System)?)
            }
            _ => None,
        };
        let watching = !options.unwatched;
        registry.tell_metrics(&gateway.snapshot());
        registry.process.telemetry.metrics.config.serves(&registry.live().hash, time::unix_ms());
        Ok(Self {
            registry,
            gateway,
            control,
            reloads,
            reloader,
            watching,
            pages,
            addresses,
            upgrade,
            admin,
            drain: drained,
            threads,
        })
    }

    /// Asks for reloads, once [`App::serve`] runs.
    #[must_use]
    pub fn reloads(&self) -> ReloadHandle {
        self.reloads.clone()
    }

    /// Where the admin API is, if there is one.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// What the listeners hand requests to; it has the snapshot in force.
    #[must_use]
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// The listeners as they are at any time.
    #[must_use]
    pub fn listeners(&self) -> &Arc<Control> {
        &self.control
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
        let Self { registry, gateway, control, reloader, watching, pages, addresses, upgrade, threads, .. } = self;
        let (mut admin, mut drain_asked) = (self.admin, self.drain);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let ended = runtime.block_on(async {
            let mut stop = stop()?;
            let notifier = Arc::new(Notifier::from_environment());
            // Also without anybody to tell: unhandled, HUP would end the process.
            let hup = signal(SignalKind::hangup())?;
            let usr1 = signal(SignalKind::user_defined1())?;
            drop(tasks::spawn("reopen", telemetry::reopen_at(usr1, Arc::clone(&registry.process.telemetry))));
            let wheels = &registry.process.wheels;
            let slot = WorkerId::new(u16::try_from(wheels.count() - 1).unwrap_or(u16::MAX));
            drop(tasks::spawn("control wheel", Arc::clone(wheels.get(slot)).run()));
            let followers = Followers::start(&registry, &gateway, slot);
            let telemetry = Arc::clone(&registry.process.telemetry);
            let exporter = Exporter::start(telemetry, Arc::clone(wheels), slot);
            // Whoever reads this may send a signal at once, so it is said when all of them are heard.
            if let Some(admin) = &admin {
                tracing::info!(address = %admin.address(), "admin API");
            }
            announce(&addresses, &registry);
            drop(tasks::spawn("metrics", scrape::serve(pages, Arc::clone(&registry), Arc::clone(&control))));
            drop(tasks::spawn("reload", reloader.run(followers, hup, watching, Arc::clone(&notifier))));
            drop(tasks::spawn("watchdog", watchdog(Arc::clone(&notifier), Arc::clone(&registry.process.heartbeat))));
            notifier.ready();
            let replaced = upgrade.run(&control, || registry.process.lifecycle.pending().is_empty());
            let readiness_delay = tokio::select! {
                () = stop.wait() => registry.live().valid.drain.readiness_delay,
                () = asked(&mut drain_asked) => registry.live().valid.drain.readiness_delay,
                // Another process accepts already, so nobody has to learn first that this one ends.
                () = replaced => {
                    // So does its admin API, on the same socket.
                    drop(admin.take());
                    Duration::ZERO
                }
            };
            notifier.stopping();
            let drained = drain(&registry, &control, &mut stop, readiness_delay).await;
            // Whoever does not wait for requests does not wait for their spans.
            if drained {
                exporter.finish().await;
            }
            std::io::Result::Ok(if drained { Ended::Drained } else { Ended::Cut })
        });
        // Whatever has happened: without it the workers would go on, and joining them would never return.
        control.cut();
        for thread in threads {
            // A worker that panicked has said so; there is nothing left to wait for.
            let _ended = thread.join();
        }
        // Last, so that the drain could be watched.
        drop(admin);
        registry.process.telemetry.access.flush(logs::LAST_LINES);
        ended
    }
}

/// Ready when somebody has asked for the end over the admin API.
async fn asked(drain: &mut mpsc::Receiver<()>) {
    if drain.recv().await.is_none() {
        // There is no admin API.
        std::future::pending().await
    }
}

/// The socket of the admin API, if the configuration has one.
fn open_admin(valid: &Valid, inherited: &mut Inherited) -> Result<Option<Socket>, ListenError> {
    let Some(admin) = &valid.admin else { return Ok(None) };
    let (listener, address) = (Arc::from("admin"), admin.address);
    let socket = inherited.take(ADMIN, address).map_or_else(|| Socket::bind(address), Socket::over);
    socket.map(Some).map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => ListenError::Taken { listener, address },
        _ => ListenError::Bind { listener, address, source },
    })
}

/// True if every request was answered in time and nobody asked a second time.
async fn drain(registry: &Registry, control: &Control, stop: &mut impl Stop, readiness_delay: Duration) -> bool {
    let timeout = registry.live().valid.drain.timeout;
    registry.process.lifecycle.begin_drain();
    tracing::info!(?readiness_delay, ?timeout, "draining");
    let finished = async {
        tokio::time::sleep(readiness_delay).await;
        control.drain();
        control.end_streams(timeout);
        control.drained(time::now() + timeout).await;
    };
    tokio::select! {
        () = stop.wait() => {}
        () = finished => {}
    }
    control.open_requests() == 0
}

/// Tells the service manager that the data plane is alive.
async fn watchdog(notifier: Arc<Notifier>, heartbeat: Arc<Heartbeat>) {
    notifier.watchdog(|| heartbeat.is_alive()).await;
}

/// Tells the log what was started.
fn announce(addresses: &[(Arc<str>, SocketAddr)], registry: &Registry) {
    for (listener, address) in addresses {
        tracing::info!(listener = &**listener, %address, "listening");
    }
    let live = registry.live();
    tracing::info!(
        version = version::VERSION,
        revision = version::REVISION,
        hash = &*live.hash,
        workers = registry.process.wheels.count() - 1,
        routes = live.valid.routes.len(),
        services = live.valid.services.len(),
        "started"
    );
}

/// Serves until TERM or INT.
///
/// # Errors
/// [`StartError`]; nothing was served.
pub fn run(
    valid: Valid,
    recorder: &Recorder,
    share_ports: bool,
    handover: Option<PathBuf>,
) -> Result<Ended, StartError> {
    let inherited = Inherited::from_service_manager().map_err(|error| StartError::Listen(error.into()))?;
    let options = Options { share_ports, state_dir: state_dir(), inherited, handover, ..Options::default() };
    let app = App::start(valid, recorder, &options)?;
    let ended = app.serve(Signals::new).map_err(StartError::System)?;
    tracing::info!(outcome = ?ended, "stopped");
    Ok(ended)
}

/// Everything that the first configuration becomes, short of listening.
fn build(valid: &Arc<Valid>, recorder: &Recorder, process: &Process) -> Result<Draft, Diagnostics> {
    draft::build(valid, recorder, &Surroundings { process, before: None, generation: 1 })
}

/// What the process has beside its configurations, for `slots` threads: the workers and the control thread.
fn process(valid: &Valid, slots: usize) -> (Process, mpsc::Receiver<Order>) {
    let (page, pages) = Page::new();
    let process = Process {
        lifecycle: Arc::new(Lifecycle::new()),
        heartbeat: Heartbeat::new(slots.saturating_sub(1)),
        telemetry: Telemetry::new(slots, &valid.observability),
        page,
        wheels: Arc::new(PerWorker::new(slots, |_| Wheel::new())),
    };
    (process, pages)
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
