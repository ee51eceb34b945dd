//! The pool without its tasks: queue, room, seats, ledger and estimate. Pure: every verb takes
//! `now`, and leaves what is to be dropped, woken or told in [`Errands`].

mod door;

use std::time::{Duration, Instant};

pub(super) use door::{Door, No, Step};

use super::config::Limits;
use super::crew::{Idlers, Next};
use super::errands::{Errands, Queued};
use super::metrics::Refusals;
use super::seats::{SeatNo, Seated, Seats};
use super::task::TaskId;
use crate::gates::wait_queue::{Granted, Place, Plan, Room, Take, Ticket, WaitQueue};
use crate::ground::metrics::Mean;
use crate::{Ending, Ledger, Priority, Reason};

/// `T` is a task, `W` a caller that waits inside `run`.
#[derive(Debug)]
pub(super) struct Core<T, W> {
    queue: WaitQueue<Queued<T, W>>,
    room: Room,
    seats: Seats<T>,
    idlers: Idlers,
    ledger: Ledger,
    refused: Refusals,
    service: Mean,
    /// Callers of `run` in the queue: they take places and are not accepted yet.
    inline: usize,
    ids: u64,
    capacity: usize,
    closed: bool,
    /// A place in the queue came free since the room was last told.
    place_freed: bool,
    /// The deadline of a heavy head that some resting worker waits for.
    watched: Option<Instant>,
}

/// A task that has got its seat.
#[derive(Debug)]
pub(super) struct Job<T> {
    pub(super) seat: SeatNo,
    pub(super) task: T,
    pub(super) started: Instant,
}

impl<T: Clone, W> Core<T, W> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            queue: WaitQueue::new(limits.rules),
            room: Room::new(limits.rules),
            seats: Seats::new(limits.seats),
            idlers: Idlers::default(),
            ledger: Ledger::default(),
            refused: Refusals::default(),
            service: Mean::default(),
            inline: 0,
            ids: 0,
            capacity: limits.rules.cap,
            closed: false,
            place_freed: false,
            watched: None,
        }
    }

    /// Carries a plan out for a task.
    pub(super) fn enqueue(
        &mut self,
        plan: Plan,
        place: Place,
        task: T,
        now: Instant,
        out: &mut Errands<T, W>,
    ) -> (Ticket, TaskId) {
        self.ledger.accepted += 1;
        let id = self.next_id();
        (self.stand(plan, place, Queued::Task(id, task), now, out), id)
    }

    /// Carries a plan out for a caller of `run`. Its seat may be among the errands at once.
    pub(super) fn enqueue_inline(
        &mut self,
        plan: Plan,
        place: Place,
        waiter: W,
        now: Instant,
        out: &mut Errands<T, W>,
    ) -> Ticket {
        self.inline += 1;
        let id = self.next_id();
        self.stand(plan, place, Queued::Inline(id, waiter), now, out)
    }

    fn stand(
        &mut self,
        plan: Plan,
        place: Place,
        queued: Queued<T, W>,
        now: Instant,
        out: &mut Errands<T, W>,
    ) -> Ticket {
        let committed = self.queue.commit(plan, place, queued, now);
        if let Some(victim) = committed.evicted {
            self.left(victim, Ending::Evicted, out);
        }
        self.settle(now, out);
        committed.ticket
    }

    fn next_id(&mut self) -> TaskId {
        self.ids += 1;
        TaskId(self.ids)
    }

    /// A seat at once for a caller of `run`, when nobody waits and it fits.
    pub(super) fn sit_inline(&mut self, place: &Place, now: Instant) -> Option<SeatNo> {
        let weight = place.weight.get();
        if !self.queue.is_empty() || weight > self.seats.free() {
            return None;
        }
        let id = self.next_id();
        self.ledger.accepted += 1;
        Some(self.seats.sit(Seated { id, weight, since: now, task: None }))
    }

    /// A worker asks for work.
    pub(super) fn pull(&mut self, now: Instant, out: &mut Errands<T, W>) -> Next<Job<T>> {
        let job = self.take(now, out);
        if job.is_some() {
            // Whoever kept watch may be this one.
            self.watched = None;
        }
        self.settle(now, out);
        match job {
            Some(job) => Next::Job(job),
            None if self.closed && self.queue.is_empty() => Next::Leave,
            None => {
                self.idlers.rest();
                Next::Idle { until: self.queue.head().and_then(|head| head.deadline) }
            }
        }
    }

    /// A roused worker is there.
    pub(super) fn arrived(&mut self) {
        self.idlers.arrived();
    }

    pub(super) fn late(&mut self) {
        self.idlers.late();
    }

    /// The next task that fits; seats every caller of `run` whose turn comes before.
    fn take(&mut self, now: Instant, out: &mut Errands<T, W>) -> Option<Job<T>> {
        loop {
            match self.queue.take(self.seats.free(), now) {
                Take::Granted(granted) => {
                    if let Some(job) = self.seat(granted, now, out) {
                        return Some(job);
                    }
                }
                Take::Expired(queued) => self.left(queued, Ending::Expired, out),
                Take::TooLarge(queued) => self.left(queued, Ending::Evicted, out),
                Take::Short { .. } | Take::Empty => return None,
            }
        }
    }

    fn seat(
        &mut self,
        granted: Granted<Queued<T, W>>,
        now: Instant,
        out: &mut Errands<T, W>,
    ) -> Option<Job<T>> {
        self.place_freed = true;
        let weight = granted.weight.get();
        match granted.value {
            Queued::Task(id, task) => {
                let kept = Some(task.clone());
                let seat = self.seats.sit(Seated { id, weight, since: now, task: kept });
                Some(Job { seat, task, started: now })
            }
            Queued::Inline(id, waiter) => {
                self.inline -= 1;
                self.ledger.accepted += 1;
                let seat = self.seats.sit(Seated { id, weight, since: now, task: None });
                out.granted.push((waiter, seat));
                None
            }
        }
    }

    /// Books the end of what ran, and frees its seat. Then somebody must [`pull`](Self::pull) or
    /// [`settle`](Self::settle).
    pub(super) fn book(&mut self, seat: SeatNo, ending: Ending, now: Instant) {
        let Some(seated) = self.seats.rise(seat) else { return };
        self.ledger.record(ending, 1);
        if matches!(ending, Ending::Completed | Ending::Failed) {
            self.service.sample(now.saturating_duration_since(seated.since));
        }
    }

    /// Takes a waiting task out of line; whether it still waited.
    pub(super) fn cancel(&mut self, ticket: Ticket, now: Instant, out: &mut Errands<T, W>) -> bool {
        let Some(queued) = self.queue.cancel(ticket) else { return false };
        self.left(queued, Ending::Cancelled, out);
        self.settle(now, out);
        true
    }

    /// One left the queue unstarted. A caller of `run` was not accepted: that is a refusal, but
    /// for one who went of his own will.
    fn left(&mut self, queued: Queued<T, W>, ending: Ending, out: &mut Errands<T, W>) {
        self.place_freed = true;
        match queued {
            Queued::Task(..) => self.ledger.record(ending, 1),
            Queued::Inline(..) => {
                self.inline -= 1;
                if let Some(reason) = refusal(ending) {
                    self.refused.count(reason, 1);
                }
            }
        }
        out.left.push((queued, ending));
    }

    /// No new work from here on.
    pub(super) fn close(&mut self, now: Instant, out: &mut Errands<T, W>) {
        self.closed = true;
        out.wakers.extend(self.room.close());
        self.settle(now, out);
    }

    /// The end: closes, empties the queue, and asks everything that runs to stop.
    pub(super) fn halt(&mut self, ending: Ending, now: Instant, out: &mut Errands<T, W>) {
        let inline = std::mem::take(&mut self.inline);
        self.ledger.record(ending, (self.queue.len() - inline) as u64);
        self.refused.count(Reason::Closed, inline as u64);
        out.drained = Some((self.queue.close(), ending));
        out.stops.extend(self.seats.iter().filter_map(|seated| seated.task.clone()));
        self.close(now, out);
    }

    /// After every change: drops expired heads, seats callers of `run`, rouses a worker when a
    /// task could start, tells the room of free places, and sees whether the end has come.
    pub(super) fn settle(&mut self, now: Instant, out: &mut Errands<T, W>) {
        self.serve(now, out);
        if std::mem::take(&mut self.place_freed) && self.room.len() > 0 {
            out.wakers.extend(self.room.next());
        }
        if self.closed && self.queue.is_empty() {
            out.rings += self.idlers.rouse_all();
            out.ended |= self.seats.len() == 0;
        }
    }

    fn serve(&mut self, now: Instant, out: &mut Errands<T, W>) {
        while !self.queue.is_empty() {
            // With nothing to offer nobody is granted: only the expired leave.
            match self.queue.take(0, now) {
                Take::Expired(queued) => self.left(queued, Ending::Expired, out),
                Take::TooLarge(queued) => self.left(queued, Ending::Evicted, out),
                Take::Granted(_) | Take::Empty => return,
                Take::Short { missing } if missing > self.seats.free() => {
                    return self.watch_head(out);
                }
                Take::Short { .. } => match self.queue.head().map(|head| head.value) {
                    Some(Queued::Inline(..)) => self.seat_inline(now, out),
                    Some(Queued::Task(..)) => {
                        out.rings += usize::from(self.idlers.rouse());
                        return;
                    }
                    None => return,
                },
            }
        }
    }

    /// A head too heavy for what is free holds up what would fit. Should its deadline pass before
    /// a seat comes free, somebody must be there to see it: a worker that rests until then.
    fn watch_head(&mut self, out: &mut Errands<T, W>) {
        let deadline = self.queue.head().and_then(|head| head.deadline);
        if deadline.is_some() && self.watched != deadline {
            self.watched = deadline;
            out.rings += usize::from(self.idlers.rouse());
        }
    }

    /// Seats the head, a caller of `run` that fits.
    fn seat_inline(&mut self, now: Instant, out: &mut Errands<T, W>) {
        if let Take::Granted(granted) = self.queue.take(self.seats.free(), now) {
            let job = self.seat(granted, now, out);
            debug_assert!(job.is_none(), "the head was a caller of run");
        }
    }

    /// The ledger with its independent count of what is live: the queue's own and the seats'.
    pub(super) fn ledger(&self) -> Ledger {
        self.ledger.with_live(self.queue.len() - self.inline + self.seats.len())
    }

    /// Everything that has a seat.
    pub(super) fn seated(&self) -> impl Iterator<Item = TaskId> {
        self.seats.iter().map(|seated| seated.id)
    }

    pub(super) fn look(&self) -> Look {
        Look {
            depth: Priority::ALL.map(|class| self.queue.depth(class)),
            capacity: self.capacity,
            busy: self.seats.busy(),
            limit: self.seats.limit(),
            room: self.room.len(),
            ledger: self.ledger(),
            refused: self.refused,
            mean_service: self.service.get(),
        }
    }
}

/// What a caller of `run` is told who left the queue so; nothing if of his own will.
pub(super) fn refusal(ending: Ending) -> Option<Reason> {
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
    pub(super) room: usize,
    pub(super) ledger: Ledger,
    pub(super) refused: Refusals,
    pub(super) mean_service: Option<Duration>,
}
