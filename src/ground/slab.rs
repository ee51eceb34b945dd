//! A growing table with a free list, and tickets that never name another entry.

use super::list::NIL;

/// Names one entry for as long as it lies here; afterwards it names nothing, ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ticket {
    pub(crate) index: u32,
    pub(crate) serial: u64,
}

#[derive(Debug)]
enum Slot<T> {
    Vacant { next: u32 },
    Taken { serial: u64, entry: T },
}

#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<Slot<T>>,
    vacant: u32,
    serial: u64,
    len: usize,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), vacant: NIL, serial: 0, len: 0 }
    }

    /// An empty slab whose tickets are none of this one's.
    pub(crate) fn successor(&self) -> Self {
        Self { serial: self.serial, ..Self::new() }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn insert(&mut self, entry: T) -> Ticket {
        self.serial += 1;
        self.insert_as(self.serial, entry)
    }

    /// An entry that knows its own ticket.
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(Ticket) -> T) -> Ticket {
        let vacant = self.slots.get(self.vacant as usize).is_some();
        let index = if vacant { self.vacant } else { self.slots.len() as u32 };
        self.insert(make(Ticket { index, serial: self.serial + 1 }))
    }

    /// Under a number of the owner's, who never uses one for two entries.
    #[inline]
    pub(crate) fn insert_as(&mut self, serial: u64, entry: T) -> Ticket {
        self.len += 1;
        let taken = Slot::Taken { serial, entry };
        let index = match self.slots.get_mut(self.vacant as usize) {
            Some(slot) => {
                let index = self.vacant;
                if let Slot::Vacant { next } = *slot {
                    self.vacant = next;
                }
                *slot = taken;
                index
            }
            None => {
                self.slots.push(taken);
                (self.slots.len() - 1) as u32
            }
        };
        Ticket { index, serial }
    }

    /// The caller knows that the index is taken: it came from a list or a checked ticket.
    #[inline]
    pub(crate) fn remove(&mut self, index: u32) -> T {
        let vacant = Slot::Vacant { next: self.vacant };
        match std::mem::replace(&mut self.slots[index as usize], vacant) {
            Slot::Taken { entry, .. } => {
                self.vacant = index;
                self.len -= 1;
                if self.len == 0 {
                    self.give_back();
                }
                entry
            }
            Slot::Vacant { .. } => unreachable!("a listed index is taken"),
        }
    }

    /// An empty slab keeps a small table and gives the memory of a past flood back.
    #[inline]
    fn give_back(&mut self) {
        const KEPT: usize = 1024;
        if self.slots.len() > KEPT {
            self.slots = Vec::new();
            self.vacant = NIL;
        }
    }

    #[inline]
    pub(crate) fn index(&self, ticket: Ticket) -> Option<u32> {
        match self.slots.get(ticket.index as usize) {
            Some(Slot::Taken { serial, .. }) if *serial == ticket.serial => Some(ticket.index),
            _ => None,
        }
    }

    pub(crate) fn ticket(&self, index: u32) -> Ticket {
        Ticket { index, serial: self.serial(index) }
    }

    #[inline]
    pub(crate) fn serial(&self, index: u32) -> u64 {
        match &self.slots[index as usize] {
            Slot::Taken { serial, .. } => *serial,
            Slot::Vacant { .. } => unreachable!("a listed index is taken"),
        }
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> &T {
        match &self.slots[index as usize] {
            Slot::Taken { entry, .. } => entry,
            Slot::Vacant { .. } => unreachable!("a listed index is taken"),
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> &mut T {
        match &mut self.slots[index as usize] {
            Slot::Taken { entry, .. } => entry,
            Slot::Vacant { .. } => unreachable!("a listed index is taken"),
        }
    }

    /// Everything in it, in the order of [`tickets`](Self::tickets).
    pub(crate) fn entries(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter_map(|slot| match slot {
            Slot::Taken { entry, .. } => Some(entry),
            Slot::Vacant { .. } => None,
        })
    }

    /// All tickets, in no order that means anything but the same for the same history.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = Ticket> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| match slot {
            Slot::Taken { serial, .. } => Some(Ticket { index: index as u32, serial: *serial }),
            Slot::Vacant { .. } => None,
        })
    }
}
