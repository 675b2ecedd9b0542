//! The program: read settings, bind, say so, serve, stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use core_engine::settings::StoreSettings;
use core_engine::{Server, ServerError, Settings};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Market data and news over gRPC, from simulated, replayed and real sources.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// Settings in YAML; without it: the simulator, and a replay that waits for its file.
    #[arg(short, long, env = "CORE_ENGINE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen, instead of what the settings say (127.0.0.1:50052 by default). Port 0 takes a free one.
    #[arg(long, env = "CORE_ENGINE_LISTEN", value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The folder of files to replay, instead of what the settings say (`replay` by default).
    #[arg(long, env = "CORE_ENGINE_REPLAY_DIRECTORY", value_name = "FOLDER")]
    replay_directory: Option<PathBuf>,
    /// The file that bars, news and connected sources are kept in, instead of what the settings say (none by default).
    #[arg(long, env = "CORE_ENGINE_STORE", value_name = "FILE")]
    store: Option<PathBuf>,
    /// Where metrics are served over HTTP, instead of what the settings say (nowhere by default).
    #[arg(long, env = "CORE_ENGINE_METRICS", value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,
    /// The source of requests that name none, instead of what the settings say.
    #[arg(long, env = "CORE_ENGINE_DEFAULT_SOURCE", value_name = "ID")]
    default_source: Option<String>,
    /// Sets one thing more, as `buffers.capacity=1000` or `sources.yahoo.config.symbols=AAPL`; several in the
    /// environment are parted by semicolons.
    #[arg(long, env = "CORE_ENGINE_SET", value_name = "KEY=VALUE", value_delimiter = ';')]
    set: Vec<String>,
    /// Least severity that is logged: error, warn, info, debug or trace.
    #[arg(long, env = "CORE_ENGINE_LOG", value_name = "LEVEL", default_value = "info")]
    log_level: LevelFilter,
    /// Check the settings and end.
    #[arg(long)]
    check: bool,
}

// As of sysexits.h.
const EXIT_UNAVAILABLE: u8 = 69;
const EXIT_CONFIG: u8 = 78;

/// Tasks that run before sockets are looked at again. Streams keep some ready at all times, and a request should not
/// wait for the 61 of the default.
const TASKS_BETWEEN_LOOKS: u32 = 8;

fn main() -> ExitCode {
    let options = Options::parse();
    let settings = match settings(&options) {
        Ok(settings) => settings,
        Err(error) => return failed(&error, EXIT_CONFIG),
    };
    if options.check {
        return ExitCode::SUCCESS;
    }
    start_log(options.log_level);
    match run(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref() {
            Some(ServerError::Bind { .. }) => failed(&error, EXIT_UNAVAILABLE),
            _ => failed(&error, 1),
        },
    }
}

fn failed(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("core-engine: {error:#}");
    ExitCode::from(code)
}

fn settings(options: &Options) -> anyhow::Result<Settings> {
    let mut settings = Settings::read(options.config.as_deref(), &options.set)?;
    if let Some(listen) = options.listen {
        settings.listen = listen;
    }
    if let Some(directory) = &options.replay_directory {
        settings.replay_directory.clone_from(directory);
    }
    if let Some(path) = &options.store {
        settings.store = Some(match settings.store.take() {
            Some(store) => StoreSettings { path: path.clone(), ..store },
            None => StoreSettings::at(path.clone()),
        });
    }
    if let Some(metrics) = options.metrics {
        settings.metrics = Some(metrics);
    }
    if let Some(source) = &options.default_source {
        settings.default_source.clone_from(source);
    }
    settings.check()?;
    Ok(settings)
}

/// One JSON object a line, to standard error. The line that says where the engine listens always comes.
fn start_log(level: LevelFilter) {
    let ours = Targets::new().with_default(LevelFilter::WARN).with_target("core_engine", level);
    let format = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
    tracing_subscriber::registry().with(format).with(ours.with_target("ready", LevelFilter::INFO)).init();
}

fn run(settings: &Settings) -> anyhow::Result<()> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all().event_interval(TASKS_BETWEEN_LOOKS);
    runtime.build()?.block_on(serve(settings))
}

async fn serve(settings: &Settings) -> anyhow::Result<()> {
    // Before the line that says that we are ready: whoever read it may signal at once.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let server = Server::bind(settings).await?;
    match server.metrics_address() {
        None => tracing::info!(target: "ready", address = %server.address(), "ready"),
        Some(metrics) => tracing::info!(target: "ready", address = %server.address(), %metrics, "ready"),
    }
    server
        .serve(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await?;
    Ok(())
}
