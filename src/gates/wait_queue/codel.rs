//! Controlled delay: what a lane does when its queue does not go away.
//!
//! A queue is good when it takes up a burst, and bad when it stands: then everybody waits and
//! nobody gets more. How long a waiter has stood tells them apart. From Nichols and Jacobson,
//! "Controlling Queue Delay" (ACM Queue 10(5), 2012) this takes the test: the queue stands when
//! its oldest waiter has been older than a *target* for a whole *interval*. From Maurer, "Fail at
//! Scale" (ACM Queue 13(8), 2015) it takes the cure, which suits requests better than packets:
//! the newest goes first while it stands (adaptive LIFO), for the old ones' callers have given up
//! or are about to; and whoever gets older than twice the target is dropped, rather than one now
//! and one then. It ends as soon as the oldest is younger than the target. As in CoDel, the last
//! one that waits is never dropped: a seat would stay empty for it.
//!
//! Both bounds grow with the *mean* service time, moved by an eighth with each sample, and not with
//! the median. The delay that work of this kind can't help is what it takes in all: waiters behind
//! a few long services stand for as long as those take, which a median does not see, so a median
//! would shed healthy lanes whose services differ much. The mean is never less than half the median
//! for services that are not negative, costs O(1), and is the figure that deadlines are judged by.

use std::time::Duration;

use crate::ground::time::Instant;
use crate::{ConfigError, Priority};

/// How long a queue may stand before a class sheds load: see [`Overload`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct CoDel {
    /// The age of the oldest waiter that is still good; more than 0. Where the mean service time is
    /// known (a pool's, moved by an eighth with each task that is timed), twice that if it is more.
    /// The mean and not the median, so that a lane behind a few long services is not shed for
    /// what those take. Default: 5 ms.
    pub target: Duration,
    /// How long the oldest waiter must have been older than that; more than 0. Where the mean
    /// service time is known, 20 times that if it is more. Default: 100 ms.
    pub interval: Duration,
}

impl Default for CoDel {
    fn default() -> Self {
        Self { target: Duration::from_millis(5), interval: Duration::from_millis(100) }
    }
}

impl CoDel {
    /// Sets [`target`](Self::target).
    #[must_use]
    pub const fn with_target(self, target: Duration) -> Self {
        Self { target, ..self }
    }

    /// Sets [`interval`](Self::interval).
    #[must_use]
    pub const fn with_interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// Not shorter than what the work itself takes asks for.
    fn at_least(self, mean: Duration) -> Self {
        Self {
            target: self.target.max(mean.saturating_mul(2)),
            interval: self.interval.max(mean.saturating_mul(20)),
        }
    }
}

/// Which classes shed load when their queue stands, by controlled delay and adaptive LIFO.
///
/// A waiter of such a class, and of a tenant whose oldest waiter has been older than the target
/// for an interval, is served last in, first out, and leaves as *evicted* when it gets older than
/// twice the target, but for the last one of a class. There, first in, first out and the starvation bound are suspended until the
/// oldest is younger than the target again. Other classes and tenants go on as ever. Ages are
/// looked at when a permit or seat is offered to the class, and in a pool also when somebody comes or
/// goes while a caller of `run`, something heavy or something with a deadline waits.
///
/// Source: Nichols and Jacobson, "Controlling Queue Delay" (ACM Queue, 2012); Maurer, "Fail at
/// Scale" (ACM Queue, 2015).
///
/// ```
/// use headworks::{CoDel, Overload, Priority};
///
/// let overload = Overload::default().with(Priority::Low, CoDel::default());
/// assert!(overload.low.is_some() && overload.urgent.is_none());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Overload {
    /// Default: `None`, never.
    pub low: Option<CoDel>,
    /// Default: `None`, never.
    pub normal: Option<CoDel>,
    /// Default: `None`, never.
    pub high: Option<CoDel>,
    /// Default: `None`, never.
    pub urgent: Option<CoDel>,
}

impl Overload {
    /// Sets it for one class.
    #[must_use]
    pub const fn with(mut self, class: Priority, codel: CoDel) -> Self {
        match class {
            Priority::Low => self.low = Some(codel),
            Priority::Normal => self.normal = Some(codel),
            Priority::High => self.high = Some(codel),
            Priority::Urgent => self.urgent = Some(codel),
        }
        self
    }

    /// Sets it for every class.
    #[must_use]
    pub const fn all(codel: CoDel) -> Self {
        let codel = Some(codel);
        Self { low: codel, normal: codel, high: codel, urgent: codel }
    }

    const fn by_class(&self) -> [Option<CoDel>; 4] {
        [self.low, self.normal, self.high, self.urgent]
    }

    pub(crate) fn check(&self, field: &'static str) -> Result<(), ConfigError> {
        let can_work = |codel: &CoDel| !codel.target.is_zero() && !codel.interval.is_zero();
        ConfigError::unless(
            self.by_class().iter().flatten().all(can_work),
            field,
            format_args!("{:?}", self.by_class()),
            "targets and intervals of more than 0",
        )
    }
}

/// The rules of the classes that have any, and when each waiter came.
#[derive(Debug)]
pub(super) struct Shedding {
    overload: Overload,
    /// As configured, or as the service times ask for.
    by_class: [Option<CoDel>; 4],
    /// By index. `None`: not in such a class, or not to be shed.
    since: Vec<Option<Instant>>,
    /// Shed since somebody was last granted.
    pub(super) in_a_row: u32,
}

impl Shedding {
    /// Most that are shed for one grant: so the lock of the owner is never held for long.
    pub(super) const AT_ONCE: u32 = 32;

    /// `None` if no class has any rules: most queues.
    pub(super) fn new(overload: Overload) -> Option<Box<Self>> {
        let by_class = overload.by_class();
        by_class
            .iter()
            .any(Option::is_some)
            .then(|| Box::new(Self { overload, by_class, since: Vec::new(), in_a_row: 0 }))
    }

    pub(super) fn set_mean_service(&mut self, mean: Duration) {
        self.by_class = self.overload.by_class().map(|codel| Some(codel?.at_least(mean)));
    }

    /// The rules of this class.
    pub(super) fn of(&self, class: Priority) -> Option<CoDel> {
        self.by_class[class.index()]
    }

    /// Somebody came into this place.
    pub(super) fn came(&mut self, index: u32, at: Option<Instant>) {
        let index = index as usize;
        if self.since.len() <= index {
            self.since.resize(index + 1, None);
        }
        self.since[index] = at;
    }

    /// How old the waiter in this place is, if that is known.
    pub(super) fn age(&self, index: u32, now: Instant) -> Option<Duration> {
        let since = *self.since.get(index as usize)?;
        since.map(|since| now.saturating_duration_since(since))
    }

    /// The queue is empty: the memory of a past flood goes back.
    pub(super) fn shrink(&mut self) {
        self.since = Vec::new();
    }
}

/// How one lane stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delay {
    /// When its oldest waiter was first seen older than the target, and was so ever since.
    above: Option<Instant>,
    /// The newest goes first, and the old are shed.
    stands: bool,
}

impl Delay {
    pub(super) fn newest_first(self) -> bool {
        self.stands
    }

    /// The oldest waiter is so old. Whether it is to be shed.
    pub(super) fn observe(&mut self, codel: CoDel, age: Duration, now: Instant) -> bool {
        if age <= codel.target {
            *self = Self::default();
            return false;
        }
        let above = *self.above.get_or_insert(now);
        self.stands |= now.saturating_duration_since(above) >= codel.interval;
        self.stands && age > codel.target.saturating_mul(2)
    }
}

#[cfg(all(test, not(headworks_loom)))]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn it_stands_after_an_interval_above_the_target_and_not_before() {
        let (codel, start) = (CoDel::default(), crate::ground::time::now());
        let mut delay = Delay::default();
        assert!(!delay.observe(codel, 6 * MS, start));
        assert!(!delay.observe(codel, 50 * MS, start + 99 * MS) && !delay.newest_first());
        assert!(!delay.observe(codel, 5 * MS, start + 99 * MS), "a good moment starts it anew");
        assert!(!delay.observe(codel, 50 * MS, start + 100 * MS));
        assert!(!delay.observe(codel, 50 * MS, start + 199 * MS) && !delay.newest_first());
        assert!(delay.observe(codel, 11 * MS, start + 200 * MS) && delay.newest_first());
        assert!(!delay.observe(codel, 10 * MS, start + 201 * MS) && delay.newest_first());
        assert!(!delay.observe(codel, 5 * MS, start + 202 * MS) && !delay.newest_first());
    }

    #[test]
    fn a_time_that_goes_back_changes_nothing() {
        let (codel, start) = (CoDel::default(), crate::ground::time::now());
        let mut delay = Delay::default();
        assert!(!delay.observe(codel, 6 * MS, start + 50 * MS));
        assert!(!delay.observe(codel, 6 * MS, start) && !delay.newest_first());
        assert!(delay.observe(codel, 200 * MS, start + 150 * MS));
    }

    #[test]
    fn slow_work_is_given_more_time() {
        let mut shedding = Shedding::new(Overload::default().with(Priority::Low, CoDel::default()));
        let shedding = shedding.as_mut().unwrap();
        shedding.set_mean_service(10 * MS);
        let codel = shedding.of(Priority::Low).unwrap();
        assert_eq!((codel.target, codel.interval), (20 * MS, 200 * MS));
        shedding.set_mean_service(MS);
        assert_eq!(shedding.of(Priority::Low), Some(CoDel::default()));
        assert_eq!(shedding.of(Priority::High), None);
        assert!(Shedding::new(Overload::default()).is_none());
    }

    #[test]
    fn impossible_times_are_named() {
        let nothing = CoDel::default().with_target(Duration::ZERO);
        let never = CoDel::default().with_interval(Duration::ZERO);
        for wrong in [Overload::all(nothing), Overload::default().with(Priority::High, never)] {
            let error = wrong.check("x.overload").unwrap_err().to_string();
            assert!(error.starts_with("x.overload is ["), "{error}");
        }
        assert_eq!(Overload::all(CoDel::default()).check("x.overload"), Ok(()));
    }
}
