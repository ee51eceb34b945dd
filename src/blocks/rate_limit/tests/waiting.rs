//! Who waits, in which order, with how many timers; and that nobody waits for ever.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::*;
use crate::ground::priority::Priority::{self, High, Low, Normal, Urgent};
use crate::rate_limit::line::Step;
use crate::rate_limit::rooms;
use crate::rate_limit::waiting::Waiting;

#[derive(Debug, Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

type Stepping<'a> = Box<dyn FnMut(&Waker, Instant) -> Step + 'a>;

struct Waiter<'a> {
    step: Stepping<'a>,
    woken: Arc<Woken>,
    timer: Option<Instant>,
    deadline: Option<Instant>,
}

/// A runtime by hand: polls who is woken or due, and turns the clock to the next timer.
pub(super) struct Sim<'a> {
    pub(super) now: Instant,
    next: u32,
    waiters: BTreeMap<u32, Waiter<'a>>,
    pub(super) done: Vec<(u32, Instant, Result<(), AcquireError>)>,
}

impl<'a> Sim<'a> {
    pub(super) fn new(now: Instant) -> Self {
        Self { now, next: 0, waiters: BTreeMap::new(), done: Vec::new() }
    }

    pub(super) fn enter(&mut self, limiter: &'a RateLimiter, cost: u32, class: Priority) -> u32 {
        let mut waiting = Waiting::new(limiter, cost, class, None);
        self.add(None, Box::new(move |waker, now| waiting.step(waker, now)))
    }

    pub(super) fn enter_until(
        &mut self,
        limiter: &'a RateLimiter,
        cost: u32,
        class: Priority,
        deadline: Instant,
    ) -> u32 {
        let mut waiting = Waiting::new(limiter, cost, class, Some(deadline));
        self.add(Some(deadline), Box::new(move |waker, now| waiting.step(waker, now)))
    }

    pub(super) fn enter_key(
        &mut self,
        limiter: &'a TieredRateLimiter<u32>,
        key: &'a u32,
        cost: u32,
        class: Priority,
    ) -> u32 {
        let mut waiting = rooms::Waiting::new(limiter, key, cost, class, None);
        self.add(None, Box::new(move |waker, now| waiting.step(waker, now)))
    }

    pub(super) fn enter_key_until(
        &mut self,
        limiter: &'a TieredRateLimiter<u32>,
        key: &'a u32,
        cost: u32,
        class: Priority,
        deadline: Instant,
    ) -> u32 {
        let mut waiting = rooms::Waiting::new(limiter, key, cost, class, Some(deadline));
        self.add(Some(deadline), Box::new(move |waker, now| waiting.step(waker, now)))
    }

    fn add(&mut self, deadline: Option<Instant>, step: Stepping<'a>) -> u32 {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let id = self.next;
        self.next += 1;
        self.waiters.insert(id, Waiter { step, woken, timer: None, deadline });
        self.settle();
        id
    }

    fn drop_one(&mut self, id: u32) {
        self.waiters.remove(&id);
        self.settle();
    }

    /// Polls until nobody is woken or due.
    pub(super) fn settle(&mut self) {
        while let Some(id) = self.ready() {
            let waiter = self.waiters.get_mut(&id).unwrap();
            waiter.woken.0.store(false, Ordering::Relaxed);
            let waker = Waker::from(waiter.woken.clone());
            waiter.timer = None;
            match (waiter.step)(&waker, self.now) {
                Step::Done(result) => {
                    self.waiters.remove(&id);
                    self.done.push((id, self.now, result));
                }
                Step::Wait => waiter.timer = waiter.deadline,
                Step::Until(at) => waiter.timer = time::earlier(Some(at), waiter.deadline),
            }
            let timer = self.waiters.get(&id).and_then(|waiter| waiter.timer);
            assert!(timer.is_none_or(|at| at > self.now), "a timer that is due at once");
        }
    }

    fn ready(&self) -> Option<u32> {
        let due = |w: &Waiter<'_>| w.timer.is_some_and(|at| at <= self.now);
        let ready = |w: &Waiter<'_>| w.woken.0.load(Ordering::Relaxed) || due(w);
        self.waiters.iter().find(|(_, waiter)| ready(waiter)).map(|(&id, _)| id)
    }

    pub(super) fn timers(&self) -> usize {
        self.waiters.values().filter(|waiter| waiter.timer.is_some()).count()
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.now += by;
        self.settle();
    }

    /// Turns the clock from timer to timer until all are done.
    pub(super) fn finish(&mut self) {
        while !self.waiters.is_empty() {
            let next = self.waiters.values().filter_map(|waiter| waiter.timer).min();
            self.now = next.expect("somebody waits, and nobody would wake them");
            self.settle();
        }
    }

    pub(super) fn order(&self) -> Vec<u32> {
        self.done.iter().map(|(id, _, _)| *id).collect()
    }
}

#[test]
fn served_by_priority_and_in_order_within_one_at_the_rate() {
    let (limiter, now) = limiter(Quota::per_second(10).with_burst(1));
    limiter.try_acquire_at(1, now).unwrap();
    let mut sim = Sim::new(now);
    for class in [Low, Normal, High, Normal, Urgent, Low] {
        sim.enter(&limiter, 1, class);
        assert_eq!(sim.timers(), 1, "one timer, whoever came");
    }
    sim.finish();
    assert_eq!(sim.order(), [4, 2, 1, 3, 0, 5]);
    for (place, (_, at, result)) in sim.done.iter().enumerate() {
        assert_eq!((*at, *result), (now + (place as u32 + 1) * 100 * MS, Ok(())));
    }
}

#[test]
fn nobody_barges_past_those_who_wait() {
    let (limiter, now) = limiter(Quota::per_second(10).with_burst(10));
    limiter.try_acquire_at(10, now).unwrap();
    let mut sim = Sim::new(now);
    let heavy = sim.enter(&limiter, 10, Low);
    let soon = now + 500 * MS;
    let at = earliest(limiter.try_acquire_at(1, soon));
    assert_eq!(at, now + 1100 * MS, "after the one who waits, exactly");
    sim.drop_one(heavy);
    assert!(limiter.try_acquire_at(5, soon).is_ok(), "nobody waits, nothing is lost");
}

#[test]
fn the_head_hands_its_timer_over_when_dropped() {
    let (limiter, now) = limiter(Quota::per_second(10).with_burst(1));
    limiter.try_acquire_at(1, now).unwrap();
    let mut sim = Sim::new(now);
    for _ in 0..4 {
        sim.enter(&limiter, 1, Normal);
    }
    sim.drop_one(2);
    assert_eq!(sim.timers(), 1);
    sim.drop_one(0);
    assert_eq!(sim.timers(), 1);
    sim.finish();
    assert_eq!(sim.order(), [1, 3]);
    assert_eq!(limiter.snapshot().waiting, 0);
}

#[test]
fn a_refund_serves_the_head_at_once() {
    let (limiter, now) = limiter(Quota::new(10, DAY));
    limiter.try_acquire_at(10, now).unwrap();
    let mut sim = Sim::new(now);
    sim.enter(&limiter, 2, Normal);
    sim.enter(&limiter, 2, Normal);
    limiter.refund_at(4, now);
    sim.settle();
    assert_eq!(sim.order(), [0, 1]);
}

#[test]
fn a_full_line_refuses_and_a_close_ends_it() {
    let config = RateLimiterConfig::from(Quota::new(1, DAY));
    let now = time::now();
    let limiter = RateLimiter::new(config.with_max_waiters(NonZeroUsize::new(2).unwrap())).unwrap();
    limiter.try_acquire_at(1, now).unwrap();
    let mut sim = Sim::new(now);
    for _ in 0..3 {
        sim.enter(&limiter, 1, Urgent);
    }
    assert_eq!(sim.done, [(2, now, Err(AcquireError::Full { scope: Scope::Global }))]);
    limiter.close();
    limiter.close();
    sim.settle();
    assert_eq!(
        sim.done[1..],
        [(0, now, Err(AcquireError::Closed)), (1, now, Err(AcquireError::Closed))]
    );
}

#[test]
fn low_is_passed_over_at_most_32_times_in_a_row() {
    let (limiter, now) = limiter(Quota::per_second(10).with_burst(1));
    limiter.try_acquire_at(1, now).unwrap();
    let mut sim = Sim::new(now);
    sim.enter(&limiter, 1, Low);
    sim.enter(&limiter, 1, Low);
    for _ in 0..200 {
        sim.enter(&limiter, 1, High);
    }
    sim.finish();
    let order = sim.order();
    assert_eq!(order.iter().position(|&id| id == 0), Some(32));
    assert_eq!(order.iter().position(|&id| id == 1), Some(65));
}

fn two_tiers(global: Quota, per_key: Quota) -> (TieredRateLimiter<u32>, Instant) {
    let now = time::now();
    let config = TieredQuota::default().with_global(global).with_per_key(per_key);
    (TieredRateLimiter::new(config).unwrap(), now)
}

#[test]
fn a_key_that_waits_for_itself_holds_nobody_up() {
    let (limiter, now) = two_tiers(Quota::per_second(1_000), Quota::per_second(1).with_burst(1));
    limiter.try_acquire_at(&1, 1, now).unwrap();
    let mut sim = Sim::new(now);
    sim.enter_key(&limiter, &1, 1, Urgent);
    sim.enter_key(&limiter, &1, 1, Urgent);
    assert!(limiter.try_acquire_at(&2, 1, now).is_ok(), "another key isn't concerned");
    let barging = limiter.try_acquire_at(&1, 1, now + S).unwrap_err();
    assert_eq!(barging.earliest(), Some(now + 3 * S), "this one is, by two who wait");
    sim.finish();
    let times: Vec<_> = sim.done.iter().map(|(id, at, _)| (*id, *at)).collect();
    assert_eq!(times, [(0, now + S), (1, now + 2 * S)]);
    assert_eq!(limiter.snapshot().waiting, 0);
}

#[test]
fn keys_take_turns_at_the_global_tier_by_priority() {
    let (limiter, now) =
        two_tiers(Quota::per_second(10).with_burst(1), Quota::per_second(1_000).with_burst(1));
    limiter.try_acquire_at(&0, 1, now).unwrap();
    let now = now + 10 * MS;
    let mut sim = Sim::new(now);
    for _ in 0..3 {
        sim.enter_key(&limiter, &1, 1, Normal);
    }
    for _ in 0..3 {
        sim.enter_key(&limiter, &2, 1, Normal);
    }
    sim.enter_key(&limiter, &3, 1, High);
    assert_eq!(sim.timers(), 1, "all stand in the global line or behind somebody who does");
    sim.finish();
    assert_eq!(sim.order(), [6, 0, 3, 1, 4, 2, 5], "round robin between keys");
}

#[test]
fn back_to_the_head_of_its_key_when_the_key_refuses_at_its_turn() {
    let (limiter, now) =
        two_tiers(Quota::per_second(10).with_burst(2), Quota::per_second(1).with_burst(2));
    limiter.try_acquire_at(&0, 2, now).unwrap();
    let mut sim = Sim::new(now);
    sim.enter_key(&limiter, &1, 2, Normal);
    assert_eq!(limiter.snapshot().waiting, 1);
    // Somebody whose clock ran ahead took the key's tokens behind the line's back.
    let mut held = limiter.keys.lock(&1);
    let quota = held.quota();
    held.prepare(now, || 1);
    held.write(quota.take(0, quota.word(now + S), 2, 0).unwrap(), now);
    drop(held);
    sim.advance(200 * MS);
    assert_eq!((sim.done.len(), sim.timers()), (0, 1), "the key's timer now");
    sim.enter_key(&limiter, &2, 2, Low);
    assert_eq!(sim.order(), [1], "the turn of all is free for others");
    sim.finish();
    assert_eq!(sim.done[1], (0, now + 3 * S, Ok(())));
}

#[test]
fn the_rooms_are_bounded() {
    let (limiter, now) = two_tiers(Quota::per_second(1_000), Quota::new(1, DAY));
    let keys: Vec<u32> = (0..1_100).collect();
    let mut sim = Sim::new(now);
    for key in &keys {
        let _ = limiter.try_acquire_at(key, 1, now);
    }
    for _ in 0..70 {
        sim.enter_key(&limiter, &keys[0], 1, Normal);
    }
    assert_eq!(sim.done.len(), 6);
    assert!(sim.done.iter().all(|d| d.2 == Err(AcquireError::Full { scope: Scope::Key })));
    for key in &keys[1..1_030] {
        sim.enter_key(&limiter, key, 1, Normal);
    }
    assert_eq!(sim.done.len(), 6 + 6);
    assert!(sim.done[6..].iter().all(|d| d.2 == Err(AcquireError::Full { scope: Scope::Global })));
    limiter.close();
    sim.settle();
    assert_eq!(sim.done.len() as u32, sim.next);
}

fn once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn acquire_polled_once_and_dropped_leaves_nothing() {
    let limiter = RateLimiter::new(Quota::new(2, DAY)).unwrap();
    limiter.acquire(1, Normal).await.unwrap();
    for _ in 0..3 {
        let acquire = std::pin::pin!(limiter.acquire(2, Normal));
        assert!(once(acquire).is_pending());
    }
    assert_eq!(limiter.snapshot().waiting, 0);
    assert!(limiter.try_acquire(1).is_ok());
    assert_eq!(limiter.acquire(3, Low).await, Err(AcquireError::TooLarge { cost: 3, burst: 2 }));

    let tiered =
        TieredRateLimiter::<String>::new(TieredQuota::default().with_per_key(Quota::new(2, DAY)))
            .unwrap();
    tiered.acquire("a", 1, Normal).await.unwrap();
    for _ in 0..3 {
        let acquire = std::pin::pin!(tiered.acquire("a", 2, Normal));
        assert!(once(acquire).is_pending());
    }
    assert_eq!(tiered.snapshot().waiting, 0);
    assert!(tiered.try_acquire("a", 1).is_ok());
    tiered.close();
    assert_eq!(tiered.acquire("a", 1, Low).await, Err(AcquireError::Closed));
}

#[tokio::test]
async fn acquire_waits_for_its_token() {
    let limiter = RateLimiter::new(Quota::per_second(1_000).with_burst(1)).unwrap();
    let start = time::now();
    for _ in 0..4 {
        limiter.acquire(1, Normal).await.unwrap();
    }
    assert!(time::now() - start >= 3 * MS);
}

/// The same as by hand, in a real runtime: fifty tasks, served at the rate, highest first.
#[cfg(feature = "test-util")]
#[tokio::test(start_paused = true)]
async fn fifty_tasks_are_served_at_the_rate_in_order_of_priority() {
    let limiter = Arc::new(RateLimiter::new(Quota::per_second(10).with_burst(1)).unwrap());
    let (start, served) = (time::now(), Arc::new(std::sync::Mutex::new(Vec::new())));
    let mut tasks = tokio::task::JoinSet::new();
    limiter.try_acquire(1).unwrap();
    for i in 0..50 {
        let (limiter, served) = (limiter.clone(), served.clone());
        tasks.spawn(async move {
            let class = if i % 2 == 0 { Normal } else { High };
            limiter.acquire(1, class).await.unwrap();
            served.lock().unwrap().push(class);
        });
    }
    tasks.join_all().await;
    assert_eq!(time::now() - start, 5 * S);
    let served = served.lock().unwrap();
    assert!(served[..25].iter().all(|&class| class == High), "{served:?}");
}

proptest! {
    #![proptest_config(crate::ground::cases::cases(256))]

    /// Whatever comes, goes, is given back and however time passes: no more is admitted than an
    /// exact bucket would, there is at most one timer, and in the end everybody is served.
    #[test]
    fn nobody_waits_for_ever_and_nobody_gets_more(
        ops in prop::collection::vec((0_u8..8, 0_u32..50), 1..150),
    ) {
        let quota = Quota::per_second(20).with_burst(4);
        let (limiter, now) = limiter(quota);
        let mut exact = Exact::new(quota, now);
        let mut costs = Vec::new();
        let mut sim = Sim::new(now);
        for (op, x) in ops {
            exact.advance(sim.now);
            match op {
                0..=2 => {
                    let cost = x % 4 + 1;
                    costs.push(cost);
                    sim.enter(&limiter, cost, Priority::ALL[x as usize % 4]);
                }
                3 => {
                    let at = x as usize % sim.waiters.len().max(1);
                    if let Some(&id) = sim.waiters.keys().nth(at) {
                        sim.drop_one(id);
                    }
                }
                4 => {
                    if limiter.try_acquire_at(1, sim.now).is_ok() {
                        prop_assert!(sim.waiters.is_empty(), "barged");
                        exact.take(1);
                    }
                }
                _ => sim.advance(x * 5 * MS),
            }
            prop_assert!(sim.timers() <= 1);
            for (id, at, result) in std::mem::take(&mut sim.done) {
                prop_assert_eq!(result, Ok(()));
                exact.advance(at);
                exact.take(costs[id as usize]);
                prop_assert!(exact.level >= 0);
            }
        }
        sim.finish();
        prop_assert_eq!(limiter.snapshot().waiting, 0);
        for (id, at, _) in sim.done {
            exact.advance(at);
            exact.take(costs[id as usize]);
            prop_assert!(exact.level >= 0);
        }
    }

    #[test]
    fn nobody_waits_for_ever_at_two_tiers(
        ops in prop::collection::vec((0_u8..8, 0_u32..60), 1..150),
    ) {
        const KEYS: [u32; 5] = [0, 1, 2, 3, 4];
        let (limiter, now) =
            two_tiers(Quota::per_second(20).with_burst(4), Quota::per_second(5).with_burst(3));
        let mut sim = Sim::new(now);
        for (op, x) in ops {
            let key = &KEYS[x as usize % 5];
            match op {
                0..=2 => {
                    sim.enter_key(&limiter, key, x % 3 + 1, Priority::ALL[x as usize % 4]);
                }
                3 => {
                    let at = x as usize % sim.waiters.len().max(1);
                    if let Some(&id) = sim.waiters.keys().nth(at) {
                        sim.drop_one(id);
                    }
                }
                4 => drop(limiter.try_acquire_at(key, 1, sim.now)),
                5 => {
                    limiter.refund_at(key, 1, sim.now);
                    sim.settle();
                }
                _ => sim.advance(x * 5 * MS),
            }
            prop_assert!(sim.timers() <= KEYS.len() + 1);
        }
        sim.finish();
        prop_assert_eq!(limiter.snapshot().waiting, 0);
        prop_assert!(sim.done.iter().all(|(_, _, result)| result.is_ok()));
    }
}
