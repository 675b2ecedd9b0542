//! The client's deadline. tonic cancels a call that has passed it, with code CANCELLED; a client that waits for
//! DEADLINE_EXCEEDED (and a gateway, which translates it) should get that. So calls that may wait give up themselves,
//! shortly before.
//!
//! Source: the `grpc-timeout` header of the gRPC protocol over HTTP/2.

use std::future::Future;
use std::time::Duration;

use tonic::metadata::MetadataMap;

use crate::error::EngineError;

/// How long before the deadline at most. tonic's timer starts with the call, ours once the request has been read, and
/// on a busy machine milliseconds may lie between; the gap must be wider than that.
const EARLY_MAX: Duration = Duration::from_millis(50);

/// Runs `work` until shortly before the deadline that the metadata names, if they do.
///
/// # Errors
/// Those of `work`, or `DeadlineExceeded`.
pub(crate) async fn within<T>(
    metadata: &MetadataMap,
    work: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    let timeout = metadata.get("grpc-timeout").and_then(|value| parse(value.to_str().ok()?));
    match timeout {
        None => work.await,
        Some(timeout) => {
            tokio::time::timeout(timeout - early(timeout), work).await.unwrap_or(Err(EngineError::DeadlineExceeded))
        }
    }
}

/// A tenth of a short timeout.
fn early(timeout: Duration) -> Duration {
    (timeout / 10).min(EARLY_MAX)
}

/// One to eight digits and a unit. `None` for anything else, which tonic ignores as well.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3_600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_has_digits_and_a_unit() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3_600))),
            ("2M", Some(Duration::from_secs(120))),
            ("30S", Some(Duration::from_secs(30))),
            ("99999999m", Some(Duration::from_millis(99_999_999))),
            ("5u", Some(Duration::from_micros(5))),
            ("0n", Some(Duration::ZERO)),
            ("", None),
            ("S", None),
            ("1", None),
            ("1s", None),
            ("-1S", None),
            ("100000000S", None),
            ("1ä", None),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn work_ends_shortly_before_the_deadline() {
        for (timeout, work_ms, expected) in [
            (Some("100m"), 89, Ok(89)),
            (Some("100m"), 92, Err(EngineError::DeadlineExceeded)),
            (Some("2S"), 1_949, Ok(1_949)),
            (Some("2S"), 1_952, Err(EngineError::DeadlineExceeded)),
            (Some("1m"), 0, Ok(0)),
            (Some("nonsense"), 500, Ok(500)),
            (None, 500, Ok(500)),
        ] {
            let mut metadata = MetadataMap::new();
            if let Some(timeout) = timeout {
                metadata.insert("grpc-timeout", timeout.parse().unwrap());
            }
            let work = async {
                if work_ms > 0 {
                    tokio::time::sleep(Duration::from_millis(work_ms)).await;
                }
                Ok(work_ms)
            };
            assert_eq!(within(&metadata, work).await, expected, "{timeout:?} {work_ms}");
        }
    }
}
