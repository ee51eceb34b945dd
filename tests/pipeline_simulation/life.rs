//! One life of one pipeline: what is asked of it, step by step, and what must hold after each.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use headworks::pipeline::{Intent, IntentPipeline, NotPersisted, Ticket};
use headworks::rate_limit::{Quota, RateLimiter};
use headworks::{Ending, Priority, Reason, Refused};
use tokio::time::Instant;

use super::disk::Disk;
use super::ending::completed;
use super::history::Mode;
use super::ms;
use super::phases::{NAMES, Plan};
use super::rng::Rng;
use super::told::Told;
use super::world::{Load, World};

pub(crate) type Sut = IntentPipeline<Load, Plan>;
type Submitted = Result<Ticket<Load, Plan>, Refused<Intent<Load>>>;
pub(crate) type Lane = (Priority, u64);

/// What is asked over all lives.
pub(crate) struct Asker {
    pub(crate) rng: Rng,
    pub(crate) mode: Mode,
    pub(crate) world: Arc<World>,
    next_id: u64,
}

impl Asker {
    pub(crate) fn new(rng: Rng, mode: Mode, world: &Arc<World>) -> Self {
        Self { rng, mode, world: Arc::clone(world), next_id: 0 }
    }
}

/// What a life began with, and may change.
pub(crate) struct Limits {
    pub(crate) seats: usize,
    pub(crate) capacity: usize,
    pub(crate) concurrency: [usize; NAMES.len()],
    pub(crate) egress: Option<(Arc<RateLimiter>, u32, u32)>,
}

pub(crate) struct Held {
    pub(crate) id: u64,
    pub(crate) key: String,
    pub(crate) ticket: Ticket<Load, Plan>,
}

struct Waits {
    id: u64,
    key: String,
    lane: Lane,
    submit: Pin<Box<dyn Future<Output = Submitted>>>,
}

pub(crate) struct Life {
    pub(crate) pipeline: Option<Sut>,
    pub(crate) told: Told,
    pub(crate) disk: Option<Disk>,
    limits: Limits,
    /// The largest there was, and how many came back from the disk.
    most_capacity: usize,
    most_seats: usize,
    pub(crate) resumed: usize,
    began: Instant,
    pub(super) held: Vec<Held>,
    waiting: Vec<Waits>,
    /// Every accepted intent, in order, with its lane.
    pub(super) accepted: Vec<(u64, Lane)>,
    pub(super) dropped: u64,
    pub(super) returned: HashSet<u64>,
    pub(super) heard: HashMap<Ending, u64>,
    /// Intents whose end may not be that of their phases: they have a deadline, or were cancelled.
    pub(super) touched: HashSet<u64>,
    pub(super) cancelled: HashSet<String>,
}

impl Life {
    pub(crate) fn begin(pipeline: Sut, limits: Limits, disk: Option<Disk>) -> Self {
        Self {
            told: Told::by(&pipeline),
            pipeline: Some(pipeline),
            disk,
            most_capacity: limits.capacity,
            most_seats: limits.seats,
            limits,
            resumed: 0,
            began: Instant::now(),
            held: Vec::new(),
            waiting: Vec::new(),
            accepted: Vec::new(),
            dropped: 0,
            returned: HashSet::new(),
            heard: HashMap::new(),
            touched: HashSet::new(),
            cancelled: HashSet::new(),
        }
    }

    pub(crate) fn sut(&self) -> &Sut {
        self.pipeline.as_ref().unwrap()
    }

    /// What is on disk goes on.
    pub(crate) async fn restore(&mut self, world: &World) {
        let restored = self.sut().restore().await.unwrap();
        assert!(restored.refused.is_empty() && restored.set_aside.is_empty());
        self.resumed = restored.resumed.len();
        for resumed in restored.resumed {
            world.meet("resumed");
            // Whose it was only the payload knows.
            self.took(u64::MAX, resumed.key.to_string(), Default::default(), resumed.ticket);
        }
    }

    pub(crate) async fn step(&mut self, asker: &mut Asker) {
        match asker.rng.below(20) {
            0..8 => {
                let (id, key, lane, intent) = self.intent(asker, true);
                match self.sut().try_submit(intent) {
                    Ok(ticket) => self.took(id, key, lane, ticket),
                    Err(refused) => drop(refuse(&asker.world, id, refused)),
                }
            }
            8 | 9 => {
                let (id, key, lane, intent) = self.intent(asker, false);
                let own = self.sut().clone();
                let submit = Box::pin(async move { own.submit(intent).await });
                self.waiting.push(Waits { id, key, lane, submit });
            }
            10 if !self.waiting.is_empty() && asker.rng.one_in(2) => {
                let at = asker.rng.below(self.waiting.len() as u64) as usize;
                let Waits { key, submit, .. } = self.waiting.remove(at);
                // One that waits for the disk is accepted already, and is cancelled.
                drop(submit);
                self.cancelled.insert(key);
            }
            11 | 12 if !self.held.is_empty() => {
                let at = asker.rng.below(self.held.len() as u64) as usize;
                self.cancelled.insert(self.held[at].key.clone());
                self.held[at].ticket.cancel();
            }
            13 if !self.held.is_empty() && asker.rng.one_in(2) => {
                let at = asker.rng.below(self.held.len() as u64) as usize;
                let Held { ticket, key, .. } = self.held.remove(at);
                self.dropped += 1;
                let cancels = asker.rng.one_in(2);
                if cancels {
                    self.cancelled.insert(key);
                }
                let ticket = if cancels { ticket.cancel_on_drop() } else { ticket };
                drop_bomb(ticket);
            }
            14 | 15 => self.change(asker),
            _ => tokio::time::sleep(ms(asker.rng.below(30))).await,
        }
        self.poll_waiting(&asker.world);
        self.check(&asker.world);
    }

    /// Other limits, or a pause.
    fn change(&mut self, asker: &mut Asker) {
        let (rng, world, limits) = (&mut asker.rng, &asker.world, &mut self.limits);
        let pipeline = self.pipeline.clone().unwrap();
        let snapshot = pipeline.snapshot();
        match rng.below(9) {
            0 => {
                pipeline.pause();
                world.is_paused.store(true, Ordering::Relaxed);
            }
            1..4 => {
                world.is_paused.store(false, Ordering::Relaxed);
                pipeline.resume();
            }
            4 => {
                let seats = 2 + rng.below(self.most_seats as u64 - 1) as usize;
                pipeline.set_seats(seats).unwrap();
                // What runs goes on.
                limits.seats = seats.max(snapshot.busy);
            }
            5 => {
                let (phase, to) =
                    (rng.below(NAMES.len() as u64) as usize, 2 + rng.below(5) as usize);
                pipeline.set_concurrency(NAMES[phase], to).unwrap();
                limits.concurrency[phase] = to.max(snapshot.phases[phase].running);
            }
            6 => {
                let capacity = 1 + rng.below(20) as usize;
                pipeline.set_queue_capacity(capacity).unwrap();
                self.most_capacity = self.most_capacity.max(capacity);
            }
            7 => {
                let Some(ingress) = pipeline.ingress() else { return };
                let quota = Quota::per_second(20 + rng.below(300) as u32);
                match rng.below(3) {
                    0 => ingress.set_global_quota(quota.with_burst(5)).unwrap(),
                    1 => ingress.set_per_tenant_quota(quota.with_burst(2)).unwrap(),
                    _ => ingress.set_tenant_quota("tenant 1", quota.with_burst(1)).unwrap(),
                }
            }
            _ => {
                if let Some((egress, rate, burst)) = &mut limits.egress {
                    let (new_rate, new_burst) =
                        (20 + rng.below(200) as u32, 1 + rng.below(5) as u32);
                    let quota = Quota::per_second(new_rate).with_burst(new_burst);
                    egress.set_quota(quota).unwrap();
                    (*rate, *burst) = ((*rate).max(new_rate), (*burst).max(new_burst));
                }
            }
        }
    }

    pub(crate) fn resume(&mut self, world: &World) {
        world.is_paused.store(false, Ordering::Relaxed);
        self.sut().resume();
    }

    fn intent(
        &mut self,
        asker: &mut Asker,
        may_be_bomb: bool,
    ) -> (u64, String, Lane, Intent<Load>) {
        let (id, rng) = (asker.next_id, &mut asker.rng);
        asker.next_id += 1;
        let true_key = match asker.mode {
            Mode::Ordered => format!("k/{id}"),
            _ => format!("k/{}", rng.below(6)),
        };
        let key = match asker.mode {
            Mode::Unkeyed => format!("{true_key}#{id}"),
            _ => true_key.clone(),
        };
        let class = Priority::ALL[rng.below(4) as usize];
        let tenant = rng.below(3);
        let is_bomb = may_be_bomb && rng.one_in(4);
        let load = Load::new(id, &true_key, is_bomb, &asker.world);
        let intent = Intent::new(key.as_str(), load).priority(class);
        let mut intent = intent.tenant(format!("tenant {tenant}"));
        if rng.one_in(4) {
            let weight = if rng.one_in(20) { 99 } else { 2 };
            intent = intent.weight(weight.try_into().unwrap());
        }
        if asker.mode != Mode::Ordered && !rng.one_in(3) {
            intent = intent.generation(rng.below(4)).content(u128::from(rng.below(2)));
        }
        if rng.one_in(4) {
            intent = intent.deadline((Instant::now() + ms(rng.below(600))).into_std());
            self.touched.insert(id);
        }
        (id, key, (class, tenant), intent)
    }

    fn took(&mut self, id: u64, key: String, lane: Lane, ticket: Ticket<Load, Plan>) {
        self.accepted.push((id, lane));
        self.held.push(Held { id, key, ticket });
    }

    /// Every `submit` gets one poll.
    fn poll_waiting(&mut self, world: &World) {
        let mut cx = Context::from_waker(Waker::noop());
        for mut waits in std::mem::take(&mut self.waiting) {
            let Waits { id, .. } = waits;
            match waits.submit.as_mut().poll(&mut cx) {
                Poll::Ready(Ok(ticket)) => self.took(id, waits.key, waits.lane, ticket),
                Poll::Ready(Err(refused)) if refused.reason() == Reason::NotPersisted => {
                    // Accepted, and given back when its page failed; or refused at once. One that had
                    // joined another gets that one's, which nobody else holds any more.
                    world.meet("NotPersisted");
                    let load = refused.into_inner().payload;
                    self.touched.extend([id, load.id]);
                    load.disarm();
                }
                Poll::Ready(Err(refused)) => drop(refuse(world, id, refused)),
                Poll::Pending => self.waiting.push(waits),
            }
        }
    }

    fn check(&self, world: &World) {
        let snapshot = self.sut().snapshot();
        assert!(snapshot.ledger.is_exact(), "{}", snapshot.ledger);
        assert!(snapshot.runs.is_exact(), "{}", snapshot.runs);
        let depth = snapshot.parked + snapshot.queued.iter().sum::<usize>();
        let most = self.most_capacity + self.most_seats + self.resumed;
        world.claim(depth <= most, || format!("depth {depth}, at most {most}"));
        world.claim(snapshot.busy <= self.limits.seats, || format!("{} seats", snapshot.busy));
        let running: usize = snapshot.phases.iter().map(|phase| phase.running).sum();
        world.claim(snapshot.busy == running, || "a seat that no phase has".to_owned());
        for (phase, most) in snapshot.phases.iter().zip(self.limits.concurrency) {
            world.claim(phase.running <= most, || format!("{} in {}", phase.running, phase.name));
        }
        let elapsed = self.began.elapsed().as_secs_f64();
        if let Some((_, rate, burst)) = &self.limits.egress {
            let most = f64::from(*burst) + f64::from(*rate) * elapsed + 1.0;
            let sent = world.sent.load(Ordering::Relaxed);
            world.claim(sent as f64 <= most, || format!("{sent} sent, {most} at most"));
        }
        let budget = snapshot.retry_budget;
        let most = 0.2 * snapshot.runs.completed as f64 + 3.0 * (elapsed + 1.0) + 1.0;
        world.claim(budget.withdrawn as f64 <= most, || format!("{budget:?}, {most} at most"));
    }

    /// Those in the room are told, one way or the other.
    pub(crate) fn empty_the_room(&mut self, world: &World) {
        let waiting = self.waiting.len();
        self.poll_waiting(world);
        assert_eq!(self.waiting.len(), 0, "{waiting} in the room were not told");
    }

    pub(crate) fn is_closed(&mut self, asker: &mut Asker) {
        let (id, _, _, late) = self.intent(asker, false);
        let late = self.sut().try_submit(late).unwrap_err();
        assert_eq!(refuse(&asker.world, id, late), Reason::Closed);
    }

    /// Whoever waits to be accepted gives up.
    pub(crate) fn forget_the_room(&mut self) {
        std::mem::take(&mut self.waiting).into_iter().for_each(drop_bomb);
    }

    /// The last handle goes; tickets stay.
    pub(crate) fn drop_pipeline(&mut self) {
        drop_bomb(self.pipeline.take());
    }

    /// The process dies: whose ticket was not told, and said to be on disk, is there.
    pub(crate) fn crash(&mut self, world: &World, disk: &Disk) {
        let mut cx = Context::from_waker(Waker::noop());
        for Held { key, ticket, .. } in &mut self.held {
            let is_kept = pin!(ticket.persisted()).poll(&mut cx).map(|told| told.is_ok());
            let is_live = match Pin::new(ticket).poll(&mut cx) {
                Poll::Pending => true,
                Poll::Ready(Ok(done)) => {
                    completed(world, &done);
                    false
                }
                Poll::Ready(Err(ended)) => {
                    ended.into_intent().iter().for_each(|intent| intent.payload.disarm());
                    false
                }
            };
            // Where the last phase is durable, being gone from the disk is its end.
            let is_done = world.done.lock().unwrap().contains(key);
            let holds = !is_live || is_kept != Poll::Ready(true) || is_done || disk.has(key);
            world.claim(holds, || format!("{key} is live, was kept, and is not on disk"));
        }
    }

    /// Everything is over: what is said to have ended before it came to the disk is not there, unless
    /// the store failed when it was to be removed.
    pub(crate) fn is_as_told_on_disk(&mut self, world: &World) {
        let Some(disk) = &self.disk else { return };
        let (runs, mut cx) = (disk.runs(), Context::from_waker(Waker::noop()));
        for Held { id, key, ticket } in &mut self.held {
            let told = pin!(ticket.persisted()).poll(&mut cx);
            let never_came = matches!(told, Poll::Ready(Err(NotPersisted::Ended)));
            let holds = !never_came || !runs.contains_key(id) || disk.is_troubled(key);
            world.claim(holds, || {
                format!("{id} of {key} ended before it came to the disk: it is there")
            });
        }
    }

    /// After its runtime is gone.
    pub(crate) fn bury(self) {
        let Self { pipeline, held, waiting, .. } = self;
        waiting.into_iter().for_each(drop_bomb);
        held.into_iter().for_each(drop_bomb);
        drop_bomb(pipeline);
    }
}

/// What it holds may be a bomb, and is the dropper's.
fn drop_bomb<T>(bomb: T) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(bomb)));
}

/// A refusal gives the very intent back.
fn refuse(world: &World, id: u64, refused: Refused<Intent<Load>>) -> Reason {
    let reason = refused.reason();
    world.meet(format!("{reason:?}"));
    let load = refused.into_inner().payload;
    assert_eq!(load.id, id);
    load.disarm();
    reason
}

/// Lets every task run until all wait for something.
pub(crate) async fn settled() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}
