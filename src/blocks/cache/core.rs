//! What an entry is worth at an instant. Pure.

use std::time::Duration;

use super::config::CacheConfig;
use crate::ground::rng::Rng;
use crate::ground::time::{self, Instant};

/// How long things are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    ttl: Option<Duration>,
    pub(super) idle: Option<Duration>,
    jitter_ratio: f64,
    stale_for: Duration,
}

/// Of one entry. `None` is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    /// From here on it is stale.
    pub(super) fresh_until: Option<Instant>,
    /// From here on it is gone; not before the other.
    pub(super) gone_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    Fresh,
    /// Given out while it is renewed.
    Stale,
    Gone,
}

impl Rules {
    pub(super) fn of(config: &CacheConfig) -> Self {
        let CacheConfig { ttl, idle, jitter_ratio, stale_for, .. } = *config;
        Self { ttl, idle, jitter_ratio, stale_for }
    }

    /// Of a value that came at `now`; `most` is what somebody else still gives it.
    pub(super) fn value(&self, now: Instant, most: Option<Duration>, rng: &mut Rng) -> Times {
        let jittered = |ttl: Duration| {
            // The longest one is more than a float can give back.
            let part = ttl.as_secs_f64() * (1.0 - self.jitter_ratio * rng.unit());
            Duration::try_from_secs_f64(part).unwrap_or(ttl)
        };
        let ttl = match (self.ttl.map(jittered), most) {
            (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
            (ours, theirs) => ours.or(theirs),
        };
        let fresh_until = ttl.and_then(|ttl| time::later(now, ttl));
        let gone_at = fresh_until.and_then(|until| time::later(until, self.stale_for));
        Times { fresh_until, gone_at }
    }

    /// Of an error that is worth being told for so long: never longer than a value.
    pub(super) fn error(&self, now: Instant, worth: Duration) -> Times {
        let worth = self.ttl.map_or(worth, |ttl| ttl.min(worth));
        let until = time::later(now, worth);
        Times { fresh_until: until, gone_at: until }
    }

    /// Whether nothing depends on the time.
    pub(super) fn is_timeless(&self, times: &Times) -> bool {
        self.idle.is_none() && times.fresh_until.is_none()
    }

    /// `touched`: when somebody last looked.
    pub(super) fn age(&self, times: &Times, touched: Instant, now: Instant) -> Age {
        let is_past = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let idle = self.idle.and_then(|idle| time::later(touched, idle));
        match (is_past(times.gone_at) || is_past(idle), is_past(times.fresh_until)) {
            (true, _) => Age::Gone,
            (_, true) => Age::Stale,
            _ => Age::Fresh,
        }
    }
}
