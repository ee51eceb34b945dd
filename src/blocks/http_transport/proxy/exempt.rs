//! Who is reached without a proxy.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use crate::blocks::http_transport::host::HostKey;
use crate::ground::network::Network;

const MOST_ENTRIES: usize = 1_024;

/// Hosts that are reached without a proxy: entries with commas or blanks between them.
///
/// | entry | whom |
/// |---|---|
/// | `a.example` | it and all names below it |
/// | `.a.example`, `*.a.example` | the names below it |
/// | `192.0.2.1`, `2001:db8::1`, `[2001:db8::1]` | this address |
/// | `10.0.0.0/8`, `fd00::/8` | this network |
/// | `*` | everybody |
///
/// Each but a network may end in `:port`: that port alone. Case makes no difference, nor does a dot
/// at the end. Addresses are compared with addresses in URLs: no name is looked up for it. This is
/// how Go's programs read `NO_PROXY`, but that `localhost` and loopback addresses are no exception
/// by themselves.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(into = "String", try_from = "String"))]
pub struct NoProxy {
    text: Arc<str>,
    entries: Arc<[Entry]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Entry {
    whom: Whom,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Whom {
    Everybody,
    /// It and those below it.
    Name(Box<str>),
    Below(Box<str>),
    Network(Network),
}

/// An entry that is none of what a [`NoProxy`] may hold, or too many.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidNoProxy {
    /// This is no name, address or network; or bits of the network are set that do not count.
    #[error("{0:?}")]
    Entry(String),
    /// More than 1,024 entries.
    #[error("of more than 1024 entries")]
    TooMany,
}

impl NoProxy {
    pub(in crate::blocks::http_transport) fn contains(&self, host: &HostKey) -> bool {
        if self.entries.is_empty() {
            return false;
        }
        let name = without_last_dot(host.host());
        let address = name.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        self.entries.iter().any(|entry| {
            entry.port.is_none_or(|port| port == host.port())
                && match (&entry.whom, address) {
                    (Whom::Everybody, _) => true,
                    (Whom::Network(network), Some(address)) => network.contains(address),
                    (Whom::Name(own), None) => name.eq_ignore_ascii_case(own) || below(name, own),
                    (Whom::Below(own), None) => below(name, own),
                    (Whom::Network(_), None) | (Whom::Name(_) | Whom::Below(_), Some(_)) => false,
                }
        })
    }
}

fn below(name: &str, of: &str) -> bool {
    let (name, of) = (name.as_bytes(), of.as_bytes());
    let Some(at) = name.len().checked_sub(of.len() + 1) else { return false };
    name[at] == b'.' && name[at + 1..].eq_ignore_ascii_case(of)
}

fn without_last_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

impl FromStr for NoProxy {
    type Err = InvalidNoProxy;

    fn from_str(text: &str) -> Result<Self, InvalidNoProxy> {
        let between = |c: char| c == ',' || c.is_whitespace();
        let written = || text.split(between).filter(|entry| !entry.is_empty());
        if written().nth(MOST_ENTRIES).is_some() {
            return Err(InvalidNoProxy::TooMany);
        }
        let entries = written()
            .map(|entry| Entry::read(entry).ok_or_else(|| InvalidNoProxy::Entry(entry.into())))
            .collect::<Result<_, _>>()?;
        Ok(Self { text: text.into(), entries })
    }
}

impl Entry {
    fn read(text: &str) -> Option<Self> {
        if text.contains('/') {
            return Some(Self { whom: Whom::Network(Network::parse(text)?), port: None });
        }
        let (host, port) = split_port(text)?;
        if host == "*" {
            return Some(Self { whom: Whom::Everybody, port });
        }
        let host = without_last_dot(host);
        let whom = if host.parse::<IpAddr>().is_ok() {
            Whom::Network(Network::parse(host)?)
        } else if let Some(above) = host.strip_prefix("*.").or_else(|| host.strip_prefix('.')) {
            Whom::Below(name(above)?)
        } else {
            Whom::Name(name(host)?)
        };
        Some(Self { whom, port })
    }
}

fn name(text: &str) -> Option<Box<str>> {
    let may = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (!text.is_empty() && text.bytes().all(may)).then(|| text.into())
}

/// An address with colons has a port only behind brackets.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(inside) => {
            let (address, after) = inside.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (address, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
        }
        None => match text.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, Some(port)),
            _ => (text, None),
        },
    };
    let Some(port) = port else { return Some((host, None)) };
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    let port = port.parse::<u16>().ok().filter(|&port| digits && port > 0)?;
    Some((host, Some(port)))
}

/// As it was written.
impl fmt::Display for NoProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for NoProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoProxy({:?})", self.text)
    }
}

impl From<NoProxy> for String {
    fn from(no_proxy: NoProxy) -> Self {
        no_proxy.to_string()
    }
}

impl TryFrom<String> for NoProxy {
    type Error = InvalidNoProxy;

    fn try_from(text: String) -> Result<Self, InvalidNoProxy> {
        text.parse()
    }
}
