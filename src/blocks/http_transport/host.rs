//! Where a request goes, and what it says on the wire.

use std::net::Ipv6Addr;

use http::header::{CONTENT_LENGTH, HOST, HeaderValue, PROXY_AUTHORIZATION, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Method, Request, Version};

use super::config::{Protocol, TransportConfig};
use super::error::TransportError;
use super::proxy::{How, Via};

/// Who is at the other end, and the way there: what connections may be shared by. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct HostKey {
    pub(super) tls: bool,
    /// Host and, unless it is the scheme's own, port. Compares without regard to case.
    pub(super) authority: Authority,
    /// `None`: directly.
    pub(super) via: Option<Via>,
}

impl HostKey {
    /// Of an absolute URL, reached as `config` says.
    pub(super) fn of(uri: &Uri, config: &TransportConfig) -> Result<Self, TransportError> {
        let tls = match uri.scheme() {
            None => return Err(TransportError::InvalidUrl("it has no scheme and host")),
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS && cfg!(feature = "tls") => true,
            Some(scheme) if *scheme == Scheme::HTTPS => {
                return Err(TransportError::UnsupportedScheme("https needs the feature tls"));
            }
            Some(_) => return Err(TransportError::UnsupportedScheme("not http or https")),
        };
        let Some(authority) = uri.authority() else {
            return Err(TransportError::InvalidUrl("it has no host"));
        };
        let Looks { colon, is_bracketed, has_credentials } = Looks::of(authority.as_str());
        if has_credentials {
            return Err(TransportError::InvalidUrl("it carries credentials"));
        }
        let end = if is_bracketed { end_of_host(authority.as_str()) } else { colon };
        let (name, port) = authority.as_str().split_at(end);
        if name.is_empty() {
            return Err(TransportError::InvalidUrl("it has no host"));
        }
        if is_bracketed && !is_name_or_address(name) {
            return Err(TransportError::InvalidUrl("its host is none"));
        }
        let authority = without_default_port(authority, name, port, tls)?;
        let mut host = Self { tls, authority, via: None };
        host.via = config.proxy.via(&host, config.protocol == Protocol::Http2);
        Ok(host)
    }

    /// Whether the two are written alike, as they mostly are. Others may be the same, too.
    #[inline]
    pub(super) fn is_spelt(&self, other: &Self) -> bool {
        self.authority.as_str() == other.authority.as_str()
            && self.tls == other.tls
            && self.via == other.via
    }

    /// For an error: scheme, host and port. There are no credentials in here, nor a path.
    pub(super) fn name(&self) -> Box<str> {
        self.to_string().into()
    }

    /// The name or address, the latter without brackets.
    pub(super) fn host(&self) -> &str {
        self.authority.host().trim_start_matches('[').trim_end_matches(']')
    }

    pub(super) fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(if self.tls { 443 } else { 80 })
    }
}

impl std::fmt::Display for HostKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority)
    }
}

/// `Uri` lets through what only looks like an address: `[::g]`, and `+[::1]`, which is no name.
fn is_name_or_address(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.contains(['[', ']']),
    }
}

/// What is to be seen of an authority in one look; each of `Authority`'s own methods would look
/// through all of it again.
struct Looks {
    /// Where the first colon is, or the end.
    colon: usize,
    is_bracketed: bool,
    has_credentials: bool,
}

impl Looks {
    fn of(authority: &str) -> Self {
        let mut looks =
            Self { colon: authority.len(), is_bracketed: false, has_credentials: false };
        for (at, byte) in authority.bytes().enumerate() {
            match byte {
                b':' => looks.colon = looks.colon.min(at),
                b'[' | b']' => looks.is_bracketed = true,
                b'@' => looks.has_credentials = true,
                _ => {}
            }
        }
        looks
    }
}

/// Of an authority with brackets.
fn end_of_host(authority: &str) -> usize {
    match authority.strip_prefix('[') {
        Some(rest) => rest.find(']').map_or(authority.len(), |at| at + 2),
        None => authority.find(':').unwrap_or(authority.len()),
    }
}

/// ":", ":0" and ":99999" name no port, and neither do signs.
fn port_of(after: &str) -> Option<u16> {
    let digits = after.strip_prefix(':').filter(|digits| !digits.is_empty())?;
    digits.bytes().try_fold(0_u16, |port, byte| {
        let digit = byte.is_ascii_digit().then(|| u16::from(byte - b'0'))?;
        port.checked_mul(10)?.checked_add(digit)
    })
}

/// Whether a request says by itself which host it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    ItsHost,
    /// `Host` is to be its URL's.
    NoHost,
}

/// `a.example:80` and `a.example` are one host under http.
pub(super) fn canonical(authority: &Authority, tls: bool) -> Result<Authority, TransportError> {
    let text = authority.as_str();
    let (host, after) = text.split_at(authority.host().len());
    without_default_port(authority, host, after, tls)
}

fn without_default_port(
    authority: &Authority,
    host: &str,
    after: &str,
    tls: bool,
) -> Result<Authority, TransportError> {
    if after.is_empty() {
        return Ok(authority.clone());
    }
    match port_of(after) {
        None | Some(0) => Err(TransportError::InvalidUrl("its port is none")),
        Some(port) if port == if tls { 443 } else { 80 } => {
            host.parse().map_err(|_| TransportError::InvalidUrl("its host is none"))
        }
        Some(_) => Ok(authority.clone()),
    }
}

/// Makes `request` fit to be written: origin form (absolute form where a proxy is to read it), no
/// framing but ours. What is left to do is to name its host, where it does not itself.
///
/// The head can't smuggle a second request: method, URL and header values were checked by the
/// types they are in, and the length of the body is said by the transport alone.
pub(super) fn prepare<B>(
    request: &mut Request<B>,
    host: &HostKey,
) -> Result<Names, TransportError> {
    if request.method() == Method::CONNECT {
        return Err(TransportError::InvalidRequest("CONNECT is for proxies"));
    }
    let target = match request.uri().path_and_query() {
        Some(path) if path.as_str().starts_with('/') => path.clone(),
        Some(path) if path.as_str().starts_with('?') => format!("/{}", path.as_str())
            .parse()
            .map_err(|_| TransportError::InvalidUrl("its query is none"))?,
        _ => PathAndQuery::from_static("/"),
    };
    // The path of `http://a#b` looks like "/" and is written as nothing.
    let target = Uri::from(target);
    *request.uri_mut() = if target.path().is_empty() { Uri::default() } else { target };
    *request.version_mut() = Version::HTTP_11;
    let headers = request.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.remove(TRANSFER_ENCODING);
    if headers.contains_key(http::header::UPGRADE) {
        return Err(TransportError::InvalidRequest("upgrades are not supported"));
    }
    let names = match headers.get_all(HOST).iter().count() {
        0 => Names::NoHost,
        1 => Names::ItsHost,
        _ => return Err(TransportError::InvalidRequest("it has more than one host header")),
    };
    if let Some(via) = &host.via {
        for_proxy(request, host, via)?;
    }
    Ok(names)
}

/// What a proxy is told is the configuration's word, and nobody else is told it.
fn for_proxy<B>(request: &mut Request<B>, host: &HostKey, via: &Via) -> Result<(), TransportError> {
    request.headers_mut().remove(PROXY_AUTHORIZATION);
    if via.how == How::Tunnel {
        return Ok(());
    }
    // A proxy goes by the URL (RFC 9112, section 3.2.2), whatever stands there.
    let is_another = |name: &HeaderValue| {
        let named = name.to_str().ok().and_then(|name| name.parse().ok());
        let named = named.and_then(|name| canonical(&name, host.tls).ok());
        named.as_ref() != Some(&host.authority)
    };
    if request.headers().get(HOST).is_some_and(is_another) {
        let what = "through a proxy its host header must be the url's host";
        return Err(TransportError::InvalidRequest(what));
    }
    if let Some(authorization) = via.proxy.authorization() {
        request.headers_mut().insert(PROXY_AUTHORIZATION, authorization.clone());
    }
    let mut target = std::mem::take(request.uri_mut()).into_parts();
    target.scheme = Some(Scheme::HTTP);
    target.authority = Some(host.authority.clone());
    *request.uri_mut() =
        Uri::from_parts(target).map_err(|_| TransportError::InvalidUrl("it is none"))?;
    Ok(())
}

/// Whether it may be sent twice without meaning it twice (RFC 9110, section 9.2.2).
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}
