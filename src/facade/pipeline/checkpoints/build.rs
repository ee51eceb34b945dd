//! Asking for it.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::kept::{Durable, Keeper};
use super::pages::Pages;
use super::store::Checkpoints;
use crate::facade::pipeline::chain::{Chain, Then};
use crate::facade::pipeline::{Builder, Phase, PhaseConfig};

/// The pages of a pipeline that keeps some.
pub(in crate::facade::pipeline) fn pages<P>(keeper: Option<&Keeper<P>>) -> Option<Pages> {
    keeper.map(|_| Pages::default())
}

impl<P: Send + Sync + 'static, C: Chain<P>> Builder<P, C> {
    /// Keeps what is accepted in this store, as JSON, so that it outlives the process: an intent is
    /// there before its first phase begins, and the output of a
    /// [`durable_phase`](Self::durable_phase) before the next one does. The pipeline accepts nothing
    /// before [`restore`](crate::IntentPipeline::restore) has brought back what is there.
    ///
    /// # Cost
    /// An intent is encoded by who submits it, also if it is then refused. A write before its first
    /// phase and behind each durable one, and a removal at its end, eight keys at once; no seat is
    /// taken meanwhile.
    #[must_use]
    pub fn checkpoints(mut self, store: impl Checkpoints) -> Self
    where
        P: Serialize + DeserializeOwned,
    {
        self.keeper = Some(Keeper::new(store));
        self
    }

    /// The next phase, whose output is kept: once that is on disk, neither this phase nor any before
    /// it runs again for the intent, whatever becomes of the process. One that is killed before it
    /// is there runs again, so it must be idempotent; and after the last phase, a crash before its
    /// end is on disk runs that phase again.
    ///
    /// Name and `version` say what may be read again: an output of another version counts as none, so
    /// the phase runs again; raise it when `Out` changes. An output of this version that can't be
    /// read as `Out` puts the intent [aside](super::Restored::set_aside).
    ///
    /// An output that does not go into JSON ends the intent `Failed`, as a permanent error of the
    /// phase would.
    pub fn durable_phase<X: Phase<C::Out>>(
        mut self,
        name: &'static str,
        version: u32,
        config: PhaseConfig,
        phase: X,
    ) -> Builder<P, Then<C, X, Durable<X::Out>>>
    where
        X::Out: Serialize + DeserializeOwned,
    {
        self.durable.push(self.phases.len());
        self.then(name, config, phase, Durable::new(version))
    }
}
