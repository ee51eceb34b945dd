//! Files that wait in the directory: which are finished, and in which order. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use super::folder::Shape;
use crate::ground::primitives::Hashing;
use crate::ground::time::{self, Instant};

/// What was told of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is there, and was not.
    Made,
    /// Somebody writes to it.
    Touched,
    /// Whoever wrote to it has closed it, or it was renamed into the directory.
    Finished,
}

/// Whether the system tells when a file is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closes {
    Told,
    Untold,
}

/// What a look found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) shape: Shape,
    /// A regular file with one name only: whoever made it has it open.
    pub(super) is_plain: bool,
}

/// How long what is to be waited for.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    pub(super) closes: Closes,
    pub(super) debounce: Duration,
    pub(super) settle_small: Duration,
    pub(super) settle_large: Duration,
    pub(super) large_bytes: u64,
    pub(super) unclosed_after: Duration,
}

impl Patience {
    pub(super) fn settle(&self, bytes: u64) -> Duration {
        if bytes < self.large_bytes { self.settle_small } else { self.settle_large }
    }
}

/// A file that can be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) name: Arc<OsStr>,
    /// When its last change was told.
    pub(super) since: Instant,
    /// It was seen closed; else it only stopped changing.
    pub(super) is_closed: bool,
    /// How often it could not be taken, in a row.
    pub(super) failures: u32,
}

#[derive(Debug)]
struct Seen {
    state: State,
    since: Instant,
    /// Grows with every change, so that a look from before one counts for nothing.
    round: u64,
    due: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Being written by somebody who will close it.
    Open,
    /// Nobody will say when it is finished. As it was last found.
    Unproven(Option<Shape>),
    /// New: being written, unless it can't be, or was linked into the directory.
    Made,
    /// Being looked at; it was made just now, or as it was last found.
    Looking {
        is_made: bool,
        before: Option<Shape>,
    },
    /// Finished, unless it is changed again soon.
    Closed,
    Ready {
        order: u64,
        is_closed: bool,
        failures: u32,
    },
    /// It could not be taken, for a reason of its own: to be tried again.
    Aside {
        is_closed: bool,
        failures: u32,
    },
}

/// The names, bounded.
#[derive(Debug)]
pub(super) struct Waiting {
    patience: Patience,
    most: usize,
    seen: HashMap<Arc<OsStr>, Seen, Hashing>,
    due: BTreeSet<(Instant, Arc<OsStr>)>,
    ready: BTreeMap<u64, Arc<OsStr>>,
    /// Names of which one is being claimed: the next one of that name waits, or it might be claimed
    /// before it.
    taking: HashSet<Arc<OsStr>, Hashing>,
    last: u64,
    /// Some were not taken note of: the directory has them.
    is_behind: bool,
}

impl Waiting {
    pub(super) fn new(patience: Patience, most: usize) -> Self {
        let (seen, due, ready) = (HashMap::default(), BTreeSet::new(), BTreeMap::new());
        let taking = HashSet::default();
        Self { patience, most, seen, due, ready, taking, last: 0, is_behind: false }
    }

    pub(super) fn changed(&mut self, name: Arc<OsStr>, change: Change, now: Instant) {
        let Patience { closes, debounce, settle_small, unclosed_after, .. } = self.patience;
        let (state, after) = match (change, closes) {
            (Change::Finished, _) if debounce.is_zero() => {
                return self.make_ready(name, now, true, 0);
            }
            (Change::Finished, _) => (State::Closed, debounce),
            (Change::Made, Closes::Told) => (State::Made, settle_small),
            (Change::Touched, Closes::Told) => (State::Open, unclosed_after),
            (Change::Made | Change::Touched, Closes::Untold) => {
                (State::Unproven(None), settle_small.max(debounce))
            }
        };
        self.set(name, state, time::later(now, after), now);
    }

    /// What a reading of the directory found; what is known already stays as it is.
    pub(super) fn found(&mut self, name: Arc<OsStr>, shape: Shape, now: Instant) {
        if !self.seen.contains_key(&name) {
            let due = time::later(now, self.patience.settle(shape.bytes));
            self.set(name, State::Unproven(Some(shape)), due, now);
        }
    }

    /// Events were lost: whoever was writing may have closed.
    pub(super) fn lost(&mut self, now: Instant) {
        let open =
            self.seen.iter().filter(|(_, seen)| matches!(seen.state, State::Open | State::Made));
        let open: Vec<_> = open.map(|(name, _)| Arc::clone(name)).collect();
        let due = time::later(now, self.patience.settle_small);
        for name in open {
            self.set(name, State::Unproven(None), due, now);
        }
        self.is_behind = true;
    }

    /// Not all of the directory is known.
    pub(super) fn fell_behind(&mut self) {
        self.is_behind = true;
    }

    /// Whether the directory is to be read again, for which there is room now.
    pub(super) fn catches_up(&mut self) -> bool {
        let now = self.is_behind && self.seen.len() <= self.most / 2;
        self.is_behind &= !now;
        now
    }

    /// Names to be looked at now, with their rounds; so many at most.
    pub(super) fn next_looks(&mut self, most: usize, now: Instant) -> Vec<(Arc<OsStr>, u64)> {
        let mut names = Vec::new();
        while names.len() < most && self.due.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, name)) = self.due.pop_first() else { break };
            let Some(seen) = self.seen.get_mut(&name) else { continue };
            seen.due = None;
            match seen.state {
                State::Closed => {
                    let since = seen.since;
                    self.make_ready(name, since, true, 0);
                }
                State::Aside { is_closed, failures } => {
                    let since = seen.since;
                    self.make_ready(name, since, is_closed, failures);
                }
                State::Ready { .. } | State::Looking { .. } => {}
                State::Made | State::Open | State::Unproven(_) => {
                    let is_made = matches!(seen.state, State::Made);
                    let before = match seen.state {
                        State::Unproven(before) => before,
                        _ => None,
                    };
                    seen.state = State::Looking { is_made, before };
                    names.push((name, seen.round));
                }
            }
        }
        names
    }

    /// What a look found; `None`: it is gone.
    pub(super) fn looked(
        &mut self,
        name: Arc<OsStr>,
        round: u64,
        found: Option<Found>,
        now: Instant,
    ) {
        let Some(seen) = self.seen.get(&name).filter(|seen| seen.round == round) else { return };
        let State::Looking { is_made, before } = seen.state else { return };
        let since = seen.since;
        match found {
            None => self.forget(&name),
            Some(Found { shape, .. }) if before == Some(shape) => {
                self.make_ready(name, since, false, 0);
            }
            Some(Found { is_plain: true, .. }) if is_made => {
                let due = time::later(now, self.patience.unclosed_after);
                self.set(name, State::Open, due, since);
            }
            Some(Found { shape, .. }) => {
                let due = time::later(now, self.patience.settle(shape.bytes));
                self.set(name, State::Unproven(Some(shape)), due, since);
            }
        }
    }

    /// The next one, which is known no more, and being claimed until it is [`released`](Self::released).
    pub(super) fn take(&mut self) -> Option<Ready> {
        let (_, name) = self.ready.pop_first()?;
        let seen = self.seen.remove(&name)?;
        let State::Ready { is_closed, failures, .. } = seen.state else { return None };
        self.taking.insert(Arc::clone(&name));
        Some(Ready { name, since: seen.since, is_closed, failures })
    }

    /// It was claimed, or could not be.
    pub(super) fn released(&mut self, name: &Arc<OsStr>) {
        self.taking.remove(name);
        if let Some(Seen { state: State::Ready { order, .. }, .. }) = self.seen.get(name) {
            self.ready.insert(*order, Arc::clone(name));
        }
    }

    /// It could not be taken after all.
    pub(super) fn put_back(&mut self, ready: Ready) {
        if !self.seen.contains_key(&ready.name) {
            self.make_ready(ready.name, ready.since, ready.is_closed, ready.failures);
        }
    }

    /// The same, for a reason of its own: others may go before it. `false`: it was changed meanwhile, or
    /// there is no room for its name, and it is not aside.
    pub(super) fn set_aside(&mut self, ready: Ready, due: Option<Instant>) -> bool {
        let Ready { name, since, is_closed, failures } = ready;
        !self.seen.contains_key(&name)
            && self.set(name, State::Aside { is_closed, failures }, due, since)
    }

    #[cfg(test)]
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether the directory is known to hold nothing else.
    pub(super) fn is_empty(&self) -> bool {
        self.seen.is_empty() && !self.is_behind
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    fn make_ready(&mut self, name: Arc<OsStr>, since: Instant, is_closed: bool, failures: u32) {
        self.last += 1;
        let order = self.last;
        let ready = State::Ready { order, is_closed, failures };
        let is_set = self.set(Arc::clone(&name), ready, None, since);
        if is_set && !self.taking.contains(&name) {
            self.ready.insert(order, name);
        }
    }

    /// `false`: there is no room for another name.
    fn set(
        &mut self,
        name: Arc<OsStr>,
        state: State,
        due: Option<Instant>,
        since: Instant,
    ) -> bool {
        let known = self.seen.len();
        match self.seen.get_mut(&name) {
            Some(seen) => {
                if let Some(old) = seen.due {
                    self.due.remove(&(old, Arc::clone(&name)));
                }
                if let State::Ready { order, .. } = seen.state {
                    self.ready.remove(&order);
                }
                *seen = Seen { state, since, round: seen.round + 1, due };
            }
            None if known >= self.most => {
                self.is_behind = true;
                return false;
            }
            None => {
                self.seen.insert(Arc::clone(&name), Seen { state, since, round: 0, due });
            }
        }
        self.due.extend(due.map(|due| (due, name)));
        true
    }

    fn forget(&mut self, name: &Arc<OsStr>) {
        if let Some(Seen { due: Some(due), .. }) = self.seen.remove(name) {
            self.due.remove(&(due, Arc::clone(name)));
        }
    }
}
