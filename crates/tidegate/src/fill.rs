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
    /// Reads that found no room, since one found some.
    refused: u32,
    /// There has been room.
    made: bool,
}

impl Passage {
    fn has_room(&mut self) -> bool {
        if !self.room.try_reclaim(FIRST_READ) {
            self.refused += 1;
            if self.made && self.refused < PATIENCE {
                return false;
            }
            self.room = BytesMut::with_capacity(READ);
            self.made = true;
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
                let_go(input);
            }
            return read;
        }
        let_go(input);
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
        let_go(input);
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

/// An empty rest of what was read holds on to all the memory that this was read into, and what is added to it would begin
/// with as much again.
fn let_go(input: &mut BytesMut) {
    if input.is_empty() {
        *input = BytesMut::new();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf as _;
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

    /// One read of `bytes`, through the passage.
    async fn pass(bytes: &[u8], input: &mut BytesMut) {
        let (mut writer, mut reader) = tokio::io::duplex(READ);
        writer.write_all(bytes).await.unwrap();
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        let read = Fill::default().poll_passing(&mut reader, input, cx);
        assert!(matches!(read, Poll::Ready(Ok(count)) if count == bytes.len()));
        assert!(input.ends_with(bytes));
    }

    #[tokio::test]
    async fn what_passes_is_read_into_the_same_place_again_and_again() {
        let mut places = std::collections::BTreeSet::new();
        for _ in 0..1_000 {
            let mut input = BytesMut::new();
            pass(&[b'x'; 300], &mut input).await;
            places.insert(input.as_ptr() as usize);
        }
        let (first, last) = (places.first().unwrap(), places.last().unwrap());
        assert!(last - first < READ, "{places:?}");
    }

    #[tokio::test]
    async fn an_empty_rest_neither_holds_the_passage_nor_makes_the_next_read_large() {
        let mut rest = BytesMut::new();
        pass(&[b'x'; 300], &mut rest).await;
        rest.advance(300);
        let mut held = Vec::new();
        // Somebody holds on to what they read, so that the passage runs out of room.
        for _ in 0..2 * READ / FIRST_READ {
            let mut input = BytesMut::new();
            pass(&[b'x'; FIRST_READ - 1], &mut input).await;
            held.push(input);
        }
        pass(&[b'y'; 60], &mut rest).await;
        assert!(rest.capacity() < 1024, "{}", rest.capacity());
        drop(held);
        // Its own rest must not stand in the way either.
        rest.advance(60);
        pass(&[b'z'; 60], &mut rest).await;
        PASSAGE.with_borrow(|passage| assert_eq!(passage.refused, 0));
    }

    #[tokio::test]
    async fn a_passage_that_somebody_holds_is_left_to_them_after_a_while() {
        let mut held = BytesMut::new();
        pass(&[b'x'; 300], &mut held).await;
        let mut replaced = 0;
        let mut room = 0;
        for _ in 0..4 * PATIENCE {
            let mut input = BytesMut::new();
            pass(&[b'y'; FIRST_READ - 1], &mut input).await;
            let now = PASSAGE.with_borrow(|passage| passage.room.as_ptr() as usize);
            replaced += u32::from(now.abs_diff(std::mem::replace(&mut room, now)) > READ);
            held.unsplit(input);
        }
        assert!(replaced <= 8, "{replaced}");
    }
}
