//! Asks the endpoints of a service again and again whether they are well. Runs on the control thread; what it hears is known
//! to all workers at once.

use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};
use prost::Message;
use tidegate_config::valid::{HealthCheck, HealthCheckType};
use tidegate_resilience::Outcome;
use tidegate_transcode::Code;
use tokio::time::{sleep, timeout};

use super::Cluster;
use super::attempt::Attempt;
use super::call::{self, Call, CallDeadline, CallError};
use super::endpoint::Endpoint;
use super::h2_pool;
use super::names::Names;
use crate::ids::WorkerId;
use crate::outbound;
use crate::tasks;
use crate::time::{Wheel, now};

const CHECK: PathAndQuery = PathAndQuery::from_static("/grpc.health.v1.Health/Check");

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, Copy, PartialEq, Message)]
struct Answer {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `SERVING`.
const SERVING: i32 = 1;

/// Checks all endpoints of `cluster` until it is gone. Ends at once if it wants no checks. Runs on the runtime of `slot`.
pub async fn keep_checked(cluster: Weak<Cluster>, slot: WorkerId) {
    let Some(current) = cluster.upgrade() else { return };
    if current.resilience.health().is_none() {
        return;
    }
    let mut changes = current.names.as_ref().map(Names::changes);
    drop(current);
    let mut checked: Vec<(Weak<Endpoint>, tasks::Boxed)> = Vec::new();
    loop {
        let Some(current) = cluster.upgrade() else { return };
        for endpoint in current.members.current().endpoints() {
            if !checked.iter().any(|(known, _)| std::ptr::eq(known.as_ptr(), Arc::as_ptr(endpoint))) {
                let endpoint = Arc::downgrade(endpoint);
                let checking = keep_one_checked(Weak::clone(&cluster), Weak::clone(&endpoint), slot);
                checked.push((endpoint, Box::pin(checking)));
            }
        }
        drop(current);
        let is_fixed = changes.is_none();
        let all = poll_fn(|cx| {
            checked.retain_mut(|(_, checking)| checking.as_mut().poll(cx).is_pending());
            if checked.is_empty() && is_fixed { Poll::Ready(()) } else { Poll::Pending }
        });
        let Some(changes) = &mut changes else { return all.await };
        tokio::select! {
            () = all => return,
            changed = changes.changed() => {
                // Whoever could change them has gone.
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

async fn keep_one_checked(cluster: Weak<Cluster>, endpoint: Weak<Endpoint>, slot: WorkerId) {
    let mut first = true;
    loop {
        let wait = {
            let Some(current) = cluster.upgrade() else { return };
            let Some(settings) = current.resilience.health() else { return };
            let random = fastrand::u64(..);
            if std::mem::take(&mut first) { settings.first_wait(random) } else { settings.wait(random) }
        };
        sleep(wait).await;
        let Some(current) = cluster.upgrade() else { return };
        let (Some(check), Some(endpoint)) = (current.health_check.clone(), endpoint.upgrade()) else { return };
        // Requests may still hold one that is gone.
        if !current.members.current().endpoints().iter().any(|member| Arc::ptr_eq(member, &endpoint)) {
            return;
        }
        // A cluster that is held would not end with its configuration, but a check is short.
        let well = tasks::guard(
            "health check",
            timeout(check.timeout, is_well(&check, &endpoint, (slot, current.wheel(slot)))),
        )
        .await;
        let well = matches!(well, Ok(Ok(true)));
        let outcome = if well { Outcome::Success } else { Outcome::Failure };
        current.resilience.checked(endpoint.record(), outcome, now());
    }
}

async fn is_well(check: &HealthCheck, endpoint: &Arc<Endpoint>, slot: (WorkerId, &Arc<Wheel>)) -> bool {
    match check.check {
        HealthCheckType::Tcp => endpoint.dial(endpoint.tls(), check.timeout).await.is_ok(),
        HealthCheckType::Http => {
            let Ok(path) = PathAndQuery::try_from(check.path.as_str()) else { return false };
            let Ok(authority) = HeaderValue::from_str(endpoint.authority().as_str()) else { return false };
            let Ok(stream) = endpoint.dial(endpoint.tls_http1(), check.timeout).await else { return false };
            let answer = outbound::get_over(stream, authority, &path).await;
            answer.is_ok_and(|answer| answer.status.is_success())
        }
        HealthCheckType::Grpc => match ask(&check.service, endpoint, slot, check.timeout).await {
            Ok(status) => status == SERVING,
            // A server without the service cannot say that it is ill.
            Err(CallError::Status(failure)) => failure.status.code == Code::Unimplemented,
            Err(_) => false,
        },
    }
}

/// The status that the endpoint tells. Counts as no attempt: no client has asked for anything.
async fn ask(
    service: &str,
    endpoint: &Arc<Endpoint>,
    (slot, wheel): (WorkerId, &Arc<Wheel>),
    within: Duration,
) -> Result<i32, CallError> {
    let begun = now();
    let deadline = CallDeadline::Total(begun + within);
    let mut request = call::request(HeaderMap::new(), deadline, begun)?;
    call::address(&mut request, endpoint, &CHECK, None)?;
    let mut attempt = Attempt::new(endpoint, slot, begun, None, false);
    attempt.void();
    let opened = h2_pool::open(endpoint, slot, &mut Some(request), false).await;
    let mut stream = opened.map_err(|_| CallError::NoEndpoint)?;
    let sent = stream.send(framed(service), true);
    let call = Call::new(stream, Arc::clone(wheel), deadline, MAX_ANSWER, attempt, None);
    sent.map_err(|error| call.lost(error))?;
    let answer = call.unary().await?;
    Ok(Answer::decode(answer.message).map_or(0, |answer| answer.status))
}

/// An answer has one number.
const MAX_ANSWER: usize = 1024;

fn framed(service: &str) -> Bytes {
    let message = Request { service: service.to_owned() }.encode_to_vec();
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(0));
    frame.extend_from_slice(&message);
    frame.freeze()
}
