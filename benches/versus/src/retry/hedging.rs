//! 1 % of the calls take 100 times as long: how long the slowest thousandth is waited for, and how
//! many requests that costs. Real time, so the figures carry the timer's millisecond.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use headworks::Verdict;
use headworks::retry::{Hedge, HedgeConfig, Idempotency, RetryBudget, RetryBudgetConfig};
use tokio::task::JoinSet;
use tower::hedge::Policy;
use tower::{Service, service_fn};

use crate::harness::{Contestant, Effort, Measure, contest, quantile};

const MEASURES: [Measure; 2] = [
    Measure { suffix: "/p999", unit: "ms" },
    Measure { suffix: "/requests", unit: "requests/call" },
];
const USUAL: Duration = Duration::from_millis(5);
const SLOW: u32 = 100;
const CALLERS: usize = 200;

#[derive(Clone, Copy)]
enum Way {
    Ours,
    Tower,
    Once,
}

pub fn run(effort: Effort) {
    let calls = effort.ops(50);
    let entry = |name, way| Contestant::new(name, move || sample(way, calls));
    let contestants = vec![
        entry("headworks", Way::Ours),
        entry("no hedge", Way::Once),
        entry("tower Hedge, p98", Way::Tower),
    ];
    contest("retry/hedging", &MEASURES, effort, contestants);
}

/// Counts the requests, and makes each take as long as chance says.
struct Backend {
    requests: AtomicU64,
}

impl Backend {
    async fn answer(&self) {
        let request = self.requests.fetch_add(1, Ordering::Relaxed);
        // SplitMix64: every hundredth by chance, and between half and one and a half of the usual.
        let mut z = (request + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let factor = if z.is_multiple_of(100) { SLOW } else { 1 };
        let share = 0.5 + (z >> 11) as f64 / (1_u64 << 53) as f64;
        tokio::time::sleep(USUAL.mul_f64(share) * factor).await;
    }
}

/// Every request may be sent twice.
#[derive(Clone)]
struct Always;

impl Policy<()> for Always {
    fn clone_request(&self, (): &()) -> Option<()> {
        Some(())
    }

    fn can_retry(&self, (): &()) -> bool {
        true
    }
}

fn sample(way: Way, calls: usize) -> Vec<f64> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build();
    runtime.expect("a runtime").block_on(async {
        let backend = Arc::new(Backend { requests: AtomicU64::new(0) });
        let took = match way {
            Way::Once => {
                let backend = &backend;
                crowd(calls, || {
                    let backend = Arc::clone(backend);
                    async move { backend.answer().await }
                })
                .await
            }
            Way::Ours => ours(calls, &backend).await,
            Way::Tower => tower(calls, &backend).await,
        };
        let all = (calls * CALLERS) as f64;
        let requests = backend.requests.load(Ordering::Relaxed) as f64;
        vec![quantile(&took, 0.999), requests / all]
    })
}

async fn ours(calls: usize, backend: &Arc<Backend>) -> Vec<f64> {
    let budget = RetryBudget::new(RetryBudgetConfig::default()).expect("the default");
    let hedge = Hedge::new(HedgeConfig::default(), budget).expect("the default");
    crowd(calls, || {
        let (hedge, backend) = (hedge.clone(), Arc::clone(backend));
        async move {
            let attempt = |_| async {
                backend.answer().await;
                Ok::<_, Infallible>(())
            };
            let answer = hedge.run(Idempotency::Idempotent, Verdict::of, attempt).await;
            answer.expect("no error exists");
        }
    })
    .await
}

async fn tower(calls: usize, backend: &Arc<Backend>) -> Vec<f64> {
    let service = service_fn({
        let backend = Arc::clone(backend);
        move |()| {
            let backend = Arc::clone(&backend);
            async move {
                backend.answer().await;
                Ok::<_, Infallible>(())
            }
        }
    });
    // It goes by the latencies of the period before.
    let period = Duration::from_millis(100);
    let hedge = tower::hedge::Hedge::new(service, Always, 100, 0.98, period);
    // It is no clone: all callers ask the same one.
    let hedge = Arc::new(Mutex::new(hedge));
    crowd(calls, || {
        let hedge = Arc::clone(&hedge);
        async move {
            let lock = || hedge.lock().expect("nobody panics");
            let ready = std::future::poll_fn(|cx| lock().poll_ready(cx)).await;
            ready.expect("a function is always ready");
            let answer = lock().call(());
            answer.await.expect("no error exists");
        }
    })
    .await
}

/// So many calls one after the other by each of many callers; how long each took, in ms.
async fn crowd<F: Future<Output = ()> + Send + 'static>(
    calls: usize,
    call: impl Fn() -> F,
) -> Vec<f64> {
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let calls: Vec<_> = (0..calls).map(|_| call()).collect();
        callers.spawn(async move {
            let mut took = Vec::with_capacity(calls.len());
            for call in calls {
                let from = Instant::now();
                call.await;
                took.push(from.elapsed().as_secs_f64() * 1e3);
            }
            took
        });
    }
    callers.join_all().await.concat()
}
