//! Whose word about a client's address counts.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{FORWARDED, HeaderMap, HeaderName};
use http::{HeaderValue, Request};

use super::client_ip::{ClientIp, PeerAddr};
use super::forwarded;
use crate::ground::config_error::ConfigError;
use crate::ground::network::Network;

/// Proxies in a row that are believed. What stands further left is nobody's.
const MOST_HOPS: usize = 32;
const MOST_NETWORKS: usize = 1_024;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The header field in which the trusted proxies write whom they speak for. Only this one is read:
/// of any other they pass on what the client wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ForwardingHeader {
    /// `X-Forwarded-For`: what most proxies append to.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The networks whose word about a client's address is believed.
///
/// The client of a request is found like this:
/// 1. The peer of the connection is the first candidate. No peer: unknown, whatever headers say.
/// 2. A candidate that is not a trusted proxy is the client.
/// 3. A trusted one has written the next candidate at the right end of its field: go on there. If
///    that is no address (hidden, `unknown`, empty, malformed, not there at all), the proxy itself
///    stands for whoever it spoke for: all of these share its bucket. At most 32 proxies in a row
///    are believed.
///
/// So a client that is not itself in a trusted network can write what it likes: it never reaches
/// beyond the address that a proxy saw it come from. It takes a proxy that appends (or replaces)
/// in the [`ForwardingHeader`] named here; trust none that does not, and no network in which
/// clients are.
///
/// # Examples
/// ```
/// use headworks::rate_limit::http::{ClientIp, ForwardingHeader, TrustedProxies};
///
/// let proxies = TrustedProxies::new(["10.0.0.0/8"], ForwardingHeader::XForwardedFor)?;
/// let mut headers = http::HeaderMap::new();
/// // The client forged the first, the proxy appended the second.
/// headers.insert("x-forwarded-for", "203.0.113.9, 198.51.100.7".parse().unwrap());
///
/// let client = |peer: &str| proxies.client(peer.parse().ok(), &headers).unwrap().to_string();
/// assert_eq!(client("10.0.0.1"), "198.51.100.7");
/// assert_eq!(client("192.0.2.66"), "192.0.2.66", "no proxy of ours: its word is nothing");
/// assert_eq!(proxies.client(None, &headers), None);
/// # Ok::<(), headworks::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Arc<[Network]>,
    header: ForwardingHeader,
}

impl TrustedProxies {
    /// Trusts nobody: clients connect directly, and headers say nothing.
    #[must_use]
    pub fn none() -> Self {
        Self { networks: Arc::new([]), header: ForwardingHeader::default() }
    }

    /// Trusts these networks, at most 1,024, each written as `10.0.0.0/8`, `fd00::/8` or one
    /// address. IPv4-mapped IPv6 is IPv4.
    ///
    /// # Errors
    /// [`ConfigError`]: one is no network, has bits set beyond its length, or is `/0`: everybody.
    pub fn new<I>(networks: I, header: ForwardingHeader) -> Result<Self, ConfigError>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        const FIELD: &str = "rate_limit.http.trusted_proxies";
        let mut parsed = Vec::new();
        for network in networks {
            let network = network.as_ref();
            let allowed = "an address, or a network as 10.0.0.0/8 or fd00::/8, not /0";
            let Some(network) = Network::parse(network) else {
                return Err(ConfigError::invalid(FIELD, format_args!("{network:?}"), allowed));
            };
            parsed.push(network);
            let allowed = "at most 1024 networks";
            ConfigError::unless(parsed.len() <= MOST_NETWORKS, FIELD, parsed.len(), allowed)?;
        }
        Ok(Self { networks: parsed.into(), header })
    }

    /// The client of a request, as a key. Its peer is told by its [`PeerAddr`].
    pub fn key<B>(&self, request: &Request<B>) -> ClientIp {
        let peer = PeerAddr::of(request).map(|peer| peer.0.ip());
        self.client(peer, request.headers()).into()
    }

    /// The client's address, by the other end of the connection and what the trusted wrote.
    /// IPv4-mapped IPv6 comes back as IPv4.
    ///
    /// # Cost
    /// Nothing is allocated. A peer that isn't trusted: a comparison for each network; else also a
    /// look-up of the field, and the reading of what the trusted wrote.
    #[must_use]
    pub fn client(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Option<IpAddr> {
        let peer = peer?.to_canonical();
        if !self.trusts(peer) {
            return Some(peer);
        }
        let (mut client, mut hops) = (peer, 1);
        for line in self.lines(headers) {
            let mut rest = Some(line.as_bytes());
            while let Some(line) = rest {
                let (before, address) = self.last(line);
                let Some(address) = address else { return Some(client) };
                client = address;
                hops += 1;
                if hops > MOST_HOPS || !self.trusts(client) {
                    return Some(client);
                }
                rest = before;
            }
        }
        Some(client)
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }

    /// Its lines, the last first.
    fn lines<'a>(&self, headers: &'a HeaderMap) -> impl Iterator<Item = &'a HeaderValue> {
        let name = match self.header {
            ForwardingHeader::XForwardedFor => X_FORWARDED_FOR,
            ForwardingHeader::Forwarded => FORWARDED,
        };
        headers.get_all(name).into_iter().rev()
    }

    /// What comes before the last element, and the address in that.
    fn last<'a>(&self, line: &'a [u8]) -> (Option<&'a [u8]>, Option<IpAddr>) {
        match self.header {
            ForwardingHeader::XForwardedFor => {
                let (before, last) = forwarded::split_last(line);
                (before, forwarded::address(last))
            }
            ForwardingHeader::Forwarded => {
                let (before, last) = forwarded::split_last_quoted(line);
                (before, forwarded::address_for(last))
            }
        }
    }
}
