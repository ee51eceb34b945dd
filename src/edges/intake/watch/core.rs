//! The decisions: `(&mut self, event, now)`, and then [`Core::next`] until there is nothing to do.
//! Pure.

mod ends;
mod next;
mod progress;
mod taken;

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

/// Nor is one that changes whenever it is looked at looked at without end.
const RESTLESS: Duration = Duration::from_secs(10);

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
    /// To be put away once more, each at its time: it failed for a reason of its own.
    ended_later: BTreeSet<(Instant, FileNo)>,
    /// What can't be moved for a reason of its own, by name, and why.
    stuck: BTreeMap<Arc<OsStr>, String>,
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
            ended_later: BTreeSet::new(),
            stuck: BTreeMap::new(),
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
        self.ended_later.clear();
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

    // What is shown.

    /// What of the disk does not work, in words.
    pub(super) fn trouble(&self) -> Option<&str> {
        let trouble = self.trouble_out.as_ref().or(self.trouble_in.as_ref());
        trouble.map(|trouble| &*trouble.why).or_else(|| Some(self.stuck.values().next()?))
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

/// How long after one that was found changed so often in a row it is looked at again.
fn restless(settle: Duration, changes: u32) -> Duration {
    let most = RESTLESS.max(settle);
    Backoff { first: settle, factor: 2.0, most }.ceiling(changes)
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
