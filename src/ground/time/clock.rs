//! Reading the clock.
//!
//! A look at std's clock costs as much as two locks. Where the kernel itself keeps time by the
//! processor's counter, reading that counter costs a third; so each thread looks at std's clock once
//! a millisecond and counts ticks in between.
//!
//! 1. What a thread reads lies within 2 µs of std's clock, unless that is being slewed: an anchor holds for a millisecond, its
//!    rate is measured between two looks at least that far apart, and a look that was disturbed
//!    (more than [`SHARP`] ticks long) sets no anchor. Nothing is calibrated in advance, nothing
//!    drifts, and a counter that jumps (another host, a sleep) is left at the next look.
//! 2. It is never earlier than what the same thread read before: an anchor begins behind the clock,
//!    by what a look takes after it has been read, and goes slower by more than its rate can be
//!    wrong ([`SLOWER`]).
//! 3. Threads share two words: whether the counter is to be trusted, and the last rate, which is
//!    where a new thread begins.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::Instant as StdInstant;

use super::instant::Instant;
use crate::ground::primitives::StaticU64;
use crate::ground::primitives::atomic::Ordering;

/// What the first instant that the process saw is called; so earlier ones have a name too.
pub(super) const FIRST: u64 = 1 << 62;

/// The first instant that the process saw.
pub(super) fn first() -> StdInstant {
    static FIRST: OnceLock<StdInstant> = OnceLock::new();
    *FIRST.get_or_init(std_now)
}

/// The one place that asks std, or tokio.
#[allow(clippy::disallowed_methods, reason = "the one place that reads the clock")]
fn std_now() -> StdInstant {
    #[cfg(not(feature = "test-util"))]
    return StdInstant::now();
    #[cfg(feature = "test-util")]
    return tokio::time::Instant::now().into_std();
}

/// The time of day, since 1970: for what outlives the process. Nothing is measured by it.
///
/// Under `test-util` it goes on from the first look as tokio's clock does.
#[cfg(feature = "json")]
pub(crate) fn wall() -> std::time::Duration {
    use std::time::SystemTime;
    let read = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    if cfg!(feature = "test-util") {
        static FIRST: OnceLock<(std::time::Duration, Instant)> = OnceLock::new();
        let now = now();
        let (wall, first) = FIRST.get_or_init(|| (read(), now));
        // Runtimes that are paused disagree about the time: it may have been later elsewhere.
        let ahead = now.saturating_duration_since(*first);
        return (*wall + ahead).saturating_sub(first.saturating_duration_since(now));
    }
    read()
}

/// Now.
#[inline]
pub(crate) fn now() -> Instant {
    if cfg!(feature = "test-util") {
        return std_now().into();
    }
    match ANCHOR.get().read(counter::ticks) {
        Some(name) => Instant::of(name),
        None => look(),
    }
}

/// So long an anchor holds, and two looks that tell a rate are at least so far apart. Nanoseconds.
const SPAN: u64 = 1_000_000;

/// A look at std's clock that took more ticks was disturbed. An undisturbed one takes some 100. Of
/// this many, two looks a millisecond apart know the rate to 1 in 3,000, at three ticks a
/// nanosecond.
const SHARP: u64 = 1_000;

/// An anchor goes slower than the clock by 1 in 2¹¹.
const SLOWER: u32 = 11;

/// A clock that was slewed lags behind an anchor by less: 83 µs in a millisecond, by the fastest
/// slew that is usual. One that lags by more has stayed, and the counter has jumped. Nanoseconds.
const NOISE: u64 = 100_000;

/// A rate is not measured over longer: the machine may have slept. Nanoseconds.
const LONG: u64 = 1_000_000_000;

/// How many ticks the counter had at one instant, and how fast it goes.
/// (On one cache line: half of it on the next would cost a look a third more.)
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
struct Anchor {
    ticks: u64,
    /// The instant's name.
    name: u64,
    /// Of a nanosecond per tick, times 2³². 0: not known.
    rate: u64,
    /// So many ticks it holds.
    span: u64,
}

/// The rate that some thread measured last; 0: none yet.
static RATE: StaticU64 = StaticU64::new(0);

thread_local! {
    static ANCHOR: Cell<Anchor> = const { Cell::new(Anchor::NONE) };
}

impl Anchor {
    const NONE: Self = Self { ticks: 0, name: 0, rate: 0, span: 0 };

    /// The name of now; `None` when std's clock must be asked.
    #[inline]
    fn read(self, ticks: impl FnOnce() -> u64) -> Option<u64> {
        if self.span == 0 {
            return None;
        }
        let since = ticks().wrapping_sub(self.ticks);
        // Below two milliseconds: no overflow.
        (since < self.span).then(|| self.name + ((since * self.rate) >> 32))
    }

    /// The anchor after a look at std's clock, which said `name` between two readings of the
    /// counter; and what was read.
    fn renewed(self, before: u64, name: u64, after: u64) -> (Self, u64) {
        // The last that this anchor may have told; but not if its counter has jumped.
        let told = self.name + ((self.span * self.rate) >> 32);
        let (length, since) = (after.wrapping_sub(before), name.saturating_sub(self.name));
        let name = if told.saturating_sub(name) < NOISE { name.max(told) } else { name };
        let is_first = self.ticks == 0;
        if length > SHARP || (!is_first && since < SPAN) {
            return (self, name);
        }
        let is_measured = !is_first && since <= LONG;
        let rate =
            if is_measured { rate(since, after.wrapping_sub(self.ticks)) } else { self.rate };
        // The first rate, or another than the last: the next look tells whether it is right.
        let is_steady = rate.abs_diff(self.rate) <= self.rate / 500;
        let span = if rate > 0 && is_steady { (SPAN << 32) / rate } else { 0 };
        (Self { ticks: after, name, rate, span }, name)
    }
}

/// Of a counter that does between 0.1 and 20 ticks a nanosecond, somewhat slower; else 0.
fn rate(nanos: u64, ticks: u64) -> u64 {
    let rate = (u128::from(nanos) << 32) / u128::from(ticks.max(1));
    let likely = (1 << 32) / 20..=10 << 32;
    if likely.contains(&rate) { (rate - (rate >> SLOWER)) as u64 } else { 0 }
}

/// Asks std.
#[cold]
fn look() -> Instant {
    let last = ANCHOR.get();
    let std = || Instant::from(std_now()).nanos();
    if !counter::is_trusted() {
        return Instant::of(std());
    }
    // Relaxed: a number by itself.
    let last =
        if last.ticks == 0 { Anchor { rate: RATE.load(Ordering::Relaxed), ..last } } else { last };
    let (before, name, after) = (counter::ticks(), std(), counter::ticks());
    let (anchor, name) = last.renewed(before, name, after);
    ANCHOR.set(anchor);
    if anchor.span > 0 {
        RATE.store(anchor.rate, Ordering::Relaxed);
    }
    Instant::of(name)
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod counter {
    use std::sync::OnceLock;

    /// The processor's time-stamp counter.
    #[inline]
    pub(super) fn ticks() -> u64 {
        // SAFETY: it reads a register that every x86-64 has.
        #[allow(unsafe_code, reason = "there is no safe way to read it")]
        unsafe {
            core::arch::x86_64::_rdtsc()
        }
    }

    /// Whether the kernel keeps time by it: then it goes at one rate and is the same on all cores,
    /// which the kernel goes on watching.
    pub(super) fn is_trusted() -> bool {
        const CURRENT: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        static IS_TRUSTED: OnceLock<bool> = OnceLock::new();
        *IS_TRUSTED.get_or_init(|| {
            std::fs::read_to_string(CURRENT).is_ok_and(|source| source.trim() == "tsc")
        })
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod counter {
    pub(super) fn ticks() -> u64 {
        0
    }

    pub(super) fn is_trusted() -> bool {
        false
    }
}

#[cfg(all(test, not(headworks_loom)))]
mod tests {
    use super::*;
    use crate::ground::rng::Rng;

    /// A clock of std's and a counter of three ticks a nanosecond, as a thread meets them.
    struct World {
        nanos: u64,
        /// What the counter is ahead of its course.
        jump: u64,
        anchor: Anchor,
        looks: u32,
    }

    impl World {
        fn new() -> Self {
            Self { nanos: FIRST, jump: 1 << 50, anchor: Anchor::NONE, looks: 0 }
        }

        fn ticks(&self) -> u64 {
            (self.nanos - FIRST).wrapping_mul(3).wrapping_add(self.jump)
        }

        /// What a read says, so long after the last one; `width`: ticks that a look takes.
        fn read(&mut self, later: u64, width: u64) -> u64 {
            self.read_off(later, width, 0)
        }

        /// `before`: of these ticks, those that went by before std's clock was read.
        fn read_off(&mut self, later: u64, width: u64, before: u64) -> u64 {
            self.nanos += later;
            let ticks = self.ticks();
            self.anchor.read(|| ticks).unwrap_or_else(|| {
                self.looks += 1;
                let from = ticks.wrapping_sub(before);
                let (anchor, name) =
                    self.anchor.renewed(from, self.nanos, from.wrapping_add(width));
                self.nanos += (width - before) / 3;
                self.anchor = anchor;
                name
            })
        }
    }

    #[test]
    fn std_is_asked_once_a_millisecond_and_told_to_the_microsecond() {
        let mut world = World::new();
        let mut last = 0;
        for _ in 0..100_000 {
            let told = world.read(100, 60);
            assert!(told.abs_diff(world.nanos) < 600, "{told} is not {}", world.nanos);
            assert!(told >= last);
            last = told;
        }
        // All of the first two milliseconds, which are 120 ns apart, and then one in each.
        assert!((16_600..=16_800).contains(&world.looks), "{}", world.looks);
    }

    #[test]
    fn a_thread_that_is_told_the_rate_asks_once() {
        let mut world = World::new();
        world.anchor.rate = (1 << 32) / 3;
        for _ in 0..9_000 {
            let told = world.read(100, 60);
            assert!(told.abs_diff(world.nanos) < 600, "{told} is not {}", world.nanos);
        }
        assert_eq!(world.looks, 1);
    }

    #[test]
    fn looks_that_are_off_by_as_much_as_they_may_be_add_nothing_up() {
        let (mut world, mut rng, mut last) = (World::new(), Rng::seeded(7), 0);
        for _ in 0..500_000 {
            // The counter was read at the look's beginning, at its end, or in between.
            let told = world.read_off(100, SHARP, rng.next() % SHARP);
            assert!(told >= last, "{told} after {last}");
            assert!(told.abs_diff(world.nanos) < 1_500, "{told} is not {}", world.nanos);
            last = told;
        }
        assert!(world.looks < 20_000, "{}", world.looks);
    }

    #[test]
    fn a_clock_that_is_slewed_takes_nothing_back() {
        let (mut world, mut last) = (World::new(), 0);
        // Faster by a twelfth for a while, which makes the counter slower.
        for step in 0..200_000 {
            let is_slewed = (50_000..100_000).contains(&step);
            world.jump = world.jump.wrapping_sub(if is_slewed { 25 } else { 0 });
            let told = world.read(100, 60);
            assert!(told >= last, "{told} after {last}");
            assert!(told.abs_diff(world.nanos) < NOISE, "{told} is not {}", world.nanos);
            last = told;
        }
    }

    #[test]
    fn a_rate_from_before_a_sleep_is_not_believed() {
        let mut world = World::new();
        world.read(100, 60);
        // The counter counts on while the clock stands.
        world.jump += 30_000_000_000;
        let (mut told, before) = (world.read(10_000_000_000, 60), world.nanos);
        assert_eq!((told, world.anchor.span), (before - 20, 0));
        for _ in 0..50_000 {
            told = world.read(100, 60);
            assert!(told.abs_diff(world.nanos) < 2_000, "{told} is not {}", world.nanos);
        }
        assert!(world.anchor.span > 0);
    }

    #[test]
    fn a_look_that_was_disturbed_tells_the_time_and_sets_no_anchor() {
        let mut world = World::new();
        for _ in 0..100 {
            let told = world.read(1_000_000, SHARP + 1);
            assert_eq!(told, world.nanos - (SHARP + 1) / 3, "when std was asked");
        }
        assert_eq!((world.looks, world.anchor.rate), (100, 0));
    }

    #[test]
    fn a_counter_that_jumps_or_changes_its_pace_is_left_at_once() {
        for jump in [1 << 40, 1_u64.wrapping_neg() << 40, 20_000_000, 20_000_000_u64.wrapping_neg()]
        {
            let mut world = World::new();
            for _ in 0..40_000 {
                world.read(100, 60);
            }
            world.jump = world.jump.wrapping_add(jump);
            for _ in 0..40_000 {
                let told = world.read(100, 60);
                assert!(told.abs_diff(world.nanos) < NOISE, "{told} is not {}", world.nanos);
            }
            assert!(world.anchor.span > 0, "it is trusted again");
        }
    }

    #[test]
    fn one_that_stands_still_or_runs_wild_is_never_believed() {
        for ticks_a_read in [0, 1, 100_000] {
            let (mut anchor, mut ticks) = (Anchor::NONE, 7_u64);
            for nanos in (FIRST..FIRST + 10_000_000).step_by(1_000) {
                ticks += ticks_a_read;
                assert_eq!(anchor.read(|| ticks), None);
                let (renewed, name) = anchor.renewed(ticks, nanos, ticks);
                assert_eq!(name, nanos);
                anchor = renewed;
            }
        }
    }

    #[test]
    fn what_is_told_lies_between_two_looks_at_std() {
        let mut last = now();
        for _ in 0..200_000 {
            let before = Instant::from(std_now());
            let told = now();
            let after = Instant::from(std_now());
            assert!(told >= last, "{told:?} after {last:?}");
            assert!(before.nanos_since(told) < 2_000, "{told:?} is before {before:?}");
            assert!(told.nanos_since(after) < 2_000, "{told:?} is after {after:?}");
            last = told;
        }
    }
}
