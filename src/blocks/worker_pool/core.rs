//! The pool without its tasks: queue, room, seats, ledger and estimate. Pure: every verb takes
//! `now`, and leaves what is to be dropped, woken or told in [`Errands`].

mod door;
mod helping;
mod lending;
mod scaling;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

pub(super) use door::{Door, No, Step};
use lending::Beside;
use scaling::Scaling;

use super::config::{Limits, Sample};
use super::crew::{Next, Roster, WorkerNo};
use super::drain::Drain;
use super::errands::Errands;
use super::lease::{Leases, Tally};
use super::meters::Meters;
use super::metrics::Refusals;
use super::pace::Pace;
use super::pressure::Gauge;
use super::seats::{Runner, SeatNo, Seated, Seats};
use super::task::TaskId;
use crate::gates::wait_queue::{Granted, Place, Plan, Room, Take, Ticket, WaitQueue};
use crate::ground::metrics::Mean;
use crate::ground::rng::Rng;
use crate::ground::time::{Instant, Now, earlier};
use crate::{Ending, Enforcement, Ledger, Priority, Reason};

/// Tasks that take less than this are done one after another sooner than by several workers: about
/// what it costs to wake a thread.
const SHORT: Duration = Duration::from_micros(5);
/// So many short ones before a second worker is woken although one is about to look.
const BACKLOG: usize = 16;

/// What stands in the queue.
pub(super) trait Seeker: Sized {
    /// Where a task lies beside the lock.
    type Slot: TaskSlot<Self>;

    /// Whether it is a caller of `run`, who waits for a seat, rather than a task.
    fn is_caller(&self) -> bool;

    fn class(&self) -> Priority;

    /// Its number, given by `next` if it has none yet.
    fn number(&self, next: impl FnOnce() -> u64) -> TaskId;

    /// Its number from here on; it has none yet, and nobody else knows of it.
    fn set_number(&self, number: TaskId);

    /// Whether somebody is called at its end.
    fn has_callback(&self) -> bool;
}

/// A place for one task, into which it is put without the lock. What is here is done under it.
pub(super) trait TaskSlot<T>: Default {
    fn open(&self);

    /// What lies here; the slot stays open.
    fn look(&self) -> Option<T>;

    /// What lies here, and nothing will any more.
    fn close(&self) -> Option<T>;
}

#[derive(Debug)]
pub(super) struct Core<T: Seeker> {
    queue: WaitQueue<T>,
    room: Room,
    seats: Seats,
    pub(super) roster: Roster,
    ledger: Ledger,
    refused: Refusals,
    /// What was let in although it would have been refused or displaced somebody.
    would_refuse: Refusals,
    enforcement: Enforcement,
    /// Decides whom a share of enforcement spares.
    rng: Rng,
    gauge: Gauge,
    timing: Sample,
    pub(super) meters: Arc<Meters>,
    pub(super) leases: Arc<Leases<T::Slot>>,
    beside: Beside,
    service: Mean,
    drain: Drain,
    pace: Pace,
    /// Begun by whoever awaits them, and to be gone on with by a worker. They have their seats.
    handed: VecDeque<Job<T>>,
    /// Who awaits a task and runs it just now.
    helpers: usize,
    /// What runs on somebody else's seat: it counts as if it still waited.
    nested: usize,
    /// Those of them that went back into the queue, and may have left it since.
    put_back: Vec<Ticket>,
    /// No worker will ever pull again.
    deserted: bool,
    /// By the mean service time; not while there is none.
    is_short: bool,
    /// Callers of `run` in the queue: they take places and are not accepted yet.
    callers: usize,
    /// Something heavy or with a deadline waits, or did since the queue was last empty: its head
    /// is looked at before somebody is woken for it.
    is_mixed: bool,
    capacity: usize,
    closed: bool,
    /// A place in the queue came free since the room was last told that somebody waits in.
    place_freed: bool,
    /// Left the queue with a callback that has not been called yet.
    untold: usize,
    /// The deadline of a heavy head that some resting worker waits for.
    watched: Option<Instant>,
    /// `None`: the limit is fixed.
    scaling: Option<Box<Scaling>>,
}

/// A task that has got its seat.
#[derive(Debug)]
pub(super) struct Job<T> {
    pub(super) seat: SeatNo,
    pub(super) task: T,
}

impl<T: Seeker> Core<T> {
    pub(super) fn new(limits: Limits) -> Self {
        let queue = WaitQueue::new(limits.rules);
        let gauge = Gauge::new(queue.limit(Priority::Low), queue.limit(Priority::Normal));
        let (seats, max) = limits.scale.bounds();
        Self {
            queue,
            room: Room::new(limits.rules),
            seats: Seats::new(seats, max),
            roster: Roster::default(),
            ledger: Ledger::default(),
            refused: Refusals::default(),
            would_refuse: Refusals::default(),
            enforcement: limits.enforcement,
            rng: Rng::seeded(limits.seed),
            gauge,
            timing: limits.timing,
            meters: Arc::new(Meters::new(limits.timing)),
            untold: 0,
            leases: Arc::new(Leases::new()),
            beside: Beside::default(),
            service: Mean::default(),
            drain: Drain::default(),
            pace: Pace::default(),
            handed: VecDeque::new(),
            helpers: 0,
            nested: 0,
            put_back: Vec::new(),
            deserted: false,
            is_short: false,
            callers: 0,
            is_mixed: false,
            capacity: limits.rules.cap,
            closed: false,
            place_freed: false,
            watched: None,
            scaling: Scaling::new(limits.scale),
        }
    }

    /// After every verb: the level of pressure, if it has changed, is to be told.
    #[inline]
    pub(super) fn gauge(&mut self, out: &mut Errands<T>) {
        let depth = self.queue.len();
        if !self.gauge.is_at(depth) {
            out.more().pressure = self.gauge.moved(depth);
        }
    }

    /// Carries a plan out. The seat of a caller of `run` may be among the errands at once.
    #[inline]
    pub(super) fn enqueue(
        &mut self,
        plan: Plan,
        place: &Place,
        one: T,
        now: impl Now,
        out: &mut Errands<T>,
    ) -> Ticket {
        match one.is_caller() {
            true => self.callers += 1,
            false => self.ledger.accepted += 1,
        }
        if self.is_mixed {
            if self.queue.depth(place.class) == 0 {
                self.pace.begins(place.class);
            }
        } else if !place.is_light() {
            self.is_mixed = true;
            self.pace = Pace::default();
        }
        // The one that `commit` gives it.
        one.set_number(TaskId(self.queue.number() + 1));
        // Whoever took a seat beside the lock from here on would go ahead of this one.
        self.recall();
        let committed = self.queue.commit(plan, *place, one, now);
        match committed.evicted {
            Some(victim) => self.left(victim, Ending::Evicted, out),
            None if self.callers == 0 && !self.is_mixed => {
                match self.seats.free() > 0 {
                    true => self.rouse(out),
                    false if self.scaling.is_some() => self.count_wait(out),
                    false => {}
                }
                return committed.ticket;
            }
            None => {}
        }
        self.settle(now, out);
        committed.ticket
    }

    // Always: as `book`.
    #[inline(always)]
    fn sit(&mut self, id: TaskId, weight: u32, runner: Runner, now: impl Now) -> SeatNo {
        let since = self.timing.includes(id.0).then(|| now.get());
        if self.scaling.is_some() {
            self.count_start(weight);
        }
        self.seats.sit(Seated { id, weight, since, runner })
    }

    /// A worker asks for work.
    #[inline]
    pub(super) fn pull(
        &mut self,
        who: WorkerNo,
        has_worked: bool,
        now: impl Now,
        out: &mut Errands<T>,
    ) -> Next<Job<T>> {
        self.look_into_slots();
        if self.scaling.is_some() {
            self.scale(Some(who), now, out);
        }
        let job = match self.handed.pop_front() {
            Some(job) => {
                self.seats.take_over(job.seat, who);
                Some(job)
            }
            None => self.take(who, now, out),
        };
        if job.is_some() {
            // Whoever kept watch may be this one.
            self.watched = None;
        }
        if !self.queue.is_empty() || self.place_freed || self.closed {
            self.settle(now, out);
        }
        if !self.handed.is_empty() {
            self.rouse(out);
        }
        match job {
            Some(job) => {
                if self.scaling.is_some() {
                    self.pass_watch_on(out);
                }
                Next::Job(job)
            }
            None if self.is_over() || self.dismisses(who, out) => Next::Leave,
            None if has_worked && self.queue.is_empty() && self.roster.lingers(who) => Next::Linger,
            None => {
                let head = if self.is_mixed { self.queue.head() } else { None };
                let deadline = head.and_then(|head| head.deadline);
                let due = self.rest(who, now);
                Next::Rest { until: earlier(deadline, due) }
            }
        }
    }

    /// A worker is spent: whether it is to look once more later, for there is work. Whoever rests
    /// may do it sooner.
    pub(super) fn pauses(&mut self, now: impl Now, out: &mut Errands<T>) -> bool {
        self.look_into_slots();
        if self.queue.is_empty() && self.handed.is_empty() {
            return false;
        }
        self.settle(now, out);
        if !self.handed.is_empty() {
            self.rouse(out);
        }
        true
    }

    /// The next task that fits; seats every caller of `run` whose turn comes before.
    #[inline]
    fn take(&mut self, who: WorkerNo, now: impl Now, out: &mut Errands<T>) -> Option<Job<T>> {
        loop {
            match self.queue.take(self.seats.room(), now) {
                Take::Granted(granted) => {
                    if let Some(job) = self.seat(granted, Runner::Worker(who), now, out) {
                        return Some(job);
                    }
                }
                Take::Expired(one) => self.left(one, Ending::Expired, out),
                Take::TooLarge(one) | Take::Shed(one) => self.left(one, Ending::Evicted, out),
                Take::Short { .. } => return None,
                Take::Empty => {
                    self.is_mixed = false;
                    if self.scaling.is_some() {
                        self.count_idle();
                    }
                    return None;
                }
            }
        }
    }

    #[inline]
    fn seat(
        &mut self,
        granted: Granted<T>,
        runner: Runner,
        now: impl Now,
        out: &mut Errands<T>,
    ) -> Option<Job<T>> {
        self.place_freed |= self.room.len() > 0;
        self.drain.started(self.queue.is_empty(), now);
        if self.is_mixed {
            self.pace.started(granted.class, now.get());
        }
        let (id, weight) = (TaskId(granted.accept_no), granted.weight.get());
        if granted.value.is_caller() {
            self.callers -= 1;
            self.ledger.accepted += 1;
            let seat = self.sit(id, weight, Runner::Caller, now);
            out.more().seated.push((granted.value, seat));
            return None;
        }
        let seat = self.sit(id, weight, runner, now);
        Some(Job { seat, task: granted.value })
    }

    /// Books the end of what ran, and frees its seat. Then somebody must [`pull`](Self::pull) or
    /// [`settle`](Self::settle).
    // Always: as a call it costs a task some ten instructions more, whether anything is measured or not.
    #[inline(always)]
    pub(super) fn book(&mut self, seat: SeatNo, ending: Ending, now: impl Now) {
        let Some(seated) = self.seats.rise(seat) else { return };
        self.ledger.record(ending, 1);
        if seated.weight == 0 {
            self.left_nest();
        }
        if self.scaling.is_some() {
            self.measure(seated.weight, seated.since, ending, now);
        }
        if let (Some(since), Ending::Completed | Ending::Failed) = (seated.since, ending) {
            let took = now.get().saturating_duration_since(since);
            self.service.sample(took);
            self.meters.runs.record(took);
            self.mean_moved();
        }
    }

    /// What follows from the mean service time.
    fn mean_moved(&mut self) {
        if let Some(mean) = self.service.get() {
            self.is_short = mean < SHORT;
            self.queue.set_mean_service(mean);
        }
    }

    /// Takes a waiting task out of line, or has whoever runs it look up.
    pub(super) fn cancel(&mut self, ticket: Ticket, now: impl Now, out: &mut Errands<T>) {
        if let Some(one) = self.queue.cancel(ticket) {
            self.left(one, Ending::Cancelled, out);
            self.settle(now, out);
            return;
        }
        let seated = self.seats.iter().find(|seated| seated.id == TaskId(ticket.serial));
        if let Some(&Seated { runner: Runner::Worker(worker), .. }) = seated {
            self.roster.waker(worker).into_iter().for_each(|waker| out.wake(waker));
        }
    }

    /// The time of a caller of `run` is up. Nothing if it is out of line by now: whoever took it
    /// out has counted it.
    pub(super) fn overdue(&mut self, ticket: Ticket, now: impl Now, out: &mut Errands<T>) {
        if let Some(one) = self.queue.cancel(ticket) {
            self.left(one, Ending::Expired, out);
            self.settle(now, out);
        }
    }

    /// One left the queue unstarted. A caller of `run` was not accepted: that is a refusal, but
    /// for one who went of his own will.
    fn left(&mut self, one: T, ending: Ending, out: &mut Errands<T>) {
        if self.queue.is_empty() {
            self.drain.forget();
        }
        self.place_freed |= self.room.len() > 0;
        if one.is_caller() {
            self.callers -= 1;
            if let Some(reason) = refusal(ending) {
                self.refused.count(reason, 1);
            }
        } else {
            self.ledger.record(ending, 1);
            self.untold += usize::from(one.has_callback());
        }
        out.more().left.push((one, ending));
    }

    /// No new work from here on.
    pub(super) fn close(&mut self, now: impl Now, out: &mut Errands<T>) {
        self.closed = true;
        self.close_slots();
        out.more().pressure = self.gauge.close();
        self.recall();
        let waiting = self.room.close();
        out.more().wakers.extend(waiting);
        self.settle(now, out);
    }

    /// The end: closes, and empties the queue. Who runs is to be stopped by the owner, whose
    /// workers are all woken.
    pub(super) fn halt(&mut self, ending: Ending, now: impl Now, out: &mut Errands<T>) {
        self.close_slots();
        let callers = std::mem::take(&mut self.callers);
        let begun = self.begun_in_queue();
        self.ledger.record(Ending::Cancelled, begun as u64);
        self.ledger.record(ending, (self.queue.len() - callers - begun) as u64);
        self.refused.count(Reason::Closed, callers as u64);
        let more = out.more();
        more.drained = Some(Box::new((self.queue.close(), ending)));
        self.untold += 1;
        more.wakers.extend(self.roster.everybody());
        self.close(now, out);
    }

    /// So many callbacks of what left the queue have been called; those of a whole queue together
    /// are one. Then somebody must settle.
    pub(super) fn told(&mut self, callbacks: usize) {
        self.untold -= callbacks;
    }

    /// After every change: seats callers of `run`, rouses a worker when a task could start, tells
    /// the room of free places, and sees whether the end has come.
    pub(super) fn settle(&mut self, now: impl Now, out: &mut Errands<T>) {
        if self.scaling.is_some() {
            self.scale(None, now, out);
        }
        if self.callers > 0 || self.is_mixed {
            self.serve(now, out);
        } else if !self.queue.is_empty() && self.seats.free() > 0 {
            self.rouse(out);
        }
        if self.scaling.is_some() && !self.queue.is_empty() && self.seats.free() == 0 {
            self.count_wait(out);
        }
        if std::mem::take(&mut self.place_freed) {
            let head = self.room.next();
            out.more().wakers.extend(head);
        }
        if self.closed && self.queue.is_empty() {
            let leased = self.beside.leased as usize;
            let ended = self.seats.len() + leased + self.untold == 0;
            let leaving = if self.is_over() { self.roster.rouse_all() } else { Vec::new() };
            let more = out.more();
            more.wakers.extend(leaving);
            more.ended |= ended;
        }
    }

    /// See the head of `crew.rs`.
    #[inline]
    fn rouse(&mut self, out: &mut Errands<T>) {
        let waiting = self.queue.len();
        if self.is_short {
            let enough = if waiting < BACKLOG { 1 } else { 2 };
            if let Some(worker) = self.roster.rouse(enough) {
                out.wake(worker);
            }
            return;
        }
        let startable = waiting.min(self.seats.free() as usize) + self.handed.len();
        let startable = startable + self.beside.slots();
        while let Some(worker) = self.roster.rouse(startable.max(1)) {
            out.wake(worker);
        }
    }

    /// Looks at the head before anybody is woken for it.
    fn serve(&mut self, now: impl Now, out: &mut Errands<T>) {
        while !self.queue.is_empty() {
            // With nothing to offer nobody is granted: only the expired leave.
            match self.queue.take(0, now) {
                Take::Expired(one) => self.left(one, Ending::Expired, out),
                Take::TooLarge(one) | Take::Shed(one) => self.left(one, Ending::Evicted, out),
                Take::Granted(_) | Take::Empty => return,
                Take::Short { missing } if missing > self.seats.room() => {
                    return self.watch_head(out);
                }
                Take::Short { .. } => match self.queue.head().map(|head| head.value.is_caller()) {
                    Some(true) => self.seat_caller(now, out),
                    Some(false) => return self.rouse(out),
                    None => return,
                },
            }
        }
    }

    /// A head too heavy for what is free holds up what would fit. Should its deadline pass before
    /// a seat comes free, somebody must be there to see it: a worker that rests until then.
    fn watch_head(&mut self, out: &mut Errands<T>) {
        let deadline = self.queue.head().and_then(|head| head.deadline);
        if deadline.is_some() && self.watched != deadline {
            self.watched = deadline;
            self.rouse(out);
        }
    }

    /// Seats the head, a caller of `run` that fits.
    fn seat_caller(&mut self, now: impl Now, out: &mut Errands<T>) {
        if let Take::Granted(granted) = self.queue.take(self.seats.room(), now) {
            let job = self.seat(granted, Runner::Caller, now, out);
            debug_assert!(job.is_none(), "the head was a caller of run");
        }
    }

    /// The ledger with its independent count of what is live: the queue's own and the seats'.
    /// Of those on leased seats it is derived, for they come and go beside the lock.
    pub(super) fn ledger(&self) -> Ledger {
        self.ledger_with(&self.leases.look())
    }

    fn ledger_with(&self, tally: &Tally) -> Ledger {
        let claims = self.beside.claims + tally.claims - tally.withdrawn;
        let live = self.queue.len() - self.callers + self.seats.len();
        let mut ledger = self.ledger.with_live(live);
        ledger.accepted += claims;
        ledger.completed += tally.completed;
        ledger.failed += tally.failed;
        ledger.cancelled += tally.cancelled;
        ledger.live += self.beside.claims + tally.claims - tally.over() - self.beside.moved;
        ledger
    }

    /// The tasks that run in the pool's hands.
    pub(super) fn running(&self) -> impl Iterator<Item = TaskId> {
        let tasks = self.seats.iter().filter(|seated| !seated.is_run_by_caller());
        tasks.map(|seated| seated.id)
    }

    /// A look at all, with those in the queue that lay beside it.
    pub(super) fn take_stock(&mut self) -> Look {
        self.close_slots();
        self.look()
    }

    pub(super) fn look(&self) -> Look {
        let tally = self.leases.look();
        Look {
            depth: Priority::ALL.map(|class| self.queue.depth(class)),
            capacity: self.capacity,
            busy: self.seats.busy() - tally.seats,
            limit: self.seats.limit(),
            limit_changes: self.scaling.as_ref().map_or(0, |scaling| scaling.changes()),
            room: self.room.len(),
            ledger: self.ledger_with(&tally),
            refused: self.refused,
            would_refuse: self.would_refuse,
            mean_service: self.service.get(),
        }
    }
}

/// What a caller of `run` is told who left the queue so; nothing if of his own will.
fn refusal(ending: Ending) -> Option<Reason> {
    match ending {
        Ending::Expired => Some(Reason::Expired),
        Ending::Evicted => Some(Reason::Evicted),
        Ending::Returned => Some(Reason::Closed),
        Ending::Cancelled | Ending::Completed | Ending::Failed | Ending::Superseded => None,
    }
}

/// A snapshot without the name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) depth: [usize; 4],
    pub(super) capacity: usize,
    pub(super) busy: u32,
    pub(super) limit: u32,
    pub(super) limit_changes: u64,
    pub(super) room: usize,
    pub(super) ledger: Ledger,
    pub(super) refused: Refusals,
    pub(super) would_refuse: Refusals,
    pub(super) mean_service: Option<Duration>,
}
