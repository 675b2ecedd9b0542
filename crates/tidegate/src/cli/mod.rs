//! The command line: parse, do, turn the outcome into an exit code.

mod admin;
mod api_key;
mod check;
mod explain;
mod healthcheck;
mod load;
mod mounts;
mod offline;
mod online;
mod openapi;
mod routes;
mod run;
mod schema;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::version;

/// Exit codes that scripts and service managers rely on.
pub mod exit {
    /// Found problems, or failed.
    pub const FAILED: u8 = 1;
    /// Wrong usage.
    pub const USAGE: u8 = 2;
    /// A port or a dependency is unavailable (`EX_UNAVAILABLE`).
    pub const UNAVAILABLE: u8 = 69;
    /// Invalid configuration (`EX_CONFIG`).
    pub const CONFIG: u8 = 78;
    /// The drain deadline passed with open requests.
    pub const DRAIN_TIMEOUT: u8 = 124;
}

/// REST/JSON to gRPC at the edge, from one YAML file.
#[derive(Debug, Parser)]
#[command(name = "tidegate", disable_version_flag = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until told to stop: TERM or INT drains, a second one ends at once.
    Run {
        #[command(flatten)]
        config: ConfigFile,
        /// Let several processes listen on the same ports; without it a taken port is exit code 69.
        #[arg(long)]
        share_ports: bool,
        /// Take the listening sockets over from the process that listens on this Unix socket, and hand them over
        /// there to the next one.
        #[arg(long, env = "TIDEGATE_HANDOVER", value_name = "PATH")]
        handover: Option<PathBuf>,
    },
    /// Report all problems of a configuration at once. Ends with 78 if it is invalid.
    Check {
        #[command(flatten)]
        config: ConfigFile,
        /// Also try names, ports, endpoints and reflection; ends with 1 if only that fails.
        #[arg(long)]
        online: bool,
        /// How problems are printed.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Print the compiled route table.
    Routes {
        #[command(flatten)]
        config: ConfigFile,
        /// How the table is printed.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Tell which route a request takes, what its policies are and where they stand, and why no other route is taken.
    /// Sends nothing to any backend. Ends with 1 if no route matches.
    Explain {
        #[command(flatten)]
        asked: explain::Asked,
    },
    /// Print the JSON Schema of the configuration, for editors.
    Schema {
        /// How it is printed.
        #[arg(long, value_enum, default_value_t = schema::Format::Json)]
        format: schema::Format,
    },
    /// Print the API as an OpenAPI document.
    Openapi {
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        about: openapi::Arguments,
    },
    /// Ask a running gateway whether it is ready; for images without a shell.
    Healthcheck {
        #[command(flatten)]
        target: healthcheck::Target,
    },
    /// Make and judge JSON Web Tokens; for development.
    Token {
        #[command(subcommand)]
        action: token::Action,
    },
    /// Make keys for clients.
    ApiKey {
        #[command(subcommand)]
        action: api_key::Action,
    },
    /// Print version, revision and compiler.
    Version {
        /// How it is printed.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// Configuration file; `-` is standard input.
    #[arg(short = 'c', long = "config", env = "TIDEGATE_CONFIG", value_name = "FILE")]
    path: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Parses the arguments of the process and does what they say. Wrong usage ends the process with code 2.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run { config, share_ports, handover } => run::run(&config.path, share_ports, handover),
        Command::Check { config, online, format } => check::run(&config.path, online, format),
        Command::Routes { config, format } => routes::run(&config.path, format),
        Command::Explain { asked } => explain::run(&asked),
        Command::Schema { format } => schema::run(format),
        Command::Openapi { config, about } => openapi::run(&config.path, about),
        Command::Healthcheck { target } => healthcheck::run(&target),
        Command::Token { action } => token::run(&action),
        Command::ApiKey { action } => api_key::run(&action),
        Command::Version { format } => print_version(format),
    }
}

fn print_version(format: Format) -> ExitCode {
    let (version, revision, rustc) = (version::VERSION, version::REVISION, version::RUSTC);
    match format {
        Format::Text => print(&format!("tidegate {version} ({revision}, rustc {rustc})\n")),
        Format::Json => {
            let json = serde_json::json!({"version": version, "revision": revision, "rustc": rustc});
            print(&format!("{json}\n"));
        }
    }
    ExitCode::SUCCESS
}

/// Writes to standard output; a reader that has gone away is no failure of ours.
fn print(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}
