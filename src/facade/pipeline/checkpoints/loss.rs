//! What becomes of runs whose page can't be written. Pure.

use super::error::CheckpointError;
use super::pages::{Draft, Entry, Written};
use crate::Ending;
use crate::facade::pipeline::core::{Core, Life};
use crate::facade::pipeline::run::{AfterSave, Effects, RunId};
use crate::ground::time::Instant;

impl<B> Core<B> {
    /// A page can't be written. The runs that are lost by that: those that it was to accept. If no
    /// other try can succeed, and there is none of them, or it can't be without them either (`grew`:
    /// then it is not theirs to make way), those that wait for it. All others wait for the next try.
    pub(super) fn lost(&self, draft: &Draft, error: &CheckpointError, grew: bool) -> Vec<RunId> {
        let waiting = |is_new: bool| -> Vec<RunId> {
            let mine = |entry: &&Entry| {
                let unsaved = self.run(entry.run).and_then(|run| run.unsaved);
                entry.is_new() == is_new && unsaved.is_some_and(|unsaved| unsaved.no == entry.no)
            };
            draft.entries.iter().filter(mine).map(|entry| entry.run).collect()
        };
        let (new, old) = (waiting(true), waiting(false));
        let spares_new = new.is_empty() || (grew && !old.is_empty());
        if spares_new && !error.is_retryable() { old } else { new }
    }

    /// It can't be kept: it was not accepted then, or has failed, and undoes what it had done.
    pub(super) fn lose(&mut self, id: RunId, now: Instant, fx: &mut Effects<B>) {
        let is_over = self.life == Life::Over;
        let Some(run) = self.run_mut(id) else { return };
        let has_done = run.unsaved.is_some_and(|unsaved| unsaved.then == AfterSave::Advance);
        match run.kept.as_mut().filter(|_| has_done && !is_over) {
            Some(kept) => {
                kept.condemn();
                run.unsaved = None;
                self.stand(id, now);
            }
            None => self.end(id, Ending::Failed, now, fx),
        }
    }

    /// It was not written, as far as is known: it is tried again, later.
    pub(super) fn page_failed(&mut self, draft: &Draft, is_doubtful: bool, now: Instant) {
        let written = if is_doubtful { Written::Perhaps } else { Written::No };
        if let Some(pages) = &mut self.pages {
            pages.written(draft, written, now);
        }
    }
}
