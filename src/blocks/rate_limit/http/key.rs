//! Which bucket a request takes from.

use std::borrow::Cow;
use std::hash::Hash;

use http::header::HeaderName;
use http::{HeaderMap, Request};

use super::client_ip::ClientIp;
use super::trusted_proxies::TrustedProxies;

/// Tells the key of a request. A `Fn(&Request<B>) -> K` is one.
///
/// ```
/// use headworks::rate_limit::http::RequestKey;
///
/// let by_method = |request: &http::Request<()>| request.method().clone();
/// assert_eq!(*by_method.key(&http::Request::new(())), http::Method::GET);
/// ```
pub trait RequestKey<B> {
    /// What is looked up: `str` where the limiter's keys are `String`s.
    type Key: Eq + Hash + ToOwned + ?Sized;

    /// The key of `request`, borrowed where it can be: only a new key is then allocated for.
    fn key<'a>(&'a self, request: &'a Request<B>) -> Cow<'a, Self::Key>;
}

impl<B, K, F> RequestKey<B> for F
where
    F: Fn(&Request<B>) -> K,
    K: Clone + Eq + Hash,
{
    type Key = K;

    fn key<'a>(&'a self, request: &'a Request<B>) -> Cow<'a, K> {
        Cow::Owned(self(request))
    }
}

/// By the client's address, for a limiter of [`ClientIp`]s: what [`TrustedProxies`] make of the
/// request's [`PeerAddr`](super::PeerAddr) and headers.
#[derive(Clone, Debug)]
pub struct ByClientIp(TrustedProxies);

impl ByClientIp {
    /// Clients come directly, or through these.
    #[must_use]
    pub fn new(proxies: TrustedProxies) -> Self {
        Self(proxies)
    }
}

impl<B> RequestKey<B> for ByClientIp {
    type Key = ClientIp;

    fn key<'a>(&'a self, request: &'a Request<B>) -> Cow<'a, ClientIp> {
        Cow::Owned(self.0.key(request))
    }
}

/// By the value of one header field, for a limiter of `String`s.
///
/// The client writes that value: one that makes up a new one for each request has a new bucket for
/// each, and only the quota of all holds it. So use it behind whatever proves the value (the
/// check of an API key), or for clients that mean well. Requests without the field, with several
/// lines of it, with more than 256 bytes in it or with others than visible ASCII share one bucket,
/// that of `""`.
#[derive(Clone, Debug)]
pub struct ByHeader(HeaderName);

impl ByHeader {
    /// The field that tells them apart.
    #[must_use]
    pub fn new(name: HeaderName) -> Self {
        Self(name)
    }

    fn value<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        const MOST_BYTES: usize = 256;
        let mut lines = headers.get_all(&self.0).into_iter();
        match (lines.next(), lines.next()) {
            (Some(only), None) if only.len() <= MOST_BYTES => only.to_str().ok(),
            _ => None,
        }
    }
}

impl<B> RequestKey<B> for ByHeader {
    type Key = str;

    fn key<'a>(&'a self, request: &'a Request<B>) -> Cow<'a, str> {
        Cow::Borrowed(self.value(request.headers()).unwrap_or(""))
    }
}
