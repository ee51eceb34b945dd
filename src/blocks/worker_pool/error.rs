//! Why a task gave no result.

use std::any::Any;
use std::fmt;
use std::sync::Mutex;

use crate::Ending;

/// Why a task that was accepted gave no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// It was cancelled: through its handle, by a shutdown while it ran, or because the last
    /// handle of the pool was dropped.
    #[error("the task was cancelled")]
    Cancelled,
    /// It gave its place in the full queue to something more important. It was never started.
    #[error("the task was evicted from a full queue")]
    Evicted,
    /// Its deadline passed while it waited. It was never started.
    #[error("the task's deadline passed while it waited")]
    Expired,
    /// It panicked; here is what with.
    #[error("the task panicked{}", match .0.message() { Some(said) => format!(": {said}"), None => String::new() })]
    Panicked(Panic),
    /// The pool shut down before it was started.
    #[error("the pool shut down before the task was started")]
    Returned,
    /// It ran longer than its timeout, or past its deadline, and was dropped.
    #[error("the task ran out of time")]
    TimedOut,
}

impl TaskError {
    /// The column of the ledger it was counted in.
    #[must_use]
    pub fn ending(&self) -> Ending {
        match self {
            Self::Cancelled => Ending::Cancelled,
            Self::Evicted => Ending::Evicted,
            Self::Expired => Ending::Expired,
            Self::Panicked(_) | Self::TimedOut => Ending::Failed,
            Self::Returned => Ending::Returned,
        }
    }

    /// What somebody who is told only the ending is told. Only for what never ran to its end.
    pub(super) fn unfinished(ending: Ending) -> Self {
        match ending {
            Ending::Evicted => Self::Evicted,
            Ending::Expired => Self::Expired,
            Ending::Returned => Self::Returned,
            Ending::Completed | Ending::Failed | Ending::Cancelled | Ending::Superseded => {
                Self::Cancelled
            }
        }
    }
}

/// What a task panicked with.
pub struct Panic(Box<Payload>);

struct Payload {
    message: Option<String>,
    // Never locked: it lets a payload that is only `Send` be part of an error that is `Sync`.
    thing: Mutex<Box<dyn Any + Send>>,
}

impl Panic {
    pub(super) fn new(payload: Box<dyn Any + Send>) -> Self {
        let message = payload
            .downcast_ref::<&'static str>()
            .map(|said| (*said).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned());
        Self(Box::new(Payload { message, thing: Mutex::new(payload) }))
    }

    /// What it said, when it panicked with a text, as `panic!` does.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.0.message.as_deref()
    }

    /// The payload itself, for [`std::panic::resume_unwind`].
    #[must_use]
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        self.0.thing.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Panic").field(&self.0.message).finish()
    }
}
