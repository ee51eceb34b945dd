//! Where a proxy is, and how to sign in there.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::HeaderValue;
use http::uri::Authority;
use percent_encoding::percent_decode_str;

use crate::blocks::http_transport::host::{HostKey, canonical};

/// Longer is no URL of a proxy.
const MOST_BYTES: usize = 4_096;

/// A proxy's URL: `[http[s]://][user[:password]@]host[:port]`, the scheme being `http` and the port
/// the scheme's own (80, 443) unless they are given. Cheap to clone.
///
/// What user and password hold beside letters and digits has to be percent-encoded. They are never
/// shown: not by `Debug`, `Display`, an error or serde, which writes the URL without them.
#[derive(Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(into = "String", try_from = "String"))]
pub struct ProxyUrl(Arc<Inner>);

#[derive(PartialEq, Eq, Hash)]
struct Inner {
    at: HostKey,
    /// Marked as sensitive.
    authorization: Option<HeaderValue>,
}

impl ProxyUrl {
    /// The proxy itself, reached directly.
    pub(in crate::blocks::http_transport) fn at(&self) -> &HostKey {
        &self.0.at
    }

    /// What it is told in `Proxy-Authorization`.
    pub(in crate::blocks::http_transport) fn authorization(&self) -> Option<&HeaderValue> {
        self.0.authorization.as_ref()
    }
}

/// What a proxy's URL lacks. It holds nothing of the text, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidProxyUrl {
    /// Another scheme than `http`, or `https` with the feature `tls`.
    #[error("of a scheme that is not spoken to proxies")]
    Scheme,
    /// No host, or something that is none.
    #[error("without a host")]
    Host,
    /// A port that is none.
    #[error("with a port that is none")]
    Port,
    /// Something follows the host.
    #[error("with a path, query or fragment")]
    Path,
    /// User and password that are not percent-encoded, or that HTTP's Basic scheme can't carry: a
    /// user with a colon, control characters.
    #[error("with a user or password that can't be sent")]
    Credentials,
    /// More than 4,096 bytes.
    #[error("longer than 4096 bytes")]
    TooLong,
}

impl FromStr for ProxyUrl {
    type Err = InvalidProxyUrl;

    fn from_str(text: &str) -> Result<Self, InvalidProxyUrl> {
        if text.len() > MOST_BYTES {
            return Err(InvalidProxyUrl::TooLong);
        }
        let (tls, rest) = match text.split_once("://") {
            None => (false, text),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest))
                if scheme.eq_ignore_ascii_case("https") && cfg!(feature = "tls") =>
            {
                (true, rest)
            }
            Some(_) => return Err(InvalidProxyUrl::Scheme),
        };
        let (user, host) = match rest.rsplit_once('@') {
            Some((user, host)) => (user, host),
            None => ("", rest),
        };
        let host = host.strip_suffix('/').unwrap_or(host);
        if host.contains(['/', '?', '#']) {
            return Err(InvalidProxyUrl::Path);
        }
        let authority: Authority = host.parse().map_err(|_| InvalidProxyUrl::Host)?;
        if authority.host().is_empty() {
            return Err(InvalidProxyUrl::Host);
        }
        let authority = canonical(&authority, tls).map_err(|_| InvalidProxyUrl::Port)?;
        let at = HostKey { tls, authority, via: None };
        Ok(Self(Arc::new(Inner { at, authorization: basic(user)? })))
    }
}

/// HTTP's Basic scheme (RFC 7617).
fn basic(user_info: &str) -> Result<Option<HeaderValue>, InvalidProxyUrl> {
    if user_info.is_empty() {
        return Ok(None);
    }
    let must_be_encoded = |c: char| c.is_whitespace() || "/?#[]\\@".contains(c);
    if user_info.contains(must_be_encoded) {
        return Err(InvalidProxyUrl::Credentials);
    }
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    let [user, password] = [user, password].map(|it| percent_decode_str(it).collect::<Vec<u8>>());
    if user.contains(&b':') || user.iter().chain(&password).any(u8::is_ascii_control) {
        return Err(InvalidProxyUrl::Credentials);
    }
    let token = BASE64_STANDARD.encode([user.as_slice(), b":", &password].concat());
    let value = HeaderValue::try_from(format!("Basic {token}"));
    let mut value = value.map_err(|_| InvalidProxyUrl::Credentials)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// Without user and password.
impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.at.fmt(f)
    }
}

/// Without user and password.
impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProxyUrl({self})")
    }
}

impl From<ProxyUrl> for String {
    fn from(url: ProxyUrl) -> Self {
        url.to_string()
    }
}

impl TryFrom<String> for ProxyUrl {
    type Error = InvalidProxyUrl;

    fn try_from(text: String) -> Result<Self, InvalidProxyUrl> {
        text.parse()
    }
}
