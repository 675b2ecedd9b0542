//! How a batch gets to a collector: OTLP/gRPC on a connection that stays, or OTLP/HTTP on one for each batch.
//!
//! Source: the OTLP specification, sections "OTLP/gRPC Response" and "OTLP/HTTP Response": what may be sent again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderName, StatusCode};
use tidegate_config::valid::{
    self, Connections, Descriptors, Endpoint, Otlp, OtlpProtocol, Resilience, Service, ServiceProtocol,
};
use tidegate_transcode::Code;

use super::Means;
use crate::dial::{TlsClient, TlsError};
use crate::ids::WorkerId;
use crate::outbound::{self, Target};
use crate::tasks;
use crate::telemetry::otlp::{self, Verdict};
use crate::time;
use crate::upstream::{
    CallDeadline, CallError, CallHead, Caller, Cluster, Failure, OWN_METADATA, Resolver, keep_resolved,
};

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// For one attempt.
const SEND_TIME: Duration = Duration::from_secs(10);

/// What an attempt came to.
#[derive(Debug)]
pub(super) enum Sent {
    /// The collector has it, but for what it rejected.
    Taken(Verdict),
    /// It will never take it.
    Refused(String),
    /// It may take it later.
    Later {
        /// For the log.
        error: String,
        /// When it wants to be asked again.
        after: Option<Duration>,
    },
}

impl Sent {
    fn later(error: &impl ToString) -> Self {
        Self::Later { error: error.to_string(), after: None }
    }
}

/// See the module.
pub(super) struct Transport {
    name: String,
    way: Way,
}

enum Way {
    Grpc { cluster: Arc<Cluster>, slot: WorkerId },
    Http { target: Target, host: String, port: u16, path: PathAndQuery, resolver: Arc<Resolver> },
}

impl Drop for Transport {
    fn drop(&mut self) {
        match &self.way {
            Way::Grpc { cluster, .. } => cluster.shutdown(),
            Way::Http { .. } => {}
        }
    }
}

impl Transport {
    /// Prepares the way to `collector`, without connecting.
    ///
    /// # Errors
    /// A host that can be none, or no root certificates.
    pub(super) fn new(collector: &Otlp, means: &Means) -> Result<Self, TlsError> {
        let way = match collector.protocol {
            OtlpProtocol::Grpc => {
                let cluster = Cluster::new(&service(collector), Arc::clone(&means.wheels), Arc::clone(&means.series))?;
                let resolver = Arc::clone(&means.resolver);
                drop(tasks::spawn("resolve", keep_resolved(Arc::downgrade(&cluster), resolver)));
                Way::Grpc { cluster, slot: means.slot }
            }
            OtlpProtocol::Http => {
                let tls = if collector.tls { Some(TlsClient::load_http1(None, None)?) } else { None };
                let path = PathAndQuery::try_from(collector.path.as_str());
                Way::Http {
                    target: Target::new(&collector.host, collector.port, tls)?,
                    host: collector.host.clone(),
                    port: collector.port,
                    path: path.map_err(|_| TlsError::Name(collector.text.clone()))?,
                    resolver: Arc::clone(&means.resolver),
                }
            }
        };
        Ok(Self { name: collector.text.clone(), way })
    }

    /// As written in the configuration.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Sends one encoded request.
    pub(super) async fn send(&self, message: Bytes) -> Sent {
        match &self.way {
            Way::Grpc { cluster, slot } => call(cluster, *slot, &message).await,
            Way::Http { target, host, port, path, resolver } => {
                let addresses = resolver.addresses(host).await;
                let addresses: Vec<_> = addresses.into_iter().map(|ip| SocketAddr::new(ip, *port)).collect();
                post(target, &addresses, path, message).await
            }
        }
    }
}

/// The collector as a service with one endpoint and one connection.
fn service(collector: &Otlp) -> Service {
    let endpoint = Endpoint {
        text: collector.text.clone(),
        place: collector.place.clone(),
        target: valid::Target::Host(valid::HostPort { host: collector.host.clone(), port: collector.port }),
        tls: collector.tls,
        weight: 1,
    };
    Service {
        name: "otlp".to_owned(),
        place: collector.place.clone(),
        protocol: ServiceProtocol::Grpc,
        http2: false,
        endpoints: vec![endpoint],
        // Nobody asks for them: the messages are known.
        descriptors: Descriptors::Reflection,
        descriptors_place: collector.place.clone(),
        max_message: outbound::MAX_ANSWER as u64,
        connect_timeout: outbound::CONNECT_TIME,
        connections: Connections { min: 1, max: 1, http1: None, keepalive: None },
        resilience: Resilience::default(),
        tls: None,
    }
}

async fn call(cluster: &Cluster, slot: WorkerId, message: &Bytes) -> Sent {
    let head = CallHead::new(PathAndQuery::from_static(EXPORT), HeaderMap::with_capacity(OWN_METADATA));
    let deadline = CallDeadline::Total(time::now() + SEND_TIME);
    let answer = match cluster.call(Caller::Gateway(slot), head, framed(message), true, deadline).await {
        Ok(call) => call.unary().await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(answer) => Sent::Taken(otlp::verdict(&answer.message)),
        Err(CallError::Status(failure)) => failed(&failure),
        Err(error @ (CallError::Malformed(_) | CallError::Head(_))) => Sent::Refused(error.to_string()),
        Err(error) => Sent::later(&error),
    }
}

fn framed(message: &Bytes) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len().saturating_add(5));
    frame.put_u8(0);
    // A batch is far below 4 GiB.
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.freeze()
}

fn failed(failure: &Failure) -> Sent {
    let Failure { status, metadata, .. } = failure;
    let error = format!("{}: {}", status.code.name(), status.message);
    let after = retry_info(metadata);
    let again = match status.code {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        // Only a collector that says when can recover from it.
        Code::ResourceExhausted => after.is_some(),
        _ => false,
    };
    if again { Sent::Later { error, after } } else { Sent::Refused(error) }
}

/// What `google.rpc.RetryInfo` in the details of a status asks for.
fn retry_info(metadata: &HeaderMap) -> Option<Duration> {
    let value = metadata.get("grpc-status-details-bin")?.as_bytes();
    let details = STANDARD.decode(value).or_else(|_| STANDARD_NO_PAD.decode(value)).ok()?;
    otlp::retry_delay(&details)
}

async fn post(target: &Target, addresses: &[SocketAddr], path: &PathAndQuery, message: Bytes) -> Sent {
    const PROTOBUF: (HeaderName, HeaderValue) =
        (header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    match outbound::post(target, addresses, path, &[PROTOBUF], message).await {
        Ok(answer) if answer.status.is_success() => Sent::Taken(otlp::verdict(&answer.body)),
        Ok(answer) => answered(answer.status, &answer.headers),
        Err(error) => Sent::later(&error),
    }
}

fn answered(status: StatusCode, headers: &HeaderMap) -> Sent {
    let error = format!("status {}", status.as_u16());
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            // As a date it is not worth a parser: then our own pauses hold.
            let seconds = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
            Sent::Later { error, after: seconds.map(Duration::from_secs) }
        }
        _ => Sent::Refused(error),
    }
}

#[cfg(test)]
mod tests {
    use tidegate_transcode::Status;

    use super::*;

    /// What follows from an answer: `None` never again, else the pause that it asks for.
    fn again(sent: &Sent) -> Option<Option<u64>> {
        match sent {
            Sent::Later { after, .. } => Some(after.map(|after| after.as_secs())),
            Sent::Refused(_) => None,
            Sent::Taken(_) => panic!("it failed"),
        }
    }

    #[test]
    fn statuses_say_whether_a_batch_may_be_sent_again() {
        // google.rpc.Status with a RetryInfo of 7 s.
        let details: &[u8] = b"\x1a\x30\x0a\x28type.googleapis.com/google.rpc.RetryInfo\x12\x04\x0a\x02\x08\x07";
        let mut wait = HeaderMap::new();
        wait.insert("grpc-status-details-bin", STANDARD_NO_PAD.encode(details).parse().unwrap());
        for (code, without, with) in [
            (Code::Unavailable, Some(None), Some(Some(7))),
            (Code::DeadlineExceeded, Some(None), Some(Some(7))),
            (Code::ResourceExhausted, None, Some(Some(7))),
            (Code::InvalidArgument, None, None),
            (Code::Unimplemented, None, None),
            (Code::Internal, None, None),
            (Code::Unauthenticated, None, None),
        ] {
            for (metadata, expected) in [(HeaderMap::new(), without), (wait.clone(), with)] {
                let failure = Failure { status: Status::new(code, "why"), metadata, cause: None };
                assert_eq!(again(&failed(&failure)), expected, "{code:?}");
            }
        }
    }

    #[test]
    fn http_statuses_say_the_same() {
        let wait = |value: &str| HeaderMap::from_iter([(header::RETRY_AFTER, value.parse().unwrap())]);
        for (status, headers, expected) in [
            (503, HeaderMap::new(), Some(None)),
            (503, wait("30"), Some(Some(30))),
            (429, wait("1"), Some(Some(1))),
            (502, wait("Wed, 21 Oct 2026 07:28:00 GMT"), Some(None)),
            (504, HeaderMap::new(), Some(None)),
            (500, wait("1"), None),
            (400, HeaderMap::new(), None),
            (404, HeaderMap::new(), None),
            (301, HeaderMap::new(), None),
        ] {
            assert_eq!(again(&answered(StatusCode::from_u16(status).unwrap(), &headers)), expected, "{status}");
        }
    }
}
