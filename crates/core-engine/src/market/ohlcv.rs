//! One bar: what happened in an interval.

use jiff::Timestamp;
use rust_decimal::Decimal;

/// Open, high, low, close and volume, and what is needed to go on with them.
///
/// `low` ≤ `open`, `close` ≤ `high`; `volume` ≥ 0; `first` ≤ `last`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Ohlcv {
    pub(crate) open: Decimal,
    pub(crate) high: Decimal,
    pub(crate) low: Decimal,
    pub(crate) close: Decimal,
    pub(crate) volume: Decimal,
    /// The sum of price times volume: divided by `volume`, the average price that was paid (VWAP). Exact as far as 28
    /// digits go. A bar that a source delivered counts with its typical price, the mean of high, low and close.
    pub(crate) turnover: Decimal,
    /// Ticks that it was made of; those of delivered bars are unknown and count nothing.
    pub(crate) count: u64,
    /// The tick that set `open`.
    pub(crate) first: Moment,
    /// The tick that set `close`.
    pub(crate) last: Moment,
}

/// When a tick happened. Ticks of the same time are in the order of their numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Moment {
    pub(crate) at: Timestamp,
    pub(crate) sequence: u64,
}

/// A price that was paid, as far as bars are concerned.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Trade {
    pub(crate) moment: Moment,
    pub(crate) price: Decimal,
    /// Zero or more.
    pub(crate) volume: Decimal,
}

/// The sums of a bar, apart, because they are what can overflow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sums {
    volume: Decimal,
    turnover: Decimal,
}

impl Ohlcv {
    /// The bar of one trade. `None` if price times volume is more than a decimal holds.
    pub(crate) fn of(trade: &Trade) -> Option<Self> {
        let Trade { moment, price, volume } = *trade;
        let turnover = price.checked_mul(volume)?;
        Some(Self {
            open: price,
            high: price,
            low: price,
            close: price,
            volume,
            turnover,
            count: 1,
            first: moment,
            last: moment,
        })
    }

    /// The sums after a later bar or trade joins. `None` if they are more than a decimal holds.
    pub(crate) fn sums_with(&self, other: &Self) -> Option<Sums> {
        let volume = self.volume.checked_add(other.volume)?;
        Some(Sums { volume, turnover: self.turnover.checked_add(other.turnover)? })
    }

    /// Joins another bar, or the bar of a trade, in any order of time. `sums` are those of [`Self::sums_with`].
    pub(crate) fn join(&mut self, other: &Self, sums: Sums) {
        if other.first < self.first {
            (self.first, self.open) = (other.first, other.open);
        }
        if other.last >= self.last {
            (self.last, self.close) = (other.last, other.close);
        }
        self.high = self.high.max(other.high);
        self.low = self.low.min(other.low);
        (self.volume, self.turnover) = (sums.volume, sums.turnover);
        self.count = self.count.saturating_add(other.count);
    }

    /// The average price that was paid; `None` if nothing was traded.
    pub(crate) fn vwap(&self) -> Option<Decimal> {
        self.turnover.checked_div(self.volume)
    }
}

#[cfg(test)]
pub(crate) mod samples {
    //! Bars for tests.

    use super::{Decimal, Moment, Ohlcv, Timestamp, Trade};

    /// A trade at a number of milliseconds since 1970.
    pub(crate) fn trade(millisecond: i64, sequence: u64, price: i64, volume: i64) -> Trade {
        let at = Timestamp::from_millisecond(millisecond).unwrap();
        let moment = Moment { at, sequence };
        Trade { moment, price: Decimal::new(price, 2), volume: Decimal::new(volume, 1) }
    }

    /// A bar with this close, of volume 1, that was made at a second.
    pub(crate) fn bar(second: i64, close: &str) -> Ohlcv {
        let moment = Moment { at: Timestamp::from_second(second).unwrap(), sequence: 0 };
        Ohlcv::of(&Trade { moment, price: close.parse().unwrap(), volume: Decimal::ONE }).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::samples::trade;
    use super::*;

    fn joined(trades: &[Trade]) -> Ohlcv {
        let mut bars = trades.iter().map(|trade| Ohlcv::of(trade).unwrap());
        let mut bar = bars.next().unwrap();
        bars.for_each(|other| bar.join(&other, bar.sums_with(&other).unwrap()));
        bar
    }

    #[test]
    fn the_order_of_joining_does_not_matter() {
        let trades = [trade(10, 1, 500, 10), trade(20, 2, 700, 5), trade(30, 3, 400, 0), trade(30, 4, 600, 20)];
        let expected = joined(&trades);
        assert_eq!(
            (expected.open, expected.high, expected.low, expected.close),
            (Decimal::new(500, 2), Decimal::new(700, 2), Decimal::new(400, 2), Decimal::new(600, 2))
        );
        assert_eq!((expected.count, expected.volume.to_string()), (4, "3.5".to_owned()));
        // (5 × 1 + 7 × 0.5 + 6 × 2) / 3.5
        assert_eq!(expected.vwap().unwrap().round_dp(4).to_string(), "5.8571");
        let mut reversed = trades;
        reversed.reverse();
        assert_eq!(joined(&reversed), expected);
    }

    #[test]
    fn sums_that_a_decimal_does_not_hold_are_refused() {
        let huge = Trade { price: Decimal::MAX, volume: Decimal::TWO, ..trade(0, 1, 1, 1) };
        assert!(Ohlcv::of(&huge).is_none());
        let most = Ohlcv::of(&Trade { volume: Decimal::ONE, ..huge }).unwrap();
        assert!(most.sums_with(&most).is_none());
    }

    #[test]
    fn a_bar_without_volume_has_no_average_price() {
        assert_eq!(joined(&[trade(0, 1, 500, 0)]).vwap(), None);
    }
}
