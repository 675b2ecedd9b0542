//! Clients that send exactly what they are told and hide nothing of what comes back.

mod http1;
mod http2;
pub mod raw_h2;

use http::HeaderMap;

pub use http1::Http1;
pub use http2::{Http2, Running};

/// A request, before it is known which protocol carries it.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`.
    pub method: String,
    /// Path and query, as they are sent.
    pub target: String,
    /// Headers beside `host` and `content-length`, which come by themselves.
    pub headers: Vec<(String, String)>,
    /// The body; no `content-length` is sent if there is none.
    pub body: Option<Vec<u8>>,
}

/// A `GET` of `target`.
#[must_use]
pub fn get(target: &str) -> Request {
    Request::new("GET", target)
}

/// A `DELETE` of `target`.
#[must_use]
pub fn delete(target: &str) -> Request {
    Request::new("DELETE", target)
}

/// A `POST` of JSON.
#[must_use]
pub fn post(target: &str, json: impl AsRef<[u8]>) -> Request {
    Request::new("POST", target).header("content-type", "application/json").body(json)
}

impl Request {
    /// A request without headers and body.
    #[must_use]
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.to_owned(), target: target.to_owned(), headers: Vec::new(), body: None }
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Some(body.as_ref().to_vec());
        self
    }
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All of it came: the length was reached, the last chunk or END_STREAM was there.
    Clean,
    /// HTTP/1.1: the connection ended before that.
    Cut,
    /// HTTP/2: the stream was reset.
    Reset(h2::Reason),
}

/// An answer, complete or not.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// What came of the body, without framing.
    pub body: Vec<u8>,
    /// Trailers.
    pub trailers: HeaderMap,
    /// How it ended.
    pub end: End,
}

impl Answer {
    /// The body as text.
    ///
    /// # Panics
    /// If it is not UTF-8.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is not JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }

    /// A header's value, or of several the first; empty if there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        text(&self.headers, name)
    }

    /// A trailer's value; empty if there is none.
    #[must_use]
    pub fn trailer(&self, name: &str) -> &str {
        text(&self.trailers, name)
    }

    /// The member `reason` of a `problem`; empty if there is none.
    #[must_use]
    pub fn reason(&self) -> String {
        self.json().get("reason").and_then(serde_json::Value::as_str).unwrap_or("").to_owned()
    }
}

fn text<'a>(map: &'a HeaderMap, name: &str) -> &'a str {
    map.get(name).map_or("", |value| value.to_str().expect("a header of ASCII"))
}
