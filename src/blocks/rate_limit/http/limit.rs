//! The limiter behind a layer: one for everybody, or one with keys.

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use http::Request;

use super::fields::Standing;
use super::key::RequestKey;
use crate::blocks::rate_limit::{Allowance, RateLimiter, TieredRateLimiter, TryAcquireError};
use crate::ground::time::Instant;

/// What a layer can ask about a request: an `Arc<RateLimiter>`, or a [`PerKey`]. Nobody else can
/// name this trait.
pub trait Limit<B> {
    /// Takes a token for `request`; looks at the bucket afterwards if somebody is to be told.
    fn take(&self, request: &Request<B>, now: Instant, is_told: bool) -> Verdict;
}

/// What became of a request that asked for its token.
#[derive(Debug)]
pub struct Verdict {
    pub(super) taken: Result<(), TryAcquireError>,
    /// The bucket afterwards, if it was asked for.
    pub(super) standing: Option<Standing>,
}

impl Verdict {
    fn new(
        taken: Result<(), TryAcquireError>,
        now: Instant,
        allowances: Option<[Allowance; 2]>,
    ) -> Self {
        let standing = allowances.and_then(|[of, other]| {
            let left = if other.available < of.available { &other } else { &of };
            let standing = Standing::new(&of, left, now);
            match &taken {
                Ok(()) => Some(standing),
                // Never again: no word about how soon.
                Err(why) => Some(standing.refused(why.earliest()?.saturating_duration_since(now))),
            }
        });
        Self { taken, standing }
    }
}

impl<B> Limit<B> for Arc<RateLimiter> {
    fn take(&self, _: &Request<B>, now: Instant, is_told: bool) -> Verdict {
        let taken = self.try_acquire_at(1, now);
        Verdict::new(taken, now, is_told.then(|| [self.allowance_at(now); 2]))
    }
}

/// A limiter with keys, and which key a request has.
pub struct PerKey<K, X> {
    pub(super) limiter: Arc<TieredRateLimiter<K>>,
    pub(super) key: X,
}

impl<B, K, X> Limit<B> for PerKey<K, X>
where
    K: Borrow<X::Key> + Eq + Hash,
    X: RequestKey<B, Key: ToOwned<Owned = K>>,
{
    fn take(&self, request: &Request<B>, now: Instant, is_told: bool) -> Verdict {
        let key = self.key.key(request);
        let taken = self.limiter.try_acquire_at::<X::Key>(&key, 1, now);
        let left = is_told.then(|| self.limiter.allowances_at::<X::Key>(&key, now));
        Verdict::new(taken, now, left)
    }
}

impl<K, X: Clone> Clone for PerKey<K, X> {
    fn clone(&self) -> Self {
        Self { limiter: Arc::clone(&self.limiter), key: self.key.clone() }
    }
}

impl<K, X> fmt::Debug for PerKey<K, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerKey").finish_non_exhaustive()
    }
}
