//! A batch on its way.

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::mem::take;
use std::panic::resume_unwind;
use std::sync::Arc;

use super::batched::BatchPhase;
use crate::ground::joint::{Joint, Turn, Waiter, Work};
use crate::ground::primitives::Mutex;
use crate::ground::quiet::{caught, drop_quietly};
use crate::pipeline::PhaseError;

/// What became of one input.
pub(super) enum Fate<O> {
    Ended(Result<O, PhaseError>),
    Panicked(Box<dyn Any + Send>),
}

/// One batch: its inputs until somebody sends it, its results until each is taken.
pub(super) struct Batch<In, X: BatchPhase<In>> {
    phase: Arc<X>,
    /// Each until it is sent, or its member leaves before that.
    inputs: Mutex<Vec<Option<In>>>,
    fates: Mutex<Vec<Option<Fate<X::Out>>>>,
}

impl<In, X: BatchPhase<In>> Drop for Batch<In, X> {
    fn drop(&mut self) {
        // Whoever is the last to leave it has nothing to do with what others left in it.
        let (inputs, fates) = (take(&mut *self.inputs.lock()), take(&mut *self.fates.lock()));
        inputs.into_iter().for_each(drop_quietly);
        fates.into_iter().for_each(drop_quietly);
    }
}

/// One who waits for a batch. Dropping it leaves; the last one's leaving ends the batch.
pub(super) struct Member<In, X: BatchPhase<In>> {
    batch: Arc<Batch<In, X>>,
    index: usize,
    waiter: Waiter<()>,
}

/// The members of a batch of these inputs, in their order.
pub(super) fn members<In, X: BatchPhase<In>>(
    phase: &Arc<X>,
    inputs: Vec<In>,
) -> impl Iterator<Item = Member<In, X>> + use<In, X> {
    let (joint, so_many) = (Arc::new(Joint::new()), inputs.len());
    let fates = Mutex::new(Vec::new());
    let inputs = Mutex::new(inputs.into_iter().map(Some).collect());
    let batch = Arc::new(Batch { phase: Arc::clone(phase), inputs, fates });
    // All are there before any of them looks.
    let all: Vec<_> = (0..so_many)
        .map(|index| Member { batch: Arc::clone(&batch), index, waiter: joint.join() })
        .collect();
    all.into_iter()
}

impl<In: Send + Sync + 'static, X: BatchPhase<In>> Member<In, X> {
    /// Its result; drives the batch meanwhile. A panic that is its own goes on here.
    pub(super) async fn result(mut self) -> Result<X::Out, PhaseError> {
        while let Turn::Lead = poll_fn(|cx| self.waiter.poll(cx)).await {
            self.waiter.share(Self::work(Arc::clone(&self.batch)));
        }
        let fate = self.batch.fates.lock().get_mut(self.index).and_then(Option::take);
        match fate {
            Some(Fate::Ended(result)) => result,
            Some(Fate::Panicked(panic)) => resume_unwind(panic),
            None => Err(PhaseError::permanent(NoResult)),
        }
    }

    fn work(batch: Arc<Batch<In, X>>) -> Work<()> {
        Box::pin(async move {
            let inputs = take(&mut *batch.inputs.lock());
            let mut fates: Vec<_> = inputs.iter().map(|_| None).collect();
            let there = inputs.into_iter().enumerate();
            let there = there.filter_map(|(place, input)| Some((place, input?)));
            let (places, inputs): (Vec<_>, Vec<_>) = there.unzip();
            for (place, fate) in places.into_iter().zip(batch.phase_by_halves(&inputs).await) {
                fates[place] = fate;
            }
            *batch.fates.lock() = fates;
            inputs.into_iter().for_each(drop_quietly);
        })
    }
}

impl<In, X: BatchPhase<In>> Drop for Member<In, X> {
    fn drop(&mut self) {
        // Whoever leaves before the batch is sent does not go with it.
        let left = self.batch.inputs.lock().get_mut(self.index).and_then(Option::take);
        drop_quietly(left);
    }
}

impl<In: Send + Sync + 'static, X: BatchPhase<In>> Batch<In, X> {
    /// Runs it; halves what fails as a whole for a reason that may be a single input's.
    async fn phase_by_halves(&self, inputs: &[In]) -> Vec<Option<Fate<X::Out>>> {
        let mut fates: Vec<_> = inputs.iter().map(|_| None).collect();
        let mut parts: Vec<_> = std::iter::once(0..inputs.len()).collect();
        while let Some(part) = parts.pop() {
            let mut halves = || {
                let middle = part.start + part.len() / 2;
                parts.extend([middle..part.end, part.start..middle]);
            };
            // Called inside, so that a panic before the first await is caught, too.
            match caught(async { self.phase.run(&inputs[part.clone()]).await }).await {
                Ok(Ok(results)) => {
                    let mut results = results.into_iter();
                    for (fate, result) in fates[part].iter_mut().zip(&mut results) {
                        *fate = Some(Fate::Ended(result));
                    }
                    drop_quietly(results);
                }
                Ok(Err(error)) if part.len() > 1 && error.is_retryable() => {
                    let error = Arc::new(error);
                    fates[part].fill_with(|| Some(Fate::Ended(Err(of_all(&error)))));
                }
                Err(panic) if part.len() > 1 => {
                    drop_quietly(panic);
                    halves();
                }
                Ok(Err(_)) if part.len() > 1 => halves(),
                Ok(Err(error)) => fates[part.start] = Some(Fate::Ended(Err(error))),
                Err(panic) => fates[part.start] = Some(Fate::Panicked(panic)),
            }
        }
        fates
    }
}

/// The error of a whole batch, for one of its members.
fn of_all(error: &Arc<PhaseError>) -> PhaseError {
    PhaseError::new(error.verdict, BatchFailed(Arc::clone(error)))
}

#[derive(Debug)]
struct BatchFailed(Arc<PhaseError>);

impl fmt::Display for BatchFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the batch failed")
    }
}

impl std::error::Error for BatchFailed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}

/// The phase gave fewer results than it had inputs.
#[derive(Debug, thiserror::Error)]
#[error("the batch has no result for this input")]
struct NoResult;
