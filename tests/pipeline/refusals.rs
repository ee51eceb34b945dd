//! A refusal changes nothing: one life of a pipeline under random load, and the same life again in
//! which nobody who was refused ever came. Everything that can be seen must be equal.

use std::collections::HashSet;
use std::num::NonZeroU32;

use headworks::circuit_breaker::{CircuitBreaker, CircuitBreakerConfig};
use headworks::pipeline::Ticket;
use headworks::rate_limit::{Quota, RateLimiter, TieredQuota};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use tokio::time::Instant as Clock;

use super::*;

/// What is done to the pipeline, one after the other.
#[derive(Clone, Debug)]
enum Op {
    Submit {
        key: u8,
        tenant: u8,
        class: usize,
        version: Option<(u64, u128)>,
        left: Option<u64>,
    },
    Heavy,
    /// Of the tickets still held, the one of this number from the oldest.
    Cancel(u8),
    Pass(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let version = proptest::option::of((0..3_u64, 0..2_u128));
    let left = proptest::option::weighted(0.3, 0..300_u64);
    let submit = (0..16_u8, 0..3_u8, 0..4_usize, version, left);
    let submit = submit.prop_map(|(key, tenant, class, version, left)| Op::Submit {
        key,
        tenant,
        class,
        version,
        left,
    });
    prop_oneof![
        12 => submit,
        1 => Just(Op::Heavy),
        2 => any::<u8>().prop_map(Op::Cancel),
        4 => (0..80_u64).prop_map(Op::Pass),
    ]
}

/// Takes its time, and fails as its payload says.
struct Work(Arc<Mutex<Vec<String>>>, Clock);

impl Phase<usize> for Work {
    type Out = usize;

    async fn run(&self, number: &usize, cx: &PhaseContext) -> Result<Step<usize>, PhaseError> {
        let at = self.1.elapsed().as_millis();
        self.0.lock().unwrap().push(format!("{at} {number} begins, attempt {}", cx.attempt()));
        tokio::time::sleep(ms(10 + 7 * (*number as u64 % 9))).await;
        match number % 7 {
            0 if cx.attempt() < 3 => Err(PhaseError::retryable("down")),
            1 => Err(PhaseError::permanent("no")),
            2 if cx.attempt() < 3 => Ok(Step::Again { after: ms(15) }),
            _ => Ok(Step::Done(*number)),
        }
    }
}

/// What a life looked like from outside, and which of its submissions were refused.
struct Life {
    log: Vec<String>,
    refused: HashSet<usize>,
    reasons: HashSet<Reason>,
}

struct Living {
    pipeline: IntentPipeline<usize, usize>,
    tickets: Vec<(usize, Ticket<usize, usize>)>,
    log: Arc<Mutex<Vec<String>>>,
    start: Clock,
    egress: Arc<RateLimiter>,
    breaker: CircuitBreaker,
}

impl Living {
    fn begin() -> Self {
        let (log, start) = (Arc::new(Mutex::default()), Clock::now());
        let quota = TieredQuota::default()
            .with_global(Quota::per_second(40).with_burst(10))
            .with_per_key(Quota::per_second(12).with_burst(4));
        let breaker = CircuitBreakerConfig::default()
            .with_consecutive_failures(NonZeroU32::new(4))
            .with_open_for(ms(60))
            .with_open_jitter_ratio(0.0);
        let breaker = CircuitBreaker::new(breaker).unwrap();
        let egress = RateLimiter::new(Quota::per_second(150).with_burst(3)).unwrap();
        let egress = Arc::new(egress);
        let first = PhaseConfig::remote().with_breaker(breaker.clone());
        let second = PhaseConfig::remote().with_egress(Arc::clone(&egress)).with_concurrency(2);
        let config =
            PipelineConfig::default().with_queue_capacity(6).with_seats(2).with_ingress(quota);
        let pipeline = IntentPipeline::builder::<usize>(config)
            .phase("first", first, Work(Arc::clone(&log), start))
            .phase("second", second, Work(Arc::clone(&log), start))
            .seeded(7)
            .build()
            .unwrap();
        Self { pipeline, tickets: Vec::new(), log, start, egress, breaker }
    }

    fn write(&self, what: String) {
        self.log.lock().unwrap().push(format!("{} {what}", self.start.elapsed().as_millis()));
    }

    /// Writes down what has ended, and how the other tiers stand.
    fn look(&mut self) {
        let mut at = 0;
        while at < self.tickets.len() {
            let (number, ticket) = &mut self.tickets[at];
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            let std::task::Poll::Ready(ended) = std::pin::Pin::new(ticket).poll(&mut cx) else {
                at += 1;
                continue;
            };
            let said = match ended {
                Ok(done) => format!("{:?}", done.trace.phases),
                Err(ended) => format!("{ended} {:?}", ended.trace().phases),
            };
            let number = *number;
            drop(self.tickets.remove(at));
            self.write(format!("{number} ended: {said}"));
        }
        let snapshot = self.pipeline.snapshot();
        let state = (snapshot.ledger, snapshot.runs, snapshot.queued, snapshot.parked);
        let budget = format!("{:?}", snapshot.retry_budget);
        let tiers = (self.egress.peek().available, self.breaker.state(), budget);
        self.write(format!("{state:?} {tiers:?}"));
    }
}

/// One life. `skipped`: submissions that never happen.
fn live(ops: &[Op], skipped: &HashSet<usize>) -> Life {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut living = Living::begin();
        let (mut refused, mut reasons) = (HashSet::new(), HashSet::new());
        for (number, op) in ops.iter().enumerate() {
            match op {
                _ if skipped.contains(&number) => continue,
                Op::Pass(time) => tokio::time::sleep(ms(*time)).await,
                Op::Cancel(_) if living.tickets.is_empty() => {}
                Op::Cancel(which) => {
                    living.tickets[usize::from(*which) % living.tickets.len()].1.cancel();
                }
                Op::Submit { .. } | Op::Heavy => {
                    match living.pipeline.try_submit(intent_of(op, number)) {
                        Ok(ticket) => {
                            living.write(format!("{number} accepted"));
                            living.tickets.push((number, ticket));
                        }
                        Err(no) => {
                            refused.insert(number);
                            reasons.insert(no.reason());
                            // Refused as well, it waits in the room, and thinks better of it.
                            let waiting = living.pipeline.submit(no.into_inner());
                            let waits = poll_once(std::pin::pin!(waiting)).await;
                            assert!(waits.is_none_or(|answer| answer.is_err()), "{number}");
                            continue;
                        }
                    }
                }
            }
            settled().await;
            living.look();
        }
        tokio::time::sleep(ms(20_000)).await;
        living.look();
        assert!(living.pipeline.shutdown(ms(100)).await.ledger.is_exact());
        let log = std::mem::take(&mut *living.log.lock().unwrap());
        Life { log, refused, reasons }
    })
}

fn intent_of(op: &Op, number: usize) -> Intent<usize> {
    let Op::Submit { key, tenant, class, version, left } = op else {
        return Intent::new("heavy", number).weight(NonZeroU32::MAX);
    };
    let intent = Intent::new(format!("k/{key}"), number)
        .tenant(format!("tenant {tenant}"))
        .priority(Priority::ALL[*class]);
    let intent = match version {
        Some((generation, content)) => intent.generation(*generation).content(*content),
        None => intent,
    };
    match left {
        Some(left) => intent.deadline((Clock::now() + ms(*left)).into_std()),
        None => intent,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn after_any_refusals_every_tier_decides_as_if_they_had_not_happened(
        ops in proptest::collection::vec(op(), 20..120),
    ) {
        let with = live(&ops, &HashSet::new());
        let without = live(&ops, &with.refused);
        prop_assert!(without.refused.is_empty(), "{:?} refused only now", without.refused);
        for (a, b) in with.log.iter().zip(&without.log) {
            prop_assert_eq!(a, b);
        }
        prop_assert_eq!(with.log.len(), without.log.len());
    }
}

/// The load is what it says, and the comparison can fail: every reason comes up, and a life without
/// one that was accepted looks different.
#[test]
fn the_load_meets_every_refusal_and_a_missing_intent_is_seen() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = proptest::collection::vec(op(), 120);
    let (mut reasons, mut seen) = (HashSet::new(), 0);
    for _ in 0..40 {
        let ops = strategy.new_tree(&mut runner).unwrap().current();
        let life = live(&ops, &HashSet::new());
        let is_accepted = |number: &usize| {
            matches!(ops[*number], Op::Submit { .. }) && !life.refused.contains(number)
        };
        if let Some(first) = (0..ops.len()).find(is_accepted) {
            let mut skipped = life.refused.clone();
            skipped.insert(first);
            let other = live(&ops, &skipped);
            seen += usize::from(other.log != life.log);
        }
        reasons.extend(life.reasons);
    }
    assert_eq!(seen, 40);
    for word in ["QueueFull", "RateLimited", "CircuitOpen", "DeadlineInfeasible", "TooLarge"] {
        assert!(reasons.iter().any(|it| format!("{it:?}").starts_with(word)), "no {word}");
    }
    for word in [Reason::Conflict, Reason::Stale] {
        assert!(reasons.contains(&word), "no {word:?}");
    }
}
