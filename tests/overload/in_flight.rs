//! D14, in-flight blindness: a thousand calls a second, and the backend answers none of them for 30 s.
//!
//! The limit is what comes until twice the slow threshold is over: by then the circuit is open,
//! though not one call has ended. After that only probes are sent: one round of them, 30 s later,
//! and they hang too.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use headworks::CircuitBreaker;
use headworks::circuit_breaker::{CircuitBreakerConfig, InFlight, State, StateChange};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::harness::claims::Claims;
use crate::harness::rng::Rng;
use crate::harness::{every_seed, simulate, some_seeds};

const PER_SECOND: f64 = 1_000.0;
const SLOW: Duration = Duration::from_secs(1);
const HANG: Duration = Duration::from_secs(30);
/// Beyond the end of the first opening and of its probes, which hang as long again.
const LENGTH: Duration = Duration::from_secs(70);

#[test]
fn a_backend_that_hangs_is_noticed_before_its_first_timeout() {
    every_seed(3, |seed| trial(seed, InFlight::FailureIfSlow).all_hold());
}

#[test]
fn control_blind_to_calls_in_flight_it_sends_all_of_them() {
    some_seeds(|seed| trial(seed, InFlight::Ignored).breaks(&["sent", "opens", "probes"]));
}

fn trial(seed: u64, in_flight: InFlight) -> Claims {
    simulate(LocalSet::new().run_until(async move {
        let config = CircuitBreakerConfig::default()
            .with_slow_after(Some(SLOW))
            .with_open_jitter_ratio(0.0)
            .with_in_flight(in_flight);
        let probes = config.probes.get();
        let breaker = CircuitBreaker::new(config).unwrap();
        let mut events = breaker.events().unwrap();
        let (mut rng, start) = (Rng(seed), Instant::now());
        let (sent, opened) = (Rc::new(Cell::new(0_u32)), RefCell::new(None::<StateChange>));
        let (mut at, mut due, mut before) = (Duration::ZERO, 0_u32, 0_u32);
        while at < LENGTH {
            at += rng.gap(PER_SECOND);
            sleep_until(start + at).await;
            if at < SLOW * 2 {
                due += 1;
                before = sent.get();
            }
            let (breaker, sent) = (breaker.clone(), Rc::clone(&sent));
            tokio::task::spawn_local(async move {
                let hangs = async {
                    sent.set(sent.get() + 1);
                    sleep(HANG).await;
                    Err::<(), ()>(())
                };
                let _ = breaker.call(hangs).await;
            });
            if let Some(change) = events.try_recv() {
                opened.borrow_mut().get_or_insert(change);
            }
        }
        let mut claims = Claims::default();
        let most = due + probes;
        claims.check("sent", sent.get() <= most, format_args!("{} of {most}", sent.get()));
        let after_it = sent.get() - before;
        let probed = after_it == probes;
        claims.check("probes", probed, format_args!("{after_it} once it was open"));
        let after = opened.borrow().map(|change| change.at.saturating_duration_since(start.into()));
        let in_time = after.is_some_and(|after| after <= SLOW * 2);
        claims.check("opens", in_time, format!("{after:?} after the first call"));
        let state = breaker.state();
        claims.check("stays", state == State::Open, state.as_str());
        claims
    }))
}
