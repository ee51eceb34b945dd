//! Rate limits and HTTP: a limiter before a service, and what an answer says about limits.
//!
//! | you need | here |
//! |---|---|
//! | to refuse requests with 429 | [`RateLimitLayer`], over one bucket or one per key |
//! | a key | [`ByClientIp`], [`ByHeader`], or a function of the request |
//! | a client's address that can't be forged | [`TrustedProxies`] |
//! | to heed the limits of a server that you call | [`RateLimitHint`] |
//!
//! # What answers say
//! A refusal is 429 with `Retry-After`: jittered, rounded up to whole seconds. It and every
//! admitted answer also say ([`LimitFields`] chooses):
//!
//! - `RateLimit-Policy: "default";q=40;w=2` and `RateLimit: "default";r=39;t=2`, of
//!   [draft-ietf-httpapi-ratelimit-headers-11][draft] (23 May 2026): 40 requests come in 2 s; 39 are left, and
//!   so many come again in 2 s. So a client that spreads `r` over `t` is never refused. At `r=0`, `t`
//!   is when the next one comes; it is never later than `Retry-After`.
//! - `X-RateLimit-Limit: 40`, `X-RateLimit-Remaining: 39` and `X-RateLimit-Reset: 1`: the size of the
//!   bucket, what is in it, and in how many seconds it is full again.
//!
//! With keys these tell of the key's own bucket, and of less only while less than that is left for
//! all together: how much all may take is nobody's business. They say how the bucket stood when
//! the request was admitted, and are written while [`Enforcement`](crate::Enforcement) is not full
//! too.
//!
//! # Guarantees and invariants
//! 1. What a client writes can't choose its key, unless it comes through a trusted proxy, and then
//!    only up to the address that the proxy saw. See [`TrustedProxies`].
//! 2. No address is no free pass: all without one share one bucket.
//! 3. A refusal never reaches the service inside, and costs no token.
//! 4. The service inside is called where it was made ready, and only after a token was taken.
//! 5. Nothing that is read can panic, allocate by its length, or make a client wait beyond a stated
//!    cap.
//!
//! [draft]: https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/11/

#[cfg(all(any(test, fuzzing), not(headworks_loom)))]
pub(crate) mod claims;
mod client_ip;
mod fields;
mod forwarded;
mod future;
mod hint;
mod key;
mod layer;
mod limit;
mod structured;
#[cfg(all(test, not(headworks_loom)))]
mod tests;
mod trusted_proxies;

pub use self::client_ip::{ClientIp, PeerAddr};
pub use self::fields::LimitFields;
pub use self::future::ResponseFuture;
pub use self::hint::RateLimitHint;
pub use self::key::{ByClientIp, ByHeader, RequestKey};
pub use self::layer::{EmptyBody, Limited, RateLimitLayer, Refusal};
pub use self::limit::PerKey;
pub use self::trusted_proxies::{ForwardingHeader, TrustedProxies};
