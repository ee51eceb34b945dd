//! What is to be done next, and when.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Command, Core, LOOKS, Trouble, is_held};
use crate::edges::intake::watch::file::{File, Stage, State};
use crate::edges::intake::watch::line::FileNo;
use crate::edges::intake::watch::waiting::Ready;
use crate::ground::time::Instant;

impl<P> Core<P> {
    pub(in crate::edges::intake::watch) fn next(&mut self, now: Instant) -> Option<Command<P>> {
        self.next_finish(now)
            .or_else(|| self.next_submit(now))
            .or_else(|| self.next_read(now))
            .or_else(|| if self.may_take(now) { self.next_from_directory(now) } else { None })
    }

    /// The earliest time at which something is to be done that is not now.
    ///
    /// What was due and did not happen waits for work to end, or for a trouble to pass.
    pub(in crate::edges::intake::watch) fn due(&self, now: Instant) -> Option<Instant> {
        let first = |of: &BTreeSet<(Instant, FileNo)>| of.first().map(|(due, _)| *due);
        let again = [first(&self.again), first(&self.ended_later)];
        let until = |trouble: &Option<Trouble>| trouble.as_ref().map(|trouble| trouble.until);
        let troubles = [until(&self.trouble_in), until(&self.trouble_out)];
        let waiting = [self.waiting.due(), self.next_scan];
        let waiting = if self.is_closed { [None; 2] } else { waiting };
        let all = again.into_iter().chain([self.line.due(now)]).chain(troubles).chain(waiting);
        all.flatten().filter(|due| *due > now).min()
    }

    fn next_finish(&mut self, now: Instant) -> Option<Command<P>> {
        if self.working >= self.rules.workers || is_held(&self.trouble_out, now) {
            return None;
        }
        let is_due = |later: &&(Instant, FileNo)| later.0 <= now;
        while let Some(later) = self.ended_later.first().filter(is_due).copied() {
            self.ended_later.remove(&later);
            self.ended.push_back(later.1);
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
        let no = self.line.next(barrier, now)?;
        let document = self.document(no)?;
        let standing = document.standing.clone()?;
        let intent = match std::mem::replace(&mut document.state, State::Submitted) {
            State::Waiting(intent) => intent.take(),
            // Nothing else stands in the line.
            other => {
                document.state = other;
                self.line.leave(no, &standing);
                return None;
            }
        };
        self.line.leave(no, &standing);
        intent.map(|intent| Command::Submit(no, intent))
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
                let Ready { name, since, is_closed, failures } = self.waiting.take()?;
                File { failures, ..File::new(name, since, is_closed) }
            }
        };
        self.last += 1;
        let (no, name) = (self.last, Arc::clone(&file.claimed));
        self.files.insert(no, file);
        self.taking.insert(no);
        self.working += 1;
        Some(if is_left { Command::Read(no, name) } else { Command::Claim(no, name) })
    }
}
