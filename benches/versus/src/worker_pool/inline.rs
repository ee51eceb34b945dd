//! A future run where it is: on a seat of the pool, on a permit, or over a channel after all.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::sync::Arc;

use headworks::WorkerPool;
use headworks::worker_pool::Timing;
use tokio::sync::Semaphore;

use super::contestant::Pool;
use super::ours::config;

fn pool(workers: usize, timing: Timing) -> WorkerPool {
    let config = config(workers).with_task_timeout(None).with_timing(timing);
    WorkerPool::new(config).expect("a config in range, on a runtime")
}

async fn run<F: Future<Output = u64>>(
    pool: &WorkerPool,
    task: F,
) -> Ready<Result<u64, Infallible>> {
    let Ok(done) = pool.run(task).await else { panic!("room enough") };
    ready(Ok(done))
}

macro_rules! ours {
    ($type:ident, $name:literal, $timing:expr) => {
        #[derive(Clone)]
        pub struct $type(WorkerPool);

        impl Pool for $type {
            const NAME: &'static str = $name;
            type Handle = Ready<Result<u64, Infallible>>;
            type Lost = Infallible;

            fn start(workers: usize) -> Self {
                Self(pool(workers, $timing))
            }

            async fn submit<F>(&mut self, task: F) -> Self::Handle
            where
                F: Future<Output = u64> + Send + 'static,
            {
                run(&self.0, task).await
            }
        }
    };
}

ours!(Sampled, "headworks, run", Timing::Sampled(64));
ours!(All, "headworks, run, all timed", Timing::All);
ours!(Off, "headworks, run, none timed", Timing::Off);

/// A permit, and the future awaited in place: a limit without priorities, queue or ledger.
#[derive(Clone)]
pub struct Permit(Arc<Semaphore>);

impl Pool for Permit {
    const NAME: &'static str = "tokio Semaphore + inline await";
    type Handle = Ready<Result<u64, Infallible>>;
    type Lost = Infallible;

    fn start(workers: usize) -> Self {
        Self(Arc::new(Semaphore::new(workers)))
    }

    async fn submit<F: Future<Output = u64> + Send + 'static>(&mut self, task: F) -> Self::Handle {
        let _permit = self.0.acquire().await.expect("never closed");
        ready(Ok(task.await))
    }
}
