//! Calls in flight, and slow ones.

use super::*;

/// Slow from one second on; by ratio.
fn watching() -> CircuitBreakerConfig {
    plain().with_slow_after(Some(S))
}

fn begin(breaker: &CircuitBreaker, times: u32, now: Instant) -> Vec<CallPermit<'_>> {
    (0..times).map(|_| breaker.try_acquire_at(now).unwrap()).collect()
}

#[test]
fn calls_that_hang_open_it_before_any_has_ended() {
    let (breaker, start) = made(watching());
    let mut hanging = Vec::new();
    let mut opened_at = None;
    for call in 0..5_000 {
        let now = start + call * MS;
        match breaker.try_acquire_at(now) {
            Ok(permit) => hanging.push(permit),
            Err(_) => opened_at = opened_at.or(Some(now - start)),
        }
    }
    let opened_at = opened_at.unwrap();
    assert!(S <= opened_at && opened_at <= S + S / 5, "{opened_at:?}");
    assert!(hanging.len() <= 1_200, "{}", hanging.len());
    hanging.into_iter().for_each(|permit| permit.report_at(Success, start + 5 * S));
    assert_eq!(breaker.state_at(start + 5 * S), State::Open, "they come too late");
}

#[test]
fn without_the_ages_nothing_opens_it_before_they_end() {
    let (breaker, start) = made(watching().with_in_flight(InFlight::Ignored));
    let hanging = begin(&breaker, 1_000, start);
    assert_eq!(breaker.state_at(start + 29 * S), State::Closed);
    assert_eq!(breaker.snapshot_at(start + 29 * S).in_flight, 0);
    drop(hanging);
}

#[test]
fn a_slow_call_counts_as_failed_until_it_ends_and_then_as_what_it_says() {
    let (breaker, start) = made(watching());
    let slow = begin(&breaker, 9, start);
    let now = start + 2 * S;
    let seen = breaker.snapshot_at(now);
    assert_eq!((seen.state, seen.in_flight, seen.overdue), (State::Closed, 9, 9), "nine of nine");
    for permit in slow {
        permit.report_at(Success, now);
    }
    let seen = breaker.snapshot_at(now);
    assert_eq!((seen.in_flight, seen.overdue, seen.succeeded), (0, 0, 9));
    calls(&breaker, Failure, 8, now);
    assert_eq!(breaker.state_at(now), State::Closed, "eight of seventeen");
    calls(&breaker, Failure, 1, now);
    assert_eq!(breaker.state_at(now), State::Open);
}

#[test]
fn a_slow_call_that_fails_in_the_end_counts_once() {
    let config = watching().with_window(Window::Off).with_consecutive_failures(Some(n(3)));
    let (breaker, start) = made(config);
    let slow = begin(&breaker, 2, start);
    let now = start + 2 * S;
    assert_eq!(breaker.state_at(now), State::Closed, "two in a row");
    slow.into_iter().for_each(|permit| permit.report_at(Failure, now));
    assert_eq!(breaker.state_at(now), State::Closed, "the same two");
    calls(&breaker, Failure, 1, now);
    assert_eq!(breaker.state_at(now), State::Open);
}

#[test]
fn calls_of_an_earlier_generation_do_not_open_it_again() {
    let (breaker, start) = made(watching());
    let hanging = begin(&breaker, 100, start);
    let now = start + 2 * S;
    assert_eq!(breaker.state_at(now), State::Open);
    let now = now + 31 * S;
    calls(&breaker, Success, 5, now);
    assert_eq!(breaker.state_at(now), State::Closed);
    let seen = breaker.snapshot_at(now);
    assert_eq!((seen.in_flight, seen.overdue), (0, 0));
    hanging.into_iter().for_each(|permit| permit.report_at(Failure, now));
    let seen = breaker.snapshot_at(now + S);
    assert_eq!((seen.state, seen.in_flight, seen.late), (State::Closed, 0, 100));
}

#[test]
fn a_call_is_slow_by_a_sixth_too_late_at_most_and_never_early() {
    for offset in 0..50 {
        let (breaker, start) = made(watching());
        let began = start + offset * 37 * MS;
        let hanging = begin(&breaker, 10, began);
        let opened = (0..2_000).find(|ms| breaker.state_at(began + *ms * MS) == State::Open);
        let opened = opened.unwrap() * MS;
        assert!(S <= opened && opened <= S + S / 6 + MS, "{opened:?} from {offset}");
        drop(hanging);
    }
}

#[test]
fn reports_from_other_threads_and_slots_leave_nothing_behind() {
    let (breaker, start) = made(watching().with_failure_ratio(1.0));
    let mut out = VecDeque::new();
    for ms in 0..20_000 {
        let now = start + ms * MS;
        out.push_back(breaker.try_acquire_owned_at(now).unwrap());
        if out.len() > 700 {
            let permit = out.pop_front().unwrap();
            match ms % 50 {
                0 => std::thread::scope(|on| {
                    on.spawn(move || permit.report_at(Success, now));
                }),
                1 => permit.report_at(Failure, now),
                2 => permit.report_at(Ignored, now),
                _ => permit.report_at(Success, now),
            }
        }
    }
    let now = start + 20 * S;
    assert_eq!(breaker.snapshot_at(now).in_flight, 700);
    out.into_iter().for_each(|permit| permit.report_at(Success, now));
    let seen = breaker.snapshot_at(now);
    assert_eq!((seen.in_flight, seen.overdue, seen.late), (0, 0, 0));
    assert_eq!(seen.succeeded + seen.failed + seen.ignored, 20_000);
}

/// The words of the stripes are used again, and tell apart a bounded number of slots.
#[test]
fn a_call_that_ends_a_thousand_slots_later_takes_nothing_from_another() {
    let (breaker, start) = made(watching().with_failure_ratio(1.0));
    let slot = S / 6 + Duration::from_nanos(1);
    let long = breaker.try_acquire_owned_at(start).unwrap();
    for n in 1..=1_024 {
        calls(&breaker, Success, 1, start + slot * n);
    }
    let now = start + slot * 1_024;
    long.report_at(Success, now);
    let seen = breaker.snapshot_at(now + 2 * S);
    assert_eq!((seen.in_flight, seen.overdue, seen.succeeded), (0, 0, 1_025));
    assert_eq!(seen.state, State::Closed);
}

#[test]
fn slow_calls_are_no_row_while_others_succeed() {
    let config = watching().with_failure_ratio(1.0).with_consecutive_failures(NonZeroU32::new(5));
    let (breaker, start) = made(config);
    let mut hanging = Vec::new();
    for ms in 0..5_000 {
        match ms % 100 {
            0 => hanging.extend(begin(&breaker, 1, start + ms * MS)),
            _ => calls(&breaker, Success, 1, start + ms * MS),
        }
    }
    assert_eq!(breaker.state_at(start + 5 * S), State::Closed, "one in a hundred hangs");
    hanging.extend(begin(&breaker, 5, start + 6 * S));
    assert_eq!(breaker.state_at(start + 8 * S), State::Open, "nothing has succeeded since");
}

#[test]
fn slow_answers_open_it_by_their_share_only() {
    let config = watching().with_slow_ratio(Some(0.5)).with_failure_ratio(1.0);
    let (breaker, start) = made(config);
    let mut now = start;
    let call = |took: Duration, now: Instant| {
        if let Ok(permit) = breaker.try_acquire_at(now) {
            permit.report_at(Success, now + took);
        }
    };
    for _ in 0..20 {
        call(S, now);
        (0..3).for_each(|_| call(S - MS, now));
        now += S;
    }
    assert_eq!(breaker.state_at(now), State::Closed, "a quarter is slow");
    for _ in 0..20 {
        call(S, now);
    }
    assert_eq!(breaker.state_at(now + S), State::Open);
}

#[test]
fn a_slow_probe_has_failed() {
    let (breaker, now) = opened(watching().with_slow_ratio(Some(0.5)).with_probes(n(1)));
    let now = now + 30 * S;
    breaker.try_acquire_at(now).unwrap().report_at(Success, now + S);
    assert_eq!(breaker.state_at(now + S), State::Open);
}

#[test]
fn where_nothing_depends_on_time_no_clock_is_read() {
    /// Whoever asks it for the time fails.
    #[derive(Clone, Copy)]
    struct NoClock;
    impl time::Now for NoClock {
        fn get(self) -> Instant {
            panic!("the clock was read")
        }
    }
    let untimed = plain().with_in_flight(InFlight::Ignored).with_unreported(Unreported::Failure);
    for config in [
        untimed.clone().with_window(Window::Calls(n(100))),
        untimed.with_window(Window::Off).with_consecutive_failures(Some(n(5))),
    ] {
        let (breaker, now) = made(config);
        for _ in 0..1_000 {
            breaker.acquire(NoClock).unwrap().report_at(Success, NoClock);
        }
        assert_eq!(breaker.snapshot_at(now).succeeded, 1_000);
    }
}
