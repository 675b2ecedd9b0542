//! How many frames beside those of requests and bodies are a flood: in a second, and in a minute. Pure.
//!
//! Two bounds, because one cannot do both. A second has room for what busy clients send at their busiest, and a client that
//! stays just below it for ever has each of its frames answered. A minute has room for what clients send by themselves, and
//! beside it for what requests and answers explain: window updates are for bytes that were received, and gRPC clients send
//! a PING for each piece of a stream to measure the way (thousands a second in a near network, without a request between
//! them).

use std::time::{Duration, Instant};

/// Frames that a connection may send in [`BURST_WINDOW`], unless the listener says otherwise.
pub(crate) const MAX_FRAMES_PER_WINDOW: u32 = 10_000;

/// See [`MAX_FRAMES_PER_WINDOW`].
const BURST_WINDOW: Duration = Duration::from_secs(1);

/// Such frames that each request makes room for: window updates, a reset.
const FRAMES_PER_REQUEST: u64 = 4;

/// Bytes of answers that do the same for a frame: four for each full DATA frame, as a client has window updates to send
/// for it. At 100 MB/s they alone are 12,000 in a second.
const BYTES_PER_FRAME_AT_ONCE: u64 = 4_096;

/// Frames that nothing explains, in [`CHATTER_WINDOW`]: 33 in a second, all the time. Keep-alive is a PING every few
/// seconds.
const MAX_UNEXPLAINED: u32 = 2_000;

/// A listener that takes more frames than usual in a second takes more in a minute: this part of them.
const UNEXPLAINED_PART: u32 = 5;

/// See [`MAX_UNEXPLAINED`].
const CHATTER_WINDOW: Duration = Duration::from_secs(60);

/// Bytes of answers that explain a frame. The smallest piece of an answer has ten, and a client has three things to say to
/// it: a PING, a window update for its stream, and one for the connection.
const BYTES_PER_FRAME: u64 = 3;

/// Counts the frames of a second.
#[derive(Debug)]
pub(super) struct Burst {
    frames: u64,
    permitted: u64,
    /// What is permitted without a request.
    most: u64,
    /// Bytes that were sent to the client.
    sent: u64,
    /// When the count was zero; the clock is read once in at least `most` frames.
    since: Instant,
}

impl Burst {
    /// `most`: frames in a second.
    pub(super) fn new(now: Instant, most: u32) -> Self {
        let most = most.into();
        Self { frames: 0, permitted: most, most, sent: 0, since: now }
    }

    /// A head has come.
    pub(super) fn head(&mut self) {
        self.permitted = self.permitted.saturating_add(FRAMES_PER_REQUEST);
    }

    /// So many bytes have been sent to the client.
    pub(super) fn sent(&mut self, bytes: u64) {
        self.sent = self.sent.saturating_add(bytes);
    }

    /// Another frame has come. `false`: too many, too fast.
    pub(super) fn frame(&mut self, now: impl Fn() -> Instant) -> bool {
        self.frames = self.frames.saturating_add(1);
        if self.frames < self.permitted.saturating_add(self.sent / BYTES_PER_FRAME_AT_ONCE) {
            return true;
        }
        let now = now();
        let calm = now.saturating_duration_since(self.since) >= BURST_WINDOW;
        (self.frames, self.permitted, self.sent) = (0, self.most, 0);
        self.since = now;
        calm
    }
}

/// Counts the frames of a minute that neither requests nor answers explain.
#[derive(Debug)]
pub(super) struct Chatter {
    frames: u64,
    /// Frames that are explained by what the client has sent.
    explained: u64,
    /// Bytes that were sent to the client.
    sent: u64,
    /// Those of them that do nothing but answer frames: they explain none.
    acks: u64,
    /// Frames that the minute before could have explained, and did not have to: what was sent at its end is acknowledged
    /// in this one.
    left_over: u64,
    /// Frames that nothing has to explain.
    most: u64,
    /// How many frames there are when the clock is read, once in an eighth of `most`.
    look_at: u64,
    /// When the counts were zero.
    since: Instant,
}

impl Chatter {
    /// `most`: frames in a second.
    pub(super) fn new(now: Instant, most: u32) -> Self {
        let most = u64::from(MAX_UNEXPLAINED.max(most / UNEXPLAINED_PART));
        Self { frames: 0, explained: 0, sent: 0, acks: 0, left_over: 0, most, look_at: most / 8, since: now }
    }

    /// A head has come.
    pub(super) fn head(&mut self) {
        self.explained = self.explained.saturating_add(FRAMES_PER_REQUEST);
    }

    /// A piece of a body has come.
    pub(super) fn piece(&mut self) {
        self.explained = self.explained.saturating_add(1);
    }

    /// A frame has come that is answered by so many bytes.
    pub(super) fn owes(&mut self, bytes: u64) {
        self.acks = self.acks.saturating_add(bytes);
    }

    /// So many bytes have been sent to the client.
    pub(super) fn sent(&mut self, bytes: u64) {
        self.sent = self.sent.saturating_add(bytes);
    }

    /// Another frame has come. `false`: too many that nothing explains.
    pub(super) fn frame(&mut self, now: impl Fn() -> Instant) -> bool {
        self.frames = self.frames.saturating_add(1);
        if self.frames < self.look_at {
            return true;
        }
        self.look_at = self.frames.saturating_add(self.most / 8);
        let answers = self.sent.saturating_sub(self.acks) / BYTES_PER_FRAME;
        let explained = self.explained.saturating_add(answers);
        let now = now();
        if now.saturating_duration_since(self.since) >= CHATTER_WINDOW {
            self.begin(now, explained);
            return true;
        }
        self.frames.saturating_sub(explained.saturating_add(self.left_over)) < self.most
    }

    /// Another minute.
    fn begin(&mut self, now: Instant, explained: u64) {
        self.left_over = explained.saturating_sub(self.frames);
        self.acks = self.acks.saturating_sub(self.sent);
        (self.frames, self.explained, self.sent) = (0, 0, 0);
        self.look_at = self.most / 8;
        self.since = now;
    }
}
