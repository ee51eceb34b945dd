//! A tower layer: every request of a service takes its turn in a pool.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tower_layer::Layer;
use tower_service::Service;

use super::pool::WorkerPool;
use super::task::Task;
use crate::ground::outcome::{Classify, Verdict};
use crate::{Priority, Reason};

/// Puts a [`Prioritized`] before a service: its requests take their turns in the pool, by a class
/// that a function tells from the request.
///
/// ```
/// use headworks::worker_pool::{ServiceError, WorkerPoolConfig, WorkerPoolLayer};
/// use headworks::{Priority, WorkerPool};
/// use std::convert::Infallible;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = WorkerPool::new(WorkerPoolConfig::default())?;
/// let class = |request: &String| match request.as_str() {
///     "health" => Priority::Urgent,
///     _ => Priority::Normal,
/// };
/// let service = ServiceBuilder::new()
///     .layer(WorkerPoolLayer::new(pool, class))
///     .service(service_fn(|request: String| async move { Ok::<_, Infallible>(request.len()) }));
/// match service.oneshot("health".to_owned()).await {
///     Ok(length) => assert_eq!(length, 6),
///     Err(ServiceError::Refused { reason, retry_after }) => panic!("{reason}, {retry_after:?}"),
///     Err(inner) => return Err(inner.into()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct WorkerPoolLayer<C> {
    pool: WorkerPool,
    class: C,
}

impl<C> WorkerPoolLayer<C> {
    /// All services of this layer share the pool. `class` is a `Fn(&Request) -> Priority`.
    pub fn new(pool: WorkerPool, class: C) -> Self {
        Self { pool, class }
    }
}

impl<S, C: Clone> Layer<S> for WorkerPoolLayer<C> {
    type Service = Prioritized<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Prioritized { inner, pool: self.pool.clone(), class: self.class.clone() }
    }
}

impl<C> fmt::Debug for WorkerPoolLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerPoolLayer").field("pool", &self.pool).finish_non_exhaustive()
    }
}

/// A service whose requests take their turns in a pool, by their classes. Made by
/// [`WorkerPoolLayer`].
///
/// It is ready when the service inside is: the pool takes no place for somebody who may never
/// call. A call waits for its turn in the pool's queue and then runs the service inside, called
/// where it was made ready, polled by the caller ([`WorkerPool::run`]). So it needs no task, and
/// dropping it gives back its place or its seat at once; the pool's `task_timeout` is not applied.
/// A service inside that reserves something when it is made ready holds that while the call waits.
#[derive(Clone)]
pub struct Prioritized<S, C> {
    inner: S,
    pool: WorkerPool,
    class: C,
}

impl<S, C> Prioritized<S, C> {
    /// The service inside.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, C, Request> Service<Request> for Prioritized<S, C>
where
    S: Service<Request> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send,
    S::Error: Send,
    C: Fn(&Request) -> Priority,
    Request: Send + 'static,
{
    type Response = S::Response;
    type Error = ServiceError<S::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(ServiceError::Inner)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let class = (self.class)(&request);
        // The one that was made ready is the one to be called.
        let fresh = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, fresh);
        let pool = self.pool.clone();
        Box::pin(async move {
            let answer = Task::new(async move { ready.call(request).await }).priority(class);
            match pool.run(answer).await {
                Ok(answer) => answer.map_err(ServiceError::Inner),
                Err(no) => Err(ServiceError::Refused {
                    reason: no.reason(),
                    retry_after: no.retry_after(),
                }),
            }
        })
    }
}

impl<S: fmt::Debug, C> fmt::Debug for Prioritized<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prioritized")
            .field("inner", &self.inner)
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

/// Why a [`Prioritized`] service gave no answer. An error where that of the service inside is one;
/// tower's boxed errors are not, and are to be matched on, or mapped before this layer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError<E> {
    /// The service inside failed.
    #[error(transparent)]
    Inner(E),
    /// The pool did not take the request; the service inside has not seen it.
    #[error("refused: {reason}")]
    Refused {
        /// Why.
        reason: Reason,
        /// When coming back makes sense, by what was measured; `None`: unknown, or never.
        retry_after: Option<Duration>,
    },
}

impl<E> ServiceError<E> {
    /// When coming back makes sense, if the pool refused and knows.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Inner(_) => None,
            Self::Refused { retry_after, .. } => *retry_after,
        }
    }
}

impl<E: Classify> Classify for ServiceError<E> {
    fn verdict(&self) -> Verdict {
        match self {
            Self::Inner(error) => error.verdict(),
            Self::Refused { reason, retry_after } => reason.verdict(*retry_after),
        }
    }
}
