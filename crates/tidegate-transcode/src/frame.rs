//! gRPC messages on the wire: one flag byte, four bytes of length, the message.
//!
//! The reader takes the chunks of an HTTP body as they come and gives back whole messages. It knows nothing of
//! HTTP/2, of compression codings or of protobuf. Invariants: a declared length is compared with the limit before
//! anything is allocated for it; memory grows with the bytes that arrived, never with the bytes that were announced;
//! a message that lies inside one chunk is a slice of that chunk.
//!
//! Source: gRPC over HTTP/2, "Length-Prefixed-Message".

mod meter;

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

pub use self::meter::FrameMeter;

/// Bytes in front of every gRPC message: the compressed flag and the length.
pub const PREFIX_LEN: usize = 5;

/// Reserved at once for a message that is spread over chunks; more is added as more arrives.
const FIRST_RESERVE: usize = 64 * 1024;

/// One gRPC message without its prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Whether the message is compressed with the coding that `grpc-encoding` names.
    pub compressed: bool,
    /// The bytes of the message, still compressed if the flag says so.
    pub message: Bytes,
}

/// Why a gRPC body cannot be read on. Every kind is final for the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The prefix announces more than the limit.
    #[error("a message of {length} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// What the prefix says, in bytes.
        length: u32,
        /// `max_message`, in bytes.
        limit: usize,
    },
    /// The first byte of a prefix is neither 0 nor 1.
    #[error("the flag byte of a message is neither 0 nor 1")]
    BadFlag,
    /// The body ended inside a prefix or inside a message.
    #[error("the body ends inside a message")]
    Truncated,
}

/// Takes a gRPC body apart, chunk by chunk.
///
/// Feed with [`push`](Self::push), drain with [`next_frame`](Self::next_frame) until it gives `None`, and ask
/// [`finish`](Self::finish) when the body has ended.
#[derive(Debug)]
pub struct FrameReader {
    max_message: usize,
    /// The chunk that is being read; empty when everything was consumed.
    current: Bytes,
    /// Chunks pushed while `current` was not empty. Stays unallocated when the caller drains after each push.
    waiting: VecDeque<Bytes>,
    prefix: [u8; PREFIX_LEN],
    prefix_filled: usize,
    /// The beginning of a message that did not fit in one chunk.
    partial: BytesMut,
}

impl FrameReader {
    /// A reader that refuses messages above `max_message` bytes (the length in the prefix, so compressed size).
    #[must_use]
    pub fn new(max_message: usize) -> Self {
        Self {
            max_message,
            current: Bytes::new(),
            waiting: VecDeque::new(),
            prefix: [0; PREFIX_LEN],
            prefix_filled: 0,
            partial: BytesMut::new(),
        }
    }

    /// Hands over the next chunk of the body, of any size. Keeps it until its messages were taken; copies nothing.
    pub fn push(&mut self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        if self.current.is_empty() {
            self.current = chunk;
            return;
        }
        self.waiting.push_back(chunk);
    }

    /// The next whole message, or `None` if more chunks are needed.
    ///
    /// Copies only a message that lies in several chunks.
    ///
    /// # Errors
    /// `TooLarge` and `BadFlag`; the reader gives the same error again when asked again.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if !self.fill_prefix() {
            return Ok(None);
        }
        let (compressed, length) = self.head()?;
        if self.partial.is_empty() && self.current.len() >= length {
            let message = self.current.split_to(length);
            self.prefix_filled = 0;
            return Ok(Some(Frame { compressed, message }));
        }
        if self.partial.capacity() == 0 {
            self.partial.reserve(length.min(FIRST_RESERVE));
        }
        while self.partial.len() < length && self.has_input() {
            let missing = length.saturating_sub(self.partial.len());
            let piece = self.current.split_to(missing.min(self.current.len()));
            self.partial.extend_from_slice(&piece);
        }
        if self.partial.len() < length {
            return Ok(None);
        }
        self.prefix_filled = 0;
        let message = std::mem::take(&mut self.partial).freeze();
        Ok(Some(Frame { compressed, message }))
    }

    /// Whether the body may end here: nothing is left of a message that began.
    ///
    /// # Errors
    /// `Truncated` when bytes of an unfinished message are held.
    pub fn finish(&self) -> Result<(), FrameError> {
        if self.prefix_filled == 0 && self.current.is_empty() && self.waiting.is_empty() {
            return Ok(());
        }
        Err(FrameError::Truncated)
    }

    /// Bytes that the reader holds and that are not part of a message given out, for accounting.
    #[must_use]
    pub fn buffered(&self) -> usize {
        let waiting: usize = self.waiting.iter().map(Bytes::len).sum();
        waiting.saturating_add(self.current.len()).saturating_add(self.partial.len())
    }

    /// Whether all five bytes of the prefix are there.
    fn fill_prefix(&mut self) -> bool {
        while self.prefix_filled < PREFIX_LEN {
            if !self.has_input() {
                return false;
            }
            let Some(slot) = self.prefix.get_mut(self.prefix_filled..) else {
                return false;
            };
            let taken = slot.len().min(self.current.len());
            if let Some(slot) = slot.get_mut(..taken) {
                self.current.copy_to_slice(slot);
            }
            self.prefix_filled = self.prefix_filled.saturating_add(taken);
        }
        // A message must not look incomplete only because its chunk is still waiting.
        self.has_input();
        true
    }

    fn head(&self) -> Result<(bool, usize), FrameError> {
        let [flag, length @ ..] = self.prefix;
        let length = u32::from_be_bytes(length);
        let too_large = FrameError::TooLarge { length, limit: self.max_message };
        let size = usize::try_from(length).map_err(|_| too_large)?;
        match flag {
            _ if size > self.max_message => Err(too_large),
            0 => Ok((false, size)),
            1 => Ok((true, size)),
            _ => Err(FrameError::BadFlag),
        }
    }

    fn has_input(&mut self) -> bool {
        if self.current.is_empty()
            && let Some(chunk) = self.waiting.pop_front()
        {
            self.current = chunk;
        }
        !self.current.is_empty()
    }
}

/// Appends the five bytes of an uncompressed message whose length is not known yet; gives the place for [`close`].
pub fn open(out: &mut Vec<u8>) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0; PREFIX_LEN]);
    at
}

/// Writes the length of everything after the prefix that [`open`] put at `at`.
///
/// # Errors
/// `TooLarge` when the message does not fit in 32 bits.
pub fn close(out: &mut [u8], at: usize) -> Result<(), FrameError> {
    let length = out.len().saturating_sub(at.saturating_add(PREFIX_LEN));
    let length =
        u32::try_from(length).map_err(|_| FrameError::TooLarge { length: u32::MAX, limit: u32::MAX as usize })?;
    if let Some(place) = out.get_mut(at.saturating_add(1)..at.saturating_add(PREFIX_LEN)) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        for message in messages {
            let at = open(&mut out);
            out.extend_from_slice(message);
            close(&mut out, at).unwrap();
        }
        out
    }

    fn drain(reader: &mut FrameReader, into: &mut Vec<Vec<u8>>) -> Result<(), FrameError> {
        while let Some(frame) = reader.next_frame()? {
            into.push(frame.message.to_vec());
        }
        Ok(())
    }

    #[test]
    fn a_message_inside_one_chunk_is_not_copied() {
        let chunk = Bytes::from(framed(&[b"abc".to_vec(), b"defg".to_vec()]));
        let mut reader = FrameReader::new(10);
        reader.push(chunk.clone());
        let first = reader.next_frame().unwrap().unwrap();
        let second = reader.next_frame().unwrap().unwrap();
        assert_eq!(first.message.as_ptr(), chunk[5..].as_ptr());
        assert_eq!(second.message.as_ptr(), chunk[13..].as_ptr());
        assert_eq!(reader.next_frame(), Ok(None));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn the_limit_holds_before_the_message_arrives() {
        let mut reader = FrameReader::new(10);
        reader.push(Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff]));
        let error = FrameError::TooLarge { length: u32::MAX, limit: 10 };
        assert_eq!(reader.next_frame(), Err(error));
        assert_eq!(reader.next_frame(), Err(error));
        let mut reader = FrameReader::new(10);
        reader.push(Bytes::from(framed(&[vec![7; 10]])));
        assert_eq!(reader.next_frame().unwrap().unwrap().message.len(), 10);
    }

    #[test]
    fn an_announced_length_allocates_no_more_than_the_first_reserve() {
        let mut reader = FrameReader::new(1 << 30);
        reader.push(Bytes::from_static(&[0, 0x10, 0, 0, 0, 1]));
        assert_eq!(reader.next_frame(), Ok(None));
        assert!(reader.partial.capacity() <= FIRST_RESERVE);
        assert_eq!(reader.finish(), Err(FrameError::Truncated));
    }

    #[test]
    fn flags_and_ends() {
        let cases: [(&[u8], Result<usize, FrameError>); 5] = [
            (&[], Ok(0)),
            (&[0], Err(FrameError::Truncated)),
            (&[1, 0, 0, 0, 0], Ok(1)),
            (&[2, 0, 0, 0, 0], Err(FrameError::BadFlag)),
            (&[0, 0, 0, 0, 2, 9], Err(FrameError::Truncated)),
        ];
        for (body, expected) in cases {
            let mut reader = FrameReader::new(10);
            reader.push(Bytes::copy_from_slice(body));
            let mut frames = Vec::new();
            let got = drain(&mut reader, &mut frames).and_then(|()| reader.finish()).map(|()| frames.len());
            assert_eq!(got, expected, "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_messages(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
            cuts in prop::collection::vec(1usize..400, 1..20),
            drain_late in any::<bool>(),
        ) {
            let body = framed(&messages);
            let mut reader = FrameReader::new(300);
            let mut got = Vec::new();
            let (mut at, mut cut) = (0, 0);
            while at < body.len() {
                let end = body.len().min(at + cuts[cut % cuts.len()]);
                reader.push(Bytes::copy_from_slice(&body[at..end]));
                if !drain_late {
                    drain(&mut reader, &mut got).unwrap();
                }
                (at, cut) = (end, cut + 1);
            }
            drain(&mut reader, &mut got).unwrap();
            prop_assert_eq!(reader.finish(), Ok(()));
            prop_assert_eq!(got, messages);
        }
    }
}
