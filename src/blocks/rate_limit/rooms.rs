//! Futures that wait for tokens of a key and of all.
//!
//! Each waiting key has a line. Its head sleeps until the key's own quota lets it, then stands in
//! the global line too (its class; the key as its tenant), at whose head it tries the commit
//! order. If the key refuses there after all, it leaves the global line and goes on as its key's
//! head. So one timer per waiting key, and one for all: who stands in the global line has none of
//! its key's.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::task::Waker;

use super::error::{AcquireError, Denied};
use super::line::{Line, Step, Turn, Wakes, Wish, has_passed};
use super::standing::Slot;
use super::tiered::TieredRateLimiter;
use crate::gates::wait_queue::Ticket;
use crate::ground::priority::Priority;
use crate::ground::quiet::drop_quietly;
use crate::ground::refused::Scope;
use crate::ground::tenant::Tenant;
use crate::ground::time::Instant;

/// Keys with somebody waiting, at a time.
const KEYS: usize = 1_024;
/// Waiting for one key, at a time.
const PER_KEY: usize = 64;

/// Behind one lock.
#[derive(Debug)]
pub(super) struct Rooms<K> {
    /// No line here is empty.
    by_key: HashMap<K, Room>,
    /// Rooms there have been.
    entered: u64,
    /// At most the head of each key, and a former head until it is polled again.
    global: Line,
    len: usize,
    /// Of lines that are gone, and forgotten ones, to be dropped after the unlock: a key is the
    /// caller's.
    spent: Vec<K>,
}

/// Those who wait for one key.
#[derive(Debug)]
pub(super) struct Room {
    line: Line,
    /// Keys are woken in the order in which they came.
    number: u64,
}

impl<K: Eq + Hash> Rooms<K> {
    pub(super) fn new() -> Self {
        Self {
            by_key: HashMap::new(),
            entered: 0,
            global: Line::new(KEYS * PER_KEY),
            len: 0,
            spent: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Who stands before a newcomer of this key: the tier, and what they will take of the key and
    /// of all.
    pub(super) fn before<Q>(&self, key: &Q) -> Option<(Scope, [u64; 2])>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let of_all = self.global.cost();
        match self.by_key.get(key) {
            Some(room) => Some((Scope::Key, [room.line.cost(), of_all])),
            None if self.global.is_empty() => None,
            None => Some((Scope::Global, [0, of_all])),
        }
    }

    /// Whom to wake when tokens of this key came back.
    pub(super) fn heads<Q>(&mut self, key: &Q) -> Wakes
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let mut wakes = Wakes::default();
        wakes.extend(self.by_key.get_mut(key).and_then(|room| room.line.head()));
        wakes.extend(self.global.head());
        wakes
    }

    /// Whom to wake when all quotas may have changed.
    pub(super) fn all_heads(&mut self) -> Wakes {
        let mut wakes = Wakes::default();
        let mut rooms = in_order(&mut self.by_key);
        wakes.extend(rooms.iter_mut().filter_map(|room| room.line.head()));
        wakes.extend(self.global.head());
        wakes
    }

    /// What those in the global line want, if there are any.
    fn wanted(&self) -> Option<u64> {
        (!self.global.is_empty()).then(|| self.global.cost())
    }

    /// Everybody out: whom to wake, and the keys to drop, after the unlock.
    pub(super) fn close(&mut self) -> (Wakes, HashMap<K, Room>) {
        let mut wakes = Wakes::default();
        let mut by_key = std::mem::take(&mut self.by_key);
        in_order(&mut by_key).into_iter().for_each(|room| room.line.close(&mut wakes));
        self.global.close(&mut wakes);
        self.len = 0;
        (wakes, by_key)
    }

    fn enter<Q>(
        &mut self,
        key: &Q,
        wish: Wish,
        now: Instant,
        wakes: &mut Wakes,
    ) -> Result<Ticket, Scope>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        if !self.by_key.contains_key(key) {
            if self.by_key.len() == KEYS {
                return Err(Scope::Global);
            }
            self.entered += 1;
            let room = Room { line: Line::new(PER_KEY), number: self.entered };
            self.by_key.insert(key.to_owned(), room);
        }
        let room = self.by_key.get_mut(key).ok_or(Scope::Global)?;
        let own = Wish { tenant: Tenant::NONE, ..wish };
        let ticket = room.line.enter(own, now, wakes).ok_or(Scope::Key)?;
        self.len += 1;
        Ok(ticket)
    }

    /// Out of the key's line by `how`; an empty line goes, its key into `spent`.
    fn out<Q>(&mut self, key: &Q, how: impl FnOnce(&mut Line))
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if let Some(Room { line, .. }) = self.by_key.get_mut(key) {
            how(line);
            self.len -= 1;
            if line.is_empty() {
                self.spent.extend(self.by_key.remove_entry(key).map(|(key, _)| key));
            }
        }
    }
}

/// The order of a map is not the same in two runs.
fn in_order<K>(by_key: &mut HashMap<K, Room>) -> Vec<&mut Room> {
    let mut rooms: Vec<_> = by_key.values_mut().collect();
    rooms.sort_unstable_by_key(|room| room.number);
    rooms
}

/// One that waits. In line from its first step until it is done or dropped.
#[derive(Debug)]
pub(super) struct Waiting<'a, K, Q>
where
    K: Borrow<Q> + Eq + Hash,
    Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
{
    limiter: &'a TieredRateLimiter<K>,
    key: &'a Q,
    slot: Slot,
    wish: Wish,
    /// Whether those who don't wait have been told of it.
    is_told: bool,
    /// Its place in its key's line.
    own: Option<Ticket>,
    /// Its place in the global line, while it stands there.
    global: Option<Ticket>,
    deadline: Option<Instant>,
}

impl<'a, K, Q> Waiting<'a, K, Q>
where
    K: Borrow<Q> + Eq + Hash,
    Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
{
    pub(super) fn new(
        limiter: &'a TieredRateLimiter<K>,
        key: &'a Q,
        cost: u32,
        class: Priority,
        deadline: Option<Instant>,
    ) -> Self {
        let wish = Wish { cost, class, tenant: Tenant::of(key) };
        let slot = Slot::of(limiter.keys.hash(key));
        Self { limiter, key, slot, wish, is_told: false, own: None, global: None, deadline }
    }

    pub(super) fn step(&mut self, waker: &Waker, now: Instant) -> Step {
        let mut wakes = Wakes::default();
        // One for each line it may stand in. Somebody else's code, as the drop of what is left of
        // them: not under the lock.
        let mut wakers = [waker, waker].map(|waker| Some(waker.clone()));
        let mut rooms = self.limiter.rooms.lock();
        let mut step = self.step_in(&mut rooms, &mut wakers, now, &mut wakes);
        if has_passed(self.deadline, now) && !matches!(step, Step::Done(_)) {
            step = Step::Done(Err(AcquireError::Expired));
        }
        if let Step::Done(Err(_)) = step {
            self.leave(&mut rooms, &mut wakes);
        }
        self.tell(&rooms);
        let spent = std::mem::take(&mut rooms.spent);
        drop(rooms);
        drop_quietly(spent);
        wakes.wake();
        step
    }

    fn step_in(
        &mut self,
        rooms: &mut Rooms<K>,
        wakers: &mut [Option<Waker>; 2],
        now: Instant,
        wakes: &mut Wakes,
    ) -> Step {
        if self.limiter.standing.is_closed() {
            return Step::Done(Err(AcquireError::Closed));
        }
        let own = match self.own {
            Some(own) => own,
            None if self.is_hopeless(now) => return Step::Done(Err(AcquireError::Expired)),
            None => match rooms.enter(self.key, self.wish, now, wakes) {
                Ok(own) => *self.own.insert(own),
                Err(scope) => return Step::Done(Err(AcquireError::Full { scope })),
            },
        };
        let [for_key, for_all] = wakers;
        let room = rooms.by_key.get_mut(self.key);
        let turn = room.map(|room| room.line.turn(own, for_key.take(), wakes));
        if turn != Some(Turn::Yours) {
            // Somebody more important came to the head of the key.
            self.leave_global(rooms, wakes);
            return Step::Wait;
        }
        self.step_as_head(own, rooms, for_all, now, wakes)
    }

    /// Whether not even with nobody before it its time would do.
    fn is_hopeless(&self, now: Instant) -> bool {
        let Some(deadline) = self.deadline else { return false };
        let denied = self.limiter.look(self.key, self.wish.cost, now, [0, 0]).err();
        denied.and_then(|denied| denied.at()).is_some_and(|at| at > deadline)
    }

    fn step_as_head(
        &mut self,
        own: Ticket,
        rooms: &mut Rooms<K>,
        waker: &mut Option<Waker>,
        now: Instant,
        wakes: &mut Wakes,
    ) -> Step {
        let Self { limiter, key, wish, .. } = *self;
        if self.global.is_none() {
            if let Err(denied) = limiter.look_key(key, wish.cost, now, 0) {
                return Step::after(denied);
            }
            self.global = rooms.global.enter(wish, now, wakes);
        }
        let Some(global) = self.global else {
            return Step::Done(Err(AcquireError::Full { scope: Scope::Global }));
        };
        if rooms.global.turn(global, waker.take(), wakes) == Turn::Wait {
            return Step::Wait;
        }
        match limiter.commit(key, wish.cost, now, &mut rooms.spent) {
            Ok(()) => {
                rooms.global.served(global, wish, now, wakes);
                rooms.out(key, |line| line.served(own, wish, now, wakes));
                (self.own, self.global) = (None, None);
                Step::Done(Ok(()))
            }
            Err(denied) => {
                if matches!(denied, Denied::Early(Scope::Key, _)) {
                    self.leave_global(rooms, wakes);
                }
                Step::after(denied)
            }
        }
    }

    fn leave(&mut self, rooms: &mut Rooms<K>, wakes: &mut Wakes) {
        self.leave_global(rooms, wakes);
        if let Some(own) = self.own.take() {
            // After a close nobody is in line any more, nor is there a line.
            rooms.out(self.key, |line| line.leave(own, self.wish, wakes));
        }
    }

    /// Those who don't wait are told, under the lock.
    fn tell(&mut self, rooms: &Rooms<K>) {
        let standing = &self.limiter.standing;
        let is_in = self.own.is_some();
        match (std::mem::replace(&mut self.is_told, is_in), is_in) {
            (false, true) => standing.enter(self.slot),
            (true, false) => standing.leave(self.slot),
            _ => {}
        }
        standing.tell(rooms.len, rooms.wanted());
    }

    fn leave_global(&mut self, rooms: &mut Rooms<K>, wakes: &mut Wakes) {
        if let Some(global) = self.global.take() {
            rooms.global.leave(global, self.wish, wakes);
        }
    }
}

impl<K, Q> Drop for Waiting<'_, K, Q>
where
    K: Borrow<Q> + Eq + Hash,
    Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
{
    fn drop(&mut self) {
        if self.own.is_none() {
            return;
        }
        let mut wakes = Wakes::default();
        let mut rooms = self.limiter.rooms.lock();
        self.leave(&mut rooms, &mut wakes);
        self.tell(&rooms);
        let spent = std::mem::take(&mut rooms.spent);
        drop(rooms);
        drop_quietly(spent);
        wakes.wake();
    }
}
