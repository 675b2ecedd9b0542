//! The gRPC backend of the benchmarks: plays back one scenario and refuses what does not belong to it.
//!
//! Prints `listening on ADDRESS` once it accepts connections.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use loadgen::backend::{self, Replay};
use loadgen::scenario::Scenario;

#[derive(Parser)]
#[command(about = "gRPC backend that plays back a scenario")]
struct Args {
    /// Scenario file.
    #[arg(long)]
    scenario: PathBuf,
    /// Descriptor set with the types of the scenario.
    #[arg(long)]
    descriptors: PathBuf,
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let replay = Replay::new(&Scenario::read(&args.scenario)?, &std::fs::read(&args.descriptors)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(args.listen).await?;
        writeln!(std::io::stdout(), "listening on {}", listener.local_addr()?)?;
        backend::serve(listener, Arc::new(replay)).await
    })
}
