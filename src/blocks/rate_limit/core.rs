//! The arithmetic, without clock, atomic or lock.
//!
//! GCRA, the generic cell rate algorithm (ITU-T I.371, Annex A: virtual scheduling): the whole
//! state of a bucket is one word, the *theoretical arrival time*, at which it is full again.

use std::time::Duration;

use super::config::Quota;
use crate::ground::config_error::ConfigError;
use crate::ground::time::Instant;

/// Binary digits below the nanosecond that a quota of more than a thousand per second is told in.
/// As words end in [`TAG_BITS`] zeros, a token of 10⁷/s has 6,400 parts: rounding costs at most so
/// small a share of the rate.
const FINE_BITS: u32 = 8;

/// The lowest bits of a word are zero here: a bucket that is changed while it is used writes there
/// which quota the word is told in.
pub(super) const TAG_BITS: u32 = 2;

/// A word in fine units wraps after two years. What lies further ahead than the bucket is deep
/// plus this long is taken to be past; so a `now` may be this much older than the last. (The
/// price: a bucket that was used and then left alone for just so long may read as not full for
/// this long.)
const OLDEST_NOW: Duration = Duration::from_secs(600);

/// The word of a bucket that was never used: full at any time, also shortly before a wrap, where
/// it would else be a time ahead. A bucket that lacks something never has it: see [`full_in`].
pub(super) const NEVER_USED: u64 = 0;

/// The word of a bucket that is full in so long: the least more where it would read as never used.
#[inline]
fn full_in(now: u64, ahead: u64) -> u64 {
    now.wrapping_add(ahead).max(u64::from(ahead > 0) << TAG_BITS)
}

/// A quota in the units of its words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gcra {
    /// Units per token, rounded up: never in the caller's favour.
    pub(super) each: u64,
    /// Units per full bucket, at most 2⁶².
    pub(super) all: u64,
    /// The furthest ahead that a word can lie.
    pub(super) furthest: u64,
    pub(super) burst: u32,
    /// A unit is `2^-bits` ns.
    pub(super) bits: u8,
    /// What a stripe of threads may take ahead; carved out of the burst already.
    pub(super) lease: u8,
}

impl Gcra {
    /// `fields` names rate and burst.
    pub(super) fn new(quota: Quota, fields: [&'static str; 2]) -> Result<Self, ConfigError> {
        let Quota { rate, period, burst } = quota;
        let per_token = |bits: u32| (period.as_nanos() << bits).div_ceil(u128::from(rate.max(1)));
        let fits = rate > 0
            && period.as_nanos() >= 100 * u128::from(rate)
            && period.as_nanos() <= 86_400_000_000_000 * u128::from(rate);
        let [rate_field, burst_field] = fields;
        let shown = format_args!("{rate} per {period:?}");
        let allowed = "from one token a day to one every 100 ns";
        ConfigError::unless(fits, rate_field, shown, allowed)?;
        let bits = if per_token(0) < 1_000_000 { FINE_BITS } else { TAG_BITS };
        let each = per_token(bits - TAG_BITS) << TAG_BITS;
        let all = each * u128::from(burst);
        let most = (30 * 365 * 86_400_000_000_000) << bits;
        let fits = burst > 0 && all <= most && all <= 1 << 62;
        let allowed = "at least 1, and refilled within 30 years";
        ConfigError::unless(fits, burst_field, burst, allowed)?;
        let each = each as u64;
        Ok(Self::of(each, burst, bits as u8, 0))
    }

    /// What follows from the rest: units of a full bucket, and how far ahead a word can lie.
    #[inline]
    pub(super) fn of(each: u64, burst: u32, bits: u8, lease: u8) -> Self {
        let all = each.wrapping_mul(u64::from(burst));
        // Quarters of nanoseconds don't wrap in 146 years: there any older `now` will do.
        let is_fine = u32::from(bits) == FINE_BITS;
        let older = if is_fine { (OLDEST_NOW.as_nanos() as u64) << FINE_BITS } else { 1 << 62 };
        Self { each, all, furthest: all.wrapping_add(older), burst, bits, lease }
    }

    /// The same, with leases of this size carved out of the burst, which must be greater.
    pub(super) fn with_leases(self, lease: u8, stripes: u32) -> Self {
        let burst = self.burst - u32::from(lease) * stripes;
        Self::of(self.each, burst, self.bits, lease)
    }

    /// From empty to full.
    pub(super) fn refill(&self) -> Duration {
        Duration::from_nanos(self.all >> self.bits)
    }

    /// `now` in units.
    #[inline]
    pub(super) fn word(&self, now: Instant) -> u64 {
        now.nanos() << self.bits
    }

    /// How far ahead of `now` the bucket is full again; 0 when it is full.
    #[inline]
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

    /// Takes `cost` tokens, if they are there: the new word.
    #[inline]
    pub(super) fn try_take(&self, word: u64, now: u64, cost: u32) -> Option<u64> {
        // What is not above the burst is not above `all`, which fits.
        let ahead = self.ahead(word, now).wrapping_add(u64::from(cost).wrapping_mul(self.each));
        (cost <= self.burst && ahead <= self.all).then(|| full_in(now, ahead))
    }

    /// Takes `cost` tokens: the new word, or why not. `before`: tokens that others who wait will
    /// take first.
    #[inline]
    pub(super) fn take(&self, word: u64, now: u64, cost: u32, before: u64) -> Result<u64, Short> {
        let Self { each, all, burst, .. } = *self;
        if cost > burst {
            return Err(Short::TooLarge { burst });
        }
        // Not above `all`, which fits; but for a quota that was read while it was written, and is
        // thrown away.
        let units = u64::from(cost).wrapping_mul(each);
        let ahead = self.ahead(word, now).wrapping_add(units);
        let ahead =
            if before == 0 { ahead } else { ahead.saturating_add(before.saturating_mul(each)) };
        if ahead <= all { Ok(full_in(now, ahead)) } else { Err(Short::Early(ahead - all)) }
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

    /// The same bucket by another quota: what it holds it keeps, to the part of a token, but for
    /// what is above the new burst; and what is new in the burst comes at the new rate. Rounded
    /// down: never in the caller's favour.
    pub(super) fn convert(&self, word: u64, to: &Self, now: Instant) -> u64 {
        let ahead = i128::from(self.ahead(word, self.word(now)));
        // Below zero by a `now` older than the last one.
        let held = i128::from(self.all) - ahead;
        let held = (held * i128::from(to.each)).div_euclid(i128::from(self.each));
        let ahead = (i128::from(to.all) - held).clamp(0, i128::from(to.furthest));
        match ahead as u64 {
            0 => NEVER_USED,
            ahead => full_in(to.word(now), ahead.next_multiple_of(1 << TAG_BITS)),
        }
    }

    /// Tokens there at `now`.
    pub(super) fn available(&self, word: u64, now: u64) -> u32 {
        let left = self.all.saturating_sub(self.ahead(word, now)) / self.each;
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// When the bucket is full again.
    pub(super) fn full_at(&self, word: u64, now: Instant) -> Instant {
        self.early(now, self.ahead(word, self.word(now))).at()
    }

    /// So many units after `now`.
    #[inline]
    pub(super) fn early(&self, now: Instant, units: u64) -> Early {
        Early { refused_at: now, units, refill: self.all, bits: self.bits }
    }
}

/// Why a bucket gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Short {
    /// So many units too early.
    Early(u64),
    /// Never.
    TooLarge { burst: u32 },
}

/// Too early, in the units of a quota: the arithmetic is done when somebody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Early {
    refused_at: Instant,
    units: u64,
    refill: u64,
    bits: u8,
}

impl Early {
    /// The first nanosecond that is late enough.
    pub(super) fn at(&self) -> Instant {
        self.refused_at.plus_nanos(self.units.div_ceil(1 << self.bits))
    }

    /// From the refusal to then.
    pub(super) fn wait(&self) -> Duration {
        self.at().saturating_duration_since(self.refused_at)
    }

    /// In which the bucket fills.
    pub(super) fn refill(&self) -> Duration {
        Duration::from_nanos(self.refill >> self.bits)
    }
}
