//! The intake as a service, wherever it is mounted.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::body::IntakeBody;
use super::core::Route;
use super::layers::log::Line;
use super::layers::observe::Answers;
use super::layers::size::limited;
use super::layers::stack::Serve;
use super::problem::{Kind, Problem};
use super::state::State;
use crate::ground::quiet::{caught, drop_quietly};
use crate::ground::time;
use crate::rate_limit::http::PeerAddr;

/// An intake as a service of HTTP requests: for a server of your own, or below another one's routes
/// (paths are those that it sees: `/intent` and so on, so a prefix must be taken off before).
///
/// Always ready, and never fails: what goes wrong is an answer. Cheap to clone. Limits on
/// connections, heads and slow readers are the server's; whoever accepts connections puts a
/// [`PeerAddr`] into each request, or all clients share one bucket of the rate limit.
///
/// # Cost
/// A dozen small allocations for each request, and what the pipeline takes.
#[derive(Clone)]
pub struct HttpIntakeService {
    pub(super) whole: Arc<Whole>,
}

/// Everything that an answer needs.
pub(super) struct Whole {
    pub(super) state: Arc<State>,
    pub(super) answers: Answers,
    pub(super) stack: Arc<dyn Serve>,
}

impl Whole {
    /// From the outermost layer to the handler, and back.
    async fn answer<B>(&self, request: Request<B>) -> Response<IntakeBody>
    where
        B: Body<Data = Bytes, Error: Into<AnyError>> + Send + 'static,
    {
        let state = &*self.state;
        let since = time::now();
        let route = Route::of(request.uri().path());
        let asked = self.answers.asked(&request, route, state);
        if let Some(kept) = asked.and_then(|asked| self.answers.get(asked, since)) {
            state.metrics.cached.add(1);
            state.metrics.answered(
                route,
                kept.status(),
                time::now().saturating_duration_since(since),
            );
            return kept;
        }
        let line = Line::new(request.method(), route, PeerAddr::of(&request), since);
        let response = match limited(request, &state.config) {
            Ok(request) => match caught(self.stack.serve(request)).await {
                Ok(response) => response,
                Err(panic) => {
                    drop_quietly(panic);
                    state.metrics.panicked.add(1);
                    Problem::new(Kind::Panicked, "something in here panicked").response()
                }
            },
            Err(problem) => problem.response(),
        };
        let now = time::now();
        line.write(&state.config.name, response.status(), now);
        if let Some(asked) = asked {
            self.answers.keep(asked, &response, now);
        }
        state.metrics.answered(route, response.status(), now.saturating_duration_since(since));
        response
    }
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

impl<B> Service<Request<B>> for HttpIntakeService
where
    B: Body<Data = Bytes, Error: Into<AnyError>> + Send + 'static,
{
    type Response = Response<IntakeBody>;
    type Error = Infallible;
    type Future = IntakeFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> IntakeFuture {
        let whole = Arc::clone(&self.whole);
        IntakeFuture(Box::pin(async move { whole.answer(request).await }))
    }
}

impl fmt::Debug for HttpIntakeService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpIntakeService").finish_non_exhaustive()
    }
}

/// The answer to come.
///
/// # Cancel safety
/// Dropped before the body was read, nothing happened; after that, what it holds was submitted, and
/// an idempotency key finds it.
#[must_use = "futures do nothing unless polled"]
pub struct IntakeFuture(Pin<Box<dyn Future<Output = Response<IntakeBody>> + Send>>);

impl Future for IntakeFuture {
    type Output = Result<Response<IntakeBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx).map(Ok)
    }
}

impl fmt::Debug for IntakeFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntakeFuture").finish_non_exhaustive()
    }
}
