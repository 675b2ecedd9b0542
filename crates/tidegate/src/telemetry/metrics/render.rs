//! The page: sums up the workers and writes family after family. Runs on the control thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::auth::AuthSeries;
use super::budget::Budget;
use super::config::Reload;
use super::encode::Page;
use super::format::Format;
use super::limit;
use super::listener::{self, ConnectionRefusal, ConnectionType, Flood, ListenerSeries};
use super::method::Methods;
use super::mirror;
use super::observed::Observed;
use super::registry::Metrics;
use super::route::{Cells, Direction, Outcome, Stage};
use super::service::{self, BreakerTurn, Ejection, HttpOutcome, Rare, SchemaRefresh, ServiceSeries};
use super::table as families;
use super::table::Family;
use crate::ids::ListenerId;
use crate::reject::Reason;

/// Routes of one name: requests by service, everything else together.
#[derive(Default)]
struct Route {
    services: Vec<Requests>,
    cells: Cells,
}

/// Requests of a route that were led to one service.
struct Requests {
    service: Arc<str>,
    outcomes: Vec<(Outcome, u64)>,
}

impl Metrics {
    /// The whole page as of `now`.
    #[must_use]
    pub fn page(&self, format: Format, now: Instant, observed: &Observed) -> String {
        self.sweep(now);
        let listeners = self.listeners.all();
        let names = listeners.iter().map(|series| (series.id, &*series.name)).collect();
        let mut page = Page::new(format);
        write_routes(&mut page, &self.sum_routes(), &names, &self.methods);
        write_listeners(&mut page, &listeners);
        self.write_sockets(&mut page, &listeners);
        write_certificates(&mut page, observed);
        write_attempts(&mut page, &self.services.all());
        write_services(&mut page, observed);
        write_auth(&mut page, &self.auth.all());
        self.write_mirrors(&mut page);
        self.write_limits(&mut page, observed);
        self.write_config(&mut page);
        self.write_own(&mut page, observed);
        write_process(&mut page, observed);
        page.finish()
    }

    fn sum_routes(&self) -> BTreeMap<Arc<str>, Route> {
        let mut routes: BTreeMap<Arc<str>, Route> = BTreeMap::new();
        for series in self.routes.all().iter().chain([&self.unrouted]) {
            let mut sum = series.sum();
            let route = routes.entry(Arc::clone(&series.route)).or_default();
            let outcomes = std::mem::take(&mut sum.outcomes);
            route.services.push(Requests { service: Arc::clone(&series.service), outcomes });
            route.cells.add(&sum);
        }
        routes
    }

    /// Of a process without WebSockets there is nothing to tell.
    fn write_sockets(&self, page: &mut Page, listeners: &[Arc<ListenerSeries>]) {
        let used: Vec<&Arc<ListenerSeries>> = listeners
            .iter()
            .filter(|listener| listener.had_sockets() && listener.admit(listener::Key::Sockets))
            .collect();
        let mut open = page.family(&families::WS_CONNECTIONS);
        for listener in &used {
            for (protocol, count) in ConnectionType::WORDS.iter().zip(listener.sockets()) {
                open.integer(&[&listener.name, protocol], count);
            }
        }
        let mut closed = page.family(&families::WS_CONNECTIONS_CLOSED);
        for listener in &used {
            for (reason, count) in listener.socket_ends() {
                if listener.admit(listener::Key::SocketEnd(reason)) {
                    closed.integer(&[&listener.name, reason.map_or("", Reason::word)], count);
                }
            }
        }
        let sums = self.sockets.sums().into_iter().zip(["in", "out"]);
        let sums: Vec<_> = sums.filter(|(traffic, _)| traffic.wire > 0).collect();
        let mut messages = page.family(&families::WS_MESSAGES);
        for (traffic, direction) in &sums {
            messages.integer(&[direction], traffic.messages);
        }
        let mut bytes = page.family(&families::WS_BYTES);
        for (traffic, direction) in &sums {
            bytes.integer(&[direction, "raw"], traffic.raw);
            bytes.integer(&[direction, "wire"], traffic.wire);
        }
    }

    fn write_mirrors(&self, page: &mut Page) {
        let mut mirrored = page.family(&families::MIRRORED);
        for series in self.mirrors.all() {
            for (outcome, count) in mirror::OUTCOMES.iter().zip(series.counts()).filter(|(_, count)| *count > 0) {
                mirrored.integer(&[&series.route, &series.service, outcome], count);
            }
        }
    }

    fn write_limits(&self, page: &mut Page, observed: &Observed) {
        let limits = self.limits.all();
        let mut decisions = page.family(&families::RATE_LIMIT_DECISIONS);
        for series in &limits {
            for (store, counts) in limit::STORES.iter().zip(series.sums()) {
                for (decision, count) in limit::DECISIONS.iter().zip(counts).filter(|(_, count)| *count > 0) {
                    decisions.integer(&[&series.name, decision, store], count);
                }
            }
        }
        let errors = limits.iter().map(|series| (&*series.name, series.store_errors()));
        write_by_name(page, &families::RATE_LIMIT_STORE_ERRORS, errors.filter(|(_, count)| *count > 0));
        if let Some(keys) = observed.limit_keys {
            page.family(&families::RATE_LIMIT_KEYS).integer(&[], keys);
        }
    }

    fn write_config(&self, page: &mut Page) {
        let mut reloads = page.family(&families::CONFIG_RELOADS);
        for (result, count) in Reload::ALL.into_iter().map(Reload::word).zip(self.config.reloads()) {
            reloads.integer(&[result], count);
        }
        page.family(&families::CONFIG_LAST_RELOAD_SUCCESSFUL).flag(&[], self.config.last_successful());
        let unix_ms = self.config.last_success_unix_ms();
        if unix_ms > 0 {
            page.family(&families::CONFIG_LAST_RELOAD_SUCCESS).seconds(&[], unix_ms.saturating_mul(1_000_000));
        }
        if let Some(hash) = self.config.hash() {
            page.family(&families::CONFIG_INFO).integer(&[&hash], 1);
        }
    }

    fn write_own(&self, page: &mut Page, observed: &Observed) {
        page.family(&families::DRAINING).flag(&[], observed.draining);
        let build = observed.build;
        page.family(&families::BUILD_INFO).integer(&[build.version, build.revision, build.rustc], 1);
        page.family(&families::LOGS_DROPPED).integer(&[], observed.logs_dropped);
        page.family(&families::SPANS_DROPPED).integer(&[], self.spans_dropped.get());
        page.family(&families::PANICS).integer(&[], observed.panics);
        page.family(&families::SERIES_REFUSED).integer(&[], Budget::refused(&self.budget));
        let mut lags = page.family(&families::LOOP_LAG);
        for (worker, lag) in self.lags.iter().enumerate() {
            let lag = lag.lock().clone();
            if !lag.is_empty() {
                lags.histogram(&[&worker.to_string()], lag.view());
            }
        }
        write_by_name(page, &families::OVERLOAD_REFUSALS, observed.overload_refusals.iter().copied());
        let states = [("lag", observed.late_workers), ("memory", observed.memory_pressure)];
        write_by_name(page, &families::OVERLOAD, states);
    }
}

fn write_routes(
    page: &mut Page,
    routes: &BTreeMap<Arc<str>, Route>,
    listeners: &BTreeMap<ListenerId, &str>,
    methods: &Methods,
) {
    let mut requests = page.family(&families::HTTP_REQUESTS);
    for (name, route) in routes {
        for Requests { service, outcomes } in &route.services {
            let mut lines: Vec<_> = outcomes
                .iter()
                .filter_map(|(outcome, count)| {
                    let reason = outcome.reason.map_or("", crate::reject::Reason::word);
                    Some((
                        *listeners.get(&outcome.listener)?,
                        methods.label(outcome.method),
                        outcome.status,
                        reason,
                        *count,
                    ))
                })
                .collect();
            lines.sort_unstable();
            for (listener, method, status, reason, count) in lines {
                requests.integer(&[listener, name, service, &method, &status.to_string(), reason], count);
            }
        }
    }
    let mut durations = page.family(&families::HTTP_REQUEST_DURATION);
    for (name, route) in routes {
        let by_method: BTreeMap<_, _> =
            route.cells.durations.iter().map(|(method, histogram)| (methods.label(*method), histogram)).collect();
        for (method, histogram) in by_method {
            durations.histogram(&[name, &method], histogram.view());
        }
    }
    let mut overheads = page.family(&families::OVERHEAD);
    for (name, route) in routes {
        for (phase, histogram) in Direction::ALL.iter().zip(&route.cells.overheads) {
            if let Some(histogram) = histogram {
                overheads.histogram(&[name, phase.word()], histogram.view());
            }
        }
    }
    let bytes: Vec<(&str, (u64, u64))> =
        routes.iter().filter_map(|(name, route)| Some((&**name, route.cells.bytes?))).collect();
    write_by_name(page, &families::HTTP_REQUEST_BYTES, bytes.iter().map(|(name, (bytes_in, _))| (*name, *bytes_in)));
    write_by_name(page, &families::HTTP_RESPONSE_BYTES, bytes.iter().map(|(name, (_, bytes_out))| (*name, *bytes_out)));
    write_transcoding(page, routes);
}

fn write_transcoding(page: &mut Page, routes: &BTreeMap<Arc<str>, Route>) {
    let mut errors = page.family(&families::TRANSCODE_ERRORS);
    for (name, route) in routes {
        for (stage, count) in Stage::ALL.iter().zip(route.cells.transcode_errors) {
            if let Some(count) = count {
                errors.integer(&[name, stage.word()], count);
            }
        }
    }
    let mut durations = page.family(&families::TRANSCODE_DURATION);
    for (name, route) in routes {
        for (direction, histogram) in Direction::ALL.iter().zip(&route.cells.transcodes) {
            if let Some(histogram) = histogram {
                durations.histogram(&[name, direction.word()], histogram.view());
            }
        }
    }
}

fn write_listeners(page: &mut Page, listeners: &[Arc<ListenerSeries>]) {
    let shown: Vec<&Arc<ListenerSeries>> =
        listeners.iter().filter(|listener| listener.admit(listener::Key::Gauges)).collect();
    let requests = shown.iter().map(|listener| (&*listener.name, listener.requests()));
    write_by_name(page, &families::HTTP_REQUESTS_IN_FLIGHT, requests);
    let mut connections = page.family(&families::CONNECTIONS);
    for listener in shown {
        for (protocol, count) in ConnectionType::WORDS.iter().zip(listener.connections()) {
            connections.integer(&[&listener.name, protocol], count);
        }
    }
    let mut refusals = page.family(&families::CONNECTIONS_REJECTED);
    for listener in listeners {
        for (index, (why, count)) in ConnectionRefusal::WORDS.iter().zip(listener.refusals()).enumerate() {
            if count > 0 && listener.admit(listener::Key::Refusal(index)) {
                refusals.integer(&[&listener.name, why], count);
            }
        }
    }
    let mut floods = page.family(&families::HTTP2_FLOODS);
    for listener in listeners {
        for (rule, count) in Flood::ALL.into_iter().zip(listener.floods()) {
            if count > 0 && listener.admit(listener::Key::Flood(rule)) {
                floods.integer(&[&listener.name, rule.word()], count);
            }
        }
    }
    let mut handshakes = page.family(&families::TLS_HANDSHAKE_DURATION);
    for listener in listeners {
        let histogram = listener.handshakes();
        if !histogram.is_empty() && listener.admit(listener::Key::Handshakes) {
            handshakes.histogram(&[&listener.name], histogram.view());
        }
    }
}

fn write_certificates(page: &mut Page, observed: &Observed) {
    let mut first: BTreeMap<&str, u64> = BTreeMap::new();
    for certificate in &observed.certificates {
        let at = first.entry(&certificate.name).or_insert(certificate.not_after);
        *at = certificate.not_after.min(*at);
    }
    write_by_name(page, &families::CERTIFICATE_NOT_AFTER, first);
}

fn write_resilience(page: &mut Page, services: &[Arc<ServiceSeries>]) {
    type Part = (&'static Family, &'static [&'static str], fn(&Rare) -> &[u64], fn(usize) -> service::Key);
    let parts: [Part; 4] = [
        (&families::UPSTREAM_EJECTIONS, &Ejection::WORDS, |rare| &rare.ejections, service::Key::Ejection),
        (&families::RETRIES, &["recovered", "failed"], |rare| &rare.retried, service::Key::Retried),
        (&families::HEDGES, &["won", "lost"], |rare| &rare.hedged, service::Key::Hedged),
        (&families::BREAKER_TRANSITIONS, &BreakerTurn::WORDS, |rare| &rare.turns, service::Key::Turn),
    ];
    let rare: Vec<_> = services.iter().map(|service| (service, service.rare())).collect();
    for (family, words, counts, key) in parts {
        let mut lines = page.family(family);
        for (service, rare) in &rare {
            for (index, (word, count)) in words.iter().zip(counts(rare)).enumerate() {
                if *count > 0 && service.admit(key(index)) {
                    lines.integer(&[&service.name, word], *count);
                }
            }
        }
    }
    let mut exhausted = page.family(&families::RETRY_BUDGET_EXHAUSTED);
    for (service, rare) in &rare {
        if rare.budget_exhausted > 0 && service.admit(service::Key::BudgetExhausted) {
            exhausted.integer(&[&service.name], rare.budget_exhausted);
        }
    }
}

fn write_attempts(page: &mut Page, services: &[Arc<ServiceSeries>]) {
    let sums: Vec<_> = services.iter().map(|service| (service, service.sum())).collect();
    let mut requests = page.family(&families::UPSTREAM_REQUESTS);
    for (service, sum) in &sums {
        for (code, count) in tidegate_transcode::Code::all().zip(sum.codes) {
            if count > 0 && service.admit(service::Key::Code(code.number().into())) {
                requests.integer(&[&service.name, code.name()], count);
            }
        }
        for (outcome, count) in &sum.outcomes {
            if service.admit(service::Key::Http(*outcome)) {
                match outcome {
                    HttpOutcome::Status(status) => requests.integer(&[&service.name, &status.to_string()], *count),
                    HttpOutcome::Failed(reason) => requests.integer(&[&service.name, reason.word()], *count),
                }
            }
        }
    }
    let mut durations = page.family(&families::UPSTREAM_REQUEST_DURATION);
    for (service, sum) in &sums {
        if !sum.requests.is_empty() && service.admit(service::Key::Requests) {
            durations.histogram(&[&service.name], sum.requests.view());
        }
    }
    let mut connects = page.family(&families::UPSTREAM_CONNECT_DURATION);
    for (service, sum) in &sums {
        if !sum.connects.is_empty() && service.admit(service::Key::Connects) {
            connects.histogram(&[&service.name], sum.connects.view());
        }
    }
    let mut tunnels = page.family(&families::UPSTREAM_TUNNELS);
    for service in services {
        if let Some(open) = service.tunnels().filter(|_| service.admit(service::Key::Tunnels)) {
            tunnels.integer(&[&service.name], open);
        }
    }
    write_resilience(page, services);
    let mut refreshes = page.family(&families::SCHEMA_REFRESHES);
    for (service, _) in &sums {
        for (index, (result, count)) in SchemaRefresh::WORDS.iter().zip(service.refreshes()).enumerate() {
            if count > 0 && service.admit(service::Key::Refresh(index)) {
                refreshes.integer(&[&service.name, result], count);
            }
        }
    }
}

fn write_auth(page: &mut Page, providers: &[Arc<AuthSeries>]) {
    let mut decisions = page.family(&families::AUTH_DECISIONS);
    for provider in providers {
        let allowed = provider.allowed_count();
        if allowed > 0 {
            decisions.integer(&[&provider.name, "allow", ""], allowed);
        }
        for (reason, count) in provider.denied_counts().filter(|(_, count)| *count > 0) {
            decisions.integer(&[&provider.name, "deny", reason], count);
        }
    }
    let mut refreshes = page.family(&families::JWKS_REFRESHES);
    for provider in providers {
        for (result, count) in provider.refreshes().into_iter().flatten() {
            refreshes.integer(&[&provider.name, result], count);
        }
    }
    let mut successes = page.family(&families::JWKS_LAST_SUCCESS);
    for provider in providers {
        let unix_ms = provider.last_success_unix_ms();
        if unix_ms > 0 {
            successes.seconds(&[&provider.name], unix_ms.saturating_mul(1_000_000));
        }
    }
}

fn write_services(page: &mut Page, observed: &Observed) {
    let mut services: Vec<_> = observed.services.iter().collect();
    services.sort_unstable_by_key(|service| &service.name);
    services.dedup_by_key(|service| &service.name);
    let mut connections = page.family(&families::UPSTREAM_CONNECTIONS);
    for service in &services {
        for (state, count) in service.connections.by_state() {
            connections.integer(&[&service.name, state], count);
        }
    }
    let mut endpoints = page.family(&families::UPSTREAM_ENDPOINT_UP);
    for service in &services {
        let mut up: BTreeMap<&str, bool> = BTreeMap::new();
        for endpoint in &service.endpoints {
            *up.entry(&endpoint.endpoint).or_default() |= endpoint.up;
        }
        for (endpoint, up) in up {
            endpoints.flag(&[&service.name, endpoint], up);
        }
    }
    let mut addresses = page.family(&families::UPSTREAM_ADDRESSES);
    for service in &services {
        for (state, count) in service.addresses.by_state() {
            addresses.integer(&[&service.name, state], count);
        }
    }
    let breakers = services.iter().filter_map(|service| Some((&*service.name, service.breaker?)));
    write_by_name(page, &families::BREAKER_STATE, breakers);
    let schemas: Vec<_> = services.iter().filter_map(|service| Some((&*service.name, service.schema?))).collect();
    let stale = schemas.iter().map(|(name, schema)| (*name, u64::from(schema.stale)));
    write_by_name(page, &families::SCHEMA_STALE, stale);
    let digests = schemas.iter().map(|(name, schema)| (*name, schema.digests));
    write_by_name(page, &families::SCHEMA_DIGESTS, digests);
}

fn write_process(page: &mut Page, observed: &Observed) {
    let process = observed.process;
    let kinds = [("resident", process.resident_bytes), ("limit", process.memory_limit_bytes)];
    let memory = kinds.into_iter().filter_map(|(kind, bytes)| Some((kind, bytes?)));
    write_by_name(page, &families::MEMORY, memory);
    for (family, nanos) in
        [(&families::PROCESS_CPU, process.cpu_nanos), (&families::PROCESS_START_TIME, process.started_unix_nanos)]
    {
        if let Some(nanos) = nanos {
            page.family(family).seconds(&[], nanos);
        }
    }
    for (family, value) in [
        (&families::PROCESS_RESIDENT, process.resident_bytes),
        (&families::PROCESS_VIRTUAL, process.virtual_bytes),
        (&families::PROCESS_OPEN_FDS, process.open_fds),
        (&families::PROCESS_MAX_FDS, process.max_fds),
        (&families::PROCESS_THREADS, process.threads),
    ] {
        if let Some(value) = value {
            page.family(family).integer(&[], value);
        }
    }
}

/// A family with one label.
fn write_by_name<'a>(page: &mut Page, family: &'static Family, values: impl IntoIterator<Item = (&'a str, u64)>) {
    let mut samples = page.family(family);
    for (name, value) in values {
        samples.integer(&[name], value);
    }
}
