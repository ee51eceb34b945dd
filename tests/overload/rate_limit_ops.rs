//! Random operations on a limiter of two tiers beside a naive model in exact numbers, polled by hand
//! on one thread and a paused clock, four bytes a step; who waits is polled when woken, and only then. Whatever is taken must be there in the
//! model; whatever is refused must not, but for the rounding of a change; nobody goes before who
//! waits; and in the end everybody is told.
//!
//! Shared with the fuzz target of the same name, whose seeds run here.
use std::future::Future;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use headworks::rate_limit::{AcquireError, Quota, TieredQuota, TryAcquireError};
use headworks::{Priority, TieredRateLimiter};
use tokio::time::{Instant, advance};

/// Runs the steps, and panics where something does not hold.
pub(crate) fn run(steps: &[u8]) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime starts");
    runtime.block_on(live(steps));
}

const KEYS: usize = 4;

/// So many parts of a token that every quota here gains whole ones in a nanosecond.
const PARTS: i128 = 86_400_000_000_000;

#[derive(Debug)]
enum Op {
    Try { key: u8, cost: u32 },
    Acquire { key: u8, cost: u32, class: Priority, within: Option<Duration> },
    Drop { which: u8 },
    Refund { key: u8, cost: u32 },
    Advance { by: Duration },
    SetGlobal { quota: Quota },
    SetPerKey { quota: Quota },
    SetKey { key: u8, quota: Quota },
    ClearKey { key: u8 },
    Peek { key: u8 },
}

impl Op {
    fn read([verb, a, b, c]: [u8; 4]) -> Self {
        let (key, cost) = (a % KEYS as u8, u32::from(b % 8));
        let class = Priority::ALL[usize::from(c % 4)];
        match verb % 16 {
            0..4 => Self::Try { key, cost },
            4..7 => {
                let within = (c > 127).then(|| Duration::from_millis(u64::from(c - 127) * 10));
                Self::Acquire { key, cost, class, within }
            }
            7 => Self::Drop { which: a },
            8 => Self::Refund { key, cost },
            9..11 => Self::Advance { by: Duration::from_millis(u64::from(a)) },
            11 => Self::Advance { by: Duration::from_nanos(u64::from(a) << (b % 40)) },
            12 => Self::SetGlobal { quota: quota(a, b) },
            13 => Self::SetPerKey { quota: quota(a, b) },
            14 => match c % 3 {
                0 => Self::ClearKey { key },
                _ => Self::SetKey { key, quota: quota(c, b) },
            },
            _ => Self::Peek { key },
        }
    }
}

/// One that counts whole nanoseconds for each token.
fn quota(rate: u8, burst: u8) -> Quota {
    let burst = u32::from(burst % 12) + 1;
    let rates = [1, 5, 20, 1_000, 10_000, 1_000_000];
    match rates.get(usize::from(rate % 7)) {
        Some(&rate) => Quota::per_second(rate).with_burst(burst),
        None => Quota::new(24, Duration::from_secs(86_400)).with_burst(burst),
    }
}

/// A bucket in exact numbers.
#[derive(Clone)]
struct Bucket {
    quota: Quota,
    level: i128,
    at: Instant,
    /// Changes of the quota so far.
    changes: i128,
}

impl Bucket {
    fn new(quota: Quota) -> Self {
        Self { quota, level: i128::from(quota.burst) * PARTS, at: Instant::now(), changes: 0 }
    }

    fn advance(&mut self) {
        let gone = self.at.elapsed().as_nanos() as i128;
        let gain = PARTS * i128::from(self.quota.rate) / self.quota.period.as_nanos() as i128;
        self.at = Instant::now();
        self.level = (self.level + gone * gain).min(i128::from(self.quota.burst) * PARTS);
    }

    fn change(&mut self, quota: Quota) {
        self.advance();
        self.quota = quota;
        self.level = self.level.min(i128::from(quota.burst) * PARTS);
        self.changes += 1;
    }

    fn has(&mut self, cost: u32) -> bool {
        self.advance();
        self.level >= i128::from(cost) * PARTS
    }

    /// A change costs up to a nanosecond of each of the two rates.
    fn surely_has(&mut self, cost: u32) -> bool {
        self.advance();
        self.level >= i128::from(cost) * PARTS + self.changes * PARTS / 500
    }

    /// It has, and had without what came in the last moment: a timer may be a millisecond late.
    fn has_had(&mut self, cost: u32) -> bool {
        let moment = Duration::from_millis(2).as_nanos() as i128;
        let gain = PARTS * i128::from(self.quota.rate) / self.quota.period.as_nanos() as i128;
        self.level -= moment * gain;
        let has = self.surely_has(cost);
        self.level += moment * gain;
        has
    }

    fn take(&mut self, cost: u32) {
        assert!(self.has(cost), "too much was given");
        self.level -= i128::from(cost) * PARTS;
    }

    fn give_back(&mut self, cost: u32) {
        self.level += i128::from(cost) * PARTS;
        self.advance();
    }
}

/// What the limiter must be.
struct Model {
    global: Bucket,
    per_key: Quota,
    /// Those that were ever let in, or have a quota of their own.
    keys: [Option<Bucket>; KEYS],
    has_own: [bool; KEYS],
}

impl Model {
    fn key(&mut self, key: u8) -> &mut Bucket {
        self.keys[usize::from(key)].get_or_insert_with(|| Bucket::new(self.per_key))
    }

    fn look(&self, key: u8) -> Bucket {
        self.keys[usize::from(key)].clone().unwrap_or_else(|| Bucket::new(self.per_key))
    }

    fn burst(&self, key: u8) -> u32 {
        self.look(key).quota.burst.min(self.global.quota.burst)
    }

    fn take(&mut self, key: u8, cost: u32) {
        self.global.take(cost);
        self.key(key).take(cost);
    }
}

type Acquire = Pin<Box<dyn Future<Output = Result<(), AcquireError>>>>;

struct Waiter {
    key: u8,
    cost: u32,
    deadline: Option<Instant>,
    acquire: Acquire,
    woken: Arc<Woken>,
}

/// Whether a waiter is to be polled.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct World {
    limiter: Arc<TieredRateLimiter<u8>>,
    model: Model,
    waiting: Vec<Waiter>,
}

async fn live(steps: &[u8]) {
    let (steps, _) = steps.as_chunks::<4>();
    let Some(([a, b, c, d], steps)) = steps.split_first() else { return };
    let (global, per_key) = (quota(*a, *b), quota(*c, *d));
    let config = TieredQuota::default()
        .with_global(global)
        .with_per_key(per_key)
        .with_idle_key(Duration::MAX)
        .with_max_keys(NonZeroUsize::new(KEYS).expect("some"));
    let limiter = Arc::new(TieredRateLimiter::new(config).expect("every value is in range"));
    // At its very first instant a bucket can't be told from one that was never used.
    advance(Duration::from_millis(1)).await;
    let model = Model {
        global: Bucket::new(global),
        per_key,
        keys: [const { None }; KEYS],
        has_own: [false; KEYS],
    };
    let mut world = World { limiter, model, waiting: Vec::new() };
    for step in steps {
        world.step(Op::read(*step)).await;
        world.poll_woken();
        let look = world.limiter.snapshot();
        assert_eq!(look.waiting, world.waiting.len(), "{look:?}");
        assert!(look.keys <= KEYS, "{look:?}");
    }
    world.end().await;
}

impl World {
    async fn step(&mut self, op: Op) {
        match op {
            Op::Try { key, cost } => self.try_acquire(key, cost),
            Op::Acquire { .. } if self.waiting.len() > 32 => {}
            Op::Acquire { key, cost, class, within } => {
                let limiter = Arc::clone(&self.limiter);
                let acquire: Acquire =
                    match within {
                        None => Box::pin(async move { limiter.acquire(&key, cost, class).await }),
                        Some(within) => Box::pin(async move {
                            limiter.acquire_within(&key, cost, class, within).await
                        }),
                    };
                let deadline = within.map(|within| Instant::now() + within);
                let woken = Arc::new(Woken(AtomicBool::new(true)));
                self.waiting.push(Waiter { key, cost, deadline, acquire, woken });
            }
            Op::Drop { which } => {
                if !self.waiting.is_empty() {
                    self.waiting.remove(usize::from(which) % self.waiting.len());
                }
            }
            Op::Refund { key, cost } => {
                self.limiter.refund(&key, cost);
                self.model.global.give_back(cost);
                if let Some(bucket) = &mut self.model.keys[usize::from(key)] {
                    bucket.give_back(cost);
                }
            }
            Op::Advance { by } => self.advance(by).await,
            Op::SetGlobal { quota } => {
                self.limiter.set_global_quota(quota).expect("in range");
                self.model.global.change(quota);
            }
            Op::SetPerKey { quota } => {
                self.limiter.set_per_key_quota(quota).expect("in range");
                self.model.per_key = quota;
                let keys = self.model.keys.iter_mut().zip(self.model.has_own);
                let others =
                    keys.filter(|(_, has_own)| !has_own).filter_map(|(key, _)| key.as_mut());
                others.for_each(|bucket| bucket.change(quota));
            }
            Op::SetKey { key, quota } => {
                self.limiter.set_key_quota(key, quota).expect("in range, and there is room");
                let at = usize::from(key);
                self.model.has_own[at] = true;
                match &mut self.model.keys[at] {
                    Some(bucket) => bucket.change(quota),
                    new => *new = Some(Bucket::new(quota)),
                }
            }
            Op::ClearKey { key } => {
                self.limiter.clear_key_quota(&key);
                let at = usize::from(key);
                if std::mem::take(&mut self.model.has_own[at]) {
                    let per_key = self.model.per_key;
                    self.model.key(key).change(per_key);
                }
            }
            Op::Peek { key } => {
                let left = self.limiter.peek(&key);
                let mut own = self.model.look(key);
                let all = &mut self.model.global;
                assert!(own.has(left.available) && all.has(left.available), "{left:?}");
                assert!(!own.surely_has(left.available + 1) || !all.surely_has(left.available + 1));
            }
        }
    }

    fn try_acquire(&mut self, key: u8, cost: u32) {
        let somebody_waits = self.waiting.iter().any(|waiter| waiter.key == key);
        let burst = self.model.burst(key);
        match self.limiter.try_acquire(&key, cost) {
            Ok(()) => {
                assert!(!somebody_waits, "barged");
                self.model.take(key, cost);
            }
            Err(TryAcquireError::TooLarge { .. }) => assert!(cost > burst),
            Err(TryAcquireError::RateLimited(limited)) => {
                let mut own = self.model.look(key);
                let is_there = own.surely_has(cost) && self.model.global.surely_has(cost);
                assert!(!is_there || !self.waiting.is_empty(), "{cost} of {key} refused");
                let early = limited.earliest().saturating_duration_since(Instant::now().into());
                assert!(!early.is_zero() || !self.waiting.is_empty(), "refused until now");
                assert!(limited.retry_after() >= early);
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// In small steps while somebody waits: who is served is polled at its time, give or take a
    /// millisecond of the timer's.
    async fn advance(&mut self, by: Duration) {
        let steps = if self.waiting.is_empty() { 1 } else { 8 };
        for _ in 0..steps {
            advance(by / steps).await;
            self.poll_woken();
        }
    }

    /// Until nobody is woken any more.
    fn poll_woken(&mut self) {
        let is_woken = |waiter: &Waiter| waiter.woken.0.swap(false, Ordering::Relaxed);
        while let Some(at) = self.waiting.iter().position(is_woken) {
            let waiter = &mut self.waiting[at];
            let waker = Waker::from(Arc::clone(&waiter.woken));
            let poll = waiter.acquire.as_mut().poll(&mut Context::from_waker(&waker));
            let Poll::Ready(result) = poll else { continue };
            let Waiter { key, cost, deadline, .. } = self.waiting.remove(at);
            match result {
                Ok(()) => self.model.take(key, cost),
                Err(AcquireError::TooLarge { .. }) => assert!(cost > self.model.burst(key)),
                Err(AcquireError::Expired) => assert!(deadline.is_some(), "nobody asked for that"),
                Err(other) => panic!("{other}"),
            }
        }
        self.nobody_is_forgotten();
    }

    /// Where there is enough for each of those who wait there is for whoever is first, and he was
    /// told.
    fn nobody_is_forgotten(&mut self) {
        let Self { model, waiting, .. } = self;
        let is_enough = |waiter: &Waiter| {
            model.look(waiter.key).has_had(waiter.cost) && model.global.has_had(waiter.cost)
        };
        assert!(waiting.is_empty() || !waiting.iter().all(is_enough), "nobody was woken");
    }

    /// Every hour a quota here gives something.
    async fn end(mut self) {
        for _ in 0..12 * 24 {
            if self.waiting.is_empty() {
                break;
            }
            advance(Duration::from_secs(3_600)).await;
            self.poll_woken();
        }
        assert_eq!(self.waiting.len(), 0, "somebody waits for ever");
        self.limiter.close();
        assert_eq!(self.limiter.try_acquire(&0, 0), Err(TryAcquireError::Closed));
        assert_eq!(self.limiter.acquire(&0, 0, Priority::Urgent).await, Err(AcquireError::Closed));
    }
}
