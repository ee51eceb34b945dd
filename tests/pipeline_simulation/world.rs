//! What is seen from outside of the pipeline, and what of it is wrong.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use super::rng::Rng;

/// Words for what came up.
pub(crate) type Met = BTreeSet<String>;

/// What a run's phases did: by the number of its intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Done(usize),
    Undoing(usize),
}

#[derive(Default)]
pub(crate) struct World {
    /// Of the phases.
    pub(crate) rng: Mutex<Rng>,
    /// Nothing fails any more.
    pub(crate) is_calm: AtomicBool,
    pub(crate) is_paused: AtomicBool,
    /// Keys inside an attempt.
    inside: Mutex<HashSet<String>>,
    /// Keys of which something was undone in this life: that does not yield.
    pub(crate) undone: Mutex<HashSet<String>>,
    /// Keys whose last phase was done in this life, which is their end where that is durable.
    pub(crate) done: Mutex<HashSet<String>>,
    /// Intents in the order of their first attempts.
    pub(crate) started: Mutex<Vec<u64>>,
    /// Since this life began.
    pub(crate) journal: Mutex<BTreeMap<u64, Vec<Event>>>,
    /// Attempts of the phase behind the egress limiter, since this life began.
    pub(crate) sent: AtomicUsize,
    /// Durable phases whose outputs were on disk when a life ended.
    pub(crate) kept: Mutex<HashMap<u64, Vec<String>>>,
    pub(crate) wrong: Mutex<Vec<String>>,
    pub(crate) met: Mutex<Met>,
    /// Payloads that live, by number.
    pub(crate) loads: Mutex<BTreeMap<u64, i32>>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        let world = Arc::new(Self { rng: Mutex::new(Rng(!seed)), ..Self::default() });
        WORLD.set(Some(Arc::clone(&world)));
        world
    }

    pub(crate) fn complain(&self, what: impl Into<String>) {
        self.wrong.lock().unwrap().push(what.into());
    }

    pub(crate) fn claim(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.complain(what());
        }
    }

    pub(crate) fn meet(&self, what: impl Into<String>) {
        self.met.lock().unwrap().insert(what.into());
    }

    pub(crate) fn note(&self, id: u64, event: Event) {
        self.journal.lock().unwrap().entry(id).or_default().push(event);
    }

    /// Payloads that somebody still has.
    pub(crate) fn alive(&self) -> Vec<u64> {
        let loads = self.loads.lock().unwrap();
        loads.iter().filter(|(_, alive)| **alive != 0).map(|(id, _)| *id).collect()
    }

    /// An attempt begins.
    pub(crate) fn begins(&self, key: &str) {
        let is_paused = self.is_paused.load(Ordering::Relaxed);
        self.claim(!is_paused, || format!("{key} begins while the pipeline is paused"));
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.is_calm.load(Ordering::Relaxed)
    }

    pub(crate) fn below(&self, n: u64) -> u64 {
        self.rng.lock().unwrap().below(n)
    }

    /// One life is over: what it did is forgotten.
    pub(crate) fn turn_over(&self) {
        self.inside.lock().unwrap().clear();
        self.undone.lock().unwrap().clear();
        self.done.lock().unwrap().clear();
        self.journal.lock().unwrap().clear();
        self.sent.store(0, Ordering::Relaxed);
        self.is_paused.store(false, Ordering::Relaxed);
    }
}

thread_local! {
    /// Where payloads that come from the disk belong.
    static WORLD: RefCell<Option<Arc<World>>> = const { RefCell::new(None) };
}

/// A payload, and what goes from phase to phase. Some panic when they are dropped, unless disarmed.
#[derive(Serialize)]
pub(crate) struct Load {
    pub(crate) id: u64,
    pub(crate) key: String,
    /// So that some pages are too large.
    ballast: String,
    #[serde(skip)]
    pub(crate) armed: AtomicBool,
    #[serde(skip)]
    pub(crate) world: Arc<World>,
}

impl Load {
    pub(crate) fn new(id: u64, key: &str, is_bomb: bool, world: &Arc<World>) -> Self {
        *world.loads.lock().unwrap().entry(id).or_default() += 1;
        let ballast = if id % 23 == 7 { "x".repeat(500) } else { String::new() };
        let (armed, key, world) = (AtomicBool::new(is_bomb), key.to_owned(), Arc::clone(world));
        Self { id, key, ballast, armed, world }
    }

    pub(crate) fn disarm(&self) {
        self.armed.store(false, Ordering::Relaxed);
    }
}

impl<'de> Deserialize<'de> for Load {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Plain {
            id: u64,
            key: String,
        }
        let Plain { id, key } = Plain::deserialize(from)?;
        let world = WORLD.with_borrow(|world| Arc::clone(world.as_ref().unwrap()));
        Ok(Self::new(id, &key, false, &world))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        *self.world.loads.lock().unwrap().get_mut(&self.id).unwrap() -= 1;
        if self.armed.load(Ordering::Relaxed) && !std::thread::panicking() {
            std::panic::panic_any("a bomb");
        }
    }
}

/// What the first phase makes of a payload: it may panic when it is dropped, too.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Made(pub(crate) Arc<Load>);

/// The key is inside for as long as this lives.
pub(crate) struct Inside<'a> {
    world: &'a World,
    key: String,
}

impl<'a> Inside<'a> {
    pub(crate) fn enter(world: &'a World, key: &str) -> Self {
        // A pipeline that is told other keys than the true ones has them in front of the number.
        let key = key.split('#').next().unwrap_or(key).to_owned();
        if !world.inside.lock().unwrap().insert(key.clone()) {
            world.complain(format!("two runs of {key} at once"));
        }
        Self { world, key }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.world.inside.lock().unwrap().remove(&self.key);
    }
}
