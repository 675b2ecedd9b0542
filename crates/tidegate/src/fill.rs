//! Reading from sockets into buffers that are as large as what came.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

/// Room for one read. Of a large message no more than this waits for whoever takes it.
const READ: usize = 16 * 1024;

/// A first read goes through so much of the stack, which is always in the processor's cache, and leaves an allocation of the
/// size of what came. Buffers for the largest read, one for each connection, would be memory that is cold when it is needed,
/// and that idle connections hold.
const FIRST_READ: usize = 4 * 1024;

/// How one connection is read.
#[derive(Debug, Default)]
pub struct Fill {
    /// The last read filled its room, so more waits most probably.
    large: bool,
}

impl Fill {
    /// Adds what has come from `stream` to `input`; 0 is the end.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn poll<S>(&mut self, stream: &mut S, input: &mut BytesMut, cx: &mut Context<'_>) -> Poll<io::Result<usize>>
    where
        S: AsyncRead + Unpin,
    {
        if self.large {
            input.reserve(READ);
            let read = pin!(stream.read_buf(input)).poll(cx);
            self.large = matches!(read, Poll::Ready(Ok(bytes)) if bytes >= FIRST_READ);
            if read.is_pending() && input.is_empty() {
                // It may be long until something comes.
                *input = BytesMut::new();
            }
            return read;
        }
        let mut room = [MaybeUninit::uninit(); FIRST_READ];
        let mut room = ReadBuf::uninit(&mut room);
        ready!(Pin::new(stream).poll_read(cx, &mut room))?;
        input.extend_from_slice(room.filled());
        self.large = room.remaining() == 0;
        Poll::Ready(Ok(room.filled().len()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn nothing_is_held_while_nothing_comes() {
        let (mut writer, mut reader) = tokio::io::duplex(2 * FIRST_READ);
        let (mut fill, mut input) = (Fill::default(), BytesMut::new());
        writer.write_all(&[b'x'; FIRST_READ]).await.unwrap();
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        assert!(matches!(fill.poll(&mut reader, &mut input, cx), Poll::Ready(Ok(FIRST_READ))));
        assert!(fill.large);
        drop(std::mem::take(&mut input));
        assert!(fill.poll(&mut reader, &mut input, cx).is_pending());
        assert_eq!(input.capacity(), 0);
    }
}
