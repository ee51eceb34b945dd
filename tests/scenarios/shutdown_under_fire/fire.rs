//! Everything that can be done to a pool, in random order.

use std::collections::{HashMap, HashSet};
use std::future::{Future, poll_fn};
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use headworks::worker_pool::{
    Adaptive, Autoscale, Concurrency, Task, TaskHandle, Thresholds, Timing, WorkerPoolConfig,
    WorkerPoolSnapshot,
};
use headworks::{Ending, Ledger, Priority, Reason, Refused, WorkerPool};
use tokio::time::{Instant, sleep, timeout};

use super::bodies::{Body, Load, World, body, work};
use crate::harness::claims::Claims;
use crate::harness::ms;
use crate::harness::rng::Rng;

/// For what takes no time, but by a real clock.
const PATIENCE: Duration = Duration::from_secs(10);

type Waiting<T> = Pin<Box<dyn Future<Output = T>>>;
type Submitting = Waiting<Result<TaskHandle<Load>, Refused<Body>>>;
type Running = Waiting<Result<Load, Refused<Body>>>;

/// Where it burns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene {
    pub(super) limit: Limit,
    /// On real threads and the real clock, with tasks that block.
    pub(super) is_real: bool,
    /// Tasks hold handles of the pool, and submit to it.
    pub(super) has_children: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Limit {
    Fixed,
    Autoscale,
    Adaptive,
}

impl Limit {
    fn up_to(self, seats: u64) -> Concurrency {
        let seats = seats as usize;
        match self {
            Self::Fixed => Concurrency::Fixed(seats),
            Self::Autoscale => Autoscale::between(1, seats)
                .with_target_wait(ms(10))
                .with_cool_down(ms(5))
                .with_idle_after(ms(40))
                .into(),
            Self::Adaptive => Adaptive::between(1, seats).into(),
        }
    }
}

/// A handle and the number of its task.
struct Held {
    id: u64,
    handle: TaskHandle<Load>,
}

pub(super) struct Fire {
    pub(super) rng: Rng,
    world: Arc<World>,
    scene: Scene,
    seats: u64,
    next_id: u64,
    held: Vec<Held>,
    submitting: Vec<(u64, Submitting)>,
    running: Vec<Running>,
    /// Refused, to be tried again.
    refused: Vec<(u64, Body)>,
    seen: HashMap<Ending, u64>,
    /// Handles given up: what they would have heard, nobody has.
    unheard: u64,
    /// Callers of `run` that went away: each may have had a seat.
    walked_off: u64,
    closed: bool,
    /// Tasks that were given a callback, and those of them that were accepted.
    given: HashSet<u64>,
    to_call: HashSet<u64>,
}

pub(super) fn alive_tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

impl Fire {
    pub(super) fn light(seed: u64, scene: Scene) -> (Self, WorkerPool) {
        let mut rng = Rng(seed);
        let seats = 1 + rng.below(5);
        let thresholds = if rng.one_in(3) { Thresholds::flat(1.0) } else { Thresholds::default() };
        let world = World { seed, is_real: scene.is_real, ..World::default() };
        let config = WorkerPoolConfig::default()
            .with_concurrency(scene.limit.up_to(seats))
            .with_queue_capacity(1 + rng.below(12) as usize)
            .with_thresholds(thresholds)
            .with_starvation_bound(1 + rng.below(6) as u32)
            .with_timing([Timing::Off, Timing::Sampled(4), Timing::All][rng.below(3) as usize])
            .with_task_timeout(Some(world.ms(50 + rng.below(400))));
        let fire = Self {
            world: Arc::new(world),
            scene,
            rng,
            seats,
            next_id: 0,
            held: Vec::new(),
            submitting: Vec::new(),
            running: Vec::new(),
            refused: Vec::new(),
            seen: HashMap::new(),
            unheard: 0,
            walked_off: 0,
            closed: false,
            given: HashSet::new(),
            to_call: HashSet::new(),
        };
        (fire, WorkerPool::new(config).unwrap())
    }

    pub(super) async fn step(&mut self, pool: &WorkerPool) {
        match self.rng.below(16) {
            0..4 => {
                let (id, task) = self.task(pool, true);
                self.verdict(id, pool.try_submit(task));
            }
            4 => {
                let own = pool.clone();
                let (id, task) = self.task(pool, true);
                self.submitting.push((id, Box::pin(async move { own.submit(task).await })));
            }
            5 => {
                let own = pool.clone();
                // A bomb in it would be the caller's own.
                let (_, task) = self.task(pool, false);
                self.running.push(Box::pin(async move { own.run(task).await }));
            }
            6 => self.many(pool),
            7 => self.retry(pool),
            8 => self.walk_off(),
            9 | 10 => self.cancel(),
            11 => self.drop_a_handle(),
            12 => self.look_at_a_handle().await,
            13 if self.scene.is_real => self.block(pool),
            13 => tokio::task::yield_now().await,
            _ => sleep(self.world.ms(self.rng.below(30))).await,
        }
        self.poll_waiting().await;
        let look = pool.snapshot();
        assert!(look.ledger.is_exact(), "{}", look.ledger);
        assert!(look.queued() <= look.capacity && look.room <= look.capacity, "{look:?}");
        // A limit that falls stops nobody.
        let most = if self.scene.limit == Limit::Fixed { look.limit } else { self.seats as u32 };
        assert!(look.busy <= most && look.limit <= self.seats as u32, "{look:?}");
    }

    fn task(&mut self, pool: &WorkerPool, may_be_bomb: bool) -> (u64, Task<Body>) {
        let (id, rng) = (self.next_id, &mut self.rng);
        self.next_id += 1;
        let load = Load::new(id, may_be_bomb && rng.one_in(5), &self.world);
        let parent = (rng.one_in(2) && self.scene.has_children).then(|| pool.clone());
        (id, self.dressed(id, body(load, parent)))
    }

    fn block(&mut self, pool: &WorkerPool) {
        let (id, rng) = (self.next_id, &mut self.rng);
        self.next_id += 1;
        let load = Load::new(id, false, &self.world);
        let task = Task::blocking(work(load)).priority(Priority::ALL[rng.below(4) as usize]);
        match pool.try_submit(task) {
            Ok(handle) => self.held.push(Held { id, handle }),
            Err(no) => assert!(no.into_inner().into_work().is_some(), "{id} was refused"),
        }
    }

    /// With a class, a tenant and the rest.
    fn dressed(&mut self, id: u64, body: Body) -> Task<Body> {
        let rng = &mut self.rng;
        let mut task = Task::new(body)
            .priority(Priority::ALL[rng.below(4) as usize])
            .tenant(&rng.below(3))
            .weight(NonZeroU32::MIN.saturating_add(rng.below(self.seats.min(2)) as u32));
        if rng.one_in(2) {
            task = task.within(self.world.ms(rng.below(300)));
        }
        if rng.one_in(8) {
            task = task.timeout(self.world.ms(1 + rng.below(80)));
        }
        self.given.remove(&id);
        if rng.one_in(3) {
            let (world, panics) = (Arc::clone(&self.world), rng.one_in(4));
            task = task.on_end(move |_| world.call(id, panics));
            self.given.insert(id);
        }
        task
    }

    fn verdict(&mut self, id: u64, verdict: Result<TaskHandle<Load>, Refused<Body>>) {
        match verdict {
            Ok(handle) => {
                assert!(!self.closed, "{id} was let in after the close");
                self.to_call.extend(self.given.take(&id));
                self.held.push(Held { id, handle });
            }
            Err(no) => {
                assert!(!self.world.has_begun(id), "{id} was refused, and has begun");
                assert!(!self.closed || no.reason() == Reason::Closed, "{:?}", no.reason());
                self.world.meet(no.reason());
                self.refused.push((id, no.into_inner()));
            }
        }
    }

    fn many(&mut self, pool: &WorkerPool) {
        let tasks = (0..1 + self.rng.below(6)).map(|_| self.task(pool, true));
        let (ids, tasks): (Vec<_>, Vec<_>) = tasks.unzip();
        for (id, verdict) in ids.into_iter().zip(pool.try_submit_many(tasks)) {
            self.verdict(id, verdict);
        }
    }

    fn retry(&mut self, pool: &WorkerPool) {
        let Some((id, body)) = self.refused.pop() else { return };
        let task = self.dressed(id, body);
        let verdict = pool.try_submit(task);
        if verdict.is_ok() {
            self.world.meet("a retry");
        }
        self.verdict(id, verdict);
    }

    /// Somebody who waits to be let in goes away.
    fn walk_off(&mut self) {
        if self.rng.one_in(2) {
            let _ = pick(&mut self.rng, &mut self.submitting).map(|(_, waits)| quietly(waits));
        } else if let Some(run) = pick(&mut self.rng, &mut self.running) {
            self.walked_off += 1;
            quietly(run);
        }
    }

    fn cancel(&mut self) {
        if let Some(held) = pick(&mut self.rng, &mut self.held) {
            held.handle.cancel();
            self.held.push(held);
        }
    }

    fn drop_a_handle(&mut self) {
        let Some(Held { handle, .. }) = pick(&mut self.rng, &mut self.held) else { return };
        self.unheard += 1;
        quietly(if self.rng.one_in(2) { handle.cancel_on_drop() } else { handle });
    }

    /// One poll, by which it may run its task right here.
    async fn look_at_a_handle(&mut self) {
        let Some(Held { id, mut handle }) = pick(&mut self.rng, &mut self.held) else { return };
        match poll_fn(|cx| Poll::Ready(Pin::new(&mut handle).poll(cx))).await {
            Poll::Ready(result) => self.heard(id, result),
            Poll::Pending => self.held.push(Held { id, handle }),
        }
    }

    /// Everybody who waits to be let in gets one poll.
    async fn poll_waiting(&mut self) {
        for (id, mut waits) in std::mem::take(&mut self.submitting) {
            match poll_fn(|cx| Poll::Ready(waits.as_mut().poll(cx))).await {
                Poll::Ready(verdict) => self.verdict(id, verdict),
                Poll::Pending => self.submitting.push((id, waits)),
            }
        }
        for mut run in std::mem::take(&mut self.running) {
            let poll =
                poll_fn(|cx| Poll::Ready(catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(cx)))));
            match poll.await {
                Ok(Poll::Pending) => self.running.push(run),
                Ok(Poll::Ready(Ok(_))) => *self.seen.entry(Ending::Completed).or_default() += 1,
                Ok(Poll::Ready(Err(no))) => self.world.meet(format!("Run{:?}", no.reason())),
                Err(_) => *self.seen.entry(Ending::Failed).or_default() += 1,
            }
        }
    }

    fn heard(&mut self, id: u64, result: Result<Load, headworks::TaskError>) {
        let ending = match result {
            Ok(load) => {
                load.disarm();
                Ending::Completed
            }
            Err(error) => error.ending(),
        };
        let unstarted = [Ending::Evicted, Ending::Expired, Ending::Returned].contains(&ending);
        assert!(!unstarted || !self.world.has_begun(id), "{id} began, and ended {ending}");
        self.world.meet(ending);
        *self.seen.entry(ending).or_default() += 1;
    }

    /// Ends the pool while the fire goes on.
    pub(super) async fn put_out(&mut self, claims: &mut Claims, pool: &WorkerPool, really: bool) {
        let within = self.world.ms([0, 20, 300, 20_000][self.rng.below(4) as usize]);
        let (start, is_real) = (Instant::now(), self.scene.is_real);
        let shutdown = async {
            if really {
                let report = pool.shutdown(within).await;
                // Every task comes to an await point at once, but for those that have a thread.
                assert!(is_real || report.unresponsive.is_empty(), "{report:?}");
                let left = report.unresponsive.len() as u64 + u64::from(report.in_run);
                (report.ledger.live, left)
            } else {
                pool.close();
                sleep(within).await;
                (pool.snapshot().ledger.live, 0)
            }
        };
        let fire = async {
            // Closed by now: the shutdown is polled first.
            self.closed = true;
            for _ in 0..self.rng.below(40) {
                self.step(pool).await;
            }
        };
        let timed = async {
            let (live, in_run) = shutdown.await;
            (live, in_run, start.elapsed())
        };
        let ((live, in_run, took), ()) = tokio::join!(biased; timed, fire);
        // By a real clock, on a machine that may be busy, only that it does not hang.
        let grace = if is_real { PATIENCE } else { ms(100) };
        let in_time = took <= within + grace && live == in_run;
        claims.check("in time", in_time, format_args!("{live} live after {took:?} of {within:?}"));
        if in_run > 0 {
            self.world.meet("in run");
        }
        self.leave();
        // Workers stay until the last caller has left `run`, which was just now.
        self.settles().await;
        self.hear(claims).await;
    }

    /// A moment on the simulated clock. By a real one whoever waits for something waits until it is.
    pub(super) async fn settles(&self) {
        if !self.scene.is_real {
            sleep(ms(1)).await;
        }
    }

    /// Everybody who waits to be let in goes away.
    pub(super) fn leave(&mut self) {
        self.walked_off += self.running.len() as u64;
        self.running.drain(..).for_each(quietly);
        self.submitting.drain(..).for_each(|(_, waits)| quietly(waits));
        self.refused.drain(..).for_each(|(_, body)| quietly(body));
    }

    /// Every handle that is held is told at once.
    pub(super) async fn hear(&mut self, claims: &mut Claims) {
        for Held { id, handle } in std::mem::take(&mut self.held) {
            let patience = if self.scene.is_real { PATIENCE } else { ms(1) };
            let heard = timeout(patience, handle).await;
            claims.check("told", heard.is_ok(), format_args!("the handle of {id}"));
            match heard {
                Ok(result) => self.heard(id, result),
                Err(_) => self.unheard += 1,
            }
        }
    }

    /// Whether that comes true: at once, or by a real clock in a while.
    pub(super) async fn comes(&self, is_true: impl Fn() -> bool) -> bool {
        let start = Instant::now();
        while self.scene.is_real && !is_true() && start.elapsed() < PATIENCE {
            sleep(ms(1)).await;
        }
        is_true()
    }

    /// Nothing of the tasks is left.
    pub(super) fn has_let_go(&self) -> bool {
        self.world.loads.load(Ordering::Relaxed) == 0
    }

    pub(super) fn has_called(&self) -> bool {
        self.world.calls.lock().unwrap().len() >= self.to_call.len()
    }

    /// Of a pool whose last handle was dropped just after that look: what lived was cancelled. On
    /// real threads some may have ended in between, so there only their number is known.
    pub(super) fn account_dropped(&self, look: &WorkerPoolSnapshot) {
        let mut ledger = look.ledger;
        if self.scene.is_real {
            let heard = self.seen.values().sum::<u64>();
            let range = heard + self.unheard..=heard + self.unheard + self.walked_off;
            assert!(range.contains(&ledger.accepted), "{ledger}: {range:?} heard or given up");
            return;
        }
        ledger.cancelled += std::mem::take(&mut ledger.live);
        self.account(ledger);
    }

    /// Each callback of what was accepted was called once, and no other.
    pub(super) fn account_calls(&self) {
        let calls = self.world.calls.lock().unwrap();
        let once: HashSet<u64> =
            calls.iter().filter(|(_, times)| **times == 1).map(|(id, _)| *id).collect();
        assert_eq!((calls.len(), once), (self.to_call.len(), self.to_call.clone()));
    }

    /// The ledger beside what was heard.
    pub(super) fn account(&self, ledger: Ledger) {
        assert!(ledger.is_exact() && ledger.live == 0, "{ledger}");
        let mut unheard = 0;
        for ending in Ending::ALL {
            let seen = self.seen.get(&ending).copied().unwrap_or(0);
            assert!(seen <= ledger.count(ending), "{ending}: {seen} heard, {ledger}");
            unheard += ledger.count(ending) - seen;
        }
        let children = self.world.children.load(Ordering::Relaxed) as u64;
        let expected = self.unheard + children;
        let range = expected..=expected + self.walked_off;
        assert!(range.contains(&unheard), "{unheard} of {range:?} unheard, {ledger}");
    }

    pub(super) fn into_met(self) -> HashSet<String> {
        let world = Arc::clone(&self.world);
        drop(self);
        world.met.lock().unwrap().clone()
    }
}

fn pick<T>(rng: &mut Rng, from: &mut Vec<T>) -> Option<T> {
    let at = rng.below(from.len().max(1) as u64) as usize;
    (at < from.len()).then(|| from.swap_remove(at))
}

/// What is dropped may be a bomb, and then it is the dropper's.
fn quietly<T>(thing: T) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(thing)));
}
