//! Metrics over HTTP, for Prometheus: one page, written anew for each request from what the engine counts.
//!
//! Source: the text format of Prometheus, version 0.0.4.

use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::engine::{Engine, Report, SourceReport};
use crate::market::history::rings::{RingCounts, RingLimits};
use crate::slot::State;
use crate::store::StoreStats;

/// Scrapers at once; others wait.
const CONNECTIONS_MAX: usize = 16;
/// How long a request may take to come, and a connection to end.
const PATIENCE: Duration = Duration::from_secs(10);
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers scrapers until it is dropped.
pub(crate) async fn serve(listener: TcpListener, engine: Arc<Engine>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((socket, _)) => {
                let engine = Arc::clone(&engine);
                tokio::spawn(async move {
                    // A scraper that hangs loses its place.
                    let _ = tokio::time::timeout(PATIENCE, connection(socket, engine)).await;
                    drop(place);
                });
            }
            // Out of descriptors, most likely: others need time to give some back.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn connection(socket: TcpStream, engine: Arc<Engine>) {
    let answer = service_fn(move |request| {
        let engine = Arc::clone(&engine);
        async move { Ok::<_, Infallible>(answer(&request, &engine)) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(16 * 1024);
    // What goes wrong with a scraper is the scraper's business.
    let _ = http.serve_connection(TokioIo::new(socket), answer).await;
}

fn answer(request: &Request<Incoming>, engine: &Engine) -> Response<Full<Bytes>> {
    let is_page = request.uri().path() == "/metrics";
    let (status, body) = match (is_page, request.method() == Method::GET) {
        (false, _) => (StatusCode::NOT_FOUND, "the page is /metrics\n".to_owned()),
        (true, false) => (StatusCode::METHOD_NOT_ALLOWED, "GET it\n".to_owned()),
        (true, true) => match engine.report("") {
            Ok(report) => (StatusCode::OK, page(&report)),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        },
    };
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(TEXT));
    response
}

/// The page. Ids of sources are plain words, and kinds are a closed list: no label needs to be escaped.
fn page(report: &Report) -> String {
    let mut page = Page(String::with_capacity(8 * 1024));
    page.one("core_engine_uptime_seconds", "gauge", "Since the start.", report.uptime.as_secs_f64());
    page.sources(report);
    page.ring("values", "Values in memory", report.buffers);
    page.ring("bars", "Bars in memory", report.bars);
    let (open, streams, limits) = report.streams;
    page.one("core_engine_streams_open", "gauge", "Streams of values that are open.", open);
    page.one("core_engine_streams_max", "gauge", "How many may be.", limits.max_open);
    let fates = [
        ("published", streams.published),
        ("delivered", streams.delivered),
        ("conflated", streams.conflated),
        ("dropped", streams.dropped),
    ];
    page.head("core_engine_stream_values_total", "counter", "Values of all streams, by what became of them.");
    for (fate, count) in fates {
        page.line("core_engine_stream_values_total", &[("fate", fate)], count);
    }
    let (articles, limits, readers) = &report.news;
    page.one("core_engine_articles", "gauge", "Articles in memory.", articles.articles);
    page.one("core_engine_articles_max", "gauge", "How many may be.", limits.all.articles);
    page.one("core_engine_articles_bytes", "gauge", "Their memory.", articles.bytes);
    let same = articles.same_url.saturating_add(articles.same_title);
    page.one("core_engine_articles_duplicates_total", "counter", "Articles that were there before.", same);
    page.one("core_engine_news_streams_open", "gauge", "Streams of news that are open.", readers);
    if let Some(store) = &report.store {
        page.store(store);
    }
    page.0
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let _ = match labels.is_empty() {
            true => writeln!(self.0, "{name} {value}"),
            false => writeln!(self.0, "{name}{{{}}} {value}", labels.join(",")),
        };
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, kind, help);
        self.line(name, &[], value);
    }

    /// One line for each source that has a value.
    fn each<V: std::fmt::Display>(
        &mut self,
        (name, kind, help): (&str, &str, &str),
        report: &Report,
        value: impl Fn(&SourceReport) -> Option<V>,
    ) {
        self.head(name, kind, help);
        for source in &report.sources {
            if let Some(value) = value(source) {
                self.line(name, &[("source", &source.id), ("type", source.type_name)], value);
            }
        }
    }

    fn sources(&mut self, report: &Report) {
        let works = |source: &SourceReport| {
            let works = matches!(source.view.state, State::Connected | State::Finished);
            (source.view.state != State::Disconnected).then_some(u8::from(works))
        };
        self.each(("core_engine_source_up", "gauge", "Whether a source that is connected delivers."), report, works);
        self.each(
            ("core_engine_source_throttled", "gauge", "Whether its server asked for a pause."),
            report,
            |source| Some(u8::from(source.view.state == State::Throttled)),
        );
        self.each(("core_engine_received_total", "counter", "Values that were taken in."), report, |source| {
            Some(source.books.received)
        });
        self.each(
            ("core_engine_rate_per_second", "gauge", "Values a second, over the last ten seconds."),
            report,
            |source| Some(source.books.rate.per_second(report.now).0),
        );
        self.each(
            ("core_engine_lag_seconds", "gauge", "How much later than it happened the newest value came."),
            report,
            |source| source.books.lag.map(|lag| lag.as_secs_f64()),
        );
        self.each(("core_engine_silence_seconds", "gauge", "Since the last sign of life."), report, |source| {
            source.books.heard.map(|heard| report.now.duration_since(heard).as_secs_f64())
        });
        self.each(("core_engine_connects_total", "counter", "How often it was connected."), report, |source| {
            Some(source.books.connects)
        });
        self.head("core_engine_errors_total", "counter", "Errors by kind.");
        for source in &report.sources {
            for (kind, count) in &source.books.errors {
                self.line("core_engine_errors_total", &[("source", &source.id), ("kind", kind.as_str())], count);
            }
        }
        self.head("core_engine_drops_total", "counter", "Records that were not taken in, by kind.");
        for source in &report.sources {
            for (kind, count) in source.drops() {
                self.line("core_engine_drops_total", &[("source", &source.id), ("kind", kind)], count);
            }
        }
        self.each(("core_engine_bars_closed_total", "counter", "Bars that are over."), report, |source| {
            Some(source.bars.closed)
        });
        self.each(("core_engine_bar_gaps_total", "counter", "Stretches without a value."), report, |source| {
            Some(source.bars.gaps)
        });
    }

    fn ring(&mut self, what: &str, help: &str, (counts, limits): (RingCounts, RingLimits)) {
        let gauges = [("", "", counts.items), ("_bytes", ", in bytes", counts.bytes)];
        for (suffix, unit, value) in gauges {
            self.one(&format!("core_engine_{what}{suffix}"), "gauge", &format!("{help}{unit}."), value);
        }
        self.one(&format!("core_engine_{what}_bytes_max"), "gauge", "How many may be.", limits.max_bytes);
        let fates = [("evicted", counts.evicted), ("expired", counts.expired), ("refused", counts.refused)];
        let name = format!("core_engine_{what}_left_total");
        self.head(&name, "counter", "What is no longer or never was in memory, and why.");
        for (fate, count) in fates {
            self.line(&name, &[("fate", fate)], count);
        }
    }

    fn store(&mut self, store: &StoreStats) {
        self.one("core_engine_store_bars", "gauge", "Bars on disk.", store.bars);
        self.one("core_engine_store_articles", "gauge", "Articles on disk.", store.articles);
        self.one("core_engine_store_bytes", "gauge", "Of both.", store.bytes);
        let pending = store.pending_bars.saturating_add(store.pending_articles);
        self.one("core_engine_store_pending", "gauge", "What waits to be written.", pending);
        self.one("core_engine_store_failing", "gauge", "Whether the last attempt failed.", u8::from(store.failing));
        self.one("core_engine_store_commits_total", "counter", "Commits.", store.commits);
        self.one("core_engine_store_failures_total", "counter", "Attempts that failed.", store.failures);
        self.one("core_engine_store_expired_total", "counter", "What was taken out by its age.", store.expired);
        let replaced = store.coalesced;
        self.one("core_engine_store_coalesced_total", "counter", "States of bars that newer ones replaced.", replaced);
        let lost = store.dropped.saturating_add(store.refused);
        self.one("core_engine_store_dropped_total", "counter", "What was never written.", lost);
        let took = store.last_commit_took.as_secs_f64();
        self.one("core_engine_store_commit_seconds", "gauge", "What the last commit took.", took);
    }
}
