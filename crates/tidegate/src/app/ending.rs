//! How the process ends: who asks for it, the drain, and what it came to.

use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;

use super::Stop;
use crate::listen::Control;
use crate::snapshot::registry::Registry;
use crate::time;

/// How long workers that were cut may take to end. One that is stuck must not keep the process.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every request was answered.
    Drained,
    /// The drain deadline passed with open requests.
    Cut,
    /// Somebody asked a second time, with open requests.
    Forced,
    /// It was to take over from a process that runs, and could not; that one goes on.
    NotTakenOver,
}

/// Ready when somebody has asked for the end over the admin API.
pub(super) async fn asked(drain: &mut mpsc::Receiver<()>) {
    if drain.recv().await.is_none() {
        // There is no admin API.
        std::future::pending().await
    }
}

/// Lets requests finish for as long as the configuration says, or until somebody asks a second time.
pub(super) async fn drain(
    registry: &Registry,
    control: &Control,
    stop: &mut impl Stop,
    readiness_delay: Duration,
) -> Ended {
    let timeout = registry.live().valid.drain.timeout;
    registry.process.lifecycle.begin_drain();
    tracing::info!(?readiness_delay, ?timeout, "draining");
    let finished = async {
        tokio::time::sleep(readiness_delay).await;
        control.drain();
        control.end_streams(timeout);
        control.drained(time::now() + timeout).await;
    };
    let otherwise = tokio::select! {
        () = stop.wait() => Ended::Forced,
        () = finished => Ended::Cut,
    };
    if control.open_requests() == 0 { Ended::Drained } else { otherwise }
}

/// Waits for threads that have been told to end; one that does not is left to the end of the process.
pub(super) fn join(threads: Vec<JoinHandle<()>>) {
    let deadline = time::now() + JOIN_TIMEOUT;
    for thread in threads {
        while !thread.is_finished() && time::now() < deadline {
            std::thread::park_timeout(time::TICK);
        }
        if !thread.is_finished() {
            tracing::error!("a worker is stuck: the process ends without it");
            continue;
        }
        // A worker that panicked has said so.
        let _ended = thread.join();
    }
}
