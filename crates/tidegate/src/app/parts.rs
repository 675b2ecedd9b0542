//! What the process is made of before it serves.

use std::path::PathBuf;
use std::sync::Arc;

use tidegate_config::valid::Workers;
use tidegate_config::{Diagnostics, Valid};
use tokio::sync::mpsc;

use super::StartError;
use crate::action::metrics::{Order, Page};
use crate::admin::{Admin, Handles, Socket};
use crate::heartbeat::Heartbeat;
use crate::ids::PerWorker;
use crate::lifecycle::Lifecycle;
use crate::listen::{Inherited, ListenError};
use crate::overload::Overload;
use crate::snapshot::draft::{self, Draft, Surroundings};
use crate::snapshot::inputs::Recorder;
use crate::snapshot::registry::Process;
use crate::telemetry::Telemetry;
use crate::time::Wheel;

/// What the socket of the admin API is called while it is handed over.
const ADMIN: &str = "admin API";

/// Everything that the first configuration becomes, short of listening.
pub(super) fn build(valid: &Arc<Valid>, recorder: &Recorder, process: &Process) -> Result<Draft, Diagnostics> {
    draft::build(valid, recorder, &Surroundings { process, before: None, generation: 1 })
}

/// What the process has beside its configurations, for `slots` threads: the workers and the control thread.
pub(super) fn process(valid: &Valid, slots: usize) -> (Process, mpsc::Receiver<Order>) {
    let (page, pages) = Page::new();
    let process = Process {
        lifecycle: Arc::new(Lifecycle::new()),
        health: Arc::default(),
        heartbeat: Heartbeat::new(slots.saturating_sub(1)),
        overload: Arc::new(Overload::new(slots.saturating_sub(1))),
        telemetry: Telemetry::new(slots, &valid.observability),
        page,
        wheels: Arc::new(PerWorker::new(slots, |_| Wheel::new())),
        limiter: Arc::default(),
        hall: Arc::default(),
    };
    (process, pages)
}

pub(super) fn worker_count(valid: &Valid) -> usize {
    match valid.runtime.workers {
        // Counts what the scheduler and the cgroup let this process use.
        Workers::Auto => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        Workers::Count(count) => usize::from(count.get()),
    }
}

/// Where the last good descriptors are kept: `$XDG_STATE_HOME/tidegate`, or `~/.local/state/tidegate`.
pub(super) fn state_dir() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = base.or_else(|| std::env::home_dir().map(|home| home.join(".local/state")));
    base.map(|base| base.join("tidegate"))
}

/// The socket of the admin API, if the configuration has one.
pub(super) fn open_admin(
    valid: &Valid,
    inherited: &mut Inherited,
    shared: bool,
) -> Result<Option<Socket>, ListenError> {
    let Some(admin) = &valid.admin else { return Ok(None) };
    let (listener, address) = (Arc::from("admin"), admin.address);
    let socket = inherited.take(ADMIN, address).map_or_else(|| Socket::bind(address, shared), Socket::over);
    socket.map(Some).map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => ListenError::Taken { listener, address },
        _ => ListenError::Bind { listener, address, source },
    })
}

/// Starts the admin API on its socket, if there is one. A successor gets the socket too.
pub(super) fn start_admin(socket: Option<Socket>, handles: Handles) -> Result<Option<Admin>, StartError> {
    let live = handles.registry.live();
    let (Some(socket), Some(settings)) = (socket, &live.valid.admin) else { return Ok(None) };
    let copy = socket.copy().map_err(StartError::System)?;
    handles.listeners.hand_over_also(ADMIN, settings.address, copy);
    Admin::start(socket, settings, handles).map(Some).map_err(StartError::System)
}
