//! The codings, undone step by step.

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, InBuffer, Operation as _, OutBuffer};

/// Largest window of Zstandard that a client may use: 8 MiB, as RFC 9659 has it. Only what is written into it is memory.
const ZSTD_WINDOW_BITS: u32 = 23;

/// The same for a body without a bound, whose sender could keep the whole window for as long as it likes: 1 MiB.
const ZSTD_ENDLESS_WINDOW_BITS: u32 = 20;

/// The window of deflate: 32 KiB, all that the format has.
const WINDOW_BITS: u8 = 15;

/// Members of one gzip body. Each costs a new state, whatever it holds.
const MAX_MEMBERS: u32 = 128;

/// A coding of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    /// With the header of zlib, or without: RFC 9110 wants it and knows that some leave it out (section 8.4.1.2).
    Deflate,
    Zstd,
}

impl Coding {
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        if is(b"gzip") || is(b"x-gzip") {
            return Some(Self::Gzip);
        }
        if is(b"zstd") {
            return Some(Self::Zstd);
        }
        is(b"deflate").then_some(Self::Deflate)
    }
}

/// The bytes are not what their coding says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// Undoes a coding. Boxed where it is large: most requests have none.
pub(super) enum Decoder {
    /// With the number of members that have begun, and whether the last one has ended.
    Gzip { inflate: Decompress, members: u32, ended: bool },
    /// With whether it has begun, and ended.
    Deflate { inflate: Decompress, begun: bool, ended: bool },
    /// With whether the last frame has ended.
    Zstd { decoder: Box<ZstdDecoder<'static>>, ended: bool },
}

impl Decoder {
    /// `is_bounded`: the body has a largest size.
    ///
    /// # Errors
    /// No memory for the state.
    pub(super) fn new(coding: Coding, is_bounded: bool) -> Result<Self, Broken> {
        Ok(match coding {
            Coding::Gzip => Self::Gzip { inflate: Decompress::new_gzip(WINDOW_BITS), members: 1, ended: false },
            Coding::Deflate => Self::Deflate { inflate: Decompress::new(true), begun: false, ended: false },
            Coding::Zstd => {
                let mut decoder = ZstdDecoder::new().map_err(|_| Broken)?;
                let bits = if is_bounded { ZSTD_WINDOW_BITS } else { ZSTD_ENDLESS_WINDOW_BITS };
                decoder.set_parameter(DParameter::WindowLogMax(bits)).map_err(|_| Broken)?;
                Self::Zstd { decoder: Box::new(decoder), ended: false }
            }
        })
    }

    /// Inflates `input` into the room that `out` has left, and tells how much of it was taken. If that is filled, there
    /// may be more without any input.
    pub(super) fn run(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, Broken> {
        match self {
            Self::Gzip { inflate, members, ended } => {
                if *ended {
                    if input.is_empty() {
                        return Ok(0);
                    }
                    *members = members.checked_add(1).filter(|members| *members <= MAX_MEMBERS).ok_or(Broken)?;
                    *inflate = Decompress::new_gzip(WINDOW_BITS);
                    *ended = false;
                }
                run(inflate, input, out, ended)
            }
            Self::Deflate { ended: true, .. } if input.is_empty() => Ok(0),
            Self::Deflate { ended: true, .. } => Err(Broken),
            Self::Deflate { inflate, begun, ended } => {
                if let Some(first) = input.first().filter(|_| !*begun) {
                    *begun = true;
                    if !begins_zlib(*first) {
                        *inflate = Decompress::new(false);
                    }
                }
                run(inflate, input, out, ended)
            }
            Self::Zstd { decoder, ended } => {
                // A frame that has ended begins anew with the next byte, not without one.
                if input.is_empty() && *ended {
                    return Ok(0);
                }
                let mut taken = InBuffer::around(input);
                let mut made = OutBuffer::around_pos(out, 0);
                let wanted = decoder.run(&mut taken, &mut made).map_err(|_| Broken)?;
                *ended = wanted == 0;
                Ok(taken.pos())
            }
        }
    }

    /// Nothing is missing at the end of what was taken.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::Gzip { ended, .. } | Self::Deflate { ended, .. } | Self::Zstd { ended, .. } => *ended,
        }
    }
}

/// The compression method in the first byte of zlib's header (RFC 1950, section 2.2). Without the header these bits would be
/// a stored block whose padding is not zero, which nobody writes.
fn begins_zlib(first: u8) -> bool {
    first & 0x0f == 8
}

fn run(inflate: &mut Decompress, input: &[u8], out: &mut Vec<u8>, ended: &mut bool) -> Result<usize, Broken> {
    let before = inflate.total_in();
    let status = inflate.decompress_vec(input, out, FlushDecompress::None).map_err(|_| Broken)?;
    *ended = status == Status::StreamEnd;
    usize::try_from(inflate.total_in().saturating_sub(before)).map_err(|_| Broken)
}
