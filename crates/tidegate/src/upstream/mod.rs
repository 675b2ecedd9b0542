//! Everything towards backends: clusters, their endpoints and connections, and calls.
//!
//! A [`Cluster`] is the running form of a service. It knows no routes and no policies, and refuses nothing by itself
//! but what it cannot deliver.

mod attempt;
mod bulkhead;
mod call;
mod checks;
mod endpoint;
mod forward;
mod h1;
mod h2_exchange;
mod h2_pool;
mod h2_stream;
mod hedge;
mod hedged;
mod leaving;
mod members;
mod names;
mod pass;
mod pool_limits;
pub mod reflection;
mod resets;
mod resilience;
mod resolve;
mod retry;
mod stream;

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use parking_lot::Mutex;
use tidegate_config::valid::{self, BalancingPolicy, HashOn, HealthCheck, HostPort, Service, ServiceProtocol, Target};
use tidegate_resilience::{Tried, stable_hash};

use self::attempt::Attempt;
pub use self::attempt::Caller;
use self::bulkhead::Bulkhead;
pub use self::call::{
    Call, CallDeadline, CallError, CallHead, CallSender, Failure, Held, Malformed, OWN_METADATA, SendStopped,
    UnaryAnswer,
};
pub use self::checks::keep_checked;
use self::endpoint::{Endpoint, EndpointSettings, Keepalive, Reach};
pub use self::endpoint::{EndpointState, EndpointView};
pub use self::forward::{ForwardError, Outgoing, Upgraded};
#[doc(hidden)]
pub use self::h1::door as answers;
pub use self::h1::{BadBody, Fault, MAX_KEPT as MAX_REPLAY, Tunnel};
use self::h2_pool::OpenError;
pub use self::hedge::{Apart, Hedge};
use self::leaving::Leaving;
use self::members::{Current, Members, Swap};
use self::names::{Entry, Name, Names};
pub use self::pass::{PassError, Passed, Upload};
pub use self::resilience::{BreakerState, Condition};
use self::resilience::{Record, Resilience};
pub use self::resolve::{Resolver, keep_resolved};
use self::retry::Retries;
pub use self::retry::RetryPlan;
use crate::dial::{TlsClient, TlsError};
use crate::exchange::Exchange;
use crate::ids::{PerWorker, WorkerId};
use crate::reject::Reject;
use crate::telemetry::metrics::ServiceSeries;
use crate::time::{Wheel, now};

/// The timer wheels of the workers; a call's deadline is kept by the wheel of its worker. If there is more than one,
/// the last belongs to the control thread, which has a connection of its own beside the workers' `connections`.
pub type Wheels = Arc<PerWorker<Arc<Wheel>>>;

/// Endpoints out of reach that a request tries at once. As many as [`Tried`] remembers: with more it would begin anew with the
/// first, again and again.
const MAX_UNSENT: usize = 8;

/// Who was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// As written in the configuration.
    pub endpoint: Arc<str>,
    /// The other end of the connection.
    pub peer: Option<SocketAddr>,
}

/// The running form of a service. Shared by all routes of the service and by all workers.
///
/// Dropping the last reference closes its connections when their calls have ended.
pub struct Cluster {
    name: Arc<str>,
    /// Those that stand in the configuration, in its order.
    listed: Box<[Arc<Endpoint>]>,
    /// Those that there are, which are more if there are names.
    members: Swap<Members>,
    policy: BalancingPolicy,
    /// Of what stands in the configuration, in its order.
    weights: Mutex<Box<[u32]>>,
    /// Names whose addresses are endpoints.
    names: Option<Names>,
    /// Those that there were, until their last requests have ended.
    leaving: Leaving,
    connect_timeout: Duration,
    /// HTTP/2 with an HTTP service: a request may be refused unseen, whatever it is.
    http2: bool,
    max_message: usize,
    resilience: Arc<Resilience>,
    bulkhead: Arc<Bulkhead>,
    health_check: Option<HealthCheck>,
    /// What rings go by.
    hash_on: Option<HashOn>,
    wheels: Wheels,
    /// Where attempts are counted.
    series: Arc<ServiceSeries>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Builds the cluster of `service` without connecting to anything. There are as many slots for connections as
    /// `wheels` has; a task of each thread must turn its wheel ([`Wheel::run`]).
    ///
    /// Reads the files of `tls`: for the control thread.
    ///
    /// # Errors
    /// TLS files or names that cannot be used.
    pub fn new(service: &Service, wheels: Wheels, series: Arc<ServiceSeries>) -> Result<Arc<Self>, TlsError> {
        let tls = tls(service)?;
        let slots = wheels.count();
        let workers = slots.saturating_sub(1).max(1);
        let changes = service.endpoints.iter().any(|endpoint| matches!(endpoint.target, Target::Dns { .. }));
        let lasting = service.endpoints.iter().filter(|endpoint| !matches!(endpoint.target, Target::Dns { .. }));
        let records: Vec<_> = lasting.clone().map(|endpoint| Arc::new(Record::new(&endpoint.text))).collect();
        let resilience = Arc::new(Resilience::new(service, &series, records.clone()));
        let settings =
            |endpoint: &valid::Endpoint, at: &HostPort, reach: Reach, record: Arc<Record>| EndpointSettings {
                resilience: Arc::clone(&resilience),
                record,
                speaks: service.protocol,
                reach,
                http2: service.http2,
                host: at.host.clone(),
                port: at.port,
                tls: if endpoint.tls { tls.clone() } else { None },
                connect_timeout: service.connect_timeout,
                keepalive: service
                    .connections
                    .keepalive
                    .map(|ping| Keepalive { interval: ping.interval, timeout: ping.timeout }),
                connections: (service.connections.min, service.connections.max),
                http1: service.connections.http1,
                workers,
                series: Arc::clone(&series),
            };
        let mut records = records.into_iter();
        let mut entries = Vec::with_capacity(service.endpoints.len());
        let mut listed = Vec::new();
        for endpoint in &service.endpoints {
            let nowhere = HostPort { host: "localhost".to_owned(), port: 0 };
            let (at, reach) = match &endpoint.target {
                Target::Host(at) => (at, Reach::Host),
                Target::Unix(path) => (&nowhere, Reach::Unix(path.as_path().into())),
                Target::Dns { name, server } => {
                    // Each address has a record of its own.
                    let unused = Arc::new(Record::new(&endpoint.text));
                    let settings = settings(endpoint, name, Reach::Host, unused);
                    entries.push(Entry::Name(Box::new(Name::new(name.clone(), *server, settings, slots)?)));
                    continue;
                }
            };
            let Some(record) = records.next() else { continue };
            let made = Endpoint::new(&endpoint.text, settings(endpoint, at, reach, record), slots)?;
            entries.push(Entry::Endpoint(Arc::clone(&made)));
            listed.push(made);
        }
        let policy = service.resilience.balancing.policy;
        let weights: Box<[u32]> = service.endpoints.iter().map(|endpoint| endpoint.weight).collect();
        let weighed = listed.iter().cloned().zip(lasting.map(|endpoint| endpoint.weight)).collect();
        let members = Members::new(policy, weighed).map_err(|error| TlsError::Settings(error.to_string()))?;
        Ok(Arc::new(Self {
            name: service.name.as_str().into(),
            listed: listed.into(),
            members: Swap::new(members),
            policy,
            weights: Mutex::new(weights),
            names: changes.then(|| Names::new(entries)),
            leaving: Leaving::default(),
            connect_timeout: service.connect_timeout,
            bulkhead: Bulkhead::new(service.resilience.max_concurrent, service.resilience.max_pending),
            health_check: service.resilience.health_check.clone(),
            hash_on: service.resilience.balancing.hash_on.clone(),
            resilience,
            http2: service.http2,
            max_message: usize::try_from(service.max_message).unwrap_or(usize::MAX),
            wheels,
            series,
        }))
    }

    /// Takes the place of `before`: knows the addresses of hosts that both have, and shows the endpoints of that one until
    /// their requests have ended.
    pub fn take_over(&self, before: &Self) {
        self.leaving.add(before.members.current().endpoints());
        self.leaving.add_all(&before.leaving);
        for endpoint in self.listed.iter().filter(|endpoint| endpoint.host_to_resolve().is_some()) {
            let known = before.listed.iter().find(|known| known.host_to_resolve() == endpoint.host_to_resolve());
            if let Some(known) = known {
                endpoint.set_addresses(&known.ips());
            }
        }
        if let (Some(names), Some(before)) = (&self.names, &before.names) {
            for (place, ips) in names.known_before(before) {
                self.named(place, &ips);
            }
        }
    }

    /// Gives what stands in the configuration, in its order, these parts of the requests; each address of a name has that of
    /// its name. Nothing else changes: connections, breaker and all that is known of the endpoints stay, and whoever has
    /// chosen has chosen. For the control thread.
    pub fn weigh(&self, weights: &[u32]) {
        {
            let mut current = self.weights.lock();
            if **current == *weights {
                return;
            }
            *current = weights.into();
        }
        // They are as many as before, so there is no failure.
        self.gather();
    }

    /// Publishes the endpoints that there are, with their weights. False if they are too many.
    fn gather(&self) -> bool {
        let weights = self.weights.lock().clone();
        let weighed = match &self.names {
            Some(names) => names.endpoints(&weights),
            None => self.listed.iter().cloned().zip(weights).collect(),
        };
        let Ok(members) = Members::new(self.policy, weighed) else { return false };
        if self.names.is_some() {
            self.resilience.replace(members.records());
        }
        self.members.replace(members);
        true
    }

    /// The name at `place` among the names has these addresses.
    fn named(&self, place: usize, ips: &[IpAddr]) {
        if let Some(names) = &self.names {
            names.found(place, ips, &self.leaving, || self.gather());
        }
    }

    /// The endpoints of this moment. A service whose names have no address yet is waited for, as a connection would be.
    async fn members(&self, deadline: Option<Instant>) -> Current<'_, Members> {
        let members = self.members.current();
        match &self.names {
            // Rare, and large: boxed, so that the future of every request stays small.
            Some(names) if members.endpoints().is_empty() => Box::pin(self.first_members(names, deadline)).await,
            Some(_) | None => members,
        }
    }

    async fn first_members(&self, names: &Names, deadline: Option<Instant>) -> Current<'_, Members> {
        let mut changes = names.changes();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(now()));
        let within = left.map_or(self.connect_timeout, |left| left.min(self.connect_timeout));
        let known = |_: &u64| !self.members.current().endpoints().is_empty();
        let _late = tokio::time::timeout(within, changes.wait_for(known)).await;
        self.members.current()
    }

    /// Name of the service.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The timer wheel of `worker`, for what belongs to a call but happens before it.
    #[must_use]
    pub fn wheel(&self, worker: WorkerId) -> &Arc<Wheel> {
        self.wheels.get(worker)
    }

    /// Opens a call on a connection of the caller's worker, connecting first if there is none, and sends its first frame.
    ///
    /// `first` is one or more framed messages (each with its five-byte prefix), or empty for none yet; `end` says that
    /// no more will follow, otherwise [`Call::take_sender`] gives the sending half. Must run on the runtime
    /// of that worker, because a connection that is made stays on it.
    ///
    /// An endpoint that cannot be connected to is replaced by another one: nothing was sent to it. Each is an attempt,
    /// which the caller's exchange is told. Allocates nothing itself on the usual way.
    ///
    /// # Errors
    /// Nothing was sent, except with `Reset`.
    #[expect(clippy::manual_async_fn, reason = "an async function would hold its arguments twice")]
    pub fn call<'a>(
        &'a self,
        caller: Caller<'a>,
        head: CallHead,
        first: Bytes,
        end: bool,
        deadline: CallDeadline,
    ) -> impl Future<Output = Result<Call, CallError>> + Send + 'a {
        async move {
            let CallHead { path, authority, metadata, ring_key, waits_less, apart, held } = head;
            let worker = caller.worker();
            let mut begun = now();
            let mut request = Some(call::request(metadata, deadline, begun)?);
            let wheel = self.wheels.get(worker);
            let mut seat = match caller {
                Caller::Exchange(_) => Some(self.bulkhead.enter(deadline.at()).await?),
                Caller::Gateway(_) => None,
            };
            let mut tried = Tried::default();
            let mut unsent = 0;
            let mut failure = CallError::NoEndpoint;
            let mut members = self.members(deadline.at()).await;
            loop {
                if !self.members.is_current(&members) {
                    (members, tried) = (self.members(deadline.at()).await, Tried::default());
                }
                let has = apart.as_ref().map_or_else(|| Cow::Borrowed(&tried), |apart| Cow::Owned(apart.places()));
                let Some((place, endpoint)) = members.choose_apart(ring_key, &has, begun) else {
                    return Err(failure);
                };
                if let Some(apart) = &apart {
                    apart.push(place);
                }
                let permit = match self.resilience.admit(begun) {
                    Ok(permit) => permit,
                    Err(_) if !tried.is_empty() => return Err(failure),
                    Err(refused) => return Err(CallError::BreakerOpen { retry_after: refused.retry_after }),
                };
                if let Some(request) = &mut request {
                    call::address(request, endpoint, &path, authority.as_ref())?;
                    caller.attempts(endpoint, begun, || request.headers_mut());
                }
                let mut attempt = Attempt::new(endpoint, worker, begun, permit, waits_less).at(place);
                let opening = pin!(h2_pool::open(endpoint, worker, &mut request, end && first.is_empty()));
                let Some(opened) = deadline.within(wheel, opening).await else {
                    return Err(attempt.failed(CallError::DeadlineExceeded));
                };
                failure = match opened {
                    Ok(mut stream) => {
                        if let Some(seat) = seat.take() {
                            attempt.holds(seat);
                        }
                        let sent = if first.is_empty() { Ok(()) } else { stream.send(first, end) };
                        let mut call = Call::new(stream, Arc::clone(wheel), deadline, self.max_message, attempt, held);
                        let Err(error) = sent else { return Ok(call) };
                        let error = call.lost(error);
                        return Err(call.fail(error));
                    }
                    Err(OpenError::Head(error)) => return Err(attempt.failed(CallError::Head(error.to_string()))),
                    Err(OpenError::Full) => attempt.failed(CallError::Overloaded),
                    Err(OpenError::Shutdown | OpenError::Http1) => {
                        // It is gone, or takes no calls: nothing was asked of it.
                        attempt.void();
                        CallError::NoEndpoint
                    }
                    Err(OpenError::Down(error)) => {
                        let endpoint = Arc::clone(endpoint.name());
                        attempt.failed(CallError::ConnectFailed { endpoint, error })
                    }
                };
                tried.push(place);
                unsent += 1;
                if unsent >= MAX_UNSENT {
                    return Err(failure);
                }
                begun = now();
                caller.failed(failure.reason(), begun);
            }
        }
    }

    /// Calls a method with one message each way, and again if `retry` says so. `idempotent`: it may be called twice.
    ///
    /// # Errors
    /// Everything but status OK with exactly one message, of the last attempt; and who was asked then, if anybody was.
    #[expect(clippy::manual_async_fn, reason = "an async function would hold its arguments twice")]
    pub fn unary<'a>(
        &'a self,
        caller: Caller<'a>,
        head: CallHead,
        frame: Bytes,
        deadline: CallDeadline,
        (retry, idempotent): (&'a RetryPlan, bool),
    ) -> impl Future<Output = Result<(UnaryAnswer, Asked), (CallError, Option<Asked>)>> + Send + 'a {
        async move {
            retry.requested(&self.resilience);
            let kept = Box::new((head.clone(), frame.clone()));
            let ends = deadline.or_earlier(retry.attempt_ends(now(), deadline.at()));
            // As `once`, but in place: each layer of futures holds the arguments once more.
            let failed = match self.call(caller, head, frame, true, ends).await {
                Err(error) => (error, None),
                Ok(call) => {
                    let asked = Asked { endpoint: Arc::clone(call.endpoint()), peer: call.peer() };
                    match call.unary().await {
                        Ok(answer) => return Ok((answer, asked)),
                        Err(error) => (error, Some(asked)),
                    }
                }
            };
            // Rare, and large: boxed, so that the future of every call stays small.
            Box::pin(self.again(caller, *kept, deadline, (retry, idempotent), failed)).await
        }
    }

    /// One call to its end.
    pub(super) async fn once(
        &self,
        caller: Caller<'_>,
        head: CallHead,
        frame: Bytes,
        deadline: CallDeadline,
    ) -> Result<(UnaryAnswer, Asked), (CallError, Option<Asked>)> {
        let call = self.call(caller, head, frame, true, deadline).await.map_err(|error| (error, None))?;
        let asked = Asked { endpoint: Arc::clone(call.endpoint()), peer: call.peer() };
        match call.unary().await {
            Ok(answer) => Ok((answer, asked)),
            Err(error) => Err((error, Some(asked))),
        }
    }

    /// What follows a call that failed.
    pub(super) async fn again(
        &self,
        caller: Caller<'_>,
        (head, frame): (CallHead, Bytes),
        deadline: CallDeadline,
        (retry, idempotent): (&RetryPlan, bool),
        mut failed: (CallError, Option<Asked>),
    ) -> Result<(UnaryAnswer, Asked), (CallError, Option<Asked>)> {
        let mut retries = Retries::new(retry, &self.resilience, idempotent, deadline.at());
        let wheel = self.wheels.get(caller.worker());
        loop {
            let (error, asked) = failed;
            if !retries.again((caller, wheel), &error, asked.is_some()).await {
                self.counted(&retries, false);
                return Err((error, asked));
            }
            let ends = deadline.or_earlier(retry.attempt_ends(now(), deadline.at()));
            match self.once(caller, head.clone(), frame.clone(), ends).await {
                Ok(answered) => {
                    self.counted(&retries, true);
                    return Ok(answered);
                }
                Err(error) => failed = error,
            }
        }
    }

    fn counted(&self, retries: &Retries<'_>, recovered: bool) {
        if retries.made() > 0 {
            self.series.retried(recovered);
        }
    }

    /// The largest message that passes, in bytes.
    #[must_use]
    pub fn max_message(&self) -> usize {
        self.max_message
    }

    /// What a ring of this service goes by for a request with `headers`; `None` if it has no ring, or the request nothing to
    /// go by. To be asked once it is known who sends it.
    #[must_use]
    pub fn ring_key(&self, exchange: &Exchange, headers: &HeaderMap) -> Option<u64> {
        match self.hash_on.as_ref()? {
            HashOn::Ip => Some(address_key(exchange.client.ip)),
            // By the subject alone: who comes with a token here and an API key there is better off in one place.
            HashOn::User => Some(match exchange.facts.identity() {
                Some(identity) => stable_hash(identity.subject.as_bytes()),
                None => address_key(exchange.client.ip),
            }),
            HashOn::Header(name) => headers.get(name.as_str()).map(|value| stable_hash(value.as_bytes())),
        }
    }

    /// Where attempts are counted.
    #[must_use]
    pub fn series(&self) -> &Arc<ServiceSeries> {
        &self.series
    }

    /// The endpoints as admin and metrics show them.
    #[must_use]
    pub fn endpoints(&self) -> Vec<EndpointView> {
        self.members.current().endpoints().iter().map(|endpoint| endpoint.view()).collect()
    }

    /// Endpoints that get no more requests and have some that have not ended, in the state `Shutdown`.
    #[must_use]
    pub fn leaving(&self) -> Vec<EndpointView> {
        self.leaving.views()
    }

    /// What its breaker does; `None` if it has none.
    #[must_use]
    pub fn breaker(&self) -> Option<BreakerState> {
        self.resilience.has_breaker().then(|| self.resilience.breaker_state())
    }

    /// The refusal that a call would get at once because every endpoint is known to be down. None if a call would be
    /// tried, which includes that nobody has tried yet.
    #[must_use]
    pub fn down(&self) -> Option<Reject> {
        let down = |endpoint: &Arc<Endpoint>| endpoint.view().state == EndpointState::TransientFailure;
        let members = self.members.current();
        let endpoints = members.endpoints();
        if endpoints.is_empty() || !endpoints.iter().all(down) {
            return None;
        }
        let failed = endpoints.iter().find_map(|endpoint| Some((endpoint, endpoint.failure()?)));
        let error = failed.map_or(CallError::NoEndpoint, |(endpoint, error)| CallError::ConnectFailed {
            endpoint: Arc::clone(endpoint.name()),
            error,
        });
        Some(error.into_reject())
    }

    /// Takes no more calls; connections close when the calls that they carry have ended.
    pub fn shutdown(&self) {
        for endpoint in self.members.current().endpoints() {
            endpoint.shutdown();
        }
    }
}

fn address_key(ip: IpAddr) -> u64 {
    match ip {
        IpAddr::V4(ip) => stable_hash(&ip.octets()),
        IpAddr::V6(ip) => stable_hash(&ip.octets()),
    }
}

/// TLS towards the endpoints of `service`, the same for HTTP/1.1, and the name to verify instead of theirs.
fn tls(service: &Service) -> Result<Option<(TlsClient, TlsClient, Option<String>)>, TlsError> {
    let Some(tls) = &service.tls else { return Ok(None) };
    let identity = tls.client.as_ref().map(|(chain, key)| (chain.as_path(), key.as_path()));
    let load = match service.protocol {
        ServiceProtocol::Grpc => TlsClient::load,
        ServiceProtocol::Http if service.http2 => TlsClient::load_either,
        ServiceProtocol::Http => TlsClient::load_http1,
    };
    let client = load(tls.ca.as_deref(), identity)?;
    let http1 = if service.http2 { TlsClient::load_http1(tls.ca.as_deref(), identity)? } else { client.clone() };
    Ok(Some((client, http1, tls.server_name.clone())))
}

#[cfg(test)]
mod tests;
