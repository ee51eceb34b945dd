//! The handle.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response, Uri};

use super::body::Body;
use super::error::TransportError;
use super::metrics::TransportSnapshot;
use super::request_body::TransportBody;
use super::send::send;
use super::shared::Shared;
use crate::ground::priority::Priority;

/// A pooled HTTP client. Cheap to clone; all clones, and all transports of one factory with
/// an equal configuration, share one pool.
///
/// It ends with its last clone: idle connections are closed then, and one that still carries an
/// answer when that has been read or dropped.
#[derive(Clone, Debug)]
pub struct Transport {
    shared: Arc<Shared>,
    priority: Priority,
}

impl Transport {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, priority: Priority::Normal }
    }

    /// The same transport, whose requests wait in class `priority` unless they carry another.
    #[must_use]
    pub fn with_priority(&self, priority: Priority) -> Self {
        Self { shared: Arc::clone(&self.shared), priority }
    }

    /// Sends a request and returns when the head of the answer is there, whatever its status.
    ///
    /// It waits for a connection in order of the [`Priority`] among the request's extensions, or
    /// this transport's own. The URL must be absolute. `Host` is added unless given; the body's
    /// length is always said by the transport, not by headers of the caller.
    ///
    /// When a pooled connection dies before any byte of the answer, the request is sent again
    /// over another one: if it provably was not sent, or is idempotent with a body of bytes. Over
    /// HTTP/2 one with a body of bytes is sent up to three times while the server refuses to begin.
    ///
    /// What a server has not taken of the request's body when its answer has been read to the end is
    /// not sent over HTTP/2 any more, and for a second at most over HTTP/1.1.
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
    /// Two short locks and a timer; no task is spawned but one for each new connection.
    pub async fn send<B>(&self, request: Request<B>) -> Result<Response<Body>, TransportError>
    where
        B: Into<TransportBody>,
    {
        let mut request = request.map(Into::into);
        let class = request.extensions_mut().remove::<Priority>().unwrap_or(self.priority);
        send(&self.shared, request, class).await
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
    pub async fn get(&self, url: impl TryInto<Uri>) -> Result<Response<Body>, TransportError> {
        let mut request = Request::new(TransportBody::empty());
        *request.uri_mut() = parse(url)?;
        self.send(request).await
    }

    /// Where the pool's connections stand. One lock; O(hosts).
    #[must_use]
    pub fn snapshot(&self) -> TransportSnapshot {
        self.shared.snapshot()
    }

    #[cfg(feature = "json")]
    pub(super) fn max_json_bytes(&self) -> usize {
        self.shared.config.max_json_bytes
    }

    #[cfg(feature = "json")]
    pub(super) fn buffers(&self) -> &crate::BytesPool {
        &self.shared.buffers
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
