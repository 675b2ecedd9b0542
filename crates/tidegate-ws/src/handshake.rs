//! The handshake: what a client must ask, what answers it, and what a backend is asked to which it is passed on.
//!
//! Source: RFC 6455, section 4; RFC 8441 for HTTP/2, where a client needs no key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderValue, Method, Version};
use sha1_smol::Sha1;

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Bytes of a key.
pub const KEY_BYTES: usize = 16;

/// Why what a client asks is no handshake. The text says nothing of what it sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Another method.
    #[error("a WebSocket is opened with GET")]
    Method,
    /// Nobody asks for a WebSocket.
    #[error("this path speaks WebSocket only")]
    NotAsked,
    /// `Connection` does not say that `Upgrade` is meant for this connection.
    #[error("Connection does not name Upgrade")]
    Connection,
    /// A body.
    #[error("a WebSocket is opened without a body")]
    Body,
    /// Another version of the protocol, or none.
    #[error("only version 13 of WebSocket is spoken here")]
    Version,
    /// A field that two readers could understand differently.
    #[error("a field of the WebSocket handshake is repeated")]
    Repeated,
    /// A key that is none.
    #[error("Sec-WebSocket-Key is not 16 bytes in Base64")]
    BadKey,
    /// No key.
    #[error("no Sec-WebSocket-Key")]
    NoKey,
}

impl HandshakeError {
    /// Whether the answer is 426, which names what is spoken here; otherwise it is 400.
    #[must_use]
    pub const fn wants_upgrade(self) -> bool {
        matches!(self, Self::Version | Self::NotAsked)
    }
}

/// A handshake that can be answered, or passed on.
#[derive(Debug)]
pub struct Handshake {
    key: String,
    /// What the backend must answer (`Sec-WebSocket-Accept`).
    pub accept: String,
    /// The client brought no key, and is told of none.
    ours: bool,
    http2: bool,
}

/// Whether an HTTP/1.1 request asks for a WebSocket.
#[must_use]
pub fn asks(headers: &HeaderMap) -> bool {
    has_token(headers, &UPGRADE, b"websocket")
}

impl Handshake {
    /// Checks the handshake, and takes out of the headers what each connection has of its own. `random` makes a key.
    ///
    /// # Errors
    /// Why it is none.
    pub fn take(parts: &mut Parts, random: impl FnOnce() -> [u8; KEY_BYTES]) -> Result<Self, HandshakeError> {
        let http2 = parts.version == Version::HTTP_2;
        if parts.method != Method::GET {
            return Err(HandshakeError::Method);
        }
        if !http2 {
            if !asks(&parts.headers) {
                return Err(HandshakeError::NotAsked);
            }
            if parts.version != Version::HTTP_11 || !has_token(&parts.headers, &CONNECTION, b"upgrade") {
                return Err(HandshakeError::Connection);
            }
            let has_body = parts.headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
            if has_body || parts.headers.contains_key(TRANSFER_ENCODING) {
                return Err(HandshakeError::Body);
            }
        }
        let version = once(&parts.headers, &SEC_WEBSOCKET_VERSION)?;
        match version.map(HeaderValue::as_bytes) {
            Some(b"13") => {}
            None if http2 => {}
            _ => return Err(HandshakeError::Version),
        }
        let key = match once(&parts.headers, &SEC_WEBSOCKET_KEY)? {
            Some(key) => Some(checked(key).ok_or(HandshakeError::BadKey)?),
            None if http2 => None,
            None => return Err(HandshakeError::NoKey),
        };
        let ours = key.is_none();
        let key = key.unwrap_or_else(|| STANDARD.encode(random()));
        for name in [SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION] {
            parts.headers.remove(name);
        }
        Ok(Self { accept: accept(&key), key, ours, http2 })
    }

    /// Writes the fields that ask a backend, each with its line end.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n");
        out.extend_from_slice(b"sec-websocket-key: ");
        out.extend_from_slice(self.key.as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    /// Puts into the headers of a 101 of our own what opens the WebSocket.
    pub fn open(&self, headers: &mut HeaderMap) {
        if !self.ours
            && let Ok(accept) = HeaderValue::from_str(&self.accept)
        {
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        self.granted(headers);
    }

    /// Puts into the headers of a backend's 101, of which what belongs to the backend's connection has been taken out, what
    /// belongs to the client's.
    pub fn granted(&self, headers: &mut HeaderMap) {
        if self.ours {
            headers.remove(SEC_WEBSOCKET_ACCEPT);
        }
        if !self.http2 {
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
    }
}

/// Whether a 101 with `headers` opens the WebSocket whose key has this `accept`.
#[must_use]
pub fn agrees(headers: &HeaderMap, accept: &str) -> bool {
    let mut upgrades = headers.get_all(UPGRADE).iter();
    let mut accepts = headers.get_all(SEC_WEBSOCKET_ACCEPT).iter();
    let upgrade = upgrades.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let accepted = accepts.next().is_some_and(|value| value.as_bytes() == accept.as_bytes());
    let once = upgrades.next().is_none() && accepts.next().is_none();
    once && upgrade && accepted && has_token(headers, &CONNECTION, b"upgrade")
}

/// The value that answers `key`.
fn accept(key: &str) -> String {
    let mut digest = Sha1::new();
    digest.update(key.as_bytes());
    digest.update(GUID);
    STANDARD.encode(digest.digest().bytes())
}

fn checked(key: &HeaderValue) -> Option<String> {
    let bytes = STANDARD.decode(key.as_bytes()).ok()?;
    (bytes.len() == KEY_BYTES).then(|| key.to_str().ok().map(str::to_owned))?
}

/// The value of a field that must not be repeated.
fn once<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, HandshakeError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(HandshakeError::Repeated),
        (value, None) => Ok(value),
    }
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &[u8]) -> bool {
    let values = headers.get_all(name).iter();
    values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|one| one.trim_ascii().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn take(method: &str, version: Version, fields: &[(&str, &str)]) -> Result<Handshake, u16> {
        let mut request = Request::builder().method(method).version(version).uri("/");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let mut parts = request.body(()).unwrap().into_parts().0;
        let taken = Handshake::take(&mut parts, || [7; 16]);
        assert!(taken.is_err() || !parts.headers.contains_key("sec-websocket-key"));
        taken.map_err(|error| if error.wants_upgrade() { 426 } else { 400 })
    }

    #[test]
    fn a_handshake_is_answered_as_the_standard_says() {
        let fields = [
            ("upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", KEY),
        ];
        let handshake = take("GET", Version::HTTP_11, &fields).unwrap();
        assert_eq!(handshake.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let mut headers = HeaderMap::new();
        headers.insert("sec-websocket-accept", HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        handshake.granted(&mut headers);
        assert_eq!(headers.len(), 3);
    }

    #[test]
    fn over_http2_a_key_is_not_needed() {
        let handshake = take("GET", Version::HTTP_2, &[]).unwrap();
        let mut out = Vec::new();
        handshake.write(&mut out);
        assert!(String::from_utf8(out).unwrap().contains("sec-websocket-key: BwcHBwcHBwcHBwcHBwcHBw==\r\n"));
        let mut headers = HeaderMap::new();
        headers.insert("sec-websocket-accept", HeaderValue::from_static("x"));
        handshake.granted(&mut headers);
        assert!(headers.is_empty());
        let handshake = take("GET", Version::HTTP_2, &[("sec-websocket-key", KEY)]).unwrap();
        assert_eq!((handshake.accept.as_str(), handshake.ours), ("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", false));
    }

    #[test]
    fn what_is_no_handshake_is_refused() {
        let base = [
            ("connection", "upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", KEY),
            ("upgrade", "websocket"),
        ];
        let with = |index: usize, value: &'static str| {
            let mut fields = base.to_vec();
            fields[index].1 = value;
            take("GET", Version::HTTP_11, &fields).err()
        };
        let more = |field| take("GET", Version::HTTP_11, &[&base[..], &[field]].concat()).err();
        assert_eq!(take("GET", Version::HTTP_11, &base).err(), None);
        assert_eq!(take("POST", Version::HTTP_11, &base).err(), Some(400));
        assert_eq!(take("GET", Version::HTTP_10, &base).err(), Some(400));
        assert_eq!(with(0, "close"), Some(400));
        assert_eq!((with(1, "12"), with(1, "13, 8")), (Some(426), Some(426)));
        for key in ["", "c2hvcnQ=", "!!!!!!!!!!!!!!!!!!!!!!==", "dGhlIHNhbXBsZSBub25jZQ"] {
            assert_eq!(with(2, key), Some(400), "{key}");
        }
        assert_eq!(take("GET", Version::HTTP_11, &[base[0], base[1], base[3]]).err(), Some(400));
        assert_eq!(take("GET", Version::HTTP_11, &[base[0], base[2], base[3]]).err(), Some(426));
        assert_eq!((take("GET", Version::HTTP_11, &[]).err(), with(3, "h2c")), (Some(426), Some(426)));
        assert_eq!(more(base[2]), Some(400));
        assert_eq!((more(("content-length", "1")), more(("content-length", "0"))), (Some(400), None));
        assert_eq!(more(("transfer-encoding", "chunked")), Some(400));
    }

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
