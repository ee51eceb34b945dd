//! The phase that waits for others.

use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::Arc;

use super::config::BatchConfig;
use super::core::{Core, Place};
use super::send::{Member, members};
use crate::ConfigError;
#[cfg(all(test, not(headworks_loom)))]
use crate::Priority;
use crate::ground::handoff::Handoff;
use crate::ground::primitives::Mutex;
use crate::ground::quiet::wake_quietly;
use crate::ground::time::{self, Instant};
use crate::pipeline::{Phase, PhaseContext, PhaseError, Step};

/// A step that is taken for many inputs at once.
///
/// It must be idempotent, as each [`Phase`]: an input that is in a batch with one that makes it
/// panic is run again.
pub trait BatchPhase<In>: Send + Sync + 'static {
    /// What it makes of one.
    type Out: Send + Sync + 'static;

    /// One attempt: a result for each input, in their order. Where there are fewer results, the
    /// rest of the inputs fail.
    ///
    /// # Errors
    /// Of the whole: a retryable one is everybody's; one that is permanent, and a panic, is looked
    /// for by halves.
    ///
    /// # Cancel safety
    /// The future is dropped when nobody waits for it any more.
    fn run(
        &self,
        inputs: &[In],
    ) -> impl Future<Output = Result<Vec<Result<Self::Out, PhaseError>>, PhaseError>> + Send;
}

/// A [`Phase`] that puts inputs together for a [`BatchPhase`]: each run's attempt puts its input in
/// line and waits at its seat; a batch goes when there are enough of them, by
/// [count](BatchConfig::max_items) or [bytes](BatchConfig::max_bytes), when one has waited for
/// [`max_age`](BatchConfig::max_age), or at once when an `Urgent` one comes. The highest class goes
/// first, and inside a class the first that came.
///
/// Everyone has a result of its own. A batch that panics, or fails for good as a whole, is halved
/// and run again until the one that is to blame is alone; so one bad input fails nobody else, and
/// costs about twice its size's logarithm in calls (one for which each input fails: twice its size).
///
/// The pipeline's rules hold for each input by itself: its attempt waits at its seat, timeout and
/// deadline go on meanwhile, a failed one is repeated in another batch, and breaker and egress
/// limiter are asked for every attempt.
///
/// ```
/// use headworks::pipeline::{BatchConfig, BatchPhase, Batched, PhaseError};
///
/// /// Writes many rows in one call.
/// struct Write;
///
/// impl BatchPhase<String> for Write {
///     type Out = usize;
///
///     async fn run(&self, rows: &[String]) -> Result<Vec<Result<usize, PhaseError>>, PhaseError> {
///         Ok(rows.iter().map(|row| Ok(row.len())).collect())
///     }
/// }
/// let phase = Batched::new(BatchConfig::default(), Write)?.weigher(|row: &String| row.len());
/// # fn is_phase(_: impl headworks::Phase<String, Out = usize>) {}
/// # is_phase(phase);
/// # Ok::<(), headworks::ConfigError>(())
/// ```
pub struct Batched<In, X: BatchPhase<In>> {
    phase: Arc<X>,
    weigh: Box<dyn Fn(&In) -> usize + Send + Sync>,
    line: Mutex<Core<Waits<In, X>>>,
}

/// One in line: its input, and where it is told of its batch.
struct Waits<In, X: BatchPhase<In>> {
    input: In,
    told: Arc<Handoff<Member<In, X>>>,
}

impl<In, X: BatchPhase<In>> Batched<In, X> {
    /// Puts inputs together for this one.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] names the field, what it is and what it may be.
    pub fn new(config: BatchConfig, phase: X) -> Result<Self, ConfigError> {
        config.check()?;
        let line = Mutex::new(Core::new(config));
        Ok(Self { phase: Arc::new(phase), weigh: Box::new(|_| 0), line })
    }

    /// How many bytes an input has, for [`BatchConfig::max_bytes`]. Default: none.
    #[must_use]
    pub fn weigher(self, weigh: impl Fn(&In) -> usize + Send + Sync + 'static) -> Self {
        Self { weigh: Box::new(weigh), ..self }
    }

    /// Sends every batch that is due.
    fn send(&self, now: Instant) {
        loop {
            let Some(batch) = self.line.lock().take(now) else { return };
            let all = batch.into_iter().map(|item| (item.what.input, item.what.told));
            let (inputs, told): (Vec<_>, Vec<_>) = all.unzip();
            let members = members(&self.phase, inputs);
            for (told, member) in told.into_iter().zip(members) {
                // Who has left meanwhile leaves the batch.
                if let Ok(Some(waker)) = told.put(member) {
                    wake_quietly(waker);
                }
            }
        }
    }
}

#[cfg(all(test, not(headworks_loom)))]
impl<In: Clone, X: BatchPhase<In>> Batched<In, X> {
    /// Puts these in line, and sends nothing yet.
    pub(super) fn fill(&self, inputs: &[In]) {
        for input in inputs {
            let waits = Waits { input: input.clone(), told: Arc::new(Handoff::new()) };
            let pushed = self.line.lock().push(waits, Priority::Normal, 0, time::now());
            assert!(pushed.is_ok(), "there is room");
        }
    }

    pub(super) fn phase_for_tests(&self) -> &X {
        &self.phase
    }
}

/// One in line, from outside. Dropping it takes the input out.
struct InLine<'a, In, X: BatchPhase<In>> {
    of: &'a Batched<In, X>,
    place: Place,
    told: Arc<Handoff<Member<In, X>>>,
}

impl<In, X: BatchPhase<In>> Drop for InLine<'_, In, X> {
    fn drop(&mut self) {
        let left = self.of.line.lock().remove(self.place);
        drop(left);
        drop(self.told.leave());
    }
}

impl<In: Clone + Send + Sync + 'static, X: BatchPhase<In>> Phase<In> for Batched<In, X> {
    type Out = X::Out;

    async fn run(&self, input: &In, cx: &PhaseContext) -> Result<Step<X::Out>, PhaseError> {
        let (bytes, now, told) = ((self.weigh)(input), time::now(), Arc::new(Handoff::new()));
        let waits = Waits { input: input.clone(), told: Arc::clone(&told) };
        let (pushed, due) = {
            let mut line = self.line.lock();
            let pushed = line.push(waits, cx.priority(), bytes, now);
            let due = pushed.as_ref().ok().and_then(|place| line.due(place.since));
            (pushed, due)
        };
        let place = pushed.map_err(|_| PhaseError::refused("too many wait for a batch", None))?;
        let in_line = InLine { of: self, place, told };
        self.send(now);
        let given = || poll_fn(|task| in_line.told.poll(task));
        let member = match time::until(due, given()).await {
            Some(member) => member,
            None => {
                // Not by a clock that is a little behind the timer's.
                self.send(time::now().max(due.unwrap_or(now)));
                given().await
            }
        };
        drop(in_line);
        member.result().await.map(Step::Done)
    }
}

impl<In, X: BatchPhase<In>> fmt::Debug for Batched<In, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batched").finish_non_exhaustive()
    }
}
