//! What lies under a key.

use std::time::Duration;

use super::core::{Age, Rules, Times};
use super::error::LoadError;
use crate::ground::primitives::atomic::{AtomicU64, Ordering};
use crate::ground::time::{Instant, Now};

/// A value, or the error that is told instead. Shared by `Arc` with whoever looks, so that nothing
/// of the user's is cloned or dropped under a lock of the table's.
#[derive(Debug)]
pub(super) struct Entry<V> {
    content: Result<V, LoadError>,
    times: Times,
    pub(super) weight: u64,
    /// When somebody last looked, in an instant's nanoseconds; kept where idling matters.
    touched: AtomicU64,
    /// Not renewed again before.
    pause_until: AtomicU64,
}

impl<V> Entry<V> {
    pub(super) fn new(
        content: Result<V, LoadError>,
        times: Times,
        weight: u64,
        now: Instant,
    ) -> Self {
        // What weighs nothing could never be evicted.
        let weight = weight.max(1);
        let (touched, pause_until) = (AtomicU64::new(now.nanos()), AtomicU64::new(0));
        Self { content, times, weight, touched, pause_until }
    }

    pub(super) fn is_error(&self) -> bool {
        self.content.is_err()
    }

    pub(super) fn value(&self) -> Option<&V> {
        self.content.as_ref().ok()
    }

    pub(super) fn get(&self) -> Result<V, LoadError>
    where
        V: Clone,
    {
        self.content.clone()
    }

    /// Looks at it.
    #[inline]
    pub(super) fn look(&self, rules: &Rules, now: impl Now) -> Age {
        if rules.is_timeless(&self.times) {
            return Age::Fresh;
        }
        let age = self.age(rules, now.get());
        if let Some(idle) = rules.idle.filter(|_| age != Age::Gone) {
            self.touch(idle, now.get());
        }
        age
    }

    pub(super) fn age(&self, rules: &Rules, now: Instant) -> Age {
        // Relaxed, here and below: an instant alone, which nothing else is read by.
        let touched = Instant::of(self.touched.load(Ordering::Relaxed));
        rules.age(&self.times, touched, now)
    }

    /// At most sixteen times in an idle time, so that a key that all threads look at stays in all
    /// caches.
    fn touch(&self, idle: Duration, now: Instant) {
        let touched = Instant::of(self.touched.load(Ordering::Relaxed));
        if now.saturating_duration_since(touched) > idle / 16 {
            self.touched.store(now.nanos(), Ordering::Relaxed);
        }
    }

    /// Whether it may be renewed; the next time not before `pause` is over.
    pub(super) fn may_renew(&self, pause: Duration, now: Instant) -> bool {
        let until = Instant::of(self.pause_until.load(Ordering::Relaxed));
        let may = until <= now;
        if may {
            let next = now.checked_add(pause).map_or(u64::MAX, Instant::nanos);
            self.pause_until.store(next, Ordering::Relaxed);
        }
        may
    }
}
