//! What an acquirer asks for.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::Priority;
use crate::gates::wait_queue::Place;
use crate::ground::tenant::Tenant;
use crate::ground::time::{self, Instant};

/// What somebody wants from a [`PrioritySemaphore`](crate::PrioritySemaphore): made from a
/// [`Priority`] alone where that is all.
///
/// ```
/// use std::time::Duration;
/// use headworks::Priority;
/// use headworks::semaphore::Want;
///
/// let plain = Want::from(Priority::High);
/// let rich = Want::new(Priority::Low)
///     .with_tenant("team-a")
///     .within(Duration::from_secs(2));
/// assert_eq!(plain.permits.get(), 1);
/// assert_eq!(rich.priority, Priority::Low);
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Want {
    /// Its class. Default: `Normal`.
    pub priority: Priority,
    /// Permits, all of them or none. Default: 1.
    pub permits: NonZeroU32,
    /// Until when waiting makes sense. Default: for ever.
    pub deadline: Option<Instant>,
    tenant: Tenant,
}

impl Want {
    /// One permit of this class, no tenant, no deadline.
    #[must_use]
    pub fn new(priority: Priority) -> Self {
        Self { priority, permits: NonZeroU32::MIN, deadline: None, tenant: Tenant::NONE }
    }

    /// Sets [`priority`](Self::priority).
    #[must_use]
    pub fn with_priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    /// Names whoever this is for. Tenants of a class take turns, in permits; without a name all
    /// are one tenant.
    #[must_use]
    pub fn with_tenant(self, tenant: &(impl Hash + ?Sized)) -> Self {
        Self { tenant: Tenant::of(tenant), ..self }
    }

    /// Sets [`permits`](Self::permits).
    #[must_use]
    pub fn with_permits(self, permits: NonZeroU32) -> Self {
        Self { permits, ..self }
    }

    /// Sets [`deadline`](Self::deadline).
    #[must_use]
    pub fn with_deadline(self, deadline: impl Into<Instant>) -> Self {
        Self { deadline: Some(deadline.into()), ..self }
    }

    /// Sets [`deadline`](Self::deadline) so long from now.
    #[must_use]
    pub fn within(self, time: Duration) -> Self {
        Self { deadline: time::later(time::now(), time), ..self }
    }

    pub(super) fn place(&self) -> Place {
        let Self { priority: class, permits: weight, deadline, tenant } = *self;
        Place { class, tenant, weight, deadline }
    }
}

impl Default for Want {
    fn default() -> Self {
        Self::new(Priority::default())
    }
}

impl From<Priority> for Want {
    fn from(priority: Priority) -> Self {
        Self::new(priority)
    }
}
