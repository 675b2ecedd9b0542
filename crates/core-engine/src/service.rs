//! The gRPC service: messages in, the engine's words, messages out. No decisions.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::stream::{BoxStream, StreamExt, unfold};
use jiff::Timestamp;
use protos::core_engine::v1 as pb;
use protos::core_engine::v1::core_engine_server::CoreEngine;
use tonic::{Request, Response, Status};

use crate::deadline::within;
use crate::engine::{Engine, Report, SourceReport};
use crate::error::EngineError;
use crate::slot::State;
use crate::status::status_of;
use crate::streams::{Batch, StreamEnd, Subscription};
use crate::tick::Value;

/// Kinds of data that the engine processes.
const PROCESSORS: &[&str] = &["market_data"];

/// The service on one port.
pub(crate) struct Service {
    engine: Arc<Engine>,
    port: u16,
}

impl Service {
    /// Answers for `engine`, which listens on `port`.
    pub(crate) fn new(engine: Arc<Engine>, port: u16) -> Self {
        Self { engine, port }
    }
}

#[tonic::async_trait]
impl CoreEngine for Service {
    async fn health_check(
        &self,
        _request: Request<pb::HealthCheckRequest>,
    ) -> Result<Response<pb::HealthCheckResponse>, Status> {
        let report = self.engine.report("").map_err(|error| status_of(&error))?;
        Ok(Response::new(health(&report, self.port, self.engine.now())))
    }

    async fn fetch_market_data(
        &self,
        request: Request<pb::FetchMarketDataRequest>,
    ) -> Result<Response<pb::FetchMarketDataResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let fetching = self.engine.fetch(&request.symbols, &request.source_id);
        let fetched = within(&metadata, fetching).await.map_err(|error| status_of(&error))?;
        let found = fetched.values.len();
        Ok(Response::new(pb::FetchMarketDataResponse {
            market_data: fetched.values.iter().map(|value| market_data(value)).collect(),
            source_id: fetched.source.to_string(),
            symbols_count: count(found),
            message: match found == fetched.asked {
                true => "market data fetched".to_owned(),
                false => format!("market data fetched, {found} of {} symbols have a value yet", fetched.asked),
            },
        }))
    }

    async fn get_market_data_buffer(
        &self,
        request: Request<pb::GetMarketDataBufferRequest>,
    ) -> Result<Response<pb::GetMarketDataBufferResponse>, Status> {
        let request = request.into_inner();
        let found = self
            .engine
            .buffer(&request.symbol, request.limit, &request.source_id)
            .map_err(|error| status_of(&error))?;
        let source_id = match request.source_id.is_empty() {
            true => found.values.last().map(|value| value.source.to_string()).unwrap_or_default(),
            false => request.source_id,
        };
        Ok(Response::new(pb::GetMarketDataBufferResponse {
            market_data: found.values.iter().map(|value| market_data(value)).collect(),
            source_id,
            symbols_count: i32::from(!found.values.is_empty()),
            message: format!("{} of {} buffered values", found.values.len(), found.buffered),
            symbol: request.symbol,
            buffered: count(found.buffered),
        }))
    }

    type StreamMarketDataStream = BoxStream<'static, Result<pb::StreamMarketDataResponse, Status>>;

    async fn stream_market_data(
        &self,
        request: Request<pb::StreamMarketDataRequest>,
    ) -> Result<Response<Self::StreamMarketDataStream>, Status> {
        let request = request.into_inner();
        let (subscription, source) =
            self.engine.subscribe(&request.symbols, &request.source_id).map_err(|error| status_of(&error))?;
        Ok(Response::new(messages(subscription, source)))
    }

    async fn connect_data_source(
        &self,
        request: Request<pb::ConnectDataSourceRequest>,
    ) -> Result<Response<pb::ConnectDataSourceResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let connecting = self.engine.connect(&request.source_id, &request.config);
        let connection = within(&metadata, connecting).await.map_err(|error| status_of(&error))?;
        Ok(Response::new(pb::ConnectDataSourceResponse {
            source_id: connection.source.to_string(),
            state: pb::SourceState::Connected.into(),
            message: format!("data source {} connected", connection.source),
            symbols: connection.symbols.iter().map(ToString::to_string).collect(),
            symbols_count: count(connection.symbols_count),
        }))
    }

    async fn get_ingestion_stats(
        &self,
        request: Request<pb::GetIngestionStatsRequest>,
    ) -> Result<Response<pb::GetIngestionStatsResponse>, Status> {
        let report = self.engine.report(&request.into_inner().source_id).map_err(|error| status_of(&error))?;
        Ok(Response::new(stats(&report)))
    }
}

/// One message per batch; the end of the subscription is the end of the stream.
fn messages(
    subscription: Subscription,
    source: Arc<str>,
) -> BoxStream<'static, Result<pb::StreamMarketDataResponse, Status>> {
    unfold(Some((subscription, source)), |state| async move {
        let (subscription, source) = state?;
        match subscription.next().await {
            Ok(batch) => Some((Ok(update(&batch, &source)), Some((subscription, source)))),
            Err(end) => stream_end(end, &source).map(|error| (Err(status_of(&error)), None)),
        }
    })
    .boxed()
}

/// `None` for a good end.
fn stream_end(end: StreamEnd, source: &str) -> Option<EngineError> {
    let source_id = source.to_owned();
    match end {
        StreamEnd::Finished => None,
        StreamEnd::Down { reason, retry_after } => Some(EngineError::SourceDown { source_id, reason, retry_after }),
        StreamEnd::Replaced => Some(EngineError::SourceReplaced { source_id }),
        StreamEnd::ShuttingDown => Some(EngineError::ShuttingDown),
    }
}

fn update(batch: &Batch, source: &str) -> pb::StreamMarketDataResponse {
    let symbols: BTreeSet<&str> = batch.values.iter().map(|value| &*value.tick.symbol).collect();
    pb::StreamMarketDataResponse {
        market_data: batch.values.iter().map(|value| market_data(value)).collect(),
        source_id: source.to_owned(),
        symbols_count: count(symbols.len()),
        conflated: batch.conflated,
        dropped: batch.dropped,
    }
}

fn market_data(value: &Value) -> pb::MarketData {
    let tick = &value.tick;
    pb::MarketData {
        symbol: tick.symbol.to_string(),
        price: tick.price.to_string(),
        volume: tick.volume.to_string(),
        timestamp: Some(timestamp(tick.timestamp)),
        source_id: value.source.to_string(),
        sequence: value.sequence,
        bar: tick.bar.map(|bar| pb::Bar {
            open: bar.open.to_string(),
            high: bar.high.to_string(),
            low: bar.low.to_string(),
        }),
        additional_data: (*tick.additional).clone(),
    }
}

fn health(report: &Report, port: u16, now: Timestamp) -> pb::HealthCheckResponse {
    let wanted = |source: &&SourceReport| source.view.state != State::Disconnected;
    let works = |source: &SourceReport| matches!(source.view.state, State::Connected | State::Finished);
    let healthy = report.sources.iter().any(works);
    let status = match (healthy, report.sources.iter().filter(wanted).all(works)) {
        (false, _) => "unhealthy",
        (true, false) => "degraded",
        (true, true) => "healthy",
    };
    let dependencies = report.sources.iter().filter(wanted).map(|source| {
        let dependency = pb::DependencyHealth {
            healthy: works(source),
            state: state(source.view.state).into(),
            message: source.view.reason.clone(),
            last_success: source.books.last_success.map(timestamp),
        };
        (source.id.to_string(), dependency)
    });
    pb::HealthCheckResponse {
        healthy,
        status: status.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        details: Some(pb::HealthDetails {
            service: "core-engine".to_owned(),
            port: port.into(),
            processors: PROCESSORS.iter().map(ToString::to_string).collect(),
            cpus: std::thread::available_parallelism().map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX)),
            uptime: prost_types::Duration::try_from(report.uptime).ok(),
        }),
        dependencies: dependencies.collect(),
        timestamp: Some(timestamp(now)),
    }
}

fn stats(report: &Report) -> pb::GetIngestionStatsResponse {
    let sources: Vec<_> = report.sources.iter().map(source_stats).collect();
    let (buffers, buffer_limits) = report.buffers;
    let (open, streams, stream_limits) = report.streams;
    pb::GetIngestionStatsResponse {
        total: Some(pb::IngestionTotals {
            received: sources.iter().map(|source| source.received).sum(),
            errors: sources.iter().map(|source| source.errors).sum(),
        }),
        sources,
        buffers: Some(pb::BufferStats {
            symbols_count: count(buffers.symbols),
            max_symbols: count(buffer_limits.max_symbols),
            items: buffers.items as u64,
            capacity: count(buffer_limits.capacity),
            evicted: buffers.evicted,
            refused: buffers.refused,
        }),
        streams: Some(pb::StreamStats {
            open: count(open),
            max_open: count(stream_limits.max_open),
            published: streams.published,
            delivered: streams.delivered,
            conflated: streams.conflated,
            dropped: streams.dropped,
        }),
        started_at: Some(timestamp(report.started_at)),
        uptime: prost_types::Duration::try_from(report.uptime).ok(),
    }
}

fn source_stats(source: &SourceReport) -> pb::SourceStats {
    let books = &source.books;
    let (last_error_at, last_error) = books.last_error.clone().unzip();
    pb::SourceStats {
        source_id: source.id.to_string(),
        r#type: source.type_name.to_owned(),
        state: state(source.view.state).into(),
        symbols_count: count(source.view.symbols),
        received: books.received,
        errors: books.errors_total(),
        errors_by_kind: books.errors.iter().map(|(kind, count)| (kind.as_str().to_owned(), *count)).collect(),
        last_error: last_error.unwrap_or_default(),
        last_error_at: last_error_at.map(timestamp),
        last_success: books.last_success.map(timestamp),
        connects: books.connects,
    }
}

fn state(state: State) -> pb::SourceState {
    match state {
        State::Disconnected => pb::SourceState::Disconnected,
        State::Connected => pb::SourceState::Connected,
        State::Finished => pb::SourceState::Finished,
        State::Down => pb::SourceState::Down,
    }
}

/// Seconds round down and nanoseconds are never negative, as the message demands, also before 1970.
fn timestamp(timestamp: Timestamp) -> prost_types::Timestamp {
    let (seconds, nanos) = (timestamp.as_second(), timestamp.subsec_nanosecond());
    match nanos < 0 {
        true => prost_types::Timestamp { seconds: seconds - 1, nanos: nanos + 1_000_000_000 },
        false => prost_types::Timestamp { seconds, nanos },
    }
}

/// All of our counts are bounded far below; a larger one would be shown as the largest.
fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_have_positive_nanoseconds() {
        for (text, seconds, nanos) in [
            ("1970-01-01T00:00:01.5Z", 1, 500_000_000),
            ("1969-12-31T23:59:59.75Z", -1, 750_000_000),
            ("1969-12-31T23:59:58Z", -2, 0),
        ] {
            let converted = timestamp(text.parse().unwrap());
            assert_eq!((converted.seconds, converted.nanos), (seconds, nanos), "{text}");
        }
    }
}
