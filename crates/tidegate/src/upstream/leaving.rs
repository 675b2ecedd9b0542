//! Endpoints that get no more requests, while those that they have go on: addresses that a name has lost, and all of a
//! cluster that a reload has replaced.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::endpoint::{Endpoint, EndpointState, EndpointView};

/// See the module. Bounded by the endpoints that something else keeps: requests, or their cluster.
#[derive(Default)]
pub(super) struct Leaving(Mutex<Vec<Weak<Endpoint>>>);

impl Leaving {
    /// These leave, too.
    pub(super) fn add<'a>(&self, endpoints: impl IntoIterator<Item = &'a Arc<Endpoint>>) {
        let mut leaving = self.0.lock();
        leaving.retain(|known| known.strong_count() > 0);
        leaving.extend(endpoints.into_iter().map(Arc::downgrade));
    }

    /// Those that leave `before` as well.
    pub(super) fn add_all(&self, before: &Self) {
        let known: Vec<_> = before.0.lock().iter().filter_map(Weak::upgrade).collect();
        self.add(&known);
    }

    /// Those whose requests have not ended.
    pub(super) fn views(&self) -> Vec<EndpointView> {
        let known: Vec<_> = self.0.lock().iter().filter_map(Weak::upgrade).collect();
        let views = known.iter().map(|endpoint| endpoint.view());
        let busy = views.filter(|view| view.in_flight > 0);
        busy.map(|view| EndpointView { state: EndpointState::Shutdown, ..view }).collect()
    }
}
