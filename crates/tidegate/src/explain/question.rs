//! The request that is asked about: nobody has sent it, so it is checked here as far as a client could not send it.

use std::collections::BTreeMap;

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Uri};
use serde::{Deserialize, Serialize};

/// Most headers of a question; listeners refuse more.
const MAX_HEADERS: usize = 100;

/// Longest URL in bytes; listeners refuse more.
const MAX_URL: usize = 8 * 1024;

/// The host of a URL that names none.
const DEFAULT_HOST: &str = "localhost";

/// A request to be explained.
#[derive(Clone, Debug)]
pub struct Question {
    pub(super) method: Method,
    /// The URL says `https`.
    pub(super) tls: bool,
    /// Path and query as a client would send them.
    pub(super) target: String,
    /// With exactly one `Host`, unless several were asked for.
    pub(super) headers: HeaderMap,
}

/// A question that no request can be made of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// Not the JSON that it should be.
    #[error("expected {{\"method\", \"url\", \"headers\"}}: {0}")]
    Json(String),
    /// Not a token.
    #[error("{0:?} is not a method")]
    Method(String),
    /// Neither `http(s)://host/path` nor `/path`.
    #[error("{0:?} is not a URL: expected http://host/path, https://host/path or /path")]
    Url(String),
    /// A name or value that HTTP cannot carry.
    #[error("{0:?} is not a header")]
    Header(String),
    /// More than can be sent.
    #[error("{0}")]
    TooLarge(&'static str),
}

/// A question as the admin API takes it. A header that is sent several times has a list of values.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    method: String,
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, Values>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Many(Vec<String>),
}

impl Question {
    /// A question about a request with these headers, in their order. Without a host in `url`, and without a `Host`
    /// header, the host is `localhost`.
    ///
    /// # Errors
    /// No client could send this.
    pub fn new(method: &str, url: &str, headers: &[(String, String)]) -> Result<Self, QuestionError> {
        let (tls, authority, target) = split(url)?;
        let wrong = |name: &str| QuestionError::Header(name.to_owned());
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            if map.len() >= MAX_HEADERS {
                return Err(QuestionError::TooLarge("more than 100 headers"));
            }
            let key = HeaderName::try_from(name.trim()).map_err(|_| wrong(name))?;
            let value = HeaderValue::from_str(value.trim()).map_err(|_| wrong(name))?;
            map.append(key, value);
        }
        if !map.contains_key(HOST) {
            let host = HeaderValue::from_str(authority).map_err(|_| QuestionError::Url(url.to_owned()))?;
            map.insert(HOST, host);
        }
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| QuestionError::Method(method.to_owned()))?;
        Ok(Self { method, tls, target: target.to_owned(), headers: map })
    }

    /// Reads a question from the body of a request to the admin API.
    ///
    /// # Errors
    /// As [`Question::new`], and for JSON that is none or has other keys.
    pub fn from_json(body: &[u8]) -> Result<Self, QuestionError> {
        let written: Written = serde_json::from_slice(body).map_err(|error| QuestionError::Json(error.to_string()))?;
        let mut headers = Vec::new();
        for (name, values) in written.headers {
            match values {
                Values::One(value) => headers.push((name, value)),
                Values::Many(values) => headers.extend(values.into_iter().map(|value| (name.clone(), value))),
            }
        }
        Self::new(&written.method, &written.url, &headers)
    }

    /// The same question for the admin API.
    #[must_use]
    pub fn json(method: &str, url: &str, headers: &[(String, String)]) -> String {
        let mut map: BTreeMap<String, Values> = BTreeMap::new();
        for (name, value) in headers {
            let values = map.entry(name.to_ascii_lowercase()).or_insert_with(|| Values::Many(Vec::new()));
            if let Values::Many(values) = values {
                values.push(value.clone());
            }
        }
        let written = Written { method: method.to_owned(), url: url.to_owned(), headers: map };
        // Texts and lists of texts: there is nothing that could fail.
        serde_json::to_string(&written).unwrap_or_default()
    }

    /// The request as a listener would see it; `None` if its target is none that HTTP can parse.
    pub(super) fn request(&self) -> Option<Request<()>> {
        let mut request = Request::new(());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = Uri::try_from(self.target.as_str()).ok()?;
        *request.headers_mut() = self.headers.clone();
        Some(request)
    }
}

/// Whether it is encrypted, the authority, and the target of a URL.
fn split(url: &str) -> Result<(bool, &str, &str), QuestionError> {
    let wrong = || QuestionError::Url(url.to_owned());
    if url.len() > MAX_URL {
        return Err(QuestionError::TooLarge("the URL is longer than 8 KiB"));
    }
    if url.bytes().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control()) {
        return Err(wrong());
    }
    // What follows `#` never leaves the client.
    let url = url.split('#').next().unwrap_or(url);
    let lower = url.get(..8).unwrap_or(url).to_ascii_lowercase();
    let (tls, rest) = if lower.starts_with("https://") {
        (true, url.get(8..).unwrap_or_default())
    } else if lower.starts_with("http://") {
        (false, url.get(7..).unwrap_or_default())
    } else if url.starts_with('/') || url == "*" {
        return Ok((false, DEFAULT_HOST, url));
    } else {
        return Err(wrong());
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    if authority.contains('@') {
        return Err(wrong());
    }
    Ok((tls, authority, if target.is_empty() { "/" } else { target }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_split_as_a_client_splits_it() {
        for (url, expected) in [
            ("https://api.example.com/v1/orders/7?a=b#c", Some((true, "api.example.com", "/v1/orders/7?a=b"))),
            ("HTTP://A:80", Some((false, "A:80", "/"))),
            ("http://[::1]:80/x", Some((false, "[::1]:80", "/x"))),
            ("/v1", Some((false, "localhost", "/v1"))),
            ("*", Some((false, "localhost", "*"))),
            ("http://a?b", Some((false, "a", "?b"))),
            ("ftp://a/", None),
            ("v1/orders", None),
            ("http://user@a/", None),
            ("/a b", None),
            ("", None),
        ] {
            assert_eq!(split(url).ok(), expected, "{url}");
        }
    }

    #[test]
    fn a_question_travels_as_json() {
        let headers = [("X-A".to_owned(), "1".to_owned()), ("x-a".to_owned(), "2".to_owned())];
        let json = Question::json("GET", "http://h/p", &headers);
        assert_eq!(json, r#"{"method":"GET","url":"http://h/p","headers":{"x-a":["1","2"]}}"#);
        let question = Question::from_json(json.as_bytes()).unwrap();
        assert_eq!(question.headers.get_all("x-a").iter().count(), 2);
        assert_eq!(question.headers.get("host").unwrap(), "h");
        let one = br#"{"method":"GET","url":"/p","headers":{"host":"a"}}"#;
        assert_eq!(Question::from_json(one).unwrap().headers.get("host").unwrap(), "a");
    }

    #[test]
    fn what_cannot_be_sent_is_no_question() {
        let header = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        assert!(matches!(Question::new("GE T", "/", &[]), Err(QuestionError::Method(_))));
        assert!(matches!(Question::new("GET", "/", &header("a b", "")), Err(QuestionError::Header(_))));
        assert!(Question::new("GET", "/", &header("a", "\n1")).is_ok(), "values are trimmed");
        assert!(matches!(Question::new("GET", "/", &header("a", "1\n2")), Err(QuestionError::Header(_))));
        let many: Vec<_> = (0..101).map(|n| (format!("x{n}"), String::new())).collect();
        assert!(matches!(Question::new("GET", "/", &many), Err(QuestionError::TooLarge(_))));
        for body in ["", "[]", "{}", r#"{"method":"GET","url":"/","headres":{}}"#] {
            assert!(matches!(Question::from_json(body.as_bytes()), Err(QuestionError::Json(_))), "{body}");
        }
    }
}
