//! Which requests go through which proxy.
//!
//! hyper-util's `client::proxy::matcher` was considered and not taken: a URL that it can't read
//! is no proxy to it, so the request goes out directly; its `NO_PROXY` knows no ports; under CGI it
//! drops all variables; and its rules can't be compared, which a pool's key has to be.

mod environment;
mod exempt;
mod url;

pub use self::exempt::{InvalidNoProxy, NoProxy};
pub use self::url::{InvalidProxyUrl, ProxyUrl};
use super::host::HostKey;
use crate::ground::config_error::ConfigError;

#[cfg(all(any(test, fuzzing), not(headworks_loom)))]
pub(super) use self::environment::rules as rules_of;

/// Whether requests go through a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Proxy {
    /// Straight to the host, whatever the environment says.
    #[default]
    Direct,
    /// As the environment says when the transport is made: [`ProxyRules::from_env`].
    Environment,
    /// By these rules.
    Rules(ProxyRules),
}

impl From<ProxyRules> for Proxy {
    fn from(rules: ProxyRules) -> Self {
        Self::Rules(rules)
    }
}

/// Which proxy serves which scheme, and who is reached without one.
///
/// A request to an `http` host is sent to the proxy as it is, with its whole URL (absolute form, RFC
/// 9112, section 3.2.2). For one to an `https` host, and to any with
/// [`Protocol::Http2`](super::Protocol::Http2), the proxy opens a tunnel (`CONNECT`) and sees
/// nothing but its name. The proxy looks the name up, not this process.
///
/// # Examples
/// ```
/// use headworks::http_transport::{ProxyRules, TransportConfig};
///
/// let rules = ProxyRules::all("http://user:secret@proxy.internal:3128".parse()?)
///     .with_no_proxy("svc.cluster.local, 10.0.0.0/8".parse()?);
/// assert!(!format!("{rules:?}").contains("secret"));
/// let config = TransportConfig::default().with_proxy(rules.into());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct ProxyRules {
    /// For `http` hosts. Default: `None`, directly.
    pub http: Option<ProxyUrl>,
    /// For `https` hosts. Default: `None`, directly.
    pub https: Option<ProxyUrl>,
    /// Who is reached directly all the same. Default: nobody.
    pub no_proxy: NoProxy,
}

impl ProxyRules {
    /// One proxy for all hosts.
    #[must_use]
    pub fn all(proxy: ProxyUrl) -> Self {
        Self { http: Some(proxy.clone()), https: Some(proxy), no_proxy: NoProxy::default() }
    }

    /// What the process's environment says now.
    ///
    /// | variable | |
    /// |---|---|
    /// | `http_proxy`, `HTTP_PROXY` | the proxy for `http` hosts; ignored where `REQUEST_METHOD` is set, since in a CGI program a client's `Proxy:` header would name it |
    /// | `https_proxy`, `HTTPS_PROXY` | the proxy for `https` hosts |
    /// | `all_proxy`, `ALL_PROXY` | for those of the two that have none of their own |
    /// | `no_proxy`, `NO_PROXY` | a [`NoProxy`] |
    ///
    /// The lower-case name wins, and an empty variable is as good as none.
    ///
    /// # Errors
    ///
    /// `ConfigError::Invalid`, naming the variable, never what it holds of a proxy: one that can't be
    /// understood must not make requests go out directly.
    pub fn from_env() -> Result<Self, ConfigError> {
        environment::rules(|name| std::env::var_os(name))
    }

    /// Sets [`http`](Self::http).
    #[must_use]
    pub fn with_http(mut self, proxy: ProxyUrl) -> Self {
        self.http = Some(proxy);
        self
    }

    /// Sets [`https`](Self::https).
    #[must_use]
    pub fn with_https(mut self, proxy: ProxyUrl) -> Self {
        self.https = Some(proxy);
        self
    }

    /// Sets [`no_proxy`](Self::no_proxy).
    #[must_use]
    pub fn with_no_proxy(mut self, no_proxy: NoProxy) -> Self {
        self.no_proxy = no_proxy;
        self
    }
}

/// Through whom a host is reached. It is part of the host's key, so a connection that goes through a
/// proxy and one that does not are never taken for each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Via {
    pub(super) proxy: ProxyUrl,
    pub(super) how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum How {
    /// The proxy reads the request and sends one of its own.
    AbsoluteForm,
    /// It passes on bytes.
    Tunnel,
}

impl Proxy {
    /// The same with the environment read.
    pub(super) fn settled(self) -> Result<Self, ConfigError> {
        match self {
            Self::Environment => ProxyRules::from_env().map(Self::Rules),
            settled => Ok(settled),
        }
    }

    /// `speaks_h2`: over `http`, too.
    pub(super) fn via(&self, host: &HostKey, speaks_h2: bool) -> Option<Via> {
        let Self::Rules(rules) = self else { return None };
        let proxy = if host.tls { &rules.https } else { &rules.http };
        let proxy = proxy.as_ref().filter(|_| !rules.no_proxy.contains(host))?.clone();
        let how = if host.tls || speaks_h2 { How::Tunnel } else { How::AbsoluteForm };
        Some(Via { proxy, how })
    }
}
