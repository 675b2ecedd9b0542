//! Trades as exchanges number them: each once, in order, and what is missing is known.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use rust_decimal::Decimal;

/// A trade of an exchange.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Trade {
    pub(super) symbol: Arc<str>,
    /// Counts the trades of its symbol, mostly without a gap.
    pub(super) id: u64,
    pub(super) price: Decimal,
    pub(super) size: Decimal,
    pub(super) at: Timestamp,
    /// Whether the taker bought.
    pub(super) bought: Option<bool>,
}

/// The newest trade of each symbol. Bounded by the symbols of the source.
#[derive(Default, Debug)]
pub(super) struct TradeIds(HashMap<Arc<str>, u64>);

/// Where a trade stands among those before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// The first of its symbol, or the next.
    Next,
    /// It was there before, or an earlier one that is too late to be put in its place.
    Old,
    /// So many are missing after this one.
    After { last: u64, missing: u64 },
}

impl TradeIds {
    /// Where a trade of this number stands. Changes nothing.
    pub(super) fn place(&self, symbol: &str, id: u64) -> Place {
        match self.0.get(symbol) {
            None => Place::Next,
            Some(last) if id <= *last => Place::Old,
            Some(last) if id - last == 1 => Place::Next,
            Some(last) => Place::After { last: *last, missing: id - last - 1 },
        }
    }

    /// This trade was taken in.
    pub(super) fn taken(&mut self, symbol: &Arc<str>, id: u64) {
        self.0.insert(Arc::clone(symbol), id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trade_has_its_place() {
        let mut ids = TradeIds::default();
        let symbol = Arc::from("A");
        assert_eq!(ids.place("A", 7), Place::Next);
        ids.taken(&symbol, 7);
        assert_eq!(ids.place("A", 7), Place::Old);
        assert_eq!(ids.place("A", 3), Place::Old);
        assert_eq!(ids.place("A", 8), Place::Next);
        assert_eq!(ids.place("A", 11), Place::After { last: 7, missing: 3 });
        assert_eq!(ids.place("B", 11), Place::Next);
    }
}
