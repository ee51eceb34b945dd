//! The pipeline as a service of tower's: a request is an intent, an answer its ending.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower_service::Service;

use super::intent::Intent;
use super::pipeline::IntentPipeline;
use super::ticket::{Done, Ended, Ticket};
use crate::Refused;

/// Why an intent that was sent to a pipeline as to a service did not complete.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError<P> {
    /// It was not accepted.
    #[error(transparent)]
    Refused(Refused<Intent<P>>),
    /// It was, and ended otherwise.
    #[error(transparent)]
    Ended(Ended<P>),
}

/// Always ready; a call is [`try_submit`](IntentPipeline::try_submit), so a refusal comes from the
/// call and holds nothing. The future has the ticket, and cancels it when it is dropped.
impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Service<Intent<P>>
    for IntentPipeline<P, O>
{
    type Response = Done<O>;
    type Error = ServiceError<P>;
    type Future = Completion<P, O>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, intent: Intent<P>) -> Completion<P, O> {
        Completion(match self.try_submit(intent) {
            Ok(ticket) => Answer::Awaited(ticket.cancel_on_drop()),
            Err(refused) => Answer::Refused(Some(Box::new(refused))),
        })
    }
}

/// The ending of one intent that was sent to a pipeline as to a service.
#[must_use = "dropping it cancels the intent"]
pub struct Completion<P: Send + Sync + 'static, O: Send + Sync + 'static>(Answer<P, O>);

enum Answer<P: Send + Sync + 'static, O: Send + Sync + 'static> {
    Awaited(Ticket<P, O>),
    /// `None` once it is told.
    Refused(Option<Box<Refused<Intent<P>>>>),
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Future for Completion<P, O> {
    type Output = Result<Done<O>, ServiceError<P>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Answer::Awaited(ticket) => Pin::new(ticket).poll(cx).map_err(ServiceError::Ended),
            Answer::Refused(refused) => match refused.take() {
                Some(refused) => Poll::Ready(Err(ServiceError::Refused(*refused))),
                None => Poll::Pending,
            },
        }
    }
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Unpin for Completion<P, O> {}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> fmt::Debug for Completion<P, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion").finish_non_exhaustive()
    }
}
