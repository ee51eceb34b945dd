//! `headworks::WorkerPool`: as it comes, and stripped to what the peers do.

use std::future::Future;

use headworks::worker_pool::{Concurrency, Task, WorkerPoolConfig};
use headworks::{TaskError, TaskHandle, WorkerPool};

use super::contestant::{CAP, Pool};

pub fn config(workers: usize) -> WorkerPoolConfig {
    WorkerPoolConfig::default()
        .with_queue_capacity(CAP)
        .with_concurrency(Concurrency::Fixed(workers))
}

/// With its defaults: a 60 s timeout a task, `submit` that waits in order of priority.
#[derive(Clone)]
pub struct Headworks(WorkerPool);

impl Pool for Headworks {
    const NAME: &'static str = "headworks";
    type Handle = TaskHandle<u64>;
    type Lost = TaskError;

    fn start(workers: usize) -> Self {
        Self(WorkerPool::new(config(workers)).expect("a config in range, on a runtime"))
    }

    async fn submit<F: Future<Output = u64> + Send + 'static>(&mut self, task: F) -> Self::Handle {
        let Ok(handle) = self.0.submit(Task::new(task)).await else { panic!("not closed") };
        handle
    }
}

/// No timeout, and `try_submit`: there is always room in these rows.
#[derive(Clone)]
pub struct HeadworksBare(WorkerPool);

impl Pool for HeadworksBare {
    const NAME: &'static str = "headworks, try_submit, no timeout";
    type Handle = TaskHandle<u64>;
    type Lost = TaskError;

    fn start(workers: usize) -> Self {
        let pool = WorkerPool::new(config(workers).with_task_timeout(None));
        Self(pool.expect("a config in range, on a runtime"))
    }

    async fn submit<F: Future<Output = u64> + Send + 'static>(&mut self, task: F) -> Self::Handle {
        let Ok(handle) = self.0.try_submit(Task::new(task)) else { panic!("room enough") };
        handle
    }
}
