//! `loadgen run` sends a scenario to a gateway and checks every answer; `loadgen descriptors` compiles the schema that
//! gateways and backend share.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use loadgen::scenario::Scenario;
use loadgen::{load, schema};

#[derive(Parser)]
#[command(about = "Load for REST gateways, with every answer checked")]
enum Command {
    /// Run one scenario and print a JSON report; exit code 1 if an answer was wrong.
    Run(Run),
    /// Compile .proto files to a descriptor set with imports and custom options.
    Descriptors(Descriptors),
}

#[derive(clap::Args)]
struct Run {
    /// Scenario file.
    #[arg(long)]
    scenario: PathBuf,
    /// Address of the gateway.
    #[arg(long)]
    target: SocketAddr,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Seconds of load before the measurement.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// Seconds of measurement.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// End after this many requests if that comes first.
    #[arg(long)]
    requests: Option<u64>,
    /// name=pid of a process whose CPU time to measure; may be repeated. This process is always there as `load`.
    #[arg(long = "watch", value_parser = name_and_pid)]
    watch: Vec<(String, u32)>,
}

#[derive(clap::Args)]
struct Descriptors {
    /// Directory that imports are relative to.
    #[arg(long)]
    proto_path: PathBuf,
    /// File to write.
    #[arg(long)]
    out: PathBuf,
    files: Vec<PathBuf>,
}

fn name_and_pid(text: &str) -> Result<(String, u32), String> {
    let (name, pid) = text.split_once('=').ok_or("expected name=pid")?;
    Ok((name.to_owned(), pid.parse().map_err(|_| "the process id is not a number")?))
}

fn main() -> anyhow::Result<ExitCode> {
    match Command::parse() {
        Command::Run(args) => run(args),
        Command::Descriptors(args) => {
            let set = schema::compile(&args.files, &args.proto_path)?;
            std::fs::write(&args.out, set).with_context(|| format!("cannot write {}", args.out.display()))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn run(mut args: Run) -> anyhow::Result<ExitCode> {
    args.watch.push(("load".to_owned(), std::process::id()));
    let scenario = Scenario::read(&args.scenario)?;
    let options = load::Options {
        target: args.target,
        connections: args.connections,
        warm_up: Duration::try_from_secs_f64(args.warm_up)?,
        measure: Duration::try_from_secs_f64(args.seconds)?,
        requests_max: args.requests,
        watch: args.watch,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(load::run(&scenario, &options))?;
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &report)?;
    writeln!(out)?;
    Ok(if report.errors == 0 && report.requests > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
