//! D10 over an object pool: of each thing that a user's code does there, one time in a hundred panics,
//! on two threads at once. The counts are exact in the end, and no value is lost or kept twice.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;

use headworks::ObjectPool;
use headworks::object_pool::ObjectPoolConfig;

const STEPS: usize = 20_000;
const BOMB: &str = "a bomb of D10";

/// Goes off one time in a hundred.
#[derive(Default)]
struct Fuse(AtomicU64);

impl Fuse {
    fn burns(&self) {
        if self.0.fetch_add(1, Relaxed) % 100 == 41 {
            resume_unwind(Box::new(BOMB));
        }
    }
}

#[derive(Default)]
struct World {
    live: AtomicUsize,
    create: Fuse,
    reset: Fuse,
    validate: Fuse,
    drop: Fuse,
}

struct Value(Arc<World>);

impl Value {
    fn new(world: &Arc<World>) -> Self {
        world.create.burns();
        world.live.fetch_add(1, Relaxed);
        Self(Arc::clone(world))
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Relaxed);
        if !thread::panicking() {
            self.0.drop.burns();
        }
    }
}

#[test]
fn panics_leave_the_counts_exact_and_lose_no_value() {
    let world = Arc::new(World::default());
    let [made, reset, validated] = [(); 3].map(|()| Arc::clone(&world));
    let config = ObjectPoolConfig::default().with_max_idle(64);
    let create = move || Value::new(&made);
    let pool = ObjectPool::with_config(config, create, move |_| {
        reset.reset.burns();
        // Not all are kept, so that some are made and dropped all the time.
        reset.reset.0.load(Relaxed) % 7 != 0
    });
    let pool = pool.unwrap().with_validate(move |_| {
        validated.validate.burns();
        true
    });
    let use_it = |steps: usize| {
        let mut held = Vec::new();
        for n in 0..steps {
            let went = catch_unwind(AssertUnwindSafe(|| {
                held.push(pool.take());
                if n % 3 == 0 {
                    held.truncate(held.len() / 2);
                }
                if n % 100 == 97 {
                    // Half changed, as far as the pool knows.
                    let _mine = held.pop();
                    resume_unwind(Box::new(BOMB));
                }
            }));
            if let Err(payload) = went {
                assert_eq!(payload.downcast_ref(), Some(&BOMB), "nobody's but ours");
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| use_it(STEPS));
        }
    });
    let look = pool.snapshot();
    assert_eq!(look.outstanding, 0, "{look:?}");
    assert_eq!(look.hits + look.misses, look.kept + look.dropped() + look.detached, "{look:?}");
    assert_eq!(look.kept, look.hits + look.dropped_by_validate + look.trimmed + look.idle);
    assert_eq!(world.live.load(Relaxed) as u64, look.idle, "none is lost, and none is kept twice");
    assert!(look.idle <= 64 && look.hits > 1_000, "{look:?}");
    assert!(look.dropped_by_panic > 100 && look.dropped_by_validate > 10, "{look:?}");
    drop(pool);
    assert_eq!(world.live.load(Relaxed), 0);
}

/// The control: a list behind a lock that runs a user's code while it is held.
#[test]
fn control_a_list_that_resets_under_its_lock_is_lost_at_the_first_panic() {
    let (list, fuse) = (Mutex::new(Vec::new()), Fuse::default());
    let mut lost = 0;
    for n in 0..STEPS {
        let went = catch_unwind(AssertUnwindSafe(|| {
            let Ok(mut list) = list.lock() else { resume_unwind(Box::new("it is poisoned")) };
            let value = list.pop().unwrap_or(n);
            fuse.burns();
            list.push(value);
        }));
        lost += usize::from(went.is_err());
    }
    assert!(lost > STEPS / 2, "{lost}");
}
