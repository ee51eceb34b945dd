//! Seats by the wait in the queue.

use std::time::Duration;

use crate::blocks::worker_pool::config::Autoscale;
use crate::ground::time::{Instant, Now, earlier, later};

/// Of the seats that were taken at once, one more for each so many are kept when the rest goes.
const SPARE: u32 = 8;

/// Decides at instants that it names itself ([`due`](Self::due)); between them it only counts.
#[derive(Clone, Debug)]
pub(in crate::blocks::worker_pool) struct Autoscaler {
    config: Autoscale,
    standing: Standing,
    /// Tasks started so far.
    started: u64,
    /// The most seats taken at once since `idle_since`.
    peak: u32,
    idle_since: Option<Instant>,
    changed: Option<Instant>,
}

/// Whether tasks wait with every seat taken.
#[derive(Clone, Copy, Debug)]
enum Standing {
    No,
    /// They do, and nobody has looked at the clock yet.
    New,
    /// Ever since, when so many had been started.
    Since {
        since: Instant,
        started: u64,
    },
}

/// What a decision is made by.
#[derive(Clone, Copy, Debug)]
pub(in crate::blocks::worker_pool) struct Load {
    pub(in crate::blocks::worker_pool) limit: u32,
    pub(in crate::blocks::worker_pool) busy: u32,
    pub(in crate::blocks::worker_pool) waiting: usize,
}

impl Autoscaler {
    pub(in crate::blocks::worker_pool) fn new(config: Autoscale) -> Self {
        Self {
            config,
            standing: Standing::No,
            started: 0,
            peak: 0,
            idle_since: None,
            changed: None,
        }
    }

    /// A task has got its seat; so many are taken now.
    #[inline]
    pub(in crate::blocks::worker_pool) fn started(&mut self, busy: u32) {
        self.started += 1;
        self.peak = self.peak.max(busy);
    }

    /// Somebody waits, with every seat taken: whether that is news.
    #[inline]
    pub(in crate::blocks::worker_pool) fn waits(&mut self, limit: u32) -> bool {
        let is_new = matches!(self.standing, Standing::No) && limit < self.max();
        if is_new {
            self.standing = Standing::New;
        }
        is_new
    }

    /// A worker found nothing to do.
    #[inline]
    pub(in crate::blocks::worker_pool) fn found_nothing(&mut self) {
        self.standing = Standing::No;
    }

    /// Whether somebody waits of whom [`due`](Self::due) does not know yet.
    pub(in crate::blocks::worker_pool) fn has_news(&self) -> bool {
        matches!(self.standing, Standing::New)
    }

    /// Whether anything is to be decided sooner or later.
    pub(in crate::blocks::worker_pool) fn is_watched(&self, limit: u32) -> bool {
        let may_grow = !matches!(self.standing, Standing::No) && limit < self.max();
        may_grow || limit > self.min()
    }

    /// When to decide next; nothing: not before somebody [`waits`](Self::waits).
    pub(in crate::blocks::worker_pool) fn due(
        &mut self,
        limit: u32,
        now: impl Now,
    ) -> Option<Instant> {
        if !self.is_watched(limit) {
            return None;
        }
        let now = now.get();
        if matches!(self.standing, Standing::New) {
            self.standing = Standing::Since { since: now, started: self.started };
        }
        let grows = match self.standing {
            Standing::Since { since, .. } if limit < self.max() => {
                // Never, if either is never.
                let cool = self.changed.map_or(Some(since), |at| later(at, self.config.cool_down));
                later(since, self.config.target_wait).zip(cool).map(|(wait, cool)| wait.max(cool))
            }
            _ => None,
        };
        let idle_since = *self.idle_since.get_or_insert(now);
        let shrinks = later(idle_since, self.config.idle_after.max(self.config.cool_down));
        earlier(grows, shrinks.filter(|_| limit > self.min()))
    }

    /// The limit from here on.
    pub(in crate::blocks::worker_pool) fn decide(&mut self, load: Load, now: Instant) -> u32 {
        let Load { limit, .. } = load;
        let is_cool = has_passed(self.changed, self.config.cool_down, now);
        let wanted = if is_cool { self.wanted(load, now) } else { limit };
        if wanted != limit {
            self.changed = Some(now);
            self.idle_since = Some(now);
            self.peak = load.busy;
            self.standing = Standing::No;
        }
        wanted
    }

    fn wanted(&mut self, load: Load, now: Instant) -> u32 {
        let Load { limit, busy, waiting } = load;
        if let Standing::Since { since, started } = self.standing
            && has_passed(Some(since), self.config.target_wait, now)
        {
            // Again from here on.
            self.standing = Standing::New;
            let stood = now.saturating_duration_since(since).as_secs_f64();
            let started = (self.started - started) as f64 * self.config.target_wait.as_secs_f64();
            return self.enough(limit, waiting, started / stood).clamp(limit, self.max());
        }
        let is_idle = self.idle_since.is_some();
        if is_idle && has_passed(self.idle_since, self.config.idle_after, now) {
            self.idle_since = Some(now);
            // What is in use just now may have begun beside the lock, where no start is counted.
            let peak = std::mem::replace(&mut self.peak, busy).max(busy);
            return (peak + peak.div_ceil(SPARE)).clamp(self.min(), limit);
        }
        limit
    }

    /// Seats by which, if so many were started within the target, all that wait would have been,
    /// and as many again: those that come while these go.
    fn enough(&self, limit: u32, waiting: usize, started: f64) -> u32 {
        let waiting = waiting as f64;
        if waiting <= started {
            // By Little's law they start within the target.
            return limit;
        }
        let by_rate = f64::from(limit) * (started + 2.0 * waiting) / started;
        // One for each is always enough. (Nothing started: the rate says nothing.)
        let by_depth = f64::from(limit) + waiting;
        by_rate.min(by_depth).ceil() as u32
    }

    // At most 2^16, checked with the configuration.
    fn min(&self) -> u32 {
        self.config.min as u32
    }

    fn max(&self) -> u32 {
        self.config.max as u32
    }
}

fn has_passed(since: Option<Instant>, time: Duration, now: Instant) -> bool {
    since.is_none_or(|since| now.saturating_duration_since(since) >= time)
}
