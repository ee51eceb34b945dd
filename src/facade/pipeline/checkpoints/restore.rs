//! A process begins again: what was kept is accepted once more.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::error::RestoreError;
use super::kept::{Keeper, Kept, Past};
use super::record::{self, Record, WallClock};
use super::store::SetAside;
use crate::facade::pipeline::control::{Asked, Control};
use crate::facade::pipeline::core::Core;
use crate::facade::pipeline::run::{Carried, Effects};
use crate::facade::pipeline::shared::{Body, Claim, Shared, ask_of};
use crate::facade::pipeline::ticket::{Promise, Ticket};
use crate::facade::pipeline::{Intent, IntentPipeline};
use crate::ground::quiet::drop_quietly;
use crate::ground::time::{self, Instant};
use crate::{Reason, Refused};

/// What a pipeline found on disk.
#[non_exhaustive]
pub struct Restored<P: Send + Sync + 'static, O: Send + Sync + 'static> {
    /// Every intent that goes on. Those of one key follow each other, as they were accepted.
    pub resumed: Vec<Resumed<P, O>>,
    /// What is too heavy for the pipeline as it is now (`TooLarge`). It is still on disk, until
    /// another intent of its key is accepted.
    pub refused: Vec<Refused<Intent<P>>>,
    /// What could not be read, and was put away.
    pub set_aside: Vec<SetAside>,
}

/// An intent that goes on after a restart.
#[derive(Debug)]
#[non_exhaustive]
pub struct Resumed<P: Send + Sync + 'static, O: Send + Sync + 'static> {
    /// The object it is about.
    pub key: Arc<str>,
    /// The object's version.
    pub generation: Option<u64>,
    /// The hash of its content.
    pub content: Option<u128>,
    /// The phase it goes on with.
    pub phase: Option<&'static str>,
    /// For its ending. Dropped, the intent goes on all the same.
    pub ticket: Ticket<P, O>,
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Default for Restored<P, O> {
    fn default() -> Self {
        Self { resumed: Vec::new(), refused: Vec::new(), set_aside: Vec::new() }
    }
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> fmt::Debug for Restored<P, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restored")
            .field("resumed", &self.resumed.len())
            .field("refused", &self.refused.len())
            .field("set_aside", &self.set_aside)
            .finish()
    }
}

/// One page, read.
struct Read<P> {
    key: Arc<str>,
    lives: Vec<Life<P>>,
}

/// One intent and what it had done: so many phases.
struct Life<P> {
    asked: Asked<P>,
    kept: Box<Kept>,
    covered: usize,
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> IntentPipeline<P, O> {
    /// Accepts again what is kept on disk from a former life of the process. A pipeline with
    /// [`checkpoints`](super::super::Builder::checkpoints) accepts nothing new before (`Paused`), so
    /// that nothing kept is overtaken or overwritten.
    ///
    /// What was accepted stays so: it passes the ingress limiter, the breakers and the queue's
    /// capacity, is never evicted, and goes on behind the last durable phase that is done. A deadline
    /// that has passed meanwhile ends it `Expired`. What can't be read is
    /// put away ([`Restored::set_aside`]), and hinders nobody.
    ///
    /// It works once; what is called after that, and on a pipeline without checkpoints, finds
    /// nothing.
    ///
    /// # Errors
    /// The store can't be read, or the pipeline is closed. Nothing was accepted then; call it
    /// again.
    ///
    /// # Cancel safety
    /// Dropped, nothing was accepted; call it again. What was put away is not told of again.
    ///
    /// # Cost
    /// Everything that is kept is read into memory. One lock over all of it.
    pub async fn restore(&self) -> Result<Restored<P, O>, RestoreError> {
        self.shared().restore().await
    }
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Shared<P, O> {
    async fn restore(self: &Arc<Self>) -> Result<Restored<P, O>, RestoreError> {
        let mut restored = Restored::default();
        let Some(keeper) = &self.keeper else { return Ok(restored) };
        let _alone = keeper.restoring.lock().await;
        if !self.core.lock().pages.as_ref().is_some_and(super::Pages::is_unrestored) {
            return Ok(restored);
        }
        let loaded = keeper.store.load().await?;
        restored.set_aside = loaded.set_aside;
        let mut pages = Vec::new();
        // Each key once, whatever a store says.
        let kept: BTreeMap<_, _> = loaded.pages.into_iter().collect();
        for (key, page) in kept {
            match self.read(keeper, &key, &page) {
                Ok(lives) => pages.push(Read { key, lives }),
                Err(why) => {
                    let place = keeper.store.set_aside(&key).await?;
                    restored.set_aside.push(SetAside { key: Some(key), place, why });
                }
            }
        }
        self.accept_again(pages, &mut restored)?;
        Ok(restored)
    }

    /// What a page says; all of it, or why not.
    fn read(
        &self,
        keeper: &Keeper<P>,
        key: &Arc<str>,
        page: &Bytes,
    ) -> Result<Vec<Life<P>>, String> {
        let records = record::decode(page)?;
        let clock = WallClock::look();
        records.into_iter().map(|record| self.life(keeper, key, record, clock)).collect()
    }

    fn life(
        &self,
        keeper: &Keeper<P>,
        key: &Arc<str>,
        record: Record,
        clock: WallClock,
    ) -> Result<Life<P>, String> {
        let payload = (keeper.decode)(&record.payload);
        let payload = payload.map_err(|error| format!("the payload can't be read: {error}"))?;
        let deadline = record.deadline(clock);
        let Record { generation, content, tenant, priority, weight, payload: raw, .. } = record;
        let checkpoints = record.checkpoints;
        let mut past = Past { covered: 0, checkpoints: checkpoints.clone() };
        past.covered = self.runs.covered(&past).map_err(|error| error.to_string())?;
        let covered = past.covered;
        let kept = Box::new(Kept::restored(Arc::clone(&tenant), raw, checkpoints));
        let key = Arc::clone(key);
        let intent =
            Intent { key, generation, tenant, priority, weight, deadline, content, payload };
        let control = Control::new(intent, tracing::Span::current()).with_past(past);
        Ok(Life { asked: Arc::new(control), kept, covered })
    }

    /// All of it at once, so that nothing comes between.
    fn accept_again(
        self: &Arc<Self>,
        pages: Vec<Read<P>>,
        restored: &mut Restored<P, O>,
    ) -> Result<(), RestoreError> {
        let now = time::now();
        // Values of the user's, and their spans, are dropped after the lock.
        let (mut too_large, mut unused) = (Vec::new(), Vec::new());
        let mut core = self.core.lock();
        if core.is_closed() {
            drop(core);
            return Err(RestoreError::Closed);
        }
        for Read { key, lives } in pages {
            for life in lives {
                if !core.fits(&ask_of(life.asked.asked())) {
                    too_large.push(life.asked);
                } else if life.covered >= self.phases.len() {
                    // Every phase is done: only its page is left.
                    core.spent_page(&key, now);
                    unused.push(life.asked);
                } else {
                    restored.resumed.push(self.revive(&mut core, life, now));
                }
            }
        }
        if let Some(pages) = &mut core.pages {
            pages.is_restored = true;
        }
        self.settle(core, &mut Effects::none(), now);
        drop_quietly(unused);
        // Nobody else has them.
        let refused = too_large.into_iter().filter_map(Arc::into_inner).map(Control::into_asked);
        let refused = refused.map(|intent| Refused::new(Reason::TooLarge, None, intent));
        restored.refused.extend(refused);
        Ok(())
    }

    fn revive(
        self: &Arc<Self>,
        core: &mut Core<Body<P, O>>,
        life: Life<P>,
        now: Instant,
    ) -> Resumed<P, O> {
        let Life { asked, kept, covered } = life;
        let (key, generation) = (Arc::clone(&asked.key), asked.generation);
        let phase = self.phases.get(covered).copied();
        let content = asked.asked().content;
        let ask = ask_of(asked.asked());
        let number = core.ledger.accepted + 1;
        let promise = Arc::new(Promise::new());
        let saving = Some(kept.saving());
        let control = Arc::clone(&asked) as Arc<Control>;
        let body = Body::new(asked, Claim::new(number, Arc::clone(&promise)));
        let run = core.revive(ask, covered, Carried { control, body, kept: Some(kept) }, now);
        let ticket = Ticket::new(promise, Arc::clone(self), run, number, saving);
        Resumed { key, generation, content, phase, ticket }
    }
}
