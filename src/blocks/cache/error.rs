//! How a load fails.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// Why a load failed: the same for all who waited for it, and for those who are told so later
/// ([`negative`](super::CacheBuilder::negative)). Cheap to clone.
#[derive(Clone)]
pub struct LoadError(Arc<dyn Error + Send + Sync>);

impl LoadError {
    pub(crate) fn new(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(source.into().into())
    }

    /// The error as the load gave it, if it is one of these.
    #[must_use]
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LoadError").field(&self.0).finish()
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the load failed")
    }
}

impl Error for LoadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}
