//! What is on the page, against golden files and against the parser of Prometheus.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::telemetry::metrics::table::{FAMILIES, Family, Kind};
use crate::time::now;

use super::*;

fn eventful_page(format: Format) -> String {
    page_with(&HOSTILE, format)
}

fn page_with(names: &[&str], format: Format) -> String {
    let (metrics, observed, _open) = eventful(names);
    metrics.page(format, now(), &observed)
}

/// Compares with a file of the repository, or rewrites it with `UPDATE_GOLDEN=1`.
fn golden(path: &str, text: &str) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "{} is stale: run the test with UPDATE_GOLDEN=1", path.display());
}

#[test]
fn the_classic_page_is_as_it_was() {
    golden("testdata/metrics.txt", &eventful_page(Format::Text));
}

#[test]
fn the_open_metrics_page_is_as_it_was() {
    golden("testdata/openmetrics.txt", &eventful_page(Format::OpenMetrics));
}

#[test]
fn every_family_is_on_an_eventful_page_and_no_sample_stands_twice() {
    for format in [Format::Text, Format::OpenMetrics] {
        let page = eventful_page(format);
        for family in FAMILIES {
            let name = match format {
                Format::Text => family.name,
                Format::OpenMetrics => family.name.strip_suffix("_total").unwrap_or(family.name),
            };
            assert_eq!(page.matches(&format!("# TYPE {name} ")).count(), 1, "{name}");
        }
        let mut seen = BTreeSet::new();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let sample = line.split(" # {trace_id=").next().and_then(|line| line.rsplit_once(' ')).unwrap();
            assert!(seen.insert(sample.0.to_owned()), "{line}");
        }
    }
}

#[test]
fn only_open_metrics_has_exemplars_and_an_end() {
    let open = eventful_page(Format::OpenMetrics);
    assert!(open.ends_with("\n# EOF\n"));
    assert!(open.contains("} 2 # {trace_id=\"abababababababababababababababab\"} 0.002 1700000000.123\n"), "{open}");
    let classic = eventful_page(Format::Text);
    assert!(!classic.contains("trace_id") && !classic.contains("# EOF") && !classic.contains("# UNIT"));
}

/// `promtool` comes with Prometheus; Debian has it in the package `prometheus`, `make test` installs it.
#[test]
fn promtool_has_nothing_to_say() {
    let untouched = Metrics::new(SLOTS, ALL_SERIES).page(Format::Text, now(), &observed());
    // Control characters too, which a golden file is better without.
    for page in [eventful_page(Format::Text), page_with(&["a\u{0}\r\u{7f}b\u{2028}"], Format::Text), untouched] {
        let command = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut promtool = command
            .unwrap_or_else(|error| panic!("promtool (Debian's package prometheus) is needed for this test: {error}"));
        promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
        let output = promtool.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success() && said.is_empty(), "{}\n{page}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn the_reference_page_shows_the_table() {
    golden("../../docs/metrics.md", &reference());
}

fn reference() -> String {
    let mut page = String::from(
        "# Metrics\n\nMade from the table in `crates/tidegate/src/telemetry/metrics/table.rs` by a test; `make golden` rewrites it.\n\n\
         A scraper gets the classic text format of Prometheus (0.0.4) or, if its `Accept` wants that more, OpenMetrics 1.0, \
         which also has exemplars with the `trace_id` of sampled requests. Label values come from the configuration or from \
         closed lists, never from a request: `method` is a standard method, one that a route names, or `OTHER`; `code` is \
         the status; `reason` is the word of a refusal. A histogram has the series `_bucket`, `_sum` and `_count`.\n\n\
         Series of routes, services and listeners appear with their first event and go five minutes after the route, service \
         or listener has left the configuration. `observability.metrics.max_series` bounds how many there may be: beyond it new ones \
         are refused and counted, existing ones go on. What the configuration alone decides (states of services and \
         endpoints, certificates, the process) does not count against it.\n\n\
         | name | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for family in FAMILIES {
        let labels = family.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(" ");
        let _ = writeln!(page, "| `{}` | {} | {labels} | {} |", family.name, kind(family), family.help);
    }
    page.push_str("\n## Buckets\nUpper bounds in seconds; each histogram also has `+Inf`.\n\n| histograms | bounds |\n|---|---|\n");
    let mut bounds_seen = Vec::new();
    for family in FAMILIES {
        let Kind::Histogram(bounds) = family.kind else { continue };
        if bounds_seen.contains(&bounds) {
            continue;
        }
        bounds_seen.push(bounds);
        let same = FAMILIES.iter().filter(|other| other.kind == Kind::Histogram(bounds));
        let names = same.map(|family| format!("`{}`", family.name)).collect::<Vec<_>>().join(" ");
        let ends = bounds.iter().map(|nanos| Duration::from_nanos(*nanos).as_secs_f64().to_string());
        let _ = writeln!(page, "| {names} | {} |", ends.collect::<Vec<_>>().join(" "));
    }
    page
}

fn kind(family: &Family) -> &'static str {
    match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) => "histogram",
    }
}
