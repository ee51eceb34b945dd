//! What is due by now, without a heap: a hierarchical timing wheel (Varghese and Lauck,
//! 1987), six levels of 64 slots, a tick of 2²⁰ ns (1.05 ms), reaching 2.2 years.
//!
//! A deadline is rounded up to a tick, so what is due is found at most one tick late, and nothing
//! is found early. A `now` older than the last one finds only what was due by then.

use std::time::Duration;

use super::list::{Links, List};
use crate::ground::time::Instant;

const LEVELS: usize = 6;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const TICK_BITS: u32 = 20;

#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    /// Set by the first deadline; ticks count from it.
    epoch: Option<Instant>,
    /// The tick that has been worked off up to.
    current: u64,
    /// Made with the first deadline: most queues never see one.
    wheel: Option<Box<Wheel>>,
}

#[derive(Debug)]
struct Wheel {
    slots: [[List; SLOTS]; LEVELS],
    /// One bit per slot that is not empty.
    occupied: [u64; LEVELS],
    links: Links,
    /// Per index: its tick and where it lies.
    due: Vec<Due>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Due {
    tick: u64,
    level: u8,
    slot: u8,
}

impl Deadlines {
    pub(crate) fn insert(&mut self, index: u32, deadline: Instant, now: Instant) {
        let epoch = *self.epoch.get_or_insert(now);
        let wheel = self.wheel.get_or_insert_default();
        wheel.insert(index, tick_after(epoch, deadline), self.current);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.wheel.as_ref().is_none_or(|wheel| wheel.occupied == [0; LEVELS])
    }

    pub(crate) fn remove(&mut self, index: u32) {
        if let Some(wheel) = &mut self.wheel {
            wheel.remove(index);
        }
    }

    /// When to look again: never later than the next one is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        let wheel = self.wheel.as_ref()?;
        let tick = match wheel.slots[0][self.current as usize % SLOTS].head() {
            Some(_) => self.current,
            None => wheel.next_slot(self.current)?.0,
        };
        self.epoch?.checked_add(Duration::from_nanos(tick.checked_shl(TICK_BITS)?))
    }

    /// One that is due at `now`. It stays until it is removed.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<u32> {
        let (Some(epoch), Some(wheel)) = (self.epoch, &mut self.wheel) else { return None };
        let target = tick_before(epoch, now);
        loop {
            let slot = self.current as usize % SLOTS;
            if let Some(index) = wheel.slots[0][slot].head() {
                // Not yet, when `now` is older than the last one.
                return (wheel.due[index as usize].tick <= target).then_some(index);
            }
            let (tick, level) = wheel.next_slot(self.current)?;
            if tick > target {
                return None;
            }
            self.current = tick;
            wheel.cascade(tick, level);
        }
    }
}

impl Default for Wheel {
    fn default() -> Self {
        Self {
            slots: [[List::default(); SLOTS]; LEVELS],
            occupied: [0; LEVELS],
            links: Links::default(),
            due: Vec::new(),
        }
    }
}

impl Wheel {
    /// Lies at the level of the highest digit in which tick and current differ.
    fn insert(&mut self, index: u32, tick: u64, current: u64) {
        let furthest = current | ((1 << (SLOT_BITS * LEVELS as u32)) - 1);
        let at = tick.clamp(current, furthest);
        let level = ((at ^ current) | 1).ilog2() / SLOT_BITS;
        let slot = (at >> (level * SLOT_BITS)) as usize % SLOTS;
        if self.due.len() <= index as usize {
            self.due.resize(index as usize + 1, Due::default());
        }
        self.due[index as usize] = Due { tick, level: level as u8, slot: slot as u8 };
        self.links.push_back(&mut self.slots[level as usize][slot], index);
        self.occupied[level as usize] |= 1 << slot;
    }

    fn remove(&mut self, index: u32) {
        let Due { level, slot, .. } = self.due[index as usize];
        let list = &mut self.slots[level as usize][slot as usize];
        self.links.unlink(list, index);
        if list.is_empty() {
            self.occupied[level as usize] &= !(1 << slot);
        }
    }

    /// The next occupied slot after `current`: the tick it begins at, and its level.
    fn next_slot(&self, current: u64) -> Option<(u64, usize)> {
        (0..LEVELS).find_map(|level| {
            let shift = SLOT_BITS * level as u32;
            let digit = (current >> shift) % SLOTS as u64;
            // At this level what lies ahead has a greater digit than current's.
            let ahead = self.occupied[level] & (u64::MAX << digit) & !(1 << digit);
            let slot = (ahead != 0).then(|| u64::from(ahead.trailing_zeros()))?;
            let base = current >> (shift + SLOT_BITS) << (shift + SLOT_BITS);
            Some((base | (slot << shift), level))
        })
    }

    /// Deals the slot that begins at `tick` out to the levels below.
    fn cascade(&mut self, tick: u64, level: usize) {
        if level == 0 {
            return;
        }
        let slot = (tick >> (SLOT_BITS * level as u32)) as usize % SLOTS;
        while let Some(index) = self.slots[level][slot].head() {
            self.remove(index);
            self.insert(index, self.due[index as usize].tick, tick);
        }
    }
}

/// The first tick not before `at`.
fn tick_after(epoch: Instant, at: Instant) -> u64 {
    at.nanos_since(epoch).div_ceil(1 << TICK_BITS)
}

/// The last tick not after `at`.
fn tick_before(epoch: Instant, at: Instant) -> u64 {
    at.nanos_since(epoch) >> TICK_BITS
}
