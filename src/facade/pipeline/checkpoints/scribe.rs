//! Who writes the pages: a few members of the crew, one page each at a time.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::error::CheckpointError;
use super::kept::{Keeper, Persisted};
use super::pages::{Draft, Next};
use super::record;
use crate::blocks::worker_pool::crew::{Crew, Leaving};
use crate::facade::pipeline::chain::message_of;
use crate::facade::pipeline::run::Effects;
use crate::facade::pipeline::shared::Shared;
use crate::facade::pipeline::ticket::Failure;
use crate::ground::primitives::atomic::Ordering;
use crate::ground::quiet::{caught, drop_quietly, quietly};
use crate::ground::time;

/// Pages that are written at once. A disk syncs several in the time of one.
const SCRIBES: usize = 8;

/// Starts the scribes of a pipeline that has checkpoints.
pub(in crate::facade::pipeline) fn start<P, O>(shared: &Arc<Shared<P, O>>, runtime: &Handle)
where
    P: Send + Sync + 'static,
    O: Send + Sync + 'static,
{
    let Some(keeper) = &shared.keeper else { return };
    keeper.scribes.store(SCRIBES, Ordering::Relaxed);
    for _ in 0..SCRIBES {
        runtime.spawn(keep_pages(Crew::enlist(shared), AtWork(Arc::clone(shared))));
    }
}

/// One scribe. It leaves when all is over and written.
async fn keep_pages<P, O>(me: Leaving<Shared<P, O>>, _at_work: AtWork<P, O>)
where
    P: Send + Sync + 'static,
    O: Send + Sync + 'static,
{
    let shared = me.post();
    let Some(keeper) = &shared.keeper else { return };
    while let Some(draft) = next_page(shared, keeper).await {
        shared.write(keeper, draft).await;
    }
}

/// One of the scribes. The last one to go, by the end of all or of the runtime, closes the store; it
/// does so before it has left the crew, so that after a shutdown the store is free.
struct AtWork<P: Send + Sync + 'static, O: Send + Sync + 'static>(Arc<Shared<P, O>>);

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Drop for AtWork<P, O> {
    fn drop(&mut self) {
        let Some(keeper) = &self.0.keeper else { return };
        // AcqRel: what the others did with the store comes before its end.
        if keeper.scribes.fetch_sub(1, Ordering::AcqRel) == 1 {
            quietly(|| keeper.store.close());
        }
    }
}

/// What is to be written next, when there is something; `None`: never again.
async fn next_page<P, O>(shared: &Shared<P, O>, keeper: &Keeper<P>) -> Option<Draft>
where
    P: Send + Sync + 'static,
    O: Send + Sync + 'static,
{
    loop {
        // Registered before the look, so that no page in between is missed; and only so long: who
        // writes hears no bell that is meant for one who rests.
        let mut rung = pin!(keeper.bell.notified());
        rung.as_mut().enable();
        match shared.next_page(keeper) {
            Next::Write(draft) => return Some(draft),
            Next::Rest(until) => {
                time::until(until, rung).await;
            }
            Next::Leave => return None,
        }
    }
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Shared<P, O> {
    fn next_page(&self, keeper: &Keeper<P>) -> Next {
        let now = time::now();
        let mut core = self.core.lock();
        let next = core.next_page(now);
        let is_more = core.pages.as_ref().is_some_and(|pages| pages.is_due(now));
        drop(core);
        if is_more {
            // For another one, if one rests.
            keeper.bell.notify_one();
        }
        next
    }

    async fn write(&self, keeper: &Keeper<P>, draft: Draft) {
        let started = time::now();
        let written = put(keeper, &draft).await;
        let now = time::now();
        keeper.tally.took(now.saturating_duration_since(started));
        match written {
            Ok(()) => {
                draft.entries.iter().for_each(|entry| entry.kept.tell(Persisted::Yes));
                let mut fx = Effects::none();
                let mut core = self.core.lock();
                core.page_written(&draft, now, &mut fx);
                self.settle(core, &mut fx, now);
            }
            Err(error) => {
                keeper.tally.failed.add(1);
                quietly(|| {
                    tracing::warn!(
                        pipeline = &*self.name,
                        key = &*draft.key,
                        error = &error as &dyn std::error::Error,
                        "a page of checkpoints is not kept"
                    );
                });
                self.lose(&draft, error);
            }
        }
    }

    /// Ends what can't be without the page; all else goes on as it was.
    fn lose(&self, draft: &Draft, error: CheckpointError) {
        let grew = record::is_too_large_without_new(&draft.entries, &error);
        let error = Arc::new(error);
        // Before the ending, and so before the lock that decides it: nobody else writes this page.
        let lost = self.core.lock().lost(draft, &error, grew);
        for entry in draft.entries.iter().filter(|entry| lost.contains(&entry.run)) {
            entry.kept.tell(Persisted::Failed(Arc::clone(&error)));
        }
        let now = time::now();
        let (mut fx, mut forgotten) = (Effects::none(), Vec::new());
        let mut core = self.core.lock();
        let lost = core.lost(draft, &error, grew);
        core.page_failed(draft, error.is_doubtful(), now);
        for id in lost {
            if let Some(run) = core.run_mut(id) {
                let failure = Arc::new(Failure::NotPersisted(Arc::clone(&error)));
                forgotten.push(run.body.failure.replace(failure));
            }
            core.lose(id, now, &mut fx);
        }
        self.settle(core, &mut fx, now);
        drop_quietly(forgotten);
    }
}

/// Writes or removes a page. Whatever the store does, a scribe goes on.
async fn put<P>(keeper: &Keeper<P>, draft: &Draft) -> Result<(), CheckpointError> {
    if draft.entries.is_empty() {
        guarded(keeper, async { keeper.store.remove(&draft.key).await }).await?;
        keeper.tally.removed.add(1);
        return Ok(());
    }
    let page = record::encode(&draft.entries)?;
    let bytes = page.len() as u64;
    guarded(keeper, async { keeper.store.save(&draft.key, page).await }).await?;
    keeper.tally.written.add(1);
    keeper.tally.bytes.add(bytes);
    Ok(())
}

/// What the store says in its time; a panic of it is a failure.
async fn guarded<P, T>(
    keeper: &Keeper<P>,
    asked: impl Future<Output = Result<T, CheckpointError>>,
) -> Result<T, CheckpointError> {
    let asked = async {
        let until = time::later(time::now(), keeper.store.timeout());
        time::until(until, asked).await.unwrap_or(Err(CheckpointError::TimedOut))
    };
    caught(asked).await.unwrap_or_else(|payload| {
        let message = message_of(&*payload);
        drop_quietly(payload);
        Err(CheckpointError::Panicked(message))
    })
}
