//! A phase whose outputs are kept, and shared between runs.

use std::hash::Hash;

use super::context::PhaseContext;
use super::phase::{Phase, PhaseError, Step};
use crate::cache::{Cache, Lookup};

/// What [`Phase::cached`] makes.
pub(super) struct Cached<X, F, K, O> {
    pub(super) phase: X,
    pub(super) key: F,
    pub(super) cache: Cache<K, O>,
}

impl<In, X, F, K> Phase<In> for Cached<X, F, K, X::Out>
where
    In: Sync + ?Sized + 'static,
    X: Phase<In>,
    X::Out: Clone,
    F: Fn(&In) -> K + Send + Sync + 'static,
    K: Hash + Eq + Clone + Send + Sync + 'static,
{
    type Out = X::Out;

    async fn run(&self, input: &In, cx: &PhaseContext) -> Result<Step<X::Out>, PhaseError> {
        let key = (self.key)(input);
        let lead = match self.cache.get_or_lead(&key).await {
            Lookup::Known(Ok(output)) => return Ok(Step::Done(output)),
            Lookup::Known(Err(error)) => return Err(PhaseError::shared(error)),
            Lookup::Lead(lead) => lead,
        };
        match self.phase.run(input, cx).await {
            Ok(Step::Done(output)) => {
                lead.finish(output.clone());
                Ok(Step::Done(output))
            }
            // Whoever waits looks for itself: the lead is dropped.
            Ok(again) => Ok(again),
            // An old output is better than none, if the cache says that it may be given out.
            Err(error) => match lead.stale() {
                Some(stale) => {
                    lead.fail(error);
                    Ok(Step::Done(stale))
                }
                None => Err(PhaseError::shared(lead.fail(error))),
            },
        }
    }
}
