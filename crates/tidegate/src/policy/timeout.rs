//! A client may shorten the route's deadline, never lengthen it.

use std::time::Duration;

use crate::reject::{Reason, Reject};

/// Which header said how long the client waits; it decides the form of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `grpc-timeout`: at most eight digits and a unit, `H M S m u n`.
    Grpc,
    /// `x-server-timeout` and `request-timeout`: seconds, with a fraction or without.
    Seconds,
}

/// Reads a client's timeout.
///
/// # Errors
/// `bad_request` for a value that is not of the form; a zero timeout is allowed and ends at once.
///
/// Source: gRPC over HTTP/2, "Timeout"; Envoy and Kong for the two others.
pub fn parse(source: Source, value: &[u8]) -> Result<Duration, Reject> {
    let parsed = match source {
        Source::Grpc => grpc_timeout(value),
        Source::Seconds => seconds(value),
    };
    parsed.ok_or_else(|| Reject::new(Reason::BadRequest).detail("malformed timeout header"))
}

fn grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let number = decimal(digits)?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3_600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

fn seconds(value: &[u8]) -> Option<Duration> {
    let mut parts = value.splitn(2, |byte| *byte == b'.');
    let whole = parts.next().filter(|digits| (1..=8).contains(&digits.len()))?;
    let whole = Duration::from_secs(decimal(whole)?);
    let Some(fraction) = parts.next() else {
        return Some(whole);
    };
    if fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let scale = 10_u64.pow(9 - u32::try_from(fraction.len()).ok()?);
    Some(whole + Duration::from_nanos(decimal(fraction)? * scale))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_of_clients_are_read_exactly_or_refused() {
        let ms = |ms| Some(Duration::from_millis(ms));
        let cases: [(Source, &str, Option<Duration>); 16] = [
            (Source::Grpc, "100m", ms(100)),
            (Source::Grpc, "2S", ms(2_000)),
            (Source::Grpc, "1H", ms(3_600_000)),
            (Source::Grpc, "1M", ms(60_000)),
            (Source::Grpc, "5000u", ms(5)),
            (Source::Grpc, "99999999n", Some(Duration::from_nanos(99_999_999))),
            (Source::Grpc, "100000000m", None),
            (Source::Grpc, "m", None),
            (Source::Grpc, "10", None),
            (Source::Grpc, "-1S", None),
            (Source::Seconds, "3", ms(3_000)),
            (Source::Seconds, "0.25", ms(250)),
            (Source::Seconds, "1.", None),
            (Source::Seconds, ".5", None),
            (Source::Seconds, "1e3", None),
            (Source::Seconds, "", None),
        ];
        for (source, value, expected) in cases {
            assert_eq!(parse(source, value.as_bytes()).ok(), expected, "{value:?}");
        }
    }
}
