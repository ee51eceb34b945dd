//! The phases as one type, and their run as one future.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use super::context::PhaseContext;
use super::control::{Control, Go, Report, Turn};
use super::limit::Limit;
use super::phase::{Phase, PhaseError, Step};
use crate::Priority;
use crate::ground::quiet::drop_quietly;
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
    pub(super) limit: Limit,
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

        /// Undoes the phases up to this one, this one first.
        #[allow(private_interfaces, reason = "sealed: only the pipeline calls it")]
        fn undo(
            &self,
            held: &Self::Held,
            control: &Arc<Control>,
        ) -> impl Future<Output = ()> + Send;
    }

    /// How an output is kept between phases: inline, with those before it, should they have to be
    /// undone; but for the payload, which is shared with whoever gives it back.
    pub trait Held<T>: Send + Sync {
        fn get(&self) -> &T;
        fn share(self) -> Arc<T>;
    }

    #[derive(Debug)]
    pub struct Made<B, T> {
        pub(super) from: B,
        pub(super) output: T,
    }

    impl<B: Send + Sync, T: Send + Sync> Held<T> for Made<B, T> {
        fn get(&self) -> &T {
            &self.output
        }

        fn share(self) -> Arc<T> {
            Arc::new(self.output)
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

use sealed::{Held, Link, Made};

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

    #[allow(private_interfaces, reason = "sealed: only the pipeline calls it")]
    async fn undo(&self, _: &Arc<P>, _: &Arc<Control>) {}
}

impl<P: Send + Sync + 'static, C: Chain<P>, X: Phase<C::Out>> Chain<P> for Then<C, X> {
    type Out = X::Out;
}

impl<P: Send + Sync + 'static, C: Chain<P>, X: Phase<C::Out>> Link<P> for Then<C, X> {
    type Output = X::Out;
    type Held = Made<C::Held, X::Out>;

    #[allow(private_interfaces, reason = "sealed: only the pipeline calls it")]
    async fn drive(&self, payload: Arc<P>, control: &Arc<Control>) -> Self::Held {
        let from = self.before.drive(payload, control).await;
        loop {
            let Turn::Go(go) = control.turn().await else {
                // Seldom, so it is no part of every run's future.
                Box::pin(self.before.undo(&from, control)).await;
                control.report(Report::Undone);
                std::future::pending().await
            };
            let cx = PhaseContext::new(control, go, self.rules);
            // Called inside, so that a panic before the first await is the attempt's, too.
            let run = async { self.phase.run(from.get(), &cx).await };
            match attempt(run, &cx, control, self.rules.critical).await {
                Ok(Step::Done(output)) => {
                    control.report(Report::Done);
                    return Made { from, output };
                }
                Ok(Step::Again { after }) => control.report(Report::Again(after)),
                Err(report) => control.report(report),
            }
        }
    }

    #[allow(private_interfaces, reason = "sealed: only the pipeline calls it")]
    async fn undo(&self, held: &Self::Held, control: &Arc<Control>) {
        let now = time::now();
        let cx = PhaseContext::new(
            control,
            Go { attempt: 1, class: Priority::Normal, started: now },
            self.rules,
        );
        let until = self.rules.limit.timeout.and_then(|timeout| time::later(now, timeout));
        let undo = async { self.phase.undo(held.from.get(), &held.output, &cx).await };
        if let Some(Ok(())) = time::until(until, guarded(undo, &cx)).await {
            control.undone(self.rules.name);
        }
        self.before.undo(&held.from, control).await;
    }
}

/// One attempt: until it ends, its time is up, or the core stops it. A critical one is neither
/// timed nor stopped.
async fn attempt<O>(
    run: impl Future<Output = Result<Step<O>, PhaseError>>,
    cx: &PhaseContext,
    control: &Control,
    critical: bool,
) -> Result<Step<O>, Report> {
    let run = async {
        match guarded(run, cx).await {
            Ok(ended) => ended.map_err(Report::Failed),
            Err(panic) => Err(Report::Panicked(panic)),
        }
    };
    if critical {
        return run.await;
    }
    let mut stopped = pin!(control.stopped());
    let mut timed = pin!(time::until(cx.timeout_at(), run));
    std::future::poll_fn(|task| {
        if stopped.as_mut().poll(task).is_ready() {
            return Poll::Ready(Err(Report::Stopped));
        }
        timed.as_mut().poll(task).map(|ended| ended.unwrap_or(Err(Report::TimedOut)))
    })
    .await
}

/// Polls it in its span; a panic ends it, and not the run, which may have something to undo.
async fn guarded<T>(run: impl Future<Output = T>, cx: &PhaseContext) -> Result<T, String> {
    let mut run = pin!(run);
    std::future::poll_fn(|task| {
        let polled = AssertUnwindSafe(|| cx.span().in_scope(|| run.as_mut().poll(task)));
        match catch_unwind(polled) {
            Ok(polled) => polled.map(Ok),
            Err(payload) => {
                let message = message_of(&*payload);
                drop_quietly(payload);
                Poll::Ready(Err(message))
            }
        }
    })
    .await
}

/// What a panic said.
pub(super) fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref().cloned()).unwrap_or_else(|| "(no message)".to_owned())
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
