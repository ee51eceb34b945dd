//! What every semaphore is asked to do.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use headworks::semaphore::SemaphoreConfig;
use headworks::{Priority, PrioritySemaphore, Thresholds};

/// One permit at a time, which comes back when it is dropped.
pub trait Gate: Send + Sync + 'static {
    const NAME: &'static str;
    type Permit<'a>: Send;

    fn new(permits: usize) -> Self;
    fn try_acquire(&self) -> Option<Self::Permit<'_>>;
    fn acquire(&self) -> impl Future<Output = Self::Permit<'_>> + Send;
}

pub struct Ours(PrioritySemaphore);

impl Gate for Ours {
    const NAME: &'static str = "headworks";
    type Permit<'a> = headworks::semaphore::Permit<'a>;

    fn new(permits: usize) -> Self {
        let config = SemaphoreConfig::default()
            .with_queue_capacity(1 << 20)
            .with_thresholds(Thresholds::flat(1.0));
        Self(PrioritySemaphore::new(permits, config).expect("a config in range"))
    }

    fn try_acquire(&self) -> Option<Self::Permit<'_>> {
        self.0.try_acquire()
    }

    async fn acquire(&self) -> Self::Permit<'_> {
        self.0.acquire(Priority::Normal).await.expect("room enough, never closed")
    }
}

pub struct Tokio(tokio::sync::Semaphore);

impl Gate for Tokio {
    const NAME: &'static str = "tokio Semaphore";
    type Permit<'a> = tokio::sync::SemaphorePermit<'a>;

    fn new(permits: usize) -> Self {
        Self(tokio::sync::Semaphore::new(permits))
    }

    fn try_acquire(&self) -> Option<Self::Permit<'_>> {
        self.0.try_acquire().ok()
    }

    async fn acquire(&self) -> Self::Permit<'_> {
        self.0.acquire().await.expect("never closed")
    }
}

/// A future that is ready at its first poll.
pub fn ready<F: Future>(future: F) -> F::Output {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("permits are free"),
    }
}

/// Gives the others a turn: no semaphore is asked whether its caller has been running for long.
pub async fn yield_once() {
    let mut has_yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Of any semaphore: waits in line until it is polled to the end.
pub type Waiting<'a, P> = Pin<Box<dyn Future<Output = P> + Send + 'a>>;

pub fn shared<G: Gate>(permits: usize) -> Arc<G> {
    Arc::new(G::new(permits))
}
