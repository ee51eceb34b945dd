//! Random operations, against a naive count of everything.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::ground::tenant::Tenant;

#[derive(Clone, Debug)]
enum Op {
    Submit { class: usize, tenant: u64, weight: u32, deadline: Option<u64> },
    Run { class: usize, weight: u32 },
    Claim { stripe: usize },
    Put { stripe: usize },
    Own { which: usize, ends: bool },
    Give { which: usize, ending: usize },
    Pull,
    End { which: usize, ending: usize, is_spent: bool },
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
        6 => (any::<usize>(), 0..3_usize, any::<bool>())
            .prop_map(|(which, ending, is_spent)| Op::End { which, ending, is_spent }),
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
        Op::End { which, ending, is_spent } => {
            end_one(core, naive, (which, ending), *now);
            match is_spent {
                true => drop(core.pauses(*now, &mut out)),
                false => core.settle(*now, &mut out),
            }
        }
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

fn end_one(core: &mut Pool, naive: &mut Naive, (which, ending): (usize, usize), now: Instant) {
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
        naive.end(ending);
    }
}

proptest! {
    #![proptest_config(crate::ground::cases::cases(256))]

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
            let end = Op::End { which: 0, ending: 0, is_spent: false };
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
