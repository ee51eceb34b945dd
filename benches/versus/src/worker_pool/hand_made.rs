//! What people write by hand: a task for each, with and without semaphores, and a mutex of queues.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinError, JoinHandle};

use super::contestant::{Answer, CAP, Job, Lost, Pool, job};

/// No cap, no limit: what the runtime alone costs.
#[derive(Clone)]
pub struct Spawn;

impl Pool for Spawn {
    const NAME: &'static str = "tokio::spawn (no cap)";
    type Handle = JoinHandle<u64>;
    type Lost = JoinError;

    fn start(_: usize) -> Self {
        Self
    }

    async fn submit<F: Future<Output = u64> + Send + 'static>(&mut self, task: F) -> Self::Handle {
        tokio::spawn(task)
    }
}

/// One semaphore caps what is accepted, one what runs.
#[derive(Clone)]
pub struct SpawnTwoSemaphores {
    room: Arc<Semaphore>,
    workers: Arc<Semaphore>,
}

impl Pool for SpawnTwoSemaphores {
    const NAME: &'static str = "tokio::spawn + 2 semaphores";
    type Handle = JoinHandle<u64>;
    type Lost = JoinError;

    fn start(workers: usize) -> Self {
        Self {
            room: Arc::new(Semaphore::new(CAP + workers)),
            workers: Arc::new(Semaphore::new(workers)),
        }
    }

    async fn submit<F: Future<Output = u64> + Send + 'static>(&mut self, task: F) -> Self::Handle {
        let place = Arc::clone(&self.room).acquire_owned().await.expect("never closed");
        let workers = Arc::clone(&self.workers);
        tokio::spawn(async move {
            let _place = place;
            let _worker = workers.acquire().await.expect("never closed");
            task.await
        })
    }
}

/// Four queues behind one mutex, a `Notify` for the workers and one for the submitters.
#[derive(Clone)]
pub struct MutexOfQueues(Arc<Shared>);

struct Shared {
    lanes: Mutex<[VecDeque<Job>; 4]>,
    filled: Notify,
    emptied: Notify,
}

impl Shared {
    /// The job is taken when there was room.
    fn push(&self, lane: usize, job: &mut Option<Job>) -> bool {
        let mut lanes = self.lanes.lock();
        if lanes.iter().map(VecDeque::len).sum::<usize>() >= CAP {
            return false;
        }
        lanes[lane].extend(job.take());
        true
    }

    /// The next job, and whether the queue had been full.
    fn pop(&self) -> Option<(Job, bool)> {
        let mut lanes = self.lanes.lock();
        let full = lanes.iter().map(VecDeque::len).sum::<usize>() >= CAP;
        let job = lanes.iter_mut().rev().find_map(VecDeque::pop_front)?;
        Some((job, full))
    }

    async fn work(self: Arc<Self>) {
        loop {
            match self.pop() {
                Some((job, full)) => {
                    if full {
                        self.emptied.notify_one();
                    }
                    job.await;
                }
                None => self.filled.notified().await,
            }
        }
    }
}

impl Pool for MutexOfQueues {
    const NAME: &'static str = "mutex of VecDeques + Notify";
    type Handle = Answer;
    type Lost = Lost;

    fn start(workers: usize) -> Self {
        let shared = Arc::new(Shared {
            lanes: Mutex::default(),
            filled: Notify::new(),
            emptied: Notify::new(),
        });
        for _ in 0..workers {
            tokio::spawn(Arc::clone(&shared).work());
        }
        Self(shared)
    }

    async fn submit<F: Future<Output = u64> + Send + 'static>(&mut self, task: F) -> Answer {
        let (job, answer) = job(task);
        let mut job = Some(job);
        while !self.0.push(1, &mut job) {
            self.0.emptied.notified().await;
        }
        self.0.filled.notify_one();
        answer
    }
}
