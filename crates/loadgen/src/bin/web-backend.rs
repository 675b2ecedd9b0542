//! An HTTP/1.1 backend: plays back a scenario, or keeps a book of the requests that reached it.
//!
//! Prints `listening on ADDRESS` once it accepts connections.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use loadgen::scenario::Scenario;
use loadgen::web::{self, Manner};

#[derive(Parser)]
#[command(about = "HTTP/1.1 backend that plays back a scenario or keeps a book")]
struct Args {
    /// Scenario file; without it every request is answered with a body that its id decides.
    #[arg(long)]
    scenario: Option<PathBuf>,
    /// File to which a line for each request is appended.
    #[arg(long)]
    book: Option<PathBuf>,
    /// Milliseconds before each answer.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// Answer everything with 503.
    #[arg(long)]
    fails: bool,
    /// Close connections at random moments between two requests.
    #[arg(long)]
    closes_idle: bool,
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut manner = match &args.scenario {
        Some(file) => Manner::plays(&Scenario::read(file)?),
        None => Manner::default(),
    };
    if let Some(file) = &args.book {
        let opened = OpenOptions::new().create(true).append(true).open(file);
        manner.book = Some(opened.with_context(|| format!("cannot open {}", file.display()))?);
    }
    manner.delay = Duration::from_millis(args.delay_ms);
    manner.fails = args.fails;
    manner.closes_idle = args.closes_idle;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(args.listen).await?;
        writeln!(std::io::stdout(), "listening on {}", listener.local_addr()?)?;
        web::serve(listener, Arc::new(manner)).await
    })
}
