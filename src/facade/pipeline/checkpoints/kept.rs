//! What of a run goes to the disk, and how the user's types become JSON and back.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{Mutex, Notify, SetOnce};

use super::error::CheckpointError;
use super::metrics::Tally;
use super::store::Checkpoints;
use crate::facade::pipeline::chain::sealed::Keeps;
use crate::facade::pipeline::control::Control;
use crate::facade::pipeline::{Intent, PhaseError};
use crate::ground::primitives::atomic::AtomicUsize;
use crate::ground::quiet::quietly;

/// A pipeline's checkpoints: where they are, and how its payload gets there.
pub(in crate::facade::pipeline) struct Keeper<P> {
    pub(super) store: Box<dyn Checkpoints>,
    encode: Encode<P>,
    pub(super) decode: Decode<P>,
    /// Rings when a page is due, or all is over.
    pub(super) bell: Notify,
    /// One restore at a time.
    pub(super) restoring: Mutex<()>,
    pub(super) tally: Tally,
    /// Scribes that have not left.
    pub(super) scribes: AtomicUsize,
}

type Encode<T> = fn(&T) -> serde_json::Result<Box<RawValue>>;
type Decode<T> = fn(&RawValue) -> serde_json::Result<T>;

fn decode<T: DeserializeOwned>(raw: &RawValue) -> serde_json::Result<T> {
    serde_json::from_str(raw.get())
}

impl<P> Keeper<P> {
    pub(in crate::facade::pipeline) fn new(store: impl Checkpoints) -> Self
    where
        P: Serialize + DeserializeOwned,
    {
        Self {
            store: Box::new(store),
            encode: to_raw_value::<P>,
            decode: decode::<P>,
            bell: Notify::new(),
            restoring: Mutex::new(()),
            tally: Tally::default(),
            scribes: AtomicUsize::new(0),
        }
    }

    /// An intent that wants to be accepted, ready for the disk.
    pub(in crate::facade::pipeline) fn keep(
        &self,
        intent: &Intent<P>,
    ) -> Result<Box<Kept>, CheckpointError> {
        let payload = (self.encode)(&intent.payload).map_err(CheckpointError::Encode)?.into();
        let tenant = Arc::clone(&intent.tenant);
        Ok(Box::new(Kept::new(tenant, payload, Vec::new())))
    }

    /// A page is due.
    pub(in crate::facade::pipeline) fn ring(&self) {
        self.bell.notify_one();
    }

    /// All is over.
    pub(in crate::facade::pipeline) fn ring_out(&self) {
        self.bell.notify_waiters();
    }
}

impl<P> fmt::Debug for Keeper<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

/// What is kept of a run beside what the core knows of it.
#[derive(Clone, Debug)]
pub(in crate::facade::pipeline) struct Kept {
    pub(super) tenant: Arc<str>,
    pub(super) payload: Arc<RawValue>,
    pub(super) checkpoints: Vec<Checkpoint>,
    told: Saving,
    /// Its last checkpoint can't be kept: it has failed, and undoes next.
    condemned: bool,
}

impl Kept {
    fn new(tenant: Arc<str>, payload: Arc<RawValue>, checkpoints: Vec<Checkpoint>) -> Self {
        Self { tenant, payload, checkpoints, told: Saving::default(), condemned: false }
    }

    /// One that comes from the disk.
    pub(super) fn restored(
        tenant: Arc<str>,
        payload: Arc<RawValue>,
        checkpoints: Vec<Checkpoint>,
    ) -> Self {
        let kept = Self::new(tenant, payload, checkpoints);
        kept.tell(Persisted::Yes);
        kept
    }

    /// Whether it has come to the disk once, and those who wait for that know.
    pub(super) fn is_persisted(&self) -> bool {
        matches!(self.told.0.get(), Some(Persisted::Yes))
    }

    pub(in crate::facade::pipeline) fn is_condemned(&self) -> bool {
        self.condemned
    }

    /// Its last checkpoint can't be kept. What is on disk stays as it was before that phase, until
    /// all is undone.
    pub(super) fn condemn(&mut self) {
        self.checkpoints.pop();
        self.condemned = true;
    }

    /// For tickets, who want to know when it is on disk.
    pub(in crate::facade::pipeline) fn saving(&self) -> Saving {
        self.told.clone()
    }

    /// A durable phase is done.
    pub(in crate::facade::pipeline) fn add(&mut self, checkpoint: Checkpoint) {
        self.checkpoints.retain(|known| known.phase != checkpoint.phase);
        self.checkpoints.push(checkpoint);
    }

    /// Its run has ended; whoever still waits for it to be on disk waits in vain.
    pub(in crate::facade::pipeline) fn ended(self) {
        self.tell(Persisted::Ended);
    }

    /// What became of it. Only the first word counts.
    pub(super) fn tell(&self, persisted: Persisted) {
        // It wakes tasks, and their wakers are somebody else's code.
        quietly(|| drop(self.told.0.set(persisted)));
    }
}

/// Whether a run is on disk, for its tickets.
#[derive(Clone, Debug, Default)]
pub(in crate::facade::pipeline) struct Saving(pub(super) Arc<SetOnce<Persisted>>);

#[derive(Debug)]
pub(super) enum Persisted {
    Yes,
    Ended,
    Failed(Arc<CheckpointError>),
}

/// The output of a durable phase that is done.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::facade::pipeline) struct Checkpoint {
    pub(super) phase: Cow<'static, str>,
    pub(super) version: u32,
    pub(super) output: Arc<RawValue>,
}

/// How the output of a durable phase goes to the disk and comes back.
pub struct Durable<T> {
    version: u32,
    encode: Encode<T>,
    decode: Decode<T>,
}

impl<T> fmt::Debug for Durable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durable").field("version", &self.version).finish_non_exhaustive()
    }
}

impl<T: Serialize + DeserializeOwned> Durable<T> {
    pub(in crate::facade::pipeline) fn new(version: u32) -> Self {
        Self { version, encode: to_raw_value::<T>, decode: decode::<T> }
    }
}

impl<T: 'static> Keeps<T> for Durable<T> {
    #[allow(private_interfaces, reason = "sealed: only the pipeline calls it")]
    fn keep(&self, phase: &'static str, output: &T, control: &Control) -> Result<(), PhaseError> {
        let output = (self.encode)(output).map_err(CheckpointError::Encode);
        let output = output.map_err(PhaseError::permanent)?.into();
        control.checkpoint(Checkpoint { phase: phase.into(), version: self.version, output });
        Ok(())
    }

    /// Nothing of another version.
    #[allow(private_interfaces, reason = "sealed: only the pipeline calls it")]
    fn recall(&self, phase: &'static str, past: &Past) -> Option<Result<T, Undecodable>> {
        let mine = |kept: &&Checkpoint| kept.phase == phase && kept.version == self.version;
        let kept = past.checkpoints.iter().find(mine)?;
        Some((self.decode)(&kept.output).map_err(|error| Undecodable { phase, error }))
    }
}

/// A former life of a run: what it had done.
#[derive(Debug)]
pub(in crate::facade::pipeline) struct Past {
    /// So many phases are behind it.
    pub(super) covered: usize,
    pub(super) checkpoints: Vec<Checkpoint>,
}

impl Past {
    /// Whether the phase at this place is behind it.
    pub(in crate::facade::pipeline) fn covers(&self, place: usize) -> bool {
        place < self.covered
    }
}

/// A checkpoint of the right version that is not what its phase makes.
#[derive(Debug)]
pub(in crate::facade::pipeline) struct Undecodable {
    phase: &'static str,
    error: serde_json::Error,
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the checkpoint of phase {:?} can't be read: {}", self.phase, self.error)
    }
}
