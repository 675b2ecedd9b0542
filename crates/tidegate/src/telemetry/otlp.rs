//! Spans on their way to a collector: a bounded queue that workers fill, and the bytes that are sent.
//!
//! Sending is not done here: what talks to the network stands above this module and takes batches from the queue.

mod encode;
mod queue;
mod wire;

pub use self::encode::{Resource, Verdict, encode, retry_delay, verdict};
pub use self::queue::{BATCH, INTERVAL, QUEUE, SpanQueue};
