//! Which of the two text formats a scraper gets.

/// How the page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The classic text format of Prometheus, 0.0.4.
    Text,
    /// OpenMetrics 1.0, the only one with exemplars.
    OpenMetrics,
}

/// How well a format is wanted: the quality, and how precisely it was named.
type Wanted = (u16, u8);

impl Format {
    /// The value of `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The format for a request with this `Accept`: OpenMetrics if it is wanted more than the classic text, by quality
    /// and then by how precisely it is named. Whoever wants neither gets the classic text: a page is better than a 406.
    ///
    /// Source: RFC 9110, section 12.5.1.
    #[must_use]
    pub fn negotiate(accept: Option<&str>) -> Self {
        let (mut text, mut open) = (None, None);
        for range in accept.unwrap_or("").split(',') {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or("").to_ascii_lowercase();
            let (version, quality) = parameters(parts);
            let both = match name.as_str() {
                "application/openmetrics-text" if matches!(version, None | Some("1.0.0")) => (None, Some(3)),
                "application/*" => (None, Some(2)),
                "text/plain" if matches!(version, None | Some("0.0.4")) => (Some(3), None),
                "text/*" => (Some(2), None),
                "*/*" => (Some(1), Some(1)),
                _ => (None, None),
            };
            want(&mut text, both.0, quality);
            want(&mut open, both.1, quality);
        }
        let open = open.filter(|(quality, _)| *quality > 0);
        if open > text { Self::OpenMetrics } else { Self::Text }
    }
}

/// The most precise range that fits decides; of two equally precise ones the better.
fn want(wanted: &mut Option<Wanted>, precision: Option<u8>, quality: u16) {
    let Some(precision) = precision else { return };
    if wanted.is_none_or(|(before, how)| (how, before) < (precision, quality)) {
        *wanted = Some((quality, precision));
    }
}

/// `version` without quotes, and the quality in thousandths; one that cannot be read counts as 1.
fn parameters<'a>(parts: impl Iterator<Item = &'a str>) -> (Option<&'a str>, u16) {
    let (mut version, mut quality) = (None, 1_000);
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        let value = value.trim().trim_matches('"');
        if name.trim().eq_ignore_ascii_case("version") {
            version = Some(value);
        } else if name.trim().eq_ignore_ascii_case("q") {
            quality = thousandths(value).unwrap_or(1_000);
        }
    }
    (version, quality)
}

/// `0`, `1`, or either with up to three decimals.
fn thousandths(value: &str) -> Option<u16> {
    let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
    if !matches!(whole, "0" | "1") || decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{whole}{decimals:0<3}").parse().ok()?;
    Some(thousandths.min(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_given_to_who_wants_it_more() {
        // The header of Prometheus 2.
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;\
                          version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        // That of Prometheus 3, with a type that we do not have.
        let newer = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
                     application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2";
        for (accept, open) in [
            (prometheus, true),
            (newer, true),
            ("application/openmetrics-text", true),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\"", true),
            ("application/openmetrics-text, */*", true),
            ("application/openmetrics-text; version=1.0.0; charset=utf-8", true),
            ("application/*, text/plain;q=0.9", true),
            ("text/plain;q=0.5, application/openmetrics-text;q=0.501", true),
            ("", false),
            ("*/*", false),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", false),
            ("application/openmetrics-text;version=2.0.0", false),
            ("application/openmetrics-text;q=0", false),
            ("application/openmetrics-text;q=0, application/*", false),
            ("application/openmetrics-text;q=0.2, */*;q=0.9", false),
            ("application/openmetrics-text, text/plain", false),
            ("text/plain;version=0.0.4;q=0.9, application/openmetrics-text;q=0.8", false),
            ("nonsense;;=;q=,,", false),
        ] {
            let expected = if open { Format::OpenMetrics } else { Format::Text };
            assert_eq!(Format::negotiate(Some(accept)), expected, "{accept:?}");
        }
        assert_eq!(Format::negotiate(None), Format::Text);
    }
}
