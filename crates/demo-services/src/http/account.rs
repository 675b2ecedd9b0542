//! The caller's account: what it owns, and what it won and lost.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::answer::{Answer, json_answer};
use super::input::{Caller, Parameters};
use crate::backends::Backends;
use crate::clock::now;
use crate::exchange::{Account, Exchange, Trade};
use crate::ids::TradeId;

pub(super) fn routes() -> Router<Arc<Backends>> {
    Router::new()
        .route("/api/v1/account/summary", get(summary))
        .route("/api/v1/account/balance", get(balance))
        .route("/api/v1/account/positions", get(positions))
        .route("/api/v1/account/pnl", get(profit))
        .route("/api/v1/account/trades", get(trades))
}

async fn summary(State(backends): State<Arc<Backends>>, Caller(id): Caller, parameters: Parameters) -> Answer {
    parameters.only(&[])?;
    Ok(show(&backends, &id, |exchange, account| {
        let profit = account.profit(|symbol| exchange.mark(symbol));
        json!({
            "account": account.id,
            "currency": "USD",
            "cash": account.cash,
            "equity": equity(exchange, account),
            "realized_pnl": profit.realized,
            "unrealized_pnl": profit.unrealized,
            "open_orders": exchange.open_orders_of(&account.id),
            "positions": account.positions.values().filter(|position| !position.quantity.is_zero()).count(),
            "opened_at": account.opened_at,
        })
    }))
}

async fn balance(State(backends): State<Arc<Backends>>, Caller(id): Caller, parameters: Parameters) -> Answer {
    parameters.only(&[])?;
    Ok(show(
        &backends,
        &id,
        |exchange, account| json!({ "account": account.id, "currency": "USD", "cash": account.cash, "equity": equity(exchange, account) }),
    ))
}

async fn positions(State(backends): State<Arc<Backends>>, Caller(id): Caller, parameters: Parameters) -> Answer {
    parameters.only(&[])?;
    Ok(show(&backends, &id, |exchange, account| {
        let open = account.positions.iter().filter(|(_, position)| !position.quantity.is_zero());
        let shown = open.map(|(symbol, position)| {
            let mark = exchange.mark(symbol);
            json!({
                "symbol": symbol,
                "quantity": position.quantity,
                "average_price": position.average_price(),
                "mark_price": mark,
                "value": position.quantity * mark,
                "realized_pnl": position.realized,
                "unrealized_pnl": position.unrealized(mark),
            })
        });
        json!({ "account": account.id, "positions": shown.collect::<Vec<_>>() })
    }))
}

async fn profit(State(backends): State<Arc<Backends>>, Caller(id): Caller, parameters: Parameters) -> Answer {
    parameters.only(&[])?;
    Ok(show(&backends, &id, |exchange, account| {
        let total = account.profit(|symbol| exchange.mark(symbol));
        let each = account.positions.iter().map(|(symbol, position)| {
            let unrealized = position.unrealized(exchange.mark(symbol));
            json!({ "symbol": symbol, "realized": position.realized, "unrealized": unrealized })
        });
        json!({
            "account": account.id,
            "currency": "USD",
            "realized": total.realized,
            "unrealized": total.unrealized,
            "total": total.total(),
            "by_symbol": each.collect::<Vec<_>>(),
        })
    }))
}

async fn trades(State(backends): State<Arc<Backends>>, Caller(id): Caller, parameters: Parameters) -> Answer {
    let window = parameters.only(&["limit", "cursor"])?.window::<TradeId>()?;
    Ok(backends.exchange.read(|exchange| {
        let page = window.page(exchange.trades_of(&id, window.after).into_iter(), |trade| trade.id);
        let trades: Vec<Value> = page.items.into_iter().flat_map(|trade| sides(trade, &id)).collect();
        json_answer(StatusCode::OK, &json!({ "account": id, "trades": trades, "next_cursor": page.next }))
    }))
}

/// A trade from the account's side; from both if it has traded with itself.
fn sides(trade: &Trade, account: &str) -> Vec<Value> {
    let parties = [("buy", &trade.buyer), ("sell", &trade.seller)];
    let own = parties.into_iter().filter(|(_, party)| party.account == account);
    own.map(|(side, party)| {
        json!({
            "id": trade.id,
            "order_id": party.order,
            "symbol": trade.symbol,
            "side": side,
            "role": if side == trade.taker_side.as_str() { "taker" } else { "maker" },
            "price": trade.price,
            "quantity": trade.quantity,
            "executed_at": trade.executed_at,
        })
    })
    .collect()
}

fn show(backends: &Backends, id: &str, body: impl FnOnce(&Exchange, &Account) -> Value) -> axum::response::Response {
    let body = backends.exchange.read(|exchange| body(exchange, &exchange.account(id, now())));
    json_answer(StatusCode::OK, &body)
}

/// Cash and what the positions are worth.
pub(super) fn equity(exchange: &Exchange, account: &Account) -> Decimal {
    let worth = account.positions.iter().map(|(symbol, position)| position.quantity * exchange.mark(symbol));
    account.cash + worth.sum::<Decimal>()
}
