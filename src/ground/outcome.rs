//! How one call went, as breaker and retry see it.

/// How one call to a backend went. Circuit breaker and retry share this classification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The backend answered.
    Success,
    /// The backend failed.
    Failure,
    /// It says nothing about the backend: the caller's own mistake, a refusal, a cancellation.
    Ignored,
}
