//! The crate graph: what each crate of ours may depend on, and that pure crates stay pure.
//!
//! [`CRATES`] is the only place where that stands; `ARCHITECTURE.md` shows it by `xtask docs`.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Finding;
use crate::tree::Tree;

const RULE: &str = "graph";

/// What a crate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// No sockets, runtime, clock, randomness or environment.
    Pure,
    Product,
    /// Backends: they know nothing of the gateway.
    Customer,
    Tool,
    /// For tests alone.
    Dev,
}

/// A crate of the workspace.
pub(crate) struct Crate {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    /// Crates of ours that it may depend on, tests excepted.
    pub(crate) ours: &'static [&'static str],
    pub(crate) purpose: &'static str,
}

const fn member(name: &'static str, role: Role, ours: &'static [&'static str], purpose: &'static str) -> Crate {
    Crate { name, role, ours, purpose }
}

/// The workspace.
pub(crate) const CRATES: &[Crate] = &[
    member(
        "tidegate-route",
        Role::Pure,
        &[],
        "path templates, canonical paths, one matcher: host, method, path to a route number",
    ),
    member(
        "tidegate-resilience",
        Role::Pure,
        &[],
        "breaker, bulkhead, retry budget, back-off, balancing, ejection, health: time and random bits passed in",
    ),
    member(
        "tidegate-jwt",
        Role::Pure,
        &[],
        "JSON Web Tokens and key sets: strict reading, signatures, claims; the time is passed in",
    ),
    member(
        "tidegate-transcode",
        Role::Pure,
        &["tidegate-route"],
        "descriptors to plans; HTTP parts and JSON to protobuf bytes and back; gRPC frames; status tables",
    ),
    member(
        "tidegate-ws",
        Role::Pure,
        &[],
        "WebSocket without I/O: handshakes, frames, masks, fragments, UTF-8 as it comes, close codes",
    ),
    member(
        "tidegate-config",
        Role::Pure,
        &["tidegate-route"],
        "YAML to checked values; diagnostics; JSON Schema; reference page",
    ),
    member(
        "tidegate",
        Role::Product,
        &[
            "tidegate-route",
            "tidegate-resilience",
            "tidegate-jwt",
            "tidegate-transcode",
            "tidegate-ws",
            "tidegate-config",
        ],
        "the gateway: library and program",
    ),
    member(
        "tidegate-testkit",
        Role::Dev,
        &["tidegate", "tidegate-config", "core-engine", "demo-services"],
        "the gateway in process and scripted peers, for tests",
    ),
    member("protos", Role::Customer, &[], "generated messages and stubs of the reference backends"),
    member("core-engine", Role::Customer, &["protos"], "the reference backend: market data and news over gRPC"),
    member(
        "demo-services",
        Role::Customer,
        &["protos"],
        "small real backends: a trading system over HTTP; users, orders, wallets, simulations over gRPC",
    ),
    member("loadgen", Role::Tool, &[], "load and the backend behind every published figure"),
    member("xtask", Role::Tool, &["tidegate-config"], "`tidy` and `docs`"),
];

/// What a pure crate must not depend on, tests excepted: runtimes, sockets, random numbers.
const IMPURE: &[&str] = &[
    "async-std",
    "fastrand",
    "getrandom",
    "h2",
    "hyper",
    "hyper-util",
    "mio",
    "rand",
    "redis",
    "rustls",
    "socket2",
    "tokio",
    "tokio-rustls",
    "tokio-util",
];

/// What the gateway must not depend on: the backends' libraries.
const FOREIGN: &[&str] = &["protos", "tonic", "tonic-prost", "tonic-health", "tonic-reflection", "tower"];

/// What cargo says of the workspace. Needs neither network nor build.
///
/// # Errors
/// Cargo cannot be run or refuses the manifests.
pub(crate) fn metadata(root: &Path) -> Result<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let output = command.output().context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata: not JSON")
}

/// Findings of the rule.
pub(crate) fn check(tree: &Tree, metadata: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    let packages = array(metadata, "packages");
    for package in packages {
        let name = text(package, "name");
        let manifest = format!("crates/{name}/Cargo.toml");
        let Some(known) = CRATES.iter().find(|known| known.name == name) else {
            findings.push(finding(&manifest, 1, format!("crate `{name}` stands not in xtask's table")));
            continue;
        };
        for dependency in array(package, "dependencies") {
            // Tests may use what they like.
            if text(dependency, "kind") == "dev" {
                continue;
            }
            let on = text(dependency, "name");
            if let Some(fault) = fault(known, on, dependency.get("path").is_some_and(Value::is_string)) {
                findings.push(finding(&manifest, line_of(tree, &manifest, on), fault));
            }
        }
    }
    for known in CRATES {
        if !packages.iter().any(|package| text(package, "name") == known.name) {
            findings.push(finding(
                "Cargo.toml",
                0,
                format!("xtask's table names `{}`, which does not exist", known.name),
            ));
        }
    }
    findings
}

fn fault(known: &Crate, on: &str, is_ours: bool) -> Option<String> {
    let name = known.name;
    if is_ours && !known.ours.contains(&on) {
        return Some(format!("`{name}` must not depend on our `{on}`"));
    }
    match known.role {
        Role::Pure if IMPURE.contains(&on) => Some(format!("`{name}` is pure and must not depend on `{on}`")),
        Role::Product if FOREIGN.contains(&on) => Some(format!("the gateway must not depend on `{on}`")),
        Role::Pure | Role::Product | Role::Customer | Role::Tool | Role::Dev => None,
    }
}

fn line_of(tree: &Tree, manifest: &str, dependency: &str) -> usize {
    let is_entry = |line: &str| {
        let rest = line.strip_prefix(dependency);
        rest.is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
    };
    let text = tree.text(manifest).unwrap_or("");
    text.lines().position(is_entry).map_or(1, |index| index + 1)
}

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}

fn finding(path: &str, line: usize, text: String) -> Finding {
    Finding { path: path.to_owned(), line, rule: RULE, text }
}

/// The table as Markdown.
pub(crate) fn markdown() -> String {
    let mut table = String::from("| crate | for | may depend on (ours) | kind |\n|---|---|---|---|\n");
    for known in CRATES {
        let ours: Vec<String> = known.ours.iter().map(|name| format!("`{name}`")).collect();
        let ours = if ours.is_empty() { "–".to_owned() } else { ours.join(", ") };
        let kind = match known.role {
            Role::Pure => "pure",
            Role::Product => "product",
            Role::Customer => "customer",
            Role::Tool => "tool",
            Role::Dev => "tests only",
        };
        let _ = writeln!(table, "| `{}` | {} | {ours} | {kind} |", known.name, known.purpose);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::lines;
    use serde_json::json;

    /// A workspace of all crates in which `name` has one dependency.
    fn workspace(name: &str, dependency: &Value) -> Value {
        let package = |known: &Crate| {
            let dependencies = if known.name == name { json!([dependency]) } else { json!([]) };
            json!({"name": known.name, "dependencies": dependencies})
        };
        json!({"packages": CRATES.iter().map(package).collect::<Vec<_>>()})
    }

    #[test]
    fn crates_depend_on_what_the_table_allows() {
        let plain = |name: &str| json!({"name": name, "kind": null});
        let ours = |name: &str| json!({"name": name, "kind": null, "path": "/x"});
        let dev = |name: &str| json!({"name": name, "kind": "dev", "path": "/x"});
        for (name, dependency, expected) in [
            ("tidegate-route", plain("smallvec"), None),
            ("tidegate-route", plain("tokio"), Some("`tidegate-route` is pure and must not depend on `tokio`")),
            (
                "tidegate-route",
                ours("tidegate-config"),
                Some("`tidegate-route` must not depend on our `tidegate-config`"),
            ),
            ("tidegate", ours("tidegate-route"), None),
            ("tidegate", plain("tonic"), Some("the gateway must not depend on `tonic`")),
            ("tidegate", dev("tidegate-testkit"), None),
            ("core-engine", ours("tidegate-config"), Some("`core-engine` must not depend on our `tidegate-config`")),
            ("xtask", ours("tidegate"), Some("`xtask` must not depend on our `tidegate`")),
        ] {
            let findings = lines(&check(&Tree::default(), &workspace(name, &dependency)));
            let expected: Vec<String> =
                expected.iter().map(|text| format!("crates/{name}/Cargo.toml:1: graph: {text}")).collect();
            assert_eq!(findings, expected);
        }
    }

    #[test]
    fn a_finding_has_the_line_of_the_dependency_and_unknown_crates_are_found() {
        let tree =
            Tree::of(&[("crates/tidegate-route/Cargo.toml", "[dependencies]\ntokio-x = 1\ntokio.workspace = true\n")]);
        let workspace = workspace("tidegate-route", &json!({"name": "tokio"}));
        assert_eq!(check(&tree, &workspace).first().map(|finding| finding.line), Some(3));
        let unknown = json!({"packages": [{"name": "common", "dependencies": []}]});
        let findings = lines(&check(&tree, &unknown));
        assert_eq!(findings.len(), CRATES.len() + 1);
        assert_eq!(findings[0], "crates/common/Cargo.toml:1: graph: crate `common` stands not in xtask's table");
    }

    #[test]
    fn cargo_knows_this_workspace() {
        let metadata = metadata(&crate::own_root()).unwrap();
        assert!(array(&metadata, "packages").iter().any(|package| text(package, "name") == "xtask"));
    }
}
