//! A value that is out, and goes back by being dropped.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::places::Place;
use super::pool::ObjectPool;

/// A value of an [`ObjectPool`], which goes back as this is dropped: nobody else can have it until
/// then. Dropped while its thread panics, its value is dropped too, for it may be half changed.
#[must_use = "dropped, it gives its value back at once"]
pub struct Pooled<'a, T> {
    pool: &'a ObjectPool<T>,
    /// There until the guard is dropped.
    value: Option<T>,
    place: Place,
}

/// A [`Pooled`] that shares its pool, and so can be sent into a task.
#[must_use = "dropped, it gives its value back at once"]
pub struct OwnedPooled<T> {
    pool: Arc<ObjectPool<T>>,
    /// There until the guard is dropped.
    value: Option<T>,
    place: Place,
}

const GONE: &str = "the value is there until the guard is dropped";

/// What both do, however they hold their pool.
macro_rules! guard {
    (<$($generic:tt),+> $guard:ty, $pool:ty) => {
        impl<$($generic),+> $guard {
            #[inline]
            pub(super) fn new(pool: $pool, value: T, place: Place) -> Self {
                Self { pool, value: Some(value), place }
            }

            /// The value, for good: the pool forgets it.
            #[must_use]
            pub fn detach(mut self) -> T {
                let Some(value) = self.value.take() else { unreachable!("{GONE}") };
                self.pool.let_go(self.place);
                value
            }
        }

        impl<$($generic),+> Deref for $guard {
            type Target = T;

            #[inline]
            fn deref(&self) -> &T {
                let Some(value) = &self.value else { unreachable!("{GONE}") };
                value
            }
        }

        impl<$($generic),+> DerefMut for $guard {
            #[inline]
            fn deref_mut(&mut self) -> &mut T {
                let Some(value) = &mut self.value else { unreachable!("{GONE}") };
                value
            }
        }

        impl<$($generic),+> Drop for $guard {
            #[inline]
            fn drop(&mut self) {
                if let Some(value) = self.value.take() {
                    self.pool.give_back(value, self.place);
                }
            }
        }

        impl<$($generic),+> fmt::Debug for $guard
        where
            T: fmt::Debug,
        {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&**self, f)
            }
        }
    };
}

guard!(<'a, T> Pooled<'a, T>, &'a ObjectPool<T>);
guard!(<T> OwnedPooled<T>, Arc<ObjectPool<T>>);
