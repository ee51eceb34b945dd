//! The shell around the core: one lock, the admission protocol, and what follows the unlock.

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::{SmallVec, smallvec};
use tokio::sync::Notify;

use super::chain::{Drive, Runs};
use super::checkpoints::{Keeper, Kept};
use super::control::{Asked, Control};
use super::core::{Admission, Core, Way};
use super::delivery;
use super::drain::Returned;
use super::intent::Intent;
use super::keys::Version;
use super::outcomes::Outlets;
use super::progress::Cancelled;
use super::run::{Ask, Carried, Effects, Run, RunId};
use super::telling::Telling;
use super::ticket::{Failure, Promise, Ticket};
use crate::blocks::worker_pool::crew::Crew;
use crate::gates::wait_queue::{self, Plan};
use crate::ground::primitives::{Mutex, MutexGuard};
use crate::ground::quiet::drop_quietly;
use crate::ground::tenant::Tenant;
use crate::ground::time::{self, Instant};
use crate::rate_limit::{TieredRateLimiter, TryAcquireError};
use crate::{Reason, Refused, Scope};

/// What every handle, worker and ticket shares.
pub(super) struct Shared<P: Send + Sync + 'static, O: Send + Sync + 'static> {
    pub(super) name: Cow<'static, str>,
    /// The phases' names, in order.
    pub(super) phases: Vec<&'static str>,
    pub(super) runs: Arc<dyn Runs<P, O>>,
    pub(super) core: Mutex<Core<Body<P, O>>>,
    pub(super) ingress: Option<TieredRateLimiter<Arc<str>>>,
    pub(super) crew: Crew,
    /// Rings when an earlier alarm was set, or all is over.
    pub(super) clock: Notify,
    /// Rings when the last ending of a closing pipeline is told.
    pub(super) emptied: Notify,
    pub(super) outlets: Outlets<O>,
    pub(super) telling: Telling,
    /// Where a shutdown collects the intents that come back. `None`: their tickets get them.
    pub(super) returned: Mutex<Option<Vec<Returned<P>>>>,
    /// With checkpoints: where they are.
    pub(super) keeper: Option<Keeper<P>>,
}

/// What an intent brings along: its submitter's span, and, with checkpoints, what goes to the disk.
/// Taken by a run of its own; else to be dropped after the unlock.
pub(super) struct Brought {
    span: tracing::Span,
    kept: Option<Box<Kept>>,
}

/// What a run carries besides what the core knows.
pub(super) struct Body<P, O> {
    /// With the intent; also the coroutine's, and the core's.
    pub(super) asked: Asked<P>,
    /// The tenant whose ingress token it has, if it took one: its own, or that of whom it replaced.
    pub(super) payer: Option<Arc<str>>,
    /// The coroutine, while no worker has it. `None` before the first attempt.
    pub(super) drive: Option<Drive<O>>,
    pub(super) claims: Claims<P, O>,
    pub(super) output: Option<Arc<O>>,
    pub(super) failure: Option<Arc<Failure>>,
}

/// One ticket's end of its promise.
pub(super) struct Claim<P, O> {
    number: u64,
    pub(super) promise: Arc<Promise<P, O>>,
}

impl<P, O> Claim<P, O> {
    pub(super) fn new(number: u64, promise: Arc<Promise<P, O>>) -> Self {
        Self { number, promise }
    }

    pub(super) fn is(&self, number: u64) -> bool {
        self.number == number
    }
}

/// Mostly one.
pub(super) type Claims<P, O> = SmallVec<[Claim<P, O>; 1]>;

impl<P, O> Body<P, O> {
    pub(super) fn new(asked: Asked<P>, claim: Claim<P, O>) -> Self {
        let claims = smallvec![claim];
        Self { asked, payer: None, drive: None, claims, output: None, failure: None }
    }

    /// Whether this ticket is one of its.
    pub(super) fn has(&self, number: u64) -> bool {
        self.claims.iter().any(|claim| claim.number == number)
    }

    /// A ticket more. Before the list grows, those that were dropped are forgotten (the core goes
    /// on counting them): so it is as long as there are tickets in somebody's hands, at most twice.
    fn join(&mut self, claim: Claim<P, O>) {
        if self.claims.len() == self.claims.capacity() {
            self.claims.retain(|known| Arc::strong_count(&known.promise) > 1);
        }
        self.claims.push(claim);
    }
}

/// An accepted intent.
pub(super) struct Admitted<P: Send + Sync + 'static, O: Send + Sync + 'static> {
    pub(super) ticket: Ticket<P, O>,
    /// It shares a run that has an intent of its own. To be dropped after the unlock.
    joined: Option<Intent<P>>,
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Admitted<P, O> {
    pub(super) fn into_parts(self) -> (Ticket<P, O>, Option<Intent<P>>) {
        (self.ticket, self.joined)
    }
}

/// Why an intent was not accepted, and when to come back.
pub(super) struct Refusal<P> {
    pub(super) intent: Intent<P>,
    pub(super) reason: Reason,
    /// When the limiter or the breaker that refused says that it will do again.
    pub(super) earliest: Option<Instant>,
}

impl<P> Refusal<P> {
    /// Counts it, and says how long to stay away.
    pub(super) fn count<B>(self, core: &mut Core<B>, now: Instant) -> Refused<Intent<P>> {
        core.refusals.count(self.reason);
        let after = match self.reason {
            Reason::QueueFull => core.retry_after(now),
            _ => self.earliest.map(|at| at.saturating_duration_since(now)),
        };
        Refused::new(self.reason, after, self.intent)
    }
}

pub(super) type Guard<'a, P, O> = MutexGuard<'a, Core<Body<P, O>>>;

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Shared<P, O> {
    /// Admission, whole: the steps of `mod.rs` under one lock.
    pub(super) fn try_submit(
        self: &Arc<Self>,
        intent: Intent<P>,
    ) -> Result<Ticket<P, O>, Refused<Intent<P>>> {
        match self.bring(&intent) {
            Ok(mut brought) => self.try_admit(intent, &mut brought, |_| false),
            Err(reason) => Err(self.refuse(reason, intent)),
        }
    }

    /// What the intent brings along, if it can be kept at all.
    pub(super) fn bring(&self, intent: &Intent<P>) -> Result<Brought, Reason> {
        let kept = self.keeper.as_ref().map(|keeper| keeper.keep(intent)).transpose();
        let kept = kept.map_err(|_unwritable| Reason::NotPersisted)?;
        Ok(Brought { span: tracing::Span::current(), kept })
    }

    /// As `try_submit`; a refusal that `is_worth_waiting` is not yet counted as one.
    pub(super) fn try_admit(
        self: &Arc<Self>,
        intent: Intent<P>,
        brought: &mut Brought,
        is_worth_waiting: impl Fn(Reason) -> bool,
    ) -> Result<Ticket<P, O>, Refused<Intent<P>>> {
        let now = time::now();
        let mut fx = Effects::none();
        let mut core = self.core.lock();
        let admitted = self.admit(&mut core, intent, brought, None, now, &mut fx);
        let answer = admitted.map_err(|refusal| {
            if is_worth_waiting(refusal.reason) {
                return Refused::new(refusal.reason, None, refusal.intent);
            }
            refusal.count(&mut core, now)
        });
        self.settle(core, &mut fx, now);
        // Only now: a joiner's own payload is dropped outside the lock.
        answer.map(|admitted| {
            let (ticket, joined) = admitted.into_parts();
            drop_quietly(joined);
            ticket
        })
    }

    /// The admission protocol, under the lock. `brought`: made outside of it (a clone or a drop of
    /// a span is a call into the subscriber). `head`: its place in the waiting room.
    pub(super) fn admit(
        self: &Arc<Self>,
        core: &mut Core<Body<P, O>>,
        intent: Intent<P>,
        brought: &mut Brought,
        head: Option<wait_queue::Ticket>,
        now: Instant,
        fx: &mut Effects<Body<P, O>>,
    ) -> Result<Admitted<P, O>, Refusal<P>> {
        let ask = ask_of(&intent);
        let refuse = |intent, reason, earliest| Refusal { intent, reason, earliest };
        let admission = match core.relate(&ask) {
            Ok(admission) => admission,
            Err(reason) => return Err(refuse(intent, reason, None)),
        };
        if !core.fits(&ask) {
            return Err(refuse(intent, Reason::TooLarge, None));
        }
        let number = core.ledger.accepted + 1;
        let promise = Arc::new(Promise::new());
        let claim = Claim::new(number, Arc::clone(&promise));
        let (run, joined) = match admission {
            Admission::Join(run) => {
                core.join(run, &ask, now);
                if let Some(run) = core.run_mut(run) {
                    run.body.join(claim);
                }
                (run, Some(intent))
            }
            Admission::Replace(run) => {
                // What waits is not given up for what could not be done in time.
                let spared = match core.in_time(&ask, now) {
                    Ok(spared) => spared,
                    Err(reason) => return Err(refuse(intent, reason, None)),
                };
                let mut carried = carried(intent, claim, brought);
                if let Some(replaced) = core.run(run) {
                    carried.body.payer.clone_from(&replaced.body.payer);
                }
                core.replace(run, ask, carried, now, fx);
                core.spared(spared);
                (run, None)
            }
            Admission::New { parked } => {
                let seen = match core.peek(&ask, now, fx) {
                    Ok(spared) => spared,
                    Err((reason, at)) => return Err(refuse(intent, reason, at)),
                };
                if head.is_none() && core.room.stands_before(ask.class) {
                    return Err(refuse(intent, Reason::QueueFull, None));
                }
                let (way, planned) = core.plan(&ask, now);
                if way == Way::Line(Plan::Refuse) {
                    return Err(refuse(intent, Reason::QueueFull, None));
                }
                // What its tenant is owed next is for those of it who wait.
                let held = core.room.held_until(ask.tenant).filter(|_| head.is_none());
                if let Some(until) = held {
                    let reason = Reason::RateLimited { scope: Scope::Key };
                    return Err(refuse(intent, reason, until));
                }
                // The last step that can fail: nothing is ever rolled back.
                let payer = match self.take_token(&intent.tenant, now) {
                    Ok(payer) => payer,
                    Err((reason, earliest)) => return Err(refuse(intent, reason, earliest)),
                };
                let mut run = carried(intent, claim, brought);
                run.body.payer = payer;
                core.spared(seen);
                core.spared(planned);
                (core.admit(way, ask, parked, run, now, fx), None)
            }
        };
        let saving = core.run(run).and_then(Run::saving);
        let ticket = Ticket::new(promise, Arc::clone(self), run, number, saving);
        Ok(Admitted { ticket, joined })
    }

    /// One ingress token of this tenant, who is named if one was taken.
    fn take_token(
        &self,
        tenant: &Arc<str>,
        now: Instant,
    ) -> Result<Option<Arc<str>>, (Reason, Option<Instant>)> {
        let Some(ingress) = &self.ingress else { return Ok(None) };
        let taken = ingress.draw_at(tenant, 1, now);
        taken.map(|taken| taken.then(|| Arc::clone(tenant))).map_err(|refused| match refused {
            TryAcquireError::RateLimited(limited) => {
                (Reason::RateLimited { scope: limited.scope() }, Some(limited.earliest()))
            }
            // Nobody else holds this limiter, and every burst is at least one.
            _ => (Reason::Closed, None),
        })
    }

    /// See [`Ticket::cancel`].
    pub(super) fn cancel(&self, run: RunId, number: u64) {
        let now = time::now();
        let mut fx = Effects::none();
        let mut core = self.core.lock();
        let Some(body) = core.run_mut(run).map(|run| &mut run.body) else { return };
        let Some(at) = body.claims.iter().position(|claim| claim.is(number)) else {
            return self.cancel_former(core, run, number, now);
        };
        let mut alone = None;
        if core.cancel(run, now, &mut fx) == Cancelled::Ticket
            && let Some(run) = core.run_mut(run)
        {
            let claim = run.body.claims.remove(at);
            let trace = run.course.clone().end(now);
            alone = Some((claim, Arc::clone(&run.ask.key), trace));
        }
        self.settle(core, &mut fx, now);
        if let Some((claim, key, trace)) = alone {
            delivery::tell_cancelled(claim, key, trace);
        }
    }
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> std::fmt::Debug for Shared<P, O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a run of its own carries.
fn carried<P: Send + Sync + 'static, O>(
    intent: Intent<P>,
    claim: Claim<P, O>,
    brought: &mut Brought,
) -> Carried<Body<P, O>> {
    let span = std::mem::replace(&mut brought.span, tracing::Span::none());
    let asked = Arc::new(Control::new(intent, span));
    let control = Arc::clone(&asked) as Arc<Control>;
    Carried { control, body: Body::new(asked, claim), kept: brought.kept.take() }
}

pub(super) fn ask_of<P>(intent: &Intent<P>) -> Ask {
    Ask {
        key: Arc::clone(&intent.key),
        version: Version { generation: intent.generation, content: intent.content },
        tenant: Tenant::of(&*intent.tenant),
        class: intent.priority,
        weight: intent.weight,
        deadline: intent.deadline,
    }
}
