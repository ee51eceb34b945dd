//! Any number of callers that come, are polled when they are woken, and leave, in any order: no key
//! has two loads at once, and nobody waits for ever. A runtime by hand.

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
    gates: Mutex<BTreeMap<u32, (u32, Gate)>>,
    begun: AtomicUsize,
}

/// A load; its drop takes it out of the world.
struct Load(Arc<World>, u32);

impl Load {
    fn begin(world: &Arc<World>, key: u32) -> Self {
        let number = world.begun.fetch_add(1, Ordering::Relaxed) as u32;
        let mut gates = world.gates.lock().unwrap();
        assert!(gates.values().all(|(of, _)| *of != key), "two loads of one key");
        gates.insert(number, (key, Gate::default()));
        Self(Arc::clone(world), number)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.gates.lock().unwrap().remove(&self.1);
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
            Some(End::Value) => Poll::Ready(Ok(self.1)),
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
        let future: Boxed<()> = Box::pin(async move {
            if leads {
                if let Lookup::Lead(lead) = cache.get_or_lead(&key).await {
                    match Load::begin(&world, key).await {
                        Ok(value) => lead.finish(value),
                        Err(error) => drop(lead.fail(error)),
                    }
                }
            } else {
                let _ = cache.get_or_load(&key, || Load::begin(&world, key)).await;
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
        prop_assert!(sim.callers.is_empty(), "{} wait and nobody wakes them", sim.callers.len());
        prop_assert_eq!(sim.cache.table.flights.lock().by_key.len(), 0);
        let seen = sim.cache.snapshot();
        prop_assert_eq!(seen.loading, 0);
        let ended = seen.loaded + seen.failed + seen.abandoned;
        // A lead that was dropped before its load began is one more.
        prop_assert!(ended >= sim.world.begun.load(Ordering::Relaxed) as u64);
    }
}
