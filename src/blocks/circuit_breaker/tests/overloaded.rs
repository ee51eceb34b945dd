//! Backends that ask for patience.

use super::*;
use crate::Verdict;

fn overloaded(breaker: &CircuitBreaker, asked: Option<Duration>, now: Instant) {
    breaker.try_acquire_at(now).unwrap().report_at(Verdict::overloaded(asked), now);
}

#[test]
fn patience_counts_as_it_is_told_to() {
    for (counts, opens_at) in
        [(Overloaded::Ignored, None), (Overloaded::Failure, Some(10)), (Overloaded::Opens, Some(1))]
    {
        let (breaker, now) = made(plain().with_overloaded(counts));
        let opened = (1..=20).find(|_| {
            overloaded(&breaker, None, now);
            breaker.state_at(now) == State::Open
        });
        assert_eq!(opened, opens_at);
    }
}

#[test]
fn the_opening_lasts_until_the_backend_wants_to_be_asked_again() {
    let (breaker, now) = made(plain());
    overloaded(&breaker, Some(90 * S), now);
    calls(&breaker, Failure, 10, now + S);
    assert_eq!(breaker.peek_at(now + S).unwrap_err().next_probe_at(), Some(now + 90 * S));

    let (breaker, now) = made(plain());
    overloaded(&breaker, Some(86_400 * S), now);
    calls(&breaker, Failure, 10, now);
    let refused = breaker.peek_at(now).unwrap_err();
    assert_eq!(refused.retry_after(), Some(300 * S), "an absurd wish is capped");

    let (breaker, now) = made(plain());
    let unavailable = Verdict::failure().not_before(100 * S);
    (0..10).for_each(|_| breaker.try_acquire_at(now).unwrap().report_at(unavailable, now));
    assert_eq!(
        breaker.peek_at(now).unwrap_err().retry_after(),
        Some(100 * S),
        "a failure may ask too"
    );
}

#[test]
fn a_refusal_of_ones_own_says_nothing_about_the_backend() {
    let (breaker, now) = made(plain().with_overloaded(Overloaded::Opens));
    for _ in 0..20 {
        breaker.try_acquire_at(now).unwrap().report_at(Verdict::refused(Some(90 * S)), now);
    }
    calls(&breaker, Failure, 10, now);
    assert_eq!(breaker.peek_at(now).unwrap_err().retry_after(), Some(30 * S));
}

#[test]
fn those_who_were_told_the_same_come_back_spread() {
    let now = time::now();
    let openings = (0..100).map(|seed| {
        let config = CircuitBreakerConfig::default().with_overloaded(Overloaded::Opens);
        let breaker = CircuitBreaker::new_at(config, Rng::seeded(seed), now).unwrap();
        overloaded(&breaker, Some(100 * S), now);
        breaker.peek_at(now).unwrap_err().retry_after().unwrap()
    });
    let openings: Vec<_> = openings.collect();
    assert!(openings.iter().all(|opening| (100 * S..=120 * S).contains(opening)));
    assert!(openings.iter().max() > Some(&(115 * S)) && openings.iter().min() < Some(&(105 * S)));
}

#[test]
fn a_wish_is_forgotten_with_its_generation() {
    let (breaker, now) = made(plain());
    overloaded(&breaker, Some(40 * S), now);
    calls(&breaker, Failure, 10, now);
    let now = now + 40 * S;
    calls(&breaker, Success, 5, now);
    calls(&breaker, Failure, 10, now);
    assert_eq!(breaker.peek_at(now).unwrap_err().retry_after(), Some(30 * S));
}

#[test]
fn a_backend_that_only_asks_for_patience_does_not_stay_half_open() {
    for (counts, state) in [
        (Overloaded::Ignored, State::Closed),
        (Overloaded::Failure, State::Open),
        (Overloaded::Opens, State::Open),
    ] {
        let (breaker, now) = opened(plain().with_overloaded(counts));
        let now = now + 30 * S;
        (0..5).for_each(|_| {
            if let Ok(probe) = breaker.try_acquire_at(now) {
                probe.report_at(Verdict::overloaded(Some(S)), now);
            }
        });
        assert_eq!(breaker.state_at(now), state, "{counts:?}");
    }
}

#[test]
fn a_backend_that_answers_nothing_but_404_does_not_stay_half_open() {
    let (breaker, now) = opened(plain());
    let now = now + 30 * S;
    let answers = (1..1_000).find(|_| {
        calls(&breaker, Ignored, 1, now);
        breaker.state_at(now) == State::Closed
    });
    assert_eq!(answers, Some(10), "five say nothing, five more that it answers");

    let (breaker, now) = opened(plain());
    let now = now + 30 * S;
    calls(&breaker, Ignored, 5, now);
    calls(&breaker, Failure, 3, now);
    assert_eq!(breaker.state_at(now), State::Open, "failures weigh as ever");
}

#[test]
fn what_was_refused_on_this_side_or_cancelled_is_no_answer() {
    let (breaker, now) = opened(plain());
    let now = now + 30 * S;
    for _ in 0..100 {
        breaker.try_acquire_at(now).unwrap().report_at(Verdict::refused(None), now);
        breaker.try_acquire_at(now).unwrap().abandon_at(now);
        breaker.try_acquire_owned_at(now).unwrap().give_back(now, drop);
    }
    assert_eq!(breaker.state_at(now), State::HalfOpen);
}
