//! Where a request goes, and what it says on the wire.

use http::header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Method, Request, Version};

use super::error::TransportError;

/// Who is at the other end: what connections may be shared by. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct HostKey {
    pub(super) tls: bool,
    /// Host and, unless it is the scheme's own, port. Compares without regard to case.
    pub(super) authority: Authority,
}

impl HostKey {
    /// Of an absolute URL.
    pub(super) fn of(uri: &Uri) -> Result<Self, TransportError> {
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
        if authority.as_str().contains('@') {
            return Err(TransportError::InvalidUrl("it carries credentials"));
        }
        if authority.host().is_empty() {
            return Err(TransportError::InvalidUrl("it has no host"));
        }
        Ok(Self { tls, authority: without_default_port(authority, tls)? })
    }

    /// For an error: scheme, host and port. There are no credentials in here, nor a path.
    pub(super) fn name(&self) -> Box<str> {
        self.to_string().into()
    }

    /// Host and port, as a URL that a connector understands.
    pub(super) fn uri(&self) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(if self.tls { Scheme::HTTPS } else { Scheme::HTTP });
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(PathAndQuery::from_static("/"));
        // Scheme, authority and path: nothing is missing.
        Uri::from_parts(parts).unwrap_or_default()
    }
}

impl std::fmt::Display for HostKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority)
    }
}

/// `a.example:80` and `a.example` are one host under http.
fn without_default_port(authority: &Authority, tls: bool) -> Result<Authority, TransportError> {
    let text = authority.as_str();
    let tail = &text[authority.host().len()..];
    if tail.is_empty() {
        return Ok(authority.clone());
    }
    // Exactly what `port_u16` understands; ":", ":0" and ":99999" name no port.
    match authority.port_u16() {
        None | Some(0) => Err(TransportError::InvalidUrl("its port is none")),
        Some(port) if port == if tls { 443 } else { 80 } => {
            authority.host().parse().map_err(|_| TransportError::InvalidUrl("its host is none"))
        }
        Some(_) => Ok(authority.clone()),
    }
}

/// Makes `request` fit to be written: origin form, one `Host`, no framing but ours.
///
/// The head can't smuggle a second request: method, URL and header values were checked by the
/// types they are in, and the length of the body is said by the transport alone.
pub(super) fn prepare<B>(request: &mut Request<B>, host: &HostKey) -> Result<(), TransportError> {
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
    match headers.get_all(HOST).iter().count() {
        0 => {
            let name = HeaderValue::from_str(host.authority.as_str())
                .map_err(|_| TransportError::InvalidUrl("its host is none"))?;
            headers.insert(HOST, name);
            Ok(())
        }
        1 => Ok(()),
        _ => Err(TransportError::InvalidRequest("it has more than one host header")),
    }
}

/// Whether it may be sent twice without meaning it twice (RFC 9110, section 9.2.2).
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}
