//! What an account owns, and what it won and lost. Margin is not asked for: cash and positions may be negative, within
//! the risk limits.
//!
//! Invariant, with cost the money that the present position has taken: cash = opening cash + realized - cost, and so
//! equity = opening cash + realized + unrealized, exactly.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::instrument::Side;

/// What every account begins with, in cents.
const OPENING_CASH_CENTS: i64 = 100_000_000;
/// Decimal places of the cost that a part of a position gives up.
const COST_PLACES: u32 = 8;

/// An account of the exchange.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) cash: Decimal,
    /// By symbol, flat ones included once they existed.
    pub(crate) positions: BTreeMap<String, Position>,
    pub(crate) opened_at: Timestamp,
}

/// A position in one instrument.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Negative if short.
    pub(crate) quantity: Decimal,
    /// What the present quantity has cost; negative if short.
    pub(crate) cost: Decimal,
    pub(crate) realized: Decimal,
}

impl Account {
    /// A new one with its opening cash.
    pub(crate) fn open(id: &str, opened_at: Timestamp) -> Self {
        let cash = Decimal::new(OPENING_CASH_CENTS, 2);
        Self { id: id.to_owned(), cash, positions: BTreeMap::new(), opened_at }
    }

    /// Books one side of a trade.
    pub(crate) fn fill(&mut self, symbol: &str, side: Side, price: Decimal, quantity: Decimal) {
        let signed = match side {
            Side::Buy => quantity,
            Side::Sell => -quantity,
        };
        self.cash -= signed * price;
        self.positions.entry(symbol.to_owned()).or_default().add(signed, price);
    }

    /// The quantity of a position, zero if there never was one.
    pub(crate) fn quantity(&self, symbol: &str) -> Decimal {
        self.positions.get(symbol).map(|position| position.quantity).unwrap_or_default()
    }

    /// Realized and unrealized, with `mark` the present price of a symbol.
    pub(crate) fn profit(&self, mark: impl Fn(&str) -> Decimal) -> Profit {
        let unrealized = |(symbol, position): (&String, &Position)| position.unrealized(mark(symbol));
        Profit {
            realized: self.positions.values().map(|position| position.realized).sum(),
            unrealized: self.positions.iter().map(unrealized).sum(),
        }
    }
}

/// Profit, or loss if negative.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Profit {
    pub(crate) realized: Decimal,
    pub(crate) unrealized: Decimal,
}

impl Profit {
    pub(crate) fn total(self) -> Decimal {
        self.realized + self.unrealized
    }
}

impl Position {
    /// `None` if flat.
    pub(crate) fn average_price(&self) -> Option<Decimal> {
        self.cost.checked_div(self.quantity).map(|price| price.round_dp(COST_PLACES))
    }

    pub(crate) fn unrealized(&self, mark: Decimal) -> Decimal {
        self.quantity * mark - self.cost
    }

    /// Adds a signed quantity. What goes against the position closes it first, at its average cost.
    fn add(&mut self, signed: Decimal, price: Decimal) {
        let closes = match self.quantity.is_zero() || self.quantity.is_sign_negative() == signed.is_sign_negative() {
            true => Decimal::ZERO,
            false => signed.abs().min(self.quantity.abs()),
        };
        if !closes.is_zero() {
            let closed = if self.quantity.is_sign_negative() { -closes } else { closes };
            let cost = match closed == self.quantity {
                true => self.cost,
                false => (self.cost * closed / self.quantity).round_dp(COST_PLACES),
            };
            self.realized += closed * price - cost;
            self.quantity -= closed;
            self.cost -= cost;
        }
        let opened = signed.abs() - closes;
        if opened.is_zero() {
            // Decimals know a zero below zero, and a flat position must not show it.
            return;
        }
        let opened = if signed.is_sign_negative() { -opened } else { opened };
        self.quantity += opened;
        self.cost += opened * price;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(fills: &[(i64, i64)], quantity: i64, average: Option<&str>, realized: &str) {
        let mut account = Account::open("a", Timestamp::UNIX_EPOCH);
        for (signed, price) in fills {
            let side = if *signed < 0 { Side::Sell } else { Side::Buy };
            account.fill("X", side, Decimal::from(*price), Decimal::from(signed.abs()));
        }
        let position = &account.positions["X"];
        assert_eq!(position.quantity.to_string(), quantity.to_string(), "{fills:?}");
        assert_eq!(
            position.average_price().map(|price| price.normalize().to_string()).as_deref(),
            average,
            "{fills:?}"
        );
        assert_eq!(position.realized.normalize().to_string(), realized, "{fills:?}");
    }

    #[test]
    fn profit_is_made_by_closing() {
        check(&[(10, 100)], 10, Some("100"), "0");
        check(&[(10, 100), (10, 200)], 20, Some("150"), "0");
        check(&[(10, 100), (10, 200), (-5, 160)], 15, Some("150"), "50");
        check(&[(10, 100), (-10, 90)], 0, None, "-100");
        // Through zero to the other side.
        check(&[(10, 100), (-15, 110)], -5, Some("110"), "100");
        check(&[(-4, 50), (1, 40), (3, 60)], 0, None, "-20");
    }

    proptest! {
        #[test]
        fn equity_is_opening_cash_and_profit_exactly(
            fills in proptest::collection::vec((any::<bool>(), 1..100_000_i64, 1..1_000_000_i64), 0..60),
            mark in 1..1_000_000_i64,
        ) {
            let mut account = Account::open("a", Timestamp::UNIX_EPOCH);
            let opening = account.cash;
            for (buys, quantity, price) in fills {
                let side = if buys { Side::Buy } else { Side::Sell };
                account.fill("X", side, Decimal::new(price, 2), Decimal::new(quantity, 4));
            }
            let mark = Decimal::new(mark, 2);
            let equity = account.cash + account.quantity("X") * mark;
            prop_assert_eq!(equity, opening + account.profit(|_| mark).total());
        }
    }
}
