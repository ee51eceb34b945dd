//! Random operations on an object pool by three threads that act one after the other, two bytes a
//! step. After every step the counts must be exact and the bound kept; no value may be out twice;
//! in the end no value may live that nobody holds.
//!
//! Shared with the fuzz target of the same name, whose seeds run here.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use headworks::ObjectPool;
use headworks::object_pool::{ObjectPoolConfig, OwnedPooled};

/// Values that live, and whether each is out.
type Live = Arc<Mutex<HashMap<u64, bool>>>;

/// What happens to a value as it comes back, and when it is looked at again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    Refused,
    PanicsInReset,
    PanicsInDrop,
    Invalid,
}

const FATES: [Fate; 5] =
    [Fate::Kept, Fate::Refused, Fate::PanicsInReset, Fate::PanicsInDrop, Fate::Invalid];

struct Value {
    number: u64,
    fate: Fate,
    live: Live,
}

impl Drop for Value {
    fn drop(&mut self) {
        let known = self.live.lock().unwrap_or_else(|e| e.into_inner()).remove(&self.number);
        assert!(known.is_some(), "{} is dropped twice", self.number);
        if self.fate == Fate::PanicsInDrop {
            std::panic::resume_unwind(Box::new("the drop"));
        }
    }
}

type Pool = Arc<ObjectPool<Value>>;
type Guard = OwnedPooled<Value>;
type Job = Box<dyn FnOnce() + Send>;

/// A thread that does one thing after the other.
struct Hand {
    jobs: SyncSender<Job>,
    done: Receiver<()>,
    thread: JoinHandle<()>,
}

impl Hand {
    fn new() -> Self {
        let (jobs, todo) = sync_channel::<Job>(1);
        let (tell, done) = sync_channel(1);
        let thread = thread::spawn(move || {
            for job in todo {
                job();
                tell.send(()).expect("somebody waits");
            }
        });
        Self { jobs, done, thread }
    }

    /// Has it done, and waits until it is. A panic in there is a panic here.
    fn run<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> R {
        let (tell, told) = sync_channel(1);
        self.jobs
            .send(Box::new(move || tell.send(job()).expect("room for one")))
            .expect("it lives");
        let result = told.recv().expect("it did not panic");
        self.done.recv().expect("it lives");
        result
    }

    fn end(self) {
        drop(self.jobs);
        self.thread.join().expect("it did not panic");
    }
}

fn pool(max_idle: u8, floor: u8, live: &Live) -> Pool {
    let max_idle = 1 + usize::from(max_idle % 100);
    let config = ObjectPoolConfig::default()
        .with_max_idle(max_idle)
        .with_floor(usize::from(floor) % (max_idle + 1))
        .with_trim_after(Duration::from_millis(1));
    let (numbers, live) = (Mutex::new(0..), Arc::clone(live));
    let create = move || {
        let number = numbers.lock().unwrap_or_else(|e| e.into_inner()).next().expect("no end");
        live.lock().unwrap_or_else(|e| e.into_inner()).insert(number, false);
        Value { number, fate: Fate::Kept, live: Arc::clone(&live) }
    };
    let reset = |value: &mut Value| match value.fate {
        Fate::PanicsInReset => std::panic::resume_unwind(Box::new("the reset")),
        fate => fate != Fate::Refused,
    };
    let pool = ObjectPool::with_config(config, create, reset).expect("in range");
    Arc::new(pool.with_validate(|value| value.fate != Fate::Invalid))
}

/// Runs the steps, and panics where something does not hold.
pub(crate) fn run(steps: &[u8]) {
    let (steps, _) = steps.as_chunks::<2>();
    let Some((&[max_idle, floor], steps)) = steps.split_first() else { return };
    let live = Live::default();
    let mut world = World {
        pool: pool(max_idle, floor, &live),
        most: 1 + u64::from(max_idle % 100),
        hands: (0..3).map(|_| Hand::new()).collect(),
        guards: Vec::new(),
        live,
    };
    for &[what, which] in steps.iter().take(500) {
        world.step(what, usize::from(which));
        world.check();
    }
    world.end();
}

struct World {
    pool: Pool,
    most: u64,
    hands: Vec<Hand>,
    guards: Vec<Guard>,
    live: Live,
}

impl World {
    fn step(&mut self, what: u8, which: usize) {
        let hand = usize::from(what) % 3;
        let pool = Arc::clone(&self.pool);
        match what / 3 % 16 {
            0..=4 => self.take(hand),
            5..=8 => self.give(hand, which, Fate::Kept),
            9 => self.give(hand, which, FATES[which % FATES.len()]),
            10 => (0..which % 70).for_each(|_| self.take(hand)),
            11 => (0..which % 70).for_each(|at| self.give(hand, at, Fate::Kept)),
            12 => self.give_in_panic(hand, which),
            13 => {
                if let Some(guard) = self.remove(which) {
                    let mut value = self.hands[hand].run(|| guard.detach());
                    value.fate = Fate::Kept;
                    self.hands[(hand + 1) % 3].run(|| drop(value));
                }
            }
            14 => self.hands[hand].run(move || pool.trim()),
            _ => std::mem::replace(&mut self.hands[hand], Hand::new()).end(),
        }
    }

    fn take(&mut self, hand: usize) {
        let pool = Arc::clone(&self.pool);
        let guard = self.hands[hand].run(move || pool.take_owned());
        let mut live = self.live.lock().unwrap();
        assert_eq!(live.insert(guard.number, true), Some(false), "it lived, and was not out");
        assert!(guard.fate != Fate::Invalid);
        self.guards.push(guard);
    }

    fn remove(&mut self, which: usize) -> Option<Guard> {
        let which = which.checked_rem(self.guards.len())?;
        let guard = self.guards.swap_remove(which);
        self.live.lock().unwrap().insert(guard.number, false);
        Some(guard)
    }

    fn give(&mut self, hand: usize, which: usize, fate: Fate) {
        let Some(mut guard) = self.remove(which) else { return };
        guard.fate = fate;
        self.hands[hand].run(|| drop(guard));
    }

    fn give_in_panic(&mut self, hand: usize, which: usize) {
        let Some(guard) = self.remove(which) else { return };
        let before = self.pool.snapshot().dropped_by_panic;
        self.hands[hand].run(|| {
            let unwound = catch_unwind(AssertUnwindSafe(|| {
                let _guard = guard;
                // As a panic that nobody has reported.
                std::panic::resume_unwind(Box::new("half-way"));
            }));
            assert!(unwound.is_err());
        });
        assert_eq!(self.pool.snapshot().dropped_by_panic, before + 1);
    }

    fn check(&self) {
        let look = self.pool.snapshot();
        let ended = look.kept + look.dropped() + look.detached;
        assert_eq!(look.hits + look.misses, ended + look.outstanding, "{look:?}");
        let left = look.dropped_by_validate + look.trimmed;
        assert_eq!(look.kept, look.hits + left + look.idle, "{look:?}");
        assert_eq!(look.outstanding, self.guards.len() as u64, "{look:?}");
        let live = self.live.lock().unwrap().len() as u64;
        assert_eq!(live, look.outstanding + look.idle, "{look:?}");
        assert!(look.idle <= self.most, "{look:?}");
    }

    fn end(mut self) {
        self.guards.clear();
        self.hands.into_iter().for_each(Hand::end);
        drop(self.pool);
        assert!(self.live.lock().unwrap().is_empty(), "nobody holds these");
    }
}
