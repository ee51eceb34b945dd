//! The arithmetic, without clock, atomic or lock.
//!
//! GCRA, the generic cell rate algorithm (ITU-T I.371, Annex A: virtual scheduling): the whole
//! state of a bucket is one word, the *theoretical arrival time*, at which it is full again.

use std::time::{Duration, Instant};

use super::config::Quota;
use crate::ground::config_error::ConfigError;

/// Binary digits below the nanosecond that a quota of more than a thousand per second is told in:
/// 10⁷/s is 102,400 units a token, so rounding costs less than a hundred-thousandth of the rate.
const FINE_BITS: u32 = 10;

/// A word in fine units wraps after 208 days. What lies further ahead than the bucket is deep
/// plus this long is taken to be past; so a `now` may be this much older than the last. (The
/// price: a bucket that was used and then left alone for just 208 days may read as not full for
/// this long.)
const OLDEST_NOW: Duration = Duration::from_secs(60);

/// The word of a bucket that was never used: full at any time, also shortly before a wrap, where
/// it would else be a time ahead. A bucket that lacks something never has it: see [`full_in`].
pub(super) const NEVER_USED: u64 = 0;

/// The word of a bucket that is full in so long: a unit more where it would read as never used.
fn full_in(now: u64, ahead: u64) -> u64 {
    now.wrapping_add(ahead).max(u64::from(ahead > 0))
}

/// A quota in the units of its words. Words count from `epoch`.
#[derive(Clone, Debug)]
pub(super) struct Gcra {
    epoch: Instant,
    /// A unit is `2^-bits` ns.
    bits: u32,
    /// Units per token, rounded up: never in the caller's favour.
    each: u64,
    /// Units per full bucket, at most 2⁶².
    all: u64,
    burst: u32,
    /// The furthest ahead that a word can lie.
    furthest: u64,
}

impl Gcra {
    /// `fields` names rate and burst.
    pub(super) fn new(
        quota: Quota,
        fields: [&'static str; 2],
        epoch: Instant,
    ) -> Result<Self, ConfigError> {
        let Quota { rate, period, burst } = quota;
        let per_token = |bits: u32| (period.as_nanos() << bits).div_ceil(u128::from(rate.max(1)));
        let fits = rate > 0
            && period.as_nanos() >= 100 * u128::from(rate)
            && period.as_nanos() <= 86_400_000_000_000 * u128::from(rate);
        let [rate_field, burst_field] = fields;
        let allowed = "from one token a day to one every 100 ns, with `period`";
        ConfigError::unless(fits, rate_field, rate, allowed)?;
        let bits = if per_token(0) < 1_000_000 { FINE_BITS } else { 0 };
        let each = per_token(bits);
        let all = each * u128::from(burst);
        let century = (100 * 365 * 86_400_000_000_000) << bits;
        let fits = burst > 0 && all <= century && all <= 1 << 62;
        let allowed = "at least 1, and refilled within 100 years";
        ConfigError::unless(fits, burst_field, burst, allowed)?;
        // Whole nanoseconds don't wrap in 584 years: there any older `now` will do.
        let slack = if bits == 0 { 1 << 62 } else { (OLDEST_NOW.as_nanos() as u64) << bits };
        let (each, all) = (each as u64, all as u64);
        Ok(Self { epoch, bits, each, all, burst, furthest: all + slack })
    }

    pub(super) fn burst(&self) -> u32 {
        self.burst
    }

    /// `now` in units. A time before the epoch is the epoch.
    pub(super) fn word(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.epoch);
        let ns = since
            .as_secs()
            .wrapping_mul(1_000_000_000)
            .wrapping_add(u64::from(since.subsec_nanos()));
        ns << self.bits
    }

    /// How far ahead of `now` the bucket is full again; 0 when it is full.
    fn ahead(&self, word: u64, now: u64) -> u64 {
        let ahead = word.wrapping_sub(now);
        if word != NEVER_USED && ahead <= self.furthest { ahead } else { 0 }
    }

    pub(super) fn is_full(&self, word: u64, now: u64) -> bool {
        self.ahead(word, now) == 0
    }

    /// How long ago the bucket became full; zero while it isn't.
    pub(super) fn full_for(&self, word: u64, now: u64) -> Duration {
        if self.is_full(word, now) {
            Duration::from_nanos(now.wrapping_sub(word) >> self.bits)
        } else {
            Duration::ZERO
        }
    }

    /// Takes `cost` tokens, at most the burst: the new word, or how many units too early it is.
    /// `before`: tokens that others who wait will take first.
    pub(super) fn take(&self, word: u64, now: u64, cost: u32, before: u64) -> Result<u64, u64> {
        let units = u64::from(cost).saturating_add(before).saturating_mul(self.each);
        let ahead = self.ahead(word, now).saturating_add(units);
        if ahead <= self.all { Ok(full_in(now, ahead)) } else { Err(ahead - self.all) }
    }

    /// Gives `cost` tokens back, never above the burst.
    pub(super) fn give_back(&self, word: u64, now: u64, cost: u32) -> u64 {
        match self.ahead(word, now) {
            0 => word,
            ahead => {
                let units = u64::from(cost).saturating_mul(self.each);
                full_in(now, ahead.saturating_sub(units))
            }
        }
    }

    /// Tokens there at `now`.
    pub(super) fn available(&self, word: u64, now: u64) -> u32 {
        let left = self.all.saturating_sub(self.ahead(word, now)) / self.each;
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// When the bucket is full again.
    pub(super) fn full_at(&self, word: u64, now: Instant) -> Instant {
        self.after(now, self.ahead(word, self.word(now)))
    }

    /// `units` after `now`, to the nanosecond at which it is there.
    pub(super) fn after(&self, now: Instant, units: u64) -> Instant {
        let ns = Duration::from_nanos(units.div_ceil(1 << self.bits));
        let from = now.max(self.epoch);
        from.checked_add(ns).unwrap_or(from)
    }

    /// From empty to full.
    pub(super) fn refill(&self) -> Duration {
        Duration::from_nanos(self.all >> self.bits)
    }
}
