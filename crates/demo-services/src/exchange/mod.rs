//! The exchange: orders in, trades out, and what they come to for every account.
//!
//! It has no clock, no lock and no disk: time is a parameter, and each change is noted in a [`Batch`]. Everything happens
//! in the order of calls. An account may trade with itself; that changes nothing but the tape.
//!
//! Invariants: over all accounts the positions in an instrument sum up to zero; cash is what [`account`] says; an order
//! is in its book exactly while it is open, with what remains of it.

mod account;
mod book;
mod desk;
mod instrument;
mod market;
mod order;
mod risk;
mod strategy;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rust_decimal::Decimal;

pub(crate) use self::account::{Account, Position};
pub(crate) use self::book::Depth;
pub(crate) use self::instrument::{Instrument, Side};
pub(crate) use self::market::{Market, Statistics, Ticker, Trade};
pub(crate) use self::order::{Kind, NewOrder, Order, OrderStatus, TimeInForce};
pub(crate) use self::risk::{Limits, Risk, Stop};
pub(crate) use self::strategy::{Definition, Rule, Strategy, StrategyState};

use self::market::{Party, STATISTICS, TRADES};
use self::order::{ORDERS, Orders};
use self::risk::{Exposure, RISK};
use self::strategy::{STRATEGIES, Strategies};
use crate::fault::Fault;
use crate::feed::{Feed, Seats};
use crate::fields::Fields;
use crate::ids::{OrderId, SEQUENCES, Sequence, TradeId};
use crate::store::{Batch, Documents, StoreError};

/// Collection of the store.
const ACCOUNTS: &str = "accounts";
/// Accounts at once. One is opened by the first order of a user.
const ACCOUNTS_MAX: usize = 10_000;
/// The account that offers something on an exchange that was just founded.
const HOUSE: &str = "house";
/// Levels of its offers on each side.
const HOUSE_LEVELS: i64 = 5;
/// Money in each of them.
const HOUSE_VALUE: i64 = 20_000;

/// Something that happened, in the order in which it did.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// An order is new or has changed.
    Order(Order),
    Trade(Trade),
    /// The ticker of an instrument may be another.
    Ticker(Ticker),
}

/// The whole of it.
#[derive(Debug)]
pub(crate) struct Exchange {
    markets: BTreeMap<&'static str, Market>,
    orders: Orders,
    accounts: BTreeMap<String, Account>,
    risk: Risk,
    strategies: Strategies,
    feed: Feed<Event>,
    order_ids: Sequence,
    trade_ids: Sequence,
    strategy_ids: Sequence,
}

impl Exchange {
    /// The exchange as it was stored, or a new one.
    ///
    /// # Errors
    /// Documents that are not ours.
    pub(crate) fn restore(
        documents: &mut Documents,
        sequences: &[Sequence],
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let statistics: Vec<Statistics> = documents.take(STATISTICS)?;
        let market = |instrument: Instrument| {
            let known = statistics.iter().find(|known| known.symbol == instrument.symbol).cloned();
            (instrument.symbol, Market::new(instrument, known, now))
        };
        let accounts: Vec<Account> = documents.take(ACCOUNTS)?;
        let mut exchange = Self {
            markets: instrument::all().into_iter().map(market).collect(),
            orders: Orders::default(),
            accounts: accounts.into_iter().map(|account| (account.id.clone(), account)).collect(),
            risk: documents.take(RISK)?.pop().unwrap_or_else(|| Risk::new(now)),
            strategies: Strategies::restore(documents.take(STRATEGIES)?),
            feed: Feed::new(&Seats::new()),
            order_ids: Sequence::resume(sequences, ORDERS),
            trade_ids: Sequence::resume(sequences, TRADES),
            strategy_ids: Sequence::resume(sequences, STRATEGIES),
        };
        // By id, which is by age: an order that rested gets its old place in the queue.
        let mut orders: Vec<Order> = documents.take(ORDERS)?;
        orders.sort_by_key(|order| order.id);
        for order in orders {
            if let (Some(price), true, Some(market)) =
                (order.price, order.status.is_open(), exchange.markets.get_mut(order.symbol.as_str()))
            {
                market.book.restore(order.id, order.side, price, order.remaining());
            }
            // Nothing is forgotten here, for the bound held when they were stored.
            exchange.orders.insert(order, &mut Batch::default());
        }
        let mut trades: Vec<Trade> = documents.take(TRADES)?;
        trades.sort_by_key(|trade| trade.id);
        for trade in trades {
            if let Some(market) = exchange.markets.get_mut(trade.symbol.as_str()) {
                market.restore(trade);
            }
        }
        Ok(exchange)
    }

    /// Gives a new exchange something to trade with: orders of an account called `house`. Does nothing on one that has
    /// been used.
    ///
    /// # Errors
    /// None are to be expected.
    pub(crate) fn found(&mut self, now: Timestamp, batch: &mut Batch) -> Result<(), Fault> {
        if !self.accounts.is_empty() {
            return Ok(());
        }
        let instruments: Vec<Instrument> = self.markets.values().map(|market| market.instrument.clone()).collect();
        for instrument in instruments {
            let reference = instrument.reference_price;
            for (level, side) in (1..=HOUSE_LEVELS).flat_map(|level| [(level, Side::Buy), (level, Side::Sell)]) {
                let distance = reference * Decimal::new(level, 3);
                let price = if side == Side::Buy { reference - distance } else { reference + distance };
                let price = price - price % instrument.tick_size;
                let quantity = Decimal::from(HOUSE_VALUE) / price;
                let new = NewOrder {
                    symbol: instrument.symbol.to_owned(),
                    side,
                    kind: Kind::Limit,
                    time_in_force: TimeInForce::Gtc,
                    price: Some(price),
                    quantity: quantity - quantity % instrument.lot_size,
                    client_order_id: None,
                    strategy: None,
                };
                self.place(HOUSE, new, now, batch)?;
            }
        }
        Ok(())
    }

    /// Takes an order and matches it. What is refused changes nothing.
    ///
    /// # Errors
    /// `Invalid`; `Conflict` while trading is stopped; `Exists` for a client order id; `Refused` by a risk limit, or
    /// for a market order that would meet nobody; `Full`.
    pub(crate) fn place(
        &mut self,
        account: &str,
        mut new: NewOrder,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<Order, Fault> {
        let instrument = self.markets.get(new.symbol.as_str()).map(|market| &market.instrument);
        check(&new, instrument)?;
        if let Some(instrument) = instrument {
            // One spelling of each amount, whoever was first to write it. Exact, because they are multiples.
            new.quantity.rescale(instrument.lot_size.scale());
            if let Some(price) = &mut new.price {
                price.rescale(instrument.tick_size.scale());
            }
        }
        self.risk.admit_trading()?;
        self.orders.admit(account, new.client_order_id.as_deref())?;
        if !self.accounts.contains_key(account) && self.accounts.len() >= ACCOUNTS_MAX {
            return Err(Fault::Full { what: "accounts", most: ACCOUNTS_MAX });
        }
        self.risk.admit(&self.exposure(account, &new)?)?;

        let id = OrderId(self.order_ids.take(batch));
        // A market order has no price at which it could wait.
        let time_in_force = if new.kind == Kind::Market { TimeInForce::Ioc } else { new.time_in_force };
        let mut order = Order {
            id,
            client_order_id: new.client_order_id,
            account: account.to_owned(),
            strategy_id: new.strategy,
            symbol: new.symbol,
            side: new.side,
            kind: new.kind,
            time_in_force,
            price: new.price,
            quantity: new.quantity,
            filled_quantity: Decimal::ZERO,
            filled_value: Decimal::ZERO,
            status: OrderStatus::Open,
            created_at: now,
            updated_at: now,
            version: 1,
        };
        let touched = self.execute(&mut order, now, batch);
        batch.put(ORDERS, id, &order);
        self.orders.insert(order.clone(), batch);
        self.feed.publish(Event::Order(order.clone()));
        self.settle(touched, &order.symbol, batch);
        Ok(order)
    }

    /// Takes an order out of the book.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`; `Conflict` if it is closed.
    pub(crate) fn cancel(
        &mut self,
        account: &str,
        id: OrderId,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<Order, Fault> {
        let order = self.order(account, id)?;
        if !order.status.is_open() {
            let status = order.status.as_str();
            return Err(Fault::conflict("order_closed", format!("order {id} is {status} already")));
        }
        self.withdraw(id, now, batch).ok_or(Fault::Internal)
    }

    /// An order of an account.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub(crate) fn order(&self, account: &str, id: OrderId) -> Result<&Order, Fault> {
        let order = self.orders.find(id).ok_or_else(|| Fault::not_found("order", id))?;
        match order.account == account {
            true => Ok(order),
            false => Err(Fault::forbidden("order", id)),
        }
    }

    /// The orders of an account, newest first, older than `before`.
    pub(crate) fn orders(&self, account: &str, before: Option<OrderId>) -> impl Iterator<Item = &Order> {
        self.orders.of(account, before)
    }

    /// Open orders of all accounts.
    pub(crate) fn open_orders(&self) -> usize {
        self.orders.total_open()
    }

    pub(crate) fn open_orders_of(&self, account: &str) -> usize {
        self.orders.open_count(account)
    }

    /// # Errors
    /// `NotFound`.
    pub(crate) fn market(&self, symbol: &str) -> Result<&Market, Fault> {
        self.markets.get(symbol).ok_or_else(|| Fault::not_found("symbol", symbol))
    }

    /// By symbol.
    pub(crate) fn markets(&self) -> impl Iterator<Item = &Market> {
        self.markets.values()
    }

    /// An account; one that has never traded looks as if it had just been opened.
    pub(crate) fn account(&self, id: &str, now: Timestamp) -> Account {
        self.accounts.get(id).cloned().unwrap_or_else(|| Account::open(id, now))
    }

    pub(crate) fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values()
    }

    /// The present price of a symbol, zero for one that is not traded any more.
    pub(crate) fn mark(&self, symbol: &str) -> Decimal {
        self.markets.get(symbol).map(Market::mark).unwrap_or_default()
    }

    /// Trades in which an account took part, newest first, older than `before`.
    pub(crate) fn trades_of(&self, account: &str, before: Option<TradeId>) -> Vec<&Trade> {
        let all = self.markets.values().flat_map(|market| market.trades(before));
        let mut trades: Vec<&Trade> =
            all.filter(|trade| trade.buyer.account == account || trade.seller.account == account).collect();
        trades.sort_by_key(|trade| std::cmp::Reverse(trade.id));
        trades
    }

    pub(crate) fn feed(&self) -> &Feed<Event> {
        &self.feed
    }

    /// What an account would have if `new` were taken.
    fn exposure(&self, account: &str, new: &NewOrder) -> Result<Exposure, Fault> {
        let market = self.market(&new.symbol)?;
        let (value, rests) = match new.price {
            Some(price) => (price * new.quantity, new.time_in_force == TimeInForce::Gtc),
            None => {
                let (quantity, cost) = market.book.quote(new.side, new.quantity);
                if quantity.is_zero() {
                    return Err(Fault::refused("no_liquidity", "the book has nothing on the other side"));
                }
                (cost, false)
            }
        };
        let sign = |quantity: Decimal, side| if side == Side::Buy { quantity } else { -quantity };
        let waiting: Decimal = self
            .orders
            .open_of(account)
            .filter(|order| order.symbol == new.symbol && order.side == new.side)
            .map(Order::remaining)
            .sum();
        let known = self.accounts.get(account);
        let position = known.map(|known| known.quantity(&new.symbol)).unwrap_or_default();
        let after = position + sign(waiting + new.quantity, new.side);
        // What makes a position smaller is always good.
        let position_value = match after.abs() > position.abs() {
            true => after.abs() * new.price.unwrap_or_else(|| market.mark()),
            false => Decimal::ZERO,
        };
        let profit = known.map(|known| known.profit(|symbol| self.mark(symbol)).total()).unwrap_or_default();
        Ok(Exposure {
            order_value: value,
            position_value,
            open_orders: self.orders.open_count(account) + usize::from(rests),
            loss: -profit,
        })
    }

    /// Matches an order, books its trades and gives it its status. Returns the accounts that changed.
    fn execute(&mut self, order: &mut Order, now: Timestamp, batch: &mut Batch) -> BTreeSet<String> {
        let mut touched = BTreeSet::from([order.account.clone()]);
        self.accounts.entry(order.account.clone()).or_insert_with(|| Account::open(&order.account, now));
        let Some(market) = self.markets.get_mut(order.symbol.as_str()) else { return touched };
        let may_rest = order.time_in_force == TimeInForce::Gtc;
        let placed = market.book.place(order.id, order.side, order.price, order.quantity, may_rest);
        market.touch(now);
        for fill in placed.fills {
            order.fill(fill.price, fill.quantity, now);
            let Some(maker) = self.orders.update(fill.maker, batch, |maker| maker.fill(fill.price, fill.quantity, now))
            else {
                continue;
            };
            let taker = Party { account: order.account.clone(), order: order.id };
            let other = Party { account: maker.account.clone(), order: maker.id };
            let (buyer, seller) = if order.side == Side::Buy { (taker, other) } else { (other, taker) };
            for (party, side) in [(&buyer, Side::Buy), (&seller, Side::Sell)] {
                if let Some(account) = self.accounts.get_mut(&party.account) {
                    account.fill(&order.symbol, side, fill.price, fill.quantity);
                    touched.insert(party.account.clone());
                }
            }
            let trade = Trade {
                id: TradeId(self.trade_ids.take(batch)),
                symbol: order.symbol.clone(),
                price: fill.price,
                quantity: fill.quantity,
                taker_side: order.side,
                buyer,
                seller,
                executed_at: now,
            };
            self.feed.publish(Event::Order(maker));
            self.feed.publish(Event::Trade(trade.clone()));
            market.record(trade, batch);
        }
        if !placed.left.is_zero() {
            order.become_status(OrderStatus::Cancelled, now);
        }
        touched
    }

    /// Takes an open order out of its book.
    fn withdraw(&mut self, id: OrderId, now: Timestamp, batch: &mut Batch) -> Option<Order> {
        let order = self.orders.update(id, batch, |order| order.become_status(OrderStatus::Cancelled, now))?;
        if let Some(market) = self.markets.get_mut(order.symbol.as_str()) {
            market.book.cancel(id);
            market.touch(now);
        }
        self.feed.publish(Event::Order(order.clone()));
        self.settle(BTreeSet::new(), &order.symbol, batch);
        Some(order)
    }

    /// Stores accounts that changed and tells the new ticker.
    fn settle(&self, accounts: BTreeSet<String>, symbol: &str, batch: &mut Batch) {
        for id in accounts {
            if let Some(account) = self.accounts.get(&id) {
                batch.put(ACCOUNTS, id, account);
            }
        }
        if let Some(market) = self.markets.get(symbol) {
            self.feed.publish(Event::Ticker(market.ticker()));
        }
    }
}

/// Sequences of ids that were stored.
///
/// # Errors
/// Documents that are not ours.
pub(crate) fn sequences(documents: &mut Documents) -> Result<Vec<Sequence>, StoreError> {
    documents.take(SEQUENCES)
}

/// Checks what can be checked without looking at the market.
fn check(new: &NewOrder, instrument: Option<&Instrument>) -> Result<(), Fault> {
    let mut fields = Fields::default();
    match instrument {
        None => fields.wrong("symbol", if new.symbol.is_empty() { "is required" } else { "is not traded here" }),
        Some(instrument) => {
            fields.multiple("quantity", new.quantity, instrument.lot_size);
            if let Some(price) = new.price {
                fields.multiple("price", price, instrument.tick_size);
            }
        }
    }
    match (new.kind, new.price) {
        (Kind::Limit, None) => fields.wrong("price", "is required for a limit order"),
        (Kind::Market, Some(_)) => fields.wrong("price", "must not be set for a market order"),
        _ => {}
    }
    if let Some(id) = &new.client_order_id {
        fields.name("client_order_id", id, 64);
    }
    fields.done()
}

#[cfg(test)]
mod tests;
