//! How a file ends, or is left.

use std::sync::Arc;
use std::time::Duration;

use super::{Core, DISK, restless, trouble};
use crate::edges::intake::watch::file::{File, Stage, State};
use crate::edges::intake::watch::finish::Finished;
use crate::edges::intake::watch::line::FileNo;
use crate::ground::time::{self, Instant};

impl<P> Core<P> {
    /// One of its documents has gone on: perhaps all have ended, or nothing of it can in this life.
    pub(super) fn settle(&mut self, no: FileNo) {
        let Some(file) = self.files.get(&no) else { return };
        if file.stage != Stage::Live {
            return;
        }
        if file.is_all_ended() {
            let twins = self.end(no);
            for twin in twins {
                self.settle_twin(no, twin);
            }
        } else if self.is_pipeline_closed && file.count(|it| matches!(it, State::Submitted)) == 0 {
            self.leave(no);
        }
    }

    fn settle_twin(&mut self, first: FileNo, twin: FileNo) {
        let Some(file) = self.files.get(&twin) else { return };
        // The decoder may have found something else in the same bytes this time.
        let is_like = |of: &&File<P>| of.is_lasting() && of.says_the_same_as(file);
        let Some(of) = self.files.get(&first).filter(is_like) else {
            return self.line_up(twin);
        };
        let ends: Vec<_> = of.documents.iter().map(|it| it.end().cloned()).collect();
        let Some(file) = self.files.get_mut(&twin) else { return };
        for (document, end) in file.documents.iter_mut().zip(ends) {
            if let Some(end) = end {
                document.state = State::Ended(end);
            }
        }
        file.is_duplicate = true;
        file.stage = Stage::Live;
        self.settle(twin);
    }

    /// To be put away. Those that end with it.
    pub(super) fn end(&mut self, no: FileNo) -> Vec<FileNo> {
        let Some(file) = self.files.get_mut(&no) else { return Vec::new() };
        file.stage = Stage::Ended;
        self.ended.push_back(no);
        std::mem::take(&mut file.twins)
    }

    pub(in crate::edges::intake::watch) fn finished(
        &mut self,
        no: FileNo,
        finished: Finished,
        now: Instant,
    ) {
        self.working -= 1;
        match finished {
            Finished::Done => {
                self.trouble_out = None;
                if let Some(file) = self.files.remove(&no) {
                    self.stuck.remove(&file.claimed);
                    let lasts = time::later(now, self.rules.dedup_window);
                    self.known.ends(no, &file, lasts.filter(|_| file.is_lasting()));
                    self.counts.ended(file.status().state, file.is_duplicate);
                }
            }
            Finished::Changed => {
                self.counts.changed_late += 1;
                if let Some(file) = self.files.remove(&no) {
                    self.known.ends(no, &file, None);
                    // It is another content now, and the newest.
                    let changes = file.changes + 1;
                    let file = File { changes, ..File::new(file.claimed, now, false) };
                    self.last += 1;
                    self.files.insert(self.last, file);
                    let after = restless(self.rules.patience.settle_small, changes);
                    self.again(self.last, after, now);
                }
            }
            Finished::Blocked { why, is_of_one } => {
                let Some(file) = self.files.get_mut(&no) else { return };
                file.stage = Stage::Ended;
                if is_of_one {
                    file.failures = file.failures.saturating_add(1);
                    let due = time::later(now, DISK.ceiling(file.failures)).unwrap_or(now);
                    self.stuck.insert(Arc::clone(&file.claimed), why);
                    self.ended_later.insert((due, no));
                } else {
                    self.ended.push_back(no);
                    trouble(&mut self.trouble_out, why, now);
                }
            }
        }
    }

    pub(super) fn again(&mut self, no: FileNo, after: Duration, now: Instant) {
        if let Some(file) = self.files.get_mut(&no) {
            file.stage = Stage::Again;
            self.again.insert((time::later(now, after).unwrap_or(now), no));
        }
    }

    /// It is not there any more.
    pub(super) fn forget(&mut self, no: FileNo) {
        if let Some(file) = self.files.remove(&no) {
            self.counts.vanished += 1;
            self.drop_file(no, &file);
        }
    }

    /// It stays in `processing` for the next life.
    pub(super) fn leave(&mut self, no: FileNo) {
        if let Some(file) = self.files.remove(&no) {
            self.counts.left += 1;
            self.drop_file(no, &file);
        }
    }

    fn drop_file(&mut self, no: FileNo, file: &File<P>) {
        self.stuck.remove(&file.claimed);
        for (index, document) in file.documents.iter().enumerate() {
            if let (State::Waiting(_), Some(standing)) = (&document.state, &document.standing) {
                self.line.leave((no, index), standing);
            }
        }
        self.known.ends(no, file, None);
        for twin in &file.twins {
            if self.is_pipeline_closed || self.is_closed {
                self.leave(*twin);
            } else {
                self.line_up(*twin);
            }
        }
    }
}
