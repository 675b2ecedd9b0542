//! The patience with one client: its deadlines, in *one* lazily moved timer.
//!
//! The usual request costs no timer operation: a deadline that has moved on is only noticed when the timer fires. A clock
//! must be asked by one task all its life, for a timer keeps its first waker.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::task::coop::unconstrained;
use tokio::time::Sleep;

use crate::time::now;

/// How long a client may take over each part of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TLS handshake.
    pub handshake: Duration,
    /// A head, in total: from accept for the first one, then from its first byte.
    pub head: Duration,
    /// Between two pieces of a body.
    pub body_idle: Duration,
    /// Time for a body that is free of the rate below.
    pub body_grace: Duration,
    /// Slowest body that is taken, in bytes per second, after `body_grace`.
    pub body_bytes_per_second: u32,
    /// For the client to take any byte of what waits for it.
    pub write: Duration,
    /// Without a request.
    pub idle: Duration,
    /// For an HTTP/2 client's answer to a PING.
    pub ping: Duration,
    /// After which an HTTP/2 client that sends nothing is asked for a sign of life.
    pub ping_interval: Duration,
    /// Age after which a connection is closed at the next opportunity; spread by ± 10 %.
    pub age: Duration,
    /// For reading what a refused client still sends, so that it gets the refusal and not a reset.
    pub linger: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            body_idle: Duration::from_secs(15),
            body_grace: Duration::from_secs(5),
            body_bytes_per_second: 1024,
            write: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            ping: Duration::from_secs(10),
            ping_interval: Duration::from_secs(30),
            age: Duration::from_secs(3600),
            linger: Duration::from_secs(1),
        }
    }
}

/// What the next byte of a client belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Between two requests: nothing of the next one has come.
    Between,
    /// In a head that is not complete.
    Head,
    /// In a body that is not complete.
    Body,
}

/// How long one body has been waited for, and what came of it. Pure.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Patience {
    waited: Duration,
    bytes: u64,
}

impl Patience {
    /// Some of the body has come.
    pub(crate) fn took(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    /// It had been waited for that long.
    pub(crate) fn waited(&mut self, time: Duration) {
        self.waited = self.waited.saturating_add(time);
    }

    /// How long the next piece may take: bounded by itself, and by the rate over the whole body. Only time that we
    /// waited counts, so a slow backend is never blamed on the client.
    pub(crate) fn left(&self, timeouts: &Timeouts) -> Duration {
        let earned = self.bytes / u64::from(timeouts.body_bytes_per_second.max(1));
        let allowed = timeouts.body_grace.saturating_add(Duration::from_secs(earned));
        allowed.saturating_sub(self.waited).min(timeouts.body_idle)
    }
}

/// The deadlines of one client, and the one timer that wakes for whichever is next.
pub(in crate::listen) struct Clock {
    /// By when the first head must be complete; `None` once a head was.
    first_head: Option<Instant>,
    /// Since when the present state has been waiting for bytes.
    waiting_since: Option<(Place, Instant)>,
    /// What the present body has used up.
    patience: Patience,
    /// When the connection is old enough to be closed, and whether that time has been passed.
    close_at: Instant,
    aged: bool,
    /// Since when the socket has taken nothing.
    blocked_since: Option<Instant>,
    sleep: Pin<Box<Sleep>>,
    /// The timer has been started with the task's waker.
    started: bool,
}

impl Clock {
    pub(in crate::listen) fn new(first_head: Instant, close_at: Instant) -> Self {
        Self {
            close_at,
            aged: false,
            first_head: Some(first_head),
            waiting_since: None,
            patience: Patience::default(),
            blocked_since: None,
            sleep: Box::pin(tokio::time::sleep_until(first_head.into())),
            started: false,
        }
    }

    /// Whether the connection is old enough to be closed. Noticed whenever a client begins to be waited for, or need not be.
    pub(in crate::listen) fn is_aged(&self) -> bool {
        self.aged
    }

    /// Bytes have come.
    pub(in crate::listen) fn heard(&mut self, bytes: usize) {
        self.patience.took(bytes);
        // The deadline of a head is total, so bytes do not move it.
        if let Some((Place::Body, since)) = self.waiting_since.take_if(|(place, _)| *place != Place::Head) {
            self.patience.waited(now().saturating_duration_since(since));
        }
    }

    /// A head is complete. `at_once`: nobody has waited for it, and seen what time it is.
    pub(in crate::listen) fn head_done(&mut self, at_once: bool) {
        self.aged |= at_once && now() >= self.close_at;
        self.first_head = None;
        self.waiting_since = None;
        self.patience = Patience::default();
    }

    /// The client owes nothing now.
    pub(in crate::listen) fn owes_nothing(&mut self) {
        self.waiting_since = None;
    }

    /// When a client is late that owes what `place` says.
    pub(in crate::listen) fn read_deadline(&mut self, timeouts: &Timeouts, place: Place) -> Instant {
        if let Some(first) = self.first_head
            && place != Place::Body
        {
            return first;
        }
        let since = match self.waiting_since {
            Some((waiting_at, since)) if waiting_at == place => since,
            _ => {
                let since = now();
                self.waiting_since = Some((place, since));
                self.aged |= since >= self.close_at;
                since
            }
        };
        match place {
            Place::Between => since + timeouts.idle,
            Place::Head => since + timeouts.head,
            Place::Body => since + self.patience.left(timeouts),
        }
    }

    /// Notes whether the socket takes bytes, `blocked` if not. Ready if a client has taken none for too long.
    pub(in crate::listen) fn wrote(&mut self, blocked: bool, patience: Duration, cx: &mut Context<'_>) -> Poll<()> {
        if !blocked {
            self.blocked_since = None;
            return Poll::Pending;
        }
        let deadline = *self.blocked_since.get_or_insert_with(now) + patience;
        self.poll(deadline, cx)
    }

    /// The last write found the socket full.
    pub(in crate::listen) fn is_blocked(&self) -> bool {
        self.blocked_since.is_some()
    }

    /// Ready once `deadline` has passed. While the timer is set for the same or an earlier time this is two loads;
    /// it is moved only when it fires too early or a nearer deadline comes.
    pub(in crate::listen) fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if self.started && !self.sleep.is_elapsed() && self.sleep.deadline().into_std() <= deadline {
            return Poll::Pending;
        }
        if now() >= deadline {
            return Poll::Ready(());
        }
        self.sleep.as_mut().reset(deadline.into());
        self.started = true;
        // Whatever the task has done in this turn: tokio's budget would keep a task that has worked much from leaving its
        // waker, and as this is not asked again before the deadline, nobody would wake it then.
        pin!(unconstrained(self.sleep.as_mut())).poll(cx)
    }
}

#[cfg(test)]
mod tests;
