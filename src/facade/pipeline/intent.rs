//! What is asked for.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::Priority;
use crate::ground::time::{self, Instant};

/// One unit of work: which object it is about, how urgent it is, and what is to be done.
///
/// Plain data. The *key* names the object (`namespace/name`): two runs of one key never overlap.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Intent<P> {
    /// The object it is about, `namespace/name` by custom.
    pub key: Arc<str>,
    /// The object's version: of two, the higher is the newer. `None`: always the newest.
    /// Default: `None`.
    pub generation: Option<u64>,
    /// Whose it is: tenants of a class share it fairly. Default: the key up to its first `/`.
    pub tenant: Arc<str>,
    /// Default: [`Priority::Normal`].
    pub priority: Priority,
    /// How many seats an attempt takes. Default: 1.
    pub weight: NonZeroU32,
    /// Finish by: passed while it waits, it ends `Expired`; while it runs, the attempt is dropped
    /// and it ends `Failed`. Default: `None`, never.
    pub deadline: Option<Instant>,
    /// A hash of the content, from whoever decoded it: the same generation with the same content
    /// joins a live run and shares its result. Default: `None`, never joins.
    pub content: Option<u128>,
    /// What the phases work on.
    pub payload: P,
}

impl<P> Intent<P> {
    /// An intent with every default.
    pub fn new(key: impl Into<Arc<str>>, payload: P) -> Self {
        let key = key.into();
        let tenant =
            key.split_once('/').map_or_else(|| Arc::clone(&key), |(first, _)| first.into());
        Self {
            key,
            generation: None,
            tenant,
            priority: Priority::default(),
            weight: NonZeroU32::MIN,
            deadline: None,
            content: None,
            payload,
        }
    }

    /// Sets [`generation`](Self::generation).
    #[must_use]
    pub fn generation(self, generation: u64) -> Self {
        Self { generation: Some(generation), ..self }
    }

    /// Sets [`tenant`](Self::tenant).
    #[must_use]
    pub fn tenant(self, tenant: impl Into<Arc<str>>) -> Self {
        Self { tenant: tenant.into(), ..self }
    }

    /// Sets [`priority`](Self::priority).
    #[must_use]
    pub fn priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    /// Sets [`weight`](Self::weight).
    #[must_use]
    pub fn weight(self, weight: NonZeroU32) -> Self {
        Self { weight, ..self }
    }

    /// Sets [`deadline`](Self::deadline).
    #[must_use]
    pub fn deadline(self, deadline: impl Into<Instant>) -> Self {
        Self { deadline: Some(deadline.into()), ..self }
    }

    /// Sets [`deadline`](Self::deadline) so long from now.
    ///
    /// ```
    /// use headworks::Intent;
    /// use std::time::Duration;
    ///
    /// let intent = Intent::new("default/web", "scale to 5").within(Duration::from_secs(5));
    /// assert!(intent.deadline.is_some());
    /// ```
    #[must_use]
    pub fn within(self, time: Duration) -> Self {
        Self { deadline: time::later(time::now(), time), ..self }
    }

    /// Sets [`content`](Self::content).
    #[must_use]
    pub fn content(self, content: u128) -> Self {
        Self { content: Some(content), ..self }
    }
}
