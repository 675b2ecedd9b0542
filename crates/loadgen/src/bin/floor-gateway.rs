//! The floor of the benchmarks: what the hop costs when nothing is transcoded.
//!
//! Prints `listening on ADDRESS` once it accepts connections.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use loadgen::floor::{self, Table};
use loadgen::scenario::Scenario;

#[derive(Parser)]
#[command(about = "HTTP/1.1 to gRPC without transcoding")]
struct Args {
    /// Scenario file.
    #[arg(long)]
    scenario: PathBuf,
    /// Descriptor set with the types of the scenario.
    #[arg(long)]
    descriptors: PathBuf,
    /// Address of the gRPC backend.
    #[arg(long)]
    backend: SocketAddr,
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let table = Table::new(&Scenario::read(&args.scenario)?, &std::fs::read(&args.descriptors)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(args.listen).await?;
        writeln!(std::io::stdout(), "listening on {}", listener.local_addr()?)?;
        floor::serve(listener, args.backend, Arc::new(table)).await
    })
}
