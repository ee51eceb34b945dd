//! Pools made of a channel: 16 tasks that receive boxed futures, an oneshot for each result.

use std::future::Future;

use super::contestant::{Answer, CAP, Job, Lost, Pool, job};

/// Starts the workers, each with a receiver of its own.
fn start_workers<R, W>(workers: usize, receiver: R, worker: impl Fn(R) -> W)
where
    R: Clone,
    W: Future<Output = ()> + Send + 'static,
{
    for _ in 0..workers {
        tokio::spawn(worker(receiver.clone()));
    }
}

#[derive(Clone)]
pub struct Kanal(kanal::AsyncSender<Job>);

impl Pool for Kanal {
    const NAME: &'static str = "kanal";
    type Handle = Answer;
    type Lost = Lost;

    fn start(workers: usize) -> Self {
        let (sender, receiver) = kanal::bounded_async::<Job>(CAP);
        start_workers(workers, receiver, |receiver| async move {
            while let Ok(job) = receiver.recv().await {
                job.await;
            }
        });
        Self(sender)
    }

    async fn submit<F: Future<Output = u64> + Send + 'static>(&mut self, task: F) -> Answer {
        let (job, answer) = job(task);
        self.0.send(job).await.expect("workers receive");
        answer
    }
}

#[derive(Clone)]
pub struct Flume(flume::Sender<Job>);

impl Pool for Flume {
    const NAME: &'static str = "flume";
    type Handle = Answer;
    type Lost = Lost;

    fn start(workers: usize) -> Self {
        let (sender, receiver) = flume::bounded::<Job>(CAP);
        start_workers(workers, receiver, |receiver| async move {
            while let Ok(job) = receiver.recv_async().await {
                job.await;
            }
        });
        Self(sender)
    }

    async fn submit<F: Future<Output = u64> + Send + 'static>(&mut self, task: F) -> Answer {
        let (job, answer) = job(task);
        assert!(self.0.send_async(job).await.is_ok(), "workers receive");
        answer
    }
}

#[derive(Clone)]
pub struct AsyncChannel(async_channel::Sender<Job>);

impl Pool for AsyncChannel {
    const NAME: &'static str = "async-channel";
    type Handle = Answer;
    type Lost = Lost;

    fn start(workers: usize) -> Self {
        let (sender, receiver) = async_channel::bounded::<Job>(CAP);
        start_workers(workers, receiver, |receiver| async move {
            while let Ok(job) = receiver.recv().await {
                job.await;
            }
        });
        Self(sender)
    }

    async fn submit<F: Future<Output = u64> + Send + 'static>(&mut self, task: F) -> Answer {
        let (job, answer) = job(task);
        assert!(self.0.send(job).await.is_ok(), "workers receive");
        answer
    }
}

#[derive(Clone)]
pub struct Crossfire(crossfire::MAsyncTx<crossfire::mpmc::Array<Job>>);

impl Pool for Crossfire {
    const NAME: &'static str = "crossfire";
    type Handle = Answer;
    type Lost = Lost;

    fn start(workers: usize) -> Self {
        let (sender, receiver) = crossfire::mpmc::bounded_async::<Job>(CAP);
        start_workers(workers, receiver, |receiver| async move {
            while let Ok(job) = receiver.recv().await {
                job.await;
            }
        });
        Self(sender)
    }

    async fn submit<F: Future<Output = u64> + Send + 'static>(&mut self, task: F) -> Answer {
        let (job, answer) = job(task);
        assert!(self.0.send(job).await.is_ok(), "workers receive");
        answer
    }
}

/// What crossfire's documents ask of a program's start; it looks at the cores only once.
pub fn prepare() {
    crossfire::detect_backoff_cfg();
}

/// The only peer with priorities; all tasks are of one here.
#[derive(Clone)]
pub struct AsyncPriorityChannel(async_priority_channel::Sender<Job, u8>);

impl Pool for AsyncPriorityChannel {
    const NAME: &'static str = "async-priority-channel";
    type Handle = Answer;
    type Lost = Lost;

    fn start(workers: usize) -> Self {
        let (sender, receiver) = async_priority_channel::bounded::<Job, u8>(CAP as u64);
        start_workers(workers, receiver, |receiver| async move {
            while let Ok((job, _)) = receiver.recv().await {
                job.await;
            }
        });
        Self(sender)
    }

    async fn submit<F: Future<Output = u64> + Send + 'static>(&mut self, task: F) -> Answer {
        let (job, answer) = job(task);
        assert!(self.0.send(job, 1).await.is_ok(), "workers receive");
        answer
    }
}
