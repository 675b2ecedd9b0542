//! What two processes say to each other while one takes over from the other.
//!
//! ```text
//!   successor                          predecessor
//!   Hello            ───────────────▶
//!                    ◀───────────────  Sockets (with descriptors), as often as needed; End     or Refused
//!   Done             ───────────────▶                         once it serves
//!                    ◀───────────────  Released, and it drains                                 or Refused
//! ```
//! A frame is `version`, kind, number of descriptors (two bytes) and size of the payload (four bytes), big end first,
//! and the payload. The descriptors of a frame travel beside its first byte.

use std::net::SocketAddr;

/// Of the frames; another one is refused.
const VERSION: u8 = 1;

/// Descriptors in one frame. The kernel takes 253 in one message.
pub(super) const MAX_DESCRIPTORS: usize = 250;

/// Bytes of one frame's payload: 250 names and addresses.
const MAX_PAYLOAD_BYTES: usize = 128 * 1024;

/// Bytes of a name. Longer ones cannot be handed over, and none is that long.
const MAX_NAME_BYTES: usize = 255;

const HEAD_BYTES: usize = 8;

/// One frame, without its descriptors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Hello,
    /// What each of the descriptors beside it is.
    Sockets(Vec<Label>),
    End,
    Done,
    Released,
    Refused,
}

/// What a descriptor is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Label {
    /// The listener's name.
    pub(super) name: String,
    /// Its address in the configuration.
    pub(super) configured: SocketAddr,
}

/// The other side speaks another language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unknown;

impl Frame {
    /// The frame as bytes. Labels beyond what a frame holds, which the caller does not give, are left out.
    pub(super) fn encode(&self) -> Vec<u8> {
        let (kind, labels): (u8, &[Label]) = match self {
            Self::Hello => (0, &[]),
            Self::Sockets(labels) => (1, labels.get(..MAX_DESCRIPTORS).unwrap_or(labels)),
            Self::End => (2, &[]),
            Self::Done => (3, &[]),
            Self::Released => (4, &[]),
            Self::Refused => (5, &[]),
        };
        let mut payload = Vec::new();
        for label in labels {
            text(&mut payload, &label.name);
            text(&mut payload, &label.configured.to_string());
        }
        let mut bytes = vec![VERSION, kind];
        bytes.extend_from_slice(&u16::try_from(labels.len()).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(&payload);
        bytes
    }

    /// The frame at the beginning of `bytes` and its size, or `None` if more has to come.
    pub(super) fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, Unknown> {
        let Some((&[version, kind, c0, c1, s0, s1, s2, s3], rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
            // A foreigner is recognised by its first byte.
            return if bytes.first().is_none_or(|version| *version == VERSION) { Ok(None) } else { Err(Unknown) };
        };
        let count = usize::from(u16::from_be_bytes([c0, c1]));
        let size = usize::try_from(u32::from_be_bytes([s0, s1, s2, s3])).map_err(|_| Unknown)?;
        if version != VERSION || count > MAX_DESCRIPTORS || size > MAX_PAYLOAD_BYTES {
            return Err(Unknown);
        }
        let Some(payload) = rest.get(..size) else {
            return Ok(None);
        };
        let frame = match (kind, count, size) {
            (0, 0, 0) => Self::Hello,
            (1, ..) => Self::Sockets(labels(payload, count).ok_or(Unknown)?),
            (2, 0, 0) => Self::End,
            (3, 0, 0) => Self::Done,
            (4, 0, 0) => Self::Released,
            (5, 0, 0) => Self::Refused,
            _ => return Err(Unknown),
        };
        Ok(Some((frame, HEAD_BYTES + size)))
    }

    /// How many descriptors travel with it.
    pub(super) fn descriptors(&self) -> usize {
        match self {
            Self::Sockets(labels) => labels.len(),
            Self::Hello | Self::End | Self::Done | Self::Released | Self::Refused => 0,
        }
    }
}

/// One byte for the length, and the text.
fn text(payload: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let bytes = bytes.get(..MAX_NAME_BYTES).unwrap_or(bytes);
    payload.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
    payload.extend_from_slice(bytes);
}

fn labels(mut payload: &[u8], count: usize) -> Option<Vec<Label>> {
    let mut next = || {
        let (len, rest) = payload.split_first()?;
        let (text, rest) = rest.split_at_checked(usize::from(*len))?;
        payload = rest;
        std::str::from_utf8(text).ok()
    };
    let mut labels = Vec::with_capacity(count);
    for _ in 0..count {
        labels.push(Label { name: next()?.to_owned(), configured: next()?.parse().ok()? });
    }
    payload.is_empty().then_some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames() -> Vec<Frame> {
        let label = |index: usize| Label {
            name: format!("listener-{index}"),
            configured: SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 80)),
        };
        let all = (0..MAX_DESCRIPTORS).map(label).collect();
        let none = Vec::new();
        vec![
            Frame::Hello,
            Frame::Sockets(none),
            Frame::Sockets(vec![label(0)]),
            Frame::Sockets(all),
            Frame::End,
            Frame::Done,
            Frame::Released,
            Frame::Refused,
        ]
    }

    #[test]
    fn frames_arrive_as_they_were_sent_however_they_are_cut() {
        for frame in frames() {
            let mut bytes = frame.encode();
            for end in 0..bytes.len() {
                assert_eq!(Frame::decode(&bytes[..end]), Ok(None), "{end} of {frame:?}");
            }
            let size = bytes.len();
            bytes.extend_from_slice(b"behind");
            assert_eq!(Frame::decode(&bytes), Ok(Some((frame, size))));
        }
    }

    #[test]
    fn other_languages_are_refused_at_once() {
        let sockets =
            Frame::Sockets(vec![Label { name: "a".into(), configured: ([127, 0, 0, 1], 80).into() }]).encode();
        let changed = |index: usize, byte: u8| {
            let mut bytes = sockets.clone();
            bytes[index] = byte;
            bytes
        };
        for bytes in [
            b"GET / HTTP/1.1\r\n".to_vec(),
            vec![2],
            changed(0, 2),
            changed(1, 9),
            // More descriptors than a message takes, and more or fewer than there are labels.
            changed(2, 1),
            changed(3, 0),
            changed(3, 2),
            // More bytes than a frame has.
            changed(4, 1),
            changed(HEAD_BYTES + 1, 0xff),
            changed(HEAD_BYTES + 3, b'x'),
        ] {
            assert_eq!(Frame::decode(&bytes), Err(Unknown), "{bytes:?}");
        }
    }
}
