//! A phase whose type is chosen at run time.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::context::PhaseContext;
use super::phase::{Phase, PhaseError, Step};

/// A phase whose type is chosen at run time: by a configuration, or one of several in one place.
///
/// Cheap to clone. An attempt costs one allocation more than the phase itself.
///
/// ```
/// use headworks::pipeline::{phase_fn, DynPhase, PhaseContext, PhaseError};
///
/// fn renderer(name: &str) -> DynPhase<u32, String> {
///     let decimal = |n: &u32, _: &PhaseContext| {
///         let text = n.to_string();
///         async move { Ok::<_, PhaseError>(text) }
///     };
///     let hex = |n: &u32, _: &PhaseContext| {
///         let text = format!("{n:x}");
///         async move { Ok::<_, PhaseError>(text) }
///     };
///     match name {
///         "hex" => DynPhase::new(phase_fn(hex)),
///         _ => DynPhase::new(phase_fn(decimal)),
///     }
/// }
/// # fn is_phase(_: impl headworks::Phase<u32, Out = String>) {}
/// # is_phase(renderer("hex"));
/// ```
pub struct DynPhase<In: ?Sized, Out>(Arc<dyn Erased<In, Out>>);

impl<In: ?Sized, Out> DynPhase<In, Out> {
    /// Forgets the type of a phase.
    pub fn new(phase: impl Phase<In, Out = Out>) -> Self {
        Self(Arc::new(phase))
    }
}

impl<In: ?Sized, Out> Clone for DynPhase<In, Out> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<In: ?Sized, Out> fmt::Debug for DynPhase<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynPhase").finish_non_exhaustive()
    }
}

impl<In: Sync + ?Sized + 'static, Out: Send + Sync + 'static> Phase<In> for DynPhase<In, Out> {
    type Out = Out;

    async fn run(&self, input: &In, cx: &PhaseContext) -> Result<Step<Out>, PhaseError> {
        self.0.run(input, cx).await
    }

    async fn undo(&self, input: &In, output: &Out, cx: &PhaseContext) {
        self.0.undo(input, output, cx).await;
    }
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

trait Erased<In: ?Sized, Out>: Send + Sync {
    fn run<'a>(
        &'a self,
        input: &'a In,
        cx: &'a PhaseContext,
    ) -> Boxed<'a, Result<Step<Out>, PhaseError>>;

    fn undo<'a>(&'a self, input: &'a In, output: &'a Out, cx: &'a PhaseContext) -> Boxed<'a, ()>;
}

impl<In: ?Sized, X: Phase<In>> Erased<In, X::Out> for X {
    fn run<'a>(
        &'a self,
        input: &'a In,
        cx: &'a PhaseContext,
    ) -> Boxed<'a, Result<Step<X::Out>, PhaseError>> {
        Box::pin(Phase::run(self, input, cx))
    }

    fn undo<'a>(
        &'a self,
        input: &'a In,
        output: &'a X::Out,
        cx: &'a PhaseContext,
    ) -> Boxed<'a, ()> {
        Box::pin(Phase::undo(self, input, output, cx))
    }
}
