//! What a source delivers: one value of one symbol.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use rust_decimal::Decimal;

use crate::market::interval::Interval;

/// Longest name of a symbol or source, in bytes.
pub(crate) const NAME_MAX_BYTES: usize = 32;

/// A trade, a quote or a bar, as its source tells it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Tick {
    /// Valid by [`is_symbol`].
    pub(crate) symbol: Arc<str>,
    /// For a bar, its close.
    pub(crate) price: Decimal,
    /// Zero or more.
    pub(crate) volume: Decimal,
    /// When it happened, UTC. For a bar, its start.
    pub(crate) timestamp: Timestamp,
    /// The other prices, if it is a bar.
    pub(crate) bar: Option<Bar>,
    /// Name of the exchange's time zone, if the source tells it.
    pub(crate) zone: Option<Arc<str>>,
    /// What else the source tells; shared, because it is mostly the same for all values of a source.
    pub(crate) additional: Arc<BTreeMap<String, String>>,
}

/// Prices of an interval; `low` ≤ `open`, close ≤ `high`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Bar {
    pub(crate) open: Decimal,
    pub(crate) high: Decimal,
    pub(crate) low: Decimal,
    /// How wide it is, if the source tells and it is one of ours.
    pub(crate) interval: Option<Interval>,
}

/// A tick that was taken in.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Value {
    /// Id of the source.
    pub(crate) source: Arc<str>,
    /// Counts the values of one source from 1 on.
    pub(crate) sequence: u64,
    pub(crate) tick: Tick,
}

/// Whether the text can name a symbol: 1 to 32 letters, digits and `. - _ / : ^ =`, as exchanges use them.
pub(crate) fn is_symbol(text: &str) -> bool {
    (1..=NAME_MAX_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_/:^=".contains(&byte))
}

#[cfg(test)]
pub(crate) mod samples {
    //! Ticks for tests.

    use super::{Arc, Decimal, Tick, Timestamp, Value};

    /// A tick of volume 1 at a fixed time.
    pub(crate) fn tick(symbol: &str, price: &str) -> Tick {
        Tick {
            symbol: Arc::from(symbol),
            price: price.parse().unwrap(),
            volume: Decimal::ONE,
            timestamp: Timestamp::UNIX_EPOCH,
            bar: None,
            zone: None,
            additional: Arc::default(),
        }
    }

    /// The same, taken in from `source`.
    pub(crate) fn value(source: &str, sequence: u64, symbol: &str) -> Arc<Value> {
        Arc::new(Value { source: Arc::from(source), sequence, tick: tick(symbol, "1") })
    }
}

#[cfg(test)]
mod tests {
    use super::is_symbol;

    #[test]
    fn a_symbol_is_short_and_plain() {
        for (text, good) in [
            ("BTCUSDT", true),
            ("BRK.B", true),
            ("^GSPC", true),
            ("EUR/USD", true),
            ("EURUSD=X", true),
            ("", false),
            ("A B", false),
            ("Ä", false),
            ("A\n", false),
            ("A23456789B123456789C123456789D12", true),
            ("A23456789B123456789C123456789D123", false),
        ] {
            assert_eq!(is_symbol(text), good, "{text:?}");
        }
    }
}
