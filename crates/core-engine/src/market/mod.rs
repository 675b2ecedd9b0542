//! What is made of ticks: bars, indicators, and the history that is kept of both in memory.
//!
//! ```text
//!   tick ──► bars      1 s, 1 m, 1 h and 1 d per source and symbol; tells a bar whenever it changed
//!        └─► history   a ring per symbol, bounded by number, bytes and age
//!   bar  ──► history   a ring per source, symbol and interval
//!        └─► indicators  on request, over what the history holds
//! ```
//!
//! Nothing here reads a clock, waits or takes a lock: the time is a parameter, the caller holds the lock.

pub(crate) mod intake;

pub(crate) mod bars;
pub(crate) mod history;
pub(crate) mod indicators;

pub(crate) mod calendar;
pub(crate) mod interval;
pub(crate) mod ohlcv;
mod series;

#[cfg(test)]
mod speed;
