//! Strategies: rules that place orders on behalf of an account while they are started.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::instrument::{Instrument, Side};
use crate::fault::Fault;
use crate::fields::Fields;
use crate::ids::StrategyId;
use crate::store::Batch;

/// Collection of the store.
pub(crate) const STRATEGIES: &str = "strategies";
/// Strategies of all accounts.
pub(crate) const STRATEGIES_MAX: usize = 1_000;
/// Prices that a momentum strategy looks back at most.
const LOOKBACK_MAX: usize = 100;

/// What a strategy does in each step.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", content = "parameters", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Rule {
    /// Keeps a bid and an ask around the present price.
    MarketMaker(MarketMaker),
    /// Buys when the price has risen, sells when it has fallen.
    Momentum(Momentum),
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MarketMaker {
    /// Of each order.
    pub(crate) quantity: Decimal,
    /// From the present price to either quote.
    pub(crate) half_spread: Decimal,
    /// Bought or sold at most.
    pub(crate) max_position: Decimal,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Momentum {
    /// Of each order.
    pub(crate) quantity: Decimal,
    /// Steps between the prices that are compared, 2 to [`LOOKBACK_MAX`].
    pub(crate) lookback: usize,
    /// Bought or sold at most.
    pub(crate) max_position: Decimal,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StrategyState {
    Stopped,
    Running,
}

/// What a client sets.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Definition {
    pub(crate) name: String,
    pub(crate) symbol: String,
    #[serde(flatten)]
    pub(crate) rule: Rule,
}

/// A strategy of an account.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Strategy {
    pub(crate) id: StrategyId,
    pub(crate) account: String,
    #[serde(flatten)]
    pub(crate) definition: Definition,
    pub(crate) state: StrategyState,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    /// Counts changes by clients, from 1.
    pub(crate) version: u64,
    pub(crate) record: Record,
    /// Prices seen since the last order, newest last. Begins anew with the process.
    #[serde(skip)]
    pub(crate) seen: VecDeque<Decimal>,
}

/// What a strategy has done.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) stopped_at: Option<Timestamp>,
    pub(crate) orders_placed: u64,
    /// Orders that were refused, by a risk limit for example.
    pub(crate) orders_refused: u64,
    /// Why the last one was.
    pub(crate) last_refusal: Option<String>,
}

/// An order that a strategy wants.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Wish {
    pub(crate) side: Side,
    /// `None` takes what the book offers.
    pub(crate) price: Option<Decimal>,
    pub(crate) quantity: Decimal,
}

/// What a strategy sees of its market.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    pub(crate) mark: Decimal,
    pub(crate) bid: Option<Decimal>,
    pub(crate) ask: Option<Decimal>,
    /// Of its account.
    pub(crate) position: Decimal,
}

impl Definition {
    /// # Errors
    /// `Invalid`.
    pub(crate) fn check(&self, instrument: Option<&Instrument>) -> Result<(), Fault> {
        let mut fields = Fields::default();
        fields.text("name", &self.name, 1, 100);
        let Some(instrument) = instrument else {
            fields.wrong("symbol", "is not traded here");
            return fields.done();
        };
        let lot = instrument.lot_size;
        let (quantity, max_position) = match &self.rule {
            Rule::MarketMaker(maker) => {
                fields.multiple("parameters.half_spread", maker.half_spread, instrument.tick_size);
                (maker.quantity, maker.max_position)
            }
            Rule::Momentum(momentum) => {
                let lookback = (2..=LOOKBACK_MAX).contains(&momentum.lookback);
                fields.check(lookback, "parameters.lookback", &format!("must be 2 to {LOOKBACK_MAX}"));
                (momentum.quantity, momentum.max_position)
            }
        };
        fields.multiple("parameters.quantity", quantity, lot);
        fields.multiple("parameters.max_position", max_position, lot);
        fields.done()
    }
}

impl MarketMaker {
    /// The quotes that should be in the book now: none that would trade at once, none beyond the largest position.
    pub(crate) fn quotes(&self, instrument: &Instrument, sight: Sight) -> Vec<Wish> {
        let tick = instrument.tick_size;
        let center = sight.mark - sight.mark % tick;
        let below_ask = sight.ask.map_or(center, |ask| ask - tick);
        let above_bid = sight.bid.map_or(center, |bid| bid + tick);
        let bid = (center - self.half_spread).min(below_ask);
        let ask = (center + self.half_spread).max(above_bid);
        let mut wishes = Vec::new();
        if bid > Decimal::ZERO && sight.position + self.quantity <= self.max_position {
            wishes.push(Wish { side: Side::Buy, price: Some(bid), quantity: self.quantity });
        }
        if sight.position - self.quantity >= -self.max_position {
            wishes.push(Wish { side: Side::Sell, price: Some(ask), quantity: self.quantity });
        }
        wishes
    }
}

impl Momentum {
    /// Looks at one more price; an order if that is a move.
    pub(crate) fn look(&self, seen: &mut VecDeque<Decimal>, sight: Sight) -> Option<Wish> {
        // Trades may be rare, so the middle of the quotes is what moves.
        let price = match (sight.bid, sight.ask) {
            (Some(bid), Some(ask)) => (bid + ask) / Decimal::TWO,
            _ => sight.mark,
        };
        seen.push_back(price);
        if seen.len() <= self.lookback {
            return None;
        }
        let before = seen.pop_front()?;
        let (side, position) = match price.cmp(&before) {
            std::cmp::Ordering::Greater => (Side::Buy, sight.position + self.quantity),
            std::cmp::Ordering::Less => (Side::Sell, sight.position - self.quantity),
            std::cmp::Ordering::Equal => return None,
        };
        if position.abs() > self.max_position {
            return None;
        }
        seen.clear();
        Some(Wish { side, price: None, quantity: self.quantity })
    }
}

/// All strategies.
#[derive(Default, Debug)]
pub(crate) struct Strategies(BTreeMap<StrategyId, Strategy>);

impl Strategies {
    pub(crate) fn restore(stored: Vec<Strategy>) -> Self {
        Self(stored.into_iter().map(|strategy| (strategy.id, strategy)).collect())
    }

    /// # Errors
    /// `Full`.
    pub(crate) fn admit(&self) -> Result<(), Fault> {
        match self.0.len() < STRATEGIES_MAX {
            true => Ok(()),
            false => Err(Fault::Full { what: "strategies", most: STRATEGIES_MAX }),
        }
    }

    pub(crate) fn put(&mut self, strategy: Strategy, batch: &mut Batch) {
        batch.put(STRATEGIES, strategy.id, &strategy);
        self.0.insert(strategy.id, strategy);
    }

    pub(crate) fn remove(&mut self, id: StrategyId, batch: &mut Batch) {
        batch.remove(STRATEGIES, id);
        self.0.remove(&id);
    }

    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub(crate) fn find(&self, account: &str, id: StrategyId) -> Result<&Strategy, Fault> {
        let strategy = self.0.get(&id).ok_or_else(|| Fault::not_found("strategy", id))?;
        match strategy.account == account {
            true => Ok(strategy),
            false => Err(Fault::forbidden("strategy", id)),
        }
    }

    /// Those of an account, oldest first, younger than `after`.
    pub(crate) fn of(&self, account: &str, after: Option<StrategyId>) -> impl Iterator<Item = &Strategy> {
        let rest = self.0.range(StrategyId(after.map_or(0, |after| after.0 + 1))..);
        rest.map(|(_, strategy)| strategy).filter(move |strategy| strategy.account == account)
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = &Strategy> {
        self.0.values().filter(|strategy| strategy.state == StrategyState::Running)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::instrument;
    use super::*;

    fn number(number: i64) -> Decimal {
        Decimal::from(number)
    }

    fn quotes(bid: Option<i64>, ask: Option<i64>, position: i64) -> Vec<(Side, String)> {
        let maker = MarketMaker { quantity: number(1), half_spread: number(2), max_position: number(3) };
        let sight = Sight { mark: number(25), bid: bid.map(number), ask: ask.map(number), position: number(position) };
        let instrument = &instrument::all()[0];
        let shown = |wish: Wish| (wish.side, wish.price.unwrap().normalize().to_string());
        maker.quotes(instrument, sight).into_iter().map(shown).collect()
    }

    #[test]
    fn a_market_maker_quotes_both_sides_and_takes_nothing() {
        let bid = |price: &str| (Side::Buy, price.to_owned());
        let ask = |price: &str| (Side::Sell, price.to_owned());
        assert_eq!(quotes(None, None, 0), [bid("23"), ask("27")]);
        assert_eq!(quotes(Some(28), Some(29), 0), [bid("23"), ask("28.01")]);
        assert_eq!(quotes(Some(20), Some(22), 0), [bid("21.99"), ask("27")]);
        assert_eq!(quotes(None, None, 3), [ask("27")]);
        assert_eq!(quotes(None, None, -3), [bid("23")]);
    }

    #[test]
    fn momentum_follows_a_move_within_its_position() {
        let momentum = Momentum { quantity: number(1), lookback: 2, max_position: number(2) };
        let mut seen = VecDeque::new();
        let mut look = |price, position| {
            let sight = Sight { mark: number(price), bid: None, ask: None, position: number(position) };
            momentum.look(&mut seen, sight).map(|wish| wish.side)
        };
        assert_eq!([look(10, 0), look(10, 0), look(10, 0), look(11, 0)], [None, None, None, Some(Side::Buy)]);
        assert_eq!([look(11, 1), look(10, 1), look(9, 1)], [None, None, Some(Side::Sell)]);
        assert_eq!([look(9, 2), look(10, 2), look(11, 2)], [None, None, None]);
    }
}
