//! What those who wait do to the others: nothing.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Wake, Waker};

use super::*;
use crate::ground::primitives::Mutex;
use crate::ground::priority::Priority::Normal;
use crate::rate_limit::line::Step;
use crate::rate_limit::rooms::Waiting;
use crate::rate_limit::standing::Slot;

fn tiered<K: Eq + Hash>(global: Quota, per_key: Quota) -> TieredRateLimiter<K> {
    let quota = TieredQuota::default().with_global(global).with_per_key(per_key);
    TieredRateLimiter::new(quota.with_max_keys(NonZeroUsize::new(8).unwrap())).unwrap()
}

type Home = Arc<OnceLock<Weak<TieredRateLimiter<Nosy>>>>;

/// A key that uses its limiter as it is dropped, under every lock that it has.
#[derive(Clone)]
struct Nosy(u32, Home);

impl PartialEq for Nosy {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Nosy {}

impl Hash for Nosy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Drop for Nosy {
    fn drop(&mut self) {
        if let Some(limiter) = self.1.get().and_then(Weak::upgrade) {
            limiter.refund_at(self, 0, time::now());
        }
    }
}

#[test]
fn a_key_that_is_forgotten_while_another_is_served_in_line_may_use_the_limiter() {
    let one = Quota::per_second(1).with_burst(1);
    let quota = TieredQuota::default().with_global(one).with_per_key(one);
    let quota = quota.with_max_keys(NonZeroUsize::MIN);
    let limiter = Arc::new(TieredRateLimiter::new(quota).unwrap());
    let home = Home::default();
    home.set(Arc::downgrade(&limiter)).unwrap();
    let (now, [first, second]) = (time::now(), [1, 2].map(|id| Nosy(id, Arc::clone(&home))));
    limiter.try_acquire_at(&first, 1, now).unwrap();
    let mut waiting = Waiting::new(&limiter, &second, 1, Normal, None);
    assert!(matches!(waiting.step(Waker::noop(), now), Step::Until(_)));
    // There is room for one key, and that of the first is full again.
    assert!(matches!(waiting.step(Waker::noop(), now + S), Step::Done(Ok(()))));
    drop(waiting);
    assert_eq!((limiter.snapshot().keys, limiter.keys.lock(&first).is_absent()), (1, true));
}

#[test]
fn one_that_waits_sends_no_other_key_through_its_lock() {
    let limiter = tiered::<u32>(Quota::new(4, DAY), Quota::new(2, DAY));
    let now = time::now();
    limiter.try_acquire_at(&1, 2, now).unwrap();
    let mut of_its_key = Waiting::new(&limiter, &1, 1, Normal, None);
    assert!(matches!(of_its_key.step(Waker::noop(), now), Step::Until(_)));
    let slot = |key: u32| Slot::of(limiter.keys.hash(&key));
    let mut taken = vec![slot(1)];
    let mut other = || {
        let free = (2..).find(|&key| !taken.contains(&slot(key))).unwrap();
        taken.push(slot(free));
        free
    };
    let (second, third, fourth) = (other(), other(), other());

    let held = limiter.rooms.lock();
    assert!(limiter.try_acquire_at(&second, 1, now).is_ok());
    drop(held);
    assert!(limiter.try_acquire_at(&third, 1, now).is_ok(), "all are spent now");
    let mut of_all = Waiting::new(&limiter, &third, 1, Normal, None);
    assert!(matches!(of_all.step(Waker::noop(), now), Step::Until(_)));

    // Of all, one comes back each quarter of a day: the first is for who waits.
    let held = limiter.rooms.lock();
    for then in [now, now + DAY / 4] {
        match limiter.try_acquire_at(&fourth, 1, then) {
            Err(TryAcquireError::RateLimited(limited)) => {
                assert_eq!((limited.scope(), limited.earliest()), (Scope::Global, now + DAY / 2));
            }
            other => panic!("{other:?}"),
        }
    }
    drop(held);
    assert!(limiter.try_acquire_at(&1, 1, now + DAY).is_err(), "somebody waits for this one");
    drop((of_its_key, of_all));
    assert!(limiter.try_acquire_at(&1, 1, now + DAY).is_ok(), "and nobody any more");
}

struct Told(u32, Arc<Mutex<Vec<u32>>>);

impl Wake for Told {
    fn wake(self: Arc<Self>) {
        self.1.lock().push(self.0);
    }
}

#[test]
fn keys_are_woken_in_the_order_in_which_they_came() {
    let day = Quota::new(1, DAY);
    for closes in [false, true] {
        let (limiter, now) = (tiered::<u32>(Quota::new(100, DAY), day), time::now());
        let told = Arc::default();
        // The map's order is that of one in 40,320.
        let keys = [3, 1, 4, 15, 9, 2, 6, 5];
        let waiting = keys.each_ref().map(|key| {
            limiter.try_acquire_at(key, 1, now).unwrap();
            let mut waiting = Waiting::new(&limiter, key, 1, Normal, None);
            let waker = Waker::from(Arc::new(Told(*key, Arc::clone(&told))));
            assert!(matches!(waiting.step(&waker, now), Step::Until(_)));
            waiting
        });
        if closes {
            limiter.close();
        } else {
            limiter.set_global_quota_at(Quota::new(200, DAY), now).unwrap();
        }
        assert_eq!(*told.lock(), keys);
        drop(waiting);
    }
}
