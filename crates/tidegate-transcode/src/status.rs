//! What a gRPC call came to: code, message and details, read from trailers and written as JSON.
//!
//! Details are turned into JSON when the status is read, because only then the schema of the service is at hand; from
//! there on a status is plain text that every error format can embed. Local failures use the same type, with details
//! that say which of ours they are.
//!
//! Source: `google/rpc/status.proto`, `google/rpc/error_details.proto`, AIP-193.

mod code;
mod details;
mod message;

use std::time::Duration;

pub use code::Code;
pub use details::MAX_DETAILS_BYTES;
pub use message::{MAX_MESSAGE_BYTES, decode_message, encode_message};

use crate::error::Violation;
use crate::json::text::write_string;
use crate::schema::Schema;

/// The end of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What kind of end.
    pub code: Code,
    /// Text for clients, decoded and harmless; may be empty.
    pub message: String,
    /// The elements of `google.rpc.Status.details` as JSON objects with `@type`, without brackets, joined by commas.
    /// Empty when there are none.
    details: Vec<u8>,
    retry_after: Option<Duration>,
}

impl Status {
    /// A status without details.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Vec::new(), retry_after: None }
    }

    /// The end of a call from its trailers, each raw: `grpc-status`, `grpc-message`, `grpc-status-details-bin`.
    ///
    /// Never fails: what cannot be read counts as `Unknown`, as empty, or as absent. Details are printed with the types
    /// of `schema` and the built-in ones.
    #[must_use]
    pub fn from_trailers(code: Option<&[u8]>, message: Option<&[u8]>, details: Option<&[u8]>, schema: &Schema) -> Self {
        let mut status = Self::new(Code::from_grpc_status(code), message.map(decode_message).unwrap_or_default());
        if let Some(raw) = details {
            details::add(&mut status, raw, schema);
        }
        status
    }

    /// The details as a JSON array on one line, or `None` when there are none.
    #[must_use]
    pub fn details_json(&self) -> Option<Vec<u8>> {
        (!self.details.is_empty()).then(|| [b"[", self.details.as_slice(), b"]"].concat())
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
        let out = self.next_detail();
        out.extend_from_slice(br#"{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"#);
        write_string(&reason.to_ascii_uppercase(), out);
        out.extend_from_slice(br#","domain":"tidegate","metadata":{"reason":"#);
        write_string(reason, out);
        out.extend_from_slice(br#","request_id":"#);
        write_string(request_id, out);
        out.extend_from_slice(b"}}");
        self
    }

    /// Adds a `BadRequest` that lists the faults of single fields; nothing if the list is empty.
    #[must_use]
    pub fn with_violations(mut self, violations: &[Violation]) -> Self {
        if violations.is_empty() {
            return self;
        }
        let out = self.next_detail();
        out.extend_from_slice(br#"{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":["#);
        for (place, violation) in violations.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            out.extend_from_slice(br#"{"field":"#);
            write_string(&violation.field, out);
            out.extend_from_slice(br#","description":"#);
            write_string(&violation.message, out);
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
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
        write_string(reason, out);
        out.push(b'}');
    }

    fn write_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"code":"#);
        out.extend_from_slice(itoa::Buffer::new().format(self.code.number()).as_bytes());
        out.extend_from_slice(br#","message":"#);
        write_string(&self.message, out);
        if !self.details.is_empty() {
            out.extend_from_slice(br#","details":["#);
            out.extend_from_slice(&self.details);
            out.push(b']');
        }
    }

    /// Where the next detail is appended, after a comma if it is not the first.
    fn next_detail(&mut self) -> &mut Vec<u8> {
        if !self.details.is_empty() {
            self.details.push(b',');
        }
        &mut self.details
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
        assert_eq!(json(&status), r#"{"code":5,"message":"order \"7\" unknown"}"#);
        assert_eq!(status.details_json(), None);
        assert_eq!(json(&status.with_violations(&[])), r#"{"code":5,"message":"order \"7\" unknown"}"#);
    }

    #[test]
    fn local_failures_carry_their_reason_and_their_fields() {
        let violations = [Violation::new("shelf.id", "expected int64"), Violation::new("a\"b", "unknown field")];
        let status =
            Status::new(Code::InvalidArgument, "no").with_violations(&violations).with_reason("bad_request", "01HZY3");
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
        let details: serde_json::Value = serde_json::from_slice(&status.details_json().unwrap()).unwrap();
        assert_eq!(details, expected["details"]);
    }

    #[test]
    fn the_error_object_of_streams_ends_with_the_reason() {
        let mut out = Vec::new();
        Status::new(Code::Unavailable, "backend lost").write_json_with_reason("upstream_reset", &mut out);
        let expected = r#"{"code":14,"message":"backend lost","reason":"upstream_reset"}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    fn schema() -> Schema {
        Schema::from_file_descriptors::<&[u8]>([]).unwrap()
    }

    fn trailers(wire: &str) -> Status {
        use base64::Engine as _;
        let bytes: Vec<u8> = wire.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        let raw = base64::engine::general_purpose::STANDARD_NO_PAD.encode(bytes);
        Status::from_trailers(Some(b"8"), Some(b"slow%20down"), Some(raw.as_bytes()), &schema())
    }

    fn any(type_url: &str, value: &[u8]) -> Vec<u8> {
        use prost::Message as _;
        prost_types::Any { type_url: type_url.to_owned(), value: value.to_vec() }.encode_to_vec()
    }

    fn with_details(details: &[Vec<u8>]) -> Status {
        let mut wire = vec![0x08, 0x08, 0x12, 0x01, b'm'];
        for detail in details {
            wire.push(0x1a);
            wire.push(u8::try_from(detail.len()).unwrap());
            wire.extend_from_slice(detail);
        }
        trailers(&wire.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn details_of_a_backend_become_json() {
        let info = any("type.googleapis.com/google.rpc.ErrorInfo", b"\x0a\x04FULL\x12\x01d");
        let retry = any("type.googleapis.com/google.rpc.RetryInfo", b"\x0a\x05\x08\x02\x10\x80\x01");
        let strange = any("type.googleapis.com/shop.v1.Nope", b"\x01\x02");
        let status = with_details(&[info, retry, strange]);
        assert_eq!((status.code, status.message.as_str()), (Code::ResourceExhausted, "m"));
        assert_eq!(status.retry_after(), Some(Duration::new(2, 128)));
        let expected = concat!(
            r#"{"code":8,"message":"m","details":["#,
            r#"{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"FULL","domain":"d"},"#,
            r#"{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"2.000000128s"},"#,
            r#"{"@type":"type.googleapis.com/shop.v1.Nope","value":"AQI="}]}"#
        );
        assert_eq!(json(&status), expected);
    }

    #[test]
    fn details_that_cannot_be_read_change_nothing() {
        let plain = Status::new(Code::NotFound, "m");
        let long = "A".repeat(MAX_DETAILS_BYTES + 1);
        for raw in ["*", "AAA", "CgU", &long] {
            let status = Status::from_trailers(Some(b"5"), Some(b"m"), Some(raw.as_bytes()), &schema());
            assert_eq!(status, plain, "{raw}");
        }
        let broken = any("type.googleapis.com/google.rpc.ErrorInfo", b"\xff");
        assert_eq!(with_details(&[broken]).details_json(), None);
    }

    #[test]
    fn the_message_of_the_details_counts() {
        let status = Status::from_trailers(Some(b"5"), Some(b"other"), Some(b"CAUSAW0"), &schema());
        assert_eq!(status, Status::new(Code::NotFound, "m"));
    }
}
