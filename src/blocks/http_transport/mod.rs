//! A pooled HTTP/1.1 and HTTP/2 client with caps, classes and a timeout for every phase.
//!
//! ```no_run
//! use headworks::http_transport::{Preset, TransportFactory};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let transport = TransportFactory::new()?.transport(Preset::HighThroughput)?;
//! let answer = transport.get("http://127.0.0.1:8080/healthz").await?;
//! println!("{} {:?}", answer.status(), answer.into_body().bytes(1_024).await?);
//! println!("{:?}", transport.snapshot().in_all);
//! # Ok(())
//! # }
//! ```
//!
//! # What it guarantees
//!
//! - Never more open connections than `open_per_host` and `open_overall`, dialling ones and those
//!   still being closed included; and where the factory has a ceiling, never more than that over all
//!   of its pools.
//! - A request never waits unseen: `pool_wait_timeout`, a bounded room per host, order by class.
//! - Every phase has a timeout and an error of its own, and all lie inside `total_timeout`, which
//!   holds until the last byte of the body, as long as somebody reads it.
//! - Only a connection whose answer was read to its end is used again, by whoever wanted it or, up to
//!   `drain_bytes`, by the connection's own task; every other way to end a request closes it and
//!   frees its place. Over HTTP/2 a request that ends early ends its stream alone.
//! - A request is sent again only if the server provably has not begun with it (it never left, or
//!   over HTTP/2 the server said so: `REFUSED_STREAM`, or a `GOAWAY` that leaves it out), or if it
//!   is idempotent, can be replayed, and no byte of an answer had come. Three times at most.
//! - Of a name's addresses the first that answers is taken, each tried a little later than the one
//!   before. DNS is asked again for every connection.
//! - Nothing goes out directly that a [`Proxy`] is to carry: its URL is understood before the first
//!   request, or there is no transport; a connection through it is nobody else's.
//! - One HTTP/2 connection is dialled for a herd of cold callers, and the next before its streams
//!   run out. One whose server says `GOAWAY` takes no new requests, and those it carries end. One
//!   over which a request timed out while nobody was answered takes no new ones either.
//! - With [`Safeguards`] a host's open circuit refuses before anything waits or is sent, retries are
//!   paid from the host's own budget, and neither a retry nor a hedge repeats what must not be
//!   done twice.
//! - A pool that was closed has no connection and no task left when [`Transport::close`] returns,
//!   unless the runtime of theirs stands still; what it had to cut is listed. Another configuration ([`TransportFactory::reload`]) drops no request
//!   and moves no connection from one pool to another.
//! - Of a compressed answer (feature `compression`, `decoding`) never more is decoded than the
//!   limits allow, and at most 8 KiB ahead of its reader.
//!
//! # When not to use it
//!
//! It follows no redirects and keeps no cookies. Requests over HTTP/2 have no trailers, and it takes
//! nothing that servers push. Without [`Safeguards`] it does not retry what failed; what a breaker
//! and a retry outside of it are to think of its errors is in [`TransportError::outcome`] and its
//! [`Verdict`](crate::Verdict).
//!
//! # A connection's states
//!
//! A *place* is the right to one open connection. It is `dialling`, then `active` or `idle`, and
//! free again when the socket has been closed. A connection of HTTP/1.1 is lent to one request at
//! a time; one of HTTP/2 is shared, and lends *streams*: as many as its server and
//! `streams_per_connection` allow. One that *drains* lends no more, and holds its place until it
//! has ended.
//!
//! # Invariants
//!
//! 1. One lock holds host table, idle lists, both caps and every host's line. It is held for no
//!    I/O, no wake-up and no drop of anything with a `Drop` of ours.
//! 2. `open` of a host ≤ `open_per_host`; the sum of all ≤ `open_overall`; both count places.
//! 3. While a request waits to which nothing is promised, neither a stream nor a place could serve
//!    it: its host is at its cap, all are at the overall cap or the factory's ceiling, or its host's connections are shared
//!    (or not known yet not to be), and one is being dialled. So whoever comes finds nobody like
//!    that before it takes a place.
//!    A connection that *settles* (its answer has been read, and its task has yet to notice) is
//!    promised to one request that comes meanwhile, so that a caller's next one does not dial. It is
//!    promised until the task has looked, or that request has waited for 50 ms. To those that waited
//!    before, nothing is promised: they have no such patience.
//! 4. A returned connection goes to its host's head; if nobody of its host waits, and another
//!    host's head could dial but for the overall cap, it is closed for that one.
//! 5. A freed place goes to the highest-class head among the hosts below their caps, round robin on
//!    a tie. While requests can't dial for the overall cap, the oldest idle connections are closed:
//!    as many as could dial, less those that are being closed already.
//! 6. A host that keeps being handed its own connections while another's head of no lower class is
//!    held back by the overall cap alone, gives one up after 32 in a row.
//!    A shared connection that carries requests gives up by draining, by the same rule.
//! 7. A place is given back by `Drop`: of the dialling future, or of the connection's task after
//!    the socket was closed. A connection is given back by its `Lease`; dropping that closes it. A
//!    stream is given back by dropping its `Lease`.
//! 8. At most one dial at a time is under way to a host whose connections are shared. It is begun
//!    for the line's head, or ahead of need by whoever leaves no more than an eighth of the streams.
//! 9. A request is inside its pool's door from its beginning to the end of its answer. A closed door
//!    lets nobody in; when all have left or the time is over, the pool is cut: under its lock no
//!    request asks for anything any more and no connection is taken in, and under that of the
//!    drivers no task begins. Then all tasks are ended and awaited.
//! 10. A transport and its clones use one pool at a time, looked up once for each request. Where
//!     nobody uses a pool any more its idle connections are closed, and those that come back.
//! 11. Beneath a factory's ceiling a place is also one of those that all its pools share; what holds for
//!     that is written in `ceiling/`.
//!
//! Lock order: pool → the ceiling; pool → a waiter's cell; the locks of the orders to connections' tasks, the locks of the factory, of the drivers, of a transport's pool,
//! of the door, of the safeguards and of the times are held with none of them.

mod alarm;
mod allowance;
mod attempts;
mod body;
mod ceiling;
#[cfg(all(any(test, fuzzing), not(headworks_loom)))]
pub(crate) mod claims;
mod close;
mod config;
mod connection;
mod core;
#[cfg(feature = "compression")]
mod decode;
#[cfg(feature = "compression")]
mod decoding;
mod dial;
mod drivers;
mod error;
mod expect;
mod factory;
mod h1;
mod h2;
mod host;
#[cfg(feature = "json")]
mod json;
mod metrics;
#[cfg(feature = "native-roots")]
mod native_roots;
mod permit;
mod proxy;
mod raw_body;
mod request_body;
mod safeguards;
mod send;
mod shared;
mod stream;
#[cfg(all(test, not(headworks_loom)))]
mod tests;
mod times;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod tls_config;
#[cfg(feature = "tls")]
mod tls_failure;
#[cfg(feature = "tls")]
mod tls_sessions;
mod transport;
mod wait;
mod warm_up;

pub use body::Body;
pub use close::{CloseReport, HostCut};
pub use config::{AddressOrder, Preset, Protocol, TransportConfig};
#[cfg(feature = "compression")]
pub use decoding::Decoding;
#[cfg(feature = "tls")]
pub use error::TlsFailure;
pub use error::{Cause, Phase, TransportError};
pub use factory::TransportFactory;
pub use metrics::{
    CeilingCounts, CloseReason, Closed, HostSnapshot, PoolCounts, TransportSnapshot,
};
#[cfg(feature = "native-roots")]
pub use native_roots::{NativeRoots, NoNativeRoots, UnreadableRoots};
pub use proxy::{InvalidNoProxy, InvalidProxyUrl, NoProxy, Proxy, ProxyRules, ProxyUrl};
pub use request_body::TransportBody;
pub use safeguards::{SafeguardSnapshot, Safeguards, SafeguardsConfig};
pub use times::Timings;
#[cfg(feature = "tls")]
pub use tls_config::{Identity, TlsConfig, Trust};
pub use transport::Transport;
pub use warm_up::WarmUp;

pub use crate::ground::metrics::{Histogram, Metric, MetricValue};
