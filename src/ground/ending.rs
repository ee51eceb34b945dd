//! Why accepted work ended, and the ledger that accounts for all of it.

/// Why one accepted task or ticket ended: one word list for outcome, drain report and metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ending {
    /// It ran and gave its result.
    Completed,
    /// It ran and failed: an error, a panic, or a timeout while running.
    Failed,
    /// It was cancelled, waiting or running, by its owner or by a shutdown.
    Cancelled,
    /// Its deadline passed while it waited; it was not started again.
    Expired,
    /// It gave its place in a full queue to something more important.
    Evicted,
    /// A newer intent of the same key took its place.
    Superseded,
    /// A shutdown gave it back unstarted.
    Returned,
}

impl Ending {
    /// Every ending, in the order of the ledger.
    pub const ALL: [Self; 7] = [
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::Expired,
        Self::Evicted,
        Self::Superseded,
        Self::Returned,
    ];

    /// The lower-case word for metric labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Evicted => "evicted",
            Self::Superseded => "superseded",
            Self::Returned => "returned",
        }
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where everything that was accepted has gone. Counts since the block was made.
///
/// `accepted` equals the sum of all the rest, always: see [`is_exact`](Self::is_exact). `live`
/// is counted independently (waiting, parked and running work), so the check can fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ledger {
    /// Taken on.
    pub accepted: u64,
    /// Ended [`Ending::Completed`].
    pub completed: u64,
    /// Ended [`Ending::Failed`].
    pub failed: u64,
    /// Ended [`Ending::Cancelled`].
    pub cancelled: u64,
    /// Ended [`Ending::Expired`].
    pub expired: u64,
    /// Ended [`Ending::Evicted`].
    pub evicted: u64,
    /// Ended [`Ending::Superseded`].
    pub superseded: u64,
    /// Ended [`Ending::Returned`].
    pub returned: u64,
    /// Not ended yet.
    pub live: u64,
}

impl Ledger {
    /// How many ended so.
    #[must_use]
    pub const fn count(&self, ending: Ending) -> u64 {
        match ending {
            Ending::Completed => self.completed,
            Ending::Failed => self.failed,
            Ending::Cancelled => self.cancelled,
            Ending::Expired => self.expired,
            Ending::Evicted => self.evicted,
            Ending::Superseded => self.superseded,
            Ending::Returned => self.returned,
        }
    }

    /// How many ended, however.
    #[must_use]
    pub fn ended(&self) -> u64 {
        Ending::ALL.iter().map(|&ending| self.count(ending)).sum()
    }

    /// Whether everything accepted is accounted for.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.accepted == self.ended() + self.live
    }

    /// Writes `n` endings down.
    pub(crate) fn record(&mut self, ending: Ending, n: u64) {
        *match ending {
            Ending::Completed => &mut self.completed,
            Ending::Failed => &mut self.failed,
            Ending::Cancelled => &mut self.cancelled,
            Ending::Expired => &mut self.expired,
            Ending::Evicted => &mut self.evicted,
            Ending::Superseded => &mut self.superseded,
            Ending::Returned => &mut self.returned,
        } += n;
    }

    /// The same ledger beside an independent count of what is live.
    pub(crate) fn with_live(self, live: usize) -> Self {
        Self { live: live as u64, ..self }
    }
}

impl std::fmt::Display for Ledger {
    /// `accepted 5 = completed 4 + failed 1 + … + live 0`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "accepted {} =", self.accepted)?;
        for ending in Ending::ALL {
            write!(f, " {ending} {} +", self.count(ending))?;
        }
        write!(f, " live {}", self.live)
    }
}
