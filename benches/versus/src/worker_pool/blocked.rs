//! A pool of ours whose one seat is taken by a task at a gate: what comes now waits, is refused, or
//! takes somebody's place.

use std::sync::Arc;

use headworks::worker_pool::{Concurrency, Task, Thresholds, Timing, WorkerPoolConfig};
use headworks::{Priority, TaskHandle, WorkerPool};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

use super::no_op;

pub struct Blocked {
    pub pool: WorkerPool,
    runtime: Runtime,
    come: Arc<Semaphore>,
    gate: Arc<Semaphore>,
}

impl Blocked {
    /// All classes may fill the queue. The runtime runs only while it is waited for.
    pub fn new(places: usize) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime starts");
        let config = WorkerPoolConfig::default()
            .with_concurrency(Concurrency::Fixed(1))
            .with_queue_capacity(places)
            .with_thresholds(Thresholds::flat(1.0))
            .with_timing(Timing::Off);
        let pool = {
            let _entered = runtime.enter();
            WorkerPool::new(config).expect("a config in range, on a runtime")
        };
        let (come, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let blocked = Self { pool, runtime, come, gate };
        blocked.block();
        blocked.wait();
        blocked
    }

    /// Queues another task that stays at the gate.
    pub fn block(&self) {
        let (come, gate) = (Arc::clone(&self.come), Arc::clone(&self.gate));
        let blocker = async move {
            come.add_permits(1);
            gate.acquire().await.expect("never closed").forget();
        };
        drop(self.pool.try_submit(blocker).expect("room enough"));
    }

    /// Lets one go.
    pub fn open(&self) {
        self.gate.add_permits(1);
    }

    /// Until one more stands at the gate: all before it in the queue have run.
    pub fn wait(&self) {
        self.runtime.block_on(self.come.acquire()).expect("never closed").forget();
    }

    pub fn queue(&self, class: Priority) -> TaskHandle<u64> {
        self.pool.try_submit(Task::new(no_op()).priority(class)).expect("room enough")
    }
}
