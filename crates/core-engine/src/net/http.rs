//! Getting a document: one request, its redirects, its body decoded and bounded.
//!
//! Source: RFC 9110 (redirects in section 15.4, validators in 8.8, conditional requests in 13.1).

use std::io::Read;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout, timeout_at};

use super::retry_after::retry_after;
use super::{Location, NetError, Stage, tls};

/// Redirects that are followed.
const REDIRECTS_MAX: usize = 3;
/// Connections that are kept open between requests, and for how long.
const IDLE_MAX: usize = 4;
const IDLE_FOR: Duration = Duration::from_secs(60);
/// Documents whose validators are remembered.
const VALIDATORS_MAX: usize = 256;
/// Of an error's body.
const ERROR_BODY_MAX: usize = 4 * 1024;

/// How long and how much.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HttpLimits {
    /// From the name to the head of the answer.
    pub(crate) head: Duration,
    /// Between two pieces of the body.
    pub(crate) progress: Duration,
    /// The whole, redirects included.
    pub(crate) total: Duration,
    /// Of the body, both as it comes and decoded.
    pub(crate) body_bytes: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(5),
            progress: Duration::from_secs(5),
            total: Duration::from_secs(20),
            body_bytes: 4 * 1024 * 1024,
        }
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A success, with its decoded body.
    Document { headers: HeaderMap, body: Bytes },
    /// Nothing new since the last time.
    NotModified,
}

/// The client of one source: no source waits for another's connections.
pub(crate) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    limits: HttpLimits,
    /// Oldest first; few enough to be searched from end to end.
    validators: Mutex<Vec<(String, Validators)>>,
}

/// What a document was last time.
#[derive(Clone, Debug)]
struct Validators {
    etag: Option<HeaderValue>,
    last_modified: Option<HeaderValue>,
}

impl Http {
    /// # Errors
    /// If TLS cannot be set up at all.
    pub(crate) fn new(limits: HttpLimits) -> Result<Self, NetError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(limits.head));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config((*tls::client_config()?).clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(IDLE_MAX)
            .pool_idle_timeout(IDLE_FOR)
            .pool_timer(TokioTimer::new())
            .http1_max_buf_size(64 * 1024)
            .build(connector);
        Ok(Self { client, limits, validators: Mutex::default() })
    }

    /// Gets a document. With `conditional`, the answer may be that it has not changed since it was taken by
    /// [`remember`](Self::remember). May be dropped at any time.
    ///
    /// # Errors
    /// As [`NetError`] tells. `headers` that are not for everybody are not sent on to another origin.
    pub(crate) async fn get(
        &self,
        location: &Location,
        headers: &HeaderMap,
        conditional: bool,
    ) -> Result<Answer, NetError> {
        let deadline = Instant::now() + self.limits.total;
        let exchange = async {
            let (response, status) = self.follow(location, headers, conditional).await?;
            if status == StatusCode::NOT_MODIFIED {
                return Ok(Answer::NotModified);
            }
            let (head, body) = response.into_parts();
            if !status.is_success() {
                let max = ERROR_BODY_MAX.min(self.limits.body_bytes);
                let body = self.collect(body, max, true).await.unwrap_or_default();
                return Err(refused(status, &head.headers, body));
            }
            let said = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
            if said.is_some_and(|said| said > self.limits.body_bytes as u64) {
                return Err(NetError::TooLarge { max_bytes: self.limits.body_bytes });
            }
            let body = self.collect(body, self.limits.body_bytes, false).await?;
            let body = decoded(&head.headers, body, self.limits.body_bytes).await?;
            Ok(Answer::Document { headers: head.headers, body })
        };
        timeout_at(deadline, exchange)
            .await
            .unwrap_or(Err(NetError::Timeout { stage: Stage::Total, patience: self.limits.total }))
    }

    /// Gets the headers of any answer, whatever its status; the body is left.
    ///
    /// # Errors
    /// As [`NetError`] tells; `Throttled` and `Banned` are statuses that are errors all the same.
    pub(crate) async fn headers(&self, location: &Location, headers: &HeaderMap) -> Result<HeaderMap, NetError> {
        let (response, status) = timeout(self.limits.total, self.follow(location, headers, false))
            .await
            .unwrap_or(Err(NetError::Timeout { stage: Stage::Total, patience: self.limits.total }))?;
        match refused(status, response.headers(), Vec::new()) {
            NetError::Status { .. } => Ok(response.into_parts().0.headers),
            error => Err(error),
        }
    }

    /// Remembers a document that was understood, so that the next `conditional` request asks for a newer one. One that
    /// was not understood must not be remembered, or it would never be seen again.
    pub(crate) fn remember(&self, location: &Location, headers: &HeaderMap) {
        let found = Validators { etag: headers.get(ETAG).cloned(), last_modified: headers.get(LAST_MODIFIED).cloned() };
        let mut validators = self.validators.lock();
        validators.retain(|(url, _)| url != location.as_str());
        if found.etag.is_none() && found.last_modified.is_none() {
            return;
        }
        if validators.len() >= VALIDATORS_MAX {
            validators.remove(0);
        }
        validators.push((location.as_str().to_owned(), found));
    }

    async fn follow(
        &self,
        location: &Location,
        headers: &HeaderMap,
        conditional: bool,
    ) -> Result<(Response<Incoming>, StatusCode), NetError> {
        let mut here = location.clone();
        for _ in 0..=REDIRECTS_MAX {
            let own = here.same_origin(location);
            let mut request = request(&here)?;
            request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
            for (name, value) in headers {
                if own || !is_secret(name) {
                    request.headers_mut().append(name, value.clone());
                }
            }
            if conditional {
                self.ask_for_newer(location, request.headers_mut());
            }
            let response = timeout(self.limits.head, self.client.request(request))
                .await
                .map_err(|_| NetError::Timeout { stage: Stage::Head, patience: self.limits.head })?
                .map_err(|error| unreachable(&error))?;
            let status = response.status();
            let next = match status.as_u16() {
                301 | 302 | 303 | 307 | 308 => response.headers().get(LOCATION),
                _ => return Ok((response, status)),
            };
            let next = next.and_then(|value| here.redirected(value.to_str().ok()?));
            here = next.ok_or(NetError::Status { status: status.as_u16(), body: Vec::new() })?;
        }
        Err(NetError::Redirects)
    }

    fn ask_for_newer(&self, location: &Location, headers: &mut HeaderMap) {
        let validators = self.validators.lock();
        let Some((_, known)) = validators.iter().find(|(url, _)| url == location.as_str()) else { return };
        if let Some(etag) = &known.etag {
            headers.insert(IF_NONE_MATCH, etag.clone());
        }
        if let Some(last_modified) = &known.last_modified {
            headers.insert(IF_MODIFIED_SINCE, last_modified.clone());
        }
    }

    /// The body up to `max_bytes`; with `cut`, what is beyond is left, else it is an error.
    async fn collect(&self, mut body: Incoming, max_bytes: usize, cut: bool) -> Result<Vec<u8>, NetError> {
        let mut collected = Vec::new();
        loop {
            let frame = timeout(self.limits.progress, body.frame())
                .await
                .map_err(|_| NetError::Timeout { stage: Stage::Progress, patience: self.limits.progress })?;
            let Some(frame) = frame else { return Ok(collected) };
            let Ok(data) = frame.map_err(|_| NetError::Truncated)?.into_data() else { continue };
            let room = max_bytes - collected.len();
            if data.len() > room {
                if !cut {
                    return Err(NetError::TooLarge { max_bytes });
                }
                collected.extend_from_slice(data.get(..room).unwrap_or_default());
                return Ok(collected);
            }
            collected.extend_from_slice(&data);
        }
    }
}

fn request(location: &Location) -> Result<Request<Empty<Bytes>>, NetError> {
    Request::builder()
        .method(Method::GET)
        .uri(location.as_str())
        .body(Empty::new())
        .map_err(|error| NetError::Address(error.to_string()))
}

/// Names that say who we are.
fn is_secret(name: &http::HeaderName) -> bool {
    matches!(name.as_str(), "authorization" | "cookie" | "x-api-key")
}

fn unreachable(error: &hyper_util::client::legacy::Error) -> NetError {
    // The innermost cause says what happened; the outer ones say that it happened while connecting.
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    NetError::Unreachable(cause.to_string())
}

fn refused(status: StatusCode, headers: &HeaderMap, body: Vec<u8>) -> NetError {
    let retry_after = retry_after(headers, Timestamp::now());
    let status = status.as_u16();
    super::error::of_status(status, retry_after).unwrap_or(NetError::Status { status, body })
}

/// Decompresses what says that it is compressed, never beyond `max_bytes`.
async fn decoded(headers: &HeaderMap, body: Vec<u8>, max_bytes: usize) -> Result<Bytes, NetError> {
    let encoding = headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes).unwrap_or_default();
    if encoding.is_empty() || encoding.eq_ignore_ascii_case(b"identity") {
        return Ok(body.into());
    }
    if !encoding.eq_ignore_ascii_case(b"gzip") && !encoding.eq_ignore_ascii_case(b"x-gzip") {
        return Err(NetError::Compression);
    }
    // Megabytes take milliseconds, which other tasks of this thread should not wait for.
    tokio::task::spawn_blocking(move || inflate(&body, max_bytes)).await.unwrap_or(Err(NetError::Compression))
}

fn inflate(body: &[u8], max_bytes: usize) -> Result<Bytes, NetError> {
    let mut inflated = Vec::new();
    let most = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
    flate2::read::MultiGzDecoder::new(body).take(most).read_to_end(&mut inflated).map_err(|_| NetError::Compression)?;
    if inflated.len() > max_bytes {
        return Err(NetError::TooLarge { max_bytes });
    }
    Ok(inflated.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_bomb_is_not_inflated() {
        let bomb = gzip(&vec![0; 10_000_000]);
        assert!(bomb.len() < 20_000);
        assert_eq!(inflate(&bomb, 100_000), Err(NetError::TooLarge { max_bytes: 100_000 }));
        assert_eq!(inflate(&gzip(b"plain"), 5).unwrap(), "plain");
        assert_eq!(inflate(&gzip(b"plain")[..12], 5), Err(NetError::Compression));
        assert_eq!(inflate(b"not gzip", 5), Err(NetError::Compression));
    }

    #[test]
    fn a_status_says_what_to_do() {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::RETRY_AFTER, HeaderValue::from_static("7"));
        let retry_after = Some(Duration::from_secs(7));
        let check = |status, headers: &HeaderMap, expected| {
            assert_eq!(refused(StatusCode::from_u16(status).unwrap(), headers, Vec::new()), expected);
        };
        check(429, &headers, NetError::Throttled { status: 429, retry_after });
        check(503, &headers, NetError::Throttled { status: 503, retry_after });
        check(418, &headers, NetError::Banned { status: 418, retry_after });
        check(403, &HeaderMap::new(), NetError::Banned { status: 403, retry_after: None });
        check(503, &HeaderMap::new(), NetError::Status { status: 503, body: Vec::new() });
        check(404, &headers, NetError::Status { status: 404, body: Vec::new() });
    }
}
