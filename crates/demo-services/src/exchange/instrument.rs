//! What is traded.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Something that can be bought and sold. The table is fixed, see [`all`].
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Instrument {
    /// Base and quote.
    pub(crate) symbol: &'static str,
    pub(crate) base: &'static str,
    pub(crate) quote: &'static str,
    /// Prices are multiples of it.
    pub(crate) tick_size: Decimal,
    /// Quantities are multiples of it.
    pub(crate) lot_size: Decimal,
    /// What it is worth before anybody has traded it.
    pub(crate) reference_price: Decimal,
}

/// Which side of the book an order is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    Buy,
    Sell,
}

impl Side {
    pub(crate) fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
        }
    }
}

/// All instruments, by symbol.
pub(crate) fn all() -> Vec<Instrument> {
    let instrument = |symbol, base, tick_size, lot_size, reference_price: i64| Instrument {
        symbol,
        base,
        quote: "USD",
        tick_size,
        lot_size,
        reference_price: Decimal::from(reference_price),
    };
    vec![
        instrument("ACME-USD", "ACME", Decimal::new(1, 2), Decimal::ONE, 25),
        instrument("BTC-USD", "BTC", Decimal::new(1, 2), Decimal::new(1, 4), 64_000),
        instrument("ETH-USD", "ETH", Decimal::new(1, 2), Decimal::new(1, 3), 3_200),
        instrument("SOL-USD", "SOL", Decimal::new(1, 3), Decimal::new(1, 2), 150),
    ]
}
