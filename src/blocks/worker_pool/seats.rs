//! Who sits where: everything that runs now.

use super::crew::WorkerNo;
use super::task::TaskId;
use crate::ground::time::Instant;

/// The seats of a pool, and who has taken them.
#[derive(Debug)]
pub(super) struct Seats {
    limit: u32,
    /// What the limit may become.
    max: u32,
    busy: u32,
    seated: Vec<Option<Seated>>,
    vacant: Vec<u32>,
}

/// Names a taken seat until it is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SeatNo(u32);

/// One that runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seated {
    pub(super) id: TaskId,
    pub(super) weight: u32,
    /// When it began, of those that are timed.
    pub(super) since: Option<Instant>,
    pub(super) runner: Runner,
}

/// Who polls what has a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runner {
    Worker(WorkerNo),
    /// Whoever awaits the task.
    Helper,
    /// A caller of `run`.
    Caller,
}

impl Seated {
    /// A caller of `run`, or a task on the seat of whoever awaits it: it goes on only when that one is
    /// polled.
    pub(super) fn is_run_by_caller(&self) -> bool {
        self.runner == Runner::Caller || self.weight == 0
    }
}

impl Seats {
    pub(super) fn new(limit: u32, max: u32) -> Self {
        Self { limit, max, busy: 0, seated: Vec::new(), vacant: Vec::new() }
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// From now on. Those who have a seat keep it.
    pub(super) fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    pub(super) fn max(&self) -> u32 {
        self.max
    }

    pub(super) fn busy(&self) -> u32 {
        self.busy
    }

    #[inline]
    pub(super) fn free(&self) -> u32 {
        self.limit.saturating_sub(self.busy)
    }

    /// The most that the next one may weigh. Alone it may weigh more than there are seats just now.
    #[inline]
    pub(super) fn room(&self) -> u32 {
        if self.busy == 0 { self.max } else { self.free() }
    }

    /// How many run, counted from the table itself.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.seated.len() - self.vacant.len()
    }

    /// The caller has looked at [`room`](Self::room).
    #[inline]
    pub(super) fn sit(&mut self, one: Seated) -> SeatNo {
        debug_assert!(one.weight <= self.room(), "nobody sits on anybody's lap");
        self.keep(one)
    }

    /// The same for one that has had a seat, which was taken back just now: though there may be fewer
    /// by now.
    #[inline]
    pub(super) fn keep(&mut self, one: Seated) -> SeatNo {
        self.busy += one.weight;
        match self.vacant.pop() {
            Some(no) => {
                self.seated[no as usize] = Some(one);
                SeatNo(no)
            }
            None => {
                self.seated.push(Some(one));
                // Never more than `limit`, a u32.
                SeatNo((self.seated.len() - 1) as u32)
            }
        }
    }

    /// Seats that are given out beside the table.
    pub(super) fn lend(&mut self, seats: u32) {
        debug_assert!(seats <= self.free(), "what is lent is free");
        self.busy += seats;
    }

    /// So many of those have come back.
    pub(super) fn take_back(&mut self, seats: u32) {
        self.busy -= seats;
    }

    /// Gives the seat up; `None` only for a seat given up before, which is a bug of ours.
    #[inline]
    pub(super) fn rise(&mut self, no: SeatNo) -> Option<Seated> {
        let one = self.seated.get_mut(no.0 as usize)?.take();
        debug_assert!(one.is_some(), "a seat is given up once");
        if let Some(one) = &one {
            self.busy -= one.weight;
            self.vacant.push(no.0);
        }
        one
    }

    /// A worker goes on with what somebody else began.
    pub(super) fn take_over(&mut self, no: SeatNo, who: WorkerNo) {
        if let Some(Some(one)) = self.seated.get_mut(no.0 as usize) {
            one.runner = Runner::Worker(who);
        }
    }

    /// Everybody who runs, in the order of the seats.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Seated> {
        self.seated.iter().flatten()
    }
}
