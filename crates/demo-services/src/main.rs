//! The program: read options, bind, say so, serve, stop.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use demo_services::{Server, ServerError, Service, Settings};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Small backends for examples and tests: a trading system over HTTP, and users, orders, wallets and simulations over
/// gRPC.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// The folder of the state. Without it the state is in memory and ends with the process.
    #[arg(long, env = "DEMO_SERVICES_DATA", value_name = "FOLDER", conflicts_with = "in_memory")]
    data: Option<PathBuf>,
    /// Keep the state in memory, which is the default.
    #[arg(long)]
    in_memory: bool,
    /// Start these services alone, separated by commas: market-data, orders, strategies, account, risk, configuration,
    /// dashboard, user-service, order-service, position-service, wallet-service, market-data-service, auth-service,
    /// project-service, simulation-service.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<Service>,
    /// The address to listen on.
    #[arg(long, env = "DEMO_SERVICES_ADDRESS", value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    address: IpAddr,
    /// The port of the first service; the others follow in the order of --only's list. 0 takes free ones.
    #[arg(long, value_name = "PORT")]
    listen_base: Option<u16>,
    /// The port of one service; may be given several times.
    #[arg(long, value_name = "NAME=PORT", value_parser = name_and_port)]
    port: Vec<(Service, u16)>,
    /// The key of the tokens, at least 32 bytes. Without it a random one is taken, and written to the log.
    #[arg(long, env = "DEMO_SERVICES_TOKEN_SECRET", value_name = "TEXT", hide_env_values = true, value_parser = secret)]
    token_secret: Option<String>,
    /// Whoever registers with this email gets the role admin beside viewer, which all have.
    #[arg(long, value_name = "EMAIL")]
    admin: Option<String>,
    /// Leave a new exchange empty instead of giving it orders to trade with.
    #[arg(long)]
    no_seed: bool,
    /// Milliseconds between two steps of a strategy.
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    strategy_interval_ms: u64,
    /// Seconds that open calls may run after the signal to stop.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    drain_timeout_s: u64,
    /// Least severity that is logged: error, warn, info, debug or trace.
    #[arg(long, env = "DEMO_SERVICES_LOG", value_name = "LEVEL", default_value = "info")]
    log_level: LevelFilter,
}

// As of sysexits.h.
const EXIT_USAGE: u8 = 2;
const EXIT_UNAVAILABLE: u8 = 69;

fn main() -> ExitCode {
    let options = Options::parse();
    start_log(options.log_level);
    let settings = match settings(&options) {
        Ok(settings) => settings,
        Err(error) => return failed(&error, EXIT_USAGE),
    };
    match run(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref() {
            Some(ServerError::Bind { .. } | ServerError::Store(_)) => failed(&error, EXIT_UNAVAILABLE),
            _ => failed(&error, 1),
        },
    }
}

fn failed(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("demo-services: {error:#}");
    ExitCode::from(code)
}

fn name_and_port(text: &str) -> Result<(Service, u16), String> {
    let (name, port) = text.split_once('=').ok_or("must be NAME=PORT")?;
    Ok((name.parse()?, port.parse().map_err(|_| "the port must be 0 to 65535")?))
}

fn secret(text: &str) -> Result<String, &'static str> {
    if text.len() < 32 { Err("must have at least 32 bytes") } else { Ok(text.to_owned()) }
}

fn settings(options: &Options) -> anyhow::Result<Settings> {
    let mut settings = Settings::default();
    if let Some(base) = options.listen_base {
        for (offset, service) in (0_u16..).zip(Service::ALL) {
            let port = if base == 0 { Some(0) } else { base.checked_add(offset) };
            let port = port.ok_or_else(|| anyhow::anyhow!("--listen-base {base} leaves too few ports"))?;
            settings.services.insert(*service, port);
        }
    }
    settings.services.extend(options.port.iter().copied());
    if !options.only.is_empty() {
        settings.services.retain(|service, _| options.only.contains(service));
    }
    settings.address = options.address;
    settings.data.clone_from(&options.data);
    settings.token_secret.clone_from(&options.token_secret);
    settings.admin.clone_from(&options.admin);
    settings.seed = !options.no_seed;
    settings.strategy_interval = Duration::from_millis(options.strategy_interval_ms);
    settings.drain_timeout = Duration::from_secs(options.drain_timeout_s);
    Ok(settings)
}

/// One JSON object a line, to standard error. The lines that say where the services listen always come.
fn start_log(level: LevelFilter) {
    let ours = Targets::new().with_default(LevelFilter::WARN).with_target("demo_services", level);
    let format = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
    tracing_subscriber::registry().with(format).with(ours.with_target("ready", LevelFilter::INFO)).init();
}

#[tokio::main]
async fn run(settings: &Settings) -> anyhow::Result<()> {
    // Before the line that says that we are ready: whoever read it may signal at once.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let server = Server::bind(settings).await?;
    for (service, address) in server.addresses() {
        tracing::info!(target: "ready", service = service.name(), address = %address, "listening");
    }
    tracing::info!(target: "ready", services = server.addresses().len(), "ready");
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
