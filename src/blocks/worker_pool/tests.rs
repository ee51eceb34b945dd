//! The core, by tables and explicit times, and against a naive count of everything.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::task::Waker;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::config::{Limits, Scale};
use super::core::{Core, Door, Job, Look, No, Seeker, Step, TaskSlot};
use super::crew::{Next, WorkerNo};
use super::errands::{Errands, More};
use super::lease::Gave;
use super::seats::SeatNo;
use super::task::TaskId;
use super::{Timing, WorkerPoolConfig};
use crate::gates::wait_queue::{Place, Rules, Ticket};
use crate::ground::tenant::Tenant;
use crate::{Ending, Enforcement, Priority, Reason};

type Pool = Core<One>;
type Out = Errands<One>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum One {
    Task(u32),
    Caller(u32),
}

impl Seeker for One {
    type Slot = Slot;

    fn is_caller(&self) -> bool {
        matches!(self, Self::Caller(_))
    }

    fn class(&self) -> Priority {
        Priority::Normal
    }

    fn number(&self, next: impl FnOnce() -> u64) -> TaskId {
        TaskId(next())
    }

    fn set_number(&self, _: TaskId) {}

    fn has_callback(&self) -> bool {
        false
    }
}

/// One slot without threads: `None` while it is closed.
#[derive(Debug, Default)]
struct Slot(RefCell<Option<Option<One>>>);

impl TaskSlot<One> for Slot {
    fn open(&self) {
        assert_eq!(self.0.replace(Some(None)), None, "opened once");
    }

    fn look(&self) -> Option<One> {
        self.0.borrow_mut().as_mut().expect("looked into while open").take()
    }

    fn close(&self) -> Option<One> {
        self.0.take().expect("closed while open")
    }
}

impl Slot {
    fn put(&self, one: One) -> bool {
        let mut slot = self.0.borrow_mut();
        let is_free = *slot == Some(None);
        if is_free {
            *slot = Some(Some(one));
        }
        is_free
    }

    fn holds(&self, one: One) -> bool {
        *self.0.borrow() == Some(Some(one))
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn limits(seats: u32, places: usize) -> Limits {
    let config = WorkerPoolConfig::default().with_timing(Timing::All);
    Limits { rules: Rules::new(places), scale: Scale::Fixed(seats), ..config.check().unwrap() }
}

/// Who is to be woken so far.
fn woken(out: &Out) -> usize {
    out.wakers().count()
}

/// A pool whose workers have all begun, and rest.
fn resting(seats: u32, places: usize, workers: u32) -> Pool {
    let (mut core, mut out) = (Pool::new(limits(seats, places)), Out::default());
    for who in (0..workers).map(WorkerNo) {
        core.roster.begun(who, Waker::noop().clone());
        assert!(matches!(core.pull(who, false, start(), &mut out), Next::Rest { until: None }));
    }
    assert_eq!(woken(&out), 0);
    core
}

/// The same worker every time, but for those tests in which it matters.
const WORKER: WorkerNo = WorkerNo(0);

fn start() -> Instant {
    crate::ground::time::now()
}

fn weighing(weight: u32) -> Place {
    let weight = NonZeroU32::MIN.saturating_add(weight - 1);
    Place { weight, ..Place::new(Priority::Normal) }
}

fn submit(
    core: &mut Pool,
    place: Place,
    task: u32,
    now: Instant,
    out: &mut Out,
) -> Result<Ticket, No> {
    let plan = core.admit(Door::Street, &place, now, out)?;
    Ok(core.enqueue(plan, &place, One::Task(task), now, out))
}

/// A worker that is up asks for work.
fn pull_as(who: u32, core: &mut Pool, now: Instant, out: &mut Out) -> Option<(u32, SeatNo)> {
    core.roster.up(WorkerNo(who));
    match core.pull(WorkerNo(who), false, now, out) {
        Next::Job(job) => match job.task {
            One::Task(task) => Some((task, job.seat)),
            One::Caller(caller) => panic!("{caller} is not to be run by a worker"),
        },
        Next::Rest { .. } | Next::Linger | Next::Leave => None,
    }
}

fn pull(core: &mut Pool, now: Instant, out: &mut Out) -> Option<(u32, SeatNo)> {
    pull_as(0, core, now, out)
}

/// Lets the pool know how long its tasks take.
fn taking(core: &mut Pool, time: Duration) {
    for _ in 0..20 {
        let seat = core.sit_inline(&weighing(1), start()).unwrap();
        core.book(seat, Ending::Completed, start() + time);
    }
}

/// One seat; twice the mean service time is the target, 20 times it the interval.
#[test]
fn a_queue_that_stands_evicts_the_old_and_starts_the_newest() {
    let overload = crate::Overload::default().with(Priority::Normal, crate::CoDel::default());
    let rules = Rules { overload, ..Rules::new(100) };
    let mut core = Pool::new(Limits { rules, ..limits(1, 100) });
    let (now, mut out) = (start(), Out::default());
    taking(&mut core, SECOND);
    for task in 0..5 {
        submit(&mut core, weighing(1), task, now, &mut out).unwrap();
    }
    for (task, second) in [(0, 3), (1, 22)] {
        let (started, seat) = pull(&mut core, now + second * SECOND, &mut out).unwrap();
        assert_eq!(started, task, "in order, until it has stood for 20 s");
        core.book(seat, Ending::Completed, now + (second + 1) * SECOND);
    }
    submit(&mut core, weighing(1), 5, now + 23 * SECOND, &mut out).unwrap();
    assert_eq!(pull(&mut core, now + 24 * SECOND, &mut out).map(|(task, _)| task), Some(5));
    let ledger = core.ledger();
    assert_eq!((ledger.evicted, ledger.completed, ledger.live), (3, 22, 1), "{ledger}");
}

#[cfg(all(feature = "json", feature = "serde"))]
#[test]
fn a_configuration_loads_by_the_names_of_its_fields() {
    use super::{Adaptive, Autoscale};
    let config: WorkerPoolConfig = serde_json::from_str("{}").unwrap();
    assert_eq!(config, WorkerPoolConfig::default());
    let load = |json| serde_json::from_str::<WorkerPoolConfig>(json).map(|c| c.concurrency);
    let autoscale = load(r#"{"concurrency": {"autoscale": {"min": 2, "max": 9}}}"#).unwrap();
    assert_eq!(autoscale, Autoscale::between(2, 9).into());
    let adaptive = load(r#"{"concurrency": {"adaptive": {"max": 9}}}"#).unwrap();
    assert_eq!(adaptive, Adaptive::between(1, 9).into());
    load(r#"{"concurrency": {"adaptive": {"most": 9}}}"#).unwrap_err();
}

#[test]
fn of_short_tasks_a_burst_rouses_one_worker_after_another() {
    let (mut core, now, mut out) = (resting(3, 10, 3), start(), Out::default());
    taking(&mut core, Duration::ZERO);
    for task in 0..3 {
        submit(&mut core, weighing(1), task, now, &mut out).unwrap();
    }
    assert_eq!(woken(&out), 1, "the first one wakes the next");
    // The one that rested last is woken first.
    for (task, who, rung) in [(0, 2, 2), (1, 1, 3), (2, 0, 3)] {
        assert_eq!(pull_as(who, &mut core, now, &mut out).map(|(task, _)| task), Some(task));
        assert_eq!(woken(&out), rung);
    }
}

#[test]
fn of_long_tasks_each_rouses_a_worker_while_there_are_seats() {
    for known in [false, true] {
        let (mut core, now, mut out) = (resting(3, 10, 3), start(), Out::default());
        if known {
            taking(&mut core, SECOND);
        }
        // Two seats are free.
        core.sit_inline(&weighing(1), now).unwrap();
        for (task, rung) in [(0, 1), (1, 2), (2, 2)] {
            submit(&mut core, weighing(1), task, now, &mut out).unwrap();
            assert_eq!(woken(&out), rung);
        }
        for (task, who) in [(0, 2), (1, 1)] {
            assert_eq!(pull_as(who, &mut core, now, &mut out).map(|(task, _)| task), Some(task));
        }
        assert_eq!(woken(&out), 2, "nobody more than can start");
    }
}

#[test]
fn what_a_heavy_one_leaves_rouses_all_who_can_start() {
    let (mut core, now, mut out) = (resting(3, 10, 3), start(), Out::default());
    let heavy = core.sit_inline(&weighing(3), now).unwrap();
    for task in 0..3 {
        submit(&mut core, weighing(1), task, now, &mut out).unwrap();
    }
    assert_eq!(woken(&out), 0);
    core.book(heavy, Ending::Completed, now);
    core.settle(now, &mut out);
    assert_eq!(woken(&out), 3);
}

#[test]
fn a_worker_that_is_up_by_itself_is_not_roused_again_before_it_rests() {
    let (mut core, now, mut out) = (resting(2, 10, 1), start(), Out::default());
    core.roster.up(WORKER);
    submit(&mut core, weighing(1), 1, now, &mut out).unwrap();
    assert_eq!(woken(&out), 0, "nobody rests: the one that is up looks by itself");
    assert_eq!(pull(&mut core, now, &mut out).map(|(task, _)| task), Some(1));
}

#[test]
fn a_head_that_does_not_fit_rouses_nobody_until_it_does() {
    let (mut core, now, mut out) = (resting(2, 10, 1), start(), Out::default());
    submit(&mut core, weighing(1), 1, now, &mut out).unwrap();
    let (_, seat) = pull(&mut core, now, &mut out).unwrap();
    assert!(pull_as(1, &mut core, now, &mut out).is_none());
    let before = woken(&out);
    submit(&mut core, weighing(2), 2, now, &mut out).unwrap();
    assert_eq!(woken(&out), before);
    core.roster.begun(WorkerNo(1), Waker::noop().clone());
    core.book(seat, Ending::Completed, now);
    core.settle(now, &mut out);
    assert_eq!(woken(&out), before + 1);
}

#[test]
fn a_heavy_head_that_expires_lets_those_behind_it_go() {
    let (mut core, now, mut out) = (resting(2, 10, 2), start(), Out::default());
    submit(&mut core, weighing(1), 1, now, &mut out).unwrap();
    pull_as(1, &mut core, now, &mut out).unwrap();
    assert_eq!(woken(&out), 1);
    let heavy = Place { deadline: Some(now + SECOND), ..weighing(2) };
    submit(&mut core, heavy, 2, now, &mut out).unwrap();
    submit(&mut core, weighing(1), 3, now, &mut out).unwrap();
    assert_eq!(woken(&out), 2, "one worker keeps watch");
    core.roster.up(WORKER);
    let rests = core.pull(WORKER, false, now, &mut out);
    assert!(matches!(rests, Next::Rest { until } if until == heavy.deadline));
    assert_eq!(woken(&out), 2, "and nobody else");
    assert_eq!(pull(&mut core, now + SECOND, &mut out).map(|(task, _)| task), Some(3));
    assert_eq!(core.ledger().expired, 1);
}

#[test]
fn callers_of_run_are_seated_in_their_turn_without_a_worker() {
    let (mut core, now, mut out) = (Pool::new(limits(1, 10)), start(), Out::default());
    let place = weighing(1);
    let seat = core.sit_inline(&place, now).unwrap();
    assert!(core.sit_inline(&place, now).is_none());
    let plan = core.admit(Door::Street, &place, now, &mut out).unwrap();
    core.enqueue(plan, &place, One::Caller(7), now, &mut out);
    assert_eq!((core.ledger().accepted, core.ledger().live), (1, 1), "not accepted while it waits");
    core.book(seat, Ending::Completed, now);
    core.settle(now, &mut out);
    assert_eq!(out.more().seated.len(), 1);
    assert_eq!((core.ledger().accepted, core.ledger().live), (2, 1));
}

#[test]
fn a_caller_of_run_whose_time_is_up_is_refused_once_whoever_sees_it_first() {
    for sees_it_itself in [true, false] {
        let (mut core, now, mut out) = (Pool::new(limits(1, 10)), start(), Out::default());
        core.sit_inline(&weighing(1), now).unwrap();
        let place = Place { deadline: Some(now + SECOND), ..weighing(1) };
        let plan = core.admit(Door::Street, &place, now, &mut out).unwrap();
        let ticket = core.enqueue(plan, &place, One::Caller(7), now, &mut out);
        if !sees_it_itself {
            core.settle(now + SECOND, &mut out);
        }
        core.overdue(ticket, now + SECOND, &mut out);
        core.overdue(ticket, now + SECOND, &mut out);
        assert_eq!(out.more().left, [(One::Caller(7), Ending::Expired)]);
        assert_eq!((core.look().refused.expired, core.look().refused.total()), (1, 1));
    }
}

#[test]
fn cancelling_what_runs_wakes_the_worker_that_runs_it() {
    let (mut core, now, mut out) = (resting(1, 10, 1), start(), Out::default());
    let ticket = submit(&mut core, weighing(1), 1, now, &mut out).unwrap();
    pull(&mut core, now, &mut out).unwrap();
    let before = woken(&out);
    core.cancel(ticket, now, &mut out);
    assert_eq!((woken(&out), core.ledger().cancelled), (before + 1, 0));
}

#[test]
fn the_first_tasks_are_timed_and_then_one_in_so_many() {
    let sample = |timing| WorkerPoolConfig::default().with_timing(timing).check().unwrap().timing;
    let timed = |timing| (1..=256).filter(|&n| sample(timing).includes(n)).count();
    assert_eq!(timed(Timing::Off), 0);
    assert_eq!(timed(Timing::All), 256);
    assert_eq!(timed(Timing::Sampled(64)), 63 + 4);
    assert!(WorkerPoolConfig::default().with_timing(Timing::Sampled(0)).check().is_err());
}

type Way = fn(&mut Pool, Ticket, Instant, &mut Out);

/// A pool without seats left, which enforces so much, and how its door takes `n` low tasks.
fn offered(enforcement: Enforcement, n: u32) -> (Pool, u32) {
    let config = WorkerPoolConfig::default()
        .with_enforcement(enforcement)
        .with_concurrency(super::Concurrency::Fixed(1))
        .with_queue_capacity(100);
    let (now, mut out) = (start(), Out::default());
    let mut core = Pool::new(Limits { seed: 1, ..config.check().unwrap() });
    assert!(core.sit_inline(&weighing(1), now).is_some());
    let low = Place::new(Priority::Low);
    let accepted = (0..n).filter(|&n| submit(&mut core, low, n, now, &mut out).is_ok()).count();
    (core, accepted as u32)
}

#[test]
fn a_shadow_counts_what_the_thresholds_would_refuse_and_the_capacity_holds() {
    let (mut core, accepted) = offered(Enforcement::Shadow, 150);
    let look = core.look();
    assert_eq!((accepted, depth(&look)), (100, 100));
    assert_eq!(look.would_refuse.queue_full, 20);
    // For the last places there is no shadow: somebody of a lower class gives his.
    let (now, mut out) = (start(), Out::default());
    submit(&mut core, Place::new(Priority::High), 1_000, now, &mut out).unwrap();
    let look = core.look();
    assert_eq!((look.ledger.evicted, look.would_refuse.evicted), (1, 0));
}

#[test]
fn a_shadow_displaces_nobody_while_there_are_places() {
    let (mut core, accepted) = offered(Enforcement::Shadow, 90);
    assert_eq!(accepted, 90);
    let (now, mut out) = (start(), Out::default());
    submit(&mut core, Place::new(Priority::Normal), 1_000, now, &mut out).unwrap();
    let look = core.look();
    assert_eq!((look.ledger.evicted, look.would_refuse.evicted), (0, 1));
}

#[test]
fn a_share_is_refused_and_the_rest_counted() {
    let (core, accepted) = offered(Enforcement::Share(0.5), 100);
    assert_eq!(u64::from(accepted), 80 + core.look().would_refuse.queue_full);
    assert!((84..=96).contains(&accepted), "{accepted}");
    let (core, accepted) = offered(Enforcement::Full, 100);
    assert_eq!((accepted, core.look().would_refuse.total()), (80, 0));
}

#[test]
fn a_shadow_takes_who_would_be_late_but_not_who_is() {
    for (enforcement, takes) in [(Enforcement::Shadow, true), (Enforcement::Full, false)] {
        let config = WorkerPoolConfig::default()
            .with_enforcement(enforcement)
            .with_timing(Timing::All)
            .with_concurrency(super::Concurrency::Fixed(1));
        let (now, mut out) = (start(), Out::default());
        let mut core = Pool::new(config.check().unwrap());
        taking(&mut core, SECOND);
        assert!(core.sit_inline(&weighing(1), now).is_some());
        let by = |deadline| Place { deadline: Some(deadline), ..weighing(1) };
        let late = submit(&mut core, by(now + SECOND / 2), 1, now, &mut out);
        assert_eq!(late.is_ok(), takes);
        let past = submit(&mut core, by(now), 2, now, &mut out).unwrap_err();
        assert_eq!(past, No { reason: Reason::DeadlineInfeasible, retry_after: None });
        assert_eq!(core.look().would_refuse.deadline_infeasible, u64::from(takes));
    }
}

#[test]
fn who_cannot_be_in_time_is_told_when_he_could() {
    let mut core = Pool::new(limits(1, 10));
    let (now, mut out) = (start(), Out::default());
    taking(&mut core, SECOND);
    assert!(core.sit_inline(&weighing(1), now).is_some());
    for task in 0..3 {
        submit(&mut core, weighing(1), task, now, &mut out).unwrap();
    }
    let mut within = |time| {
        let place = Place { deadline: Some(now + time), ..weighing(1) };
        let no = submit(&mut core, place, 9, now, &mut out).unwrap_err();
        assert_eq!(no.reason, Reason::DeadlineInfeasible);
        // What the test itself took to say how long tasks take is some microseconds.
        no.retry_after.map(|after| after.as_millis())
    };
    // Three ahead, a second each; beside its own second it may plan on nine tenths of the time.
    assert_eq!(within(SECOND * 3), Some(1_200));
    assert_eq!(within(SECOND * 3 / 2), Some(2_550));
    // Too little for the task alone.
    assert_eq!(within(SECOND / 2), None);
}

/// One seat, a second a task: four fifths of all that starts is Urgent, which keeps coming.
#[test]
fn a_class_that_gets_what_others_leave_is_judged_by_that() {
    let mut core = Pool::new(limits(1, 1_000));
    let (mut now, mut out) = (start(), Out::default());
    taking(&mut core, SECOND);
    let of = |class| Place { deadline: Some(start() + 10_000 * SECOND), ..Place::new(class) };
    let add =
        |core: &mut Pool, class, now| submit(core, of(class), 0, now, &mut Out::default()).is_ok();
    (0..40).for_each(|_| assert!(add(&mut core, Priority::Normal, now)));
    for step in 0..150 {
        if step % 5 != 0 {
            assert!(add(&mut core, Priority::Urgent, now));
        }
        let (_, seat) = pull(&mut core, now, &mut out).unwrap();
        now += SECOND;
        core.book(seat, Ending::Completed, now);
    }
    // Ten of Normal are left, and get every fifth second.
    let mut within = |seconds| {
        let place = Place { deadline: Some(now + SECOND * seconds), ..of(Priority::Normal) };
        submit(&mut core, place, 0, now, &mut out).map_err(|no| no.reason)
    };
    assert_eq!(within(40), Err(Reason::DeadlineInfeasible), "ten seconds if nobody came after");
    assert!(within(60).is_ok());
}

#[test]
fn the_room_hears_of_every_way_a_place_comes_free() {
    let now = start();
    let ways: [(&str, Way); 3] = [
        ("a pull", |core, _, now, out| assert!(pull(core, now, out).is_some())),
        ("a cancel", |core, ticket, now, out| core.cancel(ticket, now, out)),
        ("an expiry", |core, _, now, out| core.settle(now + SECOND, out)),
    ];
    for (way, free) in ways {
        let (mut core, mut out) = (Pool::new(limits(1, 1)), Out::default());
        let place = Place { deadline: Some(now + SECOND), ..weighing(1) };
        let ticket = submit(&mut core, place, 1, now, &mut out).unwrap();
        let mut room = None;
        let waker = Waker::noop();
        let step = core.step(&mut room, &weighing(1), waker.clone(), now, &mut out);
        assert_eq!(step, Step::Wait, "{way}");
        assert_eq!(woken(&out), 0, "{way}");
        free(&mut core, ticket, now, &mut out);
        assert_eq!(woken(&out), 1, "{way}");
        let step = core.step(&mut room, &weighing(1), waker.clone(), now, &mut out);
        assert!(matches!(step, Step::In(_)), "{way}");
        assert_eq!(room, None, "{way}");
    }
}

#[test]
fn a_now_older_than_the_last_changes_no_count() {
    let (mut core, now, mut out) = (Pool::new(limits(1, 10)), start(), Out::default());
    submit(&mut core, weighing(1), 1, now + SECOND, &mut out).unwrap();
    let (_, seat) = pull(&mut core, now, &mut out).unwrap();
    core.book(seat, Ending::Completed, now - SECOND / 2);
    core.settle(now - SECOND / 2, &mut out);
    assert!(core.ledger().is_exact());
}

#[test]
fn workers_that_wait_for_a_run_to_end_do_not_wake_each_other() {
    let mut core = resting(2, 10, 2);
    let (now, mut out) = (start(), Out::default());
    core.lease(0);
    assert!(core.leases.claim(0));
    core.close(now, &mut out);
    for worker in [WORKER, WorkerNo(1)] {
        core.roster.up(worker);
        assert!(matches!(core.pull(worker, false, now, &mut out), Next::Rest { .. }));
    }
    assert_eq!(woken(&out), 0);
    assert_eq!(core.leases.give(0, Ending::Completed), Gave::Collect);
    core.collect();
    core.settle(now, &mut out);
    assert_eq!(woken(&out), 2, "now they may leave");
}

#[test]
fn what_was_put_back_twice_is_cut_once() {
    let (mut core, now, mut out) = (Pool::new(limits(1, 10)), start(), Out::default());
    let seat = core.sit_inline(&weighing(1), now).unwrap();
    let mut ticket = submit(&mut core, weighing(1), 1, now, &mut out).unwrap();
    for _ in 0..2 {
        let (place, job) = core.take_nested(ticket, now, &mut out).unwrap();
        ticket = core.put_back(job, &place, now, &mut out).unwrap();
    }
    core.halt(Ending::Returned, now, &mut out);
    core.book(seat, Ending::Completed, now);
    let ledger = core.ledger();
    assert_eq!((ledger.cancelled, ledger.returned, ledger.live), (1, 0, 0), "{ledger}");
}

#[derive(Clone, Debug)]
enum Op {
    Submit { class: usize, tenant: u64, weight: u32, deadline: Option<u64> },
    Run { class: usize, weight: u32 },
    Claim { stripe: usize },
    Put { stripe: usize },
    Own { which: usize, ends: bool },
    Give { which: usize, ending: usize },
    Pull,
    End { which: usize, ending: usize },
    Cancel { which: usize },
    Help { which: usize, ends: bool },
    Nest { which: usize },
    EndNested { which: usize, ends: bool },
    Pass { ms: u64 },
    Close,
    Halt,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..4_usize, 0..3_u64, 1..4_u32, proptest::option::of(0..50_u64)).prop_map(
            |(class, tenant, weight, deadline)| Op::Submit { class, tenant, weight, deadline }
        ),
        3 => (0..4_usize, 1..4_u32).prop_map(|(class, weight)| Op::Run { class, weight }),
        6 => (0..2_usize).prop_map(|stripe| Op::Claim { stripe }),
        6 => (0..2_usize).prop_map(|stripe| Op::Put { stripe }),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(which, ends)| Op::Own { which, ends }),
        4 => (any::<usize>(), 0..3_usize).prop_map(|(which, ending)| Op::Give { which, ending }),
        8 => Just(Op::Pull),
        6 => (any::<usize>(), 0..3_usize).prop_map(|(which, ending)| Op::End { which, ending }),
        2 => any::<usize>().prop_map(|which| Op::Cancel { which }),
        6 => (any::<usize>(), any::<bool>()).prop_map(|(which, ends)| Op::Help { which, ends }),
        4 => any::<usize>().prop_map(|which| Op::Nest { which }),
        4 => (any::<usize>(), any::<bool>())
            .prop_map(|(which, ends)| Op::EndNested { which, ends }),
        3 => (0..30_u64).prop_map(|ms| Op::Pass { ms }),
        1 => Just(Op::Close),
        1 => Just(Op::Halt),
    ]
}

/// Follows every single task by name, as the pool does only by numbers.
#[derive(Default)]
struct Naive {
    waiting: HashSet<u32>,
    running: HashMap<u32, SeatNo>,
    handed: HashSet<u32>,
    nested: Vec<(u32, Place, Job<One>)>,
    inline_waiting: HashSet<u32>,
    inline_running: Vec<SeatNo>,
    /// By stripe.
    on_lease: Vec<usize>,
    /// Put back, once.
    begun: HashSet<u32>,
    is_halted: bool,
    /// In a slot, and in which.
    in_slots: Vec<(u32, usize)>,
    accepted: u64,
    ended: HashMap<Ending, u64>,
    refused: u64,
}

impl Naive {
    fn end(&mut self, ending: Ending) {
        *self.ended.entry(ending).or_default() += 1;
    }

    /// Books what the core left to do.
    fn do_errands(&mut self, out: Out) {
        let Some(more) = out.into_parts().1 else { return };
        let More { left, drained, seated, .. } = *more;
        let drained = drained.map(|drained| {
            let (drain, ending) = *drained;
            drain.map(move |one| (one, ending))
        });
        for (one, ending) in left.into_iter().chain(drained.into_iter().flatten()) {
            match one {
                One::Task(task) => {
                    assert!(self.waiting.remove(&task), "{task} left and did not wait");
                    let is_cut = ending == Ending::Returned && self.begun.contains(&task);
                    self.end(if is_cut { Ending::Cancelled } else { ending });
                }
                One::Caller(caller) => {
                    assert!(self.inline_waiting.remove(&caller));
                    self.refused += u64::from(ending != Ending::Cancelled);
                }
            }
        }
        for (one, seat) in seated {
            let One::Caller(caller) = one else { panic!("{one:?} was seated as a caller") };
            assert!(self.inline_waiting.remove(&caller));
            self.accepted += 1;
            self.inline_running.push(seat);
        }
    }

    /// What the core has taken out of a slot waits in the queue.
    fn follow(&mut self, core: &Pool) {
        let lies_there =
            |&(task, stripe): &(u32, usize)| core.leases.slot(stripe).holds(One::Task(task));
        let moved: Vec<_> = self.in_slots.extract_if(.., |one| !lies_there(one)).collect();
        self.waiting.extend(moved.into_iter().map(|(task, _)| task));
    }

    fn check(&self, core: &Pool, limits: Limits) {
        let look = core.look();
        let ledger = look.ledger;
        assert!(ledger.is_exact(), "{ledger}");
        let running = self.running.len() + self.handed.len() + self.inline_running.len();
        let beside = self.on_lease.len() + self.in_slots.len();
        let live = self.waiting.len() + running + self.nested.len() + beside;
        let by_callers = self.inline_running.len() + self.nested.len() + beside;
        assert_eq!(core.in_run() as usize, by_callers);
        assert!(self.in_slots.is_empty() || depth(&look) == 0, "a slot is open while one waits");
        assert!(depth(&look) == 0 || !core.leases.is_open(), "nobody goes ahead of who waits");
        assert_eq!((ledger.accepted, ledger.live), (self.accepted, live as u64));
        for ending in Ending::ALL {
            assert_eq!(ledger.count(ending), self.ended.get(&ending).copied().unwrap_or(0));
        }
        let depth = depth(&look);
        assert_eq!(depth, self.waiting.len() + self.inline_waiting.len());
        assert!(
            depth + self.nested.len() <= limits.rules.cap && look.busy <= limits.scale.bounds().1
        );
        assert_eq!(look.refused.total(), self.refused);
    }
}

fn depth(look: &Look) -> usize {
    look.depth.iter().sum()
}

fn apply(
    op: Op,
    core: &mut Pool,
    naive: &mut Naive,
    tickets: &mut Vec<(Ticket, u32)>,
    n: u32,
    now: &mut Instant,
) {
    let mut out = Out::default();
    match op {
        Op::Submit { class, tenant, weight, deadline } => {
            let place = Place {
                class: Priority::ALL[class],
                tenant: Tenant(tenant),
                deadline: deadline.map(|ms| *now + Duration::from_millis(ms)),
                ..weighing(weight)
            };
            match submit(core, place, n, *now, &mut out) {
                Ok(ticket) => {
                    naive.accepted += 1;
                    naive.waiting.insert(n);
                    tickets.push((ticket, n));
                }
                Err(no) => {
                    assert_eq!(core.refuse(no), no);
                    naive.refused += 1;
                }
            }
        }
        Op::Run { class, weight } => {
            let place = Place { class: Priority::ALL[class], ..weighing(weight) };
            match core.admit(Door::Street, &place, *now, &mut out) {
                Ok(plan) => match core.sit_inline(&place, *now) {
                    Some(seat) => {
                        naive.accepted += 1;
                        naive.inline_running.push(seat);
                        core.lease(n as usize % 2);
                    }
                    None => {
                        naive.inline_waiting.insert(n);
                        let one = One::Caller(n);
                        tickets.push((core.enqueue(plan, &place, one, *now, &mut out), n));
                    }
                },
                Err(no) => {
                    core.refuse(no);
                    naive.refused += 1;
                }
            }
        }
        Op::Claim { stripe } => {
            if core.leases.claim(stripe) {
                naive.accepted += 1;
                naive.on_lease.push(stripe);
            }
        }
        Op::Put { stripe } => put(core, naive, (n, stripe), &mut out),
        Op::Own { which, ends } => run_own(core, naive, (which, ends), *now, &mut out),
        Op::Give { which, ending } => {
            if !naive.on_lease.is_empty() {
                let stripe = naive.on_lease.swap_remove(which % naive.on_lease.len());
                give(core, naive, (stripe, ENDINGS[ending]), *now, &mut out);
            }
        }
        Op::Pull => {
            let handed = !naive.handed.is_empty();
            if let Some((task, seat)) = pull(core, *now, &mut out) {
                naive.follow(core);
                let waited = naive.waiting.remove(&task);
                let begun = naive.handed.remove(&task);
                assert!(waited != begun, "{task} started and did not wait, or twice");
                assert_eq!(begun, handed, "what was begun goes first");
                naive.running.insert(task, seat);
            }
        }
        Op::End { which, ending } => end_one(core, naive, which, ending, *now, &mut out),
        Op::Cancel { which } => {
            if !tickets.is_empty() {
                let (ticket, _) = tickets.swap_remove(which % tickets.len());
                core.cancel(ticket, *now, &mut out);
                let cancelled = core.ledger().cancelled;
                core.cancel(ticket, *now, &mut out);
                assert_eq!(core.ledger().cancelled, cancelled, "cancelled twice");
            }
        }
        Op::Help { which, ends } => {
            if let Some((ticket, _)) = tickets.get(which % tickets.len().max(1)).copied() {
                help(core, naive, (ticket, ends), *now, &mut out);
            }
        }
        Op::Nest { which } => {
            if let Some((ticket, task)) = tickets.get(which % tickets.len().max(1)).copied() {
                nest(core, naive, (ticket, task), *now, &mut out);
            }
        }
        Op::EndNested { which, ends } => {
            if !naive.nested.is_empty() {
                let one = naive.nested.swap_remove(which % naive.nested.len());
                tickets.extend(end_nested(core, naive, one, ends, *now, &mut out));
            }
        }
        Op::Pass { ms } => *now += Duration::from_millis(ms),
        Op::Close => core.close(*now, &mut out),
        Op::Halt => {
            naive.is_halted = true;
            core.halt(Ending::Returned, *now, &mut out);
        }
    }
    naive.follow(core);
    naive.do_errands(out);
}

const ENDINGS: [Ending; 3] = [Ending::Completed, Ending::Failed, Ending::Cancelled];

fn give(
    core: &mut Pool,
    naive: &mut Naive,
    (stripe, ending): (usize, Ending),
    now: Instant,
    out: &mut Out,
) {
    naive.end(ending);
    if core.leases.give(stripe, ending) == Gave::Collect {
        core.collect();
        core.settle(now, out);
    }
}

fn put(core: &mut Pool, naive: &mut Naive, (task, stripe): (u32, usize), out: &mut Out) {
    if !core.leases.claim(stripe) {
        return;
    }
    naive.accepted += 1;
    if core.leases.slot(stripe).put(One::Task(task)) {
        naive.in_slots.push((task, stripe));
        core.tell(out);
    } else {
        naive.accepted -= 1;
        assert_eq!(core.leases.withdraw(stripe), Gave::Done, "nothing has closed it");
    }
}

/// The handle of a task in a slot is polled.
fn run_own(
    core: &mut Pool,
    naive: &mut Naive,
    (which, ends): (usize, bool),
    now: Instant,
    out: &mut Out,
) {
    if naive.in_slots.is_empty() {
        return;
    }
    let which = which % naive.in_slots.len();
    let (task, stripe) = naive.in_slots.swap_remove(which);
    assert_eq!(core.leases.slot(stripe).look(), Some(One::Task(task)));
    if ends {
        give(core, naive, (stripe, Ending::Completed), now, out);
    } else {
        core.adopt(One::Task(task), None, out).unwrap();
        naive.handed.insert(task);
    }
}

fn help(
    core: &mut Pool,
    naive: &mut Naive,
    (ticket, ends): (Ticket, bool),
    now: Instant,
    out: &mut Out,
) {
    let Some(job) = core.take_own(ticket, now, out) else { return };
    let One::Task(task) = job.task else { panic!("callers are not helped") };
    naive.follow(core);
    assert!(naive.waiting.remove(&task), "{task} was helped and did not wait");
    if ends {
        core.helped(job.seat, Ending::Completed, now);
        core.settle(now, out);
        core.lease(0);
        naive.end(Ending::Completed);
    } else {
        core.hand_over(job, out).unwrap();
        naive.handed.insert(task);
    }
}

/// A task is awaited by one that has a seat.
fn nest(
    core: &mut Pool,
    naive: &mut Naive,
    (ticket, task): (Ticket, u32),
    now: Instant,
    out: &mut Out,
) {
    if naive.inline_waiting.contains(&task) {
        return;
    }
    let had = naive.handed.len();
    match core.take_nested(ticket, now, out) {
        Some((place, job)) => {
            naive.follow(core);
            assert!(naive.waiting.remove(&task), "{task} was nested and did not wait");
            naive.nested.push((task, place, job));
        }
        None if core.handed() > had => {
            naive.follow(core);
            assert!(naive.waiting.remove(&task), "{task} was handed over and did not wait");
            naive.handed.insert(task);
        }
        None => {}
    }
}

fn end_nested(
    core: &mut Pool,
    naive: &mut Naive,
    (task, place, job): (u32, Place, Job<One>),
    ends: bool,
    now: Instant,
    out: &mut Out,
) -> Option<(Ticket, u32)> {
    if ends || naive.is_halted {
        core.book(job.seat, Ending::Completed, now);
        core.settle(now, out);
        naive.end(Ending::Completed);
        return None;
    }
    let ticket = core.put_back(job, &place, now, out).expect("it had a seat");
    naive.waiting.insert(task);
    naive.begun.insert(task);
    Some((ticket, task))
}

fn end_one(
    core: &mut Pool,
    naive: &mut Naive,
    which: usize,
    ending: usize,
    now: Instant,
    out: &mut Out,
) {
    let ending = ENDINGS[ending];
    let mut tasks: Vec<_> = naive.running.keys().copied().collect();
    tasks.sort_unstable();
    let seat = if tasks.is_empty() {
        naive.inline_running.pop()
    } else {
        naive.running.remove(&tasks[which % tasks.len()])
    };
    if let Some(seat) = seat {
        core.book(seat, ending, now);
        core.settle(now, out);
        naive.end(ending);
    }
}

proptest! {
    #[test]
    fn the_ledger_is_what_a_naive_count_says(
        seats in 1..6_u32,
        places in 1..12_usize,
        ops in proptest::collection::vec(op(), 1..200),
    ) {
        let timing = WorkerPoolConfig::default().with_timing(Timing::Sampled(8)).check().unwrap();
        let limits = Limits { timing: timing.timing, ..limits(seats, places) };
        let (mut core, mut naive) = (Pool::new(limits), Naive::default());
        let (mut tickets, mut now) = (Vec::new(), start());
        for (n, op) in ops.into_iter().enumerate() {
            apply(op, &mut core, &mut naive, &mut tickets, n as u32, &mut now);
            naive.check(&core, limits);
        }
        // The end: nothing waits, and what runs is let go.
        apply(Op::Halt, &mut core, &mut naive, &mut tickets, 0, &mut now);
        while !(naive.running.is_empty()
            && naive.handed.is_empty()
            && naive.nested.is_empty()
            && naive.on_lease.is_empty()
            && naive.inline_running.is_empty())
        {
            let give = Op::Give { which: 0, ending: 0 };
            apply(give, &mut core, &mut naive, &mut tickets, 0, &mut now);
            apply(Op::Pull, &mut core, &mut naive, &mut tickets, 0, &mut now);
            let end = Op::End { which: 0, ending: 0 };
            apply(end, &mut core, &mut naive, &mut tickets, 0, &mut now);
            let end = Op::EndNested { which: 0, ends: true };
            apply(end, &mut core, &mut naive, &mut tickets, 0, &mut now);
        }
        naive.check(&core, limits);
        prop_assert_eq!(core.ledger().live, 0);
        prop_assert_eq!(
            core.admit(Door::Street, &weighing(1), now, &mut Out::default()).unwrap_err().reason,
            Reason::Closed
        );
    }
}
