//! What the files are called.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::format::{SEED, hash};

/// The end of every page's name.
pub(super) const PAGE: &str = ".checkpoint";
/// The end of the name of one that is being written.
pub(super) const PART: &str = ".checkpoint.part";

/// How much of a key stands in a name.
const SHOWN: usize = 80;

/// Which key has which file. Names are compared as a disk does that does not tell cases apart: they
/// are all in lower case.
#[derive(Debug, Default)]
pub(super) struct Names {
    by_key: HashMap<Arc<str>, String>,
    taken: HashSet<String>,
}

impl Names {
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.by_key.get(key).map(String::as_str)
    }

    /// A file that was found. `false`: the key has one already.
    pub(super) fn found(&mut self, key: &Arc<str>, name: &str) -> bool {
        if self.by_key.contains_key(key) {
            return false;
        }
        self.taken.insert(name.to_owned());
        self.by_key.insert(Arc::clone(key), name.to_owned());
        true
    }

    /// A file that can't be read: no key gets its name.
    pub(super) fn avoid(&mut self, name: &str) {
        self.taken.insert(name.to_owned());
    }

    /// The key's file, from now on if it has none.
    pub(super) fn of(&mut self, key: &str) -> &str {
        let Self { by_key, taken } = self;
        by_key.entry(key.into()).or_insert_with(|| {
            let first = plain(key);
            let others = (2_u64..).map(|n| format!("{first}-{n}"));
            let names = std::iter::once(first.clone()).chain(others);
            let free = names.map(|name| name + PAGE).find(|name| !taken.contains(name));
            // There are more numbers than files.
            let name = free.unwrap_or(first);
            taken.insert(name.clone());
            name
        })
    }

    pub(super) fn forget(&mut self, key: &str) {
        if let Some(name) = self.by_key.remove(key) {
            self.taken.remove(&name);
        }
    }
}

/// As much of a key as can stand in a name, and its hash.
fn plain(key: &str) -> String {
    let shown = key.chars().take(SHOWN).map(|c| match c {
        'a'..='z' | '0'..='9' | '-' => c,
        'A'..='Z' => c.to_ascii_lowercase(),
        _ => '_',
    });
    let shown: String = shown.collect();
    format!("{shown}-{:016x}", hash(SEED, key.as_bytes()))
}
