//! Locks and atomics: the real ones, or loom's under `--cfg headworks_loom`. The only file that
//! knows that cfg, beside the `loom_tests.rs` of each room.
//!
//! A plain `--cfg loom` would also switch tokio's own code; hence a name of our own.

#[cfg(not(headworks_loom))]
pub(crate) use parking_lot::{Mutex, MutexGuard};

#[cfg(not(headworks_loom))]
pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
}

#[cfg(headworks_loom)]
pub(crate) use modelled::{Mutex, MutexGuard};

#[cfg(headworks_loom)]
pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
}

#[cfg(headworks_loom)]
mod modelled {
    pub(crate) use loom::sync::MutexGuard;

    /// loom's mutex with parking_lot's face.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }
}
