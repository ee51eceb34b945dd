//! Any number of callers that come, are polled when they are woken, and leave, in any order, while
//! their keys are set and removed: no key has two loads at once that are to be kept, who waits has what
//! was made while it waited, and nobody waits for ever. A runtime by hand.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use proptest::prelude::*;

use super::*;
use crate::ground::cases::cases;

const KEYS: u32 = 2;

#[derive(Clone, Copy, Debug)]
enum Op {
    Arrive {
        key: u32,
        leads: bool,
    },
    /// The nth of those that were woken.
    Poll(usize),
    Leave(usize),
    /// The nth of the loads makes a step, which wakes it.
    Step(usize),
    End(usize, End),
    /// What is loaded from now on is newer than what is being loaded.
    Remove(u32),
}

#[derive(Clone, Copy, Debug)]
enum End {
    Value,
    Error,
    Panic,
}

/// What the outside knows of one load.
#[derive(Default)]
struct Gate {
    waker: Option<Waker>,
    end: Option<End>,
}

#[derive(Default)]
struct World {
    /// Loads that live, by number.
    gates: Mutex<BTreeMap<u32, (Of, Gate)>>,
    begun: AtomicUsize,
    /// How often each key was removed.
    removed: Mutex<[u32; KEYS as usize]>,
    /// The last load of each key that a caller may not be given any more, as it ended before that
    /// one came.
    ended: Mutex<BTreeMap<u32, u32>>,
    /// A caller's panic is the load's, or caught like it.
    wrong: Mutex<Vec<String>>,
}

impl World {
    fn claim(&self, holds: bool, what: &str) {
        if !holds {
            self.wrong.lock().unwrap().push(what.to_owned());
        }
    }
}

/// A load's key, and how often that had been removed.
type Of = (u32, u32);

/// A load; its drop takes it out of the world.
struct Load(Arc<World>, u32, u32);

impl Load {
    fn begin(world: &Arc<World>, key: u32) -> Self {
        let number = world.begun.fetch_add(1, Ordering::Relaxed) as u32;
        let mut gates = world.gates.lock().unwrap();
        let of = (key, world.removed.lock().unwrap()[key as usize]);
        world.claim(gates.values().all(|(other, _)| *other != of), "two loads of one key");
        gates.insert(number, (of, Gate::default()));
        Self(Arc::clone(world), number, key)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.gates.lock().unwrap().remove(&self.1);
        let mut ended = self.0.ended.lock().unwrap();
        let last = ended.entry(self.2).or_default();
        *last = (*last).max(self.1);
    }
}

impl Future for Load {
    type Output = Result<u32, NoSuchThing>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut gates = self.0.gates.lock().unwrap();
        let (_, gate) = gates.get_mut(&self.1).unwrap();
        gate.waker = Some(cx.waker().clone());
        match gate.end {
            None => Poll::Pending,
            Some(End::Value) => Poll::Ready(Ok(KEYS * self.1 + self.2)),
            Some(End::Error) => Poll::Ready(Err(NoSuchThing)),
            Some(End::Panic) => {
                drop(gates);
                panic!("asked to")
            }
        }
    }
}

struct Caller {
    future: Boxed<()>,
    woken: Arc<Woken>,
}

struct Sim {
    cache: Cache<u32, u32>,
    world: Arc<World>,
    callers: Vec<Caller>,
}

impl Sim {
    fn arrive(&mut self, key: u32, leads: bool) {
        let (cache, world) = (self.cache.clone(), Arc::clone(&self.world));
        let before = world.ended.lock().unwrap().get(&key).copied();
        let future: Boxed<()> = Box::pin(async move {
            let known = if leads {
                match cache.get_or_lead(&key).await {
                    Lookup::Known(known) => known,
                    Lookup::Lead(lead) => match Load::begin(&world, key).await {
                        Ok(value) => return lead.finish(value),
                        Err(error) => return drop(lead.fail(error)),
                    },
                }
            } else {
                let begins = Arc::clone(&world);
                cache.get_or_load(&key, move || Load::begin(&begins, key)).await
            };
            if let Ok(value) = known {
                let (load, of) = (value / KEYS, value % KEYS);
                world.claim(of == key, "another key's value");
                let is_new = before.is_none_or(|before| load > before);
                world.claim(is_new, "a load that had ended before");
            }
        });
        let woken = Arc::new(Woken(AtomicUsize::new(1)));
        self.callers.push(Caller { future, woken });
    }

    /// Whether somebody was woken, and was polled.
    fn poll(&mut self, nth: usize) -> bool {
        let ready = |caller: &&usize| self.callers[**caller].woken.0.load(Ordering::Relaxed) > 0;
        let all: Vec<_> = (0..self.callers.len()).collect();
        let woken: Vec<_> = all.iter().filter(ready).copied().collect();
        let Some(&which) = woken.get(nth % woken.len().max(1)) else { return false };
        let caller = &mut self.callers[which];
        caller.woken.take();
        let waker = Waker::from(Arc::clone(&caller.woken));
        let mut cx = Context::from_waker(&waker);
        let polled = catch_unwind(AssertUnwindSafe(|| caller.future.as_mut().poll(&mut cx)));
        if !matches!(polled, Ok(Poll::Pending)) {
            self.callers.remove(which);
        }
        true
    }

    fn step(&self, nth: usize, end: Option<End>) {
        let waker = {
            let mut gates = self.world.gates.lock().unwrap();
            let so_many = gates.len().max(1);
            let Some((_, gate)) = gates.values_mut().nth(nth % so_many) else { return };
            gate.end = gate.end.or(end);
            gate.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Arrive { key, leads } => self.arrive(key, leads),
            Op::Poll(nth) => drop(self.poll(nth)),
            Op::Leave(nth) if !self.callers.is_empty() => {
                drop(self.callers.remove(nth % self.callers.len()));
            }
            Op::Leave(_) => {}
            Op::Remove(key) => {
                self.world.removed.lock().unwrap()[key as usize] += 1;
                self.cache.remove(&key);
            }
            Op::Step(nth) => self.step(nth, None),
            Op::End(nth, end) => self.step(nth, Some(end)),
        }
    }
}

fn op() -> impl Strategy<Value = Op> {
    let end = prop_oneof![4 => Just(End::Value), 1 => Just(End::Error), 1 => Just(End::Panic)];
    prop_oneof![
        3 => (0..KEYS, any::<bool>()).prop_map(|(key, leads)| Op::Arrive { key, leads }),
        8 => any::<usize>().prop_map(Op::Poll),
        2 => any::<usize>().prop_map(Op::Leave),
        2 => any::<usize>().prop_map(Op::Step),
        2 => (any::<usize>(), end).prop_map(|(nth, end)| Op::End(nth, end)),
        1 => (0..KEYS).prop_map(Op::Remove),
    ]
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn nobody_waits_for_ever_and_no_key_is_loaded_twice(ops in prop::collection::vec(op(), 1..80)) {
        // What is asked to panic says so on the way.
        // Nothing is kept, so that there is always something to load.
        let config = CacheConfig::default();
        let cache = Cache::builder(config).weigher(|_, _| u64::MAX >> 8).build().unwrap();
        let mut sim = Sim { cache, world: Arc::default(), callers: Vec::new() };
        ops.into_iter().for_each(|op| sim.run(op));
        while sim.poll(0) || !sim.world.gates.lock().unwrap().is_empty() {
            (0..8).for_each(|nth| sim.step(nth, Some(End::Value)));
        }
        prop_assert_eq!(&*sim.world.wrong.lock().unwrap(), &Vec::<String>::new());
        prop_assert!(sim.callers.is_empty(), "{} wait and nobody wakes them", sim.callers.len());
        prop_assert_eq!(sim.cache.table.flights.lock().by_key.len(), 0);
        let seen = sim.cache.snapshot();
        prop_assert_eq!(seen.loading, 0);
        let ended = seen.loaded + seen.failed + seen.abandoned;
        prop_assert_eq!(ended, sim.world.begun.load(Ordering::Relaxed) as u64);
    }
}
