//! The four classes of service.

/// How urgent a piece of work is. `Urgent` is the greatest.
///
/// The order of service is strict between classes, up to the stated starvation bound of each
/// block: a class that keeps being passed over gets a turn of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Priority {
    /// Background work: the first to be refused and evicted.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Goes before `Normal`.
    High,
    /// Goes before everything; the only class that may fill a queue to its cap.
    Urgent,
}

impl Priority {
    /// Every class, lowest first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Normal, Self::High, Self::Urgent];

    /// The lower-case word for metric labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Urgent => "urgent",
        }
    }

    /// Place in an array by class, lowest first.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl std::fmt::Display for Priority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
