//! Who is next.

use super::{Granted, Head, Rare, Take, WaitQueue, bit, rare};
use crate::Priority;
use crate::gates::wait_queue::codel::Shedding;
use crate::gates::wait_queue::lane::Entry;
use crate::ground::slab::Ticket;
use crate::ground::time::Now;

impl<T> WaitQueue<T> {
    /// Offers `free` seats to whoever is next.
    #[inline]
    pub(crate) fn take(&mut self, free: u32, now: impl Now) -> Take<T> {
        if let Some(index) = self.stale(now) {
            return self.shed(index, now);
        }
        let Some((index, _)) = self.next() else { return Take::Empty };
        let Rare { tenant, weight, deadline } = self.rare(index);
        if deadline.is_some_and(|deadline| deadline <= now.get()) {
            return Take::Expired(self.remove(index).value);
        }
        if weight.get() > self.max_weight {
            return Take::TooLarge(self.remove(index).value);
        }
        if weight.get() > free {
            return Take::Short { missing: weight.get() - free };
        }
        let class = self.slab.get(index).class;
        self.passed_over(class);
        if deadline.is_some() {
            self.deadlines.remove(index);
        }
        let Self { classes, links, slab, rare: column, .. } = self;
        let weight_of = |index| rare(slab, column, index).weight.get();
        let stand = classes[class.index()].serve(links, slab, index, weight_of);
        self.passed[class.index()] = 0;
        self.starving &= !bit(class);
        self.departed(class, stand);
        if let Some(shedding) = &mut self.shedding {
            shedding.in_a_row = 0;
        }
        let accept_no = self.slab.serial(index);
        let Entry { value, .. } = self.slab.remove(index);
        self.shrink();
        Take::Granted(Granted { value, class, tenant, weight, accept_no })
    }

    /// Rule 7: who has to go before the next one is granted. Looks at the lane whose turn it is,
    /// which may change whom it serves first.
    #[inline]
    pub(super) fn stale(&mut self, now: impl Now) -> Option<u32> {
        let shedding = self.shedding.as_deref()?;
        let (class, _) = next_class(self.waiting, self.starving)?;
        let codel = shedding.of(Priority::ALL[class])?;
        let stale = self.classes[class].stale(codel, shedding, now.get())?;
        // The last one of a class is served: nobody gains by a seat that stays empty.
        let may_shed = shedding.in_a_row < Shedding::AT_ONCE && self.depth[class] > 1;
        may_shed.then_some(stale)
    }

    pub(super) fn shed(&mut self, index: u32, now: impl Now) -> Take<T> {
        if let Some(shedding) = &mut self.shedding {
            shedding.in_a_row += 1;
        }
        let has_expired = self.rare(index).deadline.is_some_and(|deadline| deadline <= now.get());
        let value = self.remove(index).value;
        if has_expired { Take::Expired(value) } else { Take::Shed(value) }
    }

    /// A grant of this class went by: here, or in a line that shares its seats with this one.
    #[inline]
    pub(crate) fn passed_over(&mut self, class: Priority) {
        let mut below = self.waiting & (bit(class) - 1);
        while below != 0 {
            let lower = below.trailing_zeros() as usize;
            below &= below - 1;
            self.passed[lower] = self.passed[lower].saturating_add(1);
            if self.passed[lower] >= self.rules.starvation_bound {
                self.starving |= 1 << lower;
            }
        }
    }

    /// `stands`: it is not held.
    #[inline]
    pub(super) fn arrived(&mut self, class: Priority, stands: bool) {
        self.depth[class.index()] += 1;
        self.waiting |= u8::from(stands) << class.index();
    }

    /// `stand`: somebody of its class still does.
    #[inline]
    pub(super) fn departed(&mut self, class: Priority, stand: bool) {
        self.depth[class.index()] -= 1;
        if !stand {
            self.nobody_stands(class);
        }
    }

    #[inline]
    pub(super) fn nobody_stands(&mut self, class: Priority) {
        self.passed[class.index()] = 0;
        self.waiting &= !bit(class);
        self.starving &= !bit(class);
    }

    /// Whether somebody stands in this class or above.
    #[inline]
    pub(crate) fn stands(&self, class: Priority) -> bool {
        self.waiting >> class.index() != 0
    }

    /// Whether this is whom a `take` would look at now.
    #[inline]
    pub(crate) fn is_next(&mut self, ticket: Ticket, now: impl Now) -> bool {
        self.stale(now).is_none()
            && self.next().is_some_and(|(index, _)| self.slab.index(ticket) == Some(index))
    }

    /// Whom the next `take` would look at.
    pub(crate) fn head(&mut self) -> Option<Head<'_, T>> {
        let (index, by_turn) = self.next()?;
        let ticket = self.slab.ticket(index);
        let Rare { weight, deadline, .. } = self.rare(index);
        let Entry { value, class, .. } = self.slab.get(index);
        Some(Head { ticket, value, class: *class, weight, deadline, by_turn })
    }

    #[inline]
    pub(super) fn next(&mut self) -> Option<(u32, bool)> {
        let (class, by_turn) = next_class(self.waiting, self.starving)?;
        let Self { classes, slab, rare: column, .. } = self;
        let index = classes[class].front(slab, |index| rare(slab, column, index).weight.get())?;
        Some((index, by_turn))
    }
}

/// Rule 2: the lowest class whose turn it is by being passed over, else the highest. Whether it
/// was passed over.
#[inline]
fn next_class(waiting: u8, starving: u8) -> Option<(usize, bool)> {
    match starving {
        0 => Some((waiting.checked_ilog2()? as usize, false)),
        _ => Some((starving.trailing_zeros() as usize, true)),
    }
}
