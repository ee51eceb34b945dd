//! Who is let in, and what the others are told.

use super::*;

type Way = fn(&mut Pool, Ticket, Instant, &mut Out);

/// A pool without seats left, which enforces so much, and how its door takes `n` low tasks.
fn offered(enforcement: Enforcement, n: u32) -> (Pool, u32) {
    let config = WorkerPoolConfig::default()
        .with_enforcement(enforcement)
        .with_concurrency(Concurrency::Fixed(1))
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
            .with_concurrency(Concurrency::Fixed(1));
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
