//! One run: everything the core knows of an accepted intent, and what leaves the core.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::task::Waker;

use smallvec::SmallVec;
use tokio::sync::Notify;

use super::checkpoints::{Former, Kept, Saving};
use super::control::Control;
use super::keys::Version;
use super::trace::{Course, Trace};
use crate::gates::wait_queue::{Place, Ticket};
use crate::ground::tenant::Tenant;
use crate::ground::time::{self, Instant};
use crate::{Ending, Priority};

/// Names a run while it is live.
pub(super) type RunId = Ticket;

/// What admission needs to know of an intent.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) key: Arc<str>,
    pub(super) version: Version,
    pub(super) tenant: Tenant,
    pub(super) class: Priority,
    pub(super) weight: NonZeroU32,
    pub(super) deadline: Option<Instant>,
}

/// One run. `B` is what the core carries for the shell: payload, coroutine, tickets.
#[derive(Debug)]
pub(super) struct Run<B> {
    pub(super) ask: Ask,
    pub(super) control: Arc<Control>,
    pub(super) accept_no: u64,
    /// The phase it is in, or waits for.
    pub(super) gate: usize,
    pub(super) state: State,
    /// Its first phase has begun: never evicted any more, and its ingress token is spent.
    pub(super) begun: bool,
    /// Failed attempts of this round.
    pub(super) failures: u32,
    /// `Again`s of this phase in a row.
    pub(super) agains: u32,
    /// Refusals on this side in a row.
    pub(super) refusals: u32,
    /// Tickets that will end with it.
    pub(super) tickets: u64,
    /// The instant it has among the alarms.
    pub(super) alarm: Option<Instant>,
    pub(super) course: Course,
    pub(super) body: B,
    /// With checkpoints: what of it goes to the disk.
    pub(super) kept: Option<Box<Kept>>,
    /// It is parked until this is on disk.
    pub(super) unsaved: Option<Unsaved>,
    /// A shutdown ends it: what is on disk of it stays there.
    pub(super) left: bool,
    /// The version that it takes the place of, while it is not on disk itself.
    #[cfg_attr(not(feature = "json"), expect(dead_code, reason = "it is never there"))]
    pub(super) former: Option<Box<Former<B>>>,
    /// Somebody wants to know of its every step.
    pub(super) followed: bool,
}

/// A change of a run that is not on disk yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unsaved {
    pub(super) no: u64,
    pub(super) then: AfterSave,
}

/// What a run does once its change is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterSave {
    /// It was accepted: it stands in line.
    Enter,
    /// A durable phase is done: on to the next one.
    Advance,
    /// The last phase, a durable one, is done: it ends.
    Complete,
}

/// What the shell gives a run.
pub(super) struct Carried<B> {
    pub(super) control: Arc<Control>,
    pub(super) body: B,
    pub(super) kept: Option<Box<Kept>>,
}

/// Where a run is.
#[derive(Debug)]
pub(super) enum State {
    /// In the line of its gate.
    Queued(Ticket),
    /// In backoff or after `Again`, until then; or behind the running one of its key.
    Parked { until: Option<Instant> },
    /// Inside an attempt.
    Running(Running),
}

#[derive(Debug)]
pub(super) struct Running {
    pub(super) since: Instant,
    /// What it ends as when the attempt ends, whatever that brings.
    pub(super) doom: Option<Doom>,
    /// When a critical attempt has used up its grace.
    pub(super) give_up_at: Option<Instant>,
    /// It has: the tickets have ended, the attempt has not.
    pub(super) given_up: bool,
    /// It failed for good, and the phases before it are being undone: its end is known, and neither
    /// a cancel nor its deadline changes it.
    pub(super) undoes: bool,
}

/// Why a running one is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doom {
    Cancelled,
    /// Its deadline passed inside an attempt.
    TimedOut,
}

impl Doom {
    pub(super) fn ending(self) -> Ending {
        match self {
            Self::Cancelled => Ending::Cancelled,
            Self::TimedOut => Ending::Failed,
        }
    }
}

impl<B> Run<B> {
    pub(super) fn place(&self) -> Place {
        let Ask { class, tenant, weight, .. } = self.ask;
        Place { class, tenant, weight, deadline: None }
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_))
    }

    /// Whether it is parked before its first attempt, and not for its page to be written.
    pub(super) fn is_dormant(&self) -> bool {
        !self.begun && self.unsaved.is_none() && matches!(self.state, State::Parked { .. })
    }

    /// Whether nobody takes its place: it is inside an attempt, or its end is settled.
    pub(super) fn is_busy(&self) -> bool {
        self.is_running() || self.is_settled()
    }

    /// Whether it waits only for the disk, or for a seat to undo in, and its end is known: no cancel,
    /// deadline or newer version changes it.
    pub(super) fn is_settled(&self) -> bool {
        self.is_done() || self.is_condemned()
    }

    /// Whether what it made can't be kept, so that it has failed for good and undoes next.
    pub(super) fn is_condemned(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.is_condemned())
    }

    /// Whether all its phases are done, and only the disk does not know yet.
    pub(super) fn is_done(&self) -> bool {
        self.unsaved.is_some_and(|unsaved| unsaved.then == AfterSave::Complete)
    }

    pub(super) fn saving(&self) -> Option<Saving> {
        self.kept.as_ref().map(|kept| kept.saving())
    }

    /// Whether somebody still waits for what it is doing.
    pub(super) fn is_wanted(&self) -> bool {
        match &self.state {
            State::Running(running) => {
                running.doom.is_none() && !running.given_up && !running.undoes
            }
            State::Queued(_) | State::Parked { .. } => !self.is_condemned(),
        }
    }

    /// Whether it failed for good and undoes what went before.
    pub(super) fn undoes(&self) -> bool {
        matches!(&self.state, State::Running(Running { undoes: true, .. }))
    }

    /// Whether its deadline has passed inside the attempt.
    pub(super) fn is_timed_out(&self) -> bool {
        matches!(&self.state, State::Running(Running { doom: Some(Doom::TimedOut), .. }))
    }

    /// When something is due with no event from outside.
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.state {
            State::Queued(_) | State::Parked { .. } if self.is_settled() => None,
            State::Queued(_) => self.ask.deadline,
            State::Parked { until } => time::earlier(*until, self.ask.deadline),
            State::Running(Running { given_up: true, .. } | Running { undoes: true, .. }) => None,
            State::Running(Running { give_up_at: Some(at), .. }) => Some(*at),
            State::Running(Running { doom: Some(_), .. }) => None,
            State::Running(_) => self.ask.deadline,
        }
    }

    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.ask.deadline.is_some_and(|deadline| deadline <= now)
    }
}

/// What an attempt brought, without the values that are none of the core's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttemptEnd {
    Done,
    Again(std::time::Duration),
    /// Another attempt makes sense, not before `after`.
    Retry {
        after: Option<std::time::Duration>,
    },
    /// A block on this side refused inside of it: no failure. Another one, not before `after`.
    Refused {
        after: Option<std::time::Duration>,
    },
    Permanent,
    /// It was stopped, as the core had asked.
    Stopped,
}

/// A run, or one version of it, that has ended: for the shell to tell its tickets.
#[derive(Debug)]
pub(super) struct EndedRun<B> {
    pub(super) body: B,
    pub(super) ending: Ending,
    /// Tickets that ended with it; of those the shell knows, some may have been forgotten.
    pub(super) tickets: u64,
    /// The phase it was in or waited for.
    pub(super) phase: usize,
    /// Its ingress token was not used.
    pub(super) refund: bool,
    pub(super) trace: Trace,
    /// Its span closes with it: a subscriber's code, so not under the lock.
    pub(super) control: Arc<Control>,
    pub(super) kept: Option<Box<Kept>>,
}

/// What is to be done after the unlock.
#[derive(Debug)]
pub(super) struct Effects<B> {
    pub(super) ended: SmallVec<[EndedRun<B>; 1]>,
    /// Runs whose tickets end indeterminate, though the run goes on.
    pub(super) given_up: Vec<(RunId, u64)>,
    /// The bells of attempts that are to stop: ringing wakes whatever they wait with.
    pub(super) stopped: Vec<Arc<Notify>>,
    pub(super) wakers: Vec<Waker>,
    /// Keys that go round in a loop, or in a phase's `Again`s.
    pub(super) loops: Vec<(Arc<str>, Option<&'static str>)>,
}

impl<B> Effects<B> {
    pub(super) fn none() -> Self {
        Self {
            ended: SmallVec::new(),
            given_up: Vec::new(),
            stopped: Vec::new(),
            wakers: Vec::new(),
            loops: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        let Self { ended, given_up, stopped, wakers, loops } = self;
        ended.is_empty()
            && given_up.is_empty()
            && stopped.is_empty()
            && wakers.is_empty()
            && loops.is_empty()
    }
}
