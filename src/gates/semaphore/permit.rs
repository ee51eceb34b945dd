//! The right to go on; its drop is the only way back.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::PrioritySemaphore;
use crate::ground::stripe;

/// Permits of a [`PrioritySemaphore`]. Dropped, they go back, and to the next in line.
///
/// # Cost
///
/// Its drop is one atomic operation while nobody waits, mostly on memory of this thread; else the lock of the line and O(1) for
/// each waiter that is granted by it.
#[derive(Debug)]
#[must_use = "dropped, it gives its permits back at once"]
pub struct Permit<'a> {
    semaphore: &'a PrioritySemaphore,
    permits: NonZeroU32,
}

impl<'a> Permit<'a> {
    pub(super) fn new(semaphore: &'a PrioritySemaphore, permits: NonZeroU32) -> Self {
        Self { semaphore, permits }
    }

    /// How many permits it holds.
    #[must_use]
    pub fn permits(&self) -> NonZeroU32 {
        self.permits
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.semaphore.give_back(stripe::mine(), self.permits);
    }
}

/// A [`Permit`] that shares its semaphore, and so can be sent into a task.
#[derive(Debug)]
#[must_use = "dropped, it gives its permits back at once"]
pub struct OwnedPermit {
    semaphore: Arc<PrioritySemaphore>,
    permits: NonZeroU32,
}

impl OwnedPermit {
    pub(super) fn new(semaphore: Arc<PrioritySemaphore>, permits: NonZeroU32) -> Self {
        Self { semaphore, permits }
    }

    /// How many permits it holds.
    #[must_use]
    pub fn permits(&self) -> NonZeroU32 {
        self.permits
    }
}

impl Drop for OwnedPermit {
    fn drop(&mut self) {
        self.semaphore.give_back(stripe::mine(), self.permits);
    }
}
