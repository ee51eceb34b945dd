//! A bounded soak: real time, a real runtime, everything in use at once, and nothing that grows.
//!
//! Submitters keep a pipeline with files of checkpoints, a batched, a cached and a critical phase busy,
//! whose work goes through a pool and a limiter; now and then one cancels, replaces, panics or lets go.
//! Beside it pipelines are built and shut down. From the second tenth of the time on to its end the
//! heap (bytes and blocks), the resident memory, tasks, threads and file handles stay where they were;
//! after the end they are gone. Timers need no count of their own: tokio's lie in the futures that wait
//! for them, so one that is forgotten is a task or heap that stays.
//!
//! It takes a minute, so it has to be asked for:
//! `cargo test --all-features --test soak -- --ignored`; with `HEADWORKS_SOAK_SECONDS=1800` half an
//! hour. The control leaks, and must be found out.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and brings its own clock"
)]

mod heap;
mod load;
mod vitals;

use std::time::Duration;

use load::Load;
use tokio::time::{Instant, MissedTickBehavior};
use vitals::{Vitals, grows};

/// Looks in the whole time.
const LOOKS: u32 = 200;

fn asked() -> Duration {
    let seconds = std::env::var("HEADWORKS_SOAK_SECONDS").ok();
    Duration::from_secs(seconds.map_or(60, |seconds| seconds.parse().unwrap()))
}

/// The panics that are part of the load are not worth a line each.
fn quiet_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let shown = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<&str>() != Some(&"a phase") {
                shown(info);
            }
        }));
    });
}

/// Runs the load for so long, and looks at the process meanwhile; `each` is called at every look.
fn soak(takes: Duration, mut each: impl FnMut()) -> Vec<Vitals> {
    quiet_panics();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let looks = runtime.block_on(async {
        let load = Load::begin().await;
        let mut clock = tokio::time::interval(takes / LOOKS);
        clock.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (start, mut looks) = (Instant::now(), Vec::with_capacity(LOOKS as usize + 1));
        while start.elapsed() < takes {
            clock.tick().await;
            each();
            looks.push(Vitals::look());
        }
        load.end().await;
        looks
    });
    drop(runtime);
    looks
}

#[test]
#[ignore = "it takes a minute: cargo test --all-features --test soak -- --ignored"]
fn nothing_grows() {
    // What tokio, the allocator and the test harness make once is there before.
    drop(soak(Duration::from_secs(1), || {}));
    let before = Vitals::outside();
    let looks = soak(asked(), || {});
    let after = Vitals::outside();
    println!("{} looks; first {:?}, last {:?}", looks.len(), looks[0], looks[looks.len() - 1]);
    println!("before {before:?}, after {after:?}");
    assert_eq!(grows(&looks), Vec::<String>::new());
    assert_eq!(after.files, before.files);
    assert!(after.live_bytes <= before.live_bytes + (1 << 20), "{before:?} {after:?}");
}

/// What is leaked little by little must be found, or the other one proves nothing: a few bytes, and a
/// file handle now and then.
#[test]
#[ignore = "it takes some seconds, and wants no other load beside it"]
fn what_grows_is_found() {
    let mut leaked = Vec::new();
    let looks = soak(Duration::from_secs(6), || {
        leaked.push((vec![1_u8; 64 << 10], std::fs::File::open("/proc/self/status").unwrap()));
    });
    let found = grows(&looks);
    assert!(found.iter().any(|it| it.contains("live_bytes")), "{found:?}");
    assert!(found.iter().any(|it| it.contains("files")), "{found:?}");
}
