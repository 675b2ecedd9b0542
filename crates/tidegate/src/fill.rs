//! Reading from sockets into buffers that are as large as what came.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

/// Room for one read. Of a large message no more than this waits for whoever takes it.
const READ: usize = 16 * 1024;

/// A first read goes through so much of the stack, which is always in the processor's cache, and leaves an allocation of the
/// size of what came. Buffers for the largest read, one for each connection, would be memory that is cold when it is needed,
/// and that idle connections hold.
const FIRST_READ: usize = 4 * 1024;

/// So many reads go elsewhere before a passage that somebody holds on to is left to them.
const PATIENCE: u32 = 1024;

thread_local! {
    static PASSAGE: RefCell<Passage> = RefCell::new(Passage::default());
}

/// Where a worker reads what will be let go of at once: one place for all connections, which is always in the cache. While
/// somebody holds on to something in it (the client does not take its answer), reads that find no room do without.
#[derive(Default)]
struct Passage {
    room: BytesMut,
    refused: u32,
}

impl Passage {
    fn has_room(&mut self) -> bool {
        if !self.room.try_reclaim(FIRST_READ) {
            self.refused += 1;
            if self.room.capacity() > 0 && self.refused < PATIENCE {
                return false;
            }
            self.room = BytesMut::with_capacity(READ);
        }
        self.refused = 0;
        true
    }
}

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

    /// The same for what is let go of in the step that reads it, most often: the answers of backends.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn poll_passing<S>(
        &mut self,
        stream: &mut S,
        input: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>>
    where
        S: AsyncRead + Unpin,
    {
        if self.large || !input.is_empty() {
            return self.poll(stream, input, cx);
        }
        PASSAGE.with_borrow_mut(|passage| {
            if !passage.has_room() {
                return self.poll(stream, input, cx);
            }
            let read = ready!(pin!(stream.read_buf(&mut (&mut passage.room).limit(FIRST_READ))).poll(cx))?;
            self.large = read == FIRST_READ;
            *input = passage.room.split();
            Poll::Ready(Ok(read))
        })
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
