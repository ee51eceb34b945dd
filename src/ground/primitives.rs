//! Locks and atomics: the real ones, or loom's under `--cfg headworks_loom`. The only file that
//! knows that cfg, beside the `loom_tests.rs` of each room.
//!
//! A plain `--cfg loom` would also switch tokio's own code; hence a name of our own.

#[cfg(not(headworks_loom))]
pub(crate) use parking_lot::{Mutex, MutexGuard};

/// Hashes keys that come from attackers: by a seed of the system's chance, one a map. Several times
/// faster than a hash that withstands somebody who can watch every look-up's time; what such a one
/// might find is a map whose keys, up to its bound, are looked through (or a tenant that shares
/// another one's turns).
#[cfg(not(headworks_loom))]
#[derive(Clone, Debug)]
pub(crate) struct Hashing(foldhash::quality::SeedableRandomState);

#[cfg(not(headworks_loom))]
impl Default for Hashing {
    fn default() -> Self {
        use std::hash::{BuildHasher, RandomState};
        let seed = RandomState::new().hash_one(0);
        Self(foldhash::quality::SeedableRandomState::with_seed(
            seed,
            foldhash::SharedSeed::global_random(),
        ))
    }
}

#[cfg(not(headworks_loom))]
impl std::hash::BuildHasher for Hashing {
    type Hasher = foldhash::quality::FoldHasher<'static>;

    #[inline]
    fn build_hasher(&self) -> Self::Hasher {
        self.0.build_hasher()
    }
}

/// The same every time: a model that is replayed must find its keys in the same places.
#[cfg(headworks_loom)]
pub(crate) type Hashing = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

/// Whether a thread has thread-locals of its own: loom's share those of the test.
pub(crate) const THREADS_ARE_REAL: bool = cfg!(not(headworks_loom));

/// For what is static, which loom does not model.
pub(crate) use std::sync::atomic::AtomicU64 as StaticU64;

#[cfg(not(headworks_loom))]
pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
}

#[cfg(not(headworks_loom))]
pub(crate) mod cell {
    /// std's cell with loom's face.
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        pub(crate) fn into_inner(self) -> T {
            self.0.into_inner()
        }

        pub(crate) fn with<R>(&self, look: impl FnOnce(*const T) -> R) -> R {
            look(self.0.get())
        }

        pub(crate) fn with_mut<R>(&self, act: impl FnOnce(*mut T) -> R) -> R {
            act(self.0.get())
        }
    }
}

#[cfg(headworks_loom)]
pub(crate) use modelled::{Mutex, MutexGuard};

#[cfg(headworks_loom)]
pub(crate) mod cell {
    pub(crate) use loom::cell::UnsafeCell;
}

#[cfg(headworks_loom)]
pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
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

        pub(crate) fn get_mut(&mut self) -> &mut T {
            self.0.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }
}
