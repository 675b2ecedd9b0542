//! One instrument with its book, its tape and what both come to.

use std::collections::VecDeque;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::book::Book;
use super::instrument::{Instrument, Side};
use crate::ids::{OrderId, TradeId};
use crate::store::Batch;

/// Collections of the store.
pub(crate) const TRADES: &str = "trades";
pub(crate) const STATISTICS: &str = "statistics";
/// Trades of one instrument that are remembered; the oldest go first.
pub(crate) const TRADES_MAX: usize = 5_000;

/// Two orders that met.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Trade {
    pub(crate) id: TradeId,
    pub(crate) symbol: String,
    pub(crate) price: Decimal,
    pub(crate) quantity: Decimal,
    /// The side of the order that came later.
    pub(crate) taker_side: Side,
    pub(crate) buyer: Party,
    pub(crate) seller: Party,
    pub(crate) executed_at: Timestamp,
}

/// One of the two.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Party {
    pub(crate) account: String,
    pub(crate) order: OrderId,
}

/// What the trades of an instrument come to, since the exchange was first started.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Statistics {
    pub(crate) symbol: String,
    pub(crate) open: Option<Decimal>,
    pub(crate) high: Option<Decimal>,
    pub(crate) low: Option<Decimal>,
    pub(crate) last: Option<Decimal>,
    pub(crate) volume: Decimal,
    pub(crate) trades: u64,
}

/// The present state of an instrument on one line.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Ticker {
    #[serde(flatten)]
    pub(crate) statistics: Statistics,
    pub(crate) bid: Option<Decimal>,
    pub(crate) ask: Option<Decimal>,
    pub(crate) updated_at: Timestamp,
}

/// An instrument that is traded.
#[derive(Debug)]
pub(crate) struct Market {
    pub(crate) instrument: Instrument,
    pub(crate) book: Book,
    pub(crate) statistics: Statistics,
    /// Oldest first.
    trades: VecDeque<Trade>,
    updated_at: Timestamp,
}

impl Market {
    pub(crate) fn new(instrument: Instrument, statistics: Option<Statistics>, now: Timestamp) -> Self {
        let none = || Statistics { symbol: instrument.symbol.to_owned(), ..Statistics::default() };
        let statistics = statistics.unwrap_or_else(none);
        Self { instrument, book: Book::default(), statistics, trades: VecDeque::new(), updated_at: now }
    }

    /// The last traded price, or the reference price before the first trade.
    pub(crate) fn mark(&self) -> Decimal {
        self.statistics.last.unwrap_or(self.instrument.reference_price)
    }

    /// Notes that the book has changed.
    pub(crate) fn touch(&mut self, now: Timestamp) {
        self.updated_at = now;
    }

    /// Takes a trade that was stored.
    pub(crate) fn restore(&mut self, trade: Trade) {
        self.trades.push_back(trade);
    }

    /// Takes a new trade. Those beyond the bound are forgotten, in the store too.
    pub(crate) fn record(&mut self, trade: Trade, batch: &mut Batch) {
        let statistics = &mut self.statistics;
        let price = trade.price;
        statistics.open.get_or_insert(price);
        statistics.high = Some(statistics.high.map_or(price, |high| high.max(price)));
        statistics.low = Some(statistics.low.map_or(price, |low| low.min(price)));
        statistics.last = Some(price);
        statistics.volume += trade.quantity;
        statistics.trades += 1;
        batch.put(TRADES, trade.id, &trade);
        batch.put(STATISTICS, &self.statistics.symbol, &self.statistics);
        self.trades.push_back(trade);
        if self.trades.len() > TRADES_MAX
            && let Some(oldest) = self.trades.pop_front()
        {
            batch.remove(TRADES, oldest.id);
        }
    }

    pub(crate) fn ticker(&self) -> Ticker {
        Ticker {
            statistics: self.statistics.clone(),
            bid: self.book.best(Side::Buy),
            ask: self.book.best(Side::Sell),
            updated_at: self.updated_at,
        }
    }

    /// Newest first, older than `before`.
    pub(crate) fn trades(&self, before: Option<TradeId>) -> impl Iterator<Item = &Trade> {
        self.trades.iter().rev().skip_while(move |trade| before.is_some_and(|before| trade.id >= before))
    }
}
