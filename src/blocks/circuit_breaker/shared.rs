//! What the handles share: words that calls read while the circuit flows or is open, stripes that
//! they count in, and one lock around the core for all else.

use std::task::Waker;
use std::time::Duration;

use super::config::{CircuitBreakerConfig, InFlight, Unreported};
use super::core::{Admission, Claim, Core, Cx, Place, Report};
use super::error::CircuitOpen;
use super::listeners::Listeners;
use super::stripes::{SLOTS, Stripes};
use crate::ground::enforcement::Enforcement;
use crate::ground::outcome::Outcome;
use crate::ground::primitives::Mutex;
use crate::ground::primitives::atomic::{AtomicU64, Ordering};
use crate::ground::quiet::wake_all_quietly;
use crate::ground::rng::Rng;
use crate::ground::stripe::{Padded, mine};
use crate::ground::time::{Instant, Now};

/// In [`Front::flow`]: every asker is admitted.
const FLOWS: u64 = 1;
/// In [`Front::flow`]: the next success has to go to the core.
const ALERT: u64 = 2;
/// Above them stands the newest epoch.
const EPOCH: u32 = 2;

/// In [`Front::until`]: nobody knows until when.
const FOR_EVER: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct Shared {
    front: Padded<Front>,
    stripes: Stripes,
    rules: Rules,
    inner: Mutex<Inner>,
}

/// What may be known without the lock. Written under it, and only when something changes. Instants
/// by their nanoseconds.
#[derive(Debug)]
struct Front {
    flow: AtomicU64,
    /// While calls flow: when the core has to look, though nobody reports anything to it.
    look_at: AtomicU64,
    /// While they don't: until when everybody is refused; 0: ask the core.
    until: AtomicU64,
}

#[derive(Debug)]
struct Rules {
    is_timed: bool,
    in_flight: InFlight,
    unreported: Unreported,
    slow_after: Duration,
    slow_counts: bool,
    call_timeout: Duration,
    open_for: Duration,
    always_refuses: bool,
}

#[derive(Debug)]
struct Inner {
    core: Core,
    rng: Rng,
    listeners: Listeners,
}

impl Shared {
    pub(super) fn new(config: CircuitBreakerConfig, rng: Rng, now: Instant) -> Self {
        let stripes = Stripes::new();
        let rules = Rules {
            is_timed: config.is_timed(),
            in_flight: config.in_flight,
            unreported: config.unreported,
            slow_after: config.slow_threshold(),
            slow_counts: config.slow_ratio.is_some(),
            call_timeout: config.call_timeout,
            open_for: config.open_for,
            always_refuses: config.enforcement == Enforcement::Full,
        };
        let core = Core::new(config, now, &stripes);
        let front =
            Front { flow: AtomicU64::new(0), look_at: AtomicU64::new(0), until: AtomicU64::new(0) };
        let inner = Mutex::new(Inner { core, rng, listeners: Listeners::default() });
        let new = Self { front: Padded::new(front), stripes, rules, inner };
        new.publish(&new.inner.lock().core, now);
        new
    }

    pub(super) fn call_timeout(&self) -> Duration {
        self.rules.call_timeout
    }

    /// May one more call be made? Beside the lock while calls flow, and while everybody is refused.
    /// `tell` gets whoever is to be woken; so it is below.
    #[inline(always)]
    pub(super) fn admit(
        &self,
        now: impl Now,
        tell: impl FnOnce(Vec<Waker>),
    ) -> Result<Claim, CircuitOpen> {
        // Acquire: pairs with `publish`, so that the word of this epoch is seen open.
        let flow = self.front.flow.load(Ordering::Acquire);
        if flow & FLOWS == 0 {
            let now = now.get();
            let Some(refused) = self.refuse(now) else { return self.admit_slowly(now, tell) };
            self.stripes.refused(mine());
            return Err(refused);
        }
        let epoch = flow >> EPOCH;
        if !self.rules.is_timed {
            return Ok(Claim { epoch, since: None, place: Place::Nowhere });
        }
        let now = now.get();
        // Relaxed, here and below: who reads an older one looks too early, or when the next does.
        if now.nanos() < self.front.look_at.load(Ordering::Relaxed) {
            let since = Some(now);
            if self.rules.in_flight == InFlight::Ignored {
                return Ok(Claim { epoch, since, place: Place::Nowhere });
            }
            let stripe = mine();
            if self.stripes.begin(stripe, epoch) {
                return Ok(Claim { epoch, since, place: Place::Stripe(stripe as u8) });
            }
        }
        self.admit_slowly(now, tell)
    }

    /// Whether everybody is refused at `now`, as far as can be seen without the lock.
    #[inline(always)]
    fn refuse(&self, now: Instant) -> Option<CircuitOpen> {
        match self.front.until.load(Ordering::Relaxed) {
            FOR_EVER => Some(CircuitOpen::new(now + self.rules.open_for, now, true)),
            until => {
                (now.nanos() < until).then(|| CircuitOpen::new(Instant::of(until), now, false))
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn admit_slowly(
        &self,
        now: Instant,
        tell: impl FnOnce(Vec<Waker>),
    ) -> Result<Claim, CircuitOpen> {
        self.with_all(now, tell, |core, cx, _| match core.admit(cx) {
            Admission::Granted(claim) => Ok(claim),
            Admission::Refused { .. } if !core.config().enforcement.refuses(cx.rng) => {
                Ok(core.wave_through(now))
            }
            Admission::Refused { until } => {
                core.counts.refused += 1;
                Err(CircuitOpen::new(until, now, core.is_forced()))
            }
        })
    }

    /// Whether an asker at `now` would surely be refused, and until when. Counts nothing.
    pub(super) fn peek(&self, now: Instant, tell: impl FnOnce(Vec<Waker>)) -> Option<CircuitOpen> {
        // Acquire: as in `admit`.
        if self.front.flow.load(Ordering::Acquire) & FLOWS != 0 {
            return None;
        }
        self.refuse(now).or_else(|| {
            self.with_all(now, tell, |core, cx, _| {
                core.advance(cx);
                let until = core.refused_until(now)?;
                Some(CircuitOpen::new(until, now, core.is_forced()))
            })
        })
    }

    pub(super) fn always_refuses(&self) -> bool {
        self.rules.always_refuses
    }

    /// How an admitted call ended. A success beside the lock, while calls flow.
    #[inline(always)]
    pub(super) fn report(&self, claim: Claim, report: Report, now: impl Now) {
        if !(report.is_plain_success() && self.succeed(&claim, now)) {
            self.report_slowly(claim, report, now.get(), wake_all_quietly);
        }
    }

    #[inline(always)]
    fn succeed(&self, claim: &Claim, now: impl Now) -> bool {
        // Acquire: as in `admit`.
        let flow = self.front.flow.load(Ordering::Acquire);
        let laps = (flow >> EPOCH).wrapping_sub(claim.epoch);
        if flow & (FLOWS | ALERT) != FLOWS || laps >= SLOTS {
            return false;
        }
        if self.rules.slow_counts && claim.age(now.get()) >= self.rules.slow_after {
            return false;
        }
        match claim.place {
            Place::Stripe(stripe) => self.stripes.succeed_begun(usize::from(stripe), claim.epoch),
            Place::Nowhere => self.stripes.succeed(mine(), claim.epoch),
            Place::Probe(_) => false,
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn report_slowly(
        &self,
        claim: Claim,
        report: Report,
        now: Instant,
        tell: impl FnOnce(Vec<Waker>),
    ) {
        self.with_all(now, tell, |core, cx, _| core.report(claim, report, cx));
    }

    /// A permit is dropped without a report.
    pub(super) fn abandon(&self, claim: Claim, now: impl Now) {
        let outcome = self.unreported(&claim, now);
        self.report(claim, outcome.into(), now);
    }

    fn unreported(&self, claim: &Claim, now: impl Now) -> Outcome {
        match self.rules.unreported {
            Unreported::Failure => Outcome::Failure,
            Unreported::FailureIfSlow if claim.age(now.get()) >= self.rules.slow_after => {
                Outcome::Failure
            }
            Unreported::FailureIfSlow | Unreported::Ignored => Outcome::Ignored,
        }
    }

    pub(super) fn with_core<R>(
        &self,
        now: Instant,
        act: impl FnOnce(&mut Core, &mut Cx<'_>) -> R,
    ) -> R {
        self.with_listeners(now, |core, cx, _| act(core, cx))
    }

    pub(super) fn with_listeners<R>(
        &self,
        now: Instant,
        act: impl FnOnce(&mut Core, &mut Cx<'_>, &mut Listeners) -> R,
    ) -> R {
        self.with_all(now, wake_all_quietly, act)
    }

    /// The only way to the core. What has changed there is known without the lock before it is
    /// released; after that `tell` gets who is to be woken: at once, unless the caller holds a
    /// lock of its own.
    fn with_all<R>(
        &self,
        now: Instant,
        tell: impl FnOnce(Vec<Waker>),
        act: impl FnOnce(&mut Core, &mut Cx<'_>, &mut Listeners) -> R,
    ) -> R {
        let mut inner = self.inner.lock();
        let Inner { core, rng, listeners } = &mut *inner;
        let mut cx = Cx { now, rng, stripes: &self.stripes, stripe: mine() };
        let result = act(core, &mut cx, listeners);
        self.publish(core, now);
        let woken = listeners.tell(core.take_changes());
        drop(inner);
        tell(woken);
        result
    }

    /// Under the lock. The flow comes last: who sees it open sees until when, or asks the core.
    fn publish(&self, core: &Core, now: Instant) {
        let Front { flow, look_at, until } = &*self.front;
        let flows = core.flows();
        let refused = match core.refused_until(now) {
            _ if flows || !self.rules.always_refuses => 0,
            Some(_) if core.is_forced() => FOR_EVER,
            Some(until) => until.nanos(),
            None => 0,
        };
        let look = core.next().map_or(u64::MAX, Instant::nanos);
        let alert = if core.is_alert(&self.stripes) { ALERT } else { 0 };
        let flows = if flows { FLOWS } else { 0 };
        for (word, value) in [
            (look_at, look),
            (until, refused),
            (flow, core.watch().epoch() << EPOCH | alert | flows),
        ] {
            // Relaxed: written under the lock only. Release: pairs with `admit`.
            if word.load(Ordering::Relaxed) != value {
                word.store(value, Ordering::Release);
            }
        }
    }
}
