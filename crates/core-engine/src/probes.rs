//! The health service: the engine as a whole, and each source under a name of its own, `source.<id>`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::engine::Engine;
use crate::slot::State;

/// How often states are looked at; who watches hears of a change that much later at most.
const LOOK: Duration = Duration::from_millis(200);

/// Tells the state of each source until it is dropped.
pub(crate) async fn watch(engine: Arc<Engine>, mut reporter: HealthReporter) {
    let mut told: BTreeMap<String, ServingStatus> = BTreeMap::new();
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let states: BTreeMap<String, ServingStatus> =
            engine.states().into_iter().map(|(id, state)| (format!("source.{id}"), status(state))).collect();
        for (name, status) in &states {
            if told.get(name) != Some(status) {
                reporter.set_service_status(name, *status).await;
            }
        }
        for gone in told.keys().filter(|name| !states.contains_key(*name)) {
            reporter.clear_service_status(gone).await;
        }
        told = states;
    }
}

fn status(state: State) -> ServingStatus {
    match state {
        State::Connected | State::Finished => ServingStatus::Serving,
        State::Disconnected | State::Down | State::Throttled => ServingStatus::NotServing,
    }
}
