//! What runs on the exchange beside single orders: strategies, and the people who watch over risk.

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::risk::RISK;
use super::strategy::{Record, Sight, Strategies, Wish};
use super::{
    Definition, Exchange, Kind, Limits, NewOrder, Order, Risk, Rule, Side, Stop, Strategy, StrategyState, TimeInForce,
};
use crate::fault::{Fault, require_version};
use crate::ids::{OrderId, StrategyId};
use crate::store::Batch;

impl Exchange {
    pub(crate) fn risk(&self) -> &Risk {
        &self.risk
    }

    /// Replaces the limits. Orders that are open stay.
    ///
    /// # Errors
    /// `Invalid`; `Stale` if `seen` is not the present version.
    pub(crate) fn set_limits(
        &mut self,
        limits: Limits,
        seen: Option<u64>,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<Risk, Fault> {
        limits.check()?;
        require_version("the risk limits", seen, self.risk.version)?;
        self.risk.limits = limits;
        self.risk.version += 1;
        self.risk.updated_at = now;
        batch.put(RISK, RISK, &self.risk);
        Ok(self.risk.clone())
    }

    /// Cancels every open order, stops every strategy, and takes no orders until [`Self::resume`].
    ///
    /// # Errors
    /// `Conflict` if trading is stopped already.
    pub(crate) fn stop(&mut self, by: &str, reason: &str, now: Timestamp, batch: &mut Batch) -> Result<Stop, Fault> {
        self.risk.admit_trading()?;
        let open: Vec<OrderId> = self.orders.all_open().map(|order| order.id).collect();
        let running: Vec<Strategy> = self.strategies.running().cloned().collect();
        let stop = Stop {
            reason: reason.to_owned(),
            by: by.to_owned(),
            since: now,
            cancelled_orders: open.len(),
            stopped_strategies: running.len(),
        };
        for id in open {
            self.withdraw(id, now, batch);
        }
        for strategy in running {
            self.strategies.put(halted(strategy, now), batch);
        }
        self.risk.stop = Some(stop.clone());
        batch.put(RISK, RISK, &self.risk);
        Ok(stop)
    }

    /// Takes orders again. Strategies stay stopped.
    ///
    /// # Errors
    /// `Conflict` if trading is not stopped.
    pub(crate) fn resume(&mut self, batch: &mut Batch) -> Result<(), Fault> {
        if self.risk.stop.take().is_none() {
            return Err(Fault::conflict("trading_runs", "trading is not stopped"));
        }
        batch.put(RISK, RISK, &self.risk);
        Ok(())
    }

    pub(crate) fn strategies(&self) -> &Strategies {
        &self.strategies
    }

    /// Adds a strategy, stopped.
    ///
    /// # Errors
    /// `Invalid`, `Full`.
    pub(crate) fn add_strategy(
        &mut self,
        account: &str,
        definition: Definition,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<Strategy, Fault> {
        definition.check(self.market(&definition.symbol).ok().map(|market| &market.instrument))?;
        self.strategies.admit()?;
        let strategy = Strategy {
            id: StrategyId(self.strategy_ids.take(batch)),
            account: account.to_owned(),
            definition,
            state: StrategyState::Stopped,
            created_at: now,
            updated_at: now,
            version: 1,
            record: Record::default(),
            seen: Default::default(),
        };
        self.strategies.put(strategy.clone(), batch);
        Ok(strategy)
    }

    /// Replaces what a client has set of a strategy that does not run.
    ///
    /// # Errors
    /// `Invalid`, `NotFound`, `Forbidden`; `Conflict` while it runs; `Stale` if `seen` is not the present version.
    pub(crate) fn change_strategy(
        &mut self,
        account: &str,
        id: StrategyId,
        definition: Definition,
        seen: Option<u64>,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<Strategy, Fault> {
        let mut strategy = self.stopped(account, id)?;
        definition.check(self.market(&definition.symbol).ok().map(|market| &market.instrument))?;
        require_version("the strategy", seen, strategy.version)?;
        strategy.definition = definition;
        strategy.updated_at = now;
        strategy.version += 1;
        strategy.seen.clear();
        self.strategies.put(strategy.clone(), batch);
        Ok(strategy)
    }

    /// Removes a strategy that does not run.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, `Conflict` while it runs.
    pub(crate) fn remove_strategy(&mut self, account: &str, id: StrategyId, batch: &mut Batch) -> Result<(), Fault> {
        self.stopped(account, id)?;
        self.strategies.remove(id, batch);
        Ok(())
    }

    /// Lets a strategy run, also after the process has been started again.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`; `Conflict` if it runs already or trading is stopped.
    pub(crate) fn start_strategy(
        &mut self,
        account: &str,
        id: StrategyId,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<Strategy, Fault> {
        let mut strategy = self.stopped(account, id)?;
        self.risk.admit_trading()?;
        strategy.state = StrategyState::Running;
        strategy.updated_at = now;
        strategy.version += 1;
        strategy.record.started_at = Some(now);
        strategy.record.stopped_at = None;
        self.strategies.put(strategy.clone(), batch);
        Ok(strategy)
    }

    /// Stops a strategy and cancels its open orders.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`; `Conflict` if it does not run.
    pub(crate) fn stop_strategy(
        &mut self,
        account: &str,
        id: StrategyId,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<Strategy, Fault> {
        let strategy = self.strategies.find(account, id)?.clone();
        if strategy.state == StrategyState::Stopped {
            return Err(Fault::conflict("strategy_stopped", format!("strategy {id} does not run")));
        }
        for order in self.orders_of(&strategy) {
            self.withdraw(order.id, now, batch);
        }
        let strategy = halted(strategy, now);
        self.strategies.put(strategy.clone(), batch);
        Ok(strategy)
    }

    /// Open orders of a strategy, oldest first.
    pub(crate) fn orders_of(&self, strategy: &Strategy) -> Vec<Order> {
        let open = self.orders.open_of(&strategy.account);
        open.filter(|order| order.strategy_id == Some(strategy.id)).cloned().collect()
    }

    /// One step of every strategy that runs.
    pub(crate) fn step(&mut self, now: Timestamp, batch: &mut Batch) {
        let running: Vec<StrategyId> = self.strategies.running().map(|strategy| strategy.id).collect();
        for id in running {
            let found = self.strategies.running().find(|strategy| strategy.id == id).cloned();
            if let Some(strategy) = found {
                self.step_one(strategy, now, batch);
            }
        }
    }

    fn step_one(&mut self, mut strategy: Strategy, now: Timestamp, batch: &mut Batch) {
        let open = self.orders_of(&strategy);
        let (wishes, leftover) = match strategy.definition.rule.clone() {
            Rule::MarketMaker(maker) => {
                let Some((instrument, sight)) = self.sight(&strategy, &open) else { return };
                missing(maker.quotes(&instrument, sight), open)
            }
            Rule::Momentum(momentum) => {
                let Some((_, sight)) = self.sight(&strategy, &open) else { return };
                (momentum.look(&mut strategy.seen, sight).into_iter().collect(), Vec::new())
            }
        };
        let is_idle = wishes.is_empty() && leftover.is_empty();
        for order in leftover {
            self.withdraw(order.id, now, batch);
        }
        for wish in wishes {
            match self.place(&strategy.account.clone(), order_for(&strategy, &wish), now, batch) {
                Ok(_) => strategy.record.orders_placed += 1,
                Err(fault) => {
                    strategy.record.orders_refused += 1;
                    strategy.record.last_refusal = Some(fault.to_string());
                }
            }
        }
        // What it has seen is not stored, so an idle step costs the disk nothing.
        let mut nothing = Batch::default();
        self.strategies.put(strategy, if is_idle { &mut nothing } else { batch });
    }

    /// The market as a strategy sees it: without its own quotes, which it would otherwise follow.
    fn sight(&self, strategy: &Strategy, own: &[Order]) -> Option<(super::Instrument, Sight)> {
        let market = self.market(&strategy.definition.symbol).ok()?;
        let best = |side| {
            let is_own_alone = |level: &super::Depth| {
                let mine = own.iter().filter(|order| order.side == side && order.price == Some(level.price));
                mine.map(Order::remaining).sum::<Decimal>() == level.quantity
            };
            let levels = market.book.depth(side, own.len() + 1);
            levels.into_iter().find(|level| !is_own_alone(level)).map(|level| level.price)
        };
        let account = self.accounts.get(&strategy.account);
        let position = account.map(|account| account.quantity(market.instrument.symbol)).unwrap_or_default();
        let sight = Sight { mark: market.mark(), bid: best(Side::Buy), ask: best(Side::Sell), position };
        Some((market.instrument.clone(), sight))
    }

    fn stopped(&self, account: &str, id: StrategyId) -> Result<Strategy, Fault> {
        let strategy = self.strategies.find(account, id)?;
        match strategy.state {
            StrategyState::Stopped => Ok(strategy.clone()),
            StrategyState::Running => Err(Fault::conflict("strategy_running", format!("strategy {id} runs"))),
        }
    }
}

fn halted(mut strategy: Strategy, now: Timestamp) -> Strategy {
    strategy.state = StrategyState::Stopped;
    strategy.updated_at = now;
    strategy.version += 1;
    strategy.record.stopped_at = Some(now);
    strategy.seen.clear();
    strategy
}

/// The wishes that no open order fulfils, and the open orders that fulfil no wish.
fn missing(mut wishes: Vec<Wish>, open: Vec<Order>) -> (Vec<Wish>, Vec<Order>) {
    let mut leftover = Vec::new();
    for order in open {
        let same =
            |wish: &Wish| wish.side == order.side && wish.price == order.price && wish.quantity == order.remaining();
        match wishes.iter().position(same) {
            Some(at) => drop(wishes.remove(at)),
            None => leftover.push(order),
        }
    }
    (wishes, leftover)
}

fn order_for(strategy: &Strategy, wish: &Wish) -> NewOrder {
    NewOrder {
        symbol: strategy.definition.symbol.clone(),
        side: wish.side,
        kind: if wish.price.is_some() { Kind::Limit } else { Kind::Market },
        time_in_force: if wish.price.is_some() { TimeInForce::Gtc } else { TimeInForce::Ioc },
        price: wish.price,
        quantity: wish.quantity,
        client_order_id: None,
        strategy: Some(strategy.id),
    }
}
