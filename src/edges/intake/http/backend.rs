//! The operator's side, its types forgotten: what decodes, and the pipeline.

use std::sync::Arc;

use tokio::sync::SetOnce;

use super::core::Id;
use super::problem::{Kind, Problem};
use super::state::State;
use super::ticket::{Filed, Record};
use crate::intake::{Decode, Origin};
use crate::pipeline::{NotPersisted, PipelineSnapshot, Ticket};
use crate::{Intent, IntentPipeline};

/// What became of each document of a body.
pub(super) type Documents = Vec<Result<Arc<Filed>, Problem>>;

pub(super) trait Backend: Send + Sync + 'static {
    /// Decodes a body and submits what is in it. Not cut short: whoever goes away after this has
    /// tickets nevertheless.
    fn submit(
        &self,
        state: &Arc<State>,
        tenant: &Arc<str>,
        bytes: &[u8],
        origin: &Origin,
    ) -> Result<Documents, Problem>;

    fn snapshot(&self) -> PipelineSnapshot;
}

/// A decoder before a pipeline.
pub(super) struct Into<P: Send + Sync + 'static, O: Send + Sync + 'static, D> {
    pub(super) pipeline: IntentPipeline<P, O>,
    pub(super) decode: D,
}

impl<P, O, D> Backend for Into<P, O, D>
where
    P: Send + Sync + 'static,
    O: Send + Sync + 'static,
    D: Decode<P>,
{
    fn submit(
        &self,
        state: &Arc<State>,
        tenant: &Arc<str>,
        bytes: &[u8],
        origin: &Origin,
    ) -> Result<Documents, Problem> {
        let decoded = self.decode.decode(bytes, origin);
        let most = state.config.documents;
        if decoded.is_empty() {
            return Err(Problem::new(Kind::NoDocument, "there is no document in the body"));
        }
        if decoded.len() > most {
            let detail = format!("{} documents, and {most} may be in one body", decoded.len());
            return Err(Problem::new(Kind::TooManyDocuments, detail));
        }
        let one = |document: Result<Intent<P>, _>| match document {
            Ok(intent) => self.submit_one(state, tenant, intent),
            Err(rejected) => {
                state.metrics.rejected.add(1);
                Err(Problem::rejected(rejected))
            }
        };
        Ok(decoded.into_iter().map(one).collect())
    }

    fn snapshot(&self) -> PipelineSnapshot {
        self.pipeline.snapshot()
    }
}

impl<P, O, D> Into<P, O, D>
where
    P: Send + Sync + 'static,
    O: Send + Sync + 'static,
    D: Decode<P>,
{
    fn submit_one(
        &self,
        state: &Arc<State>,
        tenant: &Arc<str>,
        intent: Intent<P>,
    ) -> Result<Arc<Filed>, Problem> {
        // Between this look and its filing no task of this thread runs: at most one ticket for each
        // thread goes beyond.
        if !state.table.lock().has_room() {
            return Err(Problem::busy("too many tickets have not ended"));
        }
        let (key, generation) = (Arc::clone(&intent.key), intent.generation);
        let ticket = self.pipeline.try_submit(intent).map_err(|refused| {
            state.metrics.refused.add(1);
            Problem::refused(&refused)
        })?;
        state.metrics.accepted.add(1);
        let filed = Arc::new(Filed {
            id: state.next_id(),
            tenant: Arc::clone(tenant),
            key,
            generation,
            progress: ticket.progress(),
            saved: SetOnce::new(),
            ended: SetOnce::new(),
        });
        state.table.lock().file(filed.id, Arc::clone(&filed));
        let (keeper, held) = (Arc::clone(state), Arc::clone(&filed));
        state.keepers.spawn(async move { keep(&keeper, &held, ticket).await });
        Ok(filed)
    }
}

/// Holds a ticket until it ends, or until the intake is cut off: then it is dropped, which detaches
/// it.
async fn keep<P: Send + Sync + 'static, O: Send + Sync + 'static>(
    state: &State,
    filed: &Filed,
    mut ticket: Ticket<P, O>,
) {
    let ended = async {
        // One that ended before it was on disk needs to be there no more: its ending tells.
        let saved = !matches!(ticket.persisted().await, Err(NotPersisted::Failed(_)));
        let _ = filed.saved.set(saved);
        (&mut ticket).await
    };
    let Some(ended) = state.cut.run_until_cancelled(ended).await else { return };
    let record = Record::of(&ended);
    // What comes back with it is the user's.
    crate::ground::quiet::drop_quietly(ended);
    let _ = filed.ended.set(record);
    state.ended(filed.id);
}

/// Whether work may be sent here, and if not, why.
pub(super) fn readiness(snapshot: &PipelineSnapshot, ready_ratio: f64) -> Result<(), &'static str> {
    if snapshot.closed {
        return Err("the pipeline is closed");
    }
    if snapshot.paused {
        return Err("the pipeline is paused");
    }
    let depth = snapshot.queued.iter().sum::<usize>() + snapshot.parked;
    if depth as f64 > snapshot.capacity as f64 * ready_ratio {
        return Err("the pipeline's queue is nearly full");
    }
    Ok(())
}

/// So that nothing is filed without a name.
pub(super) fn id_of(keys: &[std::hash::RandomState; 2], number: u64) -> Id {
    Id(super::core::pair(keys, &number))
}
