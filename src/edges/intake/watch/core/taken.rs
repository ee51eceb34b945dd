//! What becomes of a file once it was claimed, and read.

use std::ffi::OsStr;
use std::sync::Arc;

use super::{Core, DISK, restless, trouble};
use crate::edges::intake::Rejected;
use crate::edges::intake::watch::file::{Document, Kept, Stage, State};
use crate::edges::intake::watch::folder::Shape;
use crate::edges::intake::watch::line::FileNo;
use crate::edges::intake::watch::status::End;
use crate::edges::intake::watch::take::{Hash, Taken};
use crate::edges::intake::watch::waiting::Ready;
use crate::ground::quiet::drop_quietly;
use crate::ground::time::{self, Instant};
use crate::{Ending, Intent};

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
        let Some(file) = self.files.get_mut(&no) else { return drop_quietly(taken) };
        if let Some(own) = own.as_ref().filter(|_| !matches!(taken, Taken::Blocked { .. })) {
            self.trouble_in = None;
            self.stuck.remove(own);
            file.failures = 0;
        }
        match taken {
            Taken::Gone => self.forget(no),
            Taken::Blocked { why, is_of_one } => {
                let (Some(file), Some(name)) = (self.files.remove(&no), own) else { return };
                let failures = if is_of_one { file.failures.saturating_add(1) } else { 0 };
                let is_closed = file.is_trusted;
                let ready =
                    Ready { name: Arc::clone(&name), since: file.since, is_closed, failures };
                if is_of_one {
                    let due = time::later(now, DISK.ceiling(failures));
                    if self.waiting.set_aside(ready, due) {
                        self.stuck.insert(name, why);
                    }
                } else {
                    trouble(&mut self.trouble_in, why, now);
                    self.waiting.put_back(ready);
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
                file.changes = file.changes.saturating_add(1);
                let after = restless(self.rules.patience.settle(bytes), file.changes);
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
        let Some(file) = self.files.get_mut(&no) else { return drop_quietly(read) };
        file.failures = 0;
        file.stage = Stage::Live;
        if !file.documents.is_empty() {
            let is_same = file.hash == Some(hash) && file.documents.len() == read.len();
            if is_same {
                return self.fill_in(no, read);
            }
            drop_quietly(read);
            return self.give_up_lost(no);
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
        let Some(file) = self.files.get_mut(&no) else { return drop_quietly(read) };
        let read = read.into_iter().map(|read| read.ok().map(Kept::from));
        for (index, (document, read)) in file.documents.iter_mut().zip(read).enumerate() {
            let (State::Lost, Some(intent)) = (&document.state, read) else { continue };
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
    pub(super) fn line_up(&mut self, no: FileNo) {
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
}
