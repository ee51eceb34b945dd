//! The phases as one type, and their run as one future.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::context::PhaseContext;
use super::control::{Control, Report};
use super::phase::{Phase, PhaseError, Step};
use crate::ground::time;

/// A run: one future through all phases, boxed once. Ends with the last output, or is dropped.
pub(super) type Drive<O> = Pin<Box<dyn Future<Output = Arc<O>> + Send>>;

/// The phases so far: the output of one is the input of the next, checked by the compiler.
///
/// Sealed: [`Builder::phase`](super::Builder::phase) makes them.
pub trait Chain<P>: sealed::Link<P, Output = Self::Out> {
    /// What the last phase makes; the payload, before the first.
    type Out: Send + Sync + 'static;
}

/// Before the first phase: the payload itself.
#[derive(Debug)]
pub struct Start;

/// One phase more.
#[derive(Debug)]
pub struct Then<C, X> {
    pub(super) before: C,
    pub(super) phase: X,
    pub(super) rules: AttemptRules,
}

/// What an attempt of a phase must keep.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttemptRules {
    pub(super) name: &'static str,
    pub(super) timeout: Option<Duration>,
    pub(super) critical: bool,
}

pub(super) mod sealed {
    use super::{Arc, Control, Future};

    pub trait Link<P>: Send + Sync + 'static {
        type Output: Send + Sync + 'static;
        type Held: Held<Self::Output>;

        /// Drives the run through all phases up to this one.
        #[allow(private_interfaces, reason = "sealed: only the pipeline calls it")]
        fn drive(
            &self,
            payload: Arc<P>,
            control: &Arc<Control>,
        ) -> impl Future<Output = Self::Held> + Send;
    }

    /// How an output is kept between phases: inline, but for the payload, which is shared with
    /// whoever gives it back.
    pub trait Held<T>: Send + Sync {
        fn get(&self) -> &T;
        fn share(self) -> Arc<T>;
    }

    #[derive(Debug)]
    pub struct Inline<T>(pub(super) T);

    impl<T: Send + Sync> Held<T> for Inline<T> {
        fn get(&self) -> &T {
            &self.0
        }

        fn share(self) -> Arc<T> {
            Arc::new(self.0)
        }
    }

    impl<T: Send + Sync> Held<T> for Arc<T> {
        fn get(&self) -> &T {
            self
        }

        fn share(self) -> Arc<T> {
            self
        }
    }
}

use sealed::{Held, Inline, Link};

impl<P: Send + Sync + 'static> Chain<P> for Start {
    type Out = P;
}

impl<P: Send + Sync + 'static> Link<P> for Start {
    type Output = P;
    type Held = Arc<P>;

    #[allow(private_interfaces, reason = "sealed: only the pipeline calls it")]
    async fn drive(&self, payload: Arc<P>, _: &Arc<Control>) -> Arc<P> {
        payload
    }
}

impl<P: Send + Sync + 'static, C: Chain<P>, X: Phase<C::Out>> Chain<P> for Then<C, X> {
    type Out = X::Out;
}

impl<P: Send + Sync + 'static, C: Chain<P>, X: Phase<C::Out>> Link<P> for Then<C, X> {
    type Output = X::Out;
    type Held = Inline<X::Out>;

    #[allow(private_interfaces, reason = "sealed: only the pipeline calls it")]
    async fn drive(&self, payload: Arc<P>, control: &Arc<Control>) -> Inline<X::Out> {
        let input = self.before.drive(payload, control).await;
        loop {
            let go = control.seat().await;
            let cx = PhaseContext::new(control, go, self.rules);
            let run = self.phase.run(input.get(), &cx);
            let ended = attempt(run, &cx, control, self.rules.critical).await;
            match ended {
                Ok(Step::Done(output)) => {
                    control.report(Report::Done);
                    return Inline(output);
                }
                Ok(Step::Again { after }) => control.report(Report::Again(after)),
                Err(report) => control.report(report),
            }
        }
    }
}

/// One attempt: until it ends, its time is up, or the core stops it. A critical one is neither
/// timed nor stopped. A panic unwinds through the whole run, and the worker catches it.
async fn attempt<O>(
    run: impl Future<Output = Result<Step<O>, PhaseError>>,
    cx: &PhaseContext,
    control: &Control,
    critical: bool,
) -> Result<Step<O>, Report> {
    let mut run = pin!(run);
    let in_span = std::future::poll_fn(|task| cx.span().in_scope(|| run.as_mut().poll(task)));
    if critical {
        return in_span.await.map_err(Report::Failed);
    }
    let mut stopped = pin!(control.stopped());
    let mut timed = pin!(time::until(cx.timeout_at(), in_span));
    std::future::poll_fn(|task| {
        if stopped.as_mut().poll(task).is_ready() {
            return Poll::Ready(Err(Report::Stopped));
        }
        timed.as_mut().poll(task).map(|ended| match ended {
            Some(ended) => ended.map_err(Report::Failed),
            None => Err(Report::TimedOut),
        })
    })
    .await
}

/// A chain with its type forgotten: makes the runs.
pub(super) trait Runs<P, O>: Send + Sync {
    fn begin(self: Arc<Self>, payload: Arc<P>, control: Arc<Control>) -> Drive<O>;
}

impl<P: Send + Sync + 'static, C: Chain<P>> Runs<P, C::Out> for C {
    fn begin(self: Arc<Self>, payload: Arc<P>, control: Arc<Control>) -> Drive<C::Out> {
        Box::pin(async move { self.drive(payload, &control).await.share() })
    }
}
