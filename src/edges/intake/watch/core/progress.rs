//! What becomes of a file that was taken, and of its documents.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use super::{Core, DISK, Told, trouble};
use crate::edges::intake::Rejected;
use crate::edges::intake::watch::file::{Document, File, Stage, State};
use crate::edges::intake::watch::finish::Finished;
use crate::edges::intake::watch::folder::Shape;
use crate::edges::intake::watch::line::{DocumentNo, FileNo};
use crate::edges::intake::watch::status::End;
use crate::edges::intake::watch::take::{Hash, Taken};
use crate::edges::intake::watch::waiting::Ready;
use crate::ground::time::{self, Instant};
use crate::{Ending, Intent, Reason};

/// A file that could not be read so often, though it is there, has failed.
const READS: u32 = 8;

impl<P> Core<P> {
    /// The name it gets in `processing`.
    pub(in crate::edges::intake::watch) fn claims(&mut self, no: FileNo, claimed: Arc<OsStr>) {
        if let Some(file) = self.files.get_mut(&no) {
            file.claimed = claimed;
        }
    }

    /// `own`: the name under which it waited, where it was to be claimed.
    pub(in crate::edges::intake::watch) fn taken(
        &mut self,
        no: FileNo,
        own: Option<Arc<OsStr>>,
        taken: Taken<Intent<P>>,
        now: Instant,
    ) {
        self.working -= 1;
        self.taking.remove(&no);
        if let Some(own) = &own {
            self.waiting.released(own);
        }
        let Some(file) = self.files.get_mut(&no) else { return };
        if !matches!(taken, Taken::Blocked { .. }) && own.is_some() {
            self.trouble_in = None;
        }
        match taken {
            Taken::Gone => self.forget(no),
            Taken::Blocked { why } => {
                trouble(&mut self.trouble_in, why, now);
                if let (Some(file), Some(name)) = (self.files.remove(&no), own) {
                    let is_closed = file.is_trusted;
                    self.waiting.put_back(Ready { name, since: file.since, is_closed });
                }
            }
            Taken::Unread { .. } | Taken::Refused { .. } if !file.documents.is_empty() => {
                self.give_up_lost(no);
            }
            Taken::Unread { why } if file.failures >= READS => {
                file.reason = Some(why);
                self.end(no);
            }
            Taken::Unread { .. } => {
                file.failures += 1;
                let after = DISK.ceiling(file.failures);
                self.again(no, after, now);
            }
            Taken::Unsettled { bytes } => {
                let after = self.rules.patience.settle(bytes);
                self.again(no, after, now);
            }
            Taken::Refused { shape, reason } => {
                file.shape = Some(shape);
                file.reason = Some(reason);
                self.end(no);
            }
            Taken::Read { shape, hash, documents } => self.read(no, shape, hash, documents, now),
        }
    }

    fn read(
        &mut self,
        no: FileNo,
        shape: Shape,
        hash: Hash,
        read: Vec<Result<Intent<P>, Rejected>>,
        now: Instant,
    ) {
        let Some(file) = self.files.get_mut(&no) else { return };
        file.failures = 0;
        file.stage = Stage::Live;
        if !file.documents.is_empty() {
            let is_same = file.hash == Some(hash) && file.documents.len() == read.len();
            return if is_same { self.fill_in(no, read) } else { self.give_up_lost(no) };
        }
        let is_new = file.hash.replace(hash) != Some(hash);
        file.shape = Some(shape);
        file.documents = read.into_iter().map(Document::new).collect();
        if !file.is_trusted && file.is_rejected() {
            // Somebody may still be writing it.
            file.is_trusted = !is_new;
            if is_new {
                file.documents.clear();
                file.stage = Stage::Again;
                let doubt = self.rules.doubt;
                return self.again(no, doubt, now);
            }
        }
        file.is_trusted = true;
        if self.known.has_ended(file, now) {
            file.is_duplicate = true;
            for document in &mut file.documents {
                if let State::Waiting(_) = document.state {
                    let completed = Ending::Completed;
                    let end = End::Ran { ending: completed, phase: None, error: None };
                    document.state = State::Ended(end);
                }
            }
            return self.settle(no);
        }
        if let Some(first) = self.known.live(file)
            && let Some(twin) = self.files.get_mut(&first)
            && first != no
        {
            twin.twins.push(no);
            if let Some(file) = self.files.get_mut(&no) {
                file.stage = Stage::Twin;
            }
            return;
        }
        self.line_up(no);
    }

    /// It was read again for what the pipeline gave to somebody else.
    fn fill_in(&mut self, no: FileNo, read: Vec<Result<Intent<P>, Rejected>>) {
        let Some(file) = self.files.get_mut(&no) else { return };
        for (index, (document, read)) in file.documents.iter_mut().zip(read).enumerate() {
            let (State::Lost, Ok(intent)) = (&document.state, read) else { continue };
            let Some(standing) = &document.standing else { continue };
            if self.known.is_outdone(no, document) {
                document.state = State::Ended(End::Superseded);
            } else {
                document.state = State::Waiting(intent);
                self.line.enter((no, index), standing);
            }
        }
        // Some may have been lost since it began to be read.
        self.give_up_lost(no);
    }

    /// What was lost is there no more; if something else is, it is run when this has ended.
    fn give_up_lost(&mut self, no: FileNo) {
        let Some(file) = self.files.get_mut(&no) else { return };
        file.stage = Stage::Live;
        for document in &mut file.documents {
            if matches!(document.state, State::Lost) {
                document.state = State::Ended(End::Superseded);
            }
        }
        self.settle(no);
    }

    /// Its documents are to be told to the pipeline.
    fn line_up(&mut self, no: FileNo) {
        let Some(file) = self.files.get_mut(&no) else { return };
        file.stage = Stage::Live;
        self.known.begins(no, file);
        for (index, document) in file.documents.iter_mut().enumerate() {
            let (State::Waiting(_), Some(standing)) = (&document.state, &document.standing) else {
                continue;
            };
            if self.known.is_outdone(no, document) {
                document.state = State::Ended(End::Superseded);
            } else {
                self.line.enter((no, index), standing);
            }
        }
        self.settle(no);
    }

    /// The pipeline has it.
    pub(in crate::edges::intake::watch) fn admitted(
        &mut self,
        (no, index): DocumentNo,
    ) -> Option<Instant> {
        self.submitted += 1;
        self.counts.admitted += 1;
        self.line.admitted();
        let file = self.files.get_mut(&no)?;
        let since = file.since;
        let document = file.documents.get_mut(index)?;
        document.state = State::Submitted;
        let (standing, generation) = (document.standing.clone()?, document.generation);
        self.known.admitted(no, &standing.key);
        // What is older and comes later would undo it.
        for older in self.line.older(&standing.key, (no, index)) {
            self.supersede(older, generation);
        }
        Some(since)
    }

    fn supersede(&mut self, (no, index): DocumentNo, by: Option<u64>) {
        let Some(file) = self.files.get_mut(&no) else { return };
        let Some(document) = file.documents.get_mut(index) else { return };
        // Versions are the pipeline's matter.
        if by.is_some() && document.generation >= by {
            return;
        }
        if let Some(standing) = &document.standing {
            self.line.leave((no, index), standing);
        }
        document.state = State::Ended(End::Superseded);
        self.settle(no);
    }

    /// The pipeline did not take it.
    pub(in crate::edges::intake::watch) fn refused(
        &mut self,
        (no, index): DocumentNo,
        intent: Intent<P>,
        (reason, after): (Reason, Option<Duration>),
        now: Instant,
    ) {
        self.counts.refusals += 1;
        self.is_pipeline_closed |= reason == Reason::Closed;
        let Some(document) = self.document((no, index)) else { return };
        if reason.is_retryable() || reason == Reason::Closed {
            document.state = State::Waiting(intent);
            if let Some(standing) = document.standing.clone() {
                self.line.enter((no, index), &standing);
                self.line.refused(&standing, reason, after, now);
            }
        } else {
            document.state = State::Ended(End::Refused(reason));
        }
        if self.is_pipeline_closed {
            let all: Vec<FileNo> = self.files.keys().copied().collect();
            all.into_iter().for_each(|no| self.settle(no));
        } else {
            self.settle(no);
        }
    }

    /// It has ended in the pipeline.
    pub(in crate::edges::intake::watch) fn told(
        &mut self,
        (no, index): DocumentNo,
        told: Told<P>,
        now: Instant,
    ) {
        self.submitted -= 1;
        self.line.room_came_free();
        let Some(document) = self.document((no, index)) else { return };
        let Told { ending, phase, error, intent, is_unkept } = told;
        let comes_back =
            is_unkept || matches!(ending, Ending::Evicted | Ending::Returned | Ending::Cancelled);
        if !comes_back {
            document.state = State::Ended(End::Ran { ending, phase, error });
            return self.settle(no);
        }
        let standing = document.standing.clone();
        let is_here = intent.is_some();
        document.state = intent.map_or(State::Lost, State::Waiting);
        if self.is_outdone((no, index)) {
            return self.supersede((no, index), None);
        }
        if let Some(standing) = standing {
            let reason = if is_unkept { Reason::NotPersisted } else { Reason::Evicted };
            self.line.refused(&standing, reason, None, now);
            if is_here {
                self.line.enter((no, index), &standing);
            }
        }
        if !is_here && self.files.get(&no).is_some_and(|file| file.stage == Stage::Live) {
            self.again(no, Duration::ZERO, now);
        }
        self.settle(no);
    }

    fn is_outdone(&self, (no, index): DocumentNo) -> bool {
        let document = self.files.get(&no).and_then(|file| file.documents.get(index));
        document.is_some_and(|document| self.known.is_outdone(no, document))
    }

    pub(super) fn document(&mut self, (no, index): DocumentNo) -> Option<&mut Document<P>> {
        self.files.get_mut(&no)?.documents.get_mut(index)
    }

    /// One of its documents has gone on: perhaps all have ended, or nothing of it can in this life.
    fn settle(&mut self, no: FileNo) {
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
        let Some(of) = self.files.get(&first).filter(|file| file.is_lasting()) else {
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
    fn end(&mut self, no: FileNo) -> Vec<FileNo> {
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
                    let lasts = time::later(now, self.rules.dedup_window);
                    self.known.ends(no, &file, lasts.filter(|_| file.is_lasting()));
                    self.counts.ended(file.status().state, file.is_duplicate);
                }
            }
            Finished::Changed => {
                self.counts.changed_late += 1;
                if let Some(mut file) = self.files.remove(&no) {
                    self.known.ends(no, &file, None);
                    // It is another content now, and the newest.
                    file = File::new(file.claimed, now, false);
                    self.last += 1;
                    self.files.insert(self.last, file);
                    let after = self.rules.patience.settle_small;
                    self.again(self.last, after, now);
                }
            }
            Finished::Blocked { why } => {
                trouble(&mut self.trouble_out, why, now);
                if let Some(file) = self.files.get_mut(&no) {
                    file.stage = Stage::Ended;
                    self.ended.push_back(no);
                }
            }
        }
    }

    fn again(&mut self, no: FileNo, after: Duration, now: Instant) {
        if let Some(file) = self.files.get_mut(&no) {
            file.stage = Stage::Again;
            self.again.insert((time::later(now, after).unwrap_or(now), no));
        }
    }

    /// It is not there any more.
    fn forget(&mut self, no: FileNo) {
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
