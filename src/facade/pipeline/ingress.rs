//! The ingress limiter of a running pipeline.

use std::fmt;
use std::sync::Arc;

use super::shared::Shared;
use crate::ConfigError;
use crate::ground::tenant::Tenant;
use crate::rate_limit::{Quota, RateLimiterSnapshot, TieredRateLimiter};

/// The [`ingress`](super::PipelineConfig::ingress) limiter of a running pipeline: its quotas can be
/// changed. Those who wait to be accepted look again at once.
///
/// What a change does to the tokens that are there: see
/// [`RateLimiter::set_quota`](crate::RateLimiter::set_quota). Each costs a lock of the limiter's and then
/// one of the pipeline's, beside what it says.
pub struct Ingress<'a, P: Send + Sync + 'static, O: Send + Sync + 'static> {
    shared: &'a Shared<P, O>,
    limiter: &'a TieredRateLimiter<Arc<str>>,
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Ingress<'_, P, O> {
    pub(super) fn of(shared: &Shared<P, O>) -> Option<Ingress<'_, P, O>> {
        let limiter = shared.ingress.as_ref()?;
        Some(Ingress { shared, limiter })
    }

    /// Another quota of all tenants together.
    ///
    /// # Errors
    /// [`ConfigError`] names the field that can't work; then nothing has changed.
    pub fn set_global_quota(&self, quota: Quota) -> Result<(), ConfigError> {
        self.limiter.set_global_quota(quota)?;
        self.shared.tokens_came(None);
        Ok(())
    }

    /// Another quota for every tenant that has none of its own.
    ///
    /// # Errors
    /// [`ConfigError`] names the field that can't work; then nothing has changed.
    ///
    /// # Cost
    /// Walks all tenants: see
    /// [`set_per_key_quota`](crate::TieredRateLimiter::set_per_key_quota).
    pub fn set_per_tenant_quota(&self, quota: Quota) -> Result<(), ConfigError> {
        self.limiter.set_per_key_quota(quota)?;
        self.shared.tokens_came(None);
        Ok(())
    }

    /// A quota of its own for this tenant, or another one, until
    /// [`clear_tenant_quota`](Self::clear_tenant_quota).
    ///
    /// # Errors
    /// [`ConfigError`] names the field that can't work, or `max_keys` when no other tenant can be
    /// remembered; then nothing has changed.
    pub fn set_tenant_quota(
        &self,
        tenant: impl Into<Arc<str>>,
        quota: Quota,
    ) -> Result<(), ConfigError> {
        let tenant = tenant.into();
        let of = Tenant::of(&*tenant);
        self.limiter.set_key_quota(tenant, quota)?;
        self.shared.tokens_came(Some(of));
        Ok(())
    }

    /// The tenant lives by the quota of all tenants again.
    pub fn clear_tenant_quota(&self, tenant: &str) {
        self.limiter.clear_key_quota(tenant);
        self.shared.tokens_came(Some(Tenant::of(tenant)));
    }

    /// What it has let through and refused.
    #[must_use]
    pub fn snapshot(&self) -> RateLimiterSnapshot {
        self.limiter.snapshot()
    }
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> fmt::Debug for Ingress<'_, P, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ingress").field("limiter", self.limiter).finish_non_exhaustive()
    }
}
