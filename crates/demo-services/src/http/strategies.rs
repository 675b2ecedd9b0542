//! Strategies of the caller's account.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, created, json_answer, nothing, versioned};
use super::failure::Failure;
use super::input::{Caller, Conditions, Document, Parameters, Segment, part};
use super::orders::OrderBody;
use crate::backends::Backends;
use crate::clock::now;
use crate::exchange::{Definition, Rule};
use crate::fault::Fault;
use crate::fields::Fields;
use crate::ids::StrategyId;

pub(super) fn routes() -> Router<Arc<Backends>> {
    Router::new()
        .route("/api/v1/strategies", post(create).get(list))
        .route("/api/v1/strategies/{id}", get(read).put(update).delete(delete))
        .route("/api/v1/strategies/{id}/start", post(start))
        .route("/api/v1/strategies/{id}/stop", post(stop))
        .route("/api/v1/strategies/{id}/status", get(status))
}

/// The body of a strategy, new or changed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StrategyBody {
    name: Option<String>,
    symbol: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    parameters: Option<Value>,
}

impl StrategyBody {
    fn check(self) -> Result<Definition, Failure> {
        let mut fields = Fields::default();
        let name = fields.required("name", self.name);
        let symbol = fields.required("symbol", self.symbol);
        let kind = fields.required("type", self.kind);
        let parameters = fields.required("parameters", self.parameters);
        fields.done()?;
        let rule = match kind.as_str() {
            "market_maker" => Rule::MarketMaker(part("parameters", parameters)?),
            "momentum" => Rule::Momentum(part("parameters", parameters)?),
            _ => return Err(Fault::field("type", "must be one of market_maker, momentum").into()),
        };
        Ok(Definition { name, symbol, rule })
    }
}

async fn create(
    State(backends): State<Arc<Backends>>,
    Caller(account): Caller,
    Document(body): Document<StrategyBody>,
) -> Answer {
    let definition = body.check()?;
    let adding = |exchange: &mut crate::exchange::Exchange, batch: &mut crate::store::Batch| {
        exchange.add_strategy(&account, definition, now(), batch)
    };
    let strategy = backends.exchange.change(adding).await?;
    Ok(created(&format!("/api/v1/strategies/{}", strategy.id), strategy.version, &strategy))
}

async fn read(
    State(backends): State<Arc<Backends>>,
    Caller(account): Caller,
    Segment(id): Segment,
    seen: Conditions,
) -> Answer {
    let id = strategy_id(&id)?;
    backends.exchange.read(|exchange| {
        let strategy = exchange.strategies().find(&account, id)?;
        Ok(versioned(StatusCode::OK, strategy.version, strategy, &seen))
    })
}

async fn update(
    State(backends): State<Arc<Backends>>,
    Caller(account): Caller,
    Segment(id): Segment,
    seen: Conditions,
    Document(body): Document<StrategyBody>,
) -> Answer {
    let (id, definition, version) = (strategy_id(&id)?, body.check()?, seen.version());
    let changed = backends
        .exchange
        .change(|exchange, batch| exchange.change_strategy(&account, id, definition, version, now(), batch))
        .await?;
    Ok(versioned(StatusCode::OK, changed.version, &changed, &Conditions::default()))
}

async fn delete(State(backends): State<Arc<Backends>>, Caller(account): Caller, Segment(id): Segment) -> Answer {
    let id = strategy_id(&id)?;
    backends.exchange.change(|exchange, batch| exchange.remove_strategy(&account, id, batch)).await?;
    Ok(nothing())
}

async fn list(State(backends): State<Arc<Backends>>, Caller(account): Caller, parameters: Parameters) -> Answer {
    let window = parameters.only(&["limit", "cursor"])?.window::<StrategyId>()?;
    Ok(backends.exchange.read(|exchange| {
        let page = window.page(exchange.strategies().of(&account, window.after), |strategy| strategy.id);
        json_answer(StatusCode::OK, &json!({ "strategies": page.items, "next_cursor": page.next }))
    }))
}

async fn start(State(backends): State<Arc<Backends>>, Caller(account): Caller, Segment(id): Segment) -> Answer {
    let id = strategy_id(&id)?;
    let started = backends.exchange.change(|exchange, batch| exchange.start_strategy(&account, id, now(), batch));
    Ok(json_answer(StatusCode::OK, &started.await?))
}

async fn stop(State(backends): State<Arc<Backends>>, Caller(account): Caller, Segment(id): Segment) -> Answer {
    let id = strategy_id(&id)?;
    let stopped = backends.exchange.change(|exchange, batch| exchange.stop_strategy(&account, id, now(), batch));
    Ok(json_answer(StatusCode::OK, &stopped.await?))
}

async fn status(State(backends): State<Arc<Backends>>, Caller(account): Caller, Segment(id): Segment) -> Answer {
    let id = strategy_id(&id)?;
    backends.exchange.read(|exchange| {
        let strategy = exchange.strategies().find(&account, id)?;
        let open = exchange.orders_of(strategy);
        let body = json!({
            "id": id,
            "state": strategy.state,
            "record": strategy.record,
            "open_orders": open.iter().map(OrderBody::from).collect::<Vec<_>>(),
        });
        Ok(json_answer(StatusCode::OK, &body))
    })
}

fn strategy_id(id: &str) -> Result<StrategyId, Fault> {
    id.parse().map_err(|_| Fault::not_found("strategy", id))
}
