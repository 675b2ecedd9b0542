//! HTTP/2 as bytes, for clients and backends that do what no library does.

/// What a client sends first (RFC 9113, section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame (RFC 9113, section 4.1).
///
/// # Panics
/// If `payload` is longer than 32 bits tell.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The fields of `GET /v1/orders/7` at `authority`, nothing of it in the table of the connection.
///
/// # Panics
/// If `authority` has more than 126 bytes.
#[must_use]
pub fn get_order(authority: &str) -> Vec<u8> {
    get("/v1/orders/7", authority)
}

/// The same of another path.
///
/// # Panics
/// If `path` or `authority` has more than 126 bytes.
#[must_use]
pub fn get(path: &str, authority: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86];
    for (name, value) in [(0x04, path), (0x01, authority)] {
        // The length in HPACK's integers, in one byte.
        assert!(value.len() < 127, "{value}");
        block.extend_from_slice(&[name, u8::try_from(value.len()).unwrap()]);
        block.extend_from_slice(value.as_bytes());
    }
    block
}
