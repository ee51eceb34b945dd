//! The core, by tables and explicit times, and against a naive count of everything.

mod door;
mod model;
mod waking;

use std::cell::RefCell;
use std::num::NonZeroU32;
use std::task::Waker;
use std::time::Duration;

use super::config::{Limits, Scale};
use super::core::{Core, Door, Job, Look, No, Seeker, Step, TaskSlot};
use super::crew::{Next, WorkerNo};
use super::errands::{Errands, More};
use super::lease::Gave;
use super::seats::SeatNo;
use super::task::TaskId;
use super::{Concurrency, Timing, WorkerPoolConfig};
use crate::gates::wait_queue::{Place, Rules, Ticket};
use crate::ground::time::Instant;
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

fn depth(look: &Look) -> usize {
    look.depth.iter().sum()
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
        _ => None,
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
