//! One object, one run at a time: which runs each key has, and what a new intent means for them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::run::RunId;
use crate::Ending;
use crate::ground::primitives::Hashing;
use crate::ground::time::Instant;

/// What is known of every key that has something live, and of the last ones that failed.
#[derive(Debug)]
pub(super) struct Keys {
    known: HashMap<Arc<str>, Key, Hashing>,
    /// Keys without a live run, by their stamps: oldest first. Apart, so that no crowd of those
    /// that went well drives out a backoff.
    failing: BTreeMap<u64, Arc<str>>,
    well: BTreeMap<u64, Arc<str>>,
    most_remembered: usize,
    /// How long a pause may be that doesn't break a row.
    pause: Duration,
    stamp: u64,
}

#[derive(Debug, Default)]
pub(super) struct Key {
    pub(super) current: Option<RunId>,
    /// Parked until the current run ends. At most one.
    pub(super) successor: Option<RunId>,
    /// Most keys have none, and are many.
    past: Option<Box<Past>>,
}

/// What a key's ended runs left.
#[derive(Debug, Default)]
struct Past {
    /// Rounds that used up their attempts since the last success.
    failures: u32,
    /// Runs that ended in a row with one content.
    row: Option<Row>,
    /// When it was remembered, while it is; else 0.
    stamp: u64,
}

impl Key {
    /// Rounds that used up their attempts since the last success.
    #[cfg(test)]
    pub(super) fn failures(&self) -> u32 {
        self.past.as_ref().map_or(0, |past| past.failures)
    }
}

/// Runs of a key that ended one after the other, all with this content.
#[derive(Clone, Copy, Debug)]
struct Row {
    content: u128,
    runs: u32,
    last: Instant,
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
    pub(super) fn new(most_remembered: usize, pause: Duration) -> Self {
        Self {
            known: HashMap::default(),
            failing: BTreeMap::new(),
            well: BTreeMap::new(),
            most_remembered,
            pause,
            stamp: 0,
        }
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
                if let Some(past) = &mut known.past {
                    self.failing.remove(&past.stamp);
                    self.well.remove(&past.stamp);
                    past.stamp = 0;
                }
            }
            Some(_) => known.successor = Some(run),
        }
    }

    /// A round used up its attempts: how many in a row now.
    pub(super) fn failed(&mut self, key: &Arc<str>) -> u32 {
        let known = self.known.entry(Arc::clone(key)).or_default();
        let past = known.past.get_or_insert_default();
        past.failures = past.failures.saturating_add(1);
        past.failures
    }

    /// A run of this version, accepted `since`, came to its end; a success resets the backoff. How many
    /// in a row had its content; 0 without one. How long it took itself is no pause.
    pub(super) fn came_round(
        &mut self,
        key: &str,
        ending: Ending,
        version: Version,
        since: Instant,
        now: Instant,
    ) -> u32 {
        let pause = self.pause;
        let Some(known) = self.known.get_mut(key) else { return 0 };
        if known.past.is_none() && version.content.is_none() {
            return 0;
        }
        let past = known.past.get_or_insert_default();
        if ending == Ending::Completed {
            past.failures = 0;
        }
        let runs = past.in_a_row(version, since, pause).saturating_add(1);
        past.row = version.content.map(|content| Row { content, runs, last: now });
        past.row.map_or(0, |row| row.runs)
    }

    /// How many runs in a row, up to the last, had this version's content.
    pub(super) fn in_a_row(&self, key: &str, version: Version, now: Instant) -> u32 {
        if version.content.is_none() {
            return 0;
        }
        let past = self.known.get(key).and_then(|known| known.past.as_ref());
        past.map_or(0, |past| past.in_a_row(version, now, self.pause))
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
        let past = self.known.get_mut(key).and_then(|known| known.past.as_mut());
        let past = past.filter(|past| past.failures > 0 || past.row.is_some());
        let Some(past) = past else {
            self.known.remove(key);
            return;
        };
        let memory = if past.failures == 0 { &mut self.well } else { &mut self.failing };
        self.stamp += 1;
        past.stamp = self.stamp;
        memory.insert(self.stamp, Arc::clone(key));
        if memory.len() > self.most_remembered
            && let Some((_, oldest)) = memory.pop_first()
        {
            self.known.remove(&oldest);
        }
    }
}

impl Past {
    /// How many runs in a row, up to the last, had this version's content.
    fn in_a_row(&self, version: Version, now: Instant, pause: Duration) -> u32 {
        let row = self.row.filter(|row| {
            Some(row.content) == version.content && now.saturating_duration_since(row.last) <= pause
        });
        row.map_or(0, |row| row.runs)
    }
}
