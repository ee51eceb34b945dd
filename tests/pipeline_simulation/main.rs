//! The pipeline under everything at once (D16), replayed from one number, on paused time; and adds
//! beside the runs of the same keys (D18).
//!
//! A seed is one configuration and one history: submits of every kind, joins, newer versions, cancels,
//! dropped tickets, deadlines, pauses, other limits, faults and panics in every phase and in what it
//! undoes, batches, outputs that are shared and kept, critical attempts that outlive their grace,
//! payloads that panic when they are dropped, and an end: a shutdown, a drop, or, where there are
//! checkpoints, a crash, after which the next life begins with what is on disk, and a last one in
//! which nothing fails any more.
//!
//! | variable | |
//! |---|---|
//! | `HEADWORKS_SEEDS=10000`, `HEADWORKS_SEEDS=500-1500` | so many seeds, or these (default: 1,000) |
//! | `HEADWORKS_SEED=17` | this one only |
//!
//! A failure names its seed. The long run:
//! `HEADWORKS_SEEDS=10000 cargo test --release --all-features --test pipeline_simulation`.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and brings its own clock"
)]

mod disk;
mod ending;
mod history;
mod life;
mod phases;
mod recount;
#[allow(dead_code, reason = "the scenarios use the rest of it")]
#[path = "../scenarios/harness/rng.rs"]
mod rng;
mod told;
mod world;

use std::collections::BTreeSet;
use std::ops::Range;
use std::panic::{catch_unwind, resume_unwind};
use std::time::Duration;

use headworks::Ending;
use history::{Mode, run};
use world::Met;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Those that somebody asked for, or so many.
fn seeds(few: u64) -> Range<u64> {
    let number = |text: &str| text.parse::<u64>().unwrap();
    if let Ok(seed) = std::env::var("HEADWORKS_SEED") {
        return number(&seed)..number(&seed) + 1;
    }
    match std::env::var("HEADWORKS_SEEDS") {
        Err(_) => 0..few,
        Ok(asked) => match asked.split_once('-') {
            Some((first, last)) => number(first)..number(last) + 1,
            None => 0..number(&asked),
        },
    }
}

/// Runs every seed, and names the one that failed. What all of them met.
fn every_seed(mode: Mode) -> Met {
    quiet_bombs();
    let mut all = BTreeSet::new();
    for seed in seeds(1_000) {
        match catch_unwind(|| run(seed, mode)) {
            Ok((wrong, met)) => {
                assert!(wrong.is_empty(), "HEADWORKS_SEED={seed}: {wrong:#?}");
                all.extend(met);
            }
            Err(panic) => {
                eprintln!("failed: HEADWORKS_SEED={seed}");
                resume_unwind(panic);
            }
        }
    }
    all
}

/// The panics that are part of the load are not worth a line each.
fn quiet_bombs() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let shown = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<&str>();
            if !matches!(text, Some(&("a bomb" | "a phase" | "an undoing"))) {
                shown(info);
            }
        }));
    });
}

#[test]
fn under_fire_everything_holds_that_is_promised() {
    let met = every_seed(Mode::Wild);
    if seeds(1_000).count() < 1_000 {
        return;
    }
    // The load is what it says: everything that can happen has happened.
    let words = Ending::ALL.map(|ending| format!("{ending:?}")).into_iter();
    let reasons = ["QueueFull", "CircuitOpen", "DeadlineInfeasible", "Conflict", "Stale", "Closed"];
    let more =
        ["Paused", "NotPersisted", "TooLarge", "indeterminate", "undone", "crash", "resumed"];
    let still = ["dropped", "shutdown", "batch of several", "shared output"];
    let all = reasons.into_iter().chain(more).chain(still).map(str::to_owned);
    for word in words.chain(all) {
        assert!(met.contains(&word), "{word} never came up: {met:?}");
    }
    assert!(met.iter().any(|word| word.starts_with("RateLimited")));
}

#[test]
fn under_fire_every_class_and_tenant_is_served_in_order() {
    let _ = every_seed(Mode::Ordered);
}

/// The negative control: without the key rule the same load must break the same check.
#[test]
fn without_the_key_rule_the_same_load_overlaps() {
    quiet_bombs();
    let overlaps = |seed| run(seed, Mode::Unkeyed).0.iter().any(|it| it.contains("at once"));
    assert!((0..20).any(overlaps));
}

/// The same for what is kept: where a store forgets what it said it had, the check must find it.
#[test]
fn a_store_that_forgets_is_found_out() {
    quiet_bombs();
    let is_found = |seed| run(seed, Mode::Forgetful).0.iter().any(|it| it.contains("on disk"));
    assert!((0..40).any(is_found));
}
