//! Ids: numbers that are given out once, each with the letters of its kind when it is shown.

use serde::{Deserialize, Serialize};

use crate::store::Batch;

/// Where the next free numbers are stored.
pub(crate) const SEQUENCES: &str = "sequences";

/// A text that is not an id.
#[derive(Debug)]
pub(crate) struct NotAnId;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $prefix:literal)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub(crate) struct $name(pub(crate) u64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!($prefix, "-{:06}"), self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NotAnId;

            /// Accepts exactly what is shown, so that one thing has one name.
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                let digits = text.strip_prefix(concat!($prefix, "-")).ok_or(NotAnId)?;
                let id = Self(digits.parse().map_err(|_| NotAnId)?);
                if id.to_string() == text { Ok(id) } else { Err(NotAnId) }
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = &'static str;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse().map_err(|NotAnId| concat!("not an id that begins with ", $prefix))
            }
        }
    )*};
}

ids! {
    /// An order of the exchange. Grows with time, so it is also the order's priority.
    OrderId "ord"
    /// A trade of the exchange.
    TradeId "trd"
    /// A strategy.
    StrategyId "str"
    /// A transaction of a wallet.
    TransactionId "txn"
    /// A user.
    UserId "usr"
    /// A project.
    ProjectId "prj"
    /// A simulation.
    SimulationId "sim"
}

/// Gives out numbers from 1, and remembers in the store which it has given out: an id never comes twice, even if what
/// it named has been deleted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Sequence {
    name: String,
    next: u64,
}

impl Sequence {
    /// The sequence `name` as it was stored, or a new one.
    pub(crate) fn resume(stored: &[Sequence], name: &str) -> Self {
        let new = || Self { name: name.to_owned(), next: 1 };
        stored.iter().find(|sequence| sequence.name == name).cloned().unwrap_or_else(new)
    }

    /// The next number.
    pub(crate) fn take(&mut self, batch: &mut Batch) -> u64 {
        let number = self.next;
        self.next += 1;
        batch.put(SEQUENCES, &self.name, self);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_spelling() {
        assert_eq!(OrderId(12).to_string(), "ord-000012");
        for (text, expected) in [
            ("ord-000012", Some(OrderId(12))),
            ("ord-1000000", Some(OrderId(1_000_000))),
            ("ord-12", None),
            ("ord-0000012", None),
            ("ord-+00012", None),
            ("trd-000012", None),
            ("12", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<OrderId>().ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_sequence_goes_on_where_it_was() {
        let mut batch = Batch::default();
        let mut sequence = Sequence::resume(&[], "orders");
        assert_eq!((sequence.take(&mut batch), sequence.take(&mut batch)), (1, 2));
        let stored = [sequence];
        assert_eq!(Sequence::resume(&stored, "orders").take(&mut batch), 3);
        assert_eq!(Sequence::resume(&stored, "trades").take(&mut batch), 1);
    }
}
