//! What a gRPC call came to: code, message and details, read from trailers and written as JSON.
//!
//! Details are turned into JSON when the status is read, because only then the schema of the service is at hand; from
//! there on a status is plain text that every error format can embed. Local failures use the same type, with details
//! that say which of ours they are.
//!
//! Source: `google/rpc/status.proto`, `google/rpc/error_details.proto`, AIP-193.

mod code;
mod message;

use std::time::Duration;

pub use code::Code;
pub use message::{MAX_MESSAGE_BYTES, decode_message, encode_message};

use crate::error::Violation;
use crate::json_text;

/// The end of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What kind of end.
    pub code: Code,
    /// Text for clients, decoded and harmless; may be empty.
    pub message: String,
    /// The elements of `google.rpc.Status.details` as JSON objects with `@type`, without brackets, joined by commas.
    /// Empty when there are none.
    details: String,
    retry_after: Option<Duration>,
}

impl Status {
    /// A status without details.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: String::new(),
            retry_after: None,
        }
    }

    /// The details as a JSON array on one line, or `None` when there are none.
    #[must_use]
    pub fn details_json(&self) -> Option<String> {
        (!self.details.is_empty()).then(|| format!("[{}]", self.details))
    }

    /// How long the backend asks to wait, if its details have a `RetryInfo`.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Adds the `ErrorInfo` of a local failure: `reason` (a word of the closed list) in capitals, domain `tidegate`,
    /// and both words as metadata, so that the reason is never lost in this format.
    #[must_use]
    pub fn with_reason(mut self, reason: &str, request_id: &str) -> Self {
        let mut detail =
            String::from(r#"{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"#);
        json_text::quote(&reason.to_ascii_uppercase(), &mut detail);
        detail.push_str(r#","domain":"tidegate","metadata":{"reason":"#);
        json_text::quote(reason, &mut detail);
        detail.push_str(r#","request_id":"#);
        json_text::quote(request_id, &mut detail);
        detail.push_str("}}");
        self.push_detail(&detail);
        self
    }

    /// Adds a `BadRequest` that lists the faults of single fields; nothing if the list is empty.
    #[must_use]
    pub fn with_violations(mut self, violations: &[Violation]) -> Self {
        if violations.is_empty() {
            return self;
        }
        let mut detail = String::from(
            r#"{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":["#,
        );
        for (place, violation) in violations.iter().enumerate() {
            if place > 0 {
                detail.push(',');
            }
            detail.push_str(r#"{"field":"#);
            json_text::quote(&violation.field, &mut detail);
            detail.push_str(r#","description":"#);
            json_text::quote(violation.message, &mut detail);
            detail.push('}');
        }
        detail.push_str("]}");
        self.push_detail(&detail);
        self
    }

    /// Appends `google.rpc.Status` in JSON: `code`, `message` and, if there are any, `details`.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        self.write_fields(out);
        out.push(b'}');
    }

    /// Appends the error object of streams: [`write_json`](Self::write_json) with a last member `reason`.
    pub fn write_json_with_reason(&self, reason: &str, out: &mut Vec<u8>) {
        self.write_fields(out);
        out.extend_from_slice(br#","reason":"#);
        json_text::quote(reason, out);
        out.push(b'}');
    }

    fn write_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"code":"#);
        out.extend_from_slice(itoa::Buffer::new().format(self.code.number()).as_bytes());
        out.extend_from_slice(br#","message":"#);
        json_text::quote(&self.message, out);
        if !self.details.is_empty() {
            out.extend_from_slice(br#","details":["#);
            out.extend_from_slice(self.details.as_bytes());
            out.push(b']');
        }
    }

    fn push_detail(&mut self, json: &str) {
        if !self.details.is_empty() {
            self.details.push(',');
        }
        self.details.push_str(json);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(status: &Status) -> String {
        let mut out = Vec::new();
        status.write_json(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn details_are_left_out_when_empty() {
        let status = Status::new(Code::NotFound, "order \"7\" unknown");
        assert_eq!(
            json(&status),
            r#"{"code":5,"message":"order \"7\" unknown"}"#
        );
        assert_eq!(status.details_json(), None);
        assert_eq!(
            json(&status.with_violations(&[])),
            r#"{"code":5,"message":"order \"7\" unknown"}"#
        );
    }

    #[test]
    fn local_failures_carry_their_reason_and_their_fields() {
        let violations = [
            Violation::new("shelf.id", "expected int64"),
            Violation::new("a\"b", "unknown field"),
        ];
        let status = Status::new(Code::InvalidArgument, "no")
            .with_violations(&violations)
            .with_reason("bad_request", "01HZY3");
        let value: serde_json::Value = serde_json::from_str(&json(&status)).unwrap();
        let expected = serde_json::json!({
            "code": 3,
            "message": "no",
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.BadRequest",
                    "fieldViolations": [
                        {"field": "shelf.id", "description": "expected int64"},
                        {"field": "a\"b", "description": "unknown field"},
                    ],
                },
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "BAD_REQUEST",
                    "domain": "tidegate",
                    "metadata": {"reason": "bad_request", "request_id": "01HZY3"},
                },
            ],
        });
        assert_eq!(value, expected);
        let details: serde_json::Value =
            serde_json::from_str(&status.details_json().unwrap()).unwrap();
        assert_eq!(details, expected["details"]);
    }

    #[test]
    fn the_error_object_of_streams_ends_with_the_reason() {
        let mut out = Vec::new();
        Status::new(Code::Unavailable, "backend lost")
            .write_json_with_reason("upstream_reset", &mut out);
        let expected = r#"{"code":14,"message":"backend lost","reason":"upstream_reset"}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
