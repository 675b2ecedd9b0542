//! Faults as gRPC statuses, with the details that programs need.
//!
//! Source: code.proto, status.proto and error_details.proto of google.rpc.

use std::collections::BTreeMap;

use prost::Message;
use protos::google::rpc::bad_request::FieldViolation;
use protos::google::rpc::{BadRequest, ErrorInfo, Status as RpcStatus};
use tonic::{Code, Status};

use crate::fault::Fault;

const DOMAIN: &str = "demo-services";

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        let message = fault.to_string();
        let (code, detail) = match fault {
            Fault::Invalid(violations) => {
                let wrong = violations
                    .into_iter()
                    .map(|wrong| FieldViolation { field: wrong.field, description: wrong.problem });
                let detail = any("BadRequest", &BadRequest { field_violations: wrong.collect() });
                (Code::InvalidArgument, Some(detail))
            }
            Fault::Unauthenticated(_) => (Code::Unauthenticated, None),
            Fault::Forbidden { .. } => (Code::PermissionDenied, None),
            Fault::NotFound { .. } => (Code::NotFound, None),
            Fault::Exists { .. } => (Code::AlreadyExists, None),
            Fault::Conflict { reason, .. } | Fault::Refused { reason, .. } => {
                (Code::FailedPrecondition, Some(info(reason)))
            }
            Fault::Stale { .. } => (Code::Aborted, Some(info("stale_version"))),
            Fault::Full { .. } => (Code::ResourceExhausted, None),
            Fault::ShuttingDown | Fault::Storage => (Code::Unavailable, None),
            Fault::Internal => (Code::Internal, None),
        };
        let Some(detail) = detail else { return Status::new(code, message) };
        let encoded = RpcStatus { code: code.into(), message: message.clone(), details: vec![detail] }.encode_to_vec();
        Status::with_details(code, message, encoded.into())
    }
}

fn info(reason: &str) -> prost_types::Any {
    let info = ErrorInfo { reason: reason.to_uppercase(), domain: DOMAIN.to_owned(), metadata: BTreeMap::new() };
    any("ErrorInfo", &info)
}

fn any(name: &str, message: &impl Message) -> prost_types::Any {
    prost_types::Any { type_url: format!("type.googleapis.com/google.rpc.{name}"), value: message.encode_to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_its_code() {
        let id = || "x".to_owned();
        for (fault, code) in [
            (Fault::field("a", "b"), Code::InvalidArgument),
            (Fault::Unauthenticated("no"), Code::Unauthenticated),
            (Fault::Forbidden { what: "order", id: id() }, Code::PermissionDenied),
            (Fault::NotFound { what: "order", id: id() }, Code::NotFound),
            (Fault::Exists { what: "order", id: id() }, Code::AlreadyExists),
            (Fault::conflict("order_closed", "no"), Code::FailedPrecondition),
            (Fault::refused("risk_limit", "no"), Code::FailedPrecondition),
            (Fault::Stale { what: "order", version: 2 }, Code::Aborted),
            (Fault::Full { what: "orders", most: 1 }, Code::ResourceExhausted),
            (Fault::ShuttingDown, Code::Unavailable),
            (Fault::Storage, Code::Unavailable),
            (Fault::Internal, Code::Internal),
        ] {
            assert_eq!(Status::from(fault).code(), code);
        }
    }

    #[test]
    fn details_name_the_field_or_the_reason() {
        let detail = |fault: Fault| RpcStatus::decode(Status::from(fault).details()).unwrap().details.remove(0);
        let wrong = BadRequest::decode(&*detail(Fault::field("a", "b")).value).unwrap().field_violations.remove(0);
        assert_eq!((wrong.field.as_str(), wrong.description.as_str()), ("a", "b"));
        let info = ErrorInfo::decode(&*detail(Fault::refused("risk_limit", "no")).value).unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("RISK_LIMIT", "demo-services"));
    }
}
