//! The semaphore beside a naive model of it, under random steps.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use proptest::prelude::*;

use super::super::waiting::Waiting;
use super::super::word::Took;
use super::*;
use crate::ground::time::Instant;

/// As far as the clock of a test that ends is from it.
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Debug)]
struct Queued {
    id: usize,
    weight: i64,
    deadline: Option<Instant>,
}

/// What the semaphore ought to do, by looking at everybody.
#[derive(Debug)]
struct Model {
    permits: i64,
    free: i64,
    is_closed: bool,
    bound: u32,
    lines: [VecDeque<Queued>; 4],
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

    fn enter(&mut self, class: usize, one: Queued) {
        let Queued { id, weight, .. } = one;
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
                    let victim = self.lines[lower].pop_back().unwrap().id;
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
            None => self.lines[class].push_back(one),
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
            let Queued { id, weight, .. } = self.lines[class][0];
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
    how: How<'a>,
    flag: Arc<Flag>,
}

enum How<'a> {
    Acquires(Acquiring<'a>),
    /// By hand, so that time is the model's.
    Until(Instant, Waiting<'a>),
}

/// The real one beside the model.
struct Pair<'a> {
    real: &'a PrioritySemaphore,
    model: Model,
    waiters: Vec<Waiter<'a>>,
    permits: Vec<Permit<'a>>,
    next_id: usize,
    now: Instant,
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
        let now = time::now() + HOUR;
        Self { real, model, waiters: Vec::new(), permits: Vec::new(), next_id: 0, now }
    }

    fn step(&mut self, [what, a, b]: [u8; 3]) {
        match what % 16 {
            0..=3 => self.acquire(usize::from(a % 4), u32::from(b % 4) + 1),
            4 => self.try_acquire(u32::from(b % 3) + 1),
            5..=7 => self.release(usize::from(a), usize::from(b)),
            8 => self.abandon(usize::from(a)),
            9 if b % 4 == 0 => self.resize(i64::from(a % 6) + 1),
            10 if a == 0 && b < 64 => self.close(),
            11 => self.real.lend(usize::from(a % 3)),
            12 => self.take_beside(usize::from(a % 3), u32::from(b % 2) + 1),
            13 | 14 => self.acquire_until(usize::from(a % 4), u32::from(b % 4) + 1, b / 16),
            15 => self.go_on(a / 16),
            _ => {}
        }
        self.agree();
        // A snapshot recalls what is lent: not after every step.
        if b.is_multiple_of(5) {
            self.count();
        }
    }

    fn acquire(&mut self, class: usize, weight: u32) {
        let id = self.enter(class, weight, None);
        let acquiring = Box::pin(self.real.acquire(heavy(Priority::ALL[class], weight)));
        self.stand(id, How::Acquires(acquiring));
    }

    fn acquire_until(&mut self, class: usize, weight: u32, seconds: u8) {
        let deadline = self.now + Duration::from_secs(seconds.into());
        let want = heavy(Priority::ALL[class], weight).with_deadline(deadline);
        let entered = self.real.enter_at(want, Waker::noop().clone(), self.now);
        if seconds == 0 && !self.model.is_closed && i64::from(weight) <= self.model.permits {
            assert_eq!(entered.err(), Some(AcquireError::Expired));
            return;
        }
        let id = self.enter(class, weight, Some(deadline));
        match entered {
            Ok(Entry::Waits(waiting)) => self.stand(id, How::Until(deadline, waiting)),
            Ok(Entry::Granted(permits)) => {
                let permit = Permit::new(self.real, permits);
                self.stand(id, How::Acquires(Box::pin(std::future::ready(Ok(permit)))));
            }
            Err(why) => self.stand(id, How::Acquires(Box::pin(std::future::ready(Err(why))))),
        }
    }

    fn enter(&mut self, class: usize, weight: u32, deadline: Option<Instant>) -> usize {
        let id = self.next_id;
        self.next_id += 1;
        self.model.enter(class, Queued { id, weight: weight.into(), deadline });
        id
    }

    fn stand(&mut self, id: usize, how: How<'a>) {
        // As if woken, so that it is polled: first, so that whom it displaces is seen to be woken.
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        self.waiters.insert(0, Waiter { id, how, flag });
    }

    /// Time goes on, and whoever's timer is due looks up.
    fn go_on(&mut self, seconds: u8) {
        self.now += Duration::from_secs(seconds.into());
        let now = self.now;
        let model = &mut self.model;
        for line in &mut model.lines {
            line.retain(|one| {
                let stays = one.deadline.is_none_or(|at| at > now);
                if !stays {
                    model.told.push((one.id, Err(AcquireError::Expired)));
                }
                stays
            });
        }
        model.serve();
        for waiter in &mut self.waiters {
            let how = std::mem::replace(&mut waiter.how, How::Acquires(never()));
            waiter.how = match how {
                How::Until(deadline, waiting) if deadline <= now => {
                    waiter.flag.0.store(true, Ordering::Relaxed);
                    let verdict = waiting.expire_at(now);
                    let ended = verdict.map(|permits| Permit::new(self.real, permits));
                    How::Acquires(Box::pin(std::future::ready(ended)))
                }
                how => how,
            };
        }
    }

    /// Beside the lock, as if by a thread of this stripe: what it gets is there, and what is
    /// there it gets, but for what lies elsewhere.
    fn take_beside(&mut self, stripe: usize, weight: u32) {
        let fits = self.fits(weight);
        match self.real.try_take(stripe, n(weight)) {
            Took::Taken => {
                assert!(fits);
                self.model.free -= i64::from(weight);
                self.permits.push(Permit::new(self.real, n(weight)));
            }
            Took::Look => assert!(!self.model.is_closed && self.model.waiting() == 0),
            Took::Wait | Took::Closed => assert!(!fits, "refused what is free"),
        }
    }

    fn fits(&self, weight: u32) -> bool {
        let model = &self.model;
        !model.is_closed && model.waiting() == 0 && i64::from(weight) <= model.free
    }

    fn try_acquire(&mut self, weight: u32) {
        let fits = self.fits(weight);
        let permit = self.real.try_acquire_many(n(weight));
        assert_eq!(permit.is_some(), fits);
        self.model.free -= if fits { i64::from(weight) } else { 0 };
        self.permits.extend(permit);
    }

    /// As if by a thread of this stripe.
    fn release(&mut self, nth: usize, stripe: usize) {
        if self.permits.is_empty() {
            return;
        }
        let permit = self.permits.swap_remove(nth % self.permits.len());
        self.model.free += i64::from(permit.permits().get());
        self.real.give_back(stripe % 3, permit.permits());
        std::mem::forget(permit);
        self.model.serve();
    }

    fn abandon(&mut self, nth: usize) {
        if self.waiters.is_empty() {
            return;
        }
        let waiter = self.waiters.swap_remove(nth % self.waiters.len());
        for line in &mut self.model.lines {
            line.retain(|one| one.id != waiter.id);
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
        self.model.told.extend(all.map(|one| (one.id, Err(AcquireError::Closed))));
        self.real.close();
    }

    /// Polls whoever was woken, and nobody else: who has to end was woken.
    fn agree(&mut self) {
        let mut told = Vec::new();
        let mut waits = Vec::new();
        for mut waiter in self.waiters.drain(..) {
            let waker = Waker::from(Arc::clone(&waiter.flag));
            let mut cx = Context::from_waker(&waker);
            let mut polled = None;
            // Whoever is told something by its own entry is woken while it is polled.
            while waiter.flag.0.swap(false, Ordering::Relaxed) && polled.is_none() {
                polled = match &mut waiter.how {
                    How::Acquires(acquiring) => ready(acquiring.as_mut().poll(&mut cx)),
                    How::Until(_, waiting) => {
                        let verdict = Pin::new(waiting).poll(&mut cx);
                        ready(verdict.map_ok(|permits| Permit::new(self.real, permits)))
                    }
                };
            }
            match polled {
                Some(result) => {
                    told.push((waiter.id, result.as_ref().map(drop).map_err(|why| *why)));
                    self.permits.extend(result.ok());
                }
                None => waits.push(waiter),
            }
        }
        self.waiters = waits;
        let mut expected = std::mem::take(&mut self.model.told);
        told.sort_by_key(|(id, _)| *id);
        expected.sort_by_key(|(id, _)| *id);
        assert_eq!(told, expected);
    }

    fn count(&self) {
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
            self.release(0, 0);
            self.agree();
        }
        assert_eq!(self.waiters.len(), 0, "every waiter ends");
        is_at_rest(self.real);
    }
}

fn ready<T>(poll: Poll<T>) -> Option<T> {
    match poll {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

fn never<'a>() -> Acquiring<'a> {
    Box::pin(std::future::pending())
}

proptest! {
    #![proptest_config(crate::ground::cases::cases(1_000))]
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
