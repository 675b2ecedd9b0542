//! The whole system on one page.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::account::equity;
use super::answer::{Answer, json_answer};
use super::input::{Caller, Parameters};
use crate::backends::Backends;
use crate::clock::now;

pub(super) fn routes() -> Router<Arc<Backends>> {
    Router::new().route("/api/v1/dashboard/status", get(status)).route("/api/v1/dashboard/summary", get(summary))
}

/// Whether everything works.
async fn status(State(backends): State<Arc<Backends>>, parameters: Parameters) -> Answer {
    parameters.only(&[])?;
    let is_storing = backends.is_storing();
    let body = backends.exchange.read(|exchange| {
        let is_trading = exchange.risk().stop.is_none();
        let word = match (is_storing, is_trading) {
            (false, _) => "failed",
            (true, false) => "stopped",
            (true, true) => "running",
        };
        json!({
            "status": word,
            "store": if is_storing { "writing" } else { "failed" },
            "trading": if is_trading { "running" } else { "stopped" },
            "running_strategies": exchange.strategies().running().count(),
            "started_at": backends.started_at,
            "now": now(),
        })
    });
    Ok(json_answer(StatusCode::OK, &body))
}

/// What happened so far, and where the caller's account stands.
async fn summary(State(backends): State<Arc<Backends>>, Caller(id): Caller, parameters: Parameters) -> Answer {
    parameters.only(&[])?;
    let configurations = backends.configurations.read(|entries| entries.len());
    let body = backends.exchange.read(|exchange| {
        let account = exchange.account(&id, now());
        let markets: Vec<Value> = exchange
            .markets()
            .map(|market| {
                let ticker = market.ticker();
                json!({
                    "symbol": ticker.statistics.symbol,
                    "last": ticker.statistics.last,
                    "bid": ticker.bid,
                    "ask": ticker.ask,
                    "volume": ticker.statistics.volume,
                    "trades": ticker.statistics.trades,
                })
            })
            .collect();
        let all = exchange.accounts().map(|account| equity(exchange, account));
        json!({
            "account": { "id": id, "equity": equity(exchange, &account), "open_orders": exchange.open_orders_of(&id) },
            "markets": markets,
            "accounts": exchange.accounts().count(),
            "equity_of_all_accounts": all.sum::<Decimal>(),
            "open_orders": exchange.open_orders(),
            "strategies": { "all": exchange.strategies().len(), "running": exchange.strategies().running().count() },
            "configurations": configurations,
        })
    });
    Ok(json_answer(StatusCode::OK, &body))
}
