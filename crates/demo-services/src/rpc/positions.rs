//! Positions over gRPC.

use std::sync::Arc;

use protos::demo::position::v1 as pb;
use protos::demo::position::v1::position_service_server::PositionService;
use rust_decimal::Decimal;
use tonic::{Request, Response, Status};

use super::input::{amount, caller};
use crate::backends::Backends;
use crate::clock::now;
use crate::exchange::{Exchange, Kind, NewOrder, Position, Side, TimeInForce};
use crate::fault::Fault;

pub(super) struct PositionApi(pub(super) Arc<Backends>);

#[tonic::async_trait]
impl PositionService for PositionApi {
    async fn get_position(
        &self,
        request: Request<pb::GetPositionRequest>,
    ) -> Result<Response<pb::GetPositionResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let account = caller(&metadata)?;
        let position = self.0.exchange.read(|exchange| {
            let position = position(exchange, &account, &request.symbol)?;
            Ok::<_, Fault>(message(exchange, &request.symbol, &position))
        })?;
        Ok(Response::new(pb::GetPositionResponse { position: Some(position) }))
    }

    async fn list_positions(
        &self,
        request: Request<pb::ListPositionsRequest>,
    ) -> Result<Response<pb::ListPositionsResponse>, Status> {
        let account = caller(request.metadata())?;
        let response = self.0.exchange.read(|exchange| {
            let account = exchange.account(&account, now());
            let profit = account.profit(|symbol| exchange.mark(symbol));
            let positions = account.positions.iter().map(|(symbol, position)| message(exchange, symbol, position));
            pb::ListPositionsResponse {
                positions: positions.collect(),
                realized_pnl: profit.realized.to_string(),
                unrealized_pnl: profit.unrealized.to_string(),
            }
        });
        Ok(Response::new(response))
    }

    async fn close_position(
        &self,
        request: Request<pb::ClosePositionRequest>,
    ) -> Result<Response<pb::ClosePositionResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let account = caller(&metadata)?;
        let symbol = request.symbol;
        let closing = self.0.exchange.change(|exchange, batch| {
            let open = position(exchange, &account, &symbol)?.quantity;
            if open.is_zero() {
                return Err(Fault::not_found("position in", &symbol));
            }
            let new = NewOrder {
                symbol: symbol.clone(),
                side: if open > Decimal::ZERO { Side::Sell } else { Side::Buy },
                kind: Kind::Market,
                time_in_force: TimeInForce::Ioc,
                price: None,
                quantity: open.abs(),
                client_order_id: None,
                strategy: None,
            };
            let order = exchange.place(&account, new, now(), batch)?;
            let left = message(exchange, &symbol, &position(exchange, &account, &symbol)?);
            Ok(pb::ClosePositionResponse { order_id: order.id.to_string(), position: Some(left) })
        });
        Ok(Response::new(closing.await?))
    }
}

fn position(exchange: &Exchange, account: &str, symbol: &str) -> Result<Position, Fault> {
    if symbol.is_empty() {
        return Err(Fault::field("symbol", "is required"));
    }
    exchange.market(symbol)?;
    let position = exchange.account(account, now()).positions.remove(symbol);
    position.ok_or_else(|| Fault::not_found("position in", symbol))
}

fn message(exchange: &Exchange, symbol: &str, position: &Position) -> pb::Position {
    let mark = exchange.mark(symbol);
    pb::Position {
        symbol: symbol.to_owned(),
        quantity: position.quantity.to_string(),
        average_price: amount(position.average_price()),
        mark_price: mark.to_string(),
        realized_pnl: position.realized.to_string(),
        unrealized_pnl: position.unrealized(mark).to_string(),
    }
}
