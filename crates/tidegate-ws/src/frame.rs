//! The head of a frame, read and written.
//!
//! Source: RFC 6455, section 5.2.

use crate::fault::Fault;
use crate::mask;

/// Most bytes of a control frame's payload.
pub const MAX_CONTROL: usize = 125;

/// Most bytes of a head: two, eight of a length, four of a mask.
const MAX_HEAD: usize = 14;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// More of a message.
    Continuation,
    /// The first frame of a message in UTF-8.
    Text,
    /// The first frame of a message of any bytes.
    Binary,
    /// The peer says nothing more.
    Close,
    /// Asks for a sign of life.
    Ping,
    /// Gives one.
    Pong,
}

impl Opcode {
    const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    const fn of(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::Continuation),
            1 => Some(Self::Text),
            2 => Some(Self::Binary),
            8 => Some(Self::Close),
            9 => Some(Self::Ping),
            10 => Some(Self::Pong),
            _ => None,
        }
    }

    pub(crate) const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) is_final: bool,
    pub(crate) opcode: Opcode,
    pub(crate) mask: Option<[u8; 4]>,
    pub(crate) length: u64,
}

/// Collects the bytes of a head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadReader {
    bytes: [u8; MAX_HEAD],
    have: usize,
}

impl HeadReader {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; MAX_HEAD], have: 0 }
    }

    /// Takes what belongs to the head from the front of `input`; `None`: there is more of it to come.
    pub(crate) fn read(&mut self, input: &mut &[u8]) -> Result<Option<Head>, Fault> {
        loop {
            if self.have >= 2 {
                self.check()?;
                if self.have >= self.wanted() {
                    return self.complete().map(Some);
                }
            }
            let Some((byte, rest)) = input.split_first() else { return Ok(None) };
            if let Some(place) = self.bytes.get_mut(self.have) {
                *place = *byte;
            }
            self.have += 1;
            *input = rest;
        }
    }

    /// Nothing of a head has come.
    pub(crate) const fn is_empty(&self) -> bool {
        self.have == 0
    }

    /// What the first two bytes show, before more is waited for.
    fn check(&self) -> Result<(), Fault> {
        let [first, second, ..] = self.bytes;
        if first & RESERVED != 0 {
            return Err(Fault::ReservedBit);
        }
        let opcode = Opcode::of(first & 0x0f).ok_or(Fault::ReservedOpcode)?;
        if opcode.is_control() && first & FIN == 0 {
            return Err(Fault::FragmentedControl);
        }
        if opcode.is_control() && usize::from(second & !MASKED) > MAX_CONTROL {
            return Err(Fault::LongControl);
        }
        Ok(())
    }

    /// Bytes of the whole head; known from the second one on.
    const fn wanted(&self) -> usize {
        let [_, second, ..] = self.bytes;
        let mask = if second & MASKED == 0 { 0 } else { 4 };
        2 + digits(second) + mask
    }

    fn complete(&mut self) -> Result<Head, Fault> {
        let [first, second, rest @ ..] = self.bytes;
        self.have = 0;
        let digits = digits(second);
        let number = rest.iter().take(digits).fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
        let (length, least) = match digits {
            0 => (u64::from(second & !MASKED), 0),
            2 => (number, 126),
            _ => (number, 1 << 16),
        };
        if length < least || length > i64::MAX.unsigned_abs() {
            return Err(Fault::BadLength);
        }
        let mask = rest.get(digits..).and_then(|rest| rest.first_chunk::<4>().copied());
        Ok(Head {
            is_final: first & FIN != 0,
            opcode: Opcode::of(first & 0x0f).ok_or(Fault::ReservedOpcode)?,
            mask: mask.filter(|_| second & MASKED != 0),
            length,
        })
    }
}

/// Bytes of a length that does not fit the second byte of a head.
pub(crate) const fn digits(second: u8) -> usize {
    match second & !MASKED {
        127 => 8,
        126 => 2,
        _ => 0,
    }
}

/// Appends a whole message, or a control frame, of a server: in one frame, without a mask. `payload` of a text is UTF-8,
/// that of a control frame has at most [`MAX_CONTROL`] bytes (what is above is cut).
pub fn write_frame(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    let payload = fitting(opcode, payload);
    write_head(opcode, payload.len(), 0, out);
    out.extend_from_slice(payload);
}

/// As [`write_frame`], but of a client: masked with `mask`, which has to be unpredictable for whoever makes the payload.
pub fn write_masked_frame(opcode: Opcode, payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    let payload = fitting(opcode, payload);
    write_head(opcode, payload.len(), MASKED, out);
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    mask::apply(mask, 0, out.get_mut(start..).unwrap_or_default());
}

fn fitting(opcode: Opcode, payload: &[u8]) -> &[u8] {
    if opcode.is_control() { payload.get(..MAX_CONTROL).unwrap_or(payload) } else { payload }
}

fn write_head(opcode: Opcode, length: usize, masked: u8, out: &mut Vec<u8>) {
    out.push(FIN | opcode.bits());
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => out.push(masked | short),
        (_, Ok(medium)) => {
            out.push(masked | 126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        (_, Err(_)) => {
            out.push(masked | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(bytes: &[u8]) -> Result<Option<Head>, Fault> {
        HeadReader::new().read(&mut &bytes[..])
    }

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 100_000] {
            for mask in [None, Some([9, 8, 7, 6])] {
                let payload = vec![5; length];
                let mut out = Vec::new();
                match mask {
                    None => write_frame(Opcode::Binary, &payload, &mut out),
                    Some(mask) => write_masked_frame(Opcode::Binary, &payload, mask, &mut out),
                }
                let mut input = &out[..];
                let head = HeadReader::new().read(&mut input).unwrap().unwrap();
                let expected = Head { is_final: true, opcode: Opcode::Binary, mask, length: length as u64 };
                assert_eq!((head, input.len()), (expected, length));
            }
        }
    }

    #[test]
    fn faults_are_seen_before_the_rest_is_there() {
        for (bytes, fault) in [
            (&[0xc1, 0x80][..], Fault::ReservedBit),
            (&[0xa1, 0x80], Fault::ReservedBit),
            (&[0x91, 0x80], Fault::ReservedBit),
            (&[0x83, 0x80], Fault::ReservedOpcode),
            (&[0x8f, 0x80], Fault::ReservedOpcode),
            (&[0x09, 0x80], Fault::FragmentedControl),
            (&[0x89, 0xfe], Fault::LongControl),
            (&[0x82, 126, 0, 125], Fault::BadLength),
            (&[0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], Fault::BadLength),
            (&[0x82, 127, 0x80, 0, 0, 0, 0, 1, 0, 0], Fault::BadLength),
        ] {
            assert_eq!(head(bytes), Err(fault), "{bytes:x?}");
        }
        assert_eq!(head(&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3]), Ok(None));
    }
}
