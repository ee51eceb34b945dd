//! `headworks::CircuitBreaker`.

use std::num::NonZeroU32;
use std::time::Duration;

use headworks::CircuitBreaker;
use headworks::circuit_breaker::{CircuitBreakerConfig, InFlight, Unreported, Window};

use super::contestant::{Breaker, Case};

pub struct Ours {
    breaker: CircuitBreaker,
    passes_time: bool,
}

const HUNDRED: NonZeroU32 = NonZeroU32::new(100).unwrap();

fn config(case: Case) -> CircuitBreakerConfig {
    let config = CircuitBreakerConfig::default().with_open_for(Duration::from_secs(300));
    let untimed =
        || config.clone().with_in_flight(InFlight::Ignored).with_unreported(Unreported::Failure);
    match case {
        Case::Untimed => {
            untimed().with_window(Window::Off).with_consecutive_failures(Some(HUNDRED))
        }
        Case::Counted => untimed().with_window(Window::Calls(HUNDRED)),
        Case::Timed | Case::Open | Case::OpenPassed => config,
    }
}

impl Breaker for Ours {
    const NAME: &'static str = "headworks";

    fn new(case: Case) -> Self {
        let breaker = CircuitBreaker::new(config(case)).expect("every value is in range");
        if case.is_open() {
            (0..10).for_each(|_| breaker.try_acquire().expect("it is closed").failure());
        }
        Self { breaker, passes_time: case == Case::OpenPassed }
    }

    fn calls(&self, calls: usize) -> usize {
        let mut made = 0;
        if self.passes_time {
            let now = headworks::Instant::now();
            return (0..calls).filter(|_| self.breaker.try_acquire_at(now).is_ok()).count();
        }
        for _ in 0..calls {
            if let Ok(permit) = self.breaker.try_acquire() {
                permit.success();
                made += 1;
            }
        }
        made
    }
}

/// What reading the clock costs: of what ours takes while open, the part that is not its own.
pub struct Clock;

impl Breaker for Clock {
    const NAME: &'static str = "one look at the clock";

    fn new(_: Case) -> Self {
        Self
    }

    fn calls(&self, calls: usize) -> usize {
        (0..calls).for_each(|_| {
            std::hint::black_box(std::time::Instant::now());
        });
        0
    }
}
