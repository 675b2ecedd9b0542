//! Orders, and the table of all that the exchange remembers.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::instrument::Side;
use crate::fault::Fault;
use crate::ids::{OrderId, StrategyId};
use crate::store::Batch;

/// Collection of the store.
pub(crate) const ORDERS: &str = "orders";
/// Orders that may be open at once.
pub(crate) const OPEN_MAX: usize = 20_000;
/// Closed orders that are remembered; the oldest go first.
pub(crate) const CLOSED_MAX: usize = 20_000;

/// How the price is found.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    #[default]
    Limit,
    Market,
}

/// What happens to the part that meets nobody at once.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TimeInForce {
    /// It rests until it is cancelled.
    #[default]
    Gtc,
    /// It is cancelled.
    Ioc,
}

/// Where an order stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OrderStatus {
    Open,
    PartiallyFilled,
    Filled,
    /// Also if a part was filled before.
    Cancelled,
}

impl OrderStatus {
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::PartiallyFilled)
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::PartiallyFilled => "partially_filled",
            Self::Filled => "filled",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What a client asks for; checked by [`super::Exchange::place`].
#[derive(Clone, Debug)]
pub(crate) struct NewOrder {
    pub(crate) symbol: String,
    pub(crate) side: Side,
    pub(crate) kind: Kind,
    pub(crate) time_in_force: TimeInForce,
    /// Exactly for limit orders.
    pub(crate) price: Option<Decimal>,
    pub(crate) quantity: Decimal,
    pub(crate) client_order_id: Option<String>,
    pub(crate) strategy: Option<StrategyId>,
}

/// An order that was accepted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: OrderId,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) client_order_id: Option<String>,
    pub(crate) account: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) strategy_id: Option<StrategyId>,
    pub(crate) symbol: String,
    pub(crate) side: Side,
    #[serde(rename = "type")]
    pub(crate) kind: Kind,
    pub(crate) time_in_force: TimeInForce,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) price: Option<Decimal>,
    pub(crate) quantity: Decimal,
    pub(crate) filled_quantity: Decimal,
    /// Price times quantity of all fills.
    pub(crate) filled_value: Decimal,
    pub(crate) status: OrderStatus,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    /// Counts changes, from 1.
    pub(crate) version: u64,
}

impl Order {
    pub(crate) fn remaining(&self) -> Decimal {
        self.quantity - self.filled_quantity
    }

    /// `None` before the first fill.
    pub(crate) fn average_price(&self) -> Option<Decimal> {
        self.filled_value.checked_div(self.filled_quantity).map(|price| price.round_dp(8))
    }

    pub(crate) fn fill(&mut self, price: Decimal, quantity: Decimal, now: Timestamp) {
        self.filled_quantity += quantity;
        self.filled_value += price * quantity;
        let is_filled = self.remaining().is_zero();
        self.become_status(if is_filled { OrderStatus::Filled } else { OrderStatus::PartiallyFilled }, now);
    }

    pub(crate) fn become_status(&mut self, status: OrderStatus, now: Timestamp) {
        self.status = status;
        self.updated_at = now;
        self.version += 1;
    }
}

/// All orders that are remembered.
#[derive(Default, Debug)]
pub(crate) struct Orders {
    table: BTreeMap<OrderId, Order>,
    by_account: HashMap<String, Index>,
    /// In the order in which they were closed.
    closed: VecDeque<OrderId>,
    open: usize,
}

/// The orders of one account.
#[derive(Default, Debug)]
struct Index {
    all: BTreeSet<OrderId>,
    open: BTreeSet<OrderId>,
    client_order_ids: HashMap<String, OrderId>,
}

impl Orders {
    /// Checks that one more can be taken.
    ///
    /// # Errors
    /// `Full`; `Exists` if the account has used the client order id.
    pub(crate) fn admit(&self, account: &str, client_order_id: Option<&str>) -> Result<(), Fault> {
        let index = self.by_account.get(account);
        if let Some(id) = client_order_id
            && index.is_some_and(|index| index.client_order_ids.contains_key(id))
        {
            return Err(Fault::exists("client order id", id));
        }
        if self.open >= OPEN_MAX {
            return Err(Fault::Full { what: "open orders", most: OPEN_MAX });
        }
        Ok(())
    }

    /// Adds an order. Closed orders beyond the bound are forgotten, in the store too.
    pub(crate) fn insert(&mut self, order: Order, batch: &mut Batch) {
        let index = self.by_account.entry(order.account.clone()).or_default();
        index.all.insert(order.id);
        if let Some(id) = &order.client_order_id {
            index.client_order_ids.insert(id.clone(), order.id);
        }
        let id = order.id;
        let is_open = order.status.is_open();
        if is_open {
            index.open.insert(id);
            self.open += 1;
        }
        self.table.insert(id, order);
        if !is_open {
            self.closed.push_back(id);
            self.forget(batch);
        }
    }

    /// Changes an order that is open.
    pub(crate) fn update(&mut self, id: OrderId, batch: &mut Batch, change: impl FnOnce(&mut Order)) -> Option<Order> {
        let order = self.table.get_mut(&id).filter(|order| order.status.is_open())?;
        change(order);
        let changed = order.clone();
        batch.put(ORDERS, id, &changed);
        if !changed.status.is_open() {
            if let Some(index) = self.by_account.get_mut(&changed.account) {
                index.open.remove(&id);
            }
            self.open = self.open.saturating_sub(1);
            self.closed.push_back(id);
            self.forget(batch);
        }
        Some(changed)
    }

    pub(crate) fn find(&self, id: OrderId) -> Option<&Order> {
        self.table.get(&id)
    }

    /// The orders of an account, newest first, older than `before`.
    pub(crate) fn of(&self, account: &str, before: Option<OrderId>) -> impl Iterator<Item = &Order> {
        let end = before.unwrap_or(OrderId(u64::MAX));
        let ids = self.by_account.get(account).map(|index| index.all.range(..end).rev());
        ids.into_iter().flatten().filter_map(|id| self.table.get(id))
    }

    /// The open orders of an account, oldest first.
    pub(crate) fn open_of(&self, account: &str) -> impl Iterator<Item = &Order> {
        let ids = self.by_account.get(account).map(|index| index.open.iter());
        ids.into_iter().flatten().filter_map(|id| self.table.get(id))
    }

    pub(crate) fn open_count(&self, account: &str) -> usize {
        self.by_account.get(account).map_or(0, |index| index.open.len())
    }

    /// All that are open, oldest first.
    pub(crate) fn all_open(&self) -> impl Iterator<Item = &Order> {
        self.table.values().filter(|order| order.status.is_open())
    }

    /// Open orders of all accounts.
    pub(crate) fn total_open(&self) -> usize {
        self.open
    }

    fn forget(&mut self, batch: &mut Batch) {
        while self.closed.len() > CLOSED_MAX
            && let Some(id) = self.closed.pop_front()
        {
            batch.remove(ORDERS, id);
            let Some(order) = self.table.remove(&id) else { continue };
            let Some(index) = self.by_account.get_mut(&order.account) else { continue };
            index.all.remove(&id);
            if let Some(client_order_id) = &order.client_order_id {
                index.client_order_ids.remove(client_order_id);
            }
            if index.all.is_empty() {
                self.by_account.remove(&order.account);
            }
        }
    }
}
