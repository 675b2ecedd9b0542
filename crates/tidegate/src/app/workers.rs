//! The threads that serve requests.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Runtime};

use super::StartError;
use crate::gateway::Gateway;
use crate::ids::WorkerId;
use crate::listen::{Listeners, WorkerListeners};
use crate::snapshot::registry::Process;
use crate::tasks;

/// A thread and a runtime for each worker: nothing is stolen, nothing is contended.
pub(super) fn per_core(
    listeners: &mut Listeners,
    workers: usize,
    gateway: &Arc<Gateway>,
    process: &Process,
) -> Result<Vec<JoinHandle<()>>, StartError> {
    let mut threads = Vec::with_capacity(workers);
    for worker in worker_ids(workers) {
        let Some(part) = listeners.take(worker) else { continue };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(StartError::System)?;
        let (gateway, process) = (Arc::clone(gateway), process.clone());
        let thread = std::thread::Builder::new().name(format!("worker-{}", worker.index()));
        let thread = thread.spawn(move || runtime.block_on(work(worker, part, gateway, process)));
        threads.push(thread.map_err(StartError::System)?);
    }
    Ok(threads)
}

/// One runtime with as many threads as workers, which runs the same code; slots are then shared between threads.
pub(super) fn shared(
    listeners: &mut Listeners,
    workers: usize,
    gateway: &Arc<Gateway>,
    process: &Process,
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
        let (gateway, process) = (Arc::clone(gateway), process.clone());
        parts.push(runtime.spawn(work(worker, part, gateway, process)));
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
async fn work(worker: WorkerId, listeners: WorkerListeners, gateway: Arc<Gateway>, process: Process) {
    drop(tasks::spawn("wheel", Arc::clone(process.wheels.get(worker)).run()));
    let telemetry = process.telemetry;
    let lag = move |lag| telemetry.metrics.loop_lag(worker, lag);
    let heart = tasks::spawn("heartbeat", Arc::clone(&process.heartbeat).beat(worker, lag));
    let overload = process.overload;
    let watching = tasks::spawn("lag", async move { overload.watch_lag(worker).await });
    let ran = listeners.run(gateway).await;
    watching.abort();
    if let Err(error) = ran {
        // It stays without a beat, so that liveness tells it.
        heart.abort();
        return tracing::error!(%error, "a worker cannot serve");
    }
    heart.abort();
    process.heartbeat.rest(worker);
}
