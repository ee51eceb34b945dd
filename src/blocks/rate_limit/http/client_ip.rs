//! Who a request came from, as a key.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The other end of the connection that a request came over. Whoever accepts connections puts it
/// into the [extensions](http::Extensions) of each request; a plain [`SocketAddr`] there is taken
/// too. (axum's `ConnectInfo` is a type of its own: copy its address in a middleware further out.)
///
/// For a proxy that comes over a Unix socket put in an address of your choice, as `127.0.0.1:0`,
/// and [trust](super::TrustedProxies) it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerAddr(pub SocketAddr);

impl PeerAddr {
    /// That of a request, if somebody put it there.
    pub fn of<B>(request: &http::Request<B>) -> Option<Self> {
        let extensions = request.extensions();
        let plain = || extensions.get::<SocketAddr>().copied().map(Self);
        extensions.get::<Self>().copied().or_else(plain)
    }
}

/// Who shares a bucket when buckets are per client address. Nine bytes, no allocation.
///
/// # Examples
/// ```
/// use headworks::rate_limit::http::ClientIp;
///
/// let key = |text: &str| ClientIp::from(text.parse::<std::net::IpAddr>().unwrap());
/// assert_eq!(key("2001:db8::1"), key("2001:db8::2:3"), "one subscriber has the whole /64");
/// assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
/// assert_eq!(key("64:ff9b::c000:201"), key("192.0.2.1"), "through a translator");
/// assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClientIp {
    /// An IPv4 address; also one that was written as IPv6 (`::ffff:192.0.2.1`), or that a translator
    /// put into the prefix for them (`64:ff9b::/96`, RFC 6052): all of IPv4 lies in one /64 there.
    V4(Ipv4Addr),
    /// The upper half of an IPv6 address: a /64, the least that a subscriber gets (RFC 6177), all
    /// of whose addresses are his to choose. (Who has a /48 has 65,536 of them: what holds him is the
    /// quota of all.)
    V6([u8; 8]),
    /// Nobody said. All of these share one bucket: no address is no free pass.
    Unknown,
}

impl From<IpAddr> for ClientIp {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4),
            IpAddr::V6(v6) => match v6.octets() {
                [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d] => {
                    Self::V4(Ipv4Addr::new(a, b, c, d))
                }
                [a, b, c, d, e, f, g, h, ..] => Self::V6([a, b, c, d, e, f, g, h]),
            },
        }
    }
}

impl From<Option<IpAddr>> for ClientIp {
    fn from(address: Option<IpAddr>) -> Self {
        address.map_or(Self::Unknown, Self::from)
    }
}

impl fmt::Display for ClientIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::V4(v4) => v4.fmt(f),
            Self::V6([a, b, c, d, e, f_, g, h]) => {
                let network = [a, b, c, d, e, f_, g, h, 0, 0, 0, 0, 0, 0, 0, 0];
                write!(f, "{}/64", Ipv6Addr::from(network))
            }
            Self::Unknown => f.write_str("unknown"),
        }
    }
}
