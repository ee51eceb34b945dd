//! What every breaker is asked to do.

/// What a row's breakers watch, and how their calls go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// Closed, by failures in a row or a count of calls: nothing that needs the time.
    Untimed,
    /// Closed, by the last hundred calls.
    Counted,
    /// Closed, by the calls of the last ten seconds.
    Timed,
    /// Open, and for long.
    Open,
    /// The same, asked at a time that the caller knows already, by who can be asked so.
    OpenPassed,
}

impl Case {
    pub fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::OpenPassed)
    }
}

/// A breaker around a call that does nothing and succeeds.
pub trait Breaker: Send + Sync {
    const NAME: &'static str;

    fn new(case: Case) -> Self;

    /// So many calls, one after the other. How many were made.
    fn calls(&self, calls: usize) -> usize;
}
