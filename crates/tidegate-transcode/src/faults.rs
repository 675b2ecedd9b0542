//! Collects what is wrong with path and query, so that one answer can name several fields.

use std::borrow::Cow;

use crate::error::{Fault, MAX_VIOLATIONS, RequestError, Stage, Violation, cut};

/// The faults found so far. The first one decides the error.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    error: Option<RequestError>,
}

impl Faults {
    /// Notes a fault of one field or key.
    #[cold]
    pub(crate) fn add(&mut self, stage: Stage, fault: Fault, field: &str, message: impl Into<Cow<'static, str>>) {
        let error = self.error.get_or_insert_with(|| RequestError::new(stage, fault));
        if error.violations.len() < MAX_VIOLATIONS {
            error.violations.push(Violation::new(cut(field), message));
        }
    }

    /// Notes a fault that concerns no single field.
    #[cold]
    pub(crate) fn add_plain(&mut self, stage: Stage, fault: Fault) {
        self.error.get_or_insert_with(|| RequestError::new(stage, fault));
    }

    /// Whether nothing more would be noted.
    pub(crate) fn is_full(&self) -> bool {
        self.error.as_ref().is_some_and(|error| error.violations.len() >= MAX_VIOLATIONS)
    }

    /// The error, if there was a fault.
    pub(crate) fn into_result(self) -> Result<(), RequestError> {
        self.error.map_or(Ok(()), Err)
    }
}
