//! What an attempt came to, as far as these algorithms care.

/// Whether an attempt speaks for or against the service and its endpoint.
///
/// Which statuses and errors are failures is the caller's decision. What says nothing about the backend (the client
/// went away, the gateway refused) is not recorded at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The backend did its work, even if its answer was that the client is wrong.
    Success,
    /// No answer, a broken one, or one that says the backend is in trouble.
    Failure,
}
