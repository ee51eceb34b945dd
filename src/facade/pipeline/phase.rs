//! What an author writes: phases, and what they say.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

use super::context::PhaseContext;
use crate::retry::RetryClass;
use crate::{Classify, Verdict};

/// One step of every intent's way. The output of one phase is the input of the next.
///
/// Implement it with a plain `async fn run`. A phase may run again for the same intent (a retry,
/// or a later look after [`Step::Again`]), so it should be idempotent; a
/// [`critical`](super::PhaseConfig::critical) one must be.
pub trait Phase<In: ?Sized>: Send + Sync + 'static {
    /// What it makes.
    type Out: Send + Sync + 'static;

    /// Makes it, one attempt.
    ///
    /// # Errors
    /// A [`PhaseError`] says whether another attempt makes sense.
    ///
    /// # Cancel safety
    /// Unless the phase is critical, the future is dropped at any await point by a timeout, a
    /// cancel, or a shutdown.
    fn run(
        &self,
        input: &In,
        cx: &PhaseContext,
    ) -> impl Future<Output = Result<Step<Self::Out>, PhaseError>> + Send;

    /// Takes back what [`run`](Self::run) made, because a later phase failed for good: by a
    /// permanent error or a panic. (Not after a deadline, a cancel or a shutdown, and not where a
    /// critical attempt's end is unknown.) Plain async code, like `run`. It can't fail: whatever
    /// it can't take back it reports itself.
    ///
    /// The phases are undone one after the other, the last one first, each once, before the run's
    /// ending is told; [`Trace::undone`](super::Trace::undone) names them. Each may take as long as
    /// its phase's timeout (without one, for ever) and is then dropped, as it is by the end of the
    /// runtime, but by neither a cancel nor a shutdown, which lists it as unresponsive; a panic ends
    /// only it. The seat is taken for so long. Outputs are kept until the run ends, for this.
    /// Default: does nothing.
    fn undo(
        &self,
        input: &In,
        output: &Self::Out,
        cx: &PhaseContext,
    ) -> impl Future<Output = ()> + Send {
        let _ = (input, output, cx);
        std::future::ready(())
    }

    /// This phase with its outputs kept in a cache, by a key of the input: who comes later is given
    /// a clone, and who comes while one runs waits for that one, at its own seat.
    ///
    /// It is *inside* of an attempt: the phase's breaker, egress limiter and concurrency count one
    /// that the cache answers, too, and its timeout and deadline go on while it waits. Retries are
    /// *outside*: the error of the one that ran is the error of all who waited for it, and each
    /// repeats by its own policy. When the one that runs is dropped (timeout, cancel, shutdown),
    /// panics, or says [`Step::Again`], the next one that waits runs, with its own input.
    ///
    /// An error that the cache [remembers](crate::cache::CacheBuilder::negative) is a
    /// [`PhaseError`], which its [`downcast_ref`](crate::cache::LoadError::downcast_ref) gives.
    /// Of those who find a stale value one runs, and the others are given it meanwhile. The `undo`
    /// of such a phase does nothing: what it made is others', too.
    ///
    /// ```
    /// use headworks::cache::{Cache, CacheConfig};
    /// use headworks::pipeline::{phase_fn, PhaseContext, PhaseError};
    /// use headworks::Phase;
    ///
    /// let length = phase_fn(|text: &String, _: &PhaseContext| {
    ///     let length = text.len();
    ///     async move { Ok::<_, PhaseError>(length) }
    /// });
    /// let lengths = Cache::<String, usize>::new(CacheConfig::default())?;
    /// let phase = length.cached(|text: &String| text.clone(), lengths);
    /// # fn is_phase(_: impl Phase<String, Out = usize>) {}
    /// # is_phase(phase);
    /// # Ok::<(), headworks::ConfigError>(())
    /// ```
    #[cfg(feature = "cache")]
    #[cfg_attr(docsrs, doc(cfg(feature = "cache")))]
    fn cached<K, F>(
        self,
        key: F,
        cache: crate::cache::Cache<K, Self::Out>,
    ) -> impl Phase<In, Out = Self::Out>
    where
        Self: Sized,
        Self::Out: Clone,
        In: Sync + 'static,
        K: std::hash::Hash + Eq + Clone + Send + Sync + 'static,
        F: Fn(&In) -> K + Send + Sync + 'static,
    {
        super::cached::Cached { phase: self, key, cache }
    }
}

/// How far an attempt came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<O> {
    /// The phase is done.
    Done(O),
    /// Not yet: look again later. No failure; the seat is released meanwhile. Ten in a row are
    /// taken for a reconciliation loop and slowed; whoever looks for longer at something that is
    /// well says so by [`loop_after`](super::PipelineConfig::loop_after).
    Again {
        /// How much later.
        after: Duration,
    },
}

/// Why an attempt failed. Opaque, but for what the pipeline needs to know.
///
/// `?` makes one of every error that knows its [`Verdict`]: those of this crate's blocks do.
///
/// ```
/// use headworks::RateLimiter;
/// use headworks::pipeline::PhaseError;
/// use headworks::rate_limit::Quota;
///
/// fn ask(limiter: &RateLimiter) -> Result<(), PhaseError> {
///     limiter.try_acquire(1)?;
///     Ok(())
/// }
/// let limiter = RateLimiter::new(Quota::per_second(1))?;
/// assert!(ask(&limiter).is_ok());
/// assert!(ask(&limiter).unwrap_err().is_retryable(), "refused, and waited out");
/// # Ok::<(), headworks::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct PhaseError {
    /// What it says about the backend, to the phase's breaker, and about another attempt.
    pub(super) verdict: Verdict,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl PhaseError {
    /// Another attempt may succeed: the backend failed. Counts against its breaker.
    pub fn retryable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(Verdict::failure(), source)
    }

    /// No attempt will succeed: the intent ends `Failed`. Says nothing about the backend.
    pub fn permanent(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(Verdict::permanent(), source)
    }

    /// The backend asks for patience: another attempt makes sense, not before `retry_after`.
    /// Counts against its breaker as [`Overloaded`](crate::circuit_breaker::Overloaded) says.
    pub fn overloaded(
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
        retry_after: Option<Duration>,
    ) -> Self {
        Self::new(Verdict::overloaded(retry_after), source)
    }

    /// A limiter, breaker or pool on this side refused: the backend has not seen it. Another
    /// attempt is made later, not before `retry_after`; this one was none, so it uses up no
    /// attempt and no retry budget.
    pub fn refused(
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
        retry_after: Option<Duration>,
    ) -> Self {
        Self::new(Verdict::refused(retry_after), source)
    }

    /// What the attempt of another run ended with.
    #[cfg(feature = "cache")]
    pub(super) fn shared(error: crate::cache::LoadError) -> Self {
        let verdict = error.downcast_ref().map_or(Verdict::failure(), |it: &Self| it.verdict);
        Self::new(verdict, error)
    }

    /// Whether another attempt makes sense.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.verdict.retry() != RetryClass::Stop
    }

    pub(super) fn new(
        verdict: Verdict,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { verdict, source: source.into() }
    }
}

/// By what the error itself says.
impl<E: Classify + std::error::Error + Send + Sync + 'static> From<E> for PhaseError {
    fn from(error: E) -> Self {
        Self::new(error.verdict(), error)
    }
}

impl fmt::Display for PhaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.verdict {
            it if it.retry() == RetryClass::Stop => "the phase can't succeed",
            it if it.is_refused() => "refused on this side",
            it if it.is_overloaded() => "the backend is overloaded",
            _ => "the attempt failed",
        })
    }
}

impl std::error::Error for PhaseError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.source)
    }
}

/// A phase from a function: for steps that need nothing but their input.
///
/// The function may look at input and context, and gives a future that borrows neither: what the
/// future needs it takes along, cloned before an `async move`. (A phase whose future must borrow
/// implements [`Phase`], whose `run` may.)
///
/// ```
/// use headworks::pipeline::{phase_fn, Phase, PhaseContext, PhaseError};
///
/// let shout = phase_fn(|text: &String, cx: &PhaseContext| {
///     let (text, attempt) = (text.clone(), cx.attempt());
///     async move {
///         tokio::task::yield_now().await;
///         Ok::<_, PhaseError>(format!("{} ({attempt})", text.to_uppercase()))
///     }
/// });
/// # fn is_phase(_: impl Phase<String, Out = String>) {}
/// # is_phase(shout);
/// ```
pub fn phase_fn<In, O, F, Fut>(f: F) -> PhaseFn<In, F>
where
    In: ?Sized,
    F: Fn(&In, &PhaseContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, PhaseError>> + Send,
{
    PhaseFn { f, input: PhantomData }
}

/// The phase that [`phase_fn`] makes.
pub struct PhaseFn<In: ?Sized, F> {
    f: F,
    input: PhantomData<fn(&In)>,
}

impl<In: ?Sized, F> fmt::Debug for PhaseFn<In, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PhaseFn").finish_non_exhaustive()
    }
}

impl<In, O, F, Fut> Phase<In> for PhaseFn<In, F>
where
    In: Sync + ?Sized + 'static,
    O: Send + Sync + 'static,
    F: Fn(&In, &PhaseContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, PhaseError>> + Send,
{
    type Out = O;

    async fn run(&self, input: &In, cx: &PhaseContext) -> Result<Step<O>, PhaseError> {
        (self.f)(input, cx).await.map(Step::Done)
    }
}
