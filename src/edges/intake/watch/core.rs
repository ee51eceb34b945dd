//! The decisions: `(&mut self, event, now)`, and then [`Core::next`] until there is nothing to do.
//! Pure.

mod progress;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use super::file::{File, Stage, State};
use super::folder::{Listing, Shape};
use super::known::Known;
use super::line::{DocumentNo, FileNo, Line};
use super::metrics::Counts;
use super::status::{End, Status, Verdict};
use super::waiting::{Change, Found, Patience, Waiting};
use crate::ground::time::{self, Instant};
use crate::retry::Backoff;
use crate::{Ending, Intent};

/// How long after something failed on the disk it is tried again.
const DISK: Backoff =
    Backoff { first: Duration::from_millis(100), factor: 2.0, most: Duration::from_secs(10) };

/// Names that are looked at in one go.
const LOOKS: usize = 256;

/// What is counted, and what is waited for.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) patience: Patience,
    pub(super) doubt: Duration,
    pub(super) dedup_window: Duration,
    pub(super) rescan_every: Option<Duration>,
    pub(super) files_in_flight: usize,
    pub(super) workers: usize,
    pub(super) max_waiting: usize,
}

/// What the driver is to do.
#[derive(Debug)]
pub(super) enum Command<P> {
    /// Finds what a former life left, and moves what had ended.
    Recover,
    /// Reads the directory: so many names at most.
    Scan(usize),
    Look(Vec<(Arc<OsStr>, u64)>),
    /// Moves it into `processing` under a name that [`Core::claims`] is told, and reads it.
    Claim(FileNo, Arc<OsStr>),
    /// Reads it where it is.
    Read(FileNo, Arc<OsStr>),
    Submit(DocumentNo, Intent<P>),
    Finish(FileNo, Arc<OsStr>, Option<Shape>, Status),
}

/// How a document ended in the pipeline.
#[derive(Debug)]
pub(super) struct Told<P> {
    pub(super) ending: Ending,
    pub(super) phase: Option<&'static str>,
    pub(super) error: Option<String>,
    pub(super) intent: Option<Intent<P>>,
    /// Only because it could not be kept on disk.
    pub(super) is_unkept: bool,
}

/// Something of the disk's that does not work.
#[derive(Debug)]
struct Trouble {
    why: String,
    until: Instant,
    failures: u32,
}

#[derive(Debug)]
pub(super) struct Core<P> {
    rules: Rules,
    waiting: Waiting,
    /// Names from a former life, to be read.
    left: VecDeque<Arc<OsStr>>,
    files: BTreeMap<FileNo, File<P>>,
    last: FileNo,
    /// Being claimed or read: what was taken after them waits for them.
    taking: BTreeSet<FileNo>,
    again: BTreeSet<(Instant, FileNo)>,
    ended: VecDeque<FileNo>,
    line: Line,
    known: Known,
    submitted: usize,
    /// Work on the disk that is under way.
    working: usize,
    trouble_in: Option<Trouble>,
    trouble_out: Option<Trouble>,
    is_recovered: bool,
    recovering: bool,
    scanning: bool,
    /// To be read now, whatever is known.
    wants_scan: bool,
    next_scan: Option<Instant>,
    is_closed: bool,
    is_pipeline_closed: bool,
    pub(super) counts: Counts,
}

impl<P> Core<P> {
    pub(super) fn new(rules: Rules) -> Self {
        let waiting = Waiting::new(rules.patience.clone(), rules.max_waiting);
        Self {
            rules,
            waiting,
            left: VecDeque::new(),
            files: BTreeMap::new(),
            last: 0,
            taking: BTreeSet::new(),
            again: BTreeSet::new(),
            ended: VecDeque::new(),
            line: Line::default(),
            known: Known::default(),
            submitted: 0,
            working: 0,
            trouble_in: None,
            trouble_out: None,
            is_recovered: false,
            recovering: false,
            scanning: false,
            wants_scan: true,
            next_scan: None,
            is_closed: false,
            is_pipeline_closed: false,
            counts: Counts::default(),
        }
    }

    // What happens in the directory.

    pub(super) fn changed(&mut self, name: Arc<OsStr>, change: Change, now: Instant) {
        self.counts.changes += 1;
        self.waiting.changed(name, change, now);
    }

    /// Some changes were not told.
    pub(super) fn lost(&mut self, now: Instant) {
        self.counts.overflows += 1;
        self.wants_scan = true;
        self.waiting.lost(now);
    }

    pub(super) fn rescan(&mut self) {
        self.wants_scan = true;
    }

    pub(super) fn recovered(
        &mut self,
        found: Result<(Vec<Arc<OsStr>>, u64), String>,
        now: Instant,
    ) {
        self.working -= 1;
        self.recovering = false;
        match found {
            Ok((left, moved)) => {
                self.counts.recovered += left.len() as u64;
                self.counts.moved_late += moved;
                self.left.extend(left);
                self.is_recovered = true;
                self.trouble_in = None;
            }
            Err(why) => trouble(&mut self.trouble_in, why, now),
        }
    }

    pub(super) fn scanned(&mut self, found: Result<Listing, String>, now: Instant) {
        self.working -= 1;
        self.scanning = false;
        self.counts.scans += 1;
        self.next_scan = self.rules.rescan_every.and_then(|every| time::later(now, every));
        match found {
            Ok((names, there_is_more)) => {
                self.trouble_in = None;
                for (name, shape) in names {
                    self.waiting.found(name, shape, now);
                }
                if there_is_more {
                    self.waiting.fell_behind();
                }
            }
            Err(why) => {
                trouble(&mut self.trouble_in, why, now);
                self.wants_scan = true;
            }
        }
    }

    pub(super) fn looked(&mut self, found: Vec<(Arc<OsStr>, u64, Option<Found>)>, now: Instant) {
        self.working -= 1;
        for (name, round, shape) in found {
            self.waiting.looked(name, round, shape, now);
        }
    }

    // The end.

    /// Takes nothing more; what the pipeline has goes on.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
        let begun = |it: &State<P>| matches!(it, State::Submitted | State::Ended(End::Ran { .. }));
        let unbegun = self.files.iter().filter(|(_, file)| {
            matches!(file.stage, Stage::Live | Stage::Again | Stage::Twin) && file.count(begun) == 0
        });
        let unbegun: Vec<FileNo> = unbegun.map(|(no, _)| *no).collect();
        unbegun.into_iter().for_each(|no| self.leave(no));
        self.again.retain(|(_, no)| self.files.contains_key(no));
    }

    /// Whatever has not ended is left to the next life.
    pub(super) fn cut(&mut self) {
        self.close();
        let busy = |stage| matches!(stage, Stage::Taking | Stage::Finishing);
        let idle = self.files.iter().filter(|(_, file)| !busy(file.stage));
        let idle: Vec<FileNo> = idle.map(|(no, _)| *no).collect();
        idle.into_iter().for_each(|no| self.leave(no));
        self.ended.clear();
        self.again.clear();
    }

    /// Closed, and nothing of its own is under way.
    pub(super) fn is_over(&self) -> bool {
        self.is_closed && self.files.is_empty() && self.working == 0
    }

    /// All that is known has ended; and the directory was read, if that was asked for.
    pub(super) fn is_idle(&self) -> bool {
        self.is_recovered
            && !self.wants_scan
            && self.working == 0
            && self.waiting.is_empty()
            && self.left.is_empty()
            && self.files.is_empty()
    }

    // What is to be done.

    pub(super) fn next(&mut self, now: Instant) -> Option<Command<P>> {
        self.next_finish(now)
            .or_else(|| self.next_submit(now))
            .or_else(|| self.next_read(now))
            .or_else(|| if self.may_take(now) { self.next_from_directory(now) } else { None })
    }

    /// The earliest time at which something is to be done that is not now.
    ///
    /// What was due and did not happen waits for work to end, or for a trouble to pass.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let again = self.again.first().map(|(due, _)| *due);
        let until = |trouble: &Option<Trouble>| trouble.as_ref().map(|trouble| trouble.until);
        let troubles = [until(&self.trouble_in), until(&self.trouble_out)];
        let waiting = [self.waiting.due(), self.next_scan];
        let waiting = if self.is_closed { [None; 2] } else { waiting };
        let all = [again, self.line.due(now)].into_iter().chain(troubles).chain(waiting);
        all.flatten().filter(|due| *due > now).min()
    }

    fn next_finish(&mut self, now: Instant) -> Option<Command<P>> {
        if self.working >= self.rules.workers || is_held(&self.trouble_out, now) {
            return None;
        }
        while let Some(no) = self.ended.pop_front() {
            if let Some(file) = self.files.get_mut(&no) {
                file.stage = Stage::Finishing;
                self.working += 1;
                let (claimed, status) = (Arc::clone(&file.claimed), file.status());
                return Some(Command::Finish(no, claimed, file.shape, status));
            }
        }
        None
    }

    fn next_submit(&mut self, now: Instant) -> Option<Command<P>> {
        if self.is_pipeline_closed || self.line.len() == 0 {
            return None;
        }
        let barrier = self.taking.first().copied().unwrap_or(FileNo::MAX);
        let Self { files, line, .. } = self;
        let tenant_of = |(no, index): DocumentNo| {
            let document = files.get(&no)?.documents.get(index)?;
            Some(Arc::clone(&document.standing.as_ref()?.tenant))
        };
        let no = line.next(barrier, tenant_of, now)?;
        let document = self.document(no)?;
        let standing = document.standing.clone()?;
        let intent = match std::mem::replace(&mut document.state, State::Submitted) {
            State::Waiting(intent) => intent,
            // Nothing else stands in the line.
            other => {
                document.state = other;
                self.line.leave(no, &standing);
                return None;
            }
        };
        self.line.leave(no, &standing);
        Some(Command::Submit(no, intent))
    }

    /// One that was taken already.
    fn next_read(&mut self, now: Instant) -> Option<Command<P>> {
        if self.working >= self.rules.workers {
            return None;
        }
        while let Some((_, no)) = self.again.first().copied().filter(|(due, _)| *due <= now) {
            self.again.pop_first();
            if let Some(file) = self.files.get_mut(&no) {
                file.stage = Stage::Taking;
                self.taking.insert(no);
                self.working += 1;
                return Some(Command::Read(no, Arc::clone(&file.claimed)));
            }
        }
        None
    }

    fn may_take(&self, now: Instant) -> bool {
        !self.is_closed
            && !self.is_pipeline_closed
            && self.working < self.rules.workers
            && !is_held(&self.trouble_in, now)
    }

    fn next_from_directory(&mut self, now: Instant) -> Option<Command<P>> {
        if !self.is_recovered {
            if self.recovering {
                return None;
            }
            self.recovering = true;
            self.working += 1;
            return Some(Command::Recover);
        }
        let names = self.waiting.next_looks(LOOKS, now);
        if !names.is_empty() {
            self.working += 1;
            return Some(Command::Look(names));
        }
        let is_late = self.next_scan.is_some_and(|due| due <= now);
        if !self.scanning && (self.wants_scan || is_late || self.waiting.catches_up()) {
            (self.scanning, self.wants_scan, self.next_scan) = (true, false, None);
            self.working += 1;
            return Some(Command::Scan(self.rules.max_waiting));
        }
        self.next_claim(now)
    }

    fn next_claim(&mut self, now: Instant) -> Option<Command<P>> {
        // What could not be put away would be run again, should the process die.
        if self.files.len() >= self.rules.files_in_flight || self.trouble_out.is_some() {
            return None;
        }
        let left = self.left.pop_front();
        let is_left = left.is_some();
        let file = match left {
            Some(claimed) => File::new(claimed, now, false),
            None => {
                let ready = self.waiting.take()?;
                File::new(ready.name, ready.since, ready.is_closed)
            }
        };
        self.last += 1;
        let (no, name) = (self.last, Arc::clone(&file.claimed));
        self.files.insert(no, file);
        self.taking.insert(no);
        self.working += 1;
        Some(if is_left { Command::Read(no, name) } else { Command::Claim(no, name) })
    }

    // What is shown.

    /// What of the disk does not work, in words.
    pub(super) fn trouble(&self) -> Option<&str> {
        let trouble = self.trouble_out.as_ref().or(self.trouble_in.as_ref())?;
        Some(&trouble.why)
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len() + self.left.len()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.files.len()
    }

    pub(super) fn documents(&self) -> (usize, usize) {
        (self.line.len(), self.submitted)
    }
}

/// Several that fail at once are one failure.
fn trouble(trouble: &mut Option<Trouble>, why: String, now: Instant) {
    let failures = match trouble {
        Some(before) if now < before.until => before.failures,
        Some(before) => before.failures.saturating_add(1),
        None => 1,
    };
    let until = time::later(now, DISK.ceiling(failures)).unwrap_or(now);
    *trouble = Some(Trouble { why, until, failures });
}

fn is_held(trouble: &Option<Trouble>, now: Instant) -> bool {
    trouble.as_ref().is_some_and(|trouble| now < trouble.until)
}

impl Counts {
    fn ended(&mut self, verdict: Verdict, is_duplicate: bool) {
        match verdict {
            Verdict::Processed => self.processed += 1,
            Verdict::Failed => self.failed += 1,
        }
        self.duplicates += u64::from(is_duplicate);
    }
}
