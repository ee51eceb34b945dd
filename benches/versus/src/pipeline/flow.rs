//! What everybody is asked to do: to bring one intent through its phases.

use std::future::{Future, poll_fn};
use std::time::{Duration, Instant};

use headworks::Priority;
use tokio::time::timeout_at;
use tower::Service;

/// What the phases do.
#[derive(Clone, Copy)]
pub enum Backend {
    /// Five that do nothing.
    FiveNoOps,
    /// One that waits for so long.
    Takes(Duration),
}

impl Backend {
    /// All phases, one after the other.
    pub async fn pass(self, input: u64) -> u64 {
        match self {
            Self::FiveNoOps => {
                let mut value = input;
                for _ in 0..5 {
                    value = no_op(value).await;
                }
                value
            }
            Self::Takes(time) => {
                tokio::time::sleep(time).await;
                input
            }
        }
    }
}

/// How wide a flow is, and how many may wait before it.
#[derive(Clone, Copy)]
pub struct Setup {
    pub backend: Backend,
    pub width: usize,
    pub queue: usize,
}

impl Setup {
    /// Wide enough for what the ladder's backend needs at most: 5,000 a second of 20 ms; and nobody
    /// is shed.
    pub fn wide(backend: Backend) -> Self {
        Self { backend, width: 128, queue: 1 << 14 }
    }
}

/// A phase that does nothing, in a way that the compiler must leave alone.
pub async fn no_op(input: u64) -> u64 {
    std::hint::black_box(input + 1)
}

/// Clones share all there is to share.
pub trait Flow: Clone + Send + Sync + 'static {
    /// An intent about this object goes through all phases. Whether it completed.
    fn pass(&mut self, object: u64) -> impl Future<Output = bool> + Send;

    /// The same for one of this class, which is worth nothing after that instant. Who knows of
    /// neither classes nor deadlines gives up then.
    fn pass_in_time(
        &mut self,
        object: u64,
        _: Priority,
        until: Instant,
    ) -> impl Future<Output = bool> + Send {
        async move { timeout_at(until.into(), self.pass(object)).await.unwrap_or(false) }
    }
}

/// The phases alone.
#[derive(Clone, Copy)]
pub struct Direct;

impl Flow for Direct {
    async fn pass(&mut self, object: u64) -> bool {
        Backend::FiveNoOps.pass(object).await > object
    }
}

/// A service called as tower asks: made ready, then called.
#[derive(Clone)]
pub struct Called<S>(pub S);

impl<S> Flow for Called<S>
where
    S: Service<u64, Response = u64, Future: Send> + Clone + Send + Sync + 'static,
{
    async fn pass(&mut self, object: u64) -> bool {
        if poll_fn(|cx| self.0.poll_ready(cx)).await.is_err() {
            return false;
        }
        self.0.call(object).await.is_ok()
    }
}
