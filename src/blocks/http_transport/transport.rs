//! The handle.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, Uri};

use super::body::Body;
use super::close::{CloseReport, InUse};
use super::error::TransportError;
use super::metrics::TransportSnapshot;
use super::request_body::TransportBody;
use super::safeguards::Safeguards;
use super::send::{Call, attempt};
use super::shared::Shared;
use super::warm_up::WarmUp;
use crate::ground::primitives::Mutex;
use crate::ground::priority::Priority;

/// A pooled HTTP client. Cheap to clone; all clones, and all transports of one factory with
/// an equal configuration, share one pool.
///
/// It ends with its last clone: idle connections are closed then, and one that still carries an
/// answer when that has been read or dropped. [`close`](Self::close) ends it in a known time.
#[derive(Clone, Debug)]
pub struct Transport {
    slot: Arc<Slot>,
    safeguards: Option<Safeguards>,
    priority: Priority,
}

/// The pool that a transport and its clones use, one at a time.
#[derive(Debug)]
struct Slot {
    pool: Mutex<Arc<InUse>>,
}

impl Transport {
    pub(super) fn new(pool: Arc<InUse>) -> Self {
        let slot = Arc::new(Slot { pool: Mutex::new(pool) });
        Self { slot, safeguards: None, priority: Priority::Normal }
    }

    /// The same transport, whose requests wait in class `priority` unless they carry another.
    #[must_use]
    pub fn with_priority(&self, priority: Priority) -> Self {
        Self { priority, ..self.clone() }
    }

    /// The same transport, whose requests pass these circuit breakers, retries and hedges. The
    /// transport it was made from, and its other clones, stay without.
    #[must_use]
    pub fn with_safeguards(&self, safeguards: Safeguards) -> Self {
        Self { safeguards: Some(safeguards), ..self.clone() }
    }

    /// The pool of this moment.
    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.slot.pool.lock().0)
    }

    /// From the next request on over this pool.
    pub(super) fn move_to(&self, pool: Arc<InUse>) {
        let old = std::mem::replace(&mut *self.slot.pool.lock(), pool);
        // Beside the lock: it may be the last one.
        drop(old);
    }

    /// Sends a request and returns when the head of the answer is there, whatever its status.
    ///
    /// It waits for a connection in order of the [`Priority`] among the request's extensions, or
    /// this transport's own. The URL must be absolute. `Host` is added unless given; the body's
    /// length is always said by the transport, not by headers of the caller.
    ///
    /// When a pooled connection dies before any byte of the answer, the request is sent again
    /// over another one: if it provably was not sent, or is idempotent with a body of bytes. (What is
    /// idempotent says its method, or the [`Idempotency`](crate::retry::Idempotency) among its
    /// extensions.) Over
    /// HTTP/2 one with a body of bytes is sent up to three times while the server refuses to begin.
    ///
    /// What a server has not taken of the request's body when its answer has been read to the end is
    /// not sent over HTTP/2 any more, and for a second at most over HTTP/1.1.
    ///
    /// With [`Safeguards`] this is one attempt, and there may be others: inside one `total_timeout`,
    /// and over the pool that was in use when the first began.
    ///
    /// # Errors
    ///
    /// One [`TransportError`] per phase; see there which are worth a retry.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O and time enabled.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits, nothing is sent and no place is lost. Dropped later, the connection
    /// is closed and its place freed, over HTTP/2 the stream alone; the backend may have seen the request.
    ///
    /// # Cost
    ///
    /// Four short locks and a timer; no task is spawned but one for each new connection.
    pub fn send<B>(
        &self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<Body>, TransportError>>
    where
        B: Into<TransportBody>,
    {
        self.send_if(Ok(request.map(Into::into)))
    }

    /// The one future beneath all that send: a request is large, and each future inside another
    /// would move it, and its answer, once more.
    async fn send_if(
        &self,
        request: Result<Request<TransportBody>, TransportError>,
    ) -> Result<Response<Body>, TransportError> {
        let mut outgoing = Some(request?);
        let shared = self.shared();
        let call = Call::new(&shared, outgoing.as_mut(), self.priority)?;
        match &self.safeguards {
            None => attempt(&shared, &call, &mut outgoing, call.began).await,
            // Boxed: it is larger than all the rest, and not for everybody.
            Some(safeguards) => {
                let safeguard = safeguards.of(&call.key);
                Box::pin(safeguard.send(&shared, &call, outgoing)).await
            }
        }
    }

    /// Sends a `GET`.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), and `InvalidUrl`.
    ///
    /// # Cancel safety
    ///
    /// As [`send`](Self::send).
    pub fn get(
        &self,
        url: impl TryInto<Uri>,
    ) -> impl Future<Output = Result<Response<Body>, TransportError>> {
        self.send_if(parse(url).map(|url| {
            let mut request = Request::new(TransportBody::empty());
            *request.uri_mut() = url;
            request
        }))
    }

    /// Dials up to `connections` connections to the host of `url` ahead of need, until so many are
    /// open or a cap is reached: those on open connections, and those on idle ones, for that is
    /// what they will be. Those that are there count. Never ahead of a request that waits.
    ///
    /// Over HTTP/2 it dials one after the other, and each carries many requests: one is mostly
    /// enough. It stops at the first dial that fails.
    ///
    /// # Errors
    ///
    /// `InvalidUrl`, `UnsupportedScheme`, `Closed`, `TooManyHosts`. A dial that failed is in
    /// [`WarmUp::error`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O and time enabled.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the dials under way end, and what was opened stays.
    ///
    /// # Cost
    ///
    /// 32 dials at a time, each a task that ends with this call.
    pub async fn warm_up(
        &self,
        url: impl TryInto<Uri>,
        connections: usize,
    ) -> Result<WarmUp, TransportError> {
        super::warm_up::warm_up(&self.shared(), &parse(url)?, connections).await
    }

    /// Closes the pool, for every transport that shares it: new requests are refused as `Closed`,
    /// those that were begun may end within this time, waiting, dialling and further attempts
    /// included, and what has not ended by then is cut and listed. Idle connections are closed at
    /// once.
    ///
    /// When it returns, no connection and no task of the pool is alive; the answers that are being
    /// read end as `Closed`, and a dial that was under way when its request is polled next. It takes
    /// up to a second longer only when the last connections are slow to say good-bye, and not beyond
    /// `within`; and 100 ms more than that only when tasks have no turn to end
    /// ([`CloseReport::unresponsive`]).
    ///
    /// # Cancel safety
    ///
    /// Dropped, the pool takes no new requests and nothing is cut. Another call goes on from there.
    pub async fn close(&self, within: Duration) -> CloseReport {
        self.shared().close(within).await
    }

    /// Where the pool's connections stand. One lock; O(hosts).
    #[must_use]
    pub fn snapshot(&self) -> TransportSnapshot {
        self.shared().snapshot()
    }
}

pub(super) fn parse(url: impl TryInto<Uri>) -> Result<Uri, TransportError> {
    url.try_into().map_err(|_| TransportError::InvalidUrl("it does not parse"))
}

/// Always ready: what has to wait waits inside the call, where it has a class and a timeout.
impl<B> tower_service::Service<Request<B>> for Transport
where
    B: Into<TransportBody> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = TransportError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, TransportError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let transport = self.clone();
        Box::pin(async move { transport.send(request).await })
    }
}
