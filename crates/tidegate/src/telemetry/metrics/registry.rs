//! All metrics of the process: where parts get their series from, and where the page comes from.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use parking_lot::Mutex;

use crate::ids::{ListenerId, PerWorker, WorkerId};
use crate::telemetry::labels::RouteLabels;

use super::auth::AuthSeries;
use super::budget::Budget;
use super::cell::Counter;
use super::config::ConfigSeries;
use super::histogram::Histogram;
use super::limit::LimitSeries;
use super::listener::ListenerSeries;
use super::method::{MethodId, Methods};
use super::mirror::MirrorSeries;
use super::named::Named;
use super::route::RouteSeries;
use super::service::ServiceSeries;
use super::socket::SocketTraffic;
use super::table::LAGS;

pub(super) type Lags = Histogram<12>;
const _: () = assert!(LAGS.len() == 12);

/// One for the process; it survives reloads.
///
/// Series are asked for when a snapshot is compiled and kept there: asking locks and compares names.
#[derive(Debug)]
pub struct Metrics {
    slots: usize,
    pub(super) budget: Arc<Budget>,
    pub(super) methods: Methods,
    pub(super) routes: Named<(Arc<str>, Arc<str>), RouteSeries>,
    pub(super) unrouted: Arc<RouteSeries>,
    pub(super) services: Named<Arc<str>, ServiceSeries>,
    pub(super) listeners: Named<Arc<str>, ListenerSeries>,
    pub(super) auth: Named<Arc<str>, AuthSeries>,
    pub(super) limits: Named<Arc<str>, LimitSeries>,
    pub(super) mirrors: Named<(Arc<str>, Arc<str>), MirrorSeries>,
    next_listener: AtomicU32,
    pub(super) lags: PerWorker<Mutex<Lags>>,
    /// What goes through WebSockets that end here.
    pub sockets: SocketTraffic,
    /// Reloads.
    pub config: ConfigSeries,
    /// Spans that were dropped.
    pub spans_dropped: Counter,
}

/// What the configuration that has just been committed holds on to.
#[derive(Debug, Default)]
pub struct Live {
    /// Of all its routes.
    pub routes: Vec<Arc<RouteSeries>>,
    /// Of all its services.
    pub services: Vec<Arc<ServiceSeries>>,
    /// Of all its listeners.
    pub listeners: Vec<Arc<ListenerSeries>>,
    /// Of all its providers of authentication.
    pub auth: Vec<Arc<AuthSeries>>,
    /// Of all its rate limits.
    pub limits: Vec<Arc<LimitSeries>>,
    /// Of the mirrors of all its routes.
    pub mirrors: Vec<Arc<MirrorSeries>>,
}

impl Metrics {
    /// `slots` are the workers and the control thread. `max_series` bounds the lines that requests, attempts and
    /// connections add to the page; what the configuration alone decides (states of services, certificates) comes on top.
    #[must_use]
    pub fn new(slots: usize, max_series: usize) -> Self {
        let budget = Budget::new(max_series);
        Self {
            slots,
            methods: Methods::default(),
            routes: Named::new(),
            unrouted: Arc::new(RouteSeries::new("".into(), "".into(), slots, Arc::clone(&budget))),
            services: Named::new(),
            listeners: Named::new(),
            auth: Named::new(),
            limits: Named::new(),
            mirrors: Named::new(),
            next_listener: AtomicU32::new(0),
            lags: PerWorker::new(slots, |_| Mutex::default()),
            sockets: SocketTraffic::new(slots),
            config: ConfigSeries::new(),
            spans_dropped: Counter::default(),
            budget,
        }
    }

    /// A new bound after a reload.
    pub fn set_max_series(&self, max_series: usize) {
        self.budget.set_max(max_series);
    }

    /// The series of a route. All rows that one entry of the configuration expands to share them.
    #[must_use]
    pub fn route(&self, labels: &RouteLabels) -> Arc<RouteSeries> {
        if labels.route.is_empty() {
            return Arc::clone(&self.unrouted);
        }
        // A route that is pointed at another service keeps its name and begins other series.
        let key = (Arc::clone(&labels.route), Arc::clone(&labels.service));
        self.routes.find(key, |(route, service)| {
            RouteSeries::new(Arc::clone(route), Arc::clone(service), self.slots, Arc::clone(&self.budget))
        })
    }

    /// The series of requests that no route matched.
    #[must_use]
    pub fn unrouted(&self) -> &Arc<RouteSeries> {
        &self.unrouted
    }

    /// The series of a service.
    #[must_use]
    pub fn service(&self, name: &Arc<str>) -> Arc<ServiceSeries> {
        let make = |name: &Arc<str>| ServiceSeries::new(Arc::clone(name), self.slots, Arc::clone(&self.budget));
        self.services.find(Arc::clone(name), make)
    }

    /// Series that stand on no page: for backends that are no service of the configuration.
    #[must_use]
    pub fn unlisted(&self) -> Arc<ServiceSeries> {
        Arc::new(ServiceSeries::new("".into(), self.slots, Budget::new(usize::MAX)))
    }

    /// The series of a listener.
    #[must_use]
    pub fn listener(&self, name: &Arc<str>) -> Arc<ListenerSeries> {
        self.listeners.find(Arc::clone(name), |name| {
            let id = ListenerId(self.next_listener.fetch_add(1, Ordering::Relaxed));
            ListenerSeries::new(id, Arc::clone(name), self.slots, Arc::clone(&self.budget))
        })
    }

    /// The series of a provider of authentication.
    #[must_use]
    pub fn auth(&self, name: &Arc<str>) -> Arc<AuthSeries> {
        self.auth.find(Arc::clone(name), |name| AuthSeries::new(Arc::clone(name)))
    }

    /// The series of the rate limits of this name.
    #[must_use]
    pub fn limit(&self, name: &Arc<str>) -> Arc<LimitSeries> {
        self.limits.find(Arc::clone(name), |name| LimitSeries::new(Arc::clone(name), self.slots))
    }

    /// The series of the copies that `service` gets of the requests of `route`.
    #[must_use]
    pub fn mirror(&self, route: &Arc<str>, service: &Arc<str>) -> Arc<MirrorSeries> {
        let key = (Arc::clone(route), Arc::clone(service));
        self.mirrors.find(key, |(route, service)| MirrorSeries::new(Arc::clone(route), Arc::clone(service)))
    }

    /// Gives a method that a route names a label of its own.
    pub fn name_method(&self, method: &str) {
        self.methods.name(method);
    }

    /// The label of a request's method. Costs a comparison or two for standard methods.
    #[must_use]
    pub fn method(&self, method: &Method) -> MethodId {
        self.methods.id(method)
    }

    /// The loop of `worker` woke up this much later than it had asked for.
    pub fn loop_lag(&self, worker: WorkerId, lag: Duration) {
        self.lags.get(worker).lock().observe(LAGS, lag, None);
    }

    /// To be called after each commit. What is not `live` loses its series five minutes later.
    pub fn retain(&self, live: &Live, now: Instant) {
        self.routes.retain(&live.routes, now);
        self.services.retain(&live.services, now);
        self.listeners.retain(&live.listeners, now);
        self.auth.retain(&live.auth, now);
        self.limits.retain(&live.limits, now);
        self.mirrors.retain(&live.mirrors, now);
        self.sweep(now);
    }

    /// Removes series whose time has come. To be called also after a configuration was refused; a scrape does it too.
    pub fn sweep(&self, now: Instant) {
        self.routes.sweep(now, RouteSeries::is_empty);
        self.services.sweep(now, ServiceSeries::is_empty);
        self.auth.sweep(now, AuthSeries::is_empty);
        self.limits.sweep(now, LimitSeries::is_empty);
        self.mirrors.sweep(now, MirrorSeries::is_empty);
        if self.listeners.sweep(now, |_| false) {
            self.forget_listeners();
        }
    }

    /// Takes the outcomes of removed listeners out of the cells of routes.
    fn forget_listeners(&self) {
        // In this order: a listener that comes between the two has a number that is not below `next`.
        let next = self.next_listener.load(Ordering::Relaxed);
        let known: Vec<ListenerId> = self.listeners.all().iter().map(|listener| listener.id).collect();
        let is_there = |id: ListenerId| id.0 >= next || known.contains(&id);
        for route in self.routes.all().iter().chain([&self.unrouted]) {
            route.retain_listeners(is_there);
        }
    }
}
