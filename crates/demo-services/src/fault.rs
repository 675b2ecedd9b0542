//! What can go wrong with a request. How it looks is decided in `http/failure.rs` and `rpc/status.rs`.

/// A request that could not be done. It has changed nothing, unless it says otherwise.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// Fields of the request are at fault; never empty.
    #[error("{}", list(.0))]
    Invalid(Vec<Violation>),
    /// Nobody, or nobody whom we know.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// Somebody else's.
    #[error("{what} {id} belongs to somebody else")]
    Forbidden { what: &'static str, id: String },
    /// Nothing of that name.
    #[error("{what} {id} does not exist")]
    NotFound { what: &'static str, id: String },
    /// A name that must be used once, and was.
    #[error("{what} {id} exists already")]
    Exists { what: &'static str, id: String },
    /// The present state forbids it.
    #[error("{message}")]
    Conflict { reason: &'static str, message: String },
    /// Well-formed, allowed by the state, and still refused: by a limit, or because it cannot succeed.
    #[error("{message}")]
    Refused { reason: &'static str, message: String },
    /// The caller has seen another version.
    #[error("{what} has version {version} now")]
    Stale { what: &'static str, version: u64 },
    /// A bound is reached.
    #[error("there are too many {what}, the most is {most}")]
    Full { what: &'static str, most: usize },
    /// The process ends.
    #[error("the service is shutting down")]
    ShuttingDown,
    /// What was done could not be stored. It may or may not be there after a restart.
    #[error("the store has failed")]
    Storage,
    /// A fault of ours.
    #[error("internal error")]
    Internal,
}

/// What is wrong with one field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Violation {
    /// Dotted path.
    pub(crate) field: String,
    /// What must hold, to be read behind the name of the field.
    pub(crate) problem: String,
}

impl Fault {
    /// A fault of one field.
    pub(crate) fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation { field: field.into(), problem: problem.into() }])
    }

    pub(crate) fn not_found(what: &'static str, id: impl Into<String>) -> Self {
        Self::NotFound { what, id: id.into() }
    }

    pub(crate) fn exists(what: &'static str, id: impl Into<String>) -> Self {
        Self::Exists { what, id: id.into() }
    }

    pub(crate) fn forbidden(what: &'static str, id: impl Into<String>) -> Self {
        Self::Forbidden { what, id: id.into() }
    }

    pub(crate) fn conflict(reason: &'static str, message: impl Into<String>) -> Self {
        Self::Conflict { reason, message: message.into() }
    }

    pub(crate) fn refused(reason: &'static str, message: impl Into<String>) -> Self {
        Self::Refused { reason, message: message.into() }
    }
}

/// # Errors
/// `Stale` if the caller has `seen` another version than the present one.
pub(crate) fn require_version(what: &'static str, seen: Option<u64>, version: u64) -> Result<(), Fault> {
    match seen {
        Some(seen) if seen != version => Err(Fault::Stale { what, version }),
        _ => Ok(()),
    }
}

fn list(violations: &[Violation]) -> String {
    let each: Vec<String> = violations.iter().map(|v| format!("{} {}", v.field, v.problem)).collect();
    each.join("; ")
}
