//! The parts of the process and the threads that they run on.
//!
//! ```text
//!   main thread = control    signals, reload, reflection, name resolution, metrics, traces, handover, drain
//!   worker 0 … N-1           a runtime each: its sockets, its upstream connections, its timer wheel
//!   admin                    a runtime: the admin API
//!   writer, log writer       what the logs have to write
//! ```

mod ending;
mod memory;
mod parts;
mod stop;
pub mod workbench;
mod workers;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tidegate_config::valid::RuntimeModel;
use tidegate_config::{Diagnostics, Valid};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

pub use self::ending::Ended;
use self::ending::{asked, drain, join};
use self::parts::{build, open_admin, process, start_admin, state_dir, worker_count};
use self::stop::Signals;
pub use self::stop::Stop;
use self::workers::{per_core, shared};
use crate::action::metrics::Order;
use crate::admin::{Admin, Handles};
use crate::export::Exporter;
use crate::gateway::Gateway;
use crate::ids::WorkerId;
use crate::listen::handover::{Replaced, Upgrade};
use crate::listen::{BindOptions, Control, Inherited, ListenError, Listeners, Settings};
use crate::notify::Notifier;
use crate::refresh::{self, Followers};
use crate::reload::{Parts, ReloadHandle, Reloader};
use crate::scrape;
use crate::snapshot::Snapshot;
use crate::snapshot::draft::Draft;
use crate::snapshot::inputs::Recorder;
use crate::snapshot::registry::{Process, Registry};
use crate::tasks;
use crate::telemetry::{self, logs};
use crate::time;
use crate::version;

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
        let settings = Settings::all(&live.valid);
        let (upgrade, mut inherited) = Upgrade::begin(options.handover.as_deref(), options.inherited.clone())
            .map_err(|error| StartError::Listen(error.into()))?;
        let admin_socket = open_admin(&live.valid, &mut inherited, options.share_ports).map_err(StartError::Listen)?;
        let certificate_directory = options.certificate_directory.clone();
        let binding = BindOptions {
            workers,
            share_ports: options.share_ports,
            certificate_directory,
            inherited,
            telemetry: Arc::clone(telemetry),
            overload: Arc::clone(&process.overload),
        };
        let mut listeners = Listeners::bind(settings, &binding).map_err(StartError::Listen)?;
        let addresses = listeners.addresses();
        let control = listeners.control();
        let gateway = Arc::new(Gateway::new(snapshot, Arc::clone(telemetry)).watched_by(&process.overload));
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
        let handles = Handles {
            registry: Arc::clone(&registry),
            gateway: Arc::clone(&gateway),
            listeners: Arc::clone(&control),
            reloads: reloads.clone(),
            drain,
        };
        let admin = start_admin(admin_socket, handles)?;
        let watching = !options.unwatched;
        registry.in_force(&gateway.snapshot());
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
            drop(tasks::spawn("memory", memory::watch(Arc::clone(&registry), Arc::clone(&control))));
            drop(tasks::spawn("metrics", scrape::serve(pages, Arc::clone(&registry), Arc::clone(&control))));
            drop(tasks::spawn("reload", reloader.run(followers, hup, watching, Arc::clone(&notifier))));
            let (watched, heartbeat) = (Arc::clone(&notifier), Arc::clone(&registry.process.heartbeat));
            drop(tasks::spawn("watchdog", async move { watched.watchdog(|| heartbeat.is_alive()).await }));
            notifier.ready();
            let mut not_taken_over = false;
            let replaced = upgrade.run(&control, || registry.process.lifecycle.pending().is_empty());
            let readiness_delay = tokio::select! {
                () = stop.wait() => registry.live().valid.drain.readiness_delay,
                () = asked(&mut drain_asked) => registry.live().valid.drain.readiness_delay,
                // Another process accepts already, so nobody has to learn first that this one ends.
                by = replaced => {
                    // So does its admin API, on the same socket.
                    drop(admin.take());
                    not_taken_over = by == Replaced::ByPredecessor;
                    Duration::ZERO
                }
            };
            notifier.stopping();
            let ended = drain(&registry, &control, &mut stop, readiness_delay).await;
            // Whoever does not wait for requests does not wait for their spans.
            if ended == Ended::Drained {
                exporter.finish().await;
            }
            std::io::Result::Ok(if not_taken_over { Ended::NotTakenOver } else { ended })
        });
        // Whatever has happened: without it the workers would go on, and joining them would never return.
        control.cut();
        join(threads);
        // Last, so that the drain could be watched.
        drop(admin);
        registry.process.telemetry.access.flush(logs::LAST_LINES);
        ended
    }
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
        routes = live.valid.routes.iter().filter(|route| route.leads()).count(),
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
