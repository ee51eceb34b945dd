//! What every limiter is asked to do.

use headworks::Instant;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Per second, and the burst: more than any row asks for, and the finest that all of them count.
pub const PLENTY: NonZeroU32 = NonZeroU32::new(10_000_000).unwrap();

/// As an intent holds its tenant.
pub type Key = Arc<str>;

pub const KEYS: usize = 10_000;

/// Whether a row's calls are let through or not.
#[derive(Clone, Copy)]
pub enum Expect {
    Allowed,
    Refused,
}

impl Expect {
    pub const ALL: [Self; 2] = [Self::Allowed, Self::Refused];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
        }
    }
}

/// A limiter of one quota, or of one for every key.
pub trait Limiter: Send + Sync {
    const NAME: &'static str;

    /// A time as it is told to it; nothing, where it has a clock of its own.
    type Now: Copy;

    fn now() -> Self::Now;

    /// Of [`PLENTY`], or of one an hour.
    fn new(expect: Expect) -> Self;

    /// One token; a limiter without keys ignores the key. (Inlined by all, so that whether the compiler
    /// does so for one is not what is measured.)
    fn allows(&self, key: &Key, now: Self::Now) -> bool;
}

/// A limiter of many small keys, or the map that it is built on.
pub trait KeyedLimiter {
    const NAME: &'static str;

    /// For so many keys, more than any row asks for each.
    fn new(keys: usize) -> Self;

    fn allows(&self, key: u64, now: Instant) -> bool;
}
