//! Orders over gRPC.

use std::sync::Arc;

use protos::demo::order::v1 as pb;
use protos::demo::order::v1::order_service_server::OrderService;
use tonic::{Request, Response, Status};

use super::input::{amount, caller, id, timestamp, token, window};
use super::streams::{Stream, stream};
use crate::backends::Backends;
use crate::clock::now;
use crate::exchange::{Event, Kind, NewOrder, Order, OrderStatus, Side, TimeInForce};
use crate::fault::Fault;
use crate::fields::Fields;
use crate::ids::OrderId;

pub(super) struct OrderApi(pub(super) Arc<Backends>);

#[tonic::async_trait]
impl OrderService for OrderApi {
    async fn place_order(
        &self,
        request: Request<pb::PlaceOrderRequest>,
    ) -> Result<Response<pb::PlaceOrderResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let account = caller(&metadata)?;
        let new = new_order(request)?;
        let order = self.0.exchange.change(|exchange, batch| exchange.place(&account, new, now(), batch)).await?;
        Ok(Response::new(pb::PlaceOrderResponse { order: Some(message(&order)) }))
    }

    async fn get_order(&self, request: Request<pb::GetOrderRequest>) -> Result<Response<pb::GetOrderResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let account = caller(&metadata)?;
        let id = id("order", "order_id", &request.order_id)?;
        let order = self.0.exchange.read(|exchange| exchange.order(&account, id).map(message))?;
        Ok(Response::new(pb::GetOrderResponse { order: Some(order) }))
    }

    async fn cancel_order(
        &self,
        request: Request<pb::CancelOrderRequest>,
    ) -> Result<Response<pb::CancelOrderResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let account = caller(&metadata)?;
        let id = id("order", "order_id", &request.order_id)?;
        let order = self.0.exchange.change(|exchange, batch| exchange.cancel(&account, id, now(), batch)).await?;
        Ok(Response::new(pb::CancelOrderResponse { order: Some(message(&order)) }))
    }

    async fn list_orders(
        &self,
        request: Request<pb::ListOrdersRequest>,
    ) -> Result<Response<pb::ListOrdersResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let account = caller(&metadata)?;
        let window = window::<OrderId>(request.page_size, &request.page_token)?;
        let status = status_of(request.status)?;
        let symbol = request.symbol.as_str();
        let page = self.0.exchange.read(|exchange| {
            let orders = exchange.orders(&account, window.after).filter(|order| {
                (symbol.is_empty() || order.symbol == symbol) && status.is_none_or(|status| order.status == status)
            });
            window.page(orders.map(|order| (order.id, message(order))), |(id, _)| *id)
        });
        let orders = page.items.into_iter().map(|(_, order)| order).collect();
        Ok(Response::new(pb::ListOrdersResponse { orders, next_page_token: token(page.next) }))
    }

    type WatchOrdersStream = Stream<pb::OrderUpdate>;

    async fn watch_orders(
        &self,
        request: Request<pb::WatchOrdersRequest>,
    ) -> Result<Response<Self::WatchOrdersStream>, Status> {
        let account = caller(request.metadata())?;
        let subscription = self.0.exchange.read(|exchange| exchange.feed().subscribe())?;
        let shown = move |event: &Event| match event {
            Event::Order(order) if order.account == account => {
                Some(pb::OrderUpdate { order: Some(message(order)), missed: 0 })
            }
            Event::Order(_) | Event::Trade(_) | Event::Ticker(_) => None,
        };
        let set_missed = |update: &mut pb::OrderUpdate, missed| update.missed = missed;
        Ok(Response::new(stream(self.0.stopping.clone(), Vec::new(), Some(subscription), shown, set_missed)))
    }
}

fn new_order(request: pb::PlaceOrderRequest) -> Result<NewOrder, Fault> {
    let mut fields = Fields::default();
    let side = match pb::Side::try_from(request.side) {
        Ok(pb::Side::Buy) => Side::Buy,
        Ok(pb::Side::Sell) => Side::Sell,
        Ok(pb::Side::Unspecified) | Err(_) => {
            fields.wrong("side", "must be SIDE_BUY or SIDE_SELL");
            Side::Buy
        }
    };
    let kind = match pb::OrderType::try_from(request.r#type) {
        Ok(pb::OrderType::Limit | pb::OrderType::Unspecified) => Kind::Limit,
        Ok(pb::OrderType::Market) => Kind::Market,
        Err(_) => {
            fields.wrong("type", "must be ORDER_TYPE_LIMIT or ORDER_TYPE_MARKET");
            Kind::Limit
        }
    };
    let price = (!request.price.is_empty()).then(|| fields.decimal("price", &request.price));
    let quantity = fields.decimal("quantity", &request.quantity);
    fields.done()?;
    Ok(NewOrder {
        symbol: request.symbol,
        side,
        kind,
        time_in_force: TimeInForce::Gtc,
        price,
        quantity,
        client_order_id: Some(request.client_order_id).filter(|id| !id.is_empty()),
        strategy: None,
    })
}

fn status_of(status: i32) -> Result<Option<OrderStatus>, Fault> {
    match pb::OrderStatus::try_from(status) {
        Ok(pb::OrderStatus::Unspecified) => Ok(None),
        Ok(pb::OrderStatus::Open) => Ok(Some(OrderStatus::Open)),
        Ok(pb::OrderStatus::PartiallyFilled) => Ok(Some(OrderStatus::PartiallyFilled)),
        Ok(pb::OrderStatus::Filled) => Ok(Some(OrderStatus::Filled)),
        Ok(pb::OrderStatus::Cancelled) => Ok(Some(OrderStatus::Cancelled)),
        Err(_) => Err(Fault::field("status", "must be a known status")),
    }
}

fn message(order: &Order) -> pb::Order {
    let side = match order.side {
        Side::Buy => pb::Side::Buy,
        Side::Sell => pb::Side::Sell,
    };
    let kind = match order.kind {
        Kind::Limit => pb::OrderType::Limit,
        Kind::Market => pb::OrderType::Market,
    };
    let status = match order.status {
        OrderStatus::Open => pb::OrderStatus::Open,
        OrderStatus::PartiallyFilled => pb::OrderStatus::PartiallyFilled,
        OrderStatus::Filled => pb::OrderStatus::Filled,
        OrderStatus::Cancelled => pb::OrderStatus::Cancelled,
    };
    pb::Order {
        id: order.id.to_string(),
        client_order_id: order.client_order_id.clone().unwrap_or_default(),
        symbol: order.symbol.clone(),
        side: side.into(),
        r#type: kind.into(),
        price: amount(order.price),
        quantity: order.quantity.to_string(),
        filled_quantity: order.filled_quantity.to_string(),
        average_price: amount(order.average_price()),
        status: status.into(),
        created_at: timestamp(order.created_at),
        updated_at: timestamp(order.updated_at),
        version: order.version,
    }
}
