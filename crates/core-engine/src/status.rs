//! Errors of the engine as gRPC statuses, with the details that programs need.
//!
//! Source: code.proto, status.proto and error_details.proto of google.rpc.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message;
use protos::google::rpc::bad_request::FieldViolation;
use protos::google::rpc::{BadRequest, ErrorInfo, RetryInfo, Status as RpcStatus};
use tonic::{Code, Status};

use crate::error::EngineError;

const DOMAIN: &str = "core-engine";

/// The status that a client sees. Its message is the error's text.
pub(crate) fn status_of(error: &EngineError) -> Status {
    let details = match error {
        EngineError::InvalidField { field, problem } => vec![any(
            "BadRequest",
            &BadRequest {
                field_violations: vec![FieldViolation { field: field.clone(), description: problem.clone() }],
            },
        )],
        EngineError::UnknownSymbol { symbol, .. } => vec![reason("UNKNOWN_SYMBOL", "symbol", symbol)],
        EngineError::UnknownSource { source_id, .. } => vec![reason("UNKNOWN_SOURCE", "source_id", source_id)],
        EngineError::SourceDown { source_id, retry_after, .. } => {
            vec![reason("SOURCE_DOWN", "source_id", source_id), retry(*retry_after)]
        }
        EngineError::SourceThrottled { source_id, retry_after, .. } => {
            vec![reason("SOURCE_THROTTLED", "source_id", source_id), retry(*retry_after)]
        }
        EngineError::SourceDisconnected { source_id } => vec![reason("SOURCE_DISCONNECTED", "source_id", source_id)],
        EngineError::SourceReplaced { source_id } => {
            vec![reason("SOURCE_REPLACED", "source_id", source_id), retry(Duration::ZERO)]
        }
        EngineError::TooManySources { .. }
        | EngineError::TooManyStreams { .. }
        | EngineError::DeadlineExceeded
        | EngineError::ShuttingDown => Vec::new(),
    };
    with_details(code_of(error), error.to_string(), details)
}

fn code_of(error: &EngineError) -> Code {
    match error {
        EngineError::InvalidField { .. } => Code::InvalidArgument,
        EngineError::UnknownSymbol { .. } | EngineError::UnknownSource { .. } => Code::NotFound,
        EngineError::SourceDown { .. }
        | EngineError::SourceReplaced { .. }
        | EngineError::SourceDisconnected { .. }
        | EngineError::ShuttingDown => Code::Unavailable,
        EngineError::SourceThrottled { .. }
        | EngineError::TooManySources { .. }
        | EngineError::TooManyStreams { .. } => Code::ResourceExhausted,
        EngineError::DeadlineExceeded => Code::DeadlineExceeded,
    }
}

fn with_details(code: Code, message: String, details: Vec<prost_types::Any>) -> Status {
    if details.is_empty() {
        return Status::new(code, message);
    }
    let encoded = RpcStatus { code: code.into(), message: message.clone(), details }.encode_to_vec();
    Status::with_details(code, message, encoded.into())
}

fn reason(reason: &str, key: &str, value: &str) -> prost_types::Any {
    any(
        "ErrorInfo",
        &ErrorInfo {
            reason: reason.to_owned(),
            domain: DOMAIN.to_owned(),
            metadata: BTreeMap::from([(key.to_owned(), value.to_owned())]),
        },
    )
}

fn retry(after: Duration) -> prost_types::Any {
    any("RetryInfo", &RetryInfo { retry_delay: prost_types::Duration::try_from(after).ok() })
}

fn any(name: &str, message: &impl Message) -> prost_types::Any {
    prost_types::Any { type_url: format!("type.googleapis.com/google.rpc.{name}"), value: message.encode_to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: &EngineError, code: Code, message: &str, details: &[&str]) {
        let status = status_of(error);
        assert_eq!((status.code(), status.message()), (code, message));
        let names: Vec<String> = match status.details() {
            [] => Vec::new(),
            encoded => {
                let decoded = RpcStatus::decode(encoded).unwrap();
                assert_eq!((decoded.code, decoded.message.as_str()), (code as i32, message));
                decoded.details.into_iter().map(|any| any.type_url).collect()
            }
        };
        let expected: Vec<_> = details.iter().map(|name| format!("type.googleapis.com/google.rpc.{name}")).collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn each_error_has_its_code_message_and_details() {
        let id = || "x".to_owned();
        check(
            &EngineError::field("limit", "must be 1 to 500"),
            Code::InvalidArgument,
            "limit must be 1 to 500",
            &["BadRequest"],
        );
        check(
            &EngineError::UnknownSymbol { symbol: id(), source_id: None },
            Code::NotFound,
            "symbol x is unknown",
            &["ErrorInfo"],
        );
        check(
            &EngineError::UnknownSymbol { symbol: id(), source_id: Some("simulator".to_owned()) },
            Code::NotFound,
            "symbol x is unknown to source simulator",
            &["ErrorInfo"],
        );
        check(
            &EngineError::UnknownSource { source_id: id(), known: vec!["a".to_owned(), "b".to_owned()] },
            Code::NotFound,
            "source x is unknown; known are a, b",
            &["ErrorInfo"],
        );
        check(
            &EngineError::SourceDown {
                source_id: id(),
                reason: "gone".to_owned(),
                retry_after: Duration::from_secs(4),
            },
            Code::Unavailable,
            "source x is down: gone",
            &["ErrorInfo", "RetryInfo"],
        );
        check(
            &EngineError::SourceThrottled {
                source_id: id(),
                reason: "enough".to_owned(),
                retry_after: Duration::from_secs(4),
            },
            Code::ResourceExhausted,
            "source x is throttled: enough",
            &["ErrorInfo", "RetryInfo"],
        );
        check(
            &EngineError::SourceReplaced { source_id: id() },
            Code::Unavailable,
            "source x was connected again; open the stream again",
            &["ErrorInfo", "RetryInfo"],
        );
        check(
            &EngineError::TooManyStreams { max_open: 3 },
            Code::ResourceExhausted,
            "too many streams are open, the most is 3",
            &[],
        );
        check(&EngineError::DeadlineExceeded, Code::DeadlineExceeded, "the deadline is exceeded", &[]);
        check(&EngineError::ShuttingDown, Code::Unavailable, "the engine is shutting down", &[]);
    }

    #[test]
    fn details_say_which_field_and_how_long() {
        let status = status_of(&EngineError::SourceDown {
            source_id: "replay".to_owned(),
            reason: "gone".to_owned(),
            retry_after: Duration::from_millis(1_500),
        });
        let details = RpcStatus::decode(status.details()).unwrap().details;
        let info = ErrorInfo::decode(&*details[0].value).unwrap();
        assert_eq!((info.reason.as_str(), info.metadata["source_id"].as_str()), ("SOURCE_DOWN", "replay"));
        let delay = RetryInfo::decode(&*details[1].value).unwrap().retry_delay.unwrap();
        assert_eq!((delay.seconds, delay.nanos), (1, 500_000_000));
    }
}
