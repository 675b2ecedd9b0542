//! Checks and generators of this repository: `cargo run -p xtask -- tidy` and `-- docs`.
//!
//! Nothing here builds or starts the product; both commands take a second or two.

mod docs;
mod rust;
mod tidy;
mod tree;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::tree::Tree;

#[derive(Parser)]
#[command(name = "xtask", about = "Checks and generators of this repository")]
struct Arguments {
    /// The checkout to work on; the one that xtask was built from if left out.
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Checks what the compiler and clippy cannot see: module rows, library fences, the crate graph and habits.
    Tidy,
    /// Rewrites the generated pages and sections of the documentation.
    Docs {
        /// Changes nothing and fails if something is not up to date.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let root = arguments.root.unwrap_or_else(own_root);
    match run(&root, &arguments.command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// True if there is nothing to complain about.
fn run(root: &Path, command: &Command) -> Result<bool> {
    let tree = Tree::read(root)?;
    match command {
        Command::Tidy => {
            let findings = tidy::check(&tree, &tidy::graph::metadata(root)?);
            for finding in &findings {
                eprintln!("{finding}");
            }
            eprintln!("tidy: {} files, {} findings", tree.files.len(), findings.len());
            Ok(findings.is_empty())
        }
        Command::Docs { check: true } => {
            let stale = docs::stale(&tree)?;
            for page in &stale {
                eprintln!("{}: not up to date: run `make docs`", page.path);
            }
            Ok(stale.is_empty())
        }
        Command::Docs { check: false } => {
            for page in docs::stale(&tree)? {
                std::fs::write(root.join(page.path), page.text)?;
                eprintln!("{}: rewritten", page.path);
            }
            Ok(true)
        }
    }
}

/// Two levels above this crate.
fn own_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new(".")).to_path_buf()
}
