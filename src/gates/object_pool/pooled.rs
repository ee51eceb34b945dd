//! A value that is out, and goes back by being dropped.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::pool::{Loan, ObjectPool};

/// A value of an [`ObjectPool`], which goes back as this is dropped: nobody else can have it until
/// then. Dropped while a panic unwinds that began since it was taken, its value is dropped too, for
/// it may be half changed.
#[must_use = "dropped, it gives its value back at once"]
pub struct Pooled<'a, T> {
    pool: &'a ObjectPool<T>,
    /// There until the guard is dropped.
    value: Option<T>,
    loan: Loan,
}

/// A [`Pooled`] that shares its pool, and so can be sent into a task.
#[must_use = "dropped, it gives its value back at once"]
pub struct OwnedPooled<T> {
    pool: Arc<ObjectPool<T>>,
    /// There until the guard is dropped.
    value: Option<T>,
    loan: Loan,
}

impl<'a, T> Pooled<'a, T> {
    #[inline]
    pub(super) fn new(pool: &'a ObjectPool<T>, value: T, loan: Loan) -> Self {
        Self { pool, value: Some(value), loan }
    }

    /// The value, for good: the pool forgets it.
    #[must_use]
    pub fn detach(mut self) -> T {
        let Some(value) = self.value.take() else { unreachable!("{GONE}") };
        self.pool.let_go(self.loan);
        value
    }
}

impl<T> OwnedPooled<T> {
    #[inline]
    pub(super) fn new(pool: Arc<ObjectPool<T>>, value: T, loan: Loan) -> Self {
        Self { pool, value: Some(value), loan }
    }

    /// The value, for good: the pool forgets it.
    #[must_use]
    pub fn detach(mut self) -> T {
        let Some(value) = self.value.take() else { unreachable!("{GONE}") };
        self.pool.let_go(self.loan);
        value
    }
}

const GONE: &str = "the value is there until the guard is dropped";

impl<T> Deref for Pooled<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        let Some(value) = &self.value else { unreachable!("{GONE}") };
        value
    }
}

impl<T> DerefMut for Pooled<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        let Some(value) = &mut self.value else { unreachable!("{GONE}") };
        value
    }
}

impl<T> Drop for Pooled<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            self.pool.give_back(value, self.loan);
        }
    }
}

impl<T> Deref for OwnedPooled<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        let Some(value) = &self.value else { unreachable!("{GONE}") };
        value
    }
}

impl<T> DerefMut for OwnedPooled<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        let Some(value) = &mut self.value else { unreachable!("{GONE}") };
        value
    }
}

impl<T> Drop for OwnedPooled<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            self.pool.give_back(value, self.loan);
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Pooled<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: fmt::Debug> fmt::Debug for OwnedPooled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
