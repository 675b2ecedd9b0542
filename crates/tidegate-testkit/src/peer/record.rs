//! What a backend was sent, while it is being sent.

use bytes::{Buf as _, Bytes, BytesMut};
use h2::{Reason, RecvStream};
use http::HeaderMap;
use tokio::sync::watch;

use crate::soon;

/// What has arrived of a call so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    messages: Vec<Bytes>,
    /// Bytes that the script has sent, which the gateway wanted.
    sent: usize,
    ended: bool,
    reset: Option<Reason>,
    lost: bool,
}

/// The writing side of a call's record.
#[derive(Clone, Debug)]
pub(super) struct Record(std::sync::Arc<watch::Sender<Seen>>);

impl Record {
    pub(super) fn new(sender: watch::Sender<Seen>) -> Self {
        Self(std::sync::Arc::new(sender))
    }

    /// The gateway has reset the call.
    pub(super) fn reset(&self, reason: Reason) {
        self.0.send_modify(|seen| seen.reset = Some(seen.reset.unwrap_or(reason)));
    }

    /// The script has sent more.
    pub(super) fn sent(&self, bytes: usize) {
        self.0.send_modify(|seen| seen.sent += bytes);
    }

    /// The connection was lost.
    pub(super) fn lost(&self) {
        self.0.send_modify(|seen| seen.lost = true);
    }

    /// Ready once the gateway has sent `count` messages, or everything.
    pub(super) async fn has(&self, count: usize) {
        let mut watching = self.0.subscribe();
        let enough = |seen: &Seen| seen.messages.len() >= count || seen.ended || seen.reset.is_some() || seen.lost;
        let _seen = watching.wait_for(enough).await;
    }

    /// The gateway's message number `index`, once it is there; `None` if it does not come.
    pub(super) async fn message(&self, index: usize) -> Option<Bytes> {
        self.has(index + 1).await;
        self.0.borrow().messages.get(index).cloned()
    }

    /// Reads the request to its end.
    pub(super) async fn read(self, mut body: RecvStream) {
        let mut unread = BytesMut::new();
        loop {
            match body.data().await {
                None => break self.0.send_modify(|seen| seen.ended = true),
                Some(Err(error)) => match error.reason() {
                    Some(reason) if error.is_reset() => break self.reset(reason),
                    _ => break self.lost(),
                },
                Some(Ok(data)) => {
                    let _ = body.flow_control().release_capacity(data.len());
                    unread.extend_from_slice(&data);
                    while let Some(message) = take_message(&mut unread) {
                        self.0.send_modify(|seen| seen.messages.push(message));
                    }
                }
            }
        }
    }
}

/// The first message of `bytes`, without its frame, if it is complete.
fn take_message(bytes: &mut BytesMut) -> Option<Bytes> {
    let prefix = bytes.get(..5)?;
    assert_eq!(prefix[0], 0, "the gateway does not compress");
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    if bytes.len() < 5 + length {
        return None;
    }
    bytes.advance(5);
    Some(bytes.split_to(length).freeze())
}

/// A call that has arrived at a backend.
#[derive(Debug)]
pub struct Call {
    /// `/shop.v1.OrderService/GetOrder`.
    pub path: String,
    /// The metadata, with everything that HTTP/2 carries beside the pseudo-headers.
    pub metadata: HeaderMap,
    seen: watch::Receiver<Seen>,
}

impl Call {
    pub(super) fn new(parts: &http::request::Parts, seen: watch::Receiver<Seen>) -> Self {
        Self { path: parts.uri.path().to_owned(), metadata: parts.headers.clone(), seen }
    }

    /// A metadata value as text; empty if there is none.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.metadata.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// All messages, once the gateway has ended its side.
    ///
    /// # Panics
    /// If it does not end it.
    pub async fn messages(&mut self) -> Vec<Bytes> {
        let seen = soon(self.seen.wait_for(|seen| seen.ended || seen.reset.is_some() || seen.lost)).await;
        let seen = seen.expect("the call is recorded");
        assert!(seen.ended, "the gateway did not end its side: {seen:?}");
        seen.messages.clone()
    }

    /// The only message.
    ///
    /// # Panics
    /// If there is not exactly one.
    pub async fn message(&mut self) -> Bytes {
        let messages = self.messages().await;
        assert_eq!(messages.len(), 1, "{messages:?}");
        messages.into_iter().next().unwrap_or_default()
    }

    /// The first `count` messages, once they are there, whether or not more follow.
    ///
    /// # Panics
    /// If they do not come.
    pub async fn first(&mut self, count: usize) -> Vec<Bytes> {
        let seen = soon(self.seen.wait_for(|seen| seen.messages.len() >= count)).await;
        seen.expect("the call is recorded").messages[..count].to_vec()
    }

    /// What has arrived by now.
    #[must_use]
    pub fn so_far(&self) -> Vec<Bytes> {
        self.seen.borrow().messages.clone()
    }

    /// Bytes that the gateway has been ready to take by now, frames included.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.seen.borrow().sent
    }

    /// The gateway has ended its side cleanly, by now.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.seen.borrow().ended
    }

    /// Waits for the gateway's reset. Needs a script that waits for it too.
    ///
    /// # Panics
    /// If none comes.
    pub async fn reset(&mut self) -> Reason {
        let seen = soon(self.seen.wait_for(|seen| seen.reset.is_some() || seen.lost)).await;
        seen.expect("the call is recorded").reset.expect("a reset of the stream, not of the connection")
    }
}
