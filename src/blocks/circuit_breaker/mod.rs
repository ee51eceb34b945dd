//! A circuit breaker: stops calling a backend that fails, and carefully starts again.
//!
//! | state | calls | leaves it when |
//! |---|---|---|
//! | **Closed** | flow, and are watched | the failure ratio of the [`Window`], or failures in a row, reach their limit |
//! | **Open** | are refused | the opening (30 s, doubling up to 5 min, ± 20 %) is over |
//! | **HalfOpen** | N probes, the rest is refused | the results of N probes are in, or enough of them failed |
//!
//! A circuit that closes again lets 10, 25 and 50 % of the calls through before all.
//!
//! Not for limiting how many calls run at once (a semaphore does), and one breaker watches one
//! backend: calls to a healthy one would hide those to a failing one.
//!
//! # Invariants
//! 1. Old calls leave the window: success long ago never hides what fails now, and neither do
//!    failures long ago add up.
//! 2. Each change of state starts a new *generation*. A result counts only in the generation it
//!    was admitted in, so what was under way at a trip decides nothing after it.
//! 3. Calls under way as probes plus results of probes never exceed N; a probe that is ignored or
//!    cancelled early gives its place back, one that hangs is given up as failed at
//!    `call_timeout`. So half-open ends. (With less than full
//!    [`Enforcement`](crate::Enforcement), what is let through besides is no probe.)
//! 4. A [`CallPermit`] is reported exactly once: by value, or by its drop.
//! 5. One lock, a leaf: under it nobody else's code runs and no other lock is taken.
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
