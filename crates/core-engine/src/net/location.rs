//! Addresses of servers, checked when they are typed.

use std::fmt;

use url::Url;

/// Longest URL that is taken.
const URL_MAX_BYTES: usize = 2_048;

/// Which protocol a URL must be of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scheme {
    /// `http` or `https`.
    Http,
    /// `ws` or `wss`.
    Socket,
}

/// A URL with a host, of a known scheme, without user name and password.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Location(Url);

impl Location {
    /// Reads a URL.
    ///
    /// # Errors
    /// What must hold, for people.
    pub(crate) fn parse(text: &str, scheme: Scheme) -> Result<Self, String> {
        let (schemes, shown): (&[&str], _) = match scheme {
            Scheme::Http => (&["http", "https"], "http:// or https://"),
            Scheme::Socket => (&["ws", "wss"], "ws:// or wss://"),
        };
        let wrong = || format!("must be a URL that starts with {shown}");
        if text.len() > URL_MAX_BYTES {
            return Err(format!("must be at most {URL_MAX_BYTES} bytes long"));
        }
        let mut url = Url::parse(text).map_err(|_| wrong())?;
        if !schemes.contains(&url.scheme()) || url.host_str().is_none_or(str::is_empty) {
            return Err(wrong());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not hold a user name or password".to_owned());
        }
        url.set_fragment(None);
        Ok(Self(url))
    }

    /// The URL below this one with the given segments of a path, each escaped as one.
    pub(crate) fn below<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> Self {
        let mut url = self.0.clone();
        url.set_query(None);
        // Cannot fail: a URL with a host can have a path.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        Self(url)
    }

    /// The same with a parameter more.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.0.query_pairs_mut().append_pair(name, value);
        self
    }

    /// Where a `Location` header leads from here, if it is HTTP and does not give up TLS.
    pub(super) fn redirected(&self, header: &str) -> Option<Self> {
        let next = self.0.join(header).ok()?;
        let next = Self::parse(next.as_str(), Scheme::Http).ok()?;
        (next.is_tls() || !self.is_tls()).then_some(next)
    }

    /// Whether the connection is to be encrypted.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self.0.scheme(), "https" | "wss")
    }

    /// Host and port. IPv6 addresses come without brackets.
    pub(super) fn endpoint(&self) -> (String, u16) {
        let host = self.0.host_str().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = self.0.port_or_known_default().unwrap_or(if self.is_tls() { 443 } else { 80 });
        (host.to_owned(), port)
    }

    /// Whether both are the same scheme, host and port, so that what is secret for one may be sent to the other.
    pub(super) fn same_origin(&self, other: &Self) -> bool {
        self.0.origin() == other.0.origin()
    }

    /// The URL itself.
    pub(crate) fn url(&self) -> &Url {
        &self.0
    }

    /// As text.
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// Without the query, which may hold what others should not read.
impl fmt::Debug for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.clone();
        shown.set_query(None);
        formatter.write_str(shown.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_urls_of_the_right_scheme_are_taken() {
        for (text, scheme, good) in [
            ("https://query1.example.com", Scheme::Http, true),
            ("http://127.0.0.1:8/a?b=c", Scheme::Http, true),
            ("wss://stream.example.com:9443", Scheme::Socket, true),
            ("wss://stream.example.com:9443", Scheme::Http, false),
            ("file:///etc/passwd", Scheme::Http, false),
            ("https://user:secret@example.com", Scheme::Http, false),
            ("https://", Scheme::Http, false),
            ("example.com", Scheme::Http, false),
            ("", Scheme::Http, false),
        ] {
            assert_eq!(Location::parse(text, scheme).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn a_segment_cannot_leave_its_place() {
        let base = Location::parse("http://h/api?x=1", Scheme::Http).unwrap();
        let below = base.below(["v8", "chart", "^GSPC/../a?b"]).with("range", "1 d");
        assert_eq!(below.as_str(), "http://h/api/v8/chart/^GSPC%2F..%2Fa%3Fb?range=1+d");
    }

    #[test]
    fn a_redirect_does_not_give_up_tls() {
        let from = Location::parse("https://h/a/b", Scheme::Http).unwrap();
        let shown = |header| from.redirected(header).map(|next| next.as_str().to_owned());
        assert_eq!(shown("c"), Some("https://h/a/c".to_owned()));
        assert_eq!(shown("//other/x"), Some("https://other/x".to_owned()));
        assert_eq!(shown("http://h/a"), None);
        assert_eq!(shown("file:///etc/passwd"), None);
    }
}
