//! Who a request comes from, by its token.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::ConfigError;

/// Who sends a request, as [`Bearer`] found. Tickets and idempotency keys belong to a tenant: another
/// one's are not there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caller {
    /// Whose request it is. Without a [`Bearer`] all are one, the empty one. An intent's own tenant is
    /// what the decoder says, who is told this one ([`Origin::Request`](crate::intake::Origin)).
    pub tenant: Arc<str>,
}

impl Caller {
    /// Somebody of this tenant.
    pub fn new(tenant: impl Into<Arc<str>>) -> Self {
        Self { tenant: tenant.into() }
    }
}

/// Why a token does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// Nobody has it: 401.
    #[error("nobody has this token")]
    Unknown,
    /// Who has it may not do this: 403.
    #[error("this token is not for that")]
    Forbidden,
    /// Whoever could tell can't be asked now: 503.
    #[error("nobody can tell whose token this is")]
    Unavailable {
        /// When to come back.
        retry_after: Duration,
    },
}

/// Tells who sends a request, by the token in its `Authorization: Bearer`. Given by the operator;
/// [`StaticTokens`] where a few that never change will do.
///
/// Asked for every request but health and readiness, after the rate limit. A request without a
/// token is refused unasked. An answer that takes long holds its connection, for
/// [`answer_timeout`](super::HttpIntakeConfig::answer_timeout) at most: then it is 503.
#[async_trait]
pub trait Bearer: Send + Sync + 'static {
    /// Whose token this is: 1 to 4,096 characters that a token may have (RFC 6750).
    ///
    /// # Errors
    /// [`Denied`] says why not.
    async fn caller(&self, token: &str) -> Result<Caller, Denied>;
}

/// Tokens that are known from the start, and whose they are.
///
/// A token is compared with all of them, each in a time that its content does not change (its length
/// does). They are wiped from the memory when this is dropped.
///
/// ```
/// use headworks::intake::http::StaticTokens;
///
/// let tokens = StaticTokens::new().with("8fd0c2b1-cell-planner", "planner")?;
/// assert!(StaticTokens::new().with("short", "planner").is_err());
/// # drop(tokens);
/// # Ok::<(), headworks::ConfigError>(())
/// ```
#[derive(Clone, Default)]
pub struct StaticTokens {
    tokens: Vec<(Zeroizing<Vec<u8>>, Arc<str>)>,
}

impl StaticTokens {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One more, of this tenant.
    ///
    /// # Errors
    /// [`ConfigError`]: fewer than 16 characters, more than 4,096, or ones that no token may have.
    pub fn with(mut self, token: &str, tenant: impl Into<Arc<str>>) -> Result<Self, ConfigError> {
        let header = format!("Bearer {token}");
        let is_token = super::core::bearer_token(header.as_bytes()) == Some(token);
        let allowed = "16 to 4096 letters, digits, or any of -._~+/=";
        // Its content is nobody's business, not even that of a log of errors.
        let told = format_args!("a token of {} bytes", token.len());
        ConfigError::unless(is_token && token.len() >= 16, "intake.http.token", told, allowed)?;
        self.tokens.push((Zeroizing::new(token.as_bytes().to_vec()), tenant.into()));
        Ok(self)
    }

    fn find(&self, token: &str) -> Option<Arc<str>> {
        let mut found = u64::MAX;
        for (at, (known, _)) in (0_u64..).zip(&self.tokens) {
            let same: Choice = known.as_slice().ct_eq(token.as_bytes());
            found = u64::conditional_select(&found, &at, same);
        }
        let at = usize::try_from(found).ok()?;
        self.tokens.get(at).map(|(_, tenant)| Arc::clone(tenant))
    }
}

#[async_trait]
impl Bearer for StaticTokens {
    async fn caller(&self, token: &str) -> Result<Caller, Denied> {
        self.find(token).map(|tenant| Caller { tenant }).ok_or(Denied::Unknown)
    }
}

impl fmt::Debug for StaticTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticTokens").field("tokens", &self.tokens.len()).finish()
    }
}
