//! The pipeline under everything at once (D16), replayed from one number, on paused time.
//!
//! `HEADWORKS_SEEDS=10000` runs more seeds; `HEADWORKS_SEED=17` runs one. A failure prints its seed.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and brings its own clock"
)]

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headworks::circuit_breaker::{CircuitBreaker, CircuitBreakerConfig};
use headworks::pipeline::{
    DrainReport, Intent, IntentPipeline, Phase, PhaseConfig, PhaseContext, PhaseError,
    PipelineConfig, Step, Ticket,
};
use headworks::rate_limit::{Quota, RateLimiter, TieredQuota};
use headworks::retry::Backoff;
use headworks::{Ending, Ledger, Priority, Reason, Refused};
use tokio::time::Instant;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// SplitMix64.
#[derive(Clone)]
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// What is seen from outside of the pipeline.
#[derive(Default)]
struct World {
    seed: u64,
    /// Keys inside an attempt.
    inside: Mutex<HashSet<String>>,
    /// Intents in the order of their first attempts.
    started: Mutex<Vec<u64>>,
    wrong: Mutex<Vec<String>>,
    /// Endings and refusals that came up.
    met: Mutex<HashSet<String>>,
    loads: AtomicUsize,
}

impl World {
    fn complain(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }

    fn meet(&self, what: impl std::fmt::Debug) {
        self.met.lock().unwrap().insert(format!("{what:?}"));
    }
}

/// A payload. Some panic when they are dropped, unless disarmed.
struct Load {
    id: u64,
    key: String,
    armed: AtomicBool,
    world: Arc<World>,
}

impl Load {
    fn new(id: u64, key: &str, is_bomb: bool, world: &Arc<World>) -> Self {
        world.loads.fetch_add(1, Ordering::Relaxed);
        let (armed, key, world) = (AtomicBool::new(is_bomb), key.to_owned(), Arc::clone(world));
        Self { id, key, armed, world }
    }

    fn disarm(&self) {
        self.armed.store(false, Ordering::Relaxed);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.world.loads.fetch_sub(1, Ordering::Relaxed);
        if self.armed.load(Ordering::Relaxed) && !std::thread::panicking() {
            std::panic::panic_any("a bomb");
        }
    }
}

/// The key is inside for as long as this lives.
struct Inside<'a>(&'a Load);

impl<'a> Inside<'a> {
    fn enter(load: &'a Load) -> Self {
        if !load.world.inside.lock().unwrap().insert(load.key.clone()) {
            load.world.complain(format!("two runs of {} at once", load.key));
        }
        Self(load)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.world.inside.lock().unwrap().remove(&self.0.key);
    }
}

/// Does what the seed, the intent and the attempt say.
struct Chaos {
    phase: u64,
}

impl Chaos {
    async fn attempt(&self, load: &Load, cx: &PhaseContext) -> Result<Step<()>, PhaseError> {
        let _inside = Inside::enter(load);
        if self.phase == 0 && cx.attempt() == 1 {
            load.world.started.lock().unwrap().push(load.id);
        }
        let salt = load.id << 8 | self.phase << 4 | u64::from(cx.attempt().min(9));
        let mut rng = Rng(load.world.seed ^ salt.wrapping_mul(0x2545_f491_4f6c_dd1d));
        match rng.below(3) {
            0 => {}
            1 => tokio::task::yield_now().await,
            _ => tokio::time::sleep(ms(rng.below(60))).await,
        }
        match rng.below(24) {
            0..2 => Err(PhaseError::retryable("down")),
            2 => Err(PhaseError::permanent("never")),
            3 => Err(PhaseError::overloaded("busy", Some(ms(rng.below(40))))),
            4 => std::panic::panic_any("a phase"),
            5..7 => Ok(Step::Again { after: ms(rng.below(50)) }),
            7 => {
                tokio::time::sleep(ms(3000)).await;
                Ok(Step::Done(()))
            }
            _ => Ok(Step::Done(())),
        }
    }
}

/// The payload is lent from phase to phase by its number only.
struct First(Chaos);
struct Last(Chaos, Mutex<HashMap<u64, ()>>);

/// What goes from the first phase on: it may panic when it is dropped, too.
struct Made(Arc<Load>);

impl Phase<Load> for First {
    type Out = Made;

    async fn run(&self, load: &Load, cx: &PhaseContext) -> Result<Step<Made>, PhaseError> {
        Ok(match self.0.attempt(load, cx).await? {
            Step::Again { after } => Step::Again { after },
            Step::Done(()) => {
                let is_bomb = load.armed.load(Ordering::Relaxed) && load.id.is_multiple_of(3);
                Step::Done(Made(Arc::new(Load::new(load.id, &load.key, is_bomb, &load.world))))
            }
        })
    }
}

impl Phase<Made> for Last {
    type Out = Made;

    async fn run(&self, made: &Made, cx: &PhaseContext) -> Result<Step<Made>, PhaseError> {
        self.1.lock().unwrap().insert(made.0.id, ());
        Ok(match self.0.attempt(&made.0, cx).await? {
            Step::Again { after } => Step::Again { after },
            Step::Done(()) => Step::Done(Made(Arc::clone(&made.0))),
        })
    }
}

type Sut = IntentPipeline<Load, Made>;
type Waiting = Pin<Box<dyn Future<Output = Result<Ticket<Load, Made>, Refused<Intent<Load>>>>>>;

/// What the simulation is told.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// Few keys, everything allowed.
    Wild,
    /// Each intent has its own key: the order of starts can be told.
    Ordered,
    /// The negative control: the pipeline is not told the true keys.
    Unkeyed,
}

struct Held {
    id: u64,
    ticket: Ticket<Load, Made>,
}

struct Simulation {
    rng: Rng,
    mode: Mode,
    world: Arc<World>,
    capacity: usize,
    seats: usize,
    next_id: u64,
    held: Vec<Held>,
    waiting: Vec<(u64, (Priority, u64), Waiting)>,
    /// Every accepted intent, in order, with its lane.
    accepted: Vec<(u64, (Priority, u64))>,
    dropped: u64,
    returned: HashSet<u64>,
    seen: HashMap<Ending, u64>,
}

impl Simulation {
    fn new(seed: u64, mode: Mode) -> Self {
        let mut rng = Rng(seed);
        let world = Arc::new(World { seed, ..World::default() });
        let (capacity, seats) = (1 + rng.below(20) as usize, 2 + rng.below(5) as usize);
        Self {
            rng,
            mode,
            world,
            capacity,
            seats,
            next_id: 0,
            held: Vec::new(),
            waiting: Vec::new(),
            accepted: Vec::new(),
            dropped: 0,
            returned: HashSet::new(),
            seen: HashMap::new(),
        }
    }

    fn pipeline(&mut self) -> Sut {
        let rng = &mut self.rng;
        let mut config = PipelineConfig::default()
            .with_queue_capacity(self.capacity)
            .with_seats(self.seats)
            .with_starvation_bound(1 + rng.below(6) as u32)
            .with_key_backoff(Backoff::new(ms(20), ms(200)))
            .with_critical_grace(ms(1 + rng.below(300)));
        if rng.one_in(3) {
            let quota = TieredQuota::default()
                .with_global(Quota::per_second(200).with_burst(20))
                .with_per_key(Quota::per_second(100).with_burst(4));
            config = config.with_ingress(quota);
        }
        let mut first = PhaseConfig::remote().with_timeout(ms(100));
        if rng.one_in(2) {
            first = first.with_concurrency(2 + rng.below(3) as usize);
        }
        if rng.one_in(3) {
            let breaker = CircuitBreakerConfig::default()
                .with_consecutive_failures(NonZeroU32::new(3))
                .with_open_for(ms(50))
                .with_open_jitter_ratio(0.0)
                .with_call_timeout(ms(500))
                .with_probes(NonZeroU32::MIN);
            first = first.with_breaker(CircuitBreaker::new(breaker).unwrap());
        }
        let mut last = PhaseConfig::remote().with_timeout(ms(200));
        if rng.one_in(2) {
            last = last.critical();
        }
        if rng.one_in(3) {
            let egress = RateLimiter::new(Quota::per_second(100).with_burst(2)).unwrap();
            last = last.with_egress(egress);
        }
        IntentPipeline::builder::<Load>(config)
            .phase("first", first, First(Chaos { phase: 0 }))
            .phase("last", last, Last(Chaos { phase: 1 }, Mutex::default()))
            .seeded(rng.next())
            .build()
            .unwrap()
    }

    fn intent(&mut self, may_be_bomb: bool) -> (u64, (Priority, u64), Intent<Load>) {
        let (id, rng) = (self.next_id, &mut self.rng);
        self.next_id += 1;
        let true_key = match self.mode {
            Mode::Ordered => format!("k/{id}"),
            Mode::Wild | Mode::Unkeyed => format!("k/{}", rng.below(6)),
        };
        let told_key = match self.mode {
            Mode::Unkeyed => format!("{true_key}/{id}"),
            Mode::Wild | Mode::Ordered => true_key.clone(),
        };
        let class = Priority::ALL[rng.below(4) as usize];
        let tenant = rng.below(3);
        let is_bomb = may_be_bomb && rng.one_in(4);
        let load = Load::new(id, &true_key, is_bomb, &self.world);
        let mut intent =
            Intent::new(told_key, load).priority(class).tenant(format!("tenant {tenant}"));
        if rng.one_in(4) {
            intent = intent.weight(NonZeroU32::new(2).unwrap());
        }
        if self.mode == Mode::Wild && !rng.one_in(3) {
            intent = intent.generation(rng.below(4)).content(u128::from(rng.below(2)));
        }
        if rng.one_in(3) {
            intent = intent.deadline((Instant::now() + ms(rng.below(400))).into_std());
        }
        (id, (class, tenant), intent)
    }

    fn took(&mut self, id: u64, lane: (Priority, u64), ticket: Ticket<Load, Made>) {
        self.accepted.push((id, lane));
        self.held.push(Held { id, ticket });
    }

    /// A refusal gives the very intent back.
    fn refused(&self, id: u64, refused: Refused<Intent<Load>>) -> Reason {
        let reason = refused.reason();
        self.world.meet(reason);
        let load = refused.into_inner().payload;
        assert_eq!(load.id, id);
        load.disarm();
        reason
    }

    async fn step(&mut self, pipeline: &Sut) {
        match self.rng.below(12) {
            0..5 => {
                let (id, lane, intent) = self.intent(true);
                match pipeline.try_submit(intent) {
                    Ok(ticket) => self.took(id, lane, ticket),
                    Err(refused) => drop(self.refused(id, refused)),
                }
            }
            5 => {
                let (id, lane, intent) = self.intent(false);
                let own = pipeline.clone();
                let waiting = Box::pin(async move { own.submit(intent).await });
                self.waiting.push((id, lane, waiting));
            }
            6 if !self.waiting.is_empty() && self.rng.one_in(2) => {
                let at = self.rng.below(self.waiting.len() as u64) as usize;
                drop(self.waiting.remove(at));
            }
            7 | 8 if !self.held.is_empty() => {
                let at = self.rng.below(self.held.len() as u64) as usize;
                self.held[at].ticket.cancel();
            }
            9 if !self.held.is_empty() && self.rng.one_in(2) => {
                let at = self.rng.below(self.held.len() as u64) as usize;
                let Held { ticket, .. } = self.held.remove(at);
                self.dropped += 1;
                let ticket = if self.rng.one_in(2) { ticket.cancel_on_drop() } else { ticket };
                // What it holds may be a bomb, and is the dropper's.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(ticket)));
            }
            _ => tokio::time::sleep(ms(self.rng.below(30))).await,
        }
        self.poll_waiting().await;
        self.check(pipeline);
    }

    /// Every `submit` gets one poll.
    async fn poll_waiting(&mut self) {
        for (id, lane, mut waiting) in std::mem::take(&mut self.waiting) {
            match std::future::poll_fn(|cx| std::task::Poll::Ready(waiting.as_mut().poll(cx))).await
            {
                std::task::Poll::Ready(Ok(ticket)) => self.took(id, lane, ticket),
                std::task::Poll::Ready(Err(refused)) => drop(self.refused(id, refused)),
                std::task::Poll::Pending => self.waiting.push((id, lane, waiting)),
            }
        }
    }

    fn check(&self, pipeline: &Sut) {
        let snapshot = pipeline.snapshot();
        assert!(snapshot.ledger.is_exact(), "{}", snapshot.ledger);
        assert!(snapshot.runs.is_exact(), "{}", snapshot.runs);
        assert_eq!(snapshot.ledger.accepted, self.accepted.len() as u64);
        let depth = snapshot.parked + snapshot.queued.iter().sum::<usize>();
        assert!(depth <= self.capacity + self.seats, "depth {depth}");
        assert!(snapshot.busy <= self.seats);
        let running: usize = snapshot.phases.iter().map(|phase| phase.running).sum();
        assert_eq!(snapshot.busy, running);
    }

    /// Awaits every ticket that is held, and writes down what it heard.
    async fn hear(&mut self) {
        for Held { id, ticket, .. } in std::mem::take(&mut self.held) {
            let heard = tokio::time::timeout(ms(1), ticket).await;
            let heard = heard.unwrap_or_else(|_| panic!("the ticket of {id} is never told"));
            let ending = match heard {
                Ok(done) => {
                    done.output.0.disarm();
                    Ending::Completed
                }
                Err(ended) => {
                    let (ending, unknown) = (ended.ending(), ended.is_indeterminate());
                    let begun = !ended.trace().phases.is_empty();
                    assert!(!(ending == Ending::Evicted && begun), "{id} evicted after it began");
                    assert!(!unknown || ending == Ending::Failed);
                    if let Some(intent) = ended.into_intent() {
                        self.came_back(&intent);
                    }
                    ending
                }
            };
            self.world.meet(ending);
            *self.seen.entry(ending).or_default() += 1;
        }
    }

    fn came_back(&mut self, intent: &Intent<Load>) {
        intent.payload.disarm();
        assert!(self.returned.insert(intent.payload.id), "{} twice", intent.payload.id);
    }

    fn compare(&self, ledger: Ledger) {
        assert!(ledger.is_exact(), "{ledger}");
        assert_eq!(ledger.live, 0);
        assert_eq!(ledger.accepted, self.accepted.len() as u64);
        let mut unheard = 0;
        for ending in Ending::ALL {
            let seen = self.seen.get(&ending).copied().unwrap_or(0);
            assert!(seen <= ledger.count(ending), "{ending}: {seen} heard, {ledger}");
            unheard += ledger.count(ending) - seen;
        }
        assert_eq!(unheard, self.dropped, "{ledger}");
    }

    /// Inside a class and tenant the first attempts begin in the order of acceptance.
    fn check_order(&self) {
        let started = self.world.started.lock().unwrap();
        let place: HashMap<u64, usize> =
            self.accepted.iter().enumerate().map(|(at, &(id, _))| (id, at)).collect();
        let lanes: HashMap<u64, (Priority, u64)> = self.accepted.iter().copied().collect();
        let mut last: HashMap<(Priority, u64), usize> = HashMap::new();
        for id in &*started {
            let Some(before) = last.insert(lanes[id], place[id]) else { continue };
            assert!(before < place[id], "{id} of {:?} out of order", lanes[id]);
        }
    }

    async fn shut_down(&mut self, pipeline: Sut) {
        if self.rng.one_in(5) {
            self.waiting.clear();
            drop(pipeline);
            tokio::time::sleep(ms(10_000)).await;
            return self.hear().await;
        }
        let within = [ms(0), ms(20), ms(300), ms(20_000)][self.rng.below(4) as usize];
        let start = Instant::now();
        let DrainReport { ledger, runs, returned, indeterminate, unresponsive, .. } =
            pipeline.shutdown(within).await;
        assert!(start.elapsed() <= within + ms(102), "{:?} of {within:?}", start.elapsed());
        assert!(unresponsive.is_empty(), "{unresponsive:?}");
        if !indeterminate.is_empty() {
            self.world.meet("indeterminate");
        }
        let (id, _, late) = self.intent(false);
        let late = pipeline.try_submit(late).unwrap_err();
        assert_eq!(self.refused(id, late), Reason::Closed);
        let waiting = self.waiting.len();
        self.poll_waiting().await;
        assert_eq!(self.waiting.len(), 0, "{waiting} in the room were not told");
        settled().await;
        assert!(alive_tasks() <= indeterminate.len(), "{} tasks", alive_tasks());
        assert_eq!(runs.returned, returned.len() as u64);
        let tickets: usize = returned.iter().map(|returned| returned.tickets).sum();
        assert_eq!(tickets as u64, ledger.returned);
        returned.iter().for_each(|returned| self.came_back(&returned.intent));
        drop(returned);
        assert!(runs.is_exact(), "{runs}");
        self.hear().await;
        self.compare(ledger);
        drop(pipeline);
        tokio::time::sleep(ms(10_000)).await;
    }
}

/// Lets every task run until all wait for something.
async fn settled() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

fn alive_tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// One life of one pipeline; what was wrong with its keys, and what it met.
fn run(seed: u64, mode: Mode) -> (Vec<String>, HashSet<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut simulation = Simulation::new(seed, mode);
        let pipeline = simulation.pipeline();
        let steps = 20 + simulation.rng.below(150);
        for _ in 0..steps {
            simulation.step(&pipeline).await;
        }
        simulation.shut_down(pipeline).await;
        assert_eq!(alive_tasks(), 0, "somebody lives on");
        if mode == Mode::Ordered {
            simulation.check_order();
        }
        let world = Arc::clone(&simulation.world);
        drop(simulation);
        assert_eq!(world.loads.load(Ordering::Relaxed), 0, "a payload was kept");
        let (wrong, met) = (world.wrong.lock().unwrap(), world.met.lock().unwrap());
        (wrong.clone(), met.clone())
    })
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("HEADWORKS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("HEADWORKS_SEEDS").unwrap_or(1_000),
    }
}

/// Runs every seed, and names the one that failed. What all of them met.
fn every_seed(mode: Mode) -> HashSet<String> {
    quiet_bombs();
    let mut all = HashSet::new();
    for seed in seeds() {
        match catch_unwind(|| run(seed, mode)) {
            Ok((wrong, met)) => {
                assert!(wrong.is_empty(), "HEADWORKS_SEED={seed}: {wrong:?}");
                all.extend(met);
            }
            Err(panic) => {
                eprintln!("failed: HEADWORKS_SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    all
}

/// The panics that are part of the load are not worth a line each.
fn quiet_bombs() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let shown = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<&str>();
            if !matches!(text, Some(&("a bomb" | "a phase"))) {
                shown(info);
            }
        }));
    });
}

#[test]
fn under_fire_the_ledger_is_exact_keys_never_overlap_and_nothing_is_lost() {
    let met = every_seed(Mode::Wild);
    if seeds().count() < 1_000 {
        return;
    }
    // The load is what it says: everything that can happen has happened.
    let reasons = ["QueueFull", "CircuitOpen", "DeadlineInfeasible", "Conflict", "Stale", "Closed"];
    let words = Ending::ALL.map(|ending| format!("{ending:?}")).into_iter();
    let words = words.chain(reasons.map(str::to_owned)).chain(["\"indeterminate\"".to_owned()]);
    for word in words {
        assert!(met.contains(&word), "{word} never came up");
    }
    assert!(met.iter().any(|word| word.starts_with("RateLimited")));
}

#[test]
fn under_fire_every_class_and_tenant_is_served_in_order() {
    let _ = every_seed(Mode::Ordered);
}

/// The negative control: without the key rule the same load must break the same check.
#[test]
fn without_the_key_rule_the_same_load_overlaps() {
    quiet_bombs();
    assert!((0..20).any(|seed| !run(seed, Mode::Unkeyed).0.is_empty()));
}

/// Counts the runs of each key, with a moment between the look and the end.
struct Recount {
    /// By key: runs begun, and the number of adds that the last one to begin has seen.
    runs: Mutex<HashMap<String, (u64, u64)>>,
    adds: Mutex<HashMap<String, u64>>,
    inside: Mutex<HashSet<String>>,
    overlaps: AtomicUsize,
}

struct Reader(Arc<Recount>);

impl Phase<()> for Reader {
    type Out = ();

    async fn run(&self, (): &(), cx: &PhaseContext) -> Result<Step<()>, PhaseError> {
        let world = &*self.0;
        if !world.inside.lock().unwrap().insert(cx.key().to_owned()) {
            world.overlaps.fetch_add(1, Ordering::Relaxed);
        }
        let seen = world.adds.lock().unwrap().get(cx.key()).copied().unwrap_or(0);
        {
            let mut runs = world.runs.lock().unwrap();
            let (begun, latest) = runs.entry(cx.key().to_owned()).or_default();
            *begun += 1;
            *latest = seen;
        }
        for _ in 0..seen % 4 {
            tokio::task::yield_now().await;
        }
        world.inside.lock().unwrap().remove(cx.key());
        Ok(Step::Done(()))
    }
}

/// D18: adds without generation, from several threads, while workers run the same keys.
#[test]
fn an_add_after_a_start_always_causes_exactly_one_more_run() {
    const KEYS: u64 = 50;
    let world = Arc::new(Recount {
        runs: Mutex::default(),
        adds: Mutex::default(),
        inside: Mutex::default(),
        overlaps: AtomicUsize::new(0),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .unwrap();
    let report = runtime.block_on(async {
        let pipeline = IntentPipeline::builder::<()>(PipelineConfig::default().with_seats(8))
            .phase("read", PhaseConfig::remote(), Reader(Arc::clone(&world)))
            .build()
            .unwrap();
        let adders = (0..4_u64).map(|adder| {
            let (pipeline, world) = (pipeline.clone(), Arc::clone(&world));
            tokio::spawn(async move {
                let mut rng = Rng(adder);
                for _ in 0..2500 {
                    let key = format!("k/{}", rng.below(KEYS));
                    *world.adds.lock().unwrap().entry(key.clone()).or_default() += 1;
                    drop(pipeline.submit(Intent::new(key, ())).await.unwrap());
                    if rng.one_in(8) {
                        tokio::task::yield_now().await;
                    }
                }
            })
        });
        for adder in adders.collect::<Vec<_>>() {
            adder.await.unwrap();
        }
        pipeline.shutdown(Duration::from_secs(60)).await
    });
    assert!(report.ledger.is_exact(), "{}", report.ledger);
    assert_eq!(report.ledger.accepted, 10_000);
    assert_eq!(report.ledger.completed + report.ledger.superseded, 10_000);
    assert_eq!(world.overlaps.load(Ordering::Relaxed), 0);
    // The last run of every key began after the last add to it: no add is lost.
    let (runs, adds) = (world.runs.lock().unwrap(), world.adds.lock().unwrap());
    for (key, added) in &*adds {
        assert_eq!(runs[key].1, *added, "{key}: an add after the last start");
    }
    let begun: u64 = runs.values().map(|(begun, _)| begun).sum();
    assert_eq!(begun, report.runs.completed, "no run but those that were added");
}

/// The same on one thread, where every add can be told from the next: an add before the start is
/// part of it, the first one after it causes exactly one more.
#[tokio::test(start_paused = true)]
async fn adds_between_two_starts_are_one_run() {
    let world = Arc::new(Recount {
        runs: Mutex::default(),
        adds: Mutex::default(),
        inside: Mutex::default(),
        overlaps: AtomicUsize::new(0),
    });
    world.adds.lock().unwrap().insert("k".to_owned(), 3);
    let pipeline = IntentPipeline::builder::<()>(PipelineConfig::default())
        .phase("read", PhaseConfig::remote(), Reader(Arc::clone(&world)))
        .build()
        .unwrap();
    let add = || pipeline.try_submit(Intent::new("k", ())).unwrap();
    let begun = || world.runs.lock().unwrap().get("k").map_or(0, |&(begun, _)| begun);
    for round in 1..100_u64 {
        let before: Vec<_> = (0..1 + round % 3).map(|_| add()).collect();
        while begun() < 2 * round - 1 {
            tokio::task::yield_now().await;
        }
        let after: Vec<_> = (0..1 + round % 4).map(|_| add()).collect();
        settled().await;
        assert_eq!(begun(), 2 * round);
        drop((before, after));
    }
    let report = pipeline.shutdown(ms(100)).await;
    assert_eq!((report.runs.completed, report.ledger.live), (198, 0));
}
