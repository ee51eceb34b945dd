//! Everything in use at once.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use headworks::cache::{Cache, CacheConfig};
use headworks::circuit_breaker::{CircuitBreaker, CircuitBreakerConfig};
use headworks::pipeline::{
    BatchConfig, BatchPhase, Batched, FileCheckpoints, FileCheckpointsConfig, phase_fn,
};
use headworks::rate_limit::{Quota, RateLimiter, TieredQuota};
use headworks::worker_pool::WorkerPoolConfig;
use headworks::{
    Intent, IntentPipeline, Phase, PhaseConfig, PhaseContext, PhaseError, PipelineConfig, Priority,
    Step, WorkerPool,
};
use tempfile::TempDir;
use tokio::task::JoinSet;

const SUBMITTERS: u64 = 64;
const KEYS: u64 = 2_000;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

type Pipeline = IntentPipeline<String, String>;

pub(crate) struct Load {
    pipeline: Pipeline,
    pool: WorkerPool,
    cache: Cache<u64, String>,
    directory: TempDir,
    is_over: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Load {
    pub(crate) async fn begin() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let pool = WorkerPool::new(WorkerPoolConfig::default().with_queue_capacity(64)).unwrap();
        let kept = CacheConfig::default().with_capacity(500).with_ttl(Some(ms(200)));
        let cache: Cache<u64, String> = Cache::new(kept.with_stale_for(ms(200))).unwrap();
        let pipeline = pipeline(&directory, &pool, &cache);
        pipeline.restore().await.unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for n in 0..SUBMITTERS {
            let (pipeline, is_over) = (pipeline.clone(), Arc::clone(&is_over));
            tasks.spawn(submitter(n, pipeline, is_over));
        }
        tasks.spawn(reader(cache.clone(), Arc::clone(&is_over)));
        tasks.spawn(listener(pipeline.clone(), Arc::clone(&is_over)));
        tasks.spawn(short_lives(Arc::clone(&is_over)));
        Self { pipeline, pool, cache, directory, is_over, tasks }
    }

    /// Everything comes to its end, and is counted.
    pub(crate) async fn end(self) {
        let Self { pipeline, pool, cache, directory, is_over, tasks } = self;
        is_over.store(true, Ordering::Relaxed);
        let report = pipeline.shutdown(Duration::from_secs(20)).await;
        tasks.join_all().await;
        assert!(report.ledger.is_exact() && report.ledger.live == 0, "{}", report.ledger);
        assert!(report.unresponsive.is_empty() && report.indeterminate.is_empty());
        let done = [report.ledger.completed, report.ledger.failed, report.ledger.cancelled];
        assert!(done.iter().all(|&done| done > 0), "the load is none: {}", report.ledger);
        println!("{}", report.ledger);
        let report = pool.shutdown(Duration::from_secs(5)).await;
        assert!(report.ledger.is_exact() && report.ledger.live == 0, "{}", report.ledger);
        cache.shutdown(ms(100)).await;
        let files = std::fs::read_dir(directory.path()).unwrap().count();
        // What was returned at the end stays there, and the lock's file.
        assert!(files <= 1 + 3_000, "{files} files");
    }
}

fn pipeline(directory: &TempDir, pool: &WorkerPool, cache: &Cache<u64, String>) -> Pipeline {
    let quota = TieredQuota::default()
        .with_global(Quota::per_second(20_000).with_burst(2_000))
        .with_per_key(Quota::per_second(5_000).with_burst(500));
    let config = PipelineConfig::default()
        .with_seats(32)
        .with_queue_capacity(64)
        .with_remembered_keys(500)
        .with_critical_grace(ms(500))
        .with_ingress(quota);
    let egress = RateLimiter::new(Quota::per_second(20_000).with_burst(1_000)).unwrap();
    let breaker = CircuitBreakerConfig::default().with_open_for(ms(100));
    let breaker = CircuitBreaker::new(breaker).unwrap();
    let pool = pool.clone();
    let plan = phase_fn(move |text: &String, _: &PhaseContext| {
        let (pool, text) = (pool.clone(), text.clone());
        async move {
            assert!(!text.ends_with("panics"), "a phase");
            // Its own refusals are waited out.
            let task = async move { format!("{text}+") };
            let handle = pool.submit(task).await.map_err(|_| PhaseError::refused("full", None))?;
            handle.await.map_err(PhaseError::retryable)
        }
    });
    let look = Look.cached(|text: &String| number(text) % 900, cache.clone());
    let batch = BatchConfig::default().with_max_items(8).with_max_age(ms(2));
    let files = FileCheckpointsConfig::default().with_directory(directory.path());
    let short = |config: PhaseConfig| config.with_timeout(ms(2_000));
    let built = IntentPipeline::builder::<String>(config)
        .checkpoints(FileCheckpoints::new(files).unwrap())
        .phase("plan", short(PhaseConfig::remote()).with_breaker(breaker), plan)
        .phase("batch", short(PhaseConfig::remote()), Batched::new(batch, Rows).unwrap())
        .durable_phase("store", 1, short(PhaseConfig::remote()).with_egress(egress), Store)
        .phase("look", short(PhaseConfig::remote()), look)
        .phase("commit", short(PhaseConfig::remote()).critical(), Store)
        .build();
    built.unwrap()
}

fn number(text: &str) -> u64 {
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

struct Rows;

impl BatchPhase<String> for Rows {
    type Out = String;

    async fn run(&self, rows: &[String]) -> Result<Vec<Result<String, PhaseError>>, PhaseError> {
        tokio::task::yield_now().await;
        Ok(rows.iter().map(|row| Ok(row.clone())).collect())
    }
}

struct Look;

impl Phase<String> for Look {
    type Out = String;

    async fn run(&self, text: &String, _: &PhaseContext) -> Result<Step<String>, PhaseError> {
        tokio::time::sleep(ms(1)).await;
        Ok(Step::Done(text.clone()))
    }
}

struct Store;

impl Phase<String> for Store {
    type Out = String;

    async fn run(&self, text: &String, cx: &PhaseContext) -> Result<Step<String>, PhaseError> {
        match (number(text) % 40, cx.attempt()) {
            (1, 1) => Err(PhaseError::retryable("once")),
            (2, 1) => Ok(Step::Again { after: ms(2) }),
            (3, _) => Err(PhaseError::permanent("never")),
            _ => Ok(Step::Done(text.clone())),
        }
    }

    async fn undo(&self, _: &String, _: &String, _: &PhaseContext) {
        tokio::task::yield_now().await;
    }
}

/// One intent after the other, in every way.
async fn submitter(of: u64, pipeline: Pipeline, is_over: Arc<AtomicBool>) {
    let mut state = of.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while !is_over.load(Ordering::Relaxed) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let n = state >> 33;
        let end = if n.is_multiple_of(97) { " panics" } else { "" };
        let mut intent = Intent::new(format!("k/{}", n % KEYS), format!("{n}{end}"))
            .tenant(format!("tenant {}", n % 300))
            .priority(Priority::ALL[(n % 4) as usize]);
        if n.is_multiple_of(5) {
            intent = intent.generation(n).content(u128::from(n));
        }
        if n.is_multiple_of(7) {
            intent = intent.within(ms(20 + n % 200));
        }
        if n.is_multiple_of(3) {
            match pipeline.try_submit(intent) {
                Ok(ticket) if n.is_multiple_of(2) => drop(ticket.cancel_on_drop()),
                Ok(ticket) => drop(ticket.await),
                // Who is refused comes back later.
                Err(_) => tokio::time::sleep(ms(1)).await,
            }
        } else if let Ok(ticket) = pipeline.submit(intent).await {
            drop(ticket.await);
        }
    }
}

/// Loads, waits, and lets go.
async fn reader(cache: Cache<u64, String>, is_over: Arc<AtomicBool>) {
    static READ: AtomicU64 = AtomicU64::new(0);
    while !is_over.load(Ordering::Relaxed) {
        let n = READ.fetch_add(1, Ordering::Relaxed);
        let key = 10_000 + n % 1_500;
        let load = move || async move {
            tokio::task::yield_now().await;
            if n.is_multiple_of(50) { Err(std::io::Error::other("no")) } else { Ok(n.to_string()) }
        };
        let asked = cache.get_or_load(&key, load);
        drop(tokio::time::timeout(ms(n % 2), asked).await);
        tokio::task::yield_now().await;
    }
}

/// Listens for a while, and listens anew.
async fn listener(pipeline: Pipeline, is_over: Arc<AtomicBool>) {
    while !is_over.load(Ordering::Relaxed) {
        let mut outcomes = pipeline.outcomes(NonZeroUsize::new(64).unwrap());
        for _ in 0..500 {
            if tokio::time::timeout(ms(100), outcomes.next()).await.is_err() {
                break;
            }
        }
    }
}

/// Pipelines that are built, used, and shut down or dropped.
async fn short_lives(is_over: Arc<AtomicBool>) {
    let mut life = 0_u64;
    while !is_over.load(Ordering::Relaxed) {
        life += 1;
        let pool = WorkerPool::new(WorkerPoolConfig::default()).unwrap();
        let cache = Cache::new(CacheConfig::default().with_capacity(10)).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let pipeline = pipeline(&directory, &pool, &cache);
        pipeline.restore().await.unwrap();
        for n in 0..20 {
            let intent = Intent::new(format!("k/{n}"), n.to_string());
            drop(pipeline.try_submit(intent));
        }
        if life.is_multiple_of(2) {
            pipeline.shutdown(ms(50)).await;
            pool.shutdown(ms(50)).await;
        }
        drop((pipeline, pool, cache));
        tokio::time::sleep(ms(100)).await;
    }
}
