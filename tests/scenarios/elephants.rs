//! D8, elephants: 16 tenants at ten times their share of the pool, 100 mice at a tenth of theirs, all
//! of one class.
//!
//! A share is the capacity by 116. Tasks take S = 100 ms and are due 20 S after they came; the queue
//! has the pool's default of 2,000 places, six times what is worked off in that time.

use std::time::Duration;

use headworks::worker_pool::{Concurrency, WorkerPoolConfig};
use headworks::{Priority, WorkerPool};

use crate::harness::claims::Claims;
use crate::harness::load::{Arrival, Stream, merged};
use crate::harness::open_loop::{Fate, capacity, drive, latencies, success};
use crate::harness::rng::Rng;
use crate::harness::stats::{jain, quantile};
use crate::harness::{every_seed, simulate, some_seeds};

const SEATS: usize = 16;
const S: Duration = Duration::from_millis(100);
const LENGTH: Duration = Duration::from_secs(120);
const ELEPHANTS: u32 = 16;
const MICE: u32 = 100;

#[test]
fn mice_do_not_notice_elephants_and_elephants_share_alike() {
    every_seed(2, |seed| trial(seed, true).all_hold());
}

#[test]
fn control_without_tenants_mice_are_shed_with_the_rest() {
    some_seeds(|seed| trial(seed, false).breaks(&["success", "p99", "fair"]));
}

fn trial(seed: u64, tells_tenants: bool) -> Claims {
    simulate(async {
        let mut rng = Rng(seed);
        let services: Vec<_> = (0..2_000).map(|_| rng.around(S)).collect();
        let share = capacity(pool(), SEATS, services).await / f64::from(ELEPHANTS + MICE);
        let arrivals = arrivals(&mut rng, share);
        let mice: Vec<_> = arrivals.iter().filter(|one| is_mouse(one)).copied().collect();
        let told = |arrivals: Vec<Arrival>| match tells_tenants {
            true => arrivals,
            false => arrivals.into_iter().map(|one| Arrival { tenant: None, ..one }).collect(),
        };
        let alone = drive(pool(), &told(mice)).await;
        let fates = drive(pool(), &told(arrivals)).await;
        check(&fates, &alone)
    })
}

fn pool() -> WorkerPool {
    let config = WorkerPoolConfig::default().with_concurrency(Concurrency::Fixed(SEATS));
    WorkerPool::new(config).unwrap()
}

fn arrivals(rng: &mut Rng, share: f64) -> Vec<Arrival> {
    merged((0..ELEPHANTS + MICE).map(|tenant| {
        let (kind, class) = (tenant as usize, Priority::Normal);
        let patience = Some(S * 20);
        let stream = Stream { class, tenant: Some(tenant), kind, service: S, patience };
        let shares = if tenant < ELEPHANTS { 10.0 } else { 0.1 };
        stream.over(rng, Duration::ZERO, LENGTH, shares * share)
    }))
}

fn is_mouse(arrival: &Arrival) -> bool {
    arrival.kind >= ELEPHANTS as usize
}

fn check(fates: &[Fate], alone: &[Fate]) -> Claims {
    let mut claims = Claims::default();
    let mice = || fates.iter().filter(|fate| is_mouse(&fate.arrival));
    let share = success(mice());
    claims.check("success", share >= 0.999, format_args!("{share:.5} of the mice's"));
    let (beside, alone) = (quantile(latencies(mice()), 0.99), quantile(latencies(alone), 0.99));
    claims.check("p99", beside <= alone * 3, format!("{beside:?}, alone {alone:?}"));
    let fair = jain(&satisfaction(fates));
    claims.check("fair", fair >= 0.98, format_args!("Jain's index {fair:.4}"));
    claims
}

/// What each tenant got of what it is due: of what it asked for, or, when that is more, of the
/// level at which the capacity is used up (max-min fairness).
fn satisfaction(fates: &[Fate]) -> Vec<f64> {
    let tenants = (ELEPHANTS + MICE) as usize;
    let (mut asked, mut got) = (vec![0.0; tenants], vec![0.0; tenants]);
    for fate in fates {
        asked[fate.arrival.kind] += 1.0;
        got[fate.arrival.kind] += f64::from(u8::from(fate.is_good()));
    }
    let level = level(&asked, got.iter().sum());
    (0..tenants)
        .filter(|&tenant| asked[tenant] > 0.0)
        .map(|tenant| got[tenant] / f64::min(asked[tenant], level))
        .collect()
}

/// The level at which all get together what there was.
fn level(asked: &[f64], there: f64) -> f64 {
    let mut sorted = asked.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (mut left, mut rest) = (there, sorted.len() as f64);
    for asked in sorted {
        if asked * rest >= left {
            break;
        }
        left -= asked;
        rest -= 1.0;
    }
    left / rest.max(1.0)
}
