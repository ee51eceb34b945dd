//! Rate limiters: so much in so long, exactly.
//!
//! [`RateLimiter`] has one [`Quota`]; [`TieredRateLimiter`] has one for all together and one for
//! each key. Both refuse at once with the instant at which to come back
//! ([`try_acquire`](RateLimiter::try_acquire)), or let wait in order of priority
//! ([`acquire`](RateLimiter::acquire)).
//!
//! Before an HTTP service, and for what an HTTP answer says about limits: the module `http` (feature
//! `tower`).
//!
//! Not for bounding how much runs at once (a semaphore does), nor for sharing one quota between
//! processes.
//!
//! A quota can be changed while it is used ([`set_quota`](RateLimiter::set_quota)), and a key may
//! have one of its own ([`set_key_quota`](TieredRateLimiter::set_key_quota)).
//!
//! # Examples
//! Waiting, the more important ones first:
//! ```
//! use headworks::rate_limit::{Quota, RateLimiter};
//! use headworks::Priority;
//! use std::time::{Duration, Instant};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limiter = RateLimiter::new(Quota::per_second(1_000).with_burst(1))?;
//! let start = Instant::now();
//! for _ in 0..3 {
//!     limiter.acquire(1, Priority::High).await?;
//! }
//! assert!(start.elapsed() >= Duration::from_millis(2), "one at once, then one each millisecond");
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//! - In every window of length *t*, as [the clock](crate::Instant) tells it, at most `burst + rate·t`
//!   tokens are admitted, from any number of threads, at any rate from one a day to 10⁷ a second; a
//!   clock that stalls, jumps or is up to ten minutes older than the last one changes nothing about
//!   that. The algorithm is GCRA (ITU-T I.371).
//! - A refusal costs nobody anything: one by the limit of a key leaves the shared one as it was, and
//!   the other way round.
//! - [`RateLimited::earliest`] is exact: refused a nanosecond before, admitted then, if nobody else
//!   comes.
//! - Nobody who doesn't wait goes before somebody who does, and who is dropped while it waits loses
//!   no token.
//! - Bounded: keys, waiting keys, waiters per key, and on request the wait. When all keys are in
//!   use, further ones share buckets: never a free pass, never a lock-out.
//! - A change of a quota keeps what is left of it, but for what is above the new burst.
//! - [Leases](Tokens::Leased) are carved out of the burst, so that the bound stays.

// Invariants, beside what is guaranteed above
// 1. The state of a bucket is one word (GCRA), and every decision is one compare-and-swap on it.
// 2. A refusal writes no bucket. One by either tier leaves the other bit for bit untouched: the
//    key is checked under its lock, then the global word is taken, then the key is written.
// 3. Who waits takes its tokens itself, so dropping it loses none; whoever leaves the head of a line
//    wakes the next.
// 4. A word is never read by another quota than the one it is told in: the bucket of all writes in
//    the word which of four that is, those of keys change it under their lock.
// 5. A stripe never holds or has coming more than one lease.
// 6. Lock order: rooms (who waits), then one shard of the keys. Wakers are cloned before
//    the locks; they are woken and dropped, and keys dropped, after them. Whose key nobody waits
//    for does not go through the rooms.

mod allowance;
mod bucket;
mod config;
mod core;
mod error;
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub mod http;
mod keys;
mod leases;
mod limiter;
mod line;
mod metrics;
mod rooms;
mod standing;
mod tiered;
mod waiting;

#[cfg(all(test, headworks_loom))]
mod loom_tests;
#[cfg(all(test, not(headworks_loom)))]
mod tests;

pub use self::allowance::Allowance;
pub use self::config::{Quota, RateLimiterConfig, TieredQuota, Tokens};
pub use self::error::{AcquireError, RateLimited, TryAcquireError};
pub use self::limiter::RateLimiter;
pub use self::metrics::RateLimiterSnapshot;
pub use self::tiered::TieredRateLimiter;
pub use crate::ground::metrics::{Metric, MetricValue};
