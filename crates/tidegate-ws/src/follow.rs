//! Follows the frames of one direction whose bytes are passed on as they are: only between two frames may another one
//! be put in.

use crate::frame::digits;

/// See the module. It judges nothing; what is no frame ends somewhere, or nowhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct Follower {
    /// Bytes of the present head that have come; at most 14 are needed.
    head: [u8; 14],
    have: usize,
    /// Bytes of the present payload that have not come.
    payload: u64,
}

impl Follower {
    /// These bytes have passed.
    pub fn follow(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.payload > 0 {
                let skipped = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
                self.payload = self.payload.saturating_sub(skipped as u64);
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            if let Some(place) = self.head.get_mut(self.have) {
                *place = *first;
            }
            self.have += 1;
            bytes = rest;
            if let Some(payload) = self.payload_of_head() {
                self.payload = payload;
                self.have = 0;
            }
        }
    }

    /// Whether the next byte begins a frame.
    #[must_use]
    pub const fn is_between_frames(&self) -> bool {
        self.have == 0 && self.payload == 0
    }

    /// The length of the payload, once the whole head has come.
    fn payload_of_head(&self) -> Option<u64> {
        let [_, second, extended @ ..] = self.head;
        let digits = digits(second);
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        if self.have < 2 + digits + mask {
            return None;
        }
        let number = extended.iter().take(digits).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        Some(if digits == 0 { u64::from(second & 0x7f) } else { number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Opcode, write_frame, write_masked_frame};

    #[test]
    fn the_end_of_each_frame_is_known_however_it_comes() {
        for payload in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            for masked in [false, true] {
                let mut frame = Vec::new();
                match masked {
                    false => write_frame(Opcode::Binary, &vec![0x81; payload], &mut frame),
                    true => write_masked_frame(Opcode::Binary, &vec![0x81; payload], [0x81; 4], &mut frame),
                }
                for piece in [1, 2, 3, 1_000, 100_000] {
                    let mut follower = Follower::default();
                    for _ in 0..2 {
                        let mut left = frame.len();
                        for bytes in frame.chunks(piece) {
                            follower.follow(bytes);
                            left -= bytes.len();
                            assert_eq!(follower.is_between_frames(), left == 0, "{payload} {masked} {piece}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn an_absurd_length_ends_nowhere() {
        let mut follower = Follower::default();
        follower.follow(&[0x82, 0x7f, 255, 255, 255, 255, 255, 255, 255, 255]);
        follower.follow(&[0; 1000]);
        assert!(!follower.is_between_frames());
    }
}
