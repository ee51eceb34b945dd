//! What the code of users may do: panic, and come back into the pool.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};

use super::super::{ObjectPool, ObjectPoolConfig, ObjectPoolSnapshot};

/// Counts how many there are; may panic as it is dropped.
struct Counted {
    live: Arc<AtomicUsize>,
    panics: bool,
}

impl Counted {
    fn new(live: &Arc<AtomicUsize>, panics: bool) -> Self {
        live.fetch_add(1, Relaxed);
        Self { live: Arc::clone(live), panics }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.live.fetch_sub(1, Relaxed);
        assert!(!self.panics, "the drop");
    }
}

fn message(payload: &(dyn std::any::Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("not a literal")
}

fn is_exact(look: &ObjectPoolSnapshot) {
    let ended = look.kept + look.dropped() + look.detached;
    assert_eq!(look.hits + look.misses, ended + look.outstanding, "{look:?}");
    let left = look.dropped_by_validate + look.trimmed;
    assert_eq!(look.kept, look.hits + left + look.idle, "{look:?}");
}

#[test]
fn a_panic_in_create_reaches_who_takes_and_takes_nothing() {
    let pool = ObjectPool::new(|| -> u8 { panic!("the create") }, |_| true);
    for _ in 0..3 {
        let payload = catch_unwind(AssertUnwindSafe(|| drop(pool.take()))).unwrap_err();
        assert_eq!(message(&*payload), "the create");
    }
    assert_eq!(
        pool.snapshot(),
        ObjectPoolSnapshot { name: "objects".into(), ..Default::default() }
    );
    assert_eq!(pool.outstanding_by_place(), []);
}

#[test]
fn a_panic_in_reset_drops_the_value_and_goes_no_further() {
    let live = Arc::new(AtomicUsize::new(0));
    let make = {
        let live = Arc::clone(&live);
        move || Counted::new(&live, false)
    };
    let pool = ObjectPool::new(make, |_| panic!("the reset"));
    for _ in 0..5 {
        drop(pool.take());
    }
    let look = pool.snapshot();
    assert_eq!((look.misses, look.dropped_by_panic, look.outstanding, look.idle), (5, 5, 0, 0));
    is_exact(&look);
    assert_eq!(live.load(Relaxed), 0);
}

#[test]
fn a_panic_in_validate_reaches_who_takes_and_costs_one_value() {
    let pool = ObjectPool::new(|| 0_u8, |_| true)
        .with_validate(|&mut value| if value == 7 { panic!("the validate") } else { value != 8 });
    let values = [7, 8, 9, 7].map(|value| {
        let mut taken = pool.take();
        *taken = value;
        taken
    });
    drop(values);
    let payload = catch_unwind(AssertUnwindSafe(|| drop(pool.take()))).unwrap_err();
    assert_eq!(message(&*payload), "the validate");
    assert_eq!(*pool.take(), 9);
    let look = pool.snapshot();
    is_exact(&look);
    assert_eq!((look.hits, look.misses, look.dropped_by_validate, look.idle), (1, 4, 1, 3));
    let (nine, zero) = (pool.take(), catch_unwind(AssertUnwindSafe(|| *pool.take())));
    assert!(zero.is_err() && *nine == 9, "8 is tried, then the first 7");
    let look = pool.snapshot();
    is_exact(&look);
    assert_eq!((look.dropped_by_validate, look.outstanding, look.idle), (3, 1, 0));
}

#[test]
fn a_panic_in_drop_is_contained_wherever_it_comes() {
    let live = Arc::new(AtomicUsize::new(0));
    let make = {
        let live = Arc::clone(&live);
        move || Counted::new(&live, true)
    };
    let config = ObjectPoolConfig::default().with_max_idle(4);
    let pool = ObjectPool::with_config(config, make, |_| true).unwrap();
    let taken: Vec<_> = (0..9).map(|_| pool.take()).collect();
    drop(taken);
    let look = pool.snapshot();
    is_exact(&look);
    assert_eq!((look.kept, look.dropped_by_bound, look.idle), (4, 5, 4));
    assert_eq!(live.load(Relaxed), 4);
    drop(pool);
    assert_eq!(live.load(Relaxed), 0);
}

#[test]
fn a_value_that_comes_back_in_a_panic_is_dropped() {
    let pool = ObjectPool::new(|| 0_u32, |_| true);
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let mut half = pool.take();
        *half = 1;
        panic!("half-way");
    }));
    assert!(unwound.is_err());
    let look = pool.snapshot();
    assert_eq!((look.dropped_by_panic, look.idle, look.outstanding), (1, 0, 0));
    assert_eq!(*pool.take(), 0, "a new one");
}

#[test]
fn one_that_is_taken_and_given_back_in_a_panic_is_dropped_too() {
    struct Tidy<'a>(&'a ObjectPool<u32>);
    impl Drop for Tidy<'_> {
        fn drop(&mut self) {
            *self.0.take() = 3;
        }
    }
    let pool = ObjectPool::new(|| 0, |_| true);
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _tidy = Tidy(&pool);
        panic!("the cause");
    }));
    assert!(unwound.is_err());
    let look = pool.snapshot();
    assert_eq!((look.dropped_by_panic, look.idle, look.outstanding), (1, 0, 0));
}

type Home = Arc<OnceLock<Weak<ObjectPool<Nested>>>>;

/// A value whose pool is used by all that is done with it.
struct Nested(Home);

impl Drop for Nested {
    fn drop(&mut self) {
        use_again(&self.0);
    }
}

/// Takes from the pool and gives back, three deep at most.
fn use_again(home: &Home) {
    thread_local!(static DEPTH: Cell<u32> = const { Cell::new(0) });
    let depth = DEPTH.replace(DEPTH.get() + 1);
    if depth < 3
        && let Some(pool) = home.get().and_then(Weak::upgrade)
    {
        drop((pool.take(), pool.take()));
    }
    DEPTH.set(depth);
}

#[test]
fn every_hook_may_use_the_same_pool() {
    let home = Home::default();
    let [in_create, in_reset, in_validate] = [(); 3].map(|()| Arc::clone(&home));
    let create = move || {
        use_again(&in_create);
        Nested(Arc::clone(&in_create))
    };
    let reset = move |_: &mut Nested| {
        use_again(&in_reset);
        true
    };
    let config = ObjectPoolConfig::default().with_max_idle(2);
    let pool = ObjectPool::with_config(config, create, reset).unwrap();
    let pool = Arc::new(pool.with_validate(move |_| {
        use_again(&in_validate);
        true
    }));
    home.set(Arc::downgrade(&pool)).ok().unwrap();
    for _ in 0..3 {
        drop([(); 4].map(|()| pool.take()));
        let look = pool.snapshot();
        is_exact(&look);
        assert_eq!(look.outstanding, 0);
        assert!(look.idle <= 2 && look.dropped_by_bound > 0, "{look:?}");
    }
}
