//! Modules of the gateway use modules of a lower row only, or the neighbours that the table names.
//!
//! [`ROWS`] is the only place where the order stands; `ARCHITECTURE.md` shows it by `xtask docs`.

use std::fmt::Write as _;

use super::{Finding, Product, paths};
use crate::tree::Tree;

const RULE: &str = "rows";
const SOURCE: &str = "crates/tidegate/src/";

/// Modules on one level.
pub(crate) struct Row {
    /// Rows without modules today are left out, so numbers may have gaps.
    pub(crate) number: u8,
    pub(crate) modules: &'static [&'static str],
    /// Pairs within the row: the first may use the second.
    pub(crate) beside: &'static [(&'static str, &'static str)],
    /// What the row is for; Markdown.
    pub(crate) remark: &'static str,
}

const fn row(number: u8, modules: &'static [&'static str], remark: &'static str) -> Row {
    Row { number, modules, beside: &[], remark }
}

/// Lowest first.
pub(crate) const ROWS: &[Row] = &[
    Row {
        number: 0,
        modules: &[
            "body", "clients", "ending", "fill", "hints", "identity", "ids", "lines", "tasks", "time", "trace",
            "turns", "version",
        ],
        beside: &[("ending", "time"), ("ids", "ending"), ("ids", "hints"), ("ids", "identity"), ("turns", "ids")],
        remark: "plain types; `time` is the only place that reads a clock, `tasks` the only one that spawns",
    },
    Row {
        number: 1,
        modules: &["exchange", "head", "heartbeat", "lifecycle", "notify", "reject", "telemetry"],
        beside: &[
            ("exchange", "reject"),
            ("head", "reject"),
            ("telemetry", "exchange"),
            ("telemetry", "lifecycle"),
            ("telemetry", "reject"),
        ],
        remark: "one request and its answer; what its head must be; where the process stands between start and drain; the service manager; refusals; what is told of all that",
    },
    Row {
        number: 2,
        modules: &["dial", "outbound", "overload", "redis"],
        beside: &[("outbound", "dial"), ("redis", "dial")],
        remark: "TCP and TLS connections, the one place that sets options of outgoing sockets; small HTTPS requests of control tasks; whether there is too much to do; commands to Redis",
    },
    row(3, &["policy", "upstream"], "they do not know each other"),
    row(4, &["realtime"], "WebSockets that end here: who may open one, what is said on it, how it ends"),
    row(5, &["action"], "what a route does"),
    row(6, &["snapshot"], "builds values of the rows above it, which never name it"),
    Row {
        number: 7,
        modules: &["explain", "gateway", "openapi", "pipeline"],
        beside: &[("gateway", "pipeline")],
        remark: "one request, where `gateway` uses `pipeline`; one that nobody has sent; the documentation of all",
    },
    Row {
        number: 8,
        modules: &["admin", "export", "jwks", "listen", "refresh", "reload", "scrape"],
        beside: &[
            ("admin", "listen"),
            ("admin", "reload"),
            ("refresh", "jwks"),
            ("reload", "listen"),
            ("reload", "refresh"),
            ("scrape", "listen"),
        ],
        remark: "where clients connect; where new descriptors, new keys of tokens and new configurations come in; the page of metrics; where spans go; operators",
    },
    Row {
        number: 9,
        modules: &["app", "cli", "fuzzing"],
        beside: &[("cli", "app")],
        remark: "`cli` uses `app`; a door to the readers of HTTP/1.1 for the fuzzers",
    },
];

/// Findings of the rule.
pub(crate) fn check(tree: &Tree, product: &[Product<'_>]) -> Vec<Finding> {
    let mut findings = missing(tree);
    for file in product {
        let Some(inside) = file.path.strip_prefix(SOURCE) else { continue };
        let path = paths::module_path(inside);
        // `lib.rs` declares the modules; `main.rs` is a program that uses the library.
        let Some(from) = path.first() else { continue };
        let Some(from_row) = place(from) else {
            findings.push(finding(file.path, 1, format!("module `{from}` stands in no row of xtask's table")));
            continue;
        };
        for (to, line) in paths::top_level(&file.tokens, path.len()) {
            if let Some(text) = fault(from, from_row, to) {
                findings.push(finding(file.path, line, text));
            }
        }
    }
    findings
}

/// Modules of the table that do not exist, so that it cannot go stale.
fn missing(tree: &Tree) -> Vec<Finding> {
    let exists = |module: &str| {
        let (file, folder) = (format!("{SOURCE}{module}.rs"), format!("{SOURCE}{module}/"));
        tree.files.iter().any(|known| known.path == file || known.path.starts_with(&folder))
    };
    let modules = ROWS.iter().flat_map(|row| row.modules);
    let missing = modules.filter(|module| !exists(module));
    missing.map(|module| finding(SOURCE, 0, format!("xtask's table names `{module}`, which does not exist"))).collect()
}

fn fault(from: &str, from_row: &Row, to: &str) -> Option<String> {
    if from == to {
        return None;
    }
    let Some(to_row) = place(to) else {
        // A macro or an item of the crate's root.
        return Some(format!("`crate::{to}` stands in no row of xtask's table"));
    };
    let (low, high) = (from_row.number, to_row.number);
    if high > low {
        return Some(format!("`{from}` (row {low}) uses `{to}` of the higher row {high}"));
    }
    if high == low && !from_row.beside.contains(&(from, to)) {
        return Some(format!("`{from}` uses its neighbour `{to}` of row {low}"));
    }
    None
}

fn place(module: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.modules.contains(&module))
}

fn finding(path: &str, line: usize, text: String) -> Finding {
    Finding { path: path.to_owned(), line, rule: RULE, text }
}

/// The table as Markdown.
pub(crate) fn markdown() -> String {
    let mut table = String::from("| row | modules | remark |\n|---|---|---|\n");
    for row in ROWS {
        let modules: Vec<String> = row.modules.iter().map(|module| format!("`{module}`")).collect();
        let _ = writeln!(table, "| {} | {} | {} |", row.number, modules.join(" "), row.remark);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{lines, product};

    fn check_file(path: &str, text: &str) -> Vec<String> {
        let path = format!("{SOURCE}{path}");
        let mut files: Vec<(String, &str)> = Vec::new();
        for module in ROWS.iter().flat_map(|row| row.modules) {
            files.push((format!("{SOURCE}{module}/mod.rs"), ""));
        }
        files.push((path, text));
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        let tree = Tree::of(&files);
        lines(&check(&tree, &product(&tree))).into_iter().map(|line| line.replace(SOURCE, "")).collect()
    }

    #[test]
    fn only_lower_rows_may_be_used() {
        for (path, text, expected) in [
            ("upstream/call.rs", "use crate::dial::Stream;", None),
            ("upstream/call.rs", "use crate::upstream::Cluster;", None),
            (
                "upstream/call.rs",
                "\nuse crate::action::Action;",
                Some("`upstream` (row 3) uses `action` of the higher row 5"),
            ),
            ("upstream/call.rs", "\nuse crate::policy::X;", Some("`upstream` uses its neighbour `policy` of row 3")),
            ("dial.rs", "\nuse super::gateway;", Some("`dial` (row 2) uses `gateway` of the higher row 7")),
            ("gateway.rs", "use crate::pipeline;", None),
            ("pipeline.rs", "\nuse crate::gateway;", Some("`pipeline` uses its neighbour `gateway` of row 7")),
            ("ids.rs", "#[cfg(test)] mod tests { use crate::app::App; }", None),
            ("ids.rs", "\nuse crate::nothing;", Some("`crate::nothing` stands in no row of xtask's table")),
            ("lib.rs", "use crate::app::App;", None),
        ] {
            let expected: Vec<String> = expected.iter().map(|text| format!("{path}:2: rows: {text}")).collect();
            assert_eq!(check_file(path, text), expected, "{path} {text}");
        }
    }

    #[test]
    fn a_module_without_a_row_is_a_finding_and_a_row_without_a_module_too() {
        assert_eq!(check_file("util.rs", ""), ["util.rs:1: rows: module `util` stands in no row of xtask's table"]);
        let empty = Tree::default();
        let modules = ROWS.iter().map(|row| row.modules.len()).sum::<usize>();
        assert_eq!(check(&empty, &product(&empty)).len(), modules);
    }
}
