//! Who a piece of work belongs to, as a number.

use std::hash::{BuildHasher, Hash};
use std::sync::OnceLock;

use super::primitives::Hashing;

/// A tenant: the hash of whatever the caller calls one, seeded per process (names come from
/// outside and must not be able to aim for one another). `Tenant::NONE` for work without one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Tenant(pub(crate) u64);

impl Tenant {
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn of(name: &(impl Hash + ?Sized)) -> Self {
        // The one static of the crate: a seed, not a state. All pools of a process agree on it.
        static SEED: OnceLock<Hashing> = OnceLock::new();
        // Never the number of `NONE`.
        Self(SEED.get_or_init(Hashing::default).hash_one(name) | 1)
    }
}
