//! Market data over gRPC.

use std::collections::BTreeSet;
use std::sync::Arc;

use protos::demo::marketdata::v1 as pb;
use protos::demo::marketdata::v1::market_data_service_server::MarketDataService;
use tonic::{Request, Response, Status};

use super::input::{amount, count, timestamp};
use super::streams::{Stream, stream};
use crate::backends::Backends;
use crate::exchange::{Depth, Event, Exchange, Side, Ticker, Trade};
use crate::fault::Fault;
use crate::ids::TradeId;
use crate::page::Window;

/// Levels of each side.
const DEPTH_DEFAULT: usize = 20;
const DEPTH_MAX: usize = 100;
/// Symbols of one stream.
const SYMBOLS_MAX: usize = 50;

pub(super) struct MarketDataApi(pub(super) Arc<Backends>);

#[tonic::async_trait]
impl MarketDataService for MarketDataApi {
    async fn list_symbols(
        &self,
        _request: Request<pb::ListSymbolsRequest>,
    ) -> Result<Response<pb::ListSymbolsResponse>, Status> {
        let symbols = self.0.exchange.read(|exchange| {
            let symbols = exchange.markets().map(|market| {
                let instrument = &market.instrument;
                pb::Symbol {
                    name: instrument.symbol.to_owned(),
                    base: instrument.base.to_owned(),
                    quote: instrument.quote.to_owned(),
                    tick_size: instrument.tick_size.to_string(),
                    lot_size: instrument.lot_size.to_string(),
                }
            });
            symbols.collect()
        });
        Ok(Response::new(pb::ListSymbolsResponse { symbols }))
    }

    async fn get_ticker(
        &self,
        request: Request<pb::GetTickerRequest>,
    ) -> Result<Response<pb::GetTickerResponse>, Status> {
        let symbol = required(request.into_inner().symbol)?;
        let ticker =
            self.0.exchange.read(|exchange| exchange.market(&symbol).map(|market| ticker(&market.ticker())))?;
        Ok(Response::new(pb::GetTickerResponse { ticker: Some(ticker) }))
    }

    async fn get_order_book(
        &self,
        request: Request<pb::GetOrderBookRequest>,
    ) -> Result<Response<pb::GetOrderBookResponse>, Status> {
        let request = request.into_inner();
        let symbol = required(request.symbol)?;
        let depth = match usize::try_from(request.depth) {
            Ok(0) => DEPTH_DEFAULT,
            Ok(depth) if depth <= DEPTH_MAX => depth,
            Ok(_) | Err(_) => return Err(Fault::field("depth", format!("must be 1 to {DEPTH_MAX}")).into()),
        };
        let response = self.0.exchange.read(|exchange| {
            let book = &exchange.market(&symbol)?.book;
            let levels = |side| book.depth(side, depth).iter().map(level).collect();
            Ok::<_, Fault>(pb::GetOrderBookResponse {
                bids: levels(Side::Buy),
                asks: levels(Side::Sell),
                sequence: book.sequence(),
                symbol,
            })
        })?;
        Ok(Response::new(response))
    }

    async fn list_trades(
        &self,
        request: Request<pb::ListTradesRequest>,
    ) -> Result<Response<pb::ListTradesResponse>, Status> {
        let request = request.into_inner();
        let symbol = required(request.symbol)?;
        let window = Window::<TradeId>::parse("limit", &request.limit.to_string(), "", "")?;
        let trades = self.0.exchange.read(|exchange| {
            let market = exchange.market(&symbol)?;
            Ok::<_, Fault>(window.page(market.trades(None), |trade| trade.id).items.into_iter().map(trade).collect())
        })?;
        Ok(Response::new(pb::ListTradesResponse { trades }))
    }

    type StreamTickersStream = Stream<pb::StreamTickersResponse>;

    async fn stream_tickers(
        &self,
        request: Request<pb::StreamTickersRequest>,
    ) -> Result<Response<Self::StreamTickersStream>, Status> {
        let response = |found: &Ticker| pb::StreamTickersResponse { ticker: Some(ticker(found)), missed: 0 };
        // Under one lock, so that no change falls between the first tickers and the rest.
        let (wanted, first, subscription) = self.0.exchange.read(|exchange| {
            let wanted = symbols(exchange, request.into_inner().symbols)?;
            let tickers = exchange.markets().map(|market| market.ticker());
            let first = tickers.filter(|ticker| wanted.contains(&ticker.statistics.symbol)).map(|t| response(&t));
            let first: Vec<_> = first.collect();
            Ok::<_, Fault>((wanted, first, exchange.feed().subscribe()?))
        })?;
        let shown = move |event: &Event| match event {
            Event::Ticker(ticker) if wanted.contains(&ticker.statistics.symbol) => Some(response(ticker)),
            Event::Ticker(_) | Event::Order(_) | Event::Trade(_) => None,
        };
        let set_missed = |response: &mut pb::StreamTickersResponse, missed| response.missed = missed;
        Ok(Response::new(stream(self.0.stopping.clone(), first, Some(subscription), shown, set_missed)))
    }

    type StreamTradesStream = Stream<pb::StreamTradesResponse>;

    async fn stream_trades(
        &self,
        request: Request<pb::StreamTradesRequest>,
    ) -> Result<Response<Self::StreamTradesStream>, Status> {
        let (wanted, subscription) = self.0.exchange.read(|exchange| {
            let wanted = symbols(exchange, request.into_inner().symbols)?;
            Ok::<_, Fault>((wanted, exchange.feed().subscribe()?))
        })?;
        let shown = move |event: &Event| match event {
            Event::Trade(found) if wanted.contains(&found.symbol) => {
                Some(pb::StreamTradesResponse { trade: Some(trade(found)), missed: 0 })
            }
            Event::Trade(_) | Event::Order(_) | Event::Ticker(_) => None,
        };
        let set_missed = |response: &mut pb::StreamTradesResponse, missed| response.missed = missed;
        Ok(Response::new(stream(self.0.stopping.clone(), Vec::new(), Some(subscription), shown, set_missed)))
    }
}

fn required(symbol: String) -> Result<String, Fault> {
    if symbol.is_empty() { Err(Fault::field("symbol", "is required")) } else { Ok(symbol) }
}

/// The symbols of a stream; all if none is named.
fn symbols(exchange: &Exchange, named: Vec<String>) -> Result<BTreeSet<String>, Fault> {
    if named.len() > SYMBOLS_MAX {
        return Err(Fault::field("symbols", format!("must be at most {SYMBOLS_MAX}")));
    }
    for symbol in &named {
        exchange.market(symbol)?;
    }
    match named.is_empty() {
        true => Ok(exchange.markets().map(|market| market.instrument.symbol.to_owned()).collect()),
        false => Ok(named.into_iter().collect()),
    }
}

fn ticker(ticker: &Ticker) -> pb::Ticker {
    pb::Ticker {
        symbol: ticker.statistics.symbol.clone(),
        bid: amount(ticker.bid),
        ask: amount(ticker.ask),
        last: amount(ticker.statistics.last),
        volume: ticker.statistics.volume.to_string(),
        trades: ticker.statistics.trades,
        updated_at: timestamp(ticker.updated_at),
    }
}

fn level(level: &Depth) -> pb::Level {
    pb::Level { price: level.price.to_string(), quantity: level.quantity.to_string(), orders: count(level.orders) }
}

fn trade(trade: &Trade) -> pb::Trade {
    pb::Trade {
        id: trade.id.to_string(),
        symbol: trade.symbol.clone(),
        price: trade.price.to_string(),
        quantity: trade.quantity.to_string(),
        taker_side: trade.taker_side.as_str().to_owned(),
        executed_at: timestamp(trade.executed_at),
    }
}
