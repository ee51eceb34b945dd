//! Who is woken, seated and timed, and when.

use super::*;

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
fn who_rests_is_roused_for_what_a_spent_worker_leaves() {
    let (mut core, now, mut out) = (resting(3, 10, 3), start(), Out::default());
    submit(&mut core, weighing(1), 0, now, &mut out).unwrap();
    let (_, seat) = pull_as(2, &mut core, now, &mut out).unwrap();
    core.book(seat, Ending::Completed, now);
    assert!(!core.pauses(now, &mut out), "there is nothing to come back for");
    submit(&mut core, weighing(2), 1, now, &mut out).unwrap();
    let (_, seat) = pull_as(2, &mut core, now, &mut out).unwrap();
    assert!(pull_as(1, &mut core, now, &mut out).is_none(), "roused for what another one took");
    let before = woken(&out);
    submit(&mut core, weighing(2), 2, now, &mut out).unwrap();
    assert_eq!(woken(&out), before, "it does not fit yet");
    core.book(seat, Ending::Completed, now);
    assert!(core.pauses(now, &mut out));
    assert_eq!(woken(&out), before + 1);
    assert_eq!(pull_as(1, &mut core, now, &mut out).map(|(task, _)| task), Some(2));
    assert!(pull_as(2, &mut core, now, &mut out).is_none(), "somebody else was sooner");
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
