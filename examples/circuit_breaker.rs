//! A backend that goes down, hangs and comes back, behind a breaker: what each call is told, and
//! what a listener hears.
//!
//! `cargo run --example circuit_breaker`
#![allow(clippy::disallowed_methods, reason = "an example brings its own clock")]

use std::time::Duration;

use headworks::CircuitBreaker;
use headworks::circuit_breaker::{CallError, CircuitBreakerConfig, State};
use tokio::time::{Instant, sleep};

const TICK: Duration = Duration::from_millis(20);

/// Well for a while, then down, then hanging, then well again.
async fn backend(since: Instant) -> Result<&'static str, &'static str> {
    match since.elapsed().as_millis() {
        0..400 => Ok("answered"),
        400..700 => Err("connection refused"),
        700..1_200 => std::future::pending().await,
        _ => Ok("answered"),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = CircuitBreakerConfig::default()
        .with_name("example")
        .with_call_timeout(TICK * 5)
        .with_open_for(TICK * 10)
        .with_probes(const { std::num::NonZeroU32::MIN.saturating_add(1) })
        // Once the probes went well, a tenth of the calls goes through for one such step, then a
        // quarter, then half, then all: so for a while "answered" and "refused" take turns.
        .with_ramp_step(Some(TICK * 5));
    let breaker = CircuitBreaker::new(config)?;
    let mut events = breaker.events()?;
    let listener = tokio::spawn(async move {
        loop {
            let change = events.recv().await;
            println!("  {} -> {}: {:?}", change.from.as_str(), change.to.as_str(), change.cause);
        }
    });
    let start = Instant::now();
    let mut last = String::new();
    while start.elapsed() < Duration::from_secs(3) {
        let told = match breaker.call(backend(start)).await {
            Ok(answer) => answer.to_owned(),
            Err(CallError::Open(_)) => "refused by the breaker".to_owned(),
            Err(error) => format!("{error}: the backend was called"),
        };
        if told != last {
            println!("{:>5} ms  {told}", start.elapsed().as_millis());
            last = told;
        }
        sleep(TICK).await;
    }
    listener.abort();
    let seen = breaker.snapshot();
    println!("{} answered, {} failed, {} refused", seen.succeeded, seen.failed, seen.refused);
    assert_eq!(seen.state, State::Closed);
    Ok(())
}
