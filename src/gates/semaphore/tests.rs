//! Tables by hand polling and explicit `now`, a naive model beside the whole semaphore, and
//! eight threads.

use std::collections::VecDeque;
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::semaphore::Entry;
use super::waiting::Waiting;
use super::*;
use crate::Priority::{self, High, Low, Normal, Urgent};
use crate::ground::rng::Rng;
use crate::ground::time;

type Acquiring<'a> = Pin<Box<dyn Future<Output = Result<Permit<'a>, AcquireError>> + 'a>>;

fn semaphore(permits: usize) -> PrioritySemaphore {
    PrioritySemaphore::new(permits, SemaphoreConfig::default()).unwrap()
}

fn small(permits: usize, queue_capacity: usize) -> PrioritySemaphore {
    let config = SemaphoreConfig::default().with_queue_capacity(queue_capacity);
    PrioritySemaphore::new(permits, config).unwrap()
}

fn n(permits: u32) -> NonZeroU32 {
    NonZeroU32::new(permits).unwrap()
}

fn heavy(priority: Priority, permits: u32) -> Want {
    Want::new(priority).with_permits(n(permits))
}

/// Polled once: in line, or ended.
fn start<'a>(semaphore: &'a PrioritySemaphore, want: impl Into<Want> + 'a) -> Acquiring<'a> {
    let mut acquiring: Acquiring<'a> = Box::pin(semaphore.acquire(want));
    if let Poll::Ready(ended) = poll(&mut acquiring) {
        return Box::pin(std::future::ready(ended));
    }
    acquiring
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn ended<F: Future + Unpin>(future: &mut F) -> F::Output {
    match poll(future) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("still waits"),
    }
}

fn wait_at(
    semaphore: &PrioritySemaphore,
    want: impl Into<Want>,
    now: Instant,
) -> Result<Waiting<'_>, AcquireError> {
    match semaphore.enter_at(want.into(), Waker::noop().clone(), now) {
        Ok(Entry::Waits(waiting)) => Ok(waiting),
        Ok(Entry::Granted(permits)) => panic!("granted {permits}"),
        Err(why) => Err(why),
    }
}

fn is_at_rest(semaphore: &PrioritySemaphore) {
    let s = semaphore.snapshot();
    assert_eq!((s.waiting(), s.in_use, s.available), (0, 0, s.permits), "{s:?}");
    is_exact(s);
}

fn is_exact(s: SemaphoreSnapshot) {
    let ended = s.granted + s.evicted + s.expired + s.cancelled + s.too_large + s.closed;
    assert_eq!(s.waited, ended + s.waiting() as u64, "{s:?}");
}

#[test]
fn impossible_configurations_are_named() {
    let config = SemaphoreConfig::default;
    let most = PrioritySemaphore::MAX_PERMITS;
    for (permits, config, field) in [
        (0, config(), "semaphore.permits"),
        (most + 1, config(), "semaphore.permits"),
        (1, config().with_queue_capacity(0), "semaphore.queue_capacity"),
        (1, config().with_queue_capacity(usize::MAX), "semaphore.queue_capacity"),
        (1, config().with_starvation_bound(0), "semaphore.starvation_bound"),
        (1, config().with_thresholds(crate::Thresholds::flat(1.5)), "semaphore.thresholds"),
    ] {
        let error = PrioritySemaphore::new(permits, config).unwrap_err();
        assert!(error.to_string().starts_with(field), "{error}");
    }
    let largest = PrioritySemaphore::new(most, config().with_name("db")).unwrap();
    assert_eq!((largest.name(), largest.snapshot().available), ("db", most));
}

#[test]
fn permits_come_back_when_they_are_dropped() {
    let semaphore = semaphore(3);
    let two = semaphore.try_acquire_many(n(2)).unwrap();
    assert_eq!(two.permits(), n(2));
    assert!(semaphore.try_acquire_many(n(2)).is_none());
    let one = semaphore.try_acquire().unwrap();
    assert!(semaphore.try_acquire().is_none());
    drop((one, two));
    is_at_rest(&semaphore);
}

#[test]
fn higher_classes_first_and_first_in_first_out_inside_one() {
    let semaphore = semaphore(1);
    let mut permit = semaphore.try_acquire();
    let wants = [Low, Normal, High, Urgent, Low, Normal, High, Urgent];
    let mut waiters: Vec<_> = wants.iter().map(|&class| Some(start(&semaphore, class))).collect();
    for next in [3, 7, 2, 6, 1, 5, 0, 4] {
        drop(permit.take());
        let ready: Vec<usize> = (0..wants.len())
            .filter(|&i| match waiters[i].as_mut().map(poll) {
                Some(Poll::Ready(granted)) => {
                    permit = Some(granted.unwrap());
                    waiters[i] = None;
                    true
                }
                _ => false,
            })
            .collect();
        assert_eq!(ready, [next]);
    }
    drop(permit);
    is_at_rest(&semaphore);
}

#[test]
fn a_class_that_is_passed_over_gets_its_turn() {
    let config = SemaphoreConfig::default().with_starvation_bound(3);
    let semaphore = PrioritySemaphore::new(1, config).unwrap();
    let mut permit = semaphore.try_acquire();
    let mut low = start(&semaphore, Low);
    let mut urgent: VecDeque<_> = (0..5).map(|_| start(&semaphore, Urgent)).collect();
    for _ in 0..3 {
        drop(permit.take());
        assert!(poll(&mut low).is_pending());
        permit = Some(ended(&mut urgent.pop_front().unwrap()).unwrap());
    }
    drop(permit);
    assert!(poll(urgent.front_mut().unwrap()).is_pending());
    drop(ended(&mut low).unwrap());
    urgent.clear();
    is_at_rest(&semaphore);
}

#[test]
fn tenants_of_a_class_take_turns() {
    let semaphore = semaphore(1);
    let mut permit = semaphore.try_acquire();
    let of = |tenant: &str| Want::new(Normal).with_tenant(tenant);
    let mut many: VecDeque<_> = (0..4).map(|_| start(&semaphore, of("many"))).collect();
    let mut one = start(&semaphore, of("one"));
    drop(permit.take());
    permit = Some(ended(&mut many.pop_front().unwrap()).unwrap());
    drop(permit.take());
    drop(ended(&mut one).unwrap());
    drop(many);
    is_at_rest(&semaphore);
}

#[test]
fn who_does_not_wait_never_goes_before_a_waiter() {
    let semaphore = semaphore(2);
    let permit = semaphore.try_acquire().unwrap();
    let mut two = start(&semaphore, heavy(Normal, 2));
    assert!(semaphore.try_acquire().is_none(), "one is free, but somebody waits");
    let mut low = start(&semaphore, Low);
    let mut equal = start(&semaphore, Normal);
    assert!(poll(&mut low).is_pending() && poll(&mut equal).is_pending());
    let mut urgent = start(&semaphore, Urgent);
    let urgent = ended(&mut urgent).unwrap();
    drop((permit, urgent));
    assert!(poll(&mut low).is_pending() && poll(&mut equal).is_pending());
    drop(ended(&mut two).unwrap());
    drop((ended(&mut equal).unwrap(), ended(&mut low).unwrap()));
    is_at_rest(&semaphore);
}

#[test]
fn nobody_is_evicted_for_one_who_goes_first_anyway() {
    let semaphore = small(2, 1);
    let permit = semaphore.try_acquire().unwrap();
    let mut two = start(&semaphore, heavy(Low, 2));
    let mut urgent = start(&semaphore, Urgent);
    drop(ended(&mut urgent).unwrap());
    assert!(poll(&mut two).is_pending());
    drop(permit);
    assert_eq!(ended(&mut two).unwrap().permits(), n(2));
    is_at_rest(&semaphore);
}

#[test]
fn a_full_line_evicts_the_least_important_and_tells_it() {
    let semaphore = small(1, 2);
    let permit = semaphore.try_acquire().unwrap();
    let mut low = start(&semaphore, Low);
    let mut high = start(&semaphore, High);
    assert_eq!(ended(&mut start(&semaphore, Low)).err(), Some(AcquireError::Full));
    let mut urgent = start(&semaphore, Urgent);
    assert_eq!(ended(&mut low).err(), Some(AcquireError::Evicted));
    assert!(poll(&mut high).is_pending());
    drop(permit);
    drop(ended(&mut urgent).unwrap());
    drop(ended(&mut high).unwrap());
    is_at_rest(&semaphore);
    let s = semaphore.snapshot();
    assert_eq!((s.waited, s.granted, s.evicted, s.refused), (3, 2, 1, 1));
}

#[test]
fn what_can_never_be_granted_is_too_large_at_once() {
    let semaphore = semaphore(2);
    let held = semaphore.try_acquire().unwrap();
    assert_eq!(ended(&mut start(&semaphore, heavy(Low, 3))).err(), Some(AcquireError::TooLarge));
    assert!(semaphore.try_acquire_many(n(3)).is_none());
    drop(held);
    is_at_rest(&semaphore);
}

#[test]
fn a_deadline_ends_the_waiter_and_lets_the_next_in() {
    let semaphore = semaphore(2);
    let now = time::now();
    let soon = now + Duration::from_millis(5);
    let _held = semaphore.try_acquire().unwrap();
    let want = heavy(Normal, 2).with_deadline(soon);
    let expiring = wait_at(&semaphore, want, now).unwrap();
    let mut next = wait_at(&semaphore, Low, now).unwrap();
    assert_eq!(expiring.expire_at(soon), Err(AcquireError::Expired));
    let permits = ended(&mut next).unwrap();
    drop(Permit::new(&semaphore, permits));
    assert_eq!(semaphore.snapshot().expired, 1);
    assert_eq!(wait_at(&semaphore, want, soon).err(), Some(AcquireError::Expired));
}

#[test]
fn an_expired_head_that_has_not_noticed_stops_nobody() {
    let semaphore = semaphore(2);
    let now = time::now();
    let soon = now + Duration::from_millis(5);
    let held = semaphore.try_acquire().unwrap();
    let mut expired = wait_at(&semaphore, heavy(High, 2).with_deadline(soon), now).unwrap();
    let entered = wait_at(&semaphore, Normal, soon).unwrap();
    assert_eq!(ended(&mut expired), Err(AcquireError::Expired));
    let permits = { entered }.expire_at(soon).unwrap();
    drop((Permit::new(&semaphore, permits), held));
    is_at_rest(&semaphore);
}

#[test]
fn a_grant_that_came_before_the_timer_stands() {
    let semaphore = semaphore(1);
    let now = time::now();
    let soon = now + Duration::from_secs(3600);
    let held = semaphore.try_acquire().unwrap();
    let waiting = wait_at(&semaphore, Want::new(Low).with_deadline(soon), now).unwrap();
    drop(held);
    let permits = waiting.expire_at(soon).unwrap();
    drop(Permit::new(&semaphore, permits));
    is_at_rest(&semaphore);
}

#[test]
fn growing_serves_the_line() {
    let semaphore = semaphore(1);
    let held = semaphore.try_acquire().unwrap();
    let mut waiters: Vec<_> = (0..100).map(|_| start(&semaphore, Normal)).collect();
    semaphore.resize(100);
    let granted = waiters.iter_mut().filter_map(|w| match poll(w) {
        Poll::Ready(permit) => Some(permit.unwrap()),
        Poll::Pending => None,
    });
    let granted: Vec<_> = granted.collect();
    assert_eq!(granted.len(), 99, "in batches, but all that fit");
    assert_eq!(semaphore.snapshot().waiting(), 1);
    drop((held, granted));
    drop(waiters);
    is_at_rest(&semaphore);
}

#[test]
fn shrinking_below_what_is_out_waits_for_it() {
    let semaphore = semaphore(4);
    let mut held: Vec<_> = (0..4).map(|_| semaphore.try_acquire().unwrap()).collect();
    semaphore.resize(2);
    let s = semaphore.snapshot();
    assert_eq!((s.permits, s.available, s.in_use), (2, 0, 4));
    let mut waiter = start(&semaphore, Urgent);
    for _ in 0..2 {
        held.pop();
        assert!(poll(&mut waiter).is_pending() && semaphore.try_acquire().is_none());
    }
    held.pop();
    drop(ended(&mut waiter).unwrap());
    drop(held);
    is_at_rest(&semaphore);
}

#[test]
fn shrinking_below_a_waiter_ends_it_too_large_and_serves_the_next() {
    let semaphore = semaphore(4);
    let _held = semaphore.try_acquire_many(n(2)).unwrap();
    let mut heavy = start(&semaphore, heavy(High, 4));
    let mut light = start(&semaphore, Low);
    semaphore.resize(3);
    assert_eq!(ended(&mut heavy).err(), Some(AcquireError::TooLarge));
    drop(ended(&mut light).unwrap());
    semaphore.resize(0);
    assert_eq!(semaphore.snapshot().permits, 1, "clamped");
    semaphore.resize(usize::MAX);
    assert_eq!(semaphore.snapshot().permits, PrioritySemaphore::MAX_PERMITS);
}

#[test]
fn closing_ends_the_waiters_and_permits_still_come_back() {
    let semaphore = semaphore(1);
    let held = semaphore.try_acquire().unwrap();
    let mut waiter = start(&semaphore, Low);
    semaphore.close();
    semaphore.close();
    assert!(semaphore.is_closed());
    assert_eq!(ended(&mut waiter).err(), Some(AcquireError::Closed));
    assert_eq!(ended(&mut start(&semaphore, Urgent)).err(), Some(AcquireError::Closed));
    drop(held);
    assert!(semaphore.try_acquire().is_none());
    let past = Want::new(Low).with_deadline(time::now());
    assert_eq!(ended(&mut start(&semaphore, past)).err(), Some(AcquireError::Closed));
    is_at_rest(&semaphore);
}

#[test]
fn acquire_polled_once_and_dropped_leaves_nothing_behind() {
    let semaphore = semaphore(2);
    let held = semaphore.try_acquire().unwrap();
    let unpolled = semaphore.acquire(Low);
    drop(unpolled);
    let head = start(&semaphore, heavy(High, 2));
    let mut behind = start(&semaphore, Low);
    drop(head);
    drop(ended(&mut behind).unwrap());
    let granted_unseen = start(&semaphore, heavy(High, 2));
    let mut behind = start(&semaphore, Low);
    drop(held);
    assert!(poll(&mut behind).is_pending());
    drop(granted_unseen);
    drop(ended(&mut behind).unwrap());
    is_at_rest(&semaphore);
    assert_eq!(semaphore.snapshot().cancelled, 1, "the other one had been granted");
}

#[test]
fn acquire_owned_polled_once_and_dropped_leaves_nothing_behind() {
    let semaphore = Arc::new(semaphore(1));
    let own = || Box::pin(Arc::clone(&semaphore).acquire_owned(Normal));
    let held = ended(&mut own()).unwrap();
    assert_eq!(held.permits(), n(1));
    let mut dropped = own();
    let mut kept = own();
    assert!(poll(&mut dropped).is_pending() && poll(&mut kept).is_pending());
    drop(held);
    drop(dropped);
    drop(ended(&mut kept).unwrap());
    is_at_rest(&semaphore);
    drop(kept);
    assert_eq!(Arc::strong_count(&semaphore), 1);
}

/// Looks at the semaphore when it is woken and when it is dropped: under the lock of the line
/// either would hang.
struct Curious(Arc<PrioritySemaphore>);

impl Wake for Curious {
    fn wake(self: Arc<Self>) {
        is_exact(self.0.snapshot());
    }
}

impl Drop for Curious {
    fn drop(&mut self) {
        is_exact(self.0.snapshot());
    }
}

#[test]
fn no_waker_is_woken_or_dropped_under_the_lock() {
    let semaphore = Arc::new(small(3, 4));
    let mut held = semaphore.try_acquire_many(n(3));
    let curious = |want: Want| {
        let mut waiter = Box::pin(semaphore.acquire(want));
        for _ in 0..2 {
            let waker = Waker::from(Arc::new(Curious(Arc::clone(&semaphore))));
            assert!(waiter.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        waiter
    };
    let mut waiters: Vec<_> = (0..4).map(|_| curious(Want::new(Low))).collect();
    waiters.truncate(3);
    let mut urgent: Vec<_> = (0..3).map(|_| curious(Want::new(Urgent))).collect();
    urgent.push(curious(heavy(Urgent, 3)));
    drop(held.take());
    semaphore.resize(2);
    semaphore.close();
    drop((waiters, urgent));
    is_at_rest(&semaphore);
}

/// What the semaphore ought to do, by looking at everybody.
#[derive(Debug)]
struct Model {
    permits: i64,
    free: i64,
    is_closed: bool,
    bound: u32,
    lines: [VecDeque<(usize, i64)>; 4],
    passed: [u32; 4],
    /// Who was told what by the last step.
    told: Vec<(usize, Result<(), AcquireError>)>,
}

impl Model {
    fn waiting(&self) -> usize {
        self.lines.iter().map(VecDeque::len).sum()
    }

    /// Class of the head, and whether it stands there by its turn.
    fn head(&self) -> Option<(usize, bool)> {
        let waits = |class: &usize| !self.lines[*class].is_empty();
        let by_turn = (0..4).filter(waits).find(|&class| self.passed[class] >= self.bound);
        by_turn.map(|c| (c, true)).or_else(|| (0..4).rev().find(waits).map(|c| (c, false)))
    }

    fn pass_over(&mut self, class: usize) {
        for lower in 0..class {
            self.passed[lower] += u32::from(!self.lines[lower].is_empty());
        }
    }

    fn enter(&mut self, id: usize, class: usize, weight: i64) {
        let goes_first = self.head().is_none_or(|(head, by_turn)| head < class && !by_turn);
        let refused = if self.is_closed {
            Some(AcquireError::Closed)
        } else if weight > self.permits {
            Some(AcquireError::TooLarge)
        } else if goes_first && weight <= self.free {
            self.pass_over(class);
            self.free -= weight;
            self.told.push((id, Ok(())));
            return self.serve();
        } else if self.waiting() >= [8, 9, 10, 10][class] {
            match (0..class).find(|&lower| !self.lines[lower].is_empty()) {
                Some(lower) => {
                    let (victim, _) = self.lines[lower].pop_back().unwrap();
                    self.told.push((victim, Err(AcquireError::Evicted)));
                    None
                }
                None => Some(AcquireError::Full),
            }
        } else {
            None
        };
        match refused {
            Some(why) => self.told.push((id, Err(why))),
            None => self.lines[class].push_back((id, weight)),
        }
        self.serve();
    }

    fn serve(&mut self) {
        for class in 0..4 {
            if self.lines[class].is_empty() {
                self.passed[class] = 0;
            }
        }
        while let Some((class, _)) = self.head().filter(|_| self.free > 0) {
            let (id, weight) = self.lines[class][0];
            if weight <= self.permits && weight > self.free {
                return;
            }
            self.lines[class].pop_front();
            if weight > self.permits {
                self.told.push((id, Err(AcquireError::TooLarge)));
            } else {
                self.free -= weight;
                self.pass_over(class);
                self.passed[class] = 0;
                self.told.push((id, Ok(())));
            }
            if self.lines[class].is_empty() {
                self.passed[class] = 0;
            }
        }
    }
}

#[derive(Debug, Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Waiter<'a> {
    id: usize,
    acquiring: Acquiring<'a>,
    flag: Arc<Flag>,
}

/// The real one beside the model.
struct Pair<'a> {
    real: &'a PrioritySemaphore,
    model: Model,
    waiters: Vec<Waiter<'a>>,
    permits: Vec<Permit<'a>>,
    next_id: usize,
}

impl<'a> Pair<'a> {
    fn new(real: &'a PrioritySemaphore, permits: i64, bound: u32) -> Self {
        let model = Model {
            permits,
            free: permits,
            is_closed: false,
            bound,
            lines: Default::default(),
            passed: [0; 4],
            told: Vec::new(),
        };
        Self { real, model, waiters: Vec::new(), permits: Vec::new(), next_id: 0 }
    }

    fn step(&mut self, [what, a, b]: [u8; 3]) {
        match what % 12 {
            0..=4 => self.acquire(usize::from(a % 4), u32::from(b % 4) + 1),
            5 => self.try_acquire(u32::from(b % 3) + 1),
            6..=8 => self.release(usize::from(a)),
            9 => self.abandon(usize::from(a)),
            10 if b % 4 == 0 => self.resize(i64::from(a % 6) + 1),
            11 if a == 0 && b < 64 => self.close(),
            _ => {}
        }
        self.agree();
    }

    fn acquire(&mut self, class: usize, weight: u32) {
        let id = self.next_id;
        self.next_id += 1;
        self.model.enter(id, class, i64::from(weight));
        let acquiring = Box::pin(self.real.acquire(heavy(Priority::ALL[class], weight)));
        // As if woken, so that it is polled: first, so that whom it displaces is seen to be woken.
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        self.waiters.insert(0, Waiter { id, acquiring, flag });
    }

    fn try_acquire(&mut self, weight: u32) {
        let weighs = i64::from(weight);
        let model = &mut self.model;
        let fits = !model.is_closed && model.waiting() == 0 && weighs <= model.free;
        let permit = self.real.try_acquire_many(n(weight));
        assert_eq!(permit.is_some(), fits);
        model.free -= if fits { weighs } else { 0 };
        self.permits.extend(permit);
    }

    fn release(&mut self, nth: usize) {
        if self.permits.is_empty() {
            return;
        }
        let permit = self.permits.swap_remove(nth % self.permits.len());
        self.model.free += i64::from(permit.permits().get());
        drop(permit);
        self.model.serve();
    }

    fn abandon(&mut self, nth: usize) {
        if self.waiters.is_empty() {
            return;
        }
        let waiter = self.waiters.swap_remove(nth % self.waiters.len());
        for line in &mut self.model.lines {
            line.retain(|(id, _)| *id != waiter.id);
        }
        self.model.serve();
    }

    fn resize(&mut self, permits: i64) {
        self.model.free += permits - self.model.permits;
        self.model.permits = permits;
        self.model.serve();
        self.real.resize(permits as usize);
    }

    fn close(&mut self) {
        self.model.is_closed = true;
        let all = self.model.lines.iter_mut().flat_map(|line| line.drain(..));
        self.model.told.extend(all.map(|(id, _)| (id, Err(AcquireError::Closed))));
        self.real.close();
    }

    /// Polls whoever was woken, and nobody else: who has to end was woken.
    fn agree(&mut self) {
        let mut told = Vec::new();
        let mut waits = Vec::new();
        for mut waiter in self.waiters.drain(..) {
            let waker = Waker::from(Arc::clone(&waiter.flag));
            let was_woken = waiter.flag.0.swap(false, Ordering::Relaxed);
            match was_woken
                .then(|| waiter.acquiring.as_mut().poll(&mut Context::from_waker(&waker)))
            {
                Some(Poll::Ready(result)) => {
                    told.push((waiter.id, result.as_ref().map(drop).map_err(|why| *why)));
                    self.permits.extend(result.ok());
                }
                Some(Poll::Pending) | None => waits.push(waiter),
            }
        }
        self.waiters = waits;
        let mut expected = std::mem::take(&mut self.model.told);
        told.sort_by_key(|(id, _)| *id);
        expected.sort_by_key(|(id, _)| *id);
        assert_eq!(told, expected);
        let snapshot = self.real.snapshot();
        is_exact(snapshot);
        let held: i64 = self.permits.iter().map(|p| i64::from(p.permits().get())).sum();
        assert_eq!(snapshot.in_use as i64, held, "no permit is lost or made up");
        assert_eq!(held, self.model.permits - self.model.free);
        let depths = self.model.lines.each_ref().map(VecDeque::len);
        assert_eq!(snapshot.waiting_by_class, depths);
    }

    /// Everything back: everybody who still waits ends.
    fn finish(mut self) {
        while !self.permits.is_empty() {
            self.release(0);
            self.agree();
        }
        assert_eq!(self.waiters.len(), 0, "every waiter ends");
        is_at_rest(self.real);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..Default::default() })]
    #[test]
    fn every_step_agrees_with_the_model(
        ops in prop::collection::vec(any::<[u8; 3]>(), 0..200),
        permits in 1..6_usize,
    ) {
        let config = SemaphoreConfig::default().with_queue_capacity(10).with_starvation_bound(3);
        let real = PrioritySemaphore::new(permits, config).unwrap();
        let mut pair = Pair::new(&real, permits as i64, 3);
        for op in ops {
            pair.step(op);
        }
        pair.finish();
    }
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

const THREADS: u64 = 8;
const ROUNDS: u64 = 2000;

/// What one thread saw.
#[derive(Debug, Default)]
struct Seen {
    granted: u64,
    refused: u64,
    abandoned: u64,
}

fn rounds(semaphore: &PrioritySemaphore, out: &AtomicUsize, seed: u64) -> Seen {
    let mut rng = Rng::seeded(seed);
    let mut seen = Seen::default();
    for _ in 0..ROUNDS {
        let class = Priority::ALL[rng.next() as usize % 4];
        let weight = rng.next() as u32 % 3 + 1;
        let mut acquiring = Box::pin(semaphore.acquire(heavy(class, weight)));
        let ended = match poll(&mut acquiring) {
            Poll::Ready(ended) => ended,
            Poll::Pending if rng.next().is_multiple_of(4) => {
                std::thread::yield_now();
                seen.abandoned += 1;
                continue;
            }
            Poll::Pending => block_on(acquiring),
        };
        match ended {
            Ok(permit) => {
                let weight = weight as usize;
                assert!(out.fetch_add(weight, Ordering::SeqCst) + weight <= 6);
                if rng.next().is_multiple_of(8) {
                    std::thread::yield_now();
                }
                out.fetch_sub(weight, Ordering::SeqCst);
                drop(permit);
                seen.granted += 1;
            }
            Err(AcquireError::Full | AcquireError::Evicted) => seen.refused += 1,
            Err(why) => panic!("{why}"),
        }
        if rng.next().is_multiple_of(64) {
            semaphore.resize(rng.next() as usize % 4 + 3);
        }
    }
    seen
}

#[test]
fn eight_threads_never_hold_more_than_there_is_and_lose_nothing() {
    let semaphore = small(6, 4);
    let out = AtomicUsize::new(0);
    let all: Vec<Seen> = std::thread::scope(|scope| {
        let run = |seed| {
            scope.spawn({
                let (semaphore, out) = (&semaphore, &out);
                move || rounds(semaphore, out, seed)
            })
        };
        let threads: Vec<_> = (0..THREADS).map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    is_at_rest(&semaphore);
    let s = semaphore.snapshot();
    let [granted, refused, abandoned] = [
        all.iter().map(|seen| seen.granted).sum::<u64>(),
        all.iter().map(|seen| seen.refused).sum(),
        all.iter().map(|seen| seen.abandoned).sum(),
    ];
    assert_eq!(granted + refused + abandoned, THREADS * ROUNDS);
    assert!(refused <= s.refused + s.evicted, "{refused} of {s:?}");
    assert_eq!((s.expired, s.too_large, s.closed), (0, 0, 0));
}

/// The timer of a waiter, on paused time.
#[cfg(feature = "test-util")]
mod timed {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_ends_the_wait_to_the_millisecond() {
        let semaphore = semaphore(1);
        let held = semaphore.try_acquire().unwrap();
        let began = time::now();
        let want = Want::new(Urgent).with_deadline(began + Duration::from_millis(250));
        assert_eq!(semaphore.acquire(want).await.err(), Some(AcquireError::Expired));
        let took = time::now() - began;
        assert!((250..=252).contains(&took.as_millis()), "{took:?}");
        assert_eq!(semaphore.acquire(want).await.err(), Some(AcquireError::Expired));
        drop(held);
        assert_eq!(semaphore.acquire(want).await.err(), Some(AcquireError::Expired));
        is_at_rest(&semaphore);
        assert_eq!(semaphore.snapshot().expired, 1, "only one stood in line");
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_before_the_deadline_is_kept() {
        let semaphore = Arc::new(semaphore(1));
        let held = Arc::clone(&semaphore).acquire_owned(Low).await.unwrap();
        let want = Want::new(Low).with_deadline(time::now() + Duration::from_millis(250));
        let giver = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            drop(held);
        };
        let (permit, ()) = tokio::join!(semaphore.acquire(want), giver);
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(permit.unwrap());
        is_at_rest(&semaphore);
    }
}

#[tokio::test]
async fn a_deadline_at_the_end_of_time_is_as_good_as_none() {
    let mut last = Instant::now();
    let mut step = Duration::from_secs(1 << 62);
    while step >= Duration::from_secs(1) {
        last = last.checked_add(step).unwrap_or_else(|| {
            step /= 2;
            last
        });
    }
    let semaphore = PrioritySemaphore::new(1, SemaphoreConfig::default()).unwrap();
    let permit = semaphore.try_acquire().unwrap();
    let waits = semaphore.acquire(Want::default().with_deadline(last));
    let frees = async {
        tokio::task::yield_now().await;
        drop(permit);
    };
    assert!(tokio::join!(biased; waits, frees).0.is_ok());
}
