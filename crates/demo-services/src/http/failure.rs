//! Faults as HTTP: `{"error": {"code", "message", "fields": [{"field", "problem"}]}}`.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::answer::json_answer;
use crate::fault::{Fault, Violation};

/// An answer that is not what was asked for.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    /// One word for programs.
    code: &'static str,
    message: String,
    fields: Vec<Violation>,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), fields: Vec::new() }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let message = fault.to_string();
        let (status, code) = match fault {
            Fault::Invalid(fields) => {
                return Self { status: StatusCode::BAD_REQUEST, code: "validation_failed", message, fields };
            }
            Fault::Unauthenticated(_) => (StatusCode::UNAUTHORIZED, "unauthenticated"),
            Fault::Forbidden { .. } => (StatusCode::FORBIDDEN, "forbidden"),
            Fault::NotFound { .. } => (StatusCode::NOT_FOUND, "not_found"),
            Fault::Exists { .. } => (StatusCode::CONFLICT, "already_exists"),
            Fault::Conflict { reason, .. } => (StatusCode::CONFLICT, reason),
            Fault::Refused { reason, .. } => (StatusCode::UNPROCESSABLE_ENTITY, reason),
            Fault::Stale { .. } => (StatusCode::PRECONDITION_FAILED, "stale_version"),
            Fault::Full { .. } => (StatusCode::SERVICE_UNAVAILABLE, "capacity_reached"),
            Fault::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "shutting_down"),
            Fault::Storage => (StatusCode::SERVICE_UNAVAILABLE, "storage_failed"),
            Fault::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self { status, code, message, fields: Vec::new() }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut error = json!({ "code": self.code, "message": self.message });
        if !self.fields.is_empty() {
            let fields = self.fields.iter().map(|wrong| json!({ "field": wrong.field, "problem": wrong.problem }));
            error["fields"] = fields.collect();
        }
        json_answer(self.status, &json!({ "error": error }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_its_status_and_code() {
        let id = || "x".to_owned();
        for (fault, status, code) in [
            (Fault::field("a", "b"), 400, "validation_failed"),
            (Fault::Unauthenticated("no"), 401, "unauthenticated"),
            (Fault::Forbidden { what: "order", id: id() }, 403, "forbidden"),
            (Fault::NotFound { what: "order", id: id() }, 404, "not_found"),
            (Fault::Exists { what: "order", id: id() }, 409, "already_exists"),
            (Fault::conflict("order_closed", "no"), 409, "order_closed"),
            (Fault::Stale { what: "order", version: 2 }, 412, "stale_version"),
            (Fault::refused("risk_limit", "no"), 422, "risk_limit"),
            (Fault::Full { what: "orders", most: 1 }, 503, "capacity_reached"),
            (Fault::ShuttingDown, 503, "shutting_down"),
            (Fault::Storage, 503, "storage_failed"),
            (Fault::Internal, 500, "internal"),
        ] {
            let failure = Failure::from(fault);
            assert_eq!((failure.status.as_u16(), failure.code), (status, code));
        }
    }
}
