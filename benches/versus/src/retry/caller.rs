//! What everybody is asked to do.

use std::future::{Future, Ready, poll_fn, ready};
use std::task::{Context, Poll};

use tower::Service;

/// The operation's own error, which never happens.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("broken")]
pub struct Broken;

/// Calls an operation that does nothing through what is measured; clones share all there is to
/// share.
pub trait Caller: Clone + Send + Sync {
    /// Whether it went well.
    fn call(&mut self) -> impl Future<Output = bool>;
}

/// A service called as tower asks: made ready, then called.
#[derive(Clone)]
pub struct Called<S>(pub S);

impl<S: Service<()> + Clone + Send + Sync> Caller for Called<S> {
    async fn call(&mut self) -> bool {
        if poll_fn(|cx| self.0.poll_ready(cx)).await.is_err() {
            return false;
        }
        self.0.call(()).await.is_ok()
    }
}

/// The operation as a service.
#[derive(Clone, Copy)]
pub struct Nothing;

impl Service<()> for Nothing {
    type Response = ();
    type Error = Broken;
    type Future = Ready<Result<(), Broken>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(()))
    }
}
