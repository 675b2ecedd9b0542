//! gRPC's message prefix: one byte of flags and a big-endian length before each message.

use bytes::{BufMut as _, Bytes, BytesMut};

/// Bytes before each message.
pub const PREFIX_LEN: usize = 5;

/// `message` behind its prefix.
///
/// # Panics
/// A message of 4 GiB or more, which no scenario file can hold.
#[must_use]
#[expect(clippy::expect_used, reason = "documented; scenario files are small and ours")]
pub fn wrap(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(PREFIX_LEN + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("invariant: messages are below 4 GiB"));
    frame.put_slice(message);
    frame.freeze()
}

/// The message in a body that must hold exactly one uncompressed frame.
#[must_use]
pub fn only_message(body: &[u8]) -> Option<&[u8]> {
    let (prefix, message) = body.split_first_chunk::<PREFIX_LEN>()?;
    let [0, len @ ..] = prefix else { return None };
    (u32::from_be_bytes(*len) as usize == message.len()).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrapped_can_be_unwrapped() {
        assert_eq!(only_message(&wrap(b"abc")), Some(&b"abc"[..]));
        assert_eq!(only_message(&wrap(b"")), Some(&b""[..]));
    }

    #[test]
    fn anything_but_one_plain_frame_is_refused() {
        for body in [&b""[..], b"\0\0\0\0", b"\0\0\0\0\x01", b"\0\0\0\0\x01ab", b"\x01\0\0\0\x01a"] {
            assert_eq!(only_message(body), None, "{body:?}");
        }
    }
}
