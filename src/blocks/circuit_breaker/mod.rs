//! A circuit breaker: stops calling a backend that fails, and carefully starts again.
//!
//! | state | calls | leaves it when |
//! |---|---|---|
//! | **Closed** | flow, and are watched | too many of the [`Window`] fail or are slow, too many fail in a row, or too many in flight are slow |
//! | **Open** | are refused | the opening (30 s, doubling up to 5 min, ± 20 %) is over |
//! | **HalfOpen** | N probes, the rest is refused | the results of N probes are in, or enough of them failed |
//!
//! A circuit that closes again lets 10, 25 and 50 % of the calls through before all. It can be
//! forced open or closed, and released again.
//!
//! It is passive: there is no task and no timer. What time does, it does when somebody calls, asks
//! or reports.
//!
//! Not for limiting how many calls run at once (a semaphore does), and one breaker watches one
//! backend: calls to a healthy one would hide those to a failing one. A [`BreakerRegistry`] keeps
//! one for each.
//!
//! # What is read when
//! While calls flow, an admission reads the clock once and a success doesn't; it counts in the
//! bucket of the last look at the clock, which every admission and every failure takes. A success
//! reads it too where [`slow_ratio`](CircuitBreakerConfig::slow_ratio) is set. Neither does where
//! nothing depends on time: [`Window::Calls`] or [`Window::Off`], [`InFlight::Ignored`], no
//! `slow_ratio`, and [`Unreported`] other than `FailureIfSlow`.
//!
//! # Guarantees
//! - Old calls leave the window: success long ago never hides what fails now, and neither do
//!   failures long ago add up.
//! - A result counts only in the state it was admitted in: what was under way when the circuit
//!   opened decides nothing after it.
//! - Half-open, never more than N probes are under way. One that is ignored or cancelled early
//!   gives its place back, one that hangs is given up as failed at `call_timeout`. A backend that
//!   asks for patience works; and once it has given N answers that were to be ignored, each further
//!   one counts as a success. So half-open ends, unless nothing is sent or all is cancelled. (With
//!   less than full [`Enforcement`](crate::Enforcement), what is let through besides is no probe.)
//! - A permit is reported exactly once: by value, or by its drop.
//! - While calls flow, threads do not hold each other up: an admission and a success take no lock,
//!   but for a few that come after some time has passed or after a failure.
//!
//! The windows are those of resilience4j, but in constant time; that calls in flight count, and
//! that a success is no more than a count in a stripe, is ours.
//!
//! # Examples
//! ```
//! use headworks::circuit_breaker::{CircuitBreaker, CircuitBreakerConfig, Window};
//! use std::{num::NonZeroU32, time::Duration};
//!
//! let config = CircuitBreakerConfig::default()
//!     .with_window(Window::Calls(NonZeroU32::new(100).unwrap()))
//!     .with_open_for(Duration::from_secs(5));
//! let breaker = CircuitBreaker::new(config)?;
//! let permit = breaker.try_acquire()?; // refused while open
//! permit.success();
//! assert_eq!(breaker.snapshot().succeeded, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// Invariants, beside what is guaranteed above
// 1. Each change of state starts a new *generation*. A result counts only in the generation it
//    was admitted in, so what was under way at a trip decides nothing after it.
// 2. A word of a stripe counts for one *epoch*, whose tag it carries; 0: for none. It gets its
//    tag, and loses it, under the lock; beside the lock it is changed only by exchanges that
//    check the tag of the caller's own epoch. So a call that began or succeeded is counted in its
//    epoch, or its caller goes to the lock and learns that the epoch is over.
// 3. An epoch begins with each generation, and with each slot (a sixth of the slow threshold) of
//    admissions while calls in flight are watched. When all calls of a slot are slow its epoch is
//    retired: what is still in flight there is *overdue* from then on, and counted under the lock.
//    At most 8 epochs are open, one for each word of a stripe.
// 4. While calls flow, an admission and a success write no memory that all threads share, and take
//    no lock, but for the first to come after a slot or bucket has ended, and for a success that
//    follows a failure while the circuit is on the *alert*: a row of failures to be broken, or a
//    sample too small to decide. Failures, slow calls and ignored ones take the lock, for a few
//    loads of each stripe's words.
// 5. One lock, a leaf: under it nobody else's code runs and no other lock is taken. Events are
//    written under it, in the order of the changes; who waits for them is woken after it.

mod breaker;
mod config;
mod core;
mod error;
#[cfg(feature = "tower")]
mod layer;
mod listeners;
mod metrics;
mod permit;
mod registry;
mod shared;
mod stripes;
mod watch;
mod window;

#[cfg(all(test, headworks_loom))]
mod loom_tests;
#[cfg(all(test, not(headworks_loom)))]
mod tests;

pub use self::breaker::CircuitBreaker;
pub use self::config::{CircuitBreakerConfig, InFlight, Overloaded, Unreported, Window};
pub use self::core::{Cause, State, StateChange};
pub use self::error::{CallError, CircuitOpen, TooManyWaiting};
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub use self::layer::{CircuitBreakerLayer, Guarded};
pub use self::listeners::StateEvents;
pub use self::metrics::CircuitBreakerSnapshot;
pub use self::permit::{CallPermit, OwnedCallPermit};
pub use self::registry::{BreakerRegistry, BreakerRegistryConfig};
pub use crate::ground::metrics::{Metric, MetricValue};
