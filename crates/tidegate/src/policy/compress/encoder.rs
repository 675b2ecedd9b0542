//! The codings. Each at its fastest level: an answer is compressed once and read once, while its client waits.

use std::cell::RefCell;
use std::io::{self, Write as _};

use brotli::CompressorWriter;
use bytes::Bytes;
use flate2::write::GzEncoder;
use flate2::{Compress, Compression, FlushCompress, Status};
use zstd::bulk::Compressor;
use zstd::stream::write::Encoder as ZstdEncoder;

use super::Coding;

/// Level of gzip.
const GZIP_LEVEL: Compression = Compression::fast();

/// Its window: 32 KiB, all that the format has.
const GZIP_WINDOW_BITS: u8 = 15;

/// Level of Zstandard.
const ZSTD_LEVEL: i32 = 1;

/// The window of Zstandard: 128 KiB. Clients need not take more than 8 MiB (RFC 9659), and a larger one would be memory of
/// each answer that is on its way.
const ZSTD_WINDOW_BITS: u32 = 17;

/// Quality of Brotli.
const BROTLI_QUALITY: u32 = 1;

/// The window of Brotli: 256 KiB.
const BROTLI_WINDOW_BITS: u32 = 18;

/// Brotli writes in pieces of this size.
const BROTLI_BUFFER: usize = 4 * 1024;

/// Turns a body into a coding, piece by piece. What it has made waits in a buffer until it is taken.
pub(super) enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(ZstdEncoder<'static, Vec<u8>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
}

impl Encoder {
    /// # Errors
    /// No memory for the coding's state.
    pub(super) fn new(coding: Coding) -> io::Result<Self> {
        Ok(match coding {
            Coding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), GZIP_LEVEL)),
            Coding::Zstd => {
                let mut encoder = ZstdEncoder::new(Vec::new(), ZSTD_LEVEL)?;
                encoder.window_log(ZSTD_WINDOW_BITS)?;
                Self::Zstd(encoder)
            }
            Coding::Brotli => Self::Brotli(Box::new(CompressorWriter::new(
                Vec::new(),
                BROTLI_BUFFER,
                BROTLI_QUALITY,
                BROTLI_WINDOW_BITS,
            ))),
        })
    }

    /// Takes `bytes` in.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.write_all(bytes),
            Self::Zstd(encoder) => encoder.write_all(bytes),
            Self::Brotli(encoder) => encoder.write_all(bytes),
        }
    }

    /// Makes everything that was taken in readable for the client.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
            Self::Brotli(encoder) => encoder.flush(),
        }
    }

    /// What was made since the last time.
    pub(super) fn take(&mut self) -> Bytes {
        let made = match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
        };
        std::mem::take(made).into()
    }

    /// The rest, with whatever the coding has at its end.
    pub(super) fn finish(self) -> io::Result<Bytes> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
            Self::Brotli(encoder) => Ok(encoder.into_inner()),
        }
        .map(Bytes::from)
    }
}

/// States of codings that are expensive to make, one for each thread: whole bodies never wait in the middle.
struct Kept {
    gzip: Compress,
    zstd: Option<Compressor<'static>>,
}

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::new(Kept {
        gzip: Compress::new_gzip(GZIP_LEVEL, GZIP_WINDOW_BITS),
        zstd: Compressor::new(ZSTD_LEVEL).ok(),
    });
}

/// A small body at once; `None` if it would not become smaller.
pub(super) fn at_once(coding: Coding, bytes: &[u8]) -> Option<Bytes> {
    // There is room for what is worth sending, and for no more.
    let mut made = Vec::with_capacity(bytes.len());
    match coding {
        Coding::Gzip => KEPT.with_borrow_mut(|kept| {
            kept.gzip.reset();
            let status = kept.gzip.compress_vec(bytes, &mut made, FlushCompress::Finish);
            matches!(status, Ok(Status::StreamEnd)).then_some(())
        })?,
        Coding::Zstd => {
            KEPT.with_borrow_mut(|kept| kept.zstd.as_mut()?.compress_to_buffer(bytes, &mut made).ok())?;
        }
        Coding::Brotli => {
            let mut encoder = CompressorWriter::new(made, BROTLI_BUFFER, BROTLI_QUALITY, BROTLI_WINDOW_BITS);
            encoder.write_all(bytes).ok()?;
            made = encoder.into_inner();
        }
    }
    (made.len() < bytes.len()).then(|| made.into())
}
