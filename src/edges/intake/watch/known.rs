//! Which contents are the last word on their objects, so that the same again need not be run. Pure.
//!
//! A file is a duplicate if another one has the same bytes and nothing else was asked of any of its
//! objects since, here. So "5, then 3, then 5 again" ends with 5.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::file::{Document, File};
use super::line::FileNo;
use super::take::Hash;
use crate::ground::primitives::Hashing;
use crate::ground::time::Instant;

/// Objects whose last content is remembered after its end.
const MOST: usize = 16_384;

#[derive(Debug, Default)]
pub(super) struct Known {
    /// By object: of the files in flight the one that was read last, and the one that was accepted
    /// last.
    newest: HashMap<Arc<str>, FileNo, Hashing>,
    admitted: HashMap<Arc<str>, FileNo, Hashing>,
    /// By content: the file in flight.
    live: HashMap<Hash, FileNo, Hashing>,
    /// By object: the content that came to its end last, and how long that counts.
    ended: HashMap<Arc<str>, (Hash, Instant), Hashing>,
    until: VecDeque<(Instant, Arc<str>)>,
}

impl Known {
    /// A file in flight has the same content, and the last word.
    pub(super) fn live<P>(&self, file: &File<P>) -> Option<FileNo> {
        let first = *self.live.get(file.hash.as_ref()?)?;
        let has_last_word = |key: &Arc<str>| self.newest.get(key) == Some(&first);
        (file.keys().next().is_some() && file.keys().all(has_last_word)).then_some(first)
    }

    /// The same content has just come to a good end, and has the last word.
    pub(super) fn has_ended<P>(&mut self, file: &File<P>, now: Instant) -> bool {
        while let Some((_, key)) = self.until.front().filter(|(until, _)| *until <= now).cloned() {
            self.until.pop_front();
            if self.ended.get(&key).is_some_and(|(_, until)| *until <= now) {
                self.ended.remove(&key);
            }
        }
        let Some(hash) = file.hash else { return false };
        let has_last_word = |key: &Arc<str>| {
            let is_it = self.ended.get(key).is_some_and(|(it, _)| *it == hash);
            is_it && !self.newest.contains_key(key)
        };
        file.keys().next().is_some() && file.keys().all(has_last_word)
    }

    /// Its documents are to be run.
    pub(super) fn begins<P>(&mut self, no: FileNo, file: &File<P>) {
        for key in file.keys() {
            let newest = self.newest.entry(Arc::clone(key)).or_insert(no);
            *newest = (*newest).max(no);
            self.ended.remove(key);
        }
        if let Some(hash) = file.hash {
            self.live.insert(hash, no);
        }
    }

    pub(super) fn admitted(&mut self, no: FileNo, key: &Arc<str>) {
        let last = self.admitted.entry(Arc::clone(key)).or_insert(no);
        *last = (*last).max(no);
    }

    /// Whether something newer was accepted, so that this comes too late.
    pub(super) fn is_outdone<P>(&self, no: FileNo, document: &Document<P>) -> bool {
        // Versions are the pipeline's matter.
        let Some(standing) = document.standing.as_ref().filter(|_| document.generation.is_none())
        else {
            return false;
        };
        self.admitted.get(&standing.key).is_some_and(|last| *last > no)
    }

    /// It is in flight no more. `lasts`: what it came to counts until then.
    pub(super) fn ends<P>(&mut self, no: FileNo, file: &File<P>, lasts: Option<Instant>) {
        for key in file.keys() {
            if self.admitted.get(key) == Some(&no) {
                self.admitted.remove(key);
            }
            if self.newest.get(key) != Some(&no) {
                continue;
            }
            self.newest.remove(key);
            if let (Some(hash), Some(until)) = (file.hash, lasts)
                && self.until.len() < MOST
            {
                self.ended.insert(Arc::clone(key), (hash, until));
                self.until.push_back((until, Arc::clone(key)));
            }
        }
        if let Some(hash) = file.hash
            && self.live.get(&hash) == Some(&no)
        {
            self.live.remove(&hash);
        }
    }
}
