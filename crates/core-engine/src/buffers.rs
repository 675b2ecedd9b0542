//! The newest values of each symbol: one ring per symbol, bounded in length and number.
//!
//! A ring holds the values of all sources in the order of their arrival. No symbol is ever forgotten, so the bound on
//! symbols is reached by new names alone; their values still reach streams, they are only not buffered.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::settings::BufferLimits;
use crate::tick::Value;

/// All rings.
#[derive(Debug)]
pub(crate) struct Buffers {
    limits: BufferLimits,
    by_symbol: HashMap<Arc<str>, VecDeque<Arc<Value>>>,
    counts: BufferCounts,
}

/// What the rings hold and what their bounds cost.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub(crate) struct BufferCounts {
    /// Symbols that have a ring.
    pub(crate) symbols: usize,
    /// Values in all rings.
    pub(crate) items: usize,
    /// Values that made place for newer ones.
    pub(crate) evicted: u64,
    /// Values that were not kept, because `max_symbols` was reached.
    pub(crate) refused: u64,
}

impl Buffers {
    /// Empty; rings are made as symbols come.
    pub(crate) fn new(limits: BufferLimits) -> Self {
        Self { limits, by_symbol: HashMap::new(), counts: BufferCounts::default() }
    }

    /// The bounds.
    pub(crate) fn limits(&self) -> BufferLimits {
        self.limits
    }

    /// Appends a value to the ring of its symbol.
    pub(crate) fn push(&mut self, value: Arc<Value>) {
        let full = self.by_symbol.len() >= self.limits.max_symbols;
        let ring = match self.by_symbol.get_mut(&value.tick.symbol) {
            Some(ring) => ring,
            None if full => {
                self.counts.refused += 1;
                return;
            }
            None => self.by_symbol.entry(Arc::clone(&value.tick.symbol)).or_default(),
        };
        if ring.len() >= self.limits.capacity {
            ring.pop_front();
            self.counts.evicted += 1;
            self.counts.items -= 1;
        }
        ring.push_back(value);
        self.counts.items += 1;
    }

    /// The newest `limit` values of a symbol, oldest first, and how many its ring holds. With `source`, values of
    /// that source alone. `None` if no value of the symbol was ever kept.
    pub(crate) fn newest(&self, symbol: &str, source: Option<&str>, limit: usize) -> Option<(Vec<Arc<Value>>, usize)> {
        let ring = self.by_symbol.get(symbol)?;
        let mut found: Vec<Arc<Value>> = ring
            .iter()
            .rev()
            .filter(|value| source.is_none_or(|source| *value.source == *source))
            .take(limit)
            .cloned()
            .collect();
        found.reverse();
        Some((found, ring.len()))
    }

    /// What the rings hold now.
    pub(crate) fn counts(&self) -> BufferCounts {
        BufferCounts { symbols: self.by_symbol.len(), ..self.counts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tick::samples::value;

    fn buffers(pushed: &[(&str, u64, &str)]) -> Buffers {
        let mut buffers = Buffers::new(BufferLimits { capacity: 3, max_symbols: 2 });
        for (source, sequence, symbol) in pushed {
            buffers.push(value(source, *sequence, symbol));
        }
        buffers
    }

    fn sequences(buffers: &Buffers, symbol: &str, source: Option<&str>, limit: usize) -> Option<Vec<u64>> {
        let (values, _) = buffers.newest(symbol, source, limit)?;
        Some(values.iter().map(|value| value.sequence).collect())
    }

    #[test]
    fn newest_values_come_oldest_first_and_can_be_narrowed_to_a_source() {
        let buffers = buffers(&[("s", 1, "A"), ("r", 1, "A"), ("s", 2, "A"), ("s", 3, "B")]);
        assert_eq!(sequences(&buffers, "A", None, 10), Some(vec![1, 1, 2]));
        assert_eq!(sequences(&buffers, "A", None, 2), Some(vec![1, 2]));
        assert_eq!(sequences(&buffers, "A", Some("s"), 10), Some(vec![1, 2]));
        assert_eq!(sequences(&buffers, "A", Some("x"), 10), Some(vec![]));
        assert_eq!(sequences(&buffers, "C", None, 10), None);
    }

    #[test]
    fn a_full_ring_forgets_its_oldest_value() {
        let buffers = buffers(&[("s", 1, "A"), ("s", 2, "A"), ("s", 3, "A"), ("s", 4, "A"), ("s", 5, "B")]);
        assert_eq!(sequences(&buffers, "A", None, 10), Some(vec![2, 3, 4]));
        assert_eq!(buffers.counts(), BufferCounts { symbols: 2, items: 4, evicted: 1, refused: 0 });
    }

    #[test]
    fn a_symbol_too_many_is_refused_and_counted() {
        let buffers = buffers(&[("s", 1, "A"), ("s", 2, "B"), ("s", 3, "C"), ("s", 4, "A")]);
        assert_eq!(sequences(&buffers, "C", None, 10), None);
        assert_eq!(buffers.counts(), BufferCounts { symbols: 2, items: 3, evicted: 0, refused: 1 });
    }
}
