//! The gRPC service: messages in, the engine's words, messages out. No decisions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::stream::{BoxStream, StreamExt, unfold};
use jiff::{SignedDuration, Timestamp};
use protos::core_engine::v1 as pb;
use protos::core_engine::v1::core_engine_server::CoreEngine;
use rust_decimal::Decimal;
use tonic::{Request, Response, Status};

use crate::deadline::within;
use crate::engine::{BarsFound, Engine, Report, SourceReport};
use crate::error::EngineError;
use crate::market::history::HeldBar;
use crate::market::history::rings::{RingCounts, RingLimits};
use crate::market::interval::Interval;
use crate::market::ohlcv::Ohlcv;
use crate::news::library::{LibraryCounts, LibraryLimits};
use crate::press::{Found, Reader};
use crate::slot::State;
use crate::status::status_of;
use crate::store::StoreStats;
use crate::streams::{Batch, StreamEnd, Subscription};
use crate::study::{Studied, start_of};
use crate::tick::Value;

/// Kinds of data that the engine processes.
const PROCESSORS: &[&str] = &["market_data", "news"];

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
        let connecting = self.engine.connect(&request.source_id, &request.r#type, &request.config);
        let connection = within(&metadata, connecting).await.map_err(|error| status_of(&error))?;
        Ok(Response::new(pb::ConnectDataSourceResponse {
            source_id: connection.source.to_string(),
            state: pb::SourceState::Connected.into(),
            message: format!("data source {} connected", connection.source),
            symbols: connection.symbols.iter().map(ToString::to_string).collect(),
            symbols_count: count(connection.symbols_count),
        }))
    }

    async fn disconnect_data_source(
        &self,
        request: Request<pb::DisconnectDataSourceRequest>,
    ) -> Result<Response<pb::DisconnectDataSourceResponse>, Status> {
        let request = request.into_inner();
        let disconnected = self.engine.disconnect(&request.source_id, request.remove).await;
        let source = disconnected.map_err(|error| status_of(&error))?;
        let done = if request.remove { "removed" } else { "disconnected" };
        Ok(Response::new(pb::DisconnectDataSourceResponse {
            source_id: source.to_string(),
            state: pb::SourceState::Disconnected.into(),
            message: format!("data source {source} {done}"),
        }))
    }

    async fn get_bars(&self, request: Request<pb::GetBarsRequest>) -> Result<Response<pb::GetBarsResponse>, Status> {
        let request = request.into_inner();
        let found = self
            .engine
            .bars(&request.symbol, &request.interval, request.limit, &request.source_id)
            .map_err(|error| status_of(&error))?;
        Ok(Response::new(pb::GetBarsResponse {
            bars: found.bars.iter().map(|held| bar(held, &request.symbol, &found)).collect(),
            source_id: found.source.to_string(),
            interval: found.interval.as_str().to_owned(),
            message: format!("{} bars", found.bars.len()),
            symbol: request.symbol,
        }))
    }

    async fn get_indicators(
        &self,
        request: Request<pb::GetIndicatorsRequest>,
    ) -> Result<Response<pb::GetIndicatorsResponse>, Status> {
        let request = request.into_inner();
        let found = self
            .engine
            .studies(&request.symbol, &request.interval, request.limit, &request.source_id, &request.indicators)
            .map_err(|error| status_of(&error))?;
        Ok(Response::new(pb::GetIndicatorsResponse {
            indicators: found.studies.into_iter().map(indicator).collect(),
            source_id: found.source.to_string(),
            interval: found.interval.as_str().to_owned(),
            message: format!("over {} bars", found.bars),
            symbol: request.symbol,
        }))
    }

    async fn fetch_news(
        &self,
        request: Request<pb::FetchNewsRequest>,
    ) -> Result<Response<pb::FetchNewsResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let fetching = self.engine.fetch_news(&request.keywords, &request.source_id, request.hours_back, request.limit);
        let found = within(&metadata, fetching).await.map_err(|error| status_of(&error))?;
        Ok(Response::new(pb::FetchNewsResponse {
            items_count: count(found.articles.len()),
            message: format!("{} news items", found.articles.len()),
            news_items: found.articles.iter().map(news_item).collect(),
            source_id: request.source_id,
        }))
    }

    async fn get_news_buffer(
        &self,
        request: Request<pb::GetNewsBufferRequest>,
    ) -> Result<Response<pb::GetNewsBufferResponse>, Status> {
        let request = request.into_inner();
        let found = self
            .engine
            .news(&request.keywords, &request.source_id, request.limit)
            .await
            .map_err(|error| status_of(&error))?;
        Ok(Response::new(pb::GetNewsBufferResponse {
            items_count: count(found.articles.len()),
            message: format!("{} of {} buffered news items", found.articles.len(), found.buffered),
            news_items: found.articles.iter().map(news_item).collect(),
            source_id: request.source_id,
            buffered: count(found.buffered),
        }))
    }

    type StreamNewsStream = BoxStream<'static, Result<pb::StreamNewsResponse, Status>>;

    async fn stream_news(
        &self,
        request: Request<pb::StreamNewsRequest>,
    ) -> Result<Response<Self::StreamNewsStream>, Status> {
        let request = request.into_inner();
        let reader = self.engine.read_news(&request.keywords, &request.source_id).map_err(|error| status_of(&error))?;
        Ok(Response::new(news_messages(reader)))
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

/// One message per batch, until the engine stops.
fn news_messages(reader: Reader) -> BoxStream<'static, Result<pb::StreamNewsResponse, Status>> {
    unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.next().await {
            Some((found, lost)) => {
                let news_items = found.iter().map(news_item).collect();
                let dropped = u32::try_from(lost).unwrap_or(u32::MAX);
                Some((Ok(pb::StreamNewsResponse { news_items, dropped }), Some(reader)))
            }
            None => Some((Err(status_of(&EngineError::ShuttingDown)), None)),
        }
    })
    .boxed()
}

fn news_item((article, relevance): &Found) -> pb::NewsItem {
    pb::NewsItem {
        title: article.title.clone(),
        summary: article.summary.clone(),
        url: article.url.clone(),
        source: article.publisher.clone(),
        author: article.author.clone().unwrap_or_default(),
        published_at: Some(timestamp(article.published)),
        sentiment_score: article.sentiment,
        relevance_score: *relevance,
        source_id: article.source_id.to_string(),
        id: article.id.clone(),
    }
}

/// `None` for a good end.
fn stream_end(end: StreamEnd, source: &str) -> Option<EngineError> {
    let source_id = source.to_owned();
    match end {
        StreamEnd::Finished => None,
        StreamEnd::Down { reason, retry_after } => Some(EngineError::SourceDown { source_id, reason, retry_after }),
        StreamEnd::Disconnected => Some(EngineError::SourceDisconnected { source_id }),
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
        exchange_timezone: tick.zone.as_deref().unwrap_or_default().to_owned(),
    }
}

fn bar(held: &HeldBar, symbol: &str, found: &BarsFound) -> pb::MarketData {
    let Ohlcv { open, high, low, close, volume, last, .. } = held.bar;
    pb::MarketData {
        symbol: symbol.to_owned(),
        price: close.to_string(),
        volume: volume.to_string(),
        timestamp: Some(timestamp(start_of(held.start))),
        source_id: found.source.to_string(),
        sequence: last.sequence,
        bar: Some(pb::Bar { open: open.to_string(), high: high.to_string(), low: low.to_string() }),
        additional_data: [("trades", Some(held.bar.count.to_string())), ("vwap", held.bar.vwap().map(shown))]
            .into_iter()
            .filter_map(|(name, text)| Some((name.to_owned(), text?)))
            .collect(),
        exchange_timezone: found.zone.clone().unwrap_or_default(),
    }
}

/// A quotient, with as many digits as make sense.
fn shown(number: Decimal) -> String {
    number.round_dp(10).normalize().to_string()
}

fn indicator(studied: Studied) -> pb::Indicator {
    let points = studied.points.into_iter().map(|point| {
        let (upper, lower) = point.bands.map(|(upper, lower)| (upper.to_string(), lower.to_string())).unzip();
        pb::IndicatorPoint {
            timestamp: Some(timestamp(start_of(point.start))),
            value: point.value.to_string(),
            upper: upper.unwrap_or_default(),
            lower: lower.unwrap_or_default(),
        }
    });
    pb::Indicator { name: studied.name, points: points.collect() }
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
    let sources: Vec<_> = report.sources.iter().map(|source| source_stats(source, report.now)).collect();
    let (open, streams, stream_limits) = report.streams;
    pb::GetIngestionStatsResponse {
        total: Some(totals(report, &sources)),
        buffers: Some(buffers(report.buffers)),
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
        bars: Some(ring(report.bars)),
        news: Some(news_stats(&report.news)),
        store: report.store.as_ref().map(store_stats),
        sources,
    }
}

fn totals(report: &Report, sources: &[pb::SourceStats]) -> pb::IngestionTotals {
    let sum = |of: fn(&pb::SourceStats) -> &BTreeMap<String, u64>| {
        sources.iter().flat_map(of).fold(BTreeMap::<String, u64>::new(), |mut sums, (kind, count)| {
            *sums.entry(kind.clone()).or_default() += count;
            sums
        })
    };
    let rates: Vec<_> = sources.iter().filter_map(|source| source.rates).collect();
    let books = || report.sources.iter().map(|source| &source.books);
    pb::IngestionTotals {
        received: sources.iter().map(|source| source.received).sum(),
        errors: sources.iter().map(|source| source.errors).sum(),
        drops: sources.iter().map(|source| source.drops).sum(),
        rates: Some(pb::Rates {
            per_second_10s: rates.iter().map(|rates| rates.per_second_10s).sum(),
            per_second_1m: rates.iter().map(|rates| rates.per_second_1m).sum(),
        }),
        lag: books().filter_map(|books| books.lag).max().map(duration),
        last_success: books().filter_map(|books| books.last_success).max().map(timestamp),
        errors_by_kind: sum(|source| &source.errors_by_kind),
        drops_by_kind: sum(|source| &source.drops_by_kind),
    }
}

fn buffers((counts, limits): (RingCounts, RingLimits)) -> pb::BufferStats {
    pb::BufferStats {
        symbols_count: count(counts.keys),
        max_symbols: count(limits.max_keys),
        items: counts.items as u64,
        capacity: count(limits.max_items_per_key),
        evicted: counts.evicted,
        refused: counts.refused,
        expired: counts.expired,
        bytes: counts.bytes as u64,
        max_bytes: limits.max_bytes as u64,
    }
}

fn ring((counts, limits): (RingCounts, RingLimits)) -> pb::RingStats {
    pb::RingStats {
        items: counts.items as u64,
        bytes: counts.bytes as u64,
        max_bytes: limits.max_bytes as u64,
        evicted: counts.evicted,
        expired: counts.expired,
        refused: counts.refused,
    }
}

fn news_stats((counts, limits, readers): &(LibraryCounts, LibraryLimits, usize)) -> pb::NewsStats {
    pb::NewsStats {
        items: counts.articles as u64,
        max_items: limits.all.articles as u64,
        bytes: counts.bytes as u64,
        max_bytes: limits.all.bytes as u64,
        duplicates: counts.same_url.saturating_add(counts.same_title),
        evicted: counts.evicted,
        expired: counts.expired,
        streams: count(*readers),
    }
}

fn store_stats(store: &StoreStats) -> pb::StoreStats {
    pb::StoreStats {
        bars: store.bars,
        articles: store.articles,
        bytes: store.bytes,
        pending: store.pending_bars.saturating_add(store.pending_articles) as u64,
        dropped: store.dropped.saturating_add(store.refused),
        commits: store.commits,
        failures: store.failures,
        last_commit: store.last_commit.map(timestamp),
        last_failure: store.last_failure.as_ref().map(|(_, text)| text.clone()).unwrap_or_default(),
    }
}

fn source_stats(source: &SourceReport, now: Timestamp) -> pb::SourceStats {
    let (books, bars) = (&source.books, &source.bars);
    let (last_error_at, last_error) = books.last_error.clone().unzip();
    let drops = source.drops();
    let (per_second_10s, per_second_1m) = books.rate.per_second(now);
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
        rates: Some(pb::Rates { per_second_10s, per_second_1m }),
        lag: books.lag.map(duration),
        silence: books.heard.map(|heard| duration(now.duration_since(heard))),
        drops: drops.values().sum(),
        drops_by_kind: drops.into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect(),
        bars: Some(pb::BarStats {
            closed: bars.closed,
            corrected: bars.corrected,
            merged_late: bars.merged_late,
            gaps: bars.gaps,
            missing: Interval::ALL
                .iter()
                .zip(bars.missing)
                .map(|(interval, missing)| (interval.as_str().to_owned(), missing))
                .collect(),
        }),
        reason: source.view.reason.clone(),
    }
}

fn duration(duration: SignedDuration) -> prost_types::Duration {
    prost_types::Duration { seconds: duration.as_secs(), nanos: duration.subsec_nanos() }
}

fn state(state: State) -> pb::SourceState {
    match state {
        State::Disconnected => pb::SourceState::Disconnected,
        State::Connected => pb::SourceState::Connected,
        State::Finished => pb::SourceState::Finished,
        State::Down => pb::SourceState::Down,
        State::Throttled => pb::SourceState::Throttled,
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
