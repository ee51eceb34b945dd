//! Which pages are to be written, in which order, and what they say. Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::kept::Kept;
use crate::Ending;
use crate::facade::pipeline::core::{Core, Life};
use crate::facade::pipeline::run::{AfterSave, Ask, Carried, Effects, Run, RunId};
use crate::ground::time::{self, Instant};
use crate::retry::Backoff;

/// How long a page that could not be written waits before it is tried again.
const AGAIN: Backoff =
    Backoff { first: Duration::from_millis(100), factor: 2.0, most: Duration::from_secs(10) };

/// Pages whose last try failed, beyond which nobody more is accepted. Those that are live are at most
/// as many as the queue and the seats; of the others nobody knows whether the store has them.
const MOST_TROUBLED: usize = 1_024;

/// What became of a try to write or remove a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Yes,
    No,
    Perhaps,
}

/// The pages that the store has, or should have.
#[derive(Debug, Default)]
pub(in crate::facade::pipeline) struct Pages {
    known: HashMap<Arc<str>, Page>,
    /// Those that wait to be written, by when and in which order.
    line: BTreeMap<(Instant, u64), Arc<str>>,
    writing: usize,
    /// Pages whose last try failed.
    troubled: usize,
    last_no: u64,
    /// What was kept in a former life is back: intents may come.
    pub(super) is_restored: bool,
}

#[derive(Debug, Default)]
struct Page {
    /// The store may have one.
    is_kept: bool,
    /// It had one, or may have, before the try that is under way.
    was_kept: bool,
    place: Option<(Instant, u64)>,
    is_writing: bool,
    /// It changed while it was being written.
    again: bool,
    failures: u32,
    /// Runs that a shutdown left.
    left: Vec<Entry>,
}

/// One run on a page.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) run: RunId,
    /// The newest change that the page says, and what it is for.
    pub(super) no: u64,
    then: Option<AfterSave>,
    accept_no: u64,
    pub(super) ask: Ask,
    pub(super) kept: Kept,
}

impl Entry {
    fn of<B>(id: RunId, run: &Run<B>) -> Option<Self> {
        let kept = Kept::clone(run.kept.as_ref()?);
        let no = run.unsaved.map_or(0, |unsaved| unsaved.no);
        let then = run.unsaved.map(|unsaved| unsaved.then);
        Some(Self { run: id, no, then, accept_no: run.accept_no, ask: run.ask.clone(), kept })
    }

    /// One that a shutdown leaves as it is on disk.
    pub(super) fn left(run: RunId, accept_no: u64, ask: &Ask, kept: &Kept) -> Self {
        Self { run, no: 0, then: None, accept_no, ask: ask.clone(), kept: kept.clone() }
    }

    /// Whether the page is to accept it.
    pub(super) fn is_new(&self) -> bool {
        self.then == Some(AfterSave::Enter)
    }
}

/// A page as it is to be written. Without entries: to be removed.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) key: Arc<str>,
    pub(super) entries: Vec<Entry>,
    /// Runs that are done with their last phase, and not on it any more.
    done: Vec<(RunId, u64)>,
}

/// What a scribe is to do.
#[derive(Debug)]
pub(super) enum Next {
    Write(Draft),
    /// Nothing is due, before then at least.
    Rest(Option<Instant>),
    /// All is over, and written.
    Leave,
}

impl Pages {
    /// This key's page has changed. The number of the change.
    pub(in crate::facade::pipeline) fn mark(&mut self, key: &Arc<str>, now: Instant) -> u64 {
        self.last_no += 1;
        let page = self.known.entry(Arc::clone(key)).or_default();
        if page.is_writing {
            page.again = true;
        } else if page.place.is_none_or(|(due, _)| now < due) {
            // One that failed is tried again at once for what is new on it.
            if let Some(place) = page.place.replace((now, self.last_no)) {
                self.line.remove(&place);
            }
            self.line.insert((now, self.last_no), Arc::clone(key));
        }
        self.last_no
    }

    /// A run has ended, and is not to be kept. `is_live`: another one of its key is.
    fn ended(&mut self, key: &Arc<str>, is_live: bool, now: Instant) {
        match self.known.get(key) {
            Some(page) if is_live || page.is_kept || page.is_writing || !page.left.is_empty() => {
                self.mark(key, now);
            }
            // The store has never heard of it.
            Some(page) => {
                if let Some(place) = page.place {
                    self.line.remove(&place);
                }
                self.troubled -= usize::from(page.failures > 0);
                self.known.remove(key);
            }
            None => {}
        }
    }

    /// A shutdown ends it, and what is on disk of it stays there.
    pub(super) fn leave(&mut self, entry: Entry) {
        if let Some(page) = self.known.get_mut(&entry.ask.key) {
            page.left.push(entry);
        }
    }

    /// The store has a page of this key.
    pub(super) fn has(&mut self, key: &Arc<str>) {
        self.known.entry(Arc::clone(key)).or_default().is_kept = true;
    }

    /// Whether what was kept in a former life is still to come back.
    pub(in crate::facade::pipeline) fn is_unrestored(&self) -> bool {
        !self.is_restored
    }

    /// Whether a scribe would find something.
    pub(in crate::facade::pipeline) fn is_due(&self, now: Instant) -> bool {
        self.line.first_key_value().is_some_and(|((due, _), _)| *due <= now)
    }

    /// Whether everything is written.
    pub(in crate::facade::pipeline) fn is_clean(&self) -> bool {
        self.waiting() == 0
    }

    pub(in crate::facade::pipeline) fn waiting(&self) -> usize {
        self.line.len() + self.writing
    }

    /// Whether so many pages can't be written that nobody more is accepted: each is remembered until
    /// the store is known not to have it.
    pub(in crate::facade::pipeline) fn is_overwhelmed(&self) -> bool {
        self.troubled >= MOST_TROUBLED
    }

    /// The page that is due, from now on being written.
    fn take(&mut self, now: Instant) -> Option<Arc<str>> {
        if !self.is_due(now) {
            return None;
        }
        let (_, key) = self.line.pop_first()?;
        let page = self.known.get_mut(&key)?;
        page.place = None;
        page.is_writing = true;
        // Until it is known what becomes of the try.
        page.was_kept = std::mem::replace(&mut page.is_kept, true);
        self.writing += 1;
        Some(key)
    }

    /// Pages that failed are given up: nobody waits for another try.
    fn give_up_failed(&mut self) {
        let known = &mut self.known;
        self.line.retain(|_, key| {
            let failed = known.get_mut(key).filter(|page| page.failures > 0);
            failed.is_none_or(|page| {
                page.place = None;
                false
            })
        });
    }

    /// It was written, or removed, or could not be.
    pub(super) fn written(&mut self, draft: &Draft, written: Written, now: Instant) {
        let Some(page) = self.known.get_mut(&draft.key) else { return };
        let failed = written != Written::Yes;
        let failures = if failed { page.failures.saturating_add(1) } else { 0 };
        self.troubled -= usize::from(page.failures > 0);
        self.troubled += usize::from(failed);
        self.writing -= 1;
        page.is_writing = false;
        page.failures = failures;
        page.is_kept = match written {
            Written::Yes => !draft.entries.is_empty(),
            Written::No => page.was_kept,
            Written::Perhaps => true,
        };
        let again = std::mem::take(&mut page.again);
        if failed || again {
            let after = if failed { AGAIN.ceiling(page.failures) } else { Duration::ZERO };
            self.last_no += 1;
            let place = (time::later(now, after).unwrap_or(now), self.last_no);
            page.place = Some(place);
            self.line.insert(place, Arc::clone(&draft.key));
        } else if !page.is_kept {
            self.known.remove(&draft.key);
        }
    }
}

impl<B> Core<B> {
    /// A run that was accepted in a former life, with so many phases behind it. It is never
    /// evicted, and has no ingress token to give back.
    pub(super) fn revive(
        &mut self,
        ask: Ask,
        covered: usize,
        carried: Carried<B>,
        now: Instant,
    ) -> RunId {
        if let Some(pages) = &mut self.pages {
            pages.has(&ask.key);
        }
        let accept_no = self.gates[0].line.next_number();
        let phases = self.gates.len();
        let behind: Vec<_> = self.gates.iter().take(covered).map(|gate| gate.name).collect();
        let key = Arc::clone(&ask.key);
        let id = self.accept(ask, accept_no, carried, now);
        if let Some(run) = self.run_mut(id) {
            run.begun = true;
            run.gate = covered;
            run.course.begins_after(&behind, phases);
        }
        if self.is_current(&key, id) {
            self.enter(id, now)
        } else {
            self.park_for(id, None, now)
        }
        id
    }

    /// The store has a page of something that is all done.
    pub(super) fn spent_page(&mut self, key: &Arc<str>, now: Instant) {
        if let Some(pages) = &mut self.pages {
            pages.has(key);
            pages.mark(key, now);
        }
    }

    pub(super) fn is_current(&self, key: &str, id: RunId) -> bool {
        self.keys.get(key).is_some_and(|known| known.current == Some(id))
    }

    /// What a scribe does next.
    pub(super) fn next_page(&mut self, now: Instant) -> Next {
        // What still runs may bring something to be kept.
        let is_over = self.is_over() && self.runs.len() == 0;
        let is_abandoned = self.life == Life::Over;
        let Some(pages) = &mut self.pages else { return Next::Leave };
        if is_abandoned {
            pages.give_up_failed();
        }
        if let Some(key) = pages.take(now) {
            return Next::Write(self.draft(key));
        }
        match pages.line.first_key_value() {
            None if is_over => Next::Leave,
            first => Next::Rest(first.map(|((due, _), _)| *due)),
        }
    }

    /// What is to be kept of a key, at this moment.
    fn draft(&self, key: Arc<str>) -> Draft {
        let left = self.pages.as_ref().and_then(|pages| pages.known.get(&key));
        let mut entries = left.map(|page| page.left.clone()).unwrap_or_default();
        let mut done = Vec::new();
        let live = self.keys.get(&key).map(|known| [known.current, known.successor]);
        for id in live.into_iter().flatten().flatten() {
            let Some(run) = self.run(id) else { continue };
            match run.unsaved {
                Some(unsaved) if unsaved.then == AfterSave::Complete => done.push((id, unsaved.no)),
                _ => entries.extend(Entry::of(id, run)),
            }
        }
        // A shutdown may have left the later one first.
        entries.sort_by_key(|entry| entry.accept_no);
        Draft { key, entries, done }
    }

    /// A page is as it was drafted: what waited for it goes on.
    pub(super) fn page_written(&mut self, draft: &Draft, now: Instant, fx: &mut Effects<B>) {
        if let Some(pages) = &mut self.pages {
            pages.written(draft, Written::Yes, now);
        }
        let entries = draft.entries.iter().map(|entry| (entry.run, entry.no));
        for (id, no) in entries.chain(draft.done.iter().copied()) {
            self.saved(id, no, now, fx);
        }
    }

    fn saved(&mut self, id: RunId, no: u64, now: Instant, fx: &mut Effects<B>) {
        let Some(run) = self.run_mut(id) else { return };
        let Some(unsaved) = run.unsaved.take_if(|unsaved| unsaved.no == no) else { return };
        let key = Arc::clone(&run.ask.key);
        match unsaved.then {
            AfterSave::Complete => self.end(id, Ending::Completed, now, fx),
            AfterSave::Advance => self.advance(id, now),
            AfterSave::Enter => {
                self.supersede(id, now, fx);
                if self.is_current(&key, id) {
                    self.enter(id, now);
                } else {
                    self.park_for(id, None, now);
                }
            }
        }
    }

    /// What becomes of a run's page once the run has ended.
    pub(in crate::facade::pipeline) fn unkeep(
        &mut self,
        id: RunId,
        run: &mut Run<B>,
        ending: Ending,
        now: Instant,
    ) {
        let Some(pages) = &mut self.pages else { return };
        let key = &run.ask.key;
        let was_cut = matches!(ending, Ending::Returned | Ending::Cancelled) || run.tickets == 0;
        // What never came to the disk does not come there after its end either.
        let was_accepted = run.kept.as_ref().is_some_and(|kept| kept.is_persisted());
        if run.left && was_cut && was_accepted {
            if let Some(entry) = Entry::of(id, run) {
                pages.leave(entry);
            }
        } else {
            let is_live = self.keys.get(key).is_some_and(|known| known.current.is_some());
            pages.ended(key, is_live, now);
        }
    }
}
