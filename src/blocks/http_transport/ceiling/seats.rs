//! Who gets a place. Nothing is called here: who is to be is returned.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::ground::primitives::Mutex;
use crate::ground::primitives::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::ground::priority::Priority;

/// A pool, as long as it lasts.
pub(in crate::blocks::http_transport) type SeatId = u64;

/// Pools with something on its way to them: each is to look again, with no lock held.
pub(in crate::blocks::http_transport) type Calls = Vec<SeatId>;

/// What a pool says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::blocks::http_transport) struct Wants {
    /// How many of its requests could dial if there were places.
    pub(in crate::blocks::http_transport) places: usize,
    /// The highest class among them.
    pub(in crate::blocks::http_transport) class: Option<Priority>,
    /// Its connections that are being closed at once.
    pub(in crate::blocks::http_transport) leaving: usize,
}

/// See the head of [`ceiling`](super) for the invariants.
#[derive(Debug)]
pub(in crate::blocks::http_transport) struct Ceiling {
    state: Mutex<State>,
    /// Idle connections are to be closed. Written under the lock.
    is_short: AtomicBool,
    /// Idle connections of all pools. Each pool's are counted under its lock.
    idle: AtomicUsize,
}

#[derive(Debug)]
struct State {
    most: usize,
    taken: usize,
    seats: Vec<Entry>,
    /// Pools seated and places given so far.
    serial: u64,
    /// Idle connections that somebody is about to close.
    claimed: usize,
}

#[derive(Debug)]
struct Entry {
    seat: SeatId,
    wants: Wants,
    /// On their way to it. No more than it wants.
    granted: usize,
    /// When it was served last.
    served: u64,
}

impl Ceiling {
    pub(in crate::blocks::http_transport) fn new(most: usize) -> Self {
        let state = State { most, taken: 0, seats: Vec::new(), serial: 0, claimed: 0 };
        let (is_short, idle) = (AtomicBool::new(false), AtomicUsize::new(0));
        Self { state: Mutex::new(state), is_short, idle }
    }

    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock();
        let result = change(&mut state);
        // SeqCst: whoever begins to want sets this and then looks at `idle`, and whoever becomes idle
        // counts that and then looks at this. One of the two sees the other.
        self.is_short.store(state.missing() > 0, Ordering::SeqCst);
        result
    }

    pub(in crate::blocks::http_transport) fn sit(self: &Arc<Self>) -> Seat {
        let id = self.change(|state| {
            state.serial += 1;
            let (seat, served) = (state.serial, state.serial);
            state.seats.push(Entry { seat, wants: Wants::default(), granted: 0, served });
            seat
        });
        Seat { ceiling: Arc::clone(self), id }
    }

    /// A pool is gone. The places that it has are freed one by one.
    pub(in crate::blocks::http_transport) fn leave(&self, seat: SeatId) -> Calls {
        self.change(|state| {
            let Some(at) = state.seats.iter().position(|it| it.seat == seat) else {
                return Calls::new();
            };
            let gone = state.seats.remove(at);
            (0..gone.granted).filter_map(|_| state.pass_on()).collect()
        })
    }

    /// A place is free.
    pub(in crate::blocks::http_transport) fn release(&self) -> Option<SeatId> {
        self.change(State::pass_on)
    }

    pub(in crate::blocks::http_transport) fn is_short(&self) -> bool {
        self.is_short.load(Ordering::SeqCst)
    }

    /// Whether one more idle connection is to be closed: by whoever asks, who then
    /// [is done](Self::has_closed) with it.
    pub(in crate::blocks::http_transport) fn claim(&self) -> bool {
        self.change(|state| {
            let is_wanted = state.missing() > 0;
            state.claimed += usize::from(is_wanted);
            is_wanted
        })
    }

    /// What was claimed is closed, and counted as leaving; or there was none.
    pub(in crate::blocks::http_transport) fn has_closed(&self) {
        self.change(|state| state.claimed -= 1);
    }

    /// How many there may be, and how many are taken.
    pub(in crate::blocks::http_transport) fn look(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.most, state.taken)
    }
}

impl State {
    fn entry(&mut self, seat: SeatId) -> Option<&mut Entry> {
        self.seats.iter_mut().find(|it| it.seat == seat)
    }

    fn take_free(&mut self, seat: SeatId) -> bool {
        let is_free = self.taken < self.most;
        if is_free {
            self.taken += 1;
            self.is_served(seat);
        }
        is_free
    }

    /// Others of its class come before it.
    fn is_served(&mut self, seat: SeatId) {
        self.serial += 1;
        let served = self.serial;
        if let Some(own) = self.entry(seat) {
            own.served = served;
        }
    }

    /// One that was taken is free, or goes to a pool that wants it.
    fn pass_on(&mut self) -> Option<SeatId> {
        let wanting = self.seats.iter_mut().filter(|it| it.wants.places > it.granted);
        let Some(next) = wanting.max_by_key(|it| (it.wants.class, Reverse(it.served))) else {
            self.taken -= 1;
            return None;
        };
        next.granted += 1;
        let seat = next.seat;
        self.is_served(seat);
        Some(seat)
    }

    /// How many idle connections are still to be closed.
    fn missing(&self) -> usize {
        let wanted: usize = self.seats.iter().map(|it| it.wants.places - it.granted).sum();
        let coming: usize = self.seats.iter().map(|it| it.wants.leaving).sum();
        wanted.saturating_sub(coming + self.claimed)
    }
}

/// A pool's end of the ceiling: asked under its lock.
#[derive(Clone, Debug)]
pub(in crate::blocks::http_transport) struct Seat {
    ceiling: Arc<Ceiling>,
    id: SeatId,
}

impl Seat {
    pub(in crate::blocks::http_transport) fn id(&self) -> SeatId {
        self.id
    }

    /// A place that is free, for somebody who did not wait: none that is on its way to those that do.
    pub(in crate::blocks::http_transport) fn takes_free(&self) -> bool {
        self.ceiling.change(|state| state.take_free(self.id))
    }

    /// A place for somebody in line: one on its way here, or a free one.
    pub(in crate::blocks::http_transport) fn takes(&self) -> bool {
        self.ceiling.change(|state| match state.entry(self.id) {
            Some(own) if own.granted > 0 => {
                own.granted -= 1;
                // Or it would seem to want another one, before it says what it wants.
                own.wants.places -= 1;
                true
            }
            _ => state.take_free(self.id),
        })
    }

    /// Its pool gives a place up for another one, and is not to have it again.
    pub(in crate::blocks::http_transport) fn yields(&self) {
        self.ceiling.change(|state| state.is_served(self.id));
    }

    /// What was taken is not needed: it is on its way here again, until the pool says what it wants.
    pub(in crate::blocks::http_transport) fn puts_back(&self) {
        self.ceiling.change(|state| {
            if let Some(own) = state.entry(self.id) {
                own.granted += 1;
                own.wants.places += 1;
            }
        });
    }

    /// What the pool wants now. `true`: there is a place on its way to it; look again, under the same
    /// lock.
    pub(in crate::blocks::http_transport) fn says(&self, wants: Wants, calls: &mut Calls) -> bool {
        self.ceiling.change(|state| {
            let Some(own) = state.entry(self.id) else { return false };
            own.wants = wants;
            let too_many = own.granted.saturating_sub(wants.places);
            own.granted -= too_many;
            calls.extend((0..too_many).filter_map(|_| state.pass_on()));
            let free = state.most - state.taken;
            let Some(own) = state.entry(self.id) else { return false };
            let more = free.min(wants.places - own.granted);
            own.granted += more;
            let is_any = own.granted > 0;
            state.taken += more;
            is_any
        })
    }

    /// The class of the highest head of another pool that waits for a place that nobody gives up.
    pub(in crate::blocks::http_transport) fn held_back_elsewhere(&self) -> Option<Priority> {
        let state = self.ceiling.state.lock();
        let others = state.seats.iter().filter(|it| it.seat != self.id);
        let waits = others.filter(|it| it.wants.places > it.granted);
        waits.filter_map(|it| it.wants.class).max()
    }

    pub(in crate::blocks::http_transport) fn is_short(&self) -> bool {
        self.ceiling.is_short()
    }

    /// Whether others want places, and there are idle connections to be closed for them.
    pub(in crate::blocks::http_transport) fn can_make_room(&self) -> bool {
        self.ceiling.is_short() && self.ceiling.idle.load(Ordering::SeqCst) > 0
    }

    /// Its pool has so many idle connections now, and had so many before.
    pub(in crate::blocks::http_transport) fn has_idle(&self, now: usize, before: usize) {
        // Wraps around, and back again.
        self.ceiling.idle.fetch_add(now.wrapping_sub(before), Ordering::SeqCst);
    }
}
