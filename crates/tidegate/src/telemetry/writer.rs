//! Lines on their way out: buffers that many threads append to, and one plain thread that writes them.
//!
//! Whoever appends never waits for the output and makes no system call, except to wake a writer that sleeps or is falling
//! behind. Under load the writer makes a round every [`ROUND`]: it takes a buffer away, and writes it with no lock held. An
//! output that blocks (a pipe that nobody reads) stops this thread alone; the buffers fill up, and from then on lines are
//! dropped and counted. So it is one thread for each output: neither log waits for the other's.
//!
//! ```text
//!             append: unpark                     nothing to write
//!   Asleep ─────────────────────▶ Awake ◀──────────────────────────▶ …
//!      ▲                          │   ▲
//!      │ a round that wrote       │   │ the round's time is over,
//!      │ nothing                  ▼   │ or append: a buffer is a quarter full
//!      └───────────────────────  Pausing
//! ```

mod output;
mod report;

use std::io;
use std::mem;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tidegate_config::valid::AccessOutput;

use self::output::Output;
use self::report::Report;
use crate::ids::{PerWorker, WorkerId};

/// Time between two rounds while there are lines: long enough for batches, short enough for somebody who looks on.
const ROUND: Duration = Duration::from_millis(20);

/// What an empty buffer keeps of its memory: the lines of one round under high load.
const KEPT_BYTES: usize = 256 * 1024;

/// A writer with its buffers. Dropping it lets the thread write what is there and end, without waiting for it.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: &'static str,
    /// Most bytes that wait in one buffer.
    bound: usize,
    buffers: PerWorker<Mutex<Buffer>>,
    state: AtomicU8,
    dropped: AtomicU64,
    orders: Mutex<Orders>,
    flushed: Condvar,
    /// Known before the thread sleeps for the first time.
    thread: OnceLock<Thread>,
}

/// Lines that wait to be written.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// A line did not fit. Those behind it are dropped as well until the writer has been here, so that there is one gap
    /// and not many, and dropping is cheap.
    full: bool,
}

/// What others want from the writer.
#[derive(Debug, Default)]
struct Orders {
    /// Where the writer has not been started, until then.
    first: Option<AccessOutput>,
    redirect: Option<AccessOutput>,
    reopen: bool,
    end: bool,
    /// Number of the last flush that was asked for.
    flush: u64,
    /// Number of the last flush that is done.
    done: u64,
}

/// What the thread does, so that it is only woken where that is needed.
const AWAKE: u8 = 0;
/// Between two rounds.
const PAUSING: u8 = 1;
/// Until it is woken.
const ASLEEP: u8 = 2;

impl Writer {
    /// Nothing is opened and no thread runs before [`Writer::start`]; lines are taken already.
    ///
    /// `name` is that of the thread; `bound` is in bytes for each of the `slots`.
    pub(super) fn new(name: &'static str, slots: usize, bound: usize, output: AccessOutput) -> Self {
        let shared = Shared {
            name,
            bound,
            buffers: PerWorker::new(slots, |_| Mutex::default()),
            state: AtomicU8::new(AWAKE),
            dropped: AtomicU64::new(0),
            orders: Mutex::new(Orders { first: Some(output), ..Orders::default() }),
            flushed: Condvar::new(),
            thread: OnceLock::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Starts the thread. A second call does nothing.
    ///
    /// # Errors
    /// The system refused it.
    pub(super) fn start(&self) -> io::Result<()> {
        let first = self.shared.orders.lock().first.take();
        first.map_or(Ok(()), |output| self.start_with(Output::new(output)))
    }

    fn start_with(&self, output: Output) -> io::Result<()> {
        self.shared.orders.lock().first = None;
        let shared = Arc::clone(&self.shared);
        thread::Builder::new().name(shared.name.to_owned()).spawn(move || shared.run(output))?;
        Ok(())
    }

    /// Takes what `write` appends, which must be one line or nothing. Other slots are not touched; no allocation in the
    /// long run.
    pub(super) fn append(&self, slot: WorkerId, write: impl FnOnce(&mut Vec<u8>)) {
        let shared = &*self.shared;
        let mut buffer = shared.buffers.get(slot).lock();
        if buffer.full {
            shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let before = buffer.bytes.len();
        write(&mut buffer.bytes);
        let waiting = buffer.bytes.len();
        if waiting > shared.bound {
            buffer.bytes.truncate(before);
            buffer.full = true;
            shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
        drop(buffer);
        shared.wake_if(waiting > shared.bound / 4);
    }

    /// Lines that were lost since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Opens a file again by its name. Returns at once.
    pub(super) fn reopen(&self) {
        self.shared.order(|orders| orders.reopen = true);
    }

    /// Writes to `output` from now on. Returns at once.
    pub(super) fn redirect(&self, output: AccessOutput) {
        self.shared.order(|orders| match orders.first {
            Some(_) => orders.first = Some(output),
            None => orders.redirect = Some(output),
        });
    }

    /// Waits until the writer is done with everything appended so far, or `within` has passed. True if it is.
    pub(super) fn flush(&self, within: Duration) -> bool {
        let mut mine = 0;
        self.shared.order(|orders| {
            orders.flush += 1;
            mine = orders.flush;
        });
        let mut orders = self.shared.orders.lock();
        if orders.first.is_some() {
            // There is no thread that could do it.
            return false;
        }
        self.shared.flushed.wait_while_for(&mut orders, |orders| orders.done < mine, within);
        orders.done >= mine
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.order(|orders| orders.end = true);
    }
}

impl Shared {
    fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.orders.lock());
        // Whatever it does: if it is not asleep it does the next round at once.
        if let Some(thread) = self.thread.get() {
            self.state.store(AWAKE, Ordering::Release);
            thread.unpark();
        }
    }

    /// Wakes a writer that sleeps and, if this is `urgent`, one that pauses. Called after an append.
    ///
    /// No wake-up is lost: the writer says that it sleeps before it looks into the buffers for the last time. An append
    /// before that look is seen by it, and one after it sees the state, by way of the buffer's lock.
    fn wake_if(&self, urgent: bool) {
        let state = self.state.load(Ordering::Acquire);
        if state == ASLEEP || (urgent && state == PAUSING) {
            // Of many that see it one wakes.
            if self.state.swap(AWAKE, Ordering::AcqRel) != AWAKE
                && let Some(thread) = self.thread.get()
            {
                thread.unpark();
            }
        }
    }

    /// The life of the thread.
    fn run(&self, mut output: Output) {
        let _ = self.thread.set(thread::current());
        let mut report = Report::new(self.name);
        let mut spare = Vec::new();
        loop {
            let (flush, end) = self.obey(&mut output);
            let wrote = self.round(&mut output, &mut spare);
            report.tell(&mut output, self.dropped.load(Ordering::Relaxed), end || flush.is_some());
            if let Some(flush) = flush {
                self.orders.lock().done = flush;
                self.flushed.notify_all();
            }
            if end {
                return;
            }
            if wrote {
                self.rest(PAUSING, Some(ROUND));
            } else {
                self.rest(ASLEEP, report.pending());
            }
        }
    }

    /// Does what was ordered. Says which flush the next round completes, and whether it is the last one.
    fn obey(&self, output: &mut Output) -> (Option<u64>, bool) {
        let (redirect, reopen, flush, end) = {
            let mut orders = self.orders.lock();
            let flush = (orders.flush > orders.done).then_some(orders.flush);
            (orders.redirect.take(), mem::take(&mut orders.reopen), flush, orders.end)
        };
        if let Some(target) = redirect {
            output.redirect(target);
        }
        if reopen {
            output.reopen();
        }
        (flush, end)
    }

    /// Writes what waits in each buffer. False if nothing did.
    fn round(&self, output: &mut Output, spare: &mut Vec<u8>) -> bool {
        let mut wrote = false;
        output.refresh();
        for buffer in self.buffers.iter() {
            {
                let mut buffer = buffer.lock();
                // A line that is larger than the bound leaves an empty buffer that is full.
                buffer.full = false;
                if buffer.bytes.is_empty() {
                    continue;
                }
                mem::swap(&mut buffer.bytes, spare);
            }
            wrote = true;
            let lost = output.write(spare);
            self.dropped.fetch_add(lost, Ordering::Relaxed);
            spare.clear();
            if spare.capacity() > KEPT_BYTES {
                *spare = Vec::with_capacity(KEPT_BYTES);
            }
        }
        wrote
    }

    fn rest(&self, state: u8, at_most: Option<Duration>) {
        self.state.store(state, Ordering::Release);
        // An order that came before the state was set has left its mark on the thread: parking returns at once.
        let enough = |buffer: &Mutex<Buffer>| {
            let waiting = buffer.lock().bytes.len();
            waiting > if state == ASLEEP { 0 } else { self.bound / 4 }
        };
        if !self.buffers.iter().any(enough) {
            match at_most {
                Some(time) => thread::park_timeout(time),
                None => thread::park(),
            }
        }
        self.state.store(AWAKE, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
