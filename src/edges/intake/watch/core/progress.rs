//! What the pipeline says of a document.

use std::time::Duration;

use super::{Core, Told};
use crate::edges::intake::watch::file::{Document, Kept, Stage, State};
use crate::edges::intake::watch::line::{DocumentNo, FileNo};
use crate::edges::intake::watch::status::End;
use crate::ground::time::Instant;
use crate::{Ending, Intent, Reason};

impl<P> Core<P> {
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
        let intent = Kept::from(intent);
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
        if self.is_pipeline_closed { self.settle_all() } else { self.settle(no) }
    }

    /// The pipeline takes nothing more: what it has not is left.
    fn settle_all(&mut self) {
        let all: Vec<FileNo> = self.files.keys().copied().collect();
        all.into_iter().for_each(|no| self.settle(no));
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
        let Told { ending, phase, error, intent, is_unkept } = told;
        let intent = intent.map(Kept::from);
        // Only a pipeline that is shut down gives something back so.
        let has_closed = ending == Ending::Returned && !self.is_pipeline_closed;
        self.is_pipeline_closed |= has_closed;
        let Some(document) = self.document((no, index)) else { return };
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
        if has_closed { self.settle_all() } else { self.settle(no) }
    }

    fn is_outdone(&self, (no, index): DocumentNo) -> bool {
        let document = self.files.get(&no).and_then(|file| file.documents.get(index));
        document.is_some_and(|document| self.known.is_outdone(no, document))
    }

    pub(super) fn document(&mut self, (no, index): DocumentNo) -> Option<&mut Document<P>> {
        self.files.get_mut(&no)?.documents.get_mut(index)
    }
}
