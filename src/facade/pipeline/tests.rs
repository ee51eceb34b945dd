//! The core by tables and explicit `now`: no runtime, no future, no clock.

use std::future::Future;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use super::config::{PhaseConfig, PipelineConfig};
use super::control::Control;
use super::core::{Admission, Core, Limits, Way};
use super::gate::Gate;
use super::intent::Intent;
use super::keys::{Keys, Relation, Version};
use super::progress::Cancelled;
use super::run::{Ask, AttemptEnd, Carried, Effects, RunId, State};
use crate::circuit_breaker::{CircuitBreaker, CircuitBreakerConfig};
use crate::gates::wait_queue::Plan;
use crate::ground::rng::Rng;
use crate::ground::slab::Slab;
use crate::ground::tenant::Tenant;
use crate::ground::time::Instant;
use crate::rate_limit::{Quota, RateLimiter};
use crate::retry::{RetryBudget, RetryBudgetConfig};
use crate::{Ending, Enforcement, Priority, Reason, Thresholds};

const S: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const RETRY: AttemptEnd = AttemptEnd::Retry { after: None };

/// A core, a time, and what is to be done outside.
struct Table {
    core: Core<&'static str>,
    fx: Effects<&'static str>,
    start: Instant,
    now: Instant,
}

impl Table {
    fn new(config: PipelineConfig, phases: impl IntoIterator<Item = PhaseConfig>) -> Self {
        let now = crate::ground::time::now();
        let rules = config.rules();
        let limits = Limits::of(&config);
        let gates = phases.into_iter().zip(["one", "two", "three"]);
        let gates = gates.map(|(phase, name)| Gate::new(name, &phase, rules)).collect();
        let budget = RetryBudgetConfig::default().with_floor_per_second(1000);
        let budget = RetryBudget::new_at(budget, now).unwrap();
        let core = Core::new(limits, gates, budget, Rng::seeded(1));
        Self { core, fx: Effects::none(), start: now, now }
    }

    /// As the shell admits.
    fn offer(&mut self, ask: Ask, body: &'static str) -> Result<RunId, Reason> {
        let Self { core, fx, now, .. } = self;
        let intent = Intent::new(Arc::clone(&ask.key), ());
        let control = Control::new(intent, tracing::Span::none());
        let carried = Carried { control: Arc::new(control), body, kept: None };
        let answer = match core.relate(&ask)? {
            Admission::Join(run) => {
                core.join(run, &ask, *now);
                run
            }
            Admission::Replace(run) => {
                core.replace(run, ask, carried, *now, fx);
                run
            }
            Admission::New { parked } => {
                let seen = core.peek(&ask, *now, fx).map_err(|(reason, _)| reason)?;
                match core.plan(&ask, *now) {
                    (Way::Line(Plan::Refuse), _) => return Err(Reason::QueueFull),
                    (way, planned) => {
                        core.spared(seen);
                        core.spared(planned);
                        core.admit(way, ask, parked, carried, *now, fx)
                    }
                }
            }
        };
        self.check();
        Ok(answer)
    }

    /// Who gets a seat now.
    fn next(&mut self) -> Option<&'static str> {
        let grant = self.core.next_grant(self.now, &mut self.fx);
        self.check();
        grant.map(|grant| self.core.run(grant.run).unwrap().body)
    }

    /// Everybody who gets a seat now.
    fn all(&mut self) -> Vec<&'static str> {
        std::iter::from_fn(|| self.next()).collect()
    }

    fn attempted(&mut self, run: RunId, end: AttemptEnd) {
        self.core.attempted(run, end, self.now, &mut self.fx);
        self.check();
    }

    fn cancel(&mut self, run: RunId) -> Cancelled {
        let cancelled = self.core.cancel(run, self.now, &mut self.fx);
        self.check();
        cancelled
    }

    /// Lets time pass; what is due is done.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.core.due(self.now, &mut self.fx);
        self.check();
    }

    /// To the next thing that is due, and a tick; how long after the start that is.
    fn until_next(&mut self) -> Duration {
        let core = &self.core;
        let alarms = core.runs.tickets().filter_map(|id| core.run(id)?.alarm);
        let gates = core.gates.iter().filter_map(|gate| gate.closed_until);
        let due = alarms.chain(gates).min().expect("nothing is due");
        assert!(core.next_due().is_some_and(|next| next <= due + 2 * MS));
        self.pass(due.saturating_duration_since(self.now) + 2 * MS);
        self.now - self.start
    }

    fn ended(&mut self) -> Vec<(&'static str, Ending)> {
        self.fx.ended.drain(..).map(|ended| (ended.body, ended.ending)).collect()
    }

    /// Every count against the runs themselves.
    fn check(&self) {
        let core = &self.core;
        let runs: Vec<_> = core.runs.tickets().filter_map(|id| core.run(id)).collect();
        let parked = runs.iter().filter(|run| matches!(run.state, State::Parked { .. })).count();
        let queued = runs.iter().filter(|run| matches!(run.state, State::Queued(_))).count();
        let running = runs.iter().filter(|run| run.is_running());
        let busy: u32 = running.map(|run| run.ask.weight.get()).sum();
        assert_eq!((core.parked, core.depth(), core.busy), (parked, parked + queued, busy));
        assert_eq!(core.gates.iter().map(|gate| gate.running).sum::<u32>(), busy);
        let (tickets, live) = core.live();
        assert!(core.ledger.with_live(tickets).is_exact());
        assert!(core.run_ledger.with_live(live).is_exact());
        let due = runs.iter().filter(|run| run.alarm.is_some());
        assert!(due.count() == 0 || core.alarms.next().is_some());
        assert!(runs.iter().all(|run| run.alarm == run.due()), "an alarm is not what is due");
        let dormant = runs.iter().filter(|run| run.is_dormant());
        let mut dormant: Vec<_> = dormant.map(|run| (run.ask.class, run.accept_no)).collect();
        dormant.sort_unstable();
        assert_eq!(core.dormant.names().collect::<Vec<_>>(), dormant);
    }
}

fn config() -> PipelineConfig {
    PipelineConfig::default()
}

fn remote() -> PhaseConfig {
    PhaseConfig::remote()
}

fn ask(key: &str) -> Ask {
    Ask {
        key: key.into(),
        version: Version { generation: None, content: None },
        tenant: Tenant::NONE,
        class: Priority::Normal,
        weight: NonZeroU32::MIN,
        deadline: None,
    }
}

fn of(key: &str, class: Priority) -> Ask {
    Ask { class, ..ask(key) }
}

fn version(generation: impl Into<Option<u64>>, content: impl Into<Option<u128>>) -> Version {
    Version { generation: generation.into(), content: content.into() }
}

#[test]
fn a_version_beside_a_live_one() {
    use Relation::{Conflicting, Newer, Older, Same};
    let table = [
        (version(1, 1), version(2, 1), Older),
        (version(2, 1), version(1, 1), Newer),
        (version(1, 1), version(1, 1), Same),
        (version(1, 1), version(1, 2), Conflicting),
        (version(1, None), version(1, 1), Conflicting),
        (version(1, 1), version(1, None), Conflicting),
        (version(1, None), version(1, None), Conflicting),
        (version(None, 1), version(None, 1), Newer),
        (version(None, 1), version(9, 1), Newer),
        (version(0, 1), version(None, 1), Newer),
    ];
    for (new, live, relation) in table {
        assert_eq!(new.beside(live), relation, "{new:?} beside {live:?}");
    }
}

#[test]
fn a_key_has_one_current_run_and_one_successor_and_then_only_its_backoff() {
    let mut runs = Slab::new();
    let mut run = || runs.insert(());
    let (a, b, c) = (run(), run(), run());
    let mut keys = Keys::new(1, S);
    let (x, y): (Arc<str>, Arc<str>) = ("x".into(), "y".into());
    keys.add(&x, a);
    keys.add(&x, b);
    assert_eq!(keys.get("x").map(|key| (key.current, key.successor)), Some((Some(a), Some(b))));
    assert_eq!(keys.ended(&x, b), None, "a successor has none");
    keys.add(&x, c);
    assert_eq!(keys.ended(&x, a), Some(c));
    assert_eq!((keys.failed(&x), keys.failed(&x)), (1, 2));
    assert_eq!(keys.ended(&x, c), None);
    assert_eq!(keys.get("x").map(super::keys::Key::failures), Some(2), "its backoff is remembered");
    keys.add(&y, a);
    keys.failed(&y);
    keys.ended(&y, a);
    assert!(keys.get("x").is_none(), "of one only");
    keys.add(&y, b);
    let (version, now) = (Version { generation: None, content: None }, Instant::now());
    assert_eq!(keys.came_round("y", Ending::Completed, version, now, now), 0);
    keys.ended(&y, b);
    assert!(keys.get("y").is_none(), "a success leaves nothing to remember");
}

#[test]
fn a_key_that_fails_again_and_again_is_remembered_once() {
    let mut runs = Slab::new();
    let mut keys = Keys::new(2, S);
    let [x, y, z]: [Arc<str>; 3] = ["x", "y", "z"].map(Into::into);
    let mut fails = |keys: &mut Keys, key: &Arc<str>| {
        let run = runs.insert(());
        keys.add(key, run);
        keys.failed(key);
        assert_eq!(keys.ended(key, run), None);
    };
    fails(&mut keys, &x);
    (0..10).for_each(|_| fails(&mut keys, &y));
    let failures = |keys: &Keys, key: &str| keys.get(key).map(super::keys::Key::failures);
    assert_eq!((failures(&keys, "x"), failures(&keys, "y")), (Some(1), Some(10)));
    fails(&mut keys, &x);
    fails(&mut keys, &z);
    assert_eq!(failures(&keys, "y"), None, "the one whose last failure is the oldest");
    assert_eq!((failures(&keys, "x"), failures(&keys, "z")), (Some(2), Some(1)));
}

#[test]
fn seats_go_to_the_highest_class_and_then_in_order_of_acceptance() {
    let mut table = Table::new(config().with_seats(1), [remote()]);
    let classes = [Priority::Low, Priority::Urgent, Priority::Normal, Priority::Urgent];
    let names = ["low", "urgent", "normal", "urgent 2"];
    for (name, class) in names.into_iter().zip(classes) {
        table.offer(of(name, class), name).unwrap();
    }
    let mut seen = Vec::new();
    while let Some(name) = table.next() {
        seen.push(name);
        let running =
            table.core.runs.tickets().find(|&id| table.core.run(id).unwrap().is_running());
        table.attempted(running.unwrap(), AttemptEnd::Done);
    }
    assert_eq!(seen, ["urgent", "urgent 2", "normal", "low"]);
}

#[test]
fn a_full_queue_evicts_the_newest_of_the_lowest_class_and_never_one_that_has_begun() {
    let mut table = Table::new(config().with_seats(1).with_queue_capacity(2), [remote()]);
    let begun = table.offer(of("begun", Priority::Low), "begun").unwrap();
    assert_eq!(table.next(), Some("begun"));
    table.attempted(begun, AttemptEnd::Again(S));
    table.offer(of("low", Priority::Low), "low").unwrap();
    assert_eq!(table.offer(of("no", Priority::Low), "no"), Err(Reason::QueueFull));
    table.offer(of("urgent", Priority::Urgent), "urgent").unwrap();
    assert_eq!(table.ended(), [("low", Ending::Evicted)]);
    assert_eq!(table.offer(of("u2", Priority::Urgent), "u2"), Err(Reason::QueueFull));
    table.pass(2 * S);
    assert_eq!(table.offer(of("u3", Priority::Urgent), "u3"), Err(Reason::QueueFull));
    assert_eq!(table.ended(), []);
}

#[test]
fn a_full_queue_evicts_who_is_parked_before_the_first_attempt_too() {
    let mut table = Table::new(config().with_seats(1).with_queue_capacity(4), [remote()]);
    let running = table.offer(of("a", Priority::Normal), "a").unwrap();
    assert_eq!(table.next(), Some("a"));
    table.offer(of("a", Priority::Low), "behind a").unwrap();
    table.offer(of("normal", Priority::Normal), "normal").unwrap();
    table.offer(of("high", Priority::High), "high").unwrap();
    table.offer(of("u1", Priority::Urgent), "u1").unwrap();
    table.offer(of("u2", Priority::Urgent), "u2").unwrap();
    assert_eq!(table.ended(), [("behind a", Ending::Evicted)], "the lowest, wherever it waits");
    table.offer(of("u3", Priority::Urgent), "u3").unwrap();
    assert_eq!(table.ended(), [("normal", Ending::Evicted)]);
    table.attempted(running, AttemptEnd::Done);
    assert_eq!(table.ended(), [("a", Ending::Completed)]);
    // One whose key goes round in a loop waits for its backoff, and not for ever in the way.
    let looping = config().with_seats(1).with_queue_capacity(1);
    let mut table = Table::new(looping, [remote()]);
    (0..10).for_each(|_| assert!(round(&mut table, "k", 1).is_zero()));
    let again = Ask { version: version(None, 1), ..of("k", Priority::Low) };
    table.ended();
    table.offer(again, "slowed").unwrap();
    assert_eq!(table.offer(of("low", Priority::Low), "low"), Err(Reason::QueueFull));
    table.offer(of("urgent", Priority::Urgent), "urgent").unwrap();
    assert_eq!(table.ended(), [("slowed", Ending::Evicted)]);
    assert_eq!(table.all(), ["urgent"]);
}

#[test]
fn on_a_tie_the_later_phase_goes_first_and_a_higher_class_before_it() {
    let mut table = Table::new(config().with_seats(1), [remote(), remote()]);
    let a = table.offer(ask("a"), "a").unwrap();
    table.offer(ask("b"), "b").unwrap();
    assert_eq!(table.next(), Some("a"));
    table.attempted(a, AttemptEnd::Done);
    assert_eq!(table.next(), Some("a"), "its second phase");
    table.attempted(a, AttemptEnd::Again(Duration::ZERO));
    table.offer(of("c", Priority::High), "c").unwrap();
    table.pass(MS);
    assert_eq!(table.next(), Some("c"));
}

#[test]
fn a_class_passed_over_too_often_has_its_turn_over_all_gates_the_lowest_first() {
    let config = config().with_seats(1).with_starvation_bound(3);
    let mut table = Table::new(config, [remote(), remote()]);
    // One of normal class stands before the second gate, one of low before the first.
    let normal = table.offer(ask("normal"), "normal").unwrap();
    assert_eq!(table.next(), Some("normal"));
    table.attempted(normal, AttemptEnd::Done);
    table.offer(of("low", Priority::Low), "low").unwrap();
    let mut seen = Vec::new();
    for name in ["u1", "u2", "u3", "u4", "u5"] {
        table.offer(of(name, Priority::Urgent), name).unwrap();
    }
    while let Some(name) = table.next() {
        seen.push(name);
        let running =
            table.core.runs.tickets().find(|&id| table.core.run(id).unwrap().is_running());
        table.attempted(running.unwrap(), AttemptEnd::Permanent);
    }
    assert_eq!(seen, ["u1", "u2", "u3", "low", "normal", "u4", "u5"]);
}

#[test]
fn a_gate_that_its_breaker_closes_keeps_its_head_and_asks_once() {
    let breaker = CircuitBreakerConfig::default()
        .with_consecutive_failures(Some(NonZeroU32::MIN))
        .with_open_for(S)
        .with_open_jitter_ratio(0.0)
        .with_ramp_step(None);
    let mut table = Table::new(config(), []);
    let breaker = CircuitBreaker::new_at(breaker, Rng::seeded(1), table.now).unwrap();
    let rules = config().rules();
    table.core.gates = vec![
        Gate::new("one", &remote().with_breaker(breaker.clone()), rules),
        Gate::new("two", &remote(), rules),
    ];
    for name in ["a", "b", "c"] {
        table.offer(ask(name), name).unwrap();
    }
    breaker.try_acquire_at(table.now).unwrap().report_at(crate::Outcome::Failure, table.now);
    assert_eq!(table.all(), [""; 0]);
    assert_eq!(table.core.next_due(), Some(table.start + S));
    assert_eq!(table.all(), [""; 0]);
    assert_eq!(breaker.snapshot().refused, 1, "nobody behind the head is tried");
    assert_eq!(table.offer(ask("d"), "d"), Err(Reason::CircuitOpen));
    table.pass(S - MS);
    assert_eq!(table.all(), [""; 0]);
    table.pass(MS);
    assert_eq!(table.next(), Some("a"), "the head is the probe");
    assert_eq!(table.core.budget.snapshot().withdrawn, 0);
}

/// Whoever listens to a breaker may call the pipeline when woken: under its lock that would hang.
#[test]
fn who_listens_to_a_breaker_is_woken_after_the_lock() {
    struct Told(AtomicU32);
    impl std::task::Wake for Told {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    type Act = fn(&mut Table, RunId);
    let acts: [(&str, Act); 3] = [
        ("a gate asks", |table, _| assert_eq!(table.next(), Some("b"))),
        ("admission looks", |table, _| assert!(table.offer(ask("c"), "c").is_ok())),
        ("an attempt ends", |table, running| table.attempted(running, AttemptEnd::Done)),
    ];
    for (name, act) in acts {
        let mut table = Table::new(config(), []);
        let breaker = CircuitBreakerConfig::default()
            .with_consecutive_failures(Some(NonZeroU32::MIN))
            .with_open_for(S)
            .with_open_jitter_ratio(0.0);
        let breaker = CircuitBreaker::new_at(breaker, Rng::seeded(1), table.now).unwrap();
        let phase = remote().with_breaker(breaker.clone());
        table.core.gates = vec![Gate::new("one", &phase, config().rules())];
        let running = table.offer(ask("a"), "a").unwrap();
        assert_eq!(table.next(), Some("a"));
        table.offer(ask("b"), "b").unwrap();
        breaker.try_acquire_at(table.now).unwrap().report_at(crate::Outcome::Failure, table.now);
        assert_eq!(table.next(), None, "the gate is closed");
        let told = Arc::new(Told(AtomicU32::new(0)));
        let waker = Waker::from(Arc::clone(&told));
        let mut events = breaker.events().unwrap();
        let mut next = pin!(events.recv());
        assert!(next.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        table.now += 2 * S;
        if name == "a gate asks" {
            table.pass(Duration::ZERO);
        }
        act(&mut table, running);
        assert_eq!(told.0.load(Ordering::Relaxed), 0, "{name}: under the lock");
        assert_eq!(table.fx.wakers.len(), 1, "{name}: not told");
    }
}

#[test]
fn a_gate_without_egress_tokens_opens_when_there_is_one() {
    let mut table = Table::new(config(), []);
    let quota = Quota::per_second(1).with_burst(2);
    let egress = RateLimiter::new(quota).unwrap();
    table.core.gates = vec![Gate::new("one", &remote().with_egress(egress), config().rules())];
    for name in ["a", "b", "c", "d"] {
        table.offer(ask(name), name).unwrap();
    }
    assert_eq!(table.all(), ["a", "b"]);
    assert!(table.until_next() >= S);
    assert_eq!(table.all(), ["c"]);
    assert!(table.until_next() >= 2 * S);
    assert_eq!(table.all(), ["d"]);
}

#[test]
fn a_gate_notices_within_a_second_that_its_limiter_has_another_quota() {
    let mut table = Table::new(config(), []);
    let egress = Arc::new(RateLimiter::new(Quota::new(1, 3600 * S)).unwrap());
    let phase = remote().with_egress(Arc::clone(&egress));
    table.core.gates = vec![Gate::new("one", &phase, config().rules())];
    table.offer(ask("a"), "a").unwrap();
    table.offer(ask("b"), "b").unwrap();
    assert_eq!(table.all(), ["a"]);
    let opens = table.core.gates[0].opens_at().unwrap() - table.start;
    assert!((3590 * S..=3600 * S).contains(&opens), "what it said: {opens:?}");
    egress.set_quota(Quota::per_second(1000)).unwrap();
    assert!(table.until_next() <= S + 2 * MS);
    assert_eq!(table.all(), ["b"]);
}

#[test]
fn a_missing_egress_token_costs_neither_a_probe_nor_a_share_of_the_ramp() {
    let config = CircuitBreakerConfig::default()
        .with_consecutive_failures(Some(NonZeroU32::MIN))
        .with_probes(NonZeroU32::MIN)
        .with_open_for(S)
        .with_open_jitter_ratio(0.0)
        .with_ramp_step(Some(60 * S));
    let mut table = Table::new(super::config::PipelineConfig::default(), []);
    let breaker = CircuitBreaker::new_at(config, Rng::seeded(1), table.now).unwrap();
    breaker.try_acquire_at(table.now).unwrap().report_at(crate::Outcome::Failure, table.now);
    table.pass(S);
    let quota = Quota::new(1, 10 * S);
    let egress = Arc::new(RateLimiter::new(quota).unwrap());
    egress.try_acquire_at(1, table.now).unwrap();
    let phase = remote().with_breaker(breaker.clone()).with_egress(Arc::clone(&egress));
    table.core.gates = vec![Gate::new("one", &phase, self::config().rules())];
    let probe = table.offer(ask("a"), "a").unwrap();
    let before = breaker.snapshot();
    assert_eq!(table.all(), [""; 0]);
    assert_eq!(breaker.snapshot(), before, "it was not asked");
    table.pass(10 * S);
    let grant = table.core.next_grant(table.now, &mut table.fx).unwrap();
    grant.permit.unwrap().report_at(crate::Outcome::Success, table.now);
    table.attempted(probe, AttemptEnd::Done);
    // Ramping up, the first of ten calls goes through: asked without a token, it would be lost.
    table.offer(ask("b"), "b").unwrap();
    assert_eq!(table.all(), [""; 0]);
    (0..9).for_each(|_| table.pass(S));
    assert_eq!(table.all(), [""; 0]);
    table.pass(S);
    assert_eq!(table.next(), Some("b"));
    assert_eq!(egress.snapshot().refused, 2, "each time it was refused");
}

/// When it is due again.
fn due_of(table: &Table, run: RunId) -> Duration {
    match table.core.run(run).unwrap().state {
        State::Parked { until: Some(until) } => until - table.now,
        ref state => panic!("{state:?}"),
    }
}

#[test]
fn a_refusal_on_this_side_costs_no_attempt_and_no_budget() {
    let mut table = Table::new(config(), [remote()]);
    let run = table.offer(ask("a"), "a").unwrap();
    for refusals in 1..=100 {
        assert_eq!(table.all(), ["a"]);
        let after = (refusals % 2 == 0).then_some(2 * S);
        table.attempted(run, AttemptEnd::Refused { after });
        let due = due_of(&table, run);
        match after {
            Some(_) => assert!(due >= 2 * S && due <= 2 * S + 30 * S, "not before: {due:?}"),
            None => assert!(due <= 30 * S, "by the policy's backoff: {due:?}"),
        }
        table.pass(due + 2 * MS);
    }
    assert_eq!(table.core.budget.snapshot().withdrawn, 0);
    assert_eq!(table.core.run(run).unwrap().failures, 0);
    assert_eq!(
        table.core.keys.get("a").map(super::keys::Key::failures),
        Some(0),
        "no round is over"
    );
    assert_eq!(table.all(), ["a"]);
    table.attempted(run, AttemptEnd::Refused { after: Some(Duration::MAX) });
    assert!(due_of(&table, run) <= 5_400 * S, "not for ever");
}

#[test]
fn a_run_earns_once_at_its_end() {
    let budget = RetryBudgetConfig::default().with_ratio(1.0).with_floor_per_second(0);
    let mut table = Table::new(config(), [remote(), remote(), remote()]);
    table.core.budget = RetryBudget::new_at(budget, table.now).unwrap();
    let saved = |table: &Table| table.core.budget.snapshot().saved;
    let fails = table.offer(ask("fails"), "fails").unwrap();
    for end in [AttemptEnd::Done, AttemptEnd::Done, AttemptEnd::Permanent] {
        table.next();
        table.attempted(fails, end);
    }
    assert_eq!(saved(&table), 0, "what went well before the end pays for no repetition");
    let completes = table.offer(ask("completes"), "completes").unwrap();
    for _ in 0..3 {
        table.next();
        table.attempted(completes, AttemptEnd::Done);
    }
    assert_eq!(saved(&table), 1);
}

#[test]
fn runs_told_the_same_come_back_spread_when_their_attempts_are_used_up() {
    let one = crate::retry::RetryPolicy::default().with_max_attempts(NonZeroU32::MIN);
    for wish in [10 * S, 600 * S] {
        let mut table = Table::new(config(), [remote().with_retry(one.clone())]);
        let keys: Vec<_> = (0..60).map(|key| format!("{key}")).collect();
        let runs: Vec<_> = keys.iter().map(|key| table.offer(ask(key), "a").unwrap()).collect();
        table.all();
        runs.iter().for_each(|&run| {
            table.attempted(run, AttemptEnd::Retry { after: Some(wish) });
        });
        let due: Vec<_> = runs.iter().map(|&run| due_of(&table, run)).collect();
        assert!(due.iter().all(|due| (wish..=wish * 3 / 2).contains(due)), "{due:?}");
        let (first, last) = (due.iter().min().unwrap(), due.iter().max().unwrap());
        assert!(*last - *first > wish / 4, "{first:?}..{last:?}");
    }
}

#[test]
fn an_estimate_from_slow_times_locks_nobody_out_of_an_idle_pipeline() {
    let mut table = Table::new(config().with_seats(1), [remote()]);
    for _ in 0..20 {
        let run = table.offer(ask("slow"), "slow").unwrap();
        assert_eq!(table.all(), ["slow"]);
        table.now += 10 * S;
        table.attempted(run, AttemptEnd::Done);
    }
    let within = |table: &Table, key: &str| Ask { deadline: Some(table.now + S), ..ask(key) };
    let late = Ask { deadline: Some(table.now), ..ask("late") };
    assert_eq!(table.offer(late, "late"), Err(Reason::DeadlineInfeasible));
    let tried = table.offer(within(&table, "tried"), "tried").unwrap();
    assert_eq!(table.offer(within(&table, "no"), "no"), Err(Reason::DeadlineInfeasible), "in line");
    assert_eq!(table.all(), ["tried"]);
    assert_eq!(table.offer(within(&table, "no"), "no"), Err(Reason::DeadlineInfeasible), "busy");
    table.attempted(tried, AttemptEnd::Done);
}

#[test]
fn what_one_phase_lets_through_bounds_what_a_deadline_and_a_refusal_promise() {
    let narrow = remote().with_concurrency(2);
    let mut table = Table::new(config().with_seats(64), [narrow, remote()]);
    for _ in 0..20 {
        let run = table.offer(ask("k"), "k").unwrap();
        for _ in 0..2 {
            assert_eq!(table.all(), ["k"]);
            table.now += 100 * MS;
            table.attempted(run, AttemptEnd::Done);
        }
    }
    for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
        table.offer(ask(name), name).unwrap();
    }
    let place = table.core.retry_after(table.now).unwrap();
    assert!((49 * MS..=51 * MS).contains(&place), "two at a time, 100 ms each: {place:?}");
    // Ten before it: half a second, and its own two phases.
    let within = |time| Ask { deadline: Some(table.now + time), ..ask("late") };
    let (soon, late) = (within(600 * MS), within(800 * MS));
    assert_eq!(table.offer(soon, "soon"), Err(Reason::DeadlineInfeasible));
    table.offer(late, "late").unwrap();
}

#[test]
fn a_parked_run_comes_back_before_all_that_were_accepted_after_it() {
    let mut table = Table::new(config().with_seats(1), [remote()]);
    let first = table.offer(ask("first"), "first").unwrap();
    table.offer(ask("second"), "second").unwrap();
    assert_eq!(table.next(), Some("first"));
    table.attempted(first, AttemptEnd::Again(Duration::ZERO));
    table.offer(ask("third"), "third").unwrap();
    table.pass(MS);
    assert_eq!(table.next(), Some("first"));
}

#[test]
fn used_up_attempts_wait_for_the_keys_backoff_which_doubles_and_a_success_forgets() {
    let mut table = Table::new(config(), [remote()]);
    let run = table.offer(ask("a"), "a").unwrap();
    for round in 1..=4_u32 {
        for attempt in 1..=3 {
            assert_eq!(table.all(), ["a"]);
            let before = table.now;
            table.attempted(run, RETRY);
            assert_eq!(table.all(), [""; 0]);
            let waited = {
                table.until_next();
                table.now - before
            };
            let ceiling = S * 2_u32.pow(round - 1);
            match attempt {
                3 => assert!(waited.mul_f64(1.3) >= ceiling && waited.mul_f64(0.8) <= ceiling),
                _ => assert!(waited <= Duration::from_millis(205), "{waited:?}"),
            }
        }
        assert_eq!(table.core.keys.get("a").unwrap().failures(), round);
    }
    assert_eq!(table.all(), ["a"]);
    table.attempted(run, AttemptEnd::Done);
    assert_eq!(table.ended(), [("a", Ending::Completed)]);
    assert!(table.core.keys.get("a").is_none());
}

#[test]
fn a_deadline_ends_what_waits_expired_and_stops_what_runs() {
    let until = |table: &Table, seconds: u32, key: &str| Ask {
        deadline: Some(table.start + seconds * S),
        ..ask(key)
    };
    let mut table = Table::new(config().with_seats(2), [remote()]);
    let running = table.offer(until(&table, 1, "running"), "running").unwrap();
    let parked = table.offer(until(&table, 2, "parked"), "parked").unwrap();
    assert_eq!(table.all(), ["running", "parked"]);
    table.attempted(parked, AttemptEnd::Again(10 * S));
    let successor = table.offer(until(&table, 3, "running"), "successor").unwrap();
    let past = Ask { deadline: Some(table.now), ..ask("past") };
    assert_eq!(table.offer(past, "past"), Err(Reason::DeadlineInfeasible));
    let control = Arc::clone(&table.core.run(running).unwrap().control);
    let mut stops = pin!(control.stopped());
    assert!(stops.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(table.until_next() >= S);
    assert_eq!(table.fx.stopped.len(), 1, "the attempt is asked to stop, once");
    assert!(control.is_stopped());
    assert_eq!(table.ended(), []);
    table.pass(S + MS);
    assert_eq!(table.ended(), [("parked", Ending::Expired)]);
    table.pass(S);
    assert_eq!(table.ended(), [("successor", Ending::Expired)], "behind one that won't stop");
    assert!(table.core.run(successor).is_none());
    table.attempted(running, AttemptEnd::Stopped);
    assert_eq!(table.ended(), [("running", Ending::Failed)]);
    assert_eq!(table.core.next_due(), None);
}

#[test]
fn a_critical_attempt_is_given_up_after_its_grace_and_keeps_seat_and_key() {
    let grace = config().with_critical_grace(5 * S);
    let phase = remote().critical().with_timeout(20 * S);
    let mut table = Table::new(grace, [phase, remote()]);
    let first = Ask { deadline: Some(table.start + S), ..ask("a") };
    let run = table.offer(first, "a").unwrap();
    assert_eq!(table.all(), ["a"]);
    assert!(table.until_next() >= 6 * S);
    assert_eq!((table.core.ledger.failed, table.core.run_ledger.failed), (1, 1));
    assert_eq!(table.fx.given_up, [(run, 1)]);
    table.core.give_up(run, &mut table.fx);
    assert_eq!(table.core.ledger.failed, 1, "once");
    assert_eq!(table.cancel(run), Cancelled::TooLate);
    table.offer(ask("a"), "next").unwrap();
    assert_eq!(table.all(), [""; 0]);
    assert_eq!((table.core.busy, table.core.parked), (1, 1));
    table.attempted(run, AttemptEnd::Done);
    assert_eq!(table.ended(), [("a", Ending::Failed)], "it goes no further");
    assert_eq!(table.all(), ["next"]);
    assert_eq!(table.core.ledger.failed, 1);
}

/// One that failed for good in its second phase, and undoes the first.
fn undoing(phase: PhaseConfig) -> (Table, RunId) {
    let mut table = Table::new(config(), [remote(), phase]);
    let first = Ask { version: version(1, 1), deadline: Some(table.start + S), ..ask("a") };
    let run = table.offer(first, "a").unwrap();
    assert_eq!(table.all(), ["a"]);
    table.attempted(run, AttemptEnd::Done);
    assert_eq!(table.all(), ["a"]);
    assert!(table.core.may_undo(run, table.now));
    table.check();
    (table, run)
}

#[test]
fn whatever_comes_while_it_undoes_a_run_has_failed() {
    for phase in [remote(), remote().critical().with_timeout(S)] {
        let (mut table, run) = undoing(phase);
        // Nobody shares it any more: the same version is a run of its own, after it.
        let next = Ask { version: version(1, 1), ..ask("a") };
        assert_ne!(table.offer(next, "next"), Ok(run));
        assert_eq!(table.cancel(run), Cancelled::TooLate);
        table.pass(100 * S);
        table.core.cut(table.now, &mut table.fx);
        assert_eq!(table.ended(), [("next", Ending::Returned)]);
        let left = table.core.abandon(table.now, &mut table.fx);
        assert_eq!((left.indeterminate.len(), left.unresponsive), (0, vec!["a".into()]));
        assert!(table.fx.given_up.is_empty(), "its end is known");
        table.attempted(run, AttemptEnd::Permanent);
        assert_eq!(table.ended(), [("a", Ending::Failed)]);
        assert_eq!((table.core.ledger.failed, table.core.ledger.cancelled), (1, 0));
    }
}

#[test]
fn one_that_is_to_stop_undoes_nothing() {
    let mut table = Table::new(config(), [remote(), remote().critical().with_timeout(S)]);
    let run = table.offer(ask("a"), "a").unwrap();
    assert_eq!(table.all(), ["a"]);
    table.attempted(run, AttemptEnd::Done);
    assert_eq!(table.all(), ["a"]);
    assert_eq!(table.cancel(run), Cancelled::Run);
    assert!(!table.core.may_undo(run, table.now));
    table.attempted(run, AttemptEnd::Permanent);
    assert_eq!(table.ended(), [("a", Ending::Cancelled)]);
}

#[test]
fn a_join_brings_the_higher_class_and_the_later_deadline() {
    let mut table = Table::new(config().with_seats(1), [remote()]);
    let of = |class, seconds: Option<u32>| Ask {
        version: version(1, 1),
        deadline: seconds.map(|seconds| table.start + seconds * S),
        ..of("a", class)
    };
    let asks = [
        (of(Priority::Low, Some(10)), Priority::Low, Some(10)),
        (of(Priority::High, Some(5)), Priority::High, Some(10)),
        (of(Priority::Normal, Some(20)), Priority::High, Some(20)),
        (of(Priority::Normal, None), Priority::High, None),
        (of(Priority::Normal, Some(1)), Priority::High, None),
    ];
    table.offer(ask("z"), "z").unwrap();
    let mut first = None;
    for (ask, class, seconds) in asks {
        let run = table.offer(ask, "a").unwrap();
        assert_eq!(*first.get_or_insert(run), run);
        let joined = table.core.run(run).unwrap();
        assert_eq!(joined.ask.class, class);
        assert_eq!(joined.ask.deadline, seconds.map(|seconds| table.start + seconds * S));
    }
    assert_eq!(table.next(), Some("a"), "in line by its new class");
    assert_eq!((table.core.ledger.accepted, table.core.run_ledger.accepted), (6, 2));
}

#[test]
fn a_successor_takes_over_when_the_running_one_would_wait_and_not_between_phases() {
    let mut table = Table::new(config(), [remote(), remote()]);
    let old = table.offer(ask("a"), "old").unwrap();
    assert_eq!(table.all(), ["old"]);
    table.offer(ask("a"), "new").unwrap();
    table.attempted(old, AttemptEnd::Done);
    assert_eq!(table.all(), ["old"], "it goes on");
    table.attempted(old, RETRY);
    assert_eq!(table.ended(), [("old", Ending::Superseded)]);
    assert_eq!(table.all(), ["new"]);
    assert_eq!(table.core.budget.snapshot().withdrawn, 0);
}

#[test]
fn a_replacement_keeps_number_and_class_and_waits_for_a_seat_of_its_own_weight() {
    let mut table = Table::new(config().with_seats(2), [remote()]);
    let holder = table.offer(ask("holder"), "holder").unwrap();
    assert_eq!(table.all(), ["holder"]);
    let heavy = NonZeroU32::new(2).unwrap();
    table.offer(Ask { weight: heavy, ..of("wall", Priority::Urgent) }, "wall").unwrap();
    let run = table.offer(of("a", Priority::High), "light").unwrap();
    let number = table.core.run(run).unwrap().accept_no;
    let heavier = Ask { weight: heavy, ..of("a", Priority::Low) };
    assert_eq!(table.offer(heavier, "heavy"), Ok(run));
    assert_eq!(table.ended(), [("light", Ending::Superseded)]);
    let replaced = table.core.run(run).unwrap();
    assert_eq!((replaced.accept_no, replaced.ask.class), (number, Priority::High));
    assert_eq!(table.all(), [""; 0], "one seat is not enough for two");
    table.attempted(holder, AttemptEnd::Done);
    assert_eq!(table.all(), ["wall"]);
    assert!(!table.core.fits(&Ask { weight: NonZeroU32::MAX, ..ask("b") }));
}

#[test]
fn a_cancel_ends_one_ticket_and_the_last_one_the_run() {
    let mut table = Table::new(config(), [remote()]);
    let twice = || Ask { version: version(1, 1), ..ask("a") };
    let run = table.offer(twice(), "a").unwrap();
    table.offer(twice(), "a").unwrap();
    assert_eq!(table.all(), ["a"]);
    assert_eq!(table.cancel(run), Cancelled::Ticket);
    assert_eq!(table.cancel(run), Cancelled::Run);
    assert_eq!(table.ended(), []);
    let next = table.offer(twice(), "next").unwrap();
    assert_ne!(next, run, "nobody joins what is doomed");
    table.attempted(run, RETRY);
    assert_eq!(table.ended(), [("a", Ending::Cancelled)]);
    assert_eq!(table.cancel(next), Cancelled::Run);
    assert_eq!(table.ended(), [("next", Ending::Cancelled)]);
    assert_eq!(table.cancel(next), Cancelled::TooLate);
    assert_eq!((table.core.ledger.cancelled, table.core.run_ledger.cancelled), (3, 2));
}

#[test]
fn a_cut_returns_what_waits_in_order_and_stops_what_runs() {
    let mut table = Table::new(config().with_seats(1), [remote().critical()]);
    let running = table.offer(ask("running"), "running").unwrap();
    assert_eq!(table.all(), ["running"]);
    for name in ["a", "b", "running"] {
        table.offer(ask(name), name).unwrap();
    }
    table.core.close(&mut table.fx);
    assert_eq!(table.offer(ask("late"), "late"), Err(Reason::Closed));
    table.core.cut(table.now, &mut table.fx);
    let returned =
        [("a", Ending::Returned), ("b", Ending::Returned), ("running", Ending::Returned)];
    assert_eq!(table.ended(), returned);
    assert!(!table.core.is_over());
    let left = table.core.abandon(table.now, &mut table.fx);
    assert_eq!((left.indeterminate.len(), left.unresponsive.len()), (1, 0));
    table.check();
    table.attempted(running, AttemptEnd::Done);
    assert!(table.core.is_over());
    assert_eq!(table.core.run_ledger.failed, 1);
}

/// Runs `key` with this content until it would wait; how long it would.
fn round(table: &mut Table, key: &'static str, content: u128) -> Duration {
    let version = version(None, content);
    let run = table.offer(Ask { version, ..ask(key) }, key).unwrap();
    let waits = match &table.core.run(run).unwrap().state {
        State::Parked { until: Some(until) } => *until - table.now,
        _ => Duration::ZERO,
    };
    table.pass(waits + 2 * MS);
    assert_eq!(table.next(), Some(key));
    table.attempted(run, AttemptEnd::Done);
    waits
}

#[test]
fn a_key_that_ends_again_and_again_with_one_content_is_reported_once_and_slowed() {
    let mut table = Table::new(config(), [remote()]);
    for content in [1, 2] {
        // Another content breaks the row: each has its ten.
        let waits: Vec<_> = (0..12).map(|_| round(&mut table, "k", content)).collect();
        assert!(waits[..10].iter().all(Duration::is_zero), "{waits:?}");
        assert!((800 * MS..=1200 * MS).contains(&waits[10]), "{waits:?}");
        assert!((1600 * MS..=2400 * MS).contains(&waits[11]), "{waits:?}");
        assert_eq!(table.fx.loops.drain(..).collect::<Vec<_>>(), [("k".into(), None)]);
    }
    assert_eq!(table.core.loops.met, 2);
    assert!(!round(&mut table, "k", 2).is_zero());
    table.pass(121 * S);
    assert_eq!(round(&mut table, "k", 2), Duration::ZERO, "a long pause breaks the row too");
}

/// It is the pause between two runs that breaks a row, not how long one takes.
#[test]
fn a_loop_of_long_runs_is_a_loop() {
    let mut table = Table::new(config(), [remote()]);
    let mut waits = Vec::new();
    for _ in 0..12 {
        let run = table.offer(Ask { version: version(None, 1), ..ask("k") }, "k").unwrap();
        waits.push(table.core.run(run).unwrap().due().map(|due| due - table.now));
        table.pass(waits[waits.len() - 1].unwrap_or_default() + 2 * MS);
        assert_eq!(table.next(), Some("k"));
        table.pass(300 * S);
        table.attempted(run, AttemptEnd::Done);
    }
    assert!(waits[..10].iter().all(Option::is_none) && waits[10].is_some(), "{waits:?}");
    assert_eq!(table.core.loops.met, 1);
}

#[test]
fn without_content_or_with_nobody_looking_there_is_no_loop() {
    let mut table = Table::new(config(), [remote()]);
    for _ in 0..30 {
        let run = table.offer(ask("k"), "k").unwrap();
        assert_eq!(table.next(), Some("k"));
        table.attempted(run, AttemptEnd::Done);
    }
    let mut blind = Table::new(config().with_loop_after(None), [remote()]);
    assert!((0..30).all(|_| round(&mut blind, "k", 1).is_zero()));
    assert_eq!((table.core.loops.met, blind.core.loops.met), (0, 0));
}

#[test]
fn a_phase_that_says_again_and_again_is_reported_once_and_slowed() {
    let mut table = Table::new(config(), [remote(), remote()]);
    let run = table.offer(ask("k"), "k").unwrap();
    let mut waits = Vec::new();
    for _ in 0..12 {
        assert_eq!(table.next(), Some("k"));
        table.attempted(run, AttemptEnd::Again(MS));
        waits.push(due_of(&table, run));
        table.pass(waits[waits.len() - 1] + 2 * MS);
    }
    assert!(waits[..9].iter().all(|&wait| wait == MS), "{waits:?}");
    assert!((800 * MS..=1200 * MS).contains(&waits[9]), "{waits:?}");
    assert!((3200 * MS..=4800 * MS).contains(&waits[11]), "{waits:?}");
    assert_eq!(table.fx.loops.drain(..).collect::<Vec<_>>(), [("k".into(), Some("one"))]);
    // The next phase has its own.
    assert_eq!(table.next(), Some("k"));
    table.attempted(run, AttemptEnd::Done);
    assert_eq!(table.next(), Some("k"));
    table.attempted(run, AttemptEnd::Again(MS));
    assert_eq!(due_of(&table, run), MS);
}

/// An error now and then, between looks that go well, never adds up to the key's backoff.
#[test]
fn a_look_that_goes_well_begins_a_round_anew() {
    let mut table = Table::new(config().with_loop_after(None), [remote()]);
    let run = table.offer(ask("k"), "k").unwrap();
    for _ in 0..20 {
        for end in [RETRY, AttemptEnd::Again(MS)] {
            assert_eq!(table.next(), Some("k"));
            table.attempted(run, end);
            let wait = due_of(&table, run);
            table.pass(wait + 2 * MS);
        }
    }
    assert_eq!(table.core.keys.failed(&"k".into()), 1, "no round was used up before");
}

#[test]
fn those_that_went_well_drive_out_no_backoff() {
    let mut runs = Slab::new();
    let mut keys = Keys::new(1, S);
    let now = crate::ground::time::now();
    let mut end = |keys: &mut Keys, key: &str, ending: Ending| {
        let (key, run) = (Arc::from(key), runs.insert(()));
        keys.add(&key, run);
        if ending == Ending::Failed {
            keys.failed(&key);
        }
        keys.came_round(&key, ending, version(None, 1), now, now);
        keys.ended(&key, run);
    };
    end(&mut keys, "x", Ending::Failed);
    ["a", "b", "c"].iter().for_each(|key| end(&mut keys, key, Ending::Completed));
    assert_eq!(keys.get("x").map(super::keys::Key::failures), Some(1));
    let known = ["a", "b", "c"].map(|key| keys.in_a_row(key, version(None, 1), now));
    assert_eq!(known, [0, 0, 1], "of one only");
}

#[test]
fn a_shadow_counts_what_admission_would_refuse_and_the_capacity_holds() {
    let config = config().with_queue_capacity(10).with_enforcement(Enforcement::Shadow);
    let mut table = Table::new(config, [remote()]);
    let names: Vec<String> = (0..12).map(|i| format!("k/{i}")).collect();
    let answers: Vec<_> =
        names.iter().map(|key| table.offer(of(key, Priority::Low), "low")).collect();
    assert!(answers[..10].iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(answers[10..], [Err(Reason::QueueFull); 2]);
    let spared = |table: &Table, reason| {
        table.core.would_refuse.iter().find(|(known, _)| *known == reason).map(|(_, count)| *count)
    };
    assert_eq!(spared(&table, Reason::QueueFull), Some(2), "of ten, Low may have eight");
    // In a full queue somebody has to go: eviction for its places is not spared.
    table.offer(of("high", Priority::High), "high").unwrap();
    assert_eq!(table.ended(), [("low", Ending::Evicted)]);
    assert_eq!(spared(&table, Reason::Evicted), None);
    let past = Ask { deadline: Some(table.now), ..ask("late") };
    assert_eq!(table.offer(past, "late"), Err(Reason::DeadlineInfeasible));
}

#[test]
fn a_shadow_lets_through_what_an_open_circuit_or_an_estimate_would_refuse() {
    for enforcement in [Enforcement::Shadow, Enforcement::Full] {
        let mut table = Table::new(config().with_enforcement(enforcement).with_seats(1), []);
        let breaker = CircuitBreakerConfig::default();
        let breaker = CircuitBreaker::new_at(breaker, Rng::seeded(1), table.now).unwrap();
        let phase = remote().with_breaker(breaker.clone());
        table.core.gates = vec![Gate::new("one", &phase, config().rules())];
        for i in 0..30 {
            let run = table.offer(ask("k"), "k").unwrap();
            assert_eq!(table.next(), Some("k"), "{i}");
            table.now += S;
            table.attempted(run, AttemptEnd::Done);
        }
        let full = enforcement == Enforcement::Full;
        let answer = |full: bool, reason| if full { Err(reason) } else { Ok(()) };
        table.offer(ask("ahead"), "ahead").unwrap();
        let late = Ask { deadline: Some(table.now + MS), ..ask("late") };
        let late = table.offer(late, "late").map(drop);
        assert_eq!(late, answer(full, Reason::DeadlineInfeasible));
        breaker.force_open();
        let open = table.offer(ask("open"), "open").map(drop);
        assert_eq!(open, answer(full, Reason::CircuitOpen));
        let spared: u64 = table.core.would_refuse.iter().map(|(_, count)| count).sum();
        assert_eq!(spared, if full { 0 } else { 2 });
    }
}

#[test]
fn a_share_is_refused_and_no_other_chance_is_moved_by_it() {
    let config = config().with_queue_capacity(4000).with_thresholds(Thresholds::flat(0.001));
    let full = Table::new(config.clone(), [remote()]);
    let mut table = Table::new(config.with_enforcement(Enforcement::Share(0.5)), [remote()]);
    let accepted = (0..2000).filter(|i| table.offer(ask(&format!("k/{i}")), "k").is_ok()).count();
    assert!((900..1100).contains(&accepted), "{accepted}");
    let mut chances = [full.core.rng, table.core.rng];
    let [a, b] = chances.each_mut().map(Rng::next);
    assert_eq!(a, b);
}

/// A run goes on in its seat only where it would be the next one anyway.
#[test]
fn a_run_goes_on_to_its_next_phase_unless_somebody_goes_before_it() {
    let phase = || remote().with_concurrency(1);
    let stands = |class| {
        let mut table = Table::new(config().with_seats(2), [phase(), phase(), phase()]);
        let run = table.offer(of("a", Priority::Normal), "a").unwrap();
        assert_eq!(table.next(), Some("a"));
        table.offer(of("b", class), "b").unwrap();
        let goes_on = table.core.goes_on(run, table.now, &mut table.fx.wakers).is_some();
        table.check();
        if goes_on {
            assert_eq!(table.core.run(run).unwrap().gate, 1);
            assert_eq!(table.next(), Some("b"), "the place that it left in its phase");
        }
        goes_on
    };
    // The same class waits for an earlier phase; only a higher one goes first.
    assert!(stands(Priority::Low) && stands(Priority::Normal) && !stands(Priority::High));
    // Who is to stop, is late or paused, or has no place in the next phase, does not.
    let reasons: [fn(&mut Table, RunId); 4] = [
        |table, run| assert_eq!(table.cancel(run), Cancelled::Run),
        |table, _| table.now += 100 * S,
        |table, _| table.core.paused = true,
        |table, _| table.core.gates[1].concurrency = 0,
    ];
    for stop in reasons {
        let mut table = Table::new(config(), [phase(), phase()]);
        let timely = Ask { deadline: Some(table.start + S), ..ask("a") };
        let run = table.offer(timely, "a").unwrap();
        assert_eq!(table.next(), Some("a"));
        stop(&mut table, run);
        assert!(table.core.goes_on(run, table.now, &mut table.fx.wakers).is_none());
        assert_eq!(table.core.run(run).unwrap().gate, 0);
    }
    // Nor from the last phase, nor in front of those who stand before the next one.
    let mut table = Table::new(config().with_seats(1), [phase(), phase()]);
    let [first, second] = ["first", "second"].map(|name| table.offer(ask(name), name).unwrap());
    assert_eq!(table.next(), Some("first"));
    table.attempted(first, AttemptEnd::Done);
    assert_eq!(table.next(), Some("first"));
    assert!(
        table.core.goes_on(first, table.now, &mut table.fx.wakers).is_none(),
        "it is the last one"
    );
    table.attempted(first, AttemptEnd::Retry { after: None });
    let wait = due_of(&table, first);
    assert_eq!(table.next(), Some("second"));
    table.pass(wait + 2 * MS);
    assert!(
        table.core.goes_on(second, table.now, &mut table.fx.wakers).is_none(),
        "first stands there"
    );
}
