//! Limits that hold for every account, and the emergency stop.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, json_answer, versioned};
use super::input::{Caller, Conditions, Document, OptionalDocument, Parameters};
use crate::backends::Backends;
use crate::clock::now;
use crate::exchange::{Limits, Risk};
use crate::fault::Fault;
use crate::fields::Fields;

/// Length of a reason for an emergency stop.
const REASON_MAX_LEN: usize = 500;

pub(super) fn routes() -> Router<Arc<Backends>> {
    Router::new()
        .route("/api/v1/risk/limits", get(limits).put(set_limits))
        .route("/api/v1/risk/status", get(status))
        .route("/api/v1/risk/emergency-stop", post(emergency_stop))
}

/// The limits, all of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsBody {
    max_order_value: Option<Decimal>,
    max_position_value: Option<Decimal>,
    max_open_orders: Option<u32>,
    max_loss: Option<Decimal>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StopBody {
    /// False ends the stop.
    #[serde(default = "yes")]
    active: bool,
    #[serde(default)]
    reason: String,
}

fn yes() -> bool {
    true
}

fn shown(risk: &Risk) -> Value {
    json!({ "limits": risk.limits, "version": risk.version, "updated_at": risk.updated_at })
}

async fn limits(State(backends): State<Arc<Backends>>, parameters: Parameters, seen: Conditions) -> Answer {
    parameters.only(&[])?;
    let risk = backends.exchange.read(|exchange| exchange.risk().clone());
    Ok(versioned(StatusCode::OK, risk.version, &shown(&risk), &seen))
}

async fn set_limits(
    State(backends): State<Arc<Backends>>,
    seen: Conditions,
    Document(body): Document<LimitsBody>,
) -> Answer {
    let mut fields = Fields::default();
    let limits = Limits {
        max_order_value: fields.required("max_order_value", body.max_order_value),
        max_position_value: fields.required("max_position_value", body.max_position_value),
        max_open_orders: fields.required("max_open_orders", body.max_open_orders),
        max_loss: fields.required("max_loss", body.max_loss),
    };
    fields.done()?;
    let version = seen.version();
    let setting = backends.exchange.change(|exchange, batch| exchange.set_limits(limits, version, now(), batch));
    let risk = setting.await?;
    Ok(versioned(StatusCode::OK, risk.version, &shown(&risk), &Conditions::default()))
}

async fn status(State(backends): State<Arc<Backends>>, Caller(id): Caller, parameters: Parameters) -> Answer {
    parameters.only(&[])?;
    let body = backends.exchange.read(|exchange| {
        let (risk, account) = (exchange.risk(), exchange.account(&id, now()));
        let values = account.positions.iter().map(|(symbol, position)| {
            let value = (position.quantity * exchange.mark(symbol)).abs();
            json!({ "symbol": symbol, "value": value, "limit": risk.limits.max_position_value })
        });
        let total = account.profit(|symbol| exchange.mark(symbol)).total();
        // Not `-0`, which nobody who loses nothing should read.
        let loss = if total < Decimal::ZERO { -total } else { Decimal::ZERO };
        json!({
            "trading": if risk.stop.is_some() { "stopped" } else { "running" },
            "stop": risk.stop,
            "account": id,
            "loss": { "value": loss, "limit": risk.limits.max_loss },
            "open_orders": { "value": exchange.open_orders_of(&id), "limit": risk.limits.max_open_orders },
            "positions": values.collect::<Vec<_>>(),
        })
    });
    Ok(json_answer(StatusCode::OK, &body))
}

async fn emergency_stop(
    State(backends): State<Arc<Backends>>,
    Caller(by): Caller,
    OptionalDocument(body): OptionalDocument<StopBody>,
) -> Answer {
    let body = body.unwrap_or(StopBody { active: true, reason: String::new() });
    let mut fields = Fields::default();
    fields.text("reason", &body.reason, 0, REASON_MAX_LEN);
    fields.check(body.active || body.reason.is_empty(), "reason", "must not be set to end a stop");
    fields.done()?;
    let answer = backends.exchange.change(|exchange, batch| -> Result<Value, Fault> {
        match body.active {
            true => Ok(json!({ "trading": "stopped", "stop": exchange.stop(&by, &body.reason, now(), batch)? })),
            false => {
                exchange.resume(batch)?;
                Ok(json!({ "trading": "running", "stop": null }))
            }
        }
    });
    Ok(json_answer(StatusCode::OK, &answer.await?))
}
