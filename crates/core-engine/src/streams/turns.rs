//! Who is woken when.
//!
//! A value that a thousand subscribers wait for makes a thousand tasks ready at once, and a request that comes just then
//! would stand behind all of them. So the first two are woken at once and the others in turn: the next one when one
//! before has sent what waited for it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Subscriber;

/// Subscribers that are woken at once.
pub(super) const WOKEN_AT_ONCE: usize = 2;
/// How long the others wait for holders of a turn that do not come to pass it on, as when a client's window is full.
const TURN_MAX: Duration = Duration::from_millis(1);

/// Of a subscriber that is closed, and may stand in the line yet. Set and asked for under the lock of the line.
const GONE: u32 = u32::MAX;

/// Subscribers that are to be woken, a few at a time: whose turn it is passes it on when it has sent what it took.
#[derive(Default, Debug)]
pub(super) struct Turns {
    line: Mutex<Line>,
    some_stand: Notify,
}

impl Turns {
    /// Wakes these in turn. May lock what tells them while it has the lock of the line, and never the other way round.
    pub(super) fn wake<'a>(&self, subscribers: impl Iterator<Item = &'a Arc<Subscriber>>) {
        let mut line = None;
        for subscriber in subscribers {
            line.get_or_insert_with(|| self.line.lock()).stand(Arc::clone(subscriber));
        }
        if line.is_some_and(|line| !line.standing.is_empty()) {
            self.some_stand.notify_one();
        }
    }

    /// The turn that a subscriber has, if it has one: passed on when it is dropped.
    pub(super) fn of(&self, place: &Place) -> Turn<'_> {
        Turn { turns: self, number: place.turn.swap(0, Ordering::AcqRel) }
    }

    /// A subscriber is closed.
    pub(super) fn leave(&self, place: &Place) {
        let mut line = self.line.lock();
        line.pass_on(place.turn.swap(GONE, Ordering::AcqRel));
    }

    /// Sees to it that turns are passed on, until it is dropped.
    pub(super) async fn watch(&self) {
        loop {
            self.some_stand.notified().await;
            let mut passed = self.line.lock().passed;
            loop {
                tokio::time::sleep(TURN_MAX).await;
                let mut line = self.line.lock();
                if line.standing.is_empty() {
                    break;
                }
                if line.passed == passed {
                    line.begin_anew();
                }
                passed = line.passed;
            }
        }
    }
}

/// Who stands, and who has a turn.
#[derive(Default, Debug)]
struct Line {
    /// Those that wait and have not been woken.
    standing: VecDeque<Arc<Subscriber>>,
    /// Turns that are somebody's now.
    held: usize,
    /// Turns that were passed on, ever.
    passed: u64,
    /// Turns of an earlier one are void.
    generation: u32,
}

impl Line {
    /// Puts one at the end, or wakes it if so few are awake.
    fn stand(&mut self, subscriber: Arc<Subscriber>) {
        self.standing.push_back(subscriber);
        if self.held < WOKEN_AT_ONCE {
            self.held += 1;
            self.give();
        }
    }

    /// Ends a turn, which is the next one's then.
    fn pass_on(&mut self, turn: u32) {
        if turn == self.generation + 1 {
            self.passed += 1;
            self.give();
        }
    }

    fn give(&mut self) {
        while let Some(next) = self.standing.pop_front() {
            if next.place.turn.load(Ordering::Acquire) != GONE {
                next.place.turn.store(self.generation + 1, Ordering::Release);
                return next.place.wake();
            }
        }
        self.held -= 1;
    }

    /// Takes all turns away, and gives as many to others.
    fn begin_anew(&mut self) {
        self.generation = (self.generation + 1) % (GONE - 1);
        self.held = WOKEN_AT_ONCE.min(self.standing.len());
        (0..self.held).for_each(|_| self.give());
    }
}

/// What one subscriber waits with.
#[derive(Default, Debug)]
pub(super) struct Place {
    wake: Notify,
    /// Its turn: one more than the generation of that, 0 for none, or [`GONE`].
    turn: AtomicU32,
}

impl Place {
    /// Wakes it at once.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits to be woken, and passes a turn on. Not at once: whoever writes asks twice in vain, before it hands on what
    /// it has and after it did. If the next one is woken after that, it runs before the connection does, as the runtime
    /// runs what was made ready last; so what several subscribers of one connection get is sent by one write.
    pub(super) async fn woken(&self, turn: Turn<'_>) {
        let mut woken = pin!(self.wake.notified());
        let (mut turn, mut asked) = (Some(turn), 0);
        poll_fn(|context| {
            let poll = woken.as_mut().poll(context);
            asked += 1;
            if asked == 2 || poll.is_ready() {
                turn = None;
            }
            poll
        })
        .await;
    }
}

/// A turn that is passed on when it is dropped; or none.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    number: u32,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.number != 0 {
            self.turns.line.lock().pass_on(self.number);
        }
    }
}

#[cfg(test)]
impl Turns {
    /// How many have a turn, and how many stand.
    pub(super) fn counts(&self) -> (usize, usize) {
        let line = self.line.lock();
        (line.held, line.standing.len())
    }
}

#[cfg(test)]
impl Place {
    pub(super) fn has_turn(&self) -> bool {
        !matches!(self.turn.load(Ordering::Relaxed), 0 | GONE)
    }
}
