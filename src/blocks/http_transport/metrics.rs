//! What a pool counts, and the plain picture of it.

use std::borrow::Cow;
use std::fmt;

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The server ended it between requests or said that it would.
    ByPeer,
    /// It broke, or what came over it was not HTTP.
    Broken,
    /// Idle for `idle_timeout`.
    IdleTimeout,
    /// Older than `max_age`.
    MaxAge,
    /// More idle connections than the idle caps allow.
    Surplus,
    /// Gave its place to a host that may dial but for the overall cap.
    Displaced,
    /// The answer was not read to its end: dropped, cancelled or timed out.
    Abandoned,
    /// A request needed a new connection to its host, and this idle one held the place.
    Replaced,
}

impl CloseReason {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::ByPeer,
        Self::Broken,
        Self::IdleTimeout,
        Self::MaxAge,
        Self::Surplus,
        Self::Displaced,
        Self::Abandoned,
        Self::Replaced,
    ];

    /// The snake-case word for metric labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ByPeer => "by_peer",
            Self::Broken => "broken",
            Self::IdleTimeout => "idle_timeout",
            Self::MaxAge => "max_age",
            Self::Surplus => "surplus",
            Self::Displaced => "displaced",
            Self::Abandoned => "abandoned",
            Self::Replaced => "replaced",
        }
    }
}

/// Connections closed, by reason.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Closed([u64; CloseReason::ALL.len()]);

impl Closed {
    /// How many for this reason.
    #[must_use]
    pub const fn of(&self, reason: CloseReason) -> u64 {
        self.0[reason as usize]
    }

    /// How many for any reason.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(super) fn count(&mut self, reason: CloseReason) {
        self.0[reason as usize] += 1;
    }
}

/// By the words of the reasons, those that never occurred left out.
impl fmt::Debug for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let occurred = CloseReason::ALL.iter().filter(|&&reason| self.of(reason) > 0);
        let mut map = f.debug_map();
        occurred.for_each(|&reason| {
            _ = map.entry(&format_args!("{}", reason.as_str()), &self.of(reason))
        });
        map.finish()
    }
}

/// Where the connections of one host, or of all, stand. `open` = `dialling + active + idle`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolCounts {
    /// Being dialled now.
    pub dialling: usize,
    /// Carrying requests now, or being closed.
    pub active: usize,
    /// Ready for the next request.
    pub idle: usize,
    /// Requests under way over shared (HTTP/2) connections now.
    pub streams: usize,
    /// Requests that wait for a connection, or for a stream of one, now.
    pub waiting: usize,
    /// Connections opened so far.
    pub opened: u64,
    /// Requests given a connection that had carried one before.
    pub reused: u64,
    /// Connections closed so far.
    pub closed: Closed,
}

impl PoolCounts {
    /// Connections that exist or are being dialled now.
    #[must_use]
    pub const fn open(&self) -> usize {
        self.dialling + self.active + self.idle
    }
}

/// One pool at one moment: all numbers are from under one lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransportSnapshot {
    /// The configuration's name.
    pub name: Cow<'static, str>,
    /// All hosts together, those included that have been forgotten since.
    pub in_all: PoolCounts,
    /// Each known host, in the order in which they were first called.
    pub hosts: Vec<HostSnapshot>,
}

/// One host at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostSnapshot {
    /// Scheme, host and port.
    pub host: String,
    /// Its counts, since it became known.
    pub counts: PoolCounts,
}
