//! Whether a 101 is the one that was asked for. Pure.

use http::header::{CONNECTION, HeaderMap, HeaderName, SEC_WEBSOCKET_ACCEPT, UPGRADE};

/// Whether a 101 with `headers` opens the WebSocket whose key has this `accept` (RFC 6455, section 4.1).
pub(super) fn agrees(headers: &HeaderMap, accept: &str) -> bool {
    let mut upgrades = headers.get_all(UPGRADE).iter();
    let mut accepts = headers.get_all(SEC_WEBSOCKET_ACCEPT).iter();
    let upgrade = upgrades.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let accepted = accepts.next().is_some_and(|value| value.as_bytes() == accept.as_bytes());
    let once = upgrades.next().is_none() && accepts.next().is_none();
    once && upgrade && accepted && has_token(headers, &CONNECTION, b"upgrade")
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &[u8]) -> bool {
    let values = headers.get_all(name).iter();
    values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|one| one.trim_ascii().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_the_101_of_this_key_is_one() {
        let check = |fields: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, HeaderValue::from_static(value));
            }
            agrees(&headers, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        };
        const CONNECTION: (&str, &str) = ("connection", "keep-alive, Upgrade");
        const UPGRADE: (&str, &str) = ("upgrade", "WebSocket");
        const ACCEPT: (&str, &str) = ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(check(&[CONNECTION, UPGRADE, ACCEPT]));
        for broken in [
            &[UPGRADE, ACCEPT][..],
            &[CONNECTION, ACCEPT],
            &[CONNECTION, UPGRADE],
            &[CONNECTION, UPGRADE, ACCEPT, ACCEPT],
            &[CONNECTION, UPGRADE, UPGRADE, ACCEPT],
            &[CONNECTION, UPGRADE, ("sec-websocket-accept", "S3pPLMBiTxaQ9kYGzzhZRbK+xOo=")],
            &[CONNECTION, ("upgrade", "h2c"), ACCEPT],
            &[("connection", "close"), UPGRADE, ACCEPT],
        ] {
            assert!(!check(broken), "{broken:?}");
        }
    }
}
