//! What all sources that ask over HTTP have in common: settings, restraint, and the books of what goes wrong.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use super::fault::SourceError;
use super::parse_duration;
use crate::feed::Feed;
use crate::ledger::ErrorKind;
use crate::net::guard::Permit;
use crate::net::http::{Answer, Http, HttpLimits};
use crate::net::{Guard, GuardLimits, Location, NetError, Refusal};

/// Keys that [`WebSettings::set`] takes.
pub(super) const WEB_KEYS: &[&str] = &["burst", "max_body_bytes", "poll", "requests_per_minute", "timeout"];
/// How long a client's request waits for its turn under the rate limit.
pub(super) const CLIENT_PATIENCE: Duration = Duration::from_secs(5);
/// Our own rounds wait as long as it takes.
pub(super) const ROUND_PATIENCE: Duration = Duration::MAX;
/// How long an answer may take before the books say that it is slow.
const SLOW_AFTER: Duration = Duration::from_millis(500);

const TIMEOUT_MAX: Duration = Duration::from_secs(60);
const POLL_MIN: Duration = Duration::from_millis(100);
const POLL_MAX: Duration = Duration::from_secs(24 * 3_600);
const BODY_MAX: usize = 64 * 1024 * 1024;
const REQUESTS_MAX: u32 = 60_000;
const BURST_MAX: u32 = 1_000;

/// How a server is asked.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct WebSettings {
    pub(super) http: HttpLimits,
    pub(super) guard: GuardLimits,
    /// Between two rounds of asking by ourselves.
    pub(super) poll: Duration,
}

impl WebSettings {
    /// At most so many requests a minute, and a round each `poll`.
    pub(super) fn new(requests_per_minute: u32, poll: Duration) -> Self {
        let guard = GuardLimits { per_request: per_request(requests_per_minute), ..GuardLimits::default() };
        Self { http: HttpLimits::default(), guard, poll }
    }

    /// Changes one setting; `None` if it is none of ours.
    pub(super) fn set(&mut self, key: &str, value: &str) -> Option<Result<(), String>> {
        Some(match key {
            "timeout" => duration(value, Duration::from_millis(10), TIMEOUT_MAX).map(|timeout| {
                let part = HttpLimits::default().head.min(timeout);
                self.http = HttpLimits { head: part, progress: part, total: timeout, ..self.http };
            }),
            "max_body_bytes" => whole(value, 1, BODY_MAX).map(|bytes| self.http.body_bytes = bytes),
            "requests_per_minute" => {
                whole(value, 1, REQUESTS_MAX).map(|requests| self.guard.per_request = per_request(requests))
            }
            "burst" => whole(value, 1, BURST_MAX).map(|burst| self.guard.burst = burst),
            "poll" => duration(value, POLL_MIN, POLL_MAX).map(|poll| self.poll = poll),
            _ => return None,
        })
    }
}

fn per_request(per_minute: u32) -> Duration {
    Duration::from_secs(60) / per_minute.max(1)
}

/// A whole number within bounds.
pub(super) fn whole<T: std::str::FromStr + PartialOrd + std::fmt::Display + Copy>(
    value: &str,
    min: T,
    max: T,
) -> Result<T, String> {
    let parsed = value.parse().ok().filter(|parsed| (&min..=&max).contains(&parsed));
    parsed.ok_or_else(|| format!("must be a whole number of {min} to {max}"))
}

/// A duration within bounds.
pub(super) fn duration(value: &str, min: Duration, max: Duration) -> Result<Duration, String> {
    let parsed = parse_duration(value)?;
    match (min..=max).contains(&parsed) {
        true => Ok(parsed),
        false => Err(format!("must be {} ms to {} s", min.as_millis(), max.as_secs())),
    }
}

/// A server that is asked over HTTP, and the restraint towards it.
pub(super) struct Web {
    http: Http,
    guard: Arc<Guard>,
}

/// A document, or the word that it has not changed.
pub(super) enum Got {
    Document { headers: HeaderMap, body: Bytes },
    NotModified,
}

impl Web {
    /// # Errors
    /// If TLS cannot be set up.
    pub(super) fn new(settings: &WebSettings, guard: Arc<Guard>) -> Result<Self, NetError> {
        guard.adopt(settings.guard);
        Ok(Self { http: Http::new(settings.http)?, guard })
    }

    /// Asks, when the rate allows it, but waits for that no longer than `patience`, and never for the end of a pause.
    ///
    /// # Errors
    /// `Refused` or `Net`; nothing is booked.
    pub(super) async fn ask(
        &self,
        location: &Location,
        headers: &HeaderMap,
        conditional: bool,
        feed: &Feed,
        patience: Duration,
    ) -> Result<Got, SourceError> {
        let permit = self.permit(patience).await?;
        let answer = permit.settle(watched(feed, self.http.get(location, headers, conditional)).await)?;
        feed.heard();
        Ok(match answer {
            Answer::Document { headers, body } => Got::Document { headers, body },
            Answer::NotModified => Got::NotModified,
        })
    }

    /// Asks for the headers of any answer, be it an error.
    ///
    /// # Errors
    /// `Refused` or `Net`; nothing is booked.
    pub(super) async fn headers(
        &self,
        location: &Location,
        headers: &HeaderMap,
        feed: &Feed,
        patience: Duration,
    ) -> Result<HeaderMap, SourceError> {
        let permit = self.permit(patience).await?;
        Ok(permit.settle(watched(feed, self.http.headers(location, headers)).await)?)
    }

    async fn permit(&self, patience: Duration) -> Result<Permit<'_>, SourceError> {
        let mut left = patience;
        loop {
            match self.guard.admit() {
                Ok(permit) => return Ok(permit),
                Err(Refusal::Rate(after)) if after <= left => {
                    left -= after;
                    tokio::time::sleep(after).await;
                }
                Err(refusal) => return Err(SourceError::Refused(refusal)),
            }
        }
    }

    /// Remembers the validators of a document that was understood.
    pub(super) fn remember(&self, location: &Location, headers: &HeaderMap) {
        self.http.remember(location, headers);
    }

    /// Why nothing may be asked for a while, if so.
    pub(super) fn pause(&self) -> Option<SourceError> {
        let refusal = self.guard.refusal().filter(|refusal| !refusal.retry_after().is_zero());
        refusal.map(SourceError::Refused)
    }
}

/// Waits for an answer, and says in the books if it takes long: statistics show a server that hangs before its time is
/// up.
pub(super) async fn watched<T>(feed: &Feed, answer: impl Future<Output = T>) -> T {
    let mut answer = std::pin::pin!(answer);
    match tokio::time::timeout(SLOW_AFTER, &mut answer).await {
        Ok(answer) => answer,
        Err(_) => {
            feed.error(ErrorKind::Slow, format!("no answer within {} ms yet", SLOW_AFTER.as_millis()));
            answer.await
        }
    }
}
