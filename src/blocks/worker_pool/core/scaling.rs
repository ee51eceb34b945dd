//! The limit, where it is not fixed: who decides it, when, and what follows.
//!
//! 1. `Autoscale` is decided by a worker that rests until the next decision is due: the *watch*.
//!    It has one worker more than seats, so there is one that rests whenever all seats are taken.
//!    Who takes a job from the watch rouses the next. Other verbs only count: no clock.
//! 2. `Adaptive` is decided where the end of a task is booked, and takes effect with the settling
//!    that must follow.
//! 3. A lower limit stops nobody: who runs goes on, and nobody starts until fewer run.
//! 4. A task that weighs more than the limit, though not more than it may become, runs when nobody
//!    else does: so a low limit evicts nobody, and every task runs some day.
//! 5. A leased seat that lies in its word is not in use, though the core counts it as taken: what is
//!    decided by is what is used.
//! 6. There are as many workers as seats, or as tasks on seats if those are more; the rest leave
//!    when they find nothing to do.

use super::{Core, Seeker};
use crate::Ending;
use crate::blocks::worker_pool::config::Scale;
use crate::blocks::worker_pool::crew::WorkerNo;
use crate::blocks::worker_pool::errands::Errands;
use crate::blocks::worker_pool::limit::{Autoscaler, Load, Sample, Tuner, Vegas};
use crate::ground::time::{Instant, Now};

#[derive(Debug)]
pub(super) struct Scaling {
    owner: Owner,
    changes: u64,
    staff: Staff,
    /// Who rests until then to decide.
    watch: Option<(WorkerNo, Instant)>,
}

#[derive(Debug)]
enum Owner {
    Autoscale(Autoscaler),
    Adaptive {
        /// Made with the first sample, which brings the time.
        tuner: Option<Tuner<Vegas>>,
        min: u32,
        max: u32,
        /// Drops that were reported, to be booked with the next tasks that end.
        drops: u32,
        wanted: Option<u32>,
    },
}

/// The numbers of workers: those in use, and gaps between them.
#[derive(Debug)]
struct Staff {
    hired: u32,
    /// Workers beside one for each seat.
    spare: u32,
    vacant: Vec<WorkerNo>,
}

impl Staff {
    fn hire(&mut self) -> WorkerNo {
        let next = WorkerNo(self.hired + self.vacant.len() as u32);
        self.hired += 1;
        self.vacant.pop().unwrap_or(next)
    }

    fn leave(&mut self, who: WorkerNo) {
        self.hired -= 1;
        self.vacant.push(who);
    }
}

impl Scaling {
    /// `None`: the limit is fixed.
    pub(super) fn new(scale: Scale) -> Option<Box<Self>> {
        let (owner, min, spare) = match scale {
            Scale::Fixed(_) => return None,
            Scale::Autoscale(config) => {
                (Owner::Autoscale(Autoscaler::new(config)), config.min as u32, 1)
            }
            Scale::Adaptive { min, max } => {
                (Owner::Adaptive { tuner: None, min, max, drops: 0, wanted: None }, min, 0)
            }
        };
        let staff = Staff { hired: min + spare, spare, vacant: Vec::new() };
        Some(Box::new(Self { owner, changes: 0, staff, watch: None }))
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes
    }
}

impl<T: Seeker> Core<T> {
    /// Workers to begin with.
    pub(in crate::blocks::worker_pool) fn workers(&self) -> u32 {
        self.scaling.as_ref().map_or(self.seats.limit(), |scaling| scaling.staff.hired)
    }

    /// Whether every end is a sample: then all must go through the lock.
    pub(super) fn is_adaptive(&self) -> bool {
        let owner = self.scaling.as_ref().map(|scaling| &scaling.owner);
        matches!(owner, Some(Owner::Adaptive { .. }))
    }

    /// Somebody gets seats, so many.
    #[cold]
    pub(super) fn count_start(&mut self, weight: u32) {
        let in_use = self.in_use() + weight;
        if let Some(scaling) = &mut self.scaling
            && let Owner::Autoscale(autoscaler) = &mut scaling.owner
        {
            autoscaler.started(in_use);
        }
    }

    /// Seats that somebody sits on: not those that are leased and lie idle.
    fn in_use(&self) -> u32 {
        let idle = if self.beside.leased > 0 { self.leases.idle() } else { 0 };
        self.seats.busy().saturating_sub(idle)
    }

    /// A worker found the queue empty.
    #[cold]
    pub(super) fn count_idle(&mut self) {
        if let Some(scaling) = &mut self.scaling
            && let Owner::Autoscale(autoscaler) = &mut scaling.owner
        {
            autoscaler.found_nothing();
        }
    }

    /// Somebody waits, and no seat is free.
    #[cold]
    pub(super) fn count_wait(&mut self, out: &mut Errands<T>) {
        let limit = self.seats.limit();
        if let Some(scaling) = &mut self.scaling
            && let Owner::Autoscale(autoscaler) = &mut scaling.owner
            && autoscaler.waits(limit)
        {
            self.set_watch(out);
        }
    }

    fn set_watch(&mut self, out: &mut Errands<T>) {
        if let Some(worker) = self.roster.rouse(1) {
            out.wake(worker);
        }
    }

    /// What a task calls has too much to do. Counts with the next task that ends.
    pub(in crate::blocks::worker_pool) fn dropped(&mut self) {
        // Of those that run, each is dropped once at most.
        let most = self.seats.len() as u32;
        if let Some(scaling) = &mut self.scaling
            && let Owner::Adaptive { drops, .. } = &mut scaling.owner
        {
            *drops = drops.saturating_add(1).min(most);
        }
    }

    /// A task ended that held so many seats until now.
    #[cold]
    pub(super) fn measure(
        &mut self,
        weight: u32,
        since: Option<Instant>,
        ending: Ending,
        now: impl Now,
    ) {
        let limit = self.seats.limit();
        let busy = self.seats.busy() + weight;
        // Who waits would run as well if he might.
        let in_flight = if self.queue.is_empty() { busy } else { busy.max(limit) };
        let Some(scaling) = &mut self.scaling else { return };
        let Owner::Adaptive { tuner, min, max, drops, wanted } = &mut scaling.owner else { return };
        // Who runs on somebody else's seat says nothing of how many may.
        let Some(since) = since.filter(|_| weight > 0) else { return };
        let is_dropped = *drops > 0;
        *drops = drops.saturating_sub(1);
        if !is_dropped && ending != Ending::Completed {
            // A panic or a cancellation says nothing of what it called.
            return;
        }
        let now = now.get();
        let took = now.saturating_duration_since(since);
        let tuner = tuner.get_or_insert_with(|| Tuner::new(*min, *max, Vegas::default(), since));
        *wanted = Some(tuner.sample(Sample { took, is_dropped, in_flight }, now));
    }

    /// Makes what was decided so, and decides what is due if this worker had the watch.
    #[cold]
    pub(super) fn scale(&mut self, who: Option<WorkerNo>, now: impl Now, out: &mut Errands<T>) {
        let load =
            Load { limit: self.seats.limit(), busy: self.in_use(), waiting: self.queue.len() };
        let Some(scaling) = &mut self.scaling else { return };
        let wanted = match (&mut scaling.owner, scaling.watch) {
            (Owner::Adaptive { wanted, .. }, _) => wanted.take(),
            (Owner::Autoscale(autoscaler), Some((watch, at))) if who == Some(watch) => {
                scaling.watch = None;
                let now = now.get();
                (now >= at).then(|| autoscaler.decide(load, now))
            }
            (Owner::Autoscale(_), _) => None,
        };
        if let Some(wanted) = wanted.filter(|&wanted| wanted != load.limit && !self.closed) {
            self.set_limit(wanted, out);
        }
    }

    fn set_limit(&mut self, limit: u32, out: &mut Errands<T>) {
        let is_lower = limit < self.seats.limit();
        self.seats.set_limit(limit);
        if is_lower {
            self.close_slots();
            self.recall();
        }
        let Some(scaling) = &mut self.scaling else { return };
        scaling.changes += 1;
        let staff = &mut scaling.staff;
        while staff.hired < limit + staff.spare {
            out.more().hired.push(staff.hire());
        }
        for _ in 0..self.surplus() {
            // He leaves when he finds nothing to do.
            let Some(worker) = self.roster.rouse(usize::MAX) else { break };
            out.wake(worker);
        }
    }

    /// Workers of whom none is needed.
    fn surplus(&self) -> u32 {
        let Some(Scaling { staff, .. }) = self.scaling.as_deref() else { return 0 };
        // Tasks that have seats are at most as many as seats ever were: they fit.
        let needed = self.seats.limit().max(self.seats.len() as u32) + staff.spare;
        staff.hired.saturating_sub(needed)
    }

    /// Whether this worker, who found nothing to do, is to go.
    #[inline]
    pub(super) fn dismisses(&mut self, who: WorkerNo, out: &mut Errands<T>) -> bool {
        self.scaling.is_some() && self.dismiss(who, out)
    }

    #[cold]
    fn dismiss(&mut self, who: WorkerNo, out: &mut Errands<T>) -> bool {
        let goes = self.surplus() > 0;
        if goes && let Some(scaling) = &mut self.scaling {
            scaling.staff.leave(who);
            self.roster.left(who);
            self.pass_watch_on(out);
        }
        goes
    }

    /// A worker rests: until when, if he is to take the watch.
    #[inline]
    pub(super) fn rest(&mut self, who: WorkerNo, now: impl Now) -> Option<Instant> {
        let due = if self.scaling.is_some() { self.take_watch(who, now) } else { None };
        match due {
            None => self.roster.rest(who),
            Some(_) => self.roster.keep_watch(who),
        }
        due
    }

    #[cold]
    fn take_watch(&mut self, who: WorkerNo, now: impl Now) -> Option<Instant> {
        let limit = self.seats.limit();
        let scaling = self.scaling.as_mut()?;
        let Owner::Autoscale(autoscaler) = &mut scaling.owner else { return None };
        if scaling.watch.is_some() && !autoscaler.has_news() {
            return None;
        }
        let due = autoscaler.due(limit, now)?;
        if scaling.watch.is_some_and(|(_, at)| at <= due) {
            return None;
        }
        scaling.watch = Some((who, due));
        Some(due)
    }

    /// A worker does not rest: somebody must have the watch.
    #[cold]
    pub(super) fn pass_watch_on(&mut self, out: &mut Errands<T>) {
        let limit = self.seats.limit();
        if let Some(scaling) = &self.scaling
            && let Owner::Autoscale(autoscaler) = &scaling.owner
            && (scaling.watch.is_none() || autoscaler.has_news())
            && autoscaler.is_watched(limit)
        {
            self.set_watch(out);
        }
    }
}
