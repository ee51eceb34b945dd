use headworks::circuit_breaker::*;
use headworks::rate_limit::*;
use headworks::retry::*;
use headworks::*;
use std::future::{Future, ready};
use std::pin::pin;
use std::task::{Context, Waker};
#[derive(Debug)]
struct Broken;
impl Classify for Broken {
    fn verdict(&self) -> Verdict {
        Verdict::failure()
    }
}
#[derive(Debug)]
enum Failed {
    L(TryAcquireError),
    C(CallError<Broken>),
}
impl From<TryAcquireError> for Failed {
    fn from(e: TryAcquireError) -> Self {
        Self::L(e)
    }
}
impl From<CallError<Broken>> for Failed {
    fn from(e: CallError<Broken>) -> Self {
        Self::C(e)
    }
}
impl Classify for Failed {
    fn verdict(&self) -> Verdict {
        match self {
            Self::L(l) => l.verdict(),
            Self::C(c) => c.verdict(),
        }
    }
}
fn once(f: impl Future) {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(pin!(f).poll(&mut cx).is_ready());
}
fn main() {
    let what = std::env::args().nth(1).unwrap();
    let n: u64 = std::env::args().nth(2).unwrap().parse().unwrap();
    let rt = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _in = rt.enter();
    let retry =
        Retry::new(RetryPolicy::default(), RetryBudget::new(RetryBudgetConfig::default()).unwrap())
            .unwrap();
    let limiter = RateLimiter::new(Quota::per_second(10_000_000)).unwrap();
    let breaker = CircuitBreaker::new(CircuitBreakerConfig::default()).unwrap();
    let hedge = retry.hedge(HedgeConfig::default()).unwrap();
    let from = std::time::Instant::now();
    for _ in 0..n {
        match what.as_str() {
            "plain" => once(
                retry.run(Idempotency::Idempotent, Verdict::of, |_| ready(Ok::<_, Broken>(()))),
            ),
            "limiter" => limiter.try_acquire(1).unwrap(),
            "breaker" => once(breaker.call(ready(Ok::<_, Broken>(())))),
            "hedge" => once(
                hedge.run(Idempotency::Idempotent, Verdict::of, |_| ready(Ok::<_, Broken>(()))),
            ),
            "stack" => once(retry.run(Idempotency::Idempotent, Verdict::of, |_| async {
                limiter.try_acquire(1)?;
                Ok::<_, Failed>(breaker.call(ready(Ok::<_, Broken>(()))).await?)
            })),
            _ => panic!(),
        }
    }
    if n > 1_000_000 {
        println!("{what} {} ns", from.elapsed().as_nanos() as f64 / n as f64);
    }
}
