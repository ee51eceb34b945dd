//! How fast the queue drains, so that who is refused can be told when to come back. Pure.
//!
//! Measured only while somebody waits: what an idle pool starts tells how much comes, not how much
//! it could do. The clock is looked at once for 32 starts; a refusal looks at it too, so that a
//! pool that has come to a standstill does not live on its past: not every one, but the first, the
//! second, the fourth, the eighth and so on, and every 64th.

use crate::ground::time::{Instant, Now};

/// So many starts make a window: then a look at the clock costs each less than a nanosecond.
const WINDOW: u32 = 32;
/// A full window moves the mean by a quarter, so that about 128 starts are remembered.
const WEIGHT: f64 = 0.25;
/// At least one in so many refusals looks at the clock.
const ASKED: u32 = 64;

/// The mean time between two starts from a queue in which somebody waits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Drain {
    mean_ns: Option<f64>,
    /// When the window was opened.
    since: Option<Instant>,
    /// Starts in a row since then; since the queue was last empty, while there is no window.
    starts: u32,
    /// Refusals since then.
    asked: u32,
    /// The mean, or more if the open window says so at the last look. 0 when nothing is known.
    gap_ns: u64,
}

impl Drain {
    /// One has left the queue for a seat.
    #[inline]
    pub(super) fn started(&mut self, is_empty: bool, now: impl Now) {
        self.starts += 1;
        if is_empty {
            self.pause(now);
        } else if self.starts >= WINDOW {
            let now = now.get();
            self.close(now);
            self.since = Some(now);
        }
    }

    /// Nobody waits any more: what comes after is no drain.
    #[inline]
    fn pause(&mut self, now: impl Now) {
        if self.since.is_some() {
            self.close(now.get());
        }
        self.starts = 0;
    }

    /// Nobody waits any more, and it was no seat that the last one left for.
    pub(super) fn forget(&mut self) {
        (self.since, self.starts) = (None, 0);
    }

    #[cold]
    fn close(&mut self, now: Instant) {
        if let Some(since) = self.since.take() {
            let ns = nanos(since, now) / f64::from(self.starts);
            let weight = WEIGHT * f64::from(self.starts) / f64::from(WINDOW);
            let mean = self.mean_ns.map_or(ns, |mean| mean + (ns - mean) * weight);
            (self.mean_ns, self.gap_ns) = (Some(mean), mean as u64);
        }
        (self.starts, self.asked) = (0, 0);
    }

    /// The nanoseconds between two starts, for somebody who is refused. `guess` stands in until a
    /// window has been closed; 0: nothing was ever measured.
    #[inline]
    pub(super) fn gap_ns(&mut self, guess: impl FnOnce() -> u64, now: impl Now) -> u64 {
        let asked = self.asked;
        self.asked = asked.wrapping_add(1);
        // A power of two, or zero.
        if asked.is_multiple_of(ASKED) || asked & asked.wrapping_sub(1) == 0 {
            self.look(now.get());
        }
        match self.mean_ns {
            Some(_) => self.gap_ns.max(1),
            None => self.gap_ns.max(guess()),
        }
    }

    /// So many starts the one just refused is to leave to others, at most `most`: spread evenly over as
    /// many as were refused since the last window, so that they don't all come back at once. By Weyl's
    /// sequence (the multiples of the golden ratio, without their whole part).
    #[inline]
    pub(super) fn spread(&self, most: usize) -> u64 {
        const GOLDEN: u32 = 0x9e37_79b9;
        let among = u64::from(self.asked.min(u32::try_from(most).unwrap_or(u32::MAX)));
        (u64::from(self.asked.wrapping_mul(GOLDEN)) * among) >> u32::BITS
    }

    #[cold]
    fn look(&mut self, now: Instant) {
        match self.since {
            // Nothing has ever started meanwhile: how long that takes nobody knows.
            Some(_) if self.starts == 0 && self.mean_ns.is_none() => {}
            // The next start is still to come: it can't be sooner than now.
            Some(since) => {
                let so_far = nanos(since, now) / f64::from(self.starts + 1);
                self.gap_ns = so_far.max(self.mean_ns.unwrap_or(0.0)) as u64;
            }
            None => (self.since, self.starts) = (Some(now), 0),
        }
    }
}

fn nanos(since: Instant, now: Instant) -> f64 {
    now.nanos_since(since) as f64
}

#[cfg(all(test, not(headworks_loom)))]
mod tests {
    use std::time::Duration;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    impl Drain {
        fn gap(&mut self, guess: Option<Duration>, now: impl Now) -> Option<Duration> {
            let guess = || guess.map_or(0, |guess| guess.as_nanos() as u64);
            Some(self.gap_ns(guess, now)).filter(|&ns| ns > 0).map(Duration::from_nanos)
        }
    }

    fn start() -> Instant {
        crate::ground::time::now()
    }

    /// Starts, one each `gap` from `from` on, with others waiting; when the last one was.
    fn drained(drain: &mut Drain, from: Instant, gap: Duration, starts: u32) -> Instant {
        for n in 1..=starts {
            drain.started(false, from + gap * n);
        }
        from + gap * starts
    }

    #[test]
    fn nothing_measured_says_nothing() {
        let mut drain = Drain::default();
        assert_eq!(drain.gap(None, start()), None);
        assert_eq!(drain.gap(Some(MS), start()), Some(MS));
    }

    #[test]
    fn the_gap_is_that_between_starts_while_others_wait() {
        let mut drain = Drain::default();
        drained(&mut drain, start(), MS, 2 * WINDOW);
        assert_eq!(drain.gap(Some(9 * MS), start()), Some(MS));
    }

    #[test]
    fn starts_of_an_idle_pool_say_nothing() {
        let (mut drain, mut now) = (Drain::default(), start());
        for _ in 0..1_000 {
            now += MS;
            drain.started(true, now);
        }
        assert_eq!(drain.gap(None, now), None);
        assert_eq!(drain.gap(None, now), None, "the same instant: no time has passed");
    }

    #[test]
    fn a_faster_pool_is_believed_within_a_few_windows() {
        let mut drain = Drain::default();
        let now = drained(&mut drain, start(), 100 * MS, 2 * WINDOW);
        let now = drained(&mut drain, now, MS, 16 * WINDOW);
        let gap = drain.gap(None, now).unwrap();
        assert!(gap < 3 * MS, "{gap:?}");
    }

    #[test]
    fn a_standstill_is_seen_by_who_is_refused() {
        let mut drain = Drain::default();
        let now = drained(&mut drain, start(), MS, 2 * WINDOW);
        let gaps = (0..65).map(|n| drain.gap(None, now + MS * 100 * n).unwrap());
        let gaps: Vec<_> = gaps.collect();
        assert_eq!(gaps[0], MS);
        assert!(gaps.is_sorted());
        assert!(gaps[64] >= 100 * MS * 60, "{:?}", gaps[64]);
    }

    #[test]
    fn few_starts_between_refusals_count_as_well() {
        let (mut drain, now) = (Drain::default(), start());
        assert_eq!(drain.gap(None, now), None, "this look opens the window");
        drained(&mut drain, now, 10 * MS, 4);
        drain.started(true, now + 50 * MS);
        assert_eq!(drain.gap(None, now + 50 * MS), Some(10 * MS));
    }

    #[test]
    fn before_anything_has_started_nothing_is_known() {
        let (mut drain, now) = (Drain::default(), start());
        assert_eq!(drain.gap(None, now), None, "this look opens the window");
        assert_eq!(drain.gap(None, now + MS), None, "a start takes longer, but how long?");
        drain.started(false, now + 2 * MS);
        assert_eq!((2..4).map(|_| drain.gap(None, now + 4 * MS)).last(), Some(Some(2 * MS)));
    }

    #[test]
    fn who_is_refused_with_others_leaves_places_to_them() {
        let mut drain = Drain::default();
        let mut left = std::collections::BTreeSet::new();
        for refused in 1..=64 {
            drain.gap(Some(MS), start());
            left.insert(drain.spread(1_000));
            assert!(drain.spread(1_000) < refused);
            assert!(drain.spread(10) < 10, "there are no more places");
        }
        assert!(left.len() > 24, "{left:?}");
        drained(&mut drain, start(), MS, WINDOW);
        assert_eq!(drain.spread(1_000), 0, "they have had their turn");
    }

    #[test]
    fn a_refusal_looks_at_the_clock_but_seldom() {
        #[derive(Clone, Copy)]
        struct Counting<'a>(&'a std::cell::Cell<u32>, Instant);
        impl Now for Counting<'_> {
            fn get(self) -> Instant {
                self.0.set(self.0.get() + 1);
                self.1
            }
        }
        let (mut drain, looks) = (Drain::default(), std::cell::Cell::new(0));
        for _ in 0..6_400 {
            drain.gap(Some(MS), Counting(&looks, start()));
        }
        assert!(looks.get() <= 115, "{}", looks.get());
    }

    #[test]
    fn an_older_now_does_no_harm() {
        let (mut drain, now) = (Drain::default(), start() + 100 * MS);
        drained(&mut drain, now, MS, WINDOW);
        drained(&mut drain, now - 50 * MS, Duration::ZERO, WINDOW);
        assert_eq!(
            drain.gap(None, now - 100 * MS),
            Some(Duration::from_nanos(1)),
            "at the same instant, as far as is known"
        );
    }
}
