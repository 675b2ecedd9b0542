//! Tells the program what it was built from: `TIDEGATE_REVISION` and `TIDEGATE_RUSTC`.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Only a file that exists: cargo runs the script, and compiles the crate, each time for one that does not. In a
    // worktree `.git` is a file, and a source archive has none.
    if let Some(head) = output("git", &["rev-parse", "--git-path", "HEAD"]).filter(|head| Path::new(head).exists()) {
        println!("cargo:rerun-if-changed={head}");
    }
    let revision = output("git", &["rev-parse", "--short", "HEAD"]);
    let rustc = std::env::var("RUSTC").ok().and_then(|rustc| output(&rustc, &["--version"]));
    let rustc = rustc.and_then(|line| line.split_whitespace().nth(1).map(str::to_owned));
    println!("cargo:rustc-env=TIDEGATE_REVISION={}", revision.unwrap_or_else(|| "unknown".to_owned()));
    println!("cargo:rustc-env=TIDEGATE_RUSTC={}", rustc.unwrap_or_else(|| "unknown".to_owned()));
}

/// Standard output of a command, trimmed; `None` if it cannot be run or fails (a source archive has no git).
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
