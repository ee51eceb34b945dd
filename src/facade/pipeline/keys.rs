//! One object, one run at a time: which runs each key has, and what a new intent means for them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::run::RunId;

/// What is known of every key that has something live, and of the last ones that failed.
#[derive(Debug)]
pub(super) struct Keys {
    known: HashMap<Arc<str>, Key>,
    /// Keys without a live run whose backoff is remembered, by their stamps: oldest first.
    remembered: BTreeMap<u64, Arc<str>>,
    most_remembered: usize,
    stamp: u64,
}

#[derive(Debug, Default)]
pub(super) struct Key {
    pub(super) current: Option<RunId>,
    /// Parked until the current run ends. At most one.
    pub(super) successor: Option<RunId>,
    /// Rounds that used up their attempts since the last success.
    pub(super) failures: u32,
    /// When it was remembered, while it is; else 0.
    stamp: u64,
}

/// A version of an object, as far as its author said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) generation: Option<u64>,
    pub(super) content: Option<u128>,
}

/// What a new version is to a live one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Same,
    Conflicting,
    Older,
    /// Newer, or there is no telling: the last one said wins.
    Newer,
}

impl Version {
    pub(super) fn beside(self, live: Self) -> Relation {
        match (self.generation, live.generation) {
            (Some(new), Some(old)) if new < old => Relation::Older,
            (Some(new), Some(old)) if new == old => {
                let same = self.content.is_some() && self.content == live.content;
                if same { Relation::Same } else { Relation::Conflicting }
            }
            _ => Relation::Newer,
        }
    }
}

impl Keys {
    pub(super) fn new(most_remembered: usize) -> Self {
        Self { known: HashMap::new(), remembered: BTreeMap::new(), most_remembered, stamp: 0 }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Key> {
        self.known.get(key)
    }

    /// A run of this key was admitted: the current one, or its successor.
    pub(super) fn add(&mut self, key: &Arc<str>, run: RunId) {
        let known = self.known.entry(Arc::clone(key)).or_default();
        match known.current {
            None => {
                known.current = Some(run);
                if known.stamp != 0 {
                    self.remembered.remove(&known.stamp);
                    known.stamp = 0;
                }
            }
            Some(_) => known.successor = Some(run),
        }
    }

    /// A round used up its attempts: how many in a row now.
    pub(super) fn failed(&mut self, key: &Arc<str>) -> u32 {
        let known = self.known.entry(Arc::clone(key)).or_default();
        known.failures = known.failures.saturating_add(1);
        known.failures
    }

    /// A success resets the backoff.
    pub(super) fn succeeded(&mut self, key: &str) {
        if let Some(known) = self.known.get_mut(key) {
            known.failures = 0;
        }
    }

    /// A run has ended. Its successor, if it was the current one: to be queued now.
    pub(super) fn ended(&mut self, key: &Arc<str>, run: RunId) -> Option<RunId> {
        let known = self.known.get_mut(key)?;
        if known.successor == Some(run) {
            known.successor = None;
        } else if known.current == Some(run) {
            known.current = known.successor.take();
            if known.current.is_none() {
                self.forget_or_remember(key);
                return None;
            }
            return known.current;
        }
        None
    }

    fn forget_or_remember(&mut self, key: &Arc<str>) {
        let Some(known) = self.known.get_mut(key) else { return };
        if known.failures == 0 {
            self.known.remove(key);
            return;
        }
        self.stamp += 1;
        known.stamp = self.stamp;
        self.remembered.insert(self.stamp, Arc::clone(key));
        if self.remembered.len() > self.most_remembered
            && let Some((_, oldest)) = self.remembered.pop_first()
        {
            self.known.remove(&oldest);
        }
    }
}
