//! Writes families in either format: headers, escaped labels, numbers.
//!
//! Source: Prometheus "Text-based format" 0.0.4; OpenMetrics 1.0.

use std::fmt::Write as _;

use super::format::Format;
use super::histogram::{Kept, View};
use super::table::{Bounds, Family, Kind};

/// The page so far.
#[derive(Debug)]
pub(super) struct Page {
    format: Format,
    out: String,
}

impl Page {
    pub(super) fn new(format: Format) -> Self {
        Self { format, out: String::new() }
    }

    /// Begins a family. Its header is written with its first sample, because an empty family is not worth a line.
    pub(super) fn family(&mut self, family: &'static Family) -> Samples<'_> {
        Samples { page: self, family, begun: false, labels: String::new() }
    }

    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }

    fn header(&mut self, family: &Family) {
        let name = match self.format {
            Format::Text => family.name,
            // There the family has the name without the suffix, its samples have it with.
            Format::OpenMetrics => family.name.strip_suffix("_total").unwrap_or(family.name),
        };
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        // Writing to a string cannot fail, here and below. Help texts are ours and hold nothing to escape.
        let _ = writeln!(self.out, "# HELP {name} {}", family.help);
        let _ = writeln!(self.out, "# TYPE {name} {kind}");
        if let (Format::OpenMetrics, Some(unit)) = (self.format, family.unit()) {
            let _ = writeln!(self.out, "# UNIT {name} {unit}");
        }
    }
}

/// The samples of one family. Values of labels come in the order of the family's names.
#[derive(Debug)]
pub(super) struct Samples<'a> {
    page: &'a mut Page,
    family: &'static Family,
    begun: bool,
    /// `a="1",b="2"` of the current sample.
    labels: String,
}

impl Samples<'_> {
    pub(super) fn integer(&mut self, values: &[&str], value: u64) {
        self.begin(values);
        self.line_start("", None);
        self.page.out.push_str(itoa::Buffer::new().format(value));
        self.page.out.push('\n');
    }

    pub(super) fn flag(&mut self, values: &[&str], value: bool) {
        self.integer(values, u64::from(value));
    }

    /// A time in nanoseconds, written in seconds with all its digits.
    pub(super) fn seconds(&mut self, values: &[&str], nanos: u64) {
        self.begin(values);
        self.line_start("", None);
        seconds(&mut self.page.out, nanos);
        self.page.out.push('\n');
    }

    pub(super) fn histogram(&mut self, values: &[&str], view: View<'_>) {
        let Kind::Histogram(bounds) = self.family.kind else {
            debug_assert!(false, "{} is no histogram", self.family.name);
            return;
        };
        self.begin(values);
        let total = self.buckets(bounds, view);
        self.line_start("_sum", None);
        seconds(&mut self.page.out, view.sum_nanos);
        self.page.out.push('\n');
        self.line_start("_count", None);
        self.page.out.push_str(itoa::Buffer::new().format(total));
        self.page.out.push('\n');
    }

    /// The buckets, each with the ones below it; returns the number of all events.
    fn buckets(&mut self, bounds: &Bounds, view: View<'_>) -> u64 {
        let ends = bounds.iter().copied().map(Some).chain([None]);
        let mut sum = 0_u64;
        for (bucket, (count, end)) in view.counts.iter().chain([&view.above]).zip(ends).enumerate() {
            sum = sum.saturating_add(*count);
            self.line_start("_bucket", Some(end));
            self.page.out.push_str(itoa::Buffer::new().format(sum));
            if let (Format::OpenMetrics, Some(Some(kept))) = (self.page.format, view.exemplars.get(bucket)) {
                exemplar(&mut self.page.out, kept);
            }
            self.page.out.push('\n');
        }
        sum
    }

    fn begin(&mut self, values: &[&str]) {
        debug_assert_eq!(values.len(), self.family.labels.len(), "labels of {}", self.family.name);
        if !self.begun {
            self.page.header(self.family);
            self.begun = true;
        }
        self.labels.clear();
        for (name, value) in self.family.labels.iter().zip(values) {
            if !self.labels.is_empty() {
                self.labels.push(',');
            }
            self.labels.push_str(name);
            self.labels.push_str("=\"");
            escape(&mut self.labels, value);
            self.labels.push('"');
        }
    }

    /// Name, labels and the blank before the value. `end` is the upper bound of a bucket, inside `None` for infinity.
    fn line_start(&mut self, suffix: &str, end: Option<Option<u64>>) {
        let out = &mut self.page.out;
        out.push_str(self.family.name);
        out.push_str(suffix);
        if !self.labels.is_empty() || end.is_some() {
            out.push('{');
            out.push_str(&self.labels);
        }
        if let Some(end) = end {
            out.push_str(if self.labels.is_empty() { "le=\"" } else { ",le=\"" });
            bound(out, end, self.page.format);
            out.push('"');
        }
        if !self.labels.is_empty() || end.is_some() {
            out.push('}');
        }
        out.push(' ');
    }
}

fn bound(out: &mut String, nanos: Option<u64>, format: Format) {
    let Some(nanos) = nanos else {
        out.push_str("+Inf");
        return;
    };
    seconds(out, nanos);
    // OpenMetrics wants bounds to look like floating point numbers, or the same bucket had two names.
    if format == Format::OpenMetrics && nanos % 1_000_000_000 == 0 {
        out.push_str(".0");
    }
}

/// Exact, without trailing zeros.
fn seconds(out: &mut String, nanos: u64) {
    let (whole, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    out.push_str(itoa::Buffer::new().format(whole));
    if rest > 0 {
        let _ = write!(out, ".{rest:09}");
        out.truncate(out.trim_end_matches('0').len());
    }
}

fn exemplar(out: &mut String, kept: &Kept) {
    out.push_str(" # {trace_id=\"");
    for byte in kept.exemplar.trace_id {
        let _ = write!(out, "{byte:02x}");
    }
    out.push_str("\"} ");
    seconds(out, kept.nanos);
    out.push(' ');
    seconds(out, kept.exemplar.unix_ms.saturating_mul(1_000_000));
}

/// Both formats escape the same three characters in the values of labels.
fn escape(out: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_exact() {
        for (nanos, text) in [
            (0, "0"),
            (1, "0.000000001"),
            (25_000, "0.000025"),
            (1_000_000_000, "1"),
            (10_000_000_000, "10"),
            (12_345_678_900, "12.3456789"),
            (u64::MAX, "18446744073.709551615"),
        ] {
            let mut out = String::from("0 ");
            seconds(&mut out, nanos);
            assert_eq!(out, format!("0 {text}"));
        }
    }

    #[test]
    fn values_of_labels_cannot_end_their_quotes_or_their_line() {
        let mut out = String::new();
        escape(&mut out, "a\"b\\c\nd\\n\u{e9}");
        assert_eq!(out, "a\\\"b\\\\c\\nd\\\\n\u{e9}");
    }
}
