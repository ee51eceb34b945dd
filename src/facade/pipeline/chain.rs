//! The phases as one type, and their run as one future.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use super::checkpoints::{Past, Undecodable};
use super::context::PhaseContext;
use super::control::{Asked, Control, Go, Report, Turn};
use super::limit::Limit;
use super::phase::{Phase, PhaseError, Step};
use crate::Priority;
use crate::ground::quiet::{DroppedQuietly, drop_quietly};
use crate::ground::time;

/// A run: one future through all phases, boxed once. Ends with the last output, or is dropped.
pub(super) type Drive<O> = Pin<Box<dyn Future<Output = Arc<O>> + Send>>;

/// What is driven: one cell, with its type and without.
#[derive(Debug)]
pub(super) struct Driven<'a, P> {
    asked: &'a Asked<P>,
    control: &'a Arc<Control>,
}

impl<P> Clone for Driven<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Driven<'_, P> {}

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

/// One phase more; `K` says what of it is kept on disk.
#[derive(Debug)]
pub struct Then<C, X, K = Fleeting> {
    pub(super) before: C,
    pub(super) phase: X,
    pub(super) rules: AttemptRules,
    pub(super) keeps: K,
}

/// Nothing of a phase is kept on disk.
#[derive(Debug)]
pub struct Fleeting;

/// What an attempt of a phase must keep.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttemptRules {
    pub(super) name: &'static str,
    /// How many phases are before it.
    pub(super) place: usize,
    pub(super) limit: Limit,
    pub(super) critical: bool,
}

pub(super) mod sealed {
    use super::{Arc, Asked, Control, Driven, Future, Past, PhaseError, Undecodable};

    pub trait Link<P>: Send + Sync + 'static {
        type Output: Send + Sync + 'static;
        type Held: Held<Self::Output>;

        /// Drives the run through all phases up to this one.
        #[allow(private_interfaces, reason = "sealed: only the pipeline calls it")]
        fn drive(&self, run: Driven<'_, P>) -> impl Future<Output = Self::Held> + Send;

        /// What the phases up to this one had made before a restart, as far as it was kept.
        #[allow(private_interfaces, reason = "sealed: only the pipeline calls it")]
        fn restore(&self, asked: &Asked<P>, past: &Past) -> Self::Held;

        /// How many phases up to this one are behind a run with this past.
        #[cfg(feature = "json")]
        #[allow(private_interfaces, reason = "sealed: only the pipeline calls it")]
        fn covered(&self, past: &Past) -> Result<usize, Undecodable>;

        /// Undoes the phases up to this one, this one first.
        #[allow(private_interfaces, reason = "sealed: only the pipeline calls it")]
        fn undo(
            &self,
            held: &Self::Held,
            control: &Arc<Control>,
        ) -> impl Future<Output = ()> + Send;
    }

    /// What of a phase is kept on disk.
    pub trait Keeps<T>: Send + Sync + 'static {
        /// The phase is done: what it made is to be written.
        #[allow(private_interfaces, reason = "sealed: only the pipeline calls it")]
        fn keep(&self, _: &'static str, _: &T, _: &Control) -> Result<(), PhaseError> {
            Ok(())
        }

        /// What it made before a restart; `None` if that was not kept.
        #[allow(private_interfaces, reason = "sealed: only the pipeline calls it")]
        fn recall(&self, _: &'static str, _: &Past) -> Option<Result<T, Undecodable>> {
            None
        }
    }

    /// How an output is held between phases: inline, with those before it, should they have to be
    /// undone; but for the payload, which is shared with whoever gives it back.
    pub trait Held<T>: Send + Sync {
        /// `None` only of what came before a restart and was not kept.
        fn get(&self) -> Option<&T>;
        fn share(self) -> Option<Arc<T>>;
    }

    #[derive(Debug)]
    pub struct Made<B, T> {
        pub(super) from: B,
        pub(super) output: Option<T>,
    }

    impl<B: Send + Sync, T: Send + Sync> Held<T> for Made<B, T> {
        fn get(&self) -> Option<&T> {
            self.output.as_ref()
        }

        fn share(self) -> Option<Arc<T>> {
            self.output.map(Arc::new)
        }
    }

    /// The payload, where it is shared with whoever gives it back.
    #[derive(Debug)]
    pub struct Payload<P>(pub(super) Asked<P>);

    impl<P: Send + Sync> Held<P> for Payload<P> {
        fn get(&self) -> Option<&P> {
            Some(&self.0.asked().payload)
        }

        /// There is no pipeline without a phase.
        fn share(self) -> Option<Arc<P>> {
            None
        }
    }
}

use sealed::{Held, Keeps, Link, Made, Payload};

impl<T> Keeps<T> for Fleeting {}

impl<P: Send + Sync + 'static> Chain<P> for Start {
    type Out = P;
}

impl<P: Send + Sync + 'static> Link<P> for Start {
    type Output = P;
    type Held = Payload<P>;

    #[allow(private_interfaces, reason = "sealed: only the pipeline calls it")]
    async fn drive(&self, run: Driven<'_, P>) -> Payload<P> {
        Payload(Arc::clone(run.asked))
    }

    #[allow(private_interfaces, reason = "sealed: only the pipeline calls it")]
    fn restore(&self, asked: &Asked<P>, _: &Past) -> Payload<P> {
        Payload(Arc::clone(asked))
    }

    #[cfg(feature = "json")]
    #[allow(private_interfaces, reason = "sealed: only the pipeline calls it")]
    fn covered(&self, _: &Past) -> Result<usize, Undecodable> {
        Ok(0)
    }

    #[allow(private_interfaces, reason = "sealed: only the pipeline calls it")]
    async fn undo(&self, _: &Payload<P>, _: &Arc<Control>) {}
}

impl<P, C, X, K> Chain<P> for Then<C, X, K>
where
    P: Send + Sync + 'static,
    C: Chain<P>,
    X: Phase<C::Out>,
    K: Keeps<X::Out>,
{
    type Out = X::Out;
}

impl<P, C, X, K> Link<P> for Then<C, X, K>
where
    P: Send + Sync + 'static,
    C: Chain<P>,
    X: Phase<C::Out>,
    K: Keeps<X::Out>,
{
    type Output = X::Out;
    type Held = Made<C::Held, X::Out>;

    #[allow(private_interfaces, reason = "sealed: only the pipeline calls it")]
    async fn drive(&self, run: Driven<'_, P>) -> Self::Held {
        let control = run.control;
        if let Some(past) = control.past(self.rules.place) {
            return self.restore(run.asked, past);
        }
        let from = self.before.drive(run).await;
        loop {
            let Turn::Go(go) = control.turn().await else {
                // Seldom, so it is no part of every run's future.
                Box::pin(self.before.undo(&from, control)).await;
                control.report(Report::Undone);
                std::future::pending().await
            };
            let cx = PhaseContext::new(control, go, self.rules);
            // Called inside, so that a panic before the first await is the attempt's, too.
            let run = async {
                let input = from.get().ok_or_else(|| PhaseError::permanent("its input is lost"))?;
                self.phase.run(input, &cx).await
            };
            match attempt(run, &cx, control, self.rules.critical).await {
                Ok(Step::Done(output)) => {
                    match self.keeps.keep(self.rules.name, &output, control) {
                        Ok(()) => {
                            control.report(Report::Done);
                            return Made { from, output: Some(output) };
                        }
                        Err(unwritable) => control.report(Report::Failed(unwritable)),
                    }
                }
                Ok(Step::Again { after }) => control.report(Report::Again(after)),
                Err(report) => control.report(report),
            }
        }
    }

    #[allow(private_interfaces, reason = "sealed: only the pipeline calls it")]
    fn restore(&self, asked: &Asked<P>, past: &Past) -> Self::Held {
        let from = self.before.restore(asked, past);
        // What can't be read any more was found when it was restored, and is not asked for.
        let output = self.keeps.recall(self.rules.name, past).and_then(Result::ok);
        Made { from, output }
    }

    #[cfg(feature = "json")]
    #[allow(private_interfaces, reason = "sealed: only the pipeline calls it")]
    fn covered(&self, past: &Past) -> Result<usize, Undecodable> {
        match self.keeps.recall(self.rules.name, past) {
            Some(output) => output.map(|output| {
                drop(output);
                self.rules.place + 1
            }),
            None => self.before.covered(past),
        }
    }

    #[allow(private_interfaces, reason = "sealed: only the pipeline calls it")]
    async fn undo(&self, held: &Self::Held, control: &Arc<Control>) {
        if let (Some(input), Some(output)) = (held.from.get(), &held.output) {
            self.undo_one(input, output, control).await;
        }
        self.before.undo(&held.from, control).await;
    }
}

impl<C, X, K> Then<C, X, K> {
    async fn undo_one<In: Sync + 'static>(
        &self,
        input: &In,
        output: &X::Out,
        control: &Arc<Control>,
    ) where
        X: Phase<In>,
    {
        let now = time::now();
        let cx = PhaseContext::new(
            control,
            Go { attempt: 1, class: Priority::Normal, started: now },
            self.rules,
        );
        let until = self.rules.limit.timeout.and_then(|timeout| time::later(now, timeout));
        // Called inside, so that a panic before the first await is contained, too.
        let mut undo = pin!(DroppedQuietly::new(async {
            self.phase.undo(input, output, &cx).await;
        }));
        let undo = std::future::poll_fn(|task| match guarded(undo.as_mut(), &cx, task) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        });
        if let Some(Ok(())) = time::until(until, undo).await {
            control.undone(self.rules.name);
        }
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
    let (mut run, mut cut) = (pin!(DroppedQuietly::new(run)), pin!(None));
    std::future::poll_fn(|task| {
        if !critical && control.is_stopped() {
            return Poll::Ready(Err(Report::Stopped));
        }
        match guarded(run.as_mut(), cx, task) {
            Ok(Poll::Ready(ended)) => return Poll::Ready(ended.map_err(Report::Failed)),
            Ok(Poll::Pending) if critical => return Poll::Pending,
            Ok(Poll::Pending) => {}
            Err(panic) => return Poll::Ready(Err(Report::Panicked(panic))),
        }
        // Only what waits has to be woken for its end.
        if cut.is_none() {
            cut.set(Some(cut_off(cx, control)));
        }
        cut.as_mut().as_pin_mut().map_or(Poll::Pending, |cut| cut.poll(task).map(Err))
    })
    .await
}

/// Until the time of an attempt is up, which somebody who joins may move, or the core stops it.
async fn cut_off(cx: &PhaseContext, control: &Control) -> Report {
    let mut stopped = pin!(control.stopped());
    let mut until = cx.timeout_at();
    while time::until(until, stopped.as_mut()).await.is_none() {
        let moved = cx.timeout_at();
        if moved == until {
            return Report::TimedOut;
        }
        until = moved;
    }
    Report::Stopped
}

/// Polls it in its span; a panic is said, and not the run's.
fn guarded<F: Future>(
    run: Pin<&mut F>,
    cx: &PhaseContext,
    task: &mut Context<'_>,
) -> Result<Poll<F::Output>, String> {
    let polled = AssertUnwindSafe(|| cx.span().in_scope(|| run.poll(task)));
    catch_unwind(polled).map_err(|payload| {
        let message = message_of(&*payload);
        drop_quietly(payload);
        message
    })
}

/// What a panic said.
pub(super) fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref().cloned()).unwrap_or_else(|| "(no message)".to_owned())
}

/// A chain with its type forgotten: makes the runs.
pub(super) trait Runs<P, O>: Send + Sync {
    fn begin(self: Arc<Self>, asked: Asked<P>) -> Drive<O>;

    /// How many phases are behind a run with this past.
    #[cfg(feature = "json")]
    fn covered(&self, past: &Past) -> Result<usize, Undecodable>;
}

impl<P: Send + Sync + 'static, C: Chain<P>> Runs<P, C::Out> for C {
    fn begin(self: Arc<Self>, asked: Asked<P>) -> Drive<C::Out> {
        Box::pin(async move {
            let control = Arc::clone(&asked) as Arc<Control>;
            let run = Driven { asked: &asked, control: &control };
            match self.drive(run).await.share() {
                Some(output) => output,
                // Unreachable: what was driven is there, and what has no phase left is not driven.
                None => std::future::pending().await,
            }
        })
    }

    #[cfg(feature = "json")]
    fn covered(&self, past: &Past) -> Result<usize, Undecodable> {
        Link::covered(self, past)
    }
}
