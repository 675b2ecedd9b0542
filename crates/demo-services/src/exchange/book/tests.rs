//! The book against a naive one: a list that is searched from the start for each fill.

use proptest::prelude::*;

use super::*;

/// Keeps everything in one list in order of arrival.
#[derive(Default)]
struct Naive(Vec<(OrderId, Side, Decimal, Decimal)>);

impl Naive {
    fn place(&mut self, id: OrderId, side: Side, limit: Option<Decimal>, quantity: Decimal, may_rest: bool) -> Placed {
        let mut left = quantity;
        let mut fills = Vec::new();
        while !left.is_zero() {
            let reachable = |order: &&mut (OrderId, Side, Decimal, Decimal)| {
                order.1 != side
                    && limit.is_none_or(|limit| if side == Side::Buy { order.2 <= limit } else { order.2 >= limit })
            };
            // `min_by` keeps the first of equals, which is the one that came first.
            let better = |a: &&mut (OrderId, Side, Decimal, Decimal), b: &&mut (OrderId, Side, Decimal, Decimal)| {
                if side == Side::Buy { a.2.cmp(&b.2) } else { b.2.cmp(&a.2) }
            };
            let Some(maker) = self.0.iter_mut().filter(reachable).min_by(better) else { break };
            let taken = maker.3.min(left);
            maker.3 -= taken;
            left -= taken;
            fills.push(Fill { maker: maker.0, price: maker.2, quantity: taken });
            self.0.retain(|order| !order.3.is_zero());
        }
        match limit {
            Some(price) if may_rest && !left.is_zero() => {
                self.0.push((id, side, price, left));
                Placed { fills, rests: left, left: Decimal::ZERO }
            }
            _ => Placed { fills, rests: Decimal::ZERO, left },
        }
    }

    fn cancel(&mut self, id: OrderId) -> Option<Decimal> {
        let at = self.0.iter().position(|order| order.0 == id)?;
        Some(self.0.remove(at).3)
    }

    fn depth(&self, side: Side) -> Vec<Depth> {
        let mut levels: BTreeMap<Decimal, Depth> = BTreeMap::new();
        for (_, _, price, quantity) in self.0.iter().filter(|order| order.1 == side) {
            let level = levels.entry(*price).or_insert(Depth { price: *price, quantity: Decimal::ZERO, orders: 0 });
            level.quantity += quantity;
            level.orders += 1;
        }
        match side {
            Side::Buy => levels.into_values().rev().collect(),
            Side::Sell => levels.into_values().collect(),
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Place {
        side: Side,
        limit: Option<i64>,
        quantity: i64,
        may_rest: bool,
    },
    /// The order of this step, if it was one.
    Cancel(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let side = prop_oneof![Just(Side::Buy), Just(Side::Sell)];
    prop_oneof![
        // Few prices and small quantities, so that orders meet, share levels and leave parts.
        6 => (side, proptest::option::weighted(0.85, 95..=105_i64), 1..=9_i64, proptest::bool::weighted(0.9))
            .prop_map(|(side, limit, quantity, may_rest)| Step::Place { side, limit, quantity, may_rest }),
        2 => (0..200_usize).prop_map(Step::Cancel),
    ]
}

fn check_invariants(book: &Book) {
    if let (Some(bid), Some(ask)) = (book.best(Side::Buy), book.best(Side::Sell)) {
        assert!(bid < ask, "crossed: {bid} {ask}");
    }
    let mut resting = 0;
    for (side, levels) in [(Side::Buy, &book.bids), (Side::Sell, &book.asks)] {
        for (price, level) in levels {
            assert!(!level.orders.is_empty());
            assert!(level.orders.iter().all(|order| order.quantity > Decimal::ZERO));
            assert_eq!(level.quantity, level.orders.iter().map(|order| order.quantity).sum::<Decimal>());
            assert!(level.orders.iter().all(|order| book.places.get(&order.id) == Some(&(side, *price))));
            resting += level.orders.len();
        }
    }
    assert_eq!(book.places.len(), resting);
}

proptest! {
    #[test]
    fn it_does_what_the_naive_book_does_and_loses_nothing(steps in proptest::collection::vec(step(), 1..200)) {
        let (mut book, mut naive) = (Book::default(), Naive::default());
        let (mut placed, mut traded, mut gone) = (Decimal::ZERO, Decimal::ZERO, Decimal::ZERO);
        for (number, step) in (1..).zip(steps) {
            match step {
                Step::Place { side, limit, quantity, may_rest } => {
                    let (limit, quantity) = (limit.map(Decimal::from), Decimal::from(quantity));
                    let quote = book.quote(side, quantity);
                    let found = book.place(OrderId(number), side, limit, quantity, may_rest);
                    prop_assert_eq!(&found, &naive.place(OrderId(number), side, limit, quantity, may_rest));

                    let filled: Decimal = found.fills.iter().map(|fill| fill.quantity).sum();
                    prop_assert_eq!(filled + found.rests + found.left, quantity);
                    if limit.is_none() {
                        let cost: Decimal = found.fills.iter().map(|fill| fill.quantity * fill.price).sum();
                        prop_assert_eq!(quote, (filled, cost));
                    }
                    placed += quantity;
                    traded += filled;
                    gone += found.left;
                }
                Step::Cancel(number) => {
                    let id = OrderId(number as u64);
                    let cancelled = book.cancel(id);
                    prop_assert_eq!(cancelled, naive.cancel(id));
                    gone += cancelled.unwrap_or_default();
                }
            }
            check_invariants(&book);
            for side in [Side::Buy, Side::Sell] {
                prop_assert_eq!(book.depth(side, usize::MAX), naive.depth(side));
            }
        }
        // A trade takes the same quantity from two orders.
        let rests: Decimal = naive.0.iter().map(|order| order.3).sum();
        prop_assert_eq!(placed, traded * Decimal::TWO + rests + gone);
    }
}

#[test]
fn a_better_price_goes_first_and_at_one_price_the_older_order() {
    let mut book = Book::default();
    let number = Decimal::from;
    for (id, price, quantity) in [(1, 101, 5), (2, 100, 3), (3, 100, 4)] {
        book.place(OrderId(id), Side::Sell, Some(number(price)), number(quantity), true);
    }
    let placed = book.place(OrderId(4), Side::Buy, Some(number(101)), number(8), true);
    let fill = |maker, price: i64, quantity: i64| Fill {
        maker: OrderId(maker),
        price: Decimal::from(price),
        quantity: Decimal::from(quantity),
    };
    assert_eq!(placed.fills, [fill(2, 100, 3), fill(3, 100, 4), fill(1, 101, 1)]);
    assert_eq!((placed.rests, book.best(Side::Sell), book.best(Side::Buy)), (number(0), Some(number(101)), None));
}

#[test]
fn a_partly_filled_order_keeps_its_place() {
    let mut book = Book::default();
    let (one, two, price) = (Decimal::ONE, Decimal::TWO, Some(Decimal::TEN));
    book.place(OrderId(1), Side::Buy, price, two, true);
    book.place(OrderId(2), Side::Buy, price, two, true);
    let makers = |placed: Placed| placed.fills.iter().map(|fill| fill.maker.0).collect::<Vec<_>>();
    assert_eq!(makers(book.place(OrderId(3), Side::Sell, None, one, false)), [1]);
    assert_eq!(makers(book.place(OrderId(4), Side::Sell, None, two, false)), [1, 2]);
    assert_eq!(book.cancel(OrderId(1)), None);
    assert_eq!(book.cancel(OrderId(2)), Some(one));
    assert_eq!(book.depth(Side::Buy, 9), []);
}
