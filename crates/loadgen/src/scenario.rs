//! The scenario file: what is sent, what the backend must see, what comes back.

use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value;

/// One RPC and the exchanges that the load cycles through.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// `package.Service/Method`; empty where the backend speaks HTTP/1.1.
    #[serde(default)]
    pub rpc: String,
    /// At least one. Several keep answers distinguishable, so that a gateway that mixes up streams is caught.
    pub exchanges: Vec<Exchange>,
}

/// One HTTP request with everything that must follow from it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// What the client sends.
    pub http: HttpRequest,
    /// The message that the backend must receive, in proto3 JSON.
    #[serde(default)]
    pub request: Value,
    /// The messages that the backend sends, in proto3 JSON: one for a unary RPC.
    #[serde(default)]
    pub responses: Vec<Value>,
    /// The JSON value that the client must see.
    pub answer: Value,
    /// The status that the client must see.
    #[serde(default = "ok")]
    pub status: u16,
}

/// The client's side of an exchange.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpRequest {
    /// Method token, such as `GET`.
    pub method: String,
    /// Path and query, already percent-encoded.
    pub path: String,
    /// Header fields beside `host`, `content-type` and `content-length`.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Sent as `application/json`.
    #[serde(default)]
    pub body: Option<Value>,
}

fn ok() -> u16 {
    200
}

impl Scenario {
    /// Reads a scenario from a JSON file.
    ///
    /// # Errors
    /// The file cannot be read, is not a scenario, or has no exchange.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let scenario: Self =
            serde_json::from_slice(&text).with_context(|| format!("{} is not a scenario", path.display()))?;
        anyhow::ensure!(!scenario.exchanges.is_empty(), "{} has no exchange", path.display());
        Ok(scenario)
    }
}

impl HttpRequest {
    /// The whole HTTP/1.1 request, ready to be written. `host` is the value of the `Host` field.
    #[must_use]
    pub fn to_bytes(&self, host: &str) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: {host}\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let body = self.body.as_ref().map(Value::to_string);
        if let Some(body) = &body {
            head.push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        head.push_str(body.as_deref().unwrap_or(""));
        head.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(request: &str, expected: &str) {
        let request: HttpRequest = serde_json::from_str(request).unwrap();
        assert_eq!(String::from_utf8(request.to_bytes("h")).unwrap(), expected);
    }

    #[test]
    fn a_request_without_body_has_no_length() {
        check(
            r#"{"method":"GET","path":"/v1/a?b=c","headers":[["accept","x/y"]]}"#,
            "GET /v1/a?b=c HTTP/1.1\r\nhost: h\r\naccept: x/y\r\n\r\n",
        );
    }

    #[test]
    fn a_body_is_sent_as_json_with_its_length_in_bytes() {
        check(
            r#"{"method":"POST","path":"/a","body":{"b":"é"}}"#,
            "POST /a HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{\"b\":\"é\"}",
        );
    }
}
