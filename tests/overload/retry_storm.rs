//! D1, retry storm: 0.8 C; callers time out at 200 ms and retry three times; the capacity falls
//! to 0.3 C for 10 s and returns.
//!
//! The backend works its queue off first come first served and does not know who has given up:
//! what nobody waits for any more is served too. Its queue is half a second deep, more than anyone
//! waits. So once it is full, every answer is late, every caller retries, and without a budget it
//! stays full for ever: a metastable failure.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headworks::retry::{Idempotency, RetryBudget, RetryBudgetConfig, RetryPolicy};
use headworks::{
    Intent, IntentPipeline, PhaseConfig, PhaseContext, PhaseError, PipelineConfig, Retry, Verdict,
    phase_fn,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::harness::claims::Claims;
use crate::harness::rng::Rng;
use crate::harness::{every_seed, simulate, some_seeds};

/// C, requests a second.
const CAPACITY: f64 = 1_000.0;
const LOAD: f64 = 0.8;
/// How long a caller waits for an answer.
const PATIENCE: Duration = Duration::from_millis(200);
/// How much of C there is from each of these seconds on.
const FALLS: f64 = 10.0;
const RETURNS: f64 = 20.0;
const FALLEN: f64 = 0.3;
/// From then on, five seconds later, all must be well.
const WELL: f64 = 25.0;
const END: f64 = 40.0;
/// Requests that the backend queues.
const QUEUE: f64 = 500.0;

#[derive(Clone, Copy)]
enum Protection {
    Budget,
    /// The control: each retry is paid.
    None,
}

#[test]
fn a_budget_lets_the_backend_come_back() {
    every_seed(3, |seed| trial(seed, Protection::Budget).all_hold());
}

#[test]
fn control_without_a_budget_it_never_does() {
    some_seeds(|seed| trial(seed, Protection::None).breaks(&["goodput", "sent"]));
}

/// The same, by the façade: whoever's attempts or budget are used up waits for the key's backoff,
/// and is too late by then.
#[test]
fn the_budget_of_a_pipeline_lets_the_backend_come_back() {
    every_seed(1, |seed| pipeline_trial(seed, Protection::Budget).all_hold());
}

#[test]
fn control_a_pipeline_without_a_budget_keeps_it_down() {
    some_seeds(|seed| pipeline_trial(seed, Protection::None).breaks(&["goodput", "sent"]));
}

/// First come, first served; told in requests of work, so that a change of speed is exact.
struct Backend {
    epoch: Instant,
    /// The work done when the last request in the queue will be.
    last: f64,
    /// When each request came, in seconds.
    sent: Vec<f64>,
}

impl Backend {
    /// Requests that can be done by then.
    fn work(at: f64) -> f64 {
        let lost = (at.min(RETURNS) - FALLS).max(0.0) * (1.0 - FALLEN);
        (at - lost) * CAPACITY
    }

    /// When so much work is done.
    fn time(work: f64) -> f64 {
        let (falls, returns) = (Self::work(FALLS), Self::work(RETURNS));
        match work {
            _ if work <= falls => work / CAPACITY,
            _ if work <= returns => FALLS + (work - falls) / (CAPACITY * FALLEN),
            _ => RETURNS + (work - returns) / CAPACITY,
        }
    }

    /// When it will be answered; refused when the queue is full.
    fn take(&mut self) -> Result<Instant, Verdict> {
        let now = self.epoch.elapsed().as_secs_f64();
        self.sent.push(now);
        let done = Self::work(now);
        let last = self.last.max(done);
        if last - done >= QUEUE {
            return Err(Verdict::failure());
        }
        self.last = last + 1.0;
        Ok(self.epoch + Duration::from_secs_f64(Self::time(self.last)))
    }
}

fn budget(protection: Protection) -> RetryBudgetConfig {
    match protection {
        Protection::Budget => RetryBudgetConfig::default(),
        Protection::None => RetryBudgetConfig::default().with_floor_per_second(1_000_000),
    }
}

fn policy() -> RetryPolicy {
    RetryPolicy::default().with_max_attempts(NonZeroU32::new(4).unwrap())
}

fn retry(protection: Protection) -> Retry {
    let policy = policy().with_attempt_timeout(Some(PATIENCE));
    Retry::new(policy, RetryBudget::new(budget(protection)).unwrap()).unwrap()
}

fn judge(result: &Result<(), Verdict>) -> Verdict {
    result.map_or_else(|verdict| verdict, |()| Verdict::success())
}

fn trial(seed: u64, protection: Protection) -> Claims {
    simulate(async {
        let mut rng = Rng(seed);
        let epoch = Instant::now();
        let backend = Arc::new(Mutex::new(Backend { epoch, last: 0.0, sent: Vec::new() }));
        let retry = retry(protection);
        retry.reseed(rng.next());
        let mut callers = JoinSet::new();
        let mut at = Duration::ZERO;
        while at < Duration::from_secs_f64(END) {
            sleep_until(epoch + at).await;
            let (retry, backend) = (retry.clone(), Arc::clone(&backend));
            callers.spawn(async move {
                let attempt = |_| {
                    let backend = &backend;
                    async move {
                        let answered_at = backend.lock().unwrap().take()?;
                        sleep_until(answered_at).await;
                        Ok(())
                    }
                };
                let done = retry.run(Idempotency::Idempotent, judge, attempt).await;
                (at.as_secs_f64(), done.is_ok())
            });
            at += rng.gap(LOAD * CAPACITY);
        }
        let calls = callers.join_all().await;
        let sent = std::mem::take(&mut backend.lock().unwrap().sent);
        check(&calls, &sent)
    })
}

/// A call is an intent that is due when four answers could have been waited for.
fn pipeline_trial(seed: u64, protection: Protection) -> Claims {
    simulate(async {
        let mut rng = Rng(seed);
        let epoch = Instant::now();
        let backend = Arc::new(Mutex::new(Backend { epoch, last: 0.0, sent: Vec::new() }));
        let asked = Arc::clone(&backend);
        let ask = phase_fn(move |(): &(), _: &PhaseContext| {
            let backend = Arc::clone(&asked);
            async move {
                let answered_at = backend.lock().unwrap().take().map_err(|_| full())?;
                sleep_until(answered_at).await;
                Ok::<_, PhaseError>(())
            }
        });
        let config =
            PipelineConfig::default().with_seats(1_024).with_retry_budget(budget(protection));
        let phase = PhaseConfig::remote().with_concurrency(1_024);
        let phase = phase.with_timeout(PATIENCE).with_retry(policy());
        let pipeline =
            IntentPipeline::builder::<()>(config).phase("ask", phase, ask).build().unwrap();
        let mut calls = Vec::new();
        let mut at = Duration::ZERO;
        while at < Duration::from_secs_f64(END) {
            sleep_until(epoch + at).await;
            let intent = Intent::new(calls.len().to_string(), ()).within(PATIENCE * 4);
            calls.push((at.as_secs_f64(), pipeline.try_submit(intent).ok()));
            at += rng.gap(LOAD * CAPACITY);
        }
        let mut ended = Vec::with_capacity(calls.len());
        for (at, ticket) in calls {
            let is_good = match ticket {
                Some(ticket) => ticket.await.is_ok(),
                None => false,
            };
            ended.push((at, is_good));
        }
        assert!(pipeline.shutdown(PATIENCE).await.ledger.is_exact());
        let sent = std::mem::take(&mut backend.lock().unwrap().sent);
        check(&ended, &sent)
    })
}

fn full() -> PhaseError {
    PhaseError::retryable("its queue is full")
}

/// `calls`: when each came, and whether it went well; `sent`: when each attempt did.
fn check(calls: &[(f64, bool)], sent: &[f64]) -> Claims {
    let mut claims = Claims::default();
    let in_time = |from: f64, to: f64| calls.iter().filter(move |(at, _)| (from..to).contains(at));
    let before = in_time(1.0, FALLS).filter(|(_, good)| *good).count();
    let all_before = in_time(1.0, FALLS).count();
    assert!(before as f64 >= 0.999 * all_before as f64, "{before} of {all_before} while healthy");

    let good = in_time(WELL, END - 1.0).filter(|(_, good)| *good).count();
    let all = in_time(WELL, END - 1.0).count();
    let figures = format!("{good} of {all} after it returned");
    claims.check("goodput", good as f64 >= 0.99 * all as f64, figures);

    let first = in_time(FALLS, WELL).count() as f64;
    let sent = sent.iter().filter(|at| (FALLS..WELL).contains(*at)).count() as f64;
    let most = 1.2 * first + 3.0 * (WELL - FALLS);
    claims.check("sent", sent <= most, format!("{sent} sent of {first}, at most {most}"));
    claims
}
