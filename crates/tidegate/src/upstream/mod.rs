//! Everything towards backends: clusters, their endpoints and connections, and calls.
//!
//! A [`Cluster`] is the running form of a service. It knows no routes and no policies, and refuses nothing by itself
//! but what it cannot deliver.

mod attempt;
mod balance;
mod bulkhead;
mod call;
mod endpoint;
mod forward;
mod h1;
mod h2_pool;
mod h2_stream;
pub mod reflection;
mod resolve;

use std::sync::Arc;

use bytes::Bytes;
use tidegate_config::valid::{Service, ServiceProtocol};

use self::attempt::Attempt;
pub use self::attempt::Caller;
pub use self::balance::Policy;
use self::balance::Turn;
use self::bulkhead::Bulkhead;
pub use self::call::{
    Call, CallDeadline, CallError, CallHead, CallSender, Failure, Malformed, OWN_METADATA, SendStopped, UnaryAnswer,
};
use self::endpoint::{Endpoint, EndpointSettings, Keepalive};
pub use self::endpoint::{EndpointState, EndpointView};
pub use self::forward::{ForwardError, Outgoing};
pub use self::h1::{BadBody, Fault};
use self::h2_pool::OpenError;
pub use self::resolve::{Resolver, keep_resolved};
use crate::dial::{TlsClient, TlsError};
use crate::ids::{PerWorker, WorkerId};
use crate::reject::Reject;
use crate::telemetry::metrics::ServiceSeries;
use crate::time::{Wheel, now};

/// The timer wheels of the workers; a call's deadline is kept by the wheel of its worker. If there is more than one,
/// the last belongs to the control thread, which has a connection of its own beside the workers' `connections`.
pub type Wheels = Arc<PerWorker<Arc<Wheel>>>;

/// The running form of a service. Shared by all routes of the service and by all workers.
///
/// Dropping the last reference closes its connections when their calls have ended.
pub struct Cluster {
    name: Arc<str>,
    endpoints: Vec<Arc<Endpoint>>,
    policy: Policy,
    max_message: usize,
    bulkhead: Bulkhead,
    wheels: Wheels,
    turns: PerWorker<Turn>,
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
    pub fn new(
        service: &Service,
        policy: Policy,
        wheels: Wheels,
        series: Arc<ServiceSeries>,
    ) -> Result<Arc<Self>, TlsError> {
        let tls = match &service.tls {
            Some(tls) => {
                let identity = tls.client.as_ref().map(|(chain, key)| (chain.as_path(), key.as_path()));
                let load = match service.protocol {
                    ServiceProtocol::Grpc => TlsClient::load,
                    ServiceProtocol::Http => TlsClient::load_http1,
                };
                Some((load(tls.ca.as_deref(), identity)?, tls.server_name.clone()))
            }
            None => None,
        };
        let slots = wheels.count();
        let workers = slots.saturating_sub(1).max(1);
        let endpoints = service.endpoints.iter().map(|endpoint| {
            let settings = EndpointSettings {
                speaks: service.protocol,
                host: endpoint.host.clone(),
                port: endpoint.port,
                tls: if endpoint.tls { tls.clone() } else { None },
                connect_timeout: service.connect_timeout,
                keepalive: service
                    .connections
                    .keepalive
                    .map(|ping| Keepalive { interval: ping.interval, timeout: ping.timeout }),
                connections: (service.connections.min, service.connections.max),
                workers,
                series: Arc::clone(&series),
            };
            Endpoint::new(&endpoint.text, settings, slots)
        });
        Ok(Arc::new(Self {
            name: service.name.as_str().into(),
            endpoints: endpoints.collect::<Result<_, _>>()?,
            policy,
            bulkhead: Bulkhead::new(),
            max_message: usize::try_from(service.max_message).unwrap_or(usize::MAX),
            turns: PerWorker::new(slots, |_| Turn::default()),
            wheels,
            series,
        }))
    }

    /// Takes the addresses that `before` knows of hosts that both have.
    pub fn take_over_addresses(&self, before: &Self) {
        for endpoint in self.endpoints.iter().filter(|endpoint| endpoint.host_to_resolve().is_some()) {
            let known = before.endpoints.iter().find(|known| known.host_to_resolve() == endpoint.host_to_resolve());
            if let Some(known) = known {
                endpoint.set_addresses(&known.ips());
            }
        }
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
    pub async fn call(
        &self,
        caller: Caller<'_>,
        head: CallHead,
        first: Bytes,
        end: bool,
        deadline: CallDeadline,
    ) -> Result<Call, CallError> {
        let CallHead { path, authority, metadata } = head;
        let worker = caller.worker();
        let mut begun = now();
        let mut request = Some(call::request(metadata, deadline, begun)?);
        let wheel = self.wheels.get(worker);
        let mut tried = 0;
        let mut failure = CallError::NoEndpoint;
        loop {
            let turn = self.turns.get(worker);
            let Some((index, endpoint)) = balance::pick(self.policy, &self.endpoints, worker, turn, tried) else {
                return Err(failure);
            };
            if let Some(request) = &mut request {
                call::address(request, endpoint, &path, authority.as_ref())?;
                caller.attempts(endpoint, begun, request.headers_mut());
            }
            let mut attempt = Attempt::new(endpoint, worker, begun);
            let opening = h2_pool::open(endpoint, worker, &mut request, end && first.is_empty());
            let Some(opened) = deadline.within(wheel, opening).await else {
                return Err(attempt.failed(CallError::DeadlineExceeded));
            };
            failure = match opened {
                Ok(mut stream) => {
                    let sent = if first.is_empty() { Ok(()) } else { stream.send(first, end) };
                    let mut call = Call::new(stream, Arc::clone(wheel), deadline, self.max_message, attempt);
                    return match sent.map_err(|error| call.lost(error)) {
                        Ok(()) => Ok(call),
                        Err(error) => Err(call.fail(error)),
                    };
                }
                Err(OpenError::Head(error)) => return Err(attempt.failed(CallError::Head(error.to_string()))),
                Err(OpenError::Full) => attempt.failed(CallError::Overloaded),
                Err(OpenError::Shutdown) => attempt.failed(CallError::NoEndpoint),
                Err(OpenError::Down(error)) => {
                    let endpoint = Arc::clone(endpoint.name());
                    attempt.failed(CallError::ConnectFailed { endpoint, error })
                }
            };
            // Endpoints from the 64th on cannot be marked; they are not worth more attempts.
            let Some(mark) = u32::try_from(index).ok().and_then(|index| 1_u64.checked_shl(index)) else {
                return Err(failure);
            };
            tried |= mark;
            begun = now();
            caller.failed(failure.reason(), begun);
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
        self.endpoints.iter().map(|endpoint| endpoint.view()).collect()
    }

    /// The refusal that a call would get at once because every endpoint is known to be down. None if a call would be
    /// tried, which includes that nobody has tried yet.
    #[must_use]
    pub fn down(&self) -> Option<Reject> {
        let down = |endpoint: &Arc<Endpoint>| endpoint.view().state == EndpointState::TransientFailure;
        if !self.endpoints.iter().all(down) {
            return None;
        }
        let failed = self.endpoints.iter().find_map(|endpoint| Some((endpoint, endpoint.failure()?)));
        let error = failed.map_or(CallError::NoEndpoint, |(endpoint, error)| CallError::ConnectFailed {
            endpoint: Arc::clone(endpoint.name()),
            error,
        });
        Some(error.into_reject())
    }

    /// Takes no more calls; connections close when the calls that they carry have ended.
    pub fn shutdown(&self) {
        for endpoint in &self.endpoints {
            endpoint.shutdown();
        }
    }
}

#[cfg(test)]
mod tests;
