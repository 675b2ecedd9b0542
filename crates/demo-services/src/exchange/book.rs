//! One order book: best price first, and at one price whoever came first.
//!
//! Pure: it knows ids, prices and quantities, neither accounts nor time. A trade happens at the price of the order that
//! was there before.
//!
//! Invariants: the best bid is below the best ask; no level is empty; what rests has a quantity above zero; the quantity
//! of a level is the sum of its orders; `places` names exactly the orders that rest.

use std::collections::{BTreeMap, HashMap, VecDeque};

use rust_decimal::Decimal;

use super::instrument::Side;
use crate::ids::OrderId;

/// The orders of one instrument that wait for a counterpart.
#[derive(Default, Debug)]
pub(crate) struct Book {
    bids: BTreeMap<Decimal, Level>,
    asks: BTreeMap<Decimal, Level>,
    places: HashMap<OrderId, (Side, Decimal)>,
    sequence: u64,
}

/// The orders at one price, first come first.
#[derive(Default, Debug)]
struct Level {
    orders: VecDeque<Resting>,
    quantity: Decimal,
}

#[derive(Debug)]
struct Resting {
    id: OrderId,
    quantity: Decimal,
}

/// A part of an order that met one that rested.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fill {
    /// The order that rested.
    pub(crate) maker: OrderId,
    /// The maker's price.
    pub(crate) price: Decimal,
    pub(crate) quantity: Decimal,
}

/// What became of an order.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Placed {
    /// In the order in which they happened.
    pub(crate) fills: Vec<Fill>,
    /// What rests now; zero if nothing does.
    pub(crate) rests: Decimal,
    /// What neither was filled nor rests.
    pub(crate) left: Decimal,
}

/// A price with what is offered there.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub(crate) struct Depth {
    pub(crate) price: Decimal,
    pub(crate) quantity: Decimal,
    pub(crate) orders: usize,
}

impl Book {
    /// Matches an order and lets the rest of it wait, if it `may_rest` and has a limit.
    ///
    /// `limit` is the worst price, `None` any. `quantity` is above zero, `id` was never used before.
    pub(crate) fn place(
        &mut self,
        id: OrderId,
        side: Side,
        limit: Option<Decimal>,
        quantity: Decimal,
        may_rest: bool,
    ) -> Placed {
        let mut left = quantity;
        let mut fills = Vec::new();
        while !left.is_zero() && self.fill_once(side, limit, &mut left, &mut fills) {}
        let mut rests = Decimal::ZERO;
        if let (Some(price), true, false) = (limit, may_rest, left.is_zero()) {
            self.rest(id, side, price, left);
            rests = std::mem::take(&mut left);
        }
        if !fills.is_empty() || !rests.is_zero() {
            self.sequence += 1;
        }
        Placed { fills, rests, left }
    }

    /// Puts an order back that rested when the book was stored. Orders come back in their old order.
    pub(crate) fn restore(&mut self, id: OrderId, side: Side, price: Decimal, quantity: Decimal) {
        self.rest(id, side, price, quantity);
    }

    /// Takes an order out. Returns what was left of it, `None` if it does not rest here.
    pub(crate) fn cancel(&mut self, id: OrderId) -> Option<Decimal> {
        let (side, price) = self.places.remove(&id)?;
        let levels = self.levels(side);
        let level = levels.get_mut(&price)?;
        let at = level.orders.iter().position(|order| order.id == id)?;
        let order = level.orders.remove(at)?;
        level.quantity -= order.quantity;
        if level.orders.is_empty() {
            levels.remove(&price);
        }
        self.sequence += 1;
        Some(order.quantity)
    }

    /// The best price of a side.
    pub(crate) fn best(&self, side: Side) -> Option<Decimal> {
        match side {
            Side::Buy => self.bids.keys().next_back().copied(),
            Side::Sell => self.asks.keys().next().copied(),
        }
    }

    /// At most `most` levels of a side, best first.
    pub(crate) fn depth(&self, side: Side, most: usize) -> Vec<Depth> {
        let shown = |(price, level): (&Decimal, &Level)| Depth {
            price: *price,
            quantity: level.quantity,
            orders: level.orders.len(),
        };
        match side {
            Side::Buy => self.bids.iter().rev().take(most).map(shown).collect(),
            Side::Sell => self.asks.iter().take(most).map(shown).collect(),
        }
    }

    /// What an order of any price could get now: at most `quantity`, and what that costs.
    pub(crate) fn quote(&self, side: Side, quantity: Decimal) -> (Decimal, Decimal) {
        let (mut left, mut cost) = (quantity, Decimal::ZERO);
        let mut take = |(price, level): (&Decimal, &Level)| {
            let taken = left.min(level.quantity);
            left -= taken;
            cost += taken * price;
            left.is_zero()
        };
        match side {
            Side::Buy => self.asks.iter().any(&mut take),
            Side::Sell => self.bids.iter().rev().any(&mut take),
        };
        (quantity - left, cost)
    }

    /// Grows with every change.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// One fill against the best order of the other side. False if there is none at an acceptable price.
    fn fill_once(&mut self, side: Side, limit: Option<Decimal>, left: &mut Decimal, fills: &mut Vec<Fill>) -> bool {
        let other = side.opposite();
        let Some(price) = self.best(other) else { return false };
        let is_acceptable = limit.is_none_or(|limit| match side {
            Side::Buy => price <= limit,
            Side::Sell => price >= limit,
        });
        if !is_acceptable {
            return false;
        }
        let Some(level) = self.levels(other).get_mut(&price) else { return false };
        let Some(maker) = level.orders.front_mut() else { return false };
        let quantity = maker.quantity.min(*left);
        let maker_id = maker.id;
        maker.quantity -= quantity;
        level.quantity -= quantity;
        *left -= quantity;
        fills.push(Fill { maker: maker_id, price, quantity });
        if maker.quantity.is_zero() {
            level.orders.pop_front();
            if level.orders.is_empty() {
                self.levels(other).remove(&price);
            }
            self.places.remove(&maker_id);
        }
        true
    }

    fn rest(&mut self, id: OrderId, side: Side, price: Decimal, quantity: Decimal) {
        let level = self.levels(side).entry(price).or_default();
        level.orders.push_back(Resting { id, quantity });
        level.quantity += quantity;
        self.places.insert(id, (side, price));
    }

    fn levels(&mut self, side: Side) -> &mut BTreeMap<Decimal, Level> {
        match side {
            Side::Buy => &mut self.bids,
            Side::Sell => &mut self.asks,
        }
    }
}

#[cfg(test)]
mod tests;
