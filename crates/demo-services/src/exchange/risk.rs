//! Limits that every account has to keep, and the emergency stop.

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::fields::Fields;

/// Collection of the store.
pub(crate) const RISK: &str = "risk";
/// A limit on open orders cannot be above this.
const OPEN_ORDERS_MAX: u32 = 1_000;

/// What an account may do. Money is in the quote currency.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// Price times quantity of one order.
    pub(crate) max_order_value: Decimal,
    /// Price times quantity that a position could have if all open orders of its side were filled.
    pub(crate) max_position_value: Decimal,
    pub(crate) max_open_orders: u32,
    /// Loss, realized and unrealized, from which on no order is taken.
    pub(crate) max_loss: Decimal,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_order_value: Decimal::from(250_000),
            max_position_value: Decimal::from(1_000_000),
            max_open_orders: 200,
            max_loss: Decimal::from(100_000),
        }
    }
}

impl Limits {
    /// # Errors
    /// `Invalid`.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        let mut fields = Fields::default();
        fields.amount("max_order_value", self.max_order_value, 8);
        fields.amount("max_position_value", self.max_position_value, 8);
        fields.amount("max_loss", self.max_loss, 8);
        let open_orders = (1..=OPEN_ORDERS_MAX).contains(&self.max_open_orders);
        fields.check(open_orders, "max_open_orders", &format!("must be 1 to {OPEN_ORDERS_MAX}"));
        fields.done()
    }
}

/// The limits in force, and whether trading is stopped.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Risk {
    pub(crate) limits: Limits,
    /// Counts changes of the limits, from 1.
    pub(crate) version: u64,
    pub(crate) updated_at: Timestamp,
    pub(crate) stop: Option<Stop>,
}

/// An emergency stop.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Stop {
    pub(crate) reason: String,
    /// Who asked for it.
    pub(crate) by: String,
    pub(crate) since: Timestamp,
    /// Orders that it cancelled.
    pub(crate) cancelled_orders: usize,
    /// Strategies that it stopped.
    pub(crate) stopped_strategies: usize,
}

/// What an account would have if an order were taken, to be held against the limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exposure {
    pub(crate) order_value: Decimal,
    pub(crate) position_value: Decimal,
    pub(crate) open_orders: usize,
    pub(crate) loss: Decimal,
}

impl Risk {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { limits: Limits::default(), version: 1, updated_at: now, stop: None }
    }

    /// # Errors
    /// `Conflict` while trading is stopped; `Refused` with the limit that would be broken.
    pub(crate) fn admit(&self, exposure: &Exposure) -> Result<(), Fault> {
        self.admit_trading()?;
        let limits = &self.limits;
        let refused = |limit: &str, value: Decimal, most: Decimal| {
            Err(Fault::refused("risk_limit", format!("{limit} is {most}, this would make {}", value.normalize())))
        };
        if exposure.order_value > limits.max_order_value {
            return refused("max_order_value", exposure.order_value, limits.max_order_value);
        }
        if exposure.position_value > limits.max_position_value {
            return refused("max_position_value", exposure.position_value, limits.max_position_value);
        }
        let most = Decimal::from(limits.max_open_orders);
        let open_orders = Decimal::from(exposure.open_orders);
        if open_orders > most {
            return refused("max_open_orders", open_orders, most);
        }
        if exposure.loss >= limits.max_loss {
            let loss = exposure.loss.normalize();
            return Err(Fault::refused("risk_limit", format!("max_loss is {}, the loss is {loss}", limits.max_loss)));
        }
        Ok(())
    }

    /// # Errors
    /// `Conflict` while trading is stopped.
    pub(crate) fn admit_trading(&self) -> Result<(), Fault> {
        match &self.stop {
            None => Ok(()),
            Some(stop) => Err(Fault::conflict("trading_stopped", format!("trading is stopped since {}", stop.since))),
        }
    }
}
