//! Follows the messages of a gRPC body that is passed on as it is: nothing is kept of it but a prefix.

use super::{FrameError, PREFIX_LEN};

/// Reads the prefixes of a body, chunk by chunk, and checks the size of every message before its bytes pass.
#[derive(Debug)]
pub struct FrameMeter {
    max_message: usize,
    prefix: [u8; PREFIX_LEN],
    filled: usize,
    /// Bytes of the message that begin after the prefix and have not come yet.
    left: usize,
}

impl FrameMeter {
    /// A meter that refuses messages above `max_message` bytes (the length in the prefix, so compressed size).
    #[must_use]
    pub fn new(max_message: usize) -> Self {
        Self { max_message, prefix: [0; PREFIX_LEN], filled: 0, left: 0 }
    }

    /// The next bytes of the body.
    ///
    /// # Errors
    /// `TooLarge` and `BadFlag` of a message that begins in `chunk`; nothing of the chunk should be passed on then.
    pub fn pass(&mut self, mut chunk: &[u8]) -> Result<(), FrameError> {
        while !chunk.is_empty() {
            let of_message = self.left.min(chunk.len());
            chunk = chunk.get(of_message..).unwrap_or_default();
            self.left -= of_message;
            if chunk.is_empty() {
                return Ok(());
            }
            let taken = (PREFIX_LEN - self.filled).min(chunk.len());
            let (bytes, rest) = chunk.split_at(taken);
            if let Some(place) = self.prefix.get_mut(self.filled..self.filled + taken) {
                place.copy_from_slice(bytes);
            }
            self.filled += taken;
            chunk = rest;
            if self.filled == PREFIX_LEN {
                self.begin()?;
            }
        }
        Ok(())
    }

    /// Whether the body may end here.
    ///
    /// # Errors
    /// `Truncated` inside a message or a prefix.
    pub fn finish(&self) -> Result<(), FrameError> {
        if self.filled == 0 && self.left == 0 { Ok(()) } else { Err(FrameError::Truncated) }
    }

    fn begin(&mut self) -> Result<(), FrameError> {
        let [flag, length @ ..] = self.prefix;
        let length = u32::from_be_bytes(length);
        let too_large = FrameError::TooLarge { length, limit: self.max_message };
        let size = usize::try_from(length).map_err(|_| too_large)?;
        if size > self.max_message {
            return Err(too_large);
        }
        if flag > 1 {
            return Err(FrameError::BadFlag);
        }
        self.filled = 0;
        self.left = size;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body() -> Vec<u8> {
        [&[0, 0, 0, 0, 3, 1, 2, 3][..], &[1, 0, 0, 0, 0], &[0, 0, 0, 1, 0], &[7; 256]].concat()
    }

    #[test]
    fn every_split_passes_and_every_cut_inside_a_message_is_seen() {
        let body = body();
        let ends = [0, 8, 13, body.len()];
        for at in 0..=body.len() {
            let (a, b) = body.split_at(at);
            let mut meter = FrameMeter::new(256);
            assert_eq!(meter.pass(a), Ok(()));
            assert_eq!(meter.finish().is_ok(), ends.contains(&at), "{at}");
            assert_eq!((meter.pass(b), meter.finish()), (Ok(()), Ok(())));
        }
        let mut meter = FrameMeter::new(256);
        assert!(body.iter().all(|byte| meter.pass(&[*byte]).is_ok()) && meter.finish().is_ok());
    }

    #[test]
    fn a_message_above_the_limit_is_refused_by_its_prefix() {
        let mut meter = FrameMeter::new(255);
        assert_eq!(meter.pass(&body()), Err(FrameError::TooLarge { length: 256, limit: 255 }));
        assert_eq!(FrameMeter::new(9).pass(&[2, 0, 0, 0, 0]), Err(FrameError::BadFlag));
    }
}
