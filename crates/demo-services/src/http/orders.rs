//! Orders of the caller's account.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answer::{Answer, created, json_answer, versioned};
use super::input::{Caller, Conditions, Document, Parameters, Segment};
use crate::backends::Backends;
use crate::clock::now;
use crate::exchange::{Kind, NewOrder, Order, OrderStatus, Side, TimeInForce};
use crate::fault::Fault;
use crate::fields::Fields;
use crate::ids::OrderId;

pub(super) fn routes() -> Router<Arc<Backends>> {
    Router::new()
        .route("/api/v1/orders", post(create).get(list))
        .route("/api/v1/orders/active", get(active))
        .route("/api/v1/orders/history", get(history))
        .route("/api/v1/orders/{id}", get(read).delete(cancel))
}

/// The body of a new order.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewOrderBody {
    symbol: Option<String>,
    side: Option<Side>,
    #[serde(rename = "type", default)]
    kind: Kind,
    #[serde(default)]
    time_in_force: TimeInForce,
    price: Option<Decimal>,
    quantity: Option<Decimal>,
    client_order_id: Option<String>,
}

/// An order as its owner sees it.
#[derive(Serialize)]
pub(super) struct OrderBody<'a> {
    #[serde(flatten)]
    order: &'a Order,
    remaining_quantity: Decimal,
    average_price: Option<Decimal>,
}

impl<'a> From<&'a Order> for OrderBody<'a> {
    fn from(order: &'a Order) -> Self {
        let remaining_quantity = if order.status.is_open() { order.remaining() } else { Decimal::ZERO };
        Self { order, remaining_quantity, average_price: order.average_price() }
    }
}

impl NewOrderBody {
    fn check(self) -> Result<NewOrder, Fault> {
        let mut fields = Fields::default();
        let symbol = fields.required("symbol", self.symbol);
        fields.check(self.side.is_some(), "side", "is required");
        let quantity = fields.required("quantity", self.quantity);
        fields.done()?;
        Ok(NewOrder {
            symbol,
            side: self.side.unwrap_or(Side::Buy),
            kind: self.kind,
            time_in_force: self.time_in_force,
            price: self.price,
            quantity,
            client_order_id: self.client_order_id,
            strategy: None,
        })
    }
}

async fn create(
    State(backends): State<Arc<Backends>>,
    Caller(account): Caller,
    Document(body): Document<NewOrderBody>,
) -> Answer {
    let new = body.check()?;
    let order = backends.exchange.change(|exchange, batch| exchange.place(&account, new, now(), batch)).await?;
    Ok(created(&format!("/api/v1/orders/{}", order.id), order.version, &OrderBody::from(&order)))
}

async fn read(
    State(backends): State<Arc<Backends>>,
    Caller(account): Caller,
    Segment(id): Segment,
    seen: Conditions,
) -> Answer {
    let id = order_id(&id)?;
    backends.exchange.read(|exchange| {
        let order = exchange.order(&account, id)?;
        Ok(versioned(StatusCode::OK, order.version, &OrderBody::from(order), &seen))
    })
}

async fn cancel(State(backends): State<Arc<Backends>>, Caller(account): Caller, Segment(id): Segment) -> Answer {
    let id = order_id(&id)?;
    let order = backends.exchange.change(|exchange, batch| exchange.cancel(&account, id, now(), batch)).await?;
    Ok(json_answer(StatusCode::OK, &OrderBody::from(&order)))
}

async fn list(State(backends): State<Arc<Backends>>, Caller(account): Caller, parameters: Parameters) -> Answer {
    let parameters = parameters.only(&["limit", "cursor", "symbol", "status"])?;
    let statuses = [OrderStatus::Open, OrderStatus::PartiallyFilled, OrderStatus::Filled, OrderStatus::Cancelled];
    let status = parameters.word("status", &statuses.map(|status| (status.as_str(), status)))?;
    page(&backends, &account, &parameters, |order| status.is_none_or(|status| order.status == status))
}

async fn active(State(backends): State<Arc<Backends>>, Caller(account): Caller, parameters: Parameters) -> Answer {
    let parameters = parameters.only(&["limit", "cursor", "symbol"])?;
    page(&backends, &account, &parameters, |order| order.status.is_open())
}

async fn history(State(backends): State<Arc<Backends>>, Caller(account): Caller, parameters: Parameters) -> Answer {
    let parameters = parameters.only(&["limit", "cursor", "symbol"])?;
    page(&backends, &account, &parameters, |order| !order.status.is_open())
}

fn page(backends: &Backends, account: &str, parameters: &Parameters, wanted: impl Fn(&Order) -> bool) -> Answer {
    let window = parameters.window::<OrderId>()?;
    let symbol = parameters.text("symbol");
    backends.exchange.read(|exchange| {
        if !symbol.is_empty() {
            exchange.market(symbol).map_err(|_| Fault::field("symbol", "is not traded here"))?;
        }
        let orders = exchange.orders(account, window.after);
        let orders = orders.filter(|order| (symbol.is_empty() || order.symbol == symbol) && wanted(order));
        let page = window.page(orders, |order| order.id);
        let orders: Vec<OrderBody<'_>> = page.items.into_iter().map(OrderBody::from).collect();
        Ok(json_answer(StatusCode::OK, &json!({ "orders": orders, "next_cursor": page.next })))
    })
}

/// An id of another form names nothing.
fn order_id(id: &str) -> Result<OrderId, Fault> {
    id.parse().map_err(|_| Fault::not_found("order", id))
}
