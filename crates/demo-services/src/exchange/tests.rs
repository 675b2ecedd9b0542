//! The exchange as a whole: whatever is ordered, the books agree with each other.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

fn empty() -> Exchange {
    Exchange::restore(&mut Documents::default(), &[], now()).unwrap()
}

fn order(side: Side, price: Option<i64>, quantity: i64) -> NewOrder {
    NewOrder {
        symbol: "ACME-USD".to_owned(),
        side,
        kind: if price.is_some() { Kind::Limit } else { Kind::Market },
        time_in_force: TimeInForce::Gtc,
        price: price.map(Decimal::from),
        quantity: Decimal::from(quantity),
        client_order_id: None,
        strategy: None,
    }
}

fn check_invariants(exchange: &Exchange) {
    let opening = Account::open("", now()).cash;
    let mut positions: HashMap<&str, Decimal> = HashMap::new();
    let mut cash = Decimal::ZERO;
    for account in exchange.accounts() {
        cash += account.cash - opening;
        let mut worth = Decimal::ZERO;
        for (symbol, position) in &account.positions {
            *positions.entry(symbol).or_default() += position.quantity;
            worth += position.quantity * exchange.mark(symbol);
        }
        assert_eq!(account.cash + worth, opening + account.profit(|symbol| exchange.mark(symbol)).total());
    }
    assert_eq!(cash, Decimal::ZERO, "money was made or lost");
    assert!(positions.values().all(Decimal::is_zero), "{positions:?}");

    for market in exchange.markets() {
        let symbol = market.instrument.symbol;
        if let (Some(bid), Some(ask)) = (market.book.best(Side::Buy), market.book.best(Side::Sell)) {
            assert!(bid < ask);
        }
        for side in [Side::Buy, Side::Sell] {
            let open = exchange.orders.all_open().filter(|order| order.symbol == symbol && order.side == side);
            let book: Decimal = market.book.depth(side, usize::MAX).iter().map(|level| level.quantity).sum();
            assert_eq!(open.map(Order::remaining).sum::<Decimal>(), book);
        }
        let traded: Decimal = market.trades(None).map(|trade| trade.quantity).sum();
        assert_eq!(traded, market.statistics.volume);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn accounts_orders_books_and_tape_agree(
        steps in proptest::collection::vec(
            (0..3_usize, any::<bool>(), proptest::option::weighted(0.8, 20..=30_i64), 1..=50_i64, 0..10_u8),
            1..80,
        ),
    ) {
        let mut exchange = empty();
        for (account, buys, price, quantity, what) in steps {
            let account = ["a", "b", "c"][account];
            let side = if buys { Side::Buy } else { Side::Sell };
            match what {
                0 => {
                    let open = exchange.orders.open_of(account).next().map(|order| order.id);
                    if let Some(id) = open {
                        exchange.cancel(account, id, now(), &mut Batch::default()).unwrap();
                    }
                }
                _ => {
                    let placed = exchange.place(account, order(side, price, quantity), now(), &mut Batch::default());
                    if let Ok(order) = placed {
                        prop_assert!(order.filled_quantity <= order.quantity);
                    }
                }
            }
            check_invariants(&exchange);
        }
        exchange.stop("a", "", now(), &mut Batch::default()).unwrap();
        check_invariants(&exchange);
        prop_assert_eq!(exchange.open_orders(), 0);
    }
}

/// Places an order for `a` and tells why it was refused.
fn refused(exchange: &mut Exchange, new: NewOrder) -> String {
    exchange.place("a", new, now(), &mut Batch::default()).unwrap_err().to_string()
}

#[test]
fn each_limit_refuses_and_what_is_refused_changes_nothing() {
    let exchange = &mut empty();
    let batch = &mut Batch::default();
    let limits = Limits {
        max_order_value: Decimal::from(1_000),
        max_position_value: Decimal::from(1_500),
        max_open_orders: 2,
        max_loss: Decimal::from(100),
    };
    assert_eq!(exchange.set_limits(limits.clone(), Some(1), now(), batch).unwrap().version, 2);
    assert!(exchange.set_limits(limits, Some(1), now(), batch).is_err());

    assert_eq!(refused(exchange, order(Side::Buy, Some(25), 41)), "max_order_value is 1000, this would make 1025");
    exchange.place("a", order(Side::Buy, Some(25), 40), now(), batch).unwrap();
    assert_eq!(refused(exchange, order(Side::Buy, Some(25), 40)), "max_position_value is 1500, this would make 2000");
    exchange.place("a", order(Side::Buy, Some(20), 1), now(), batch).unwrap();
    assert_eq!(refused(exchange, order(Side::Sell, Some(30), 1)), "max_open_orders is 2, this would make 3");

    // Bought at 25, and somebody trades at 20.
    exchange.place("b", order(Side::Sell, Some(25), 40), now(), batch).unwrap();
    exchange.place("b", order(Side::Sell, Some(20), 1), now(), batch).unwrap();
    assert_eq!(refused(exchange, order(Side::Buy, Some(20), 1)), "max_loss is 100, the loss is 200");
    assert_eq!(exchange.orders("a", None).count(), 2);
    check_invariants(exchange);
}

#[test]
fn a_market_order_needs_somebody_and_its_rest_is_cancelled() {
    let exchange = &mut empty();
    let batch = &mut Batch::default();
    assert_eq!(refused(exchange, order(Side::Buy, None, 5)), "the book has nothing on the other side");
    exchange.place("b", order(Side::Sell, Some(25), 3), now(), batch).unwrap();
    let placed = exchange.place("a", order(Side::Buy, None, 5), now(), batch).unwrap();
    assert_eq!((placed.status, placed.filled_quantity), (OrderStatus::Cancelled, Decimal::from(3)));
    assert_eq!((placed.time_in_force, placed.average_price()), (TimeInForce::Ioc, Some(Decimal::from(25))));
}

#[test]
fn while_trading_is_stopped_nothing_is_taken() {
    let exchange = &mut empty();
    let batch = &mut Batch::default();
    exchange.found(now(), batch).unwrap();
    let open = exchange.open_orders();
    assert_eq!(open, 40);
    let stop = exchange.stop("a", "why not", now(), batch).unwrap();
    assert_eq!((stop.cancelled_orders, exchange.open_orders()), (open, 0));
    assert_eq!(refused(exchange, order(Side::Buy, Some(25), 1)), "trading is stopped since 1970-01-01T00:00:00Z");
    assert!(exchange.stop("a", "", now(), batch).is_err());
    exchange.resume(batch).unwrap();
    assert!(exchange.resume(batch).is_err());
    exchange.place("a", order(Side::Buy, Some(25), 1), now(), batch).unwrap();
}

#[test]
fn a_market_maker_keeps_its_quotes_and_momentum_takes_them() {
    let exchange = &mut empty();
    let batch = &mut Batch::default();
    let number = Decimal::from;
    let maker = Rule::MarketMaker(strategy::MarketMaker {
        quantity: number(10),
        half_spread: number(1),
        max_position: number(100),
    });
    let definition = |name: &str, rule| Definition { name: name.to_owned(), symbol: "ACME-USD".to_owned(), rule };
    let maker = exchange.add_strategy("m", definition("maker", maker), now(), batch).unwrap().id;
    exchange.start_strategy("m", maker, now(), batch).unwrap();
    exchange.step(now(), batch);
    exchange.step(now(), batch);
    let quotes = |exchange: &Exchange| {
        let found = exchange.strategies().find("m", maker).unwrap();
        let orders = exchange.orders_of(found);
        orders.iter().map(|order| (order.side, order.price.unwrap().to_string())).collect::<Vec<_>>()
    };
    assert_eq!(quotes(exchange), [(Side::Buy, "24.00".to_owned()), (Side::Sell, "26.00".to_owned())]);
    // Two steps, two orders: what is right already is left alone.
    assert_eq!(exchange.orders("m", None).count(), 2);

    // Somebody takes the ask; the quotes follow the price.
    exchange.place("b", order(Side::Buy, None, 10), now(), batch).unwrap();
    exchange.step(now(), batch);
    assert_eq!(quotes(exchange), [(Side::Buy, "25.00".to_owned()), (Side::Sell, "27.00".to_owned())]);

    let momentum = Rule::Momentum(strategy::Momentum { quantity: number(5), lookback: 2, max_position: number(5) });
    let momentum = exchange.add_strategy("t", definition("taker", momentum), now(), batch).unwrap().id;
    exchange.start_strategy("t", momentum, now(), batch).unwrap();
    exchange.step(now(), batch);
    exchange.place("b", order(Side::Buy, None, 10), now(), batch).unwrap();
    for _ in 0..3 {
        exchange.step(now(), batch);
    }
    assert_eq!(exchange.account("t", now()).quantity("ACME-USD"), number(5));
    check_invariants(exchange);

    exchange.stop_strategy("m", maker, now(), batch).unwrap();
    assert_eq!(exchange.open_orders_of("m"), 0);
    let stopped = exchange.stop("x", "", now(), batch).unwrap();
    assert_eq!(stopped.stopped_strategies, 1);
    exchange.remove_strategy("t", momentum, batch).unwrap();
}
