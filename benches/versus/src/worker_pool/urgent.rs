//! How long Urgent waits while Low is offered at ten times what can be done; and meanwhile, how long
//! an offer takes, which bounds how long our lock is held, and how long a bystander on the same
//! runtime waits for its turns, which bounds one poll of ours, the tasks in it included.
//!
//! The load comes from inside: every Low task offers ten more at a random point of its service, of
//! which one is taken, and one in some offers an Urgent task. So no other thread takes a core away,
//! and the offers keep pace with the service exactly.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_priority_channel as channel;
use headworks::worker_pool::Task;
use headworks::{Priority, WorkerPool};

use super::contestant::{CAP, Job, WORKERS};
use super::{ours, runtime};
use crate::harness::{Contestant, Effort, Measure, contest, quantile};
use crate::pin::{Cores, Pinned};

const MEASURES: [Measure; 4] = [
    Measure { suffix: "", unit: "us p99 waited" },
    Measure { suffix: "/p50", unit: "us p50 waited" },
    Measure { suffix: "/offer", unit: "us p99.9 of an offer" },
    Measure { suffix: "/turn", unit: "us p99.9 between a bystander's turns" },
];
const OFFERS: usize = 10;

pub fn run(effort: Effort) {
    for cores in Cores::ALL {
        let Some(_pinned) = Pinned::to(cores) else { continue };
        for (name, service, tasks, urgent_one_in) in
            [("20us", 20, 50_000, 32), ("1ms", 1_000, 1_000, 2)]
        {
            let service = Duration::from_micros(service);
            let case = Case { cores, service, tasks: effort.ops(tasks), urgent_one_in };
            let contestants = vec![
                Contestant::new("headworks", move || case.sample(Ours::start)),
                // All that comes between two turns of a bystander is then one poll of ours.
                Contestant::new("headworks, 1 worker", move || case.sample(Ours::alone)),
                Contestant::new("async-priority-channel", move || case.sample(Channel::start)),
                Contestant::new("kanal (no priorities)", move || case.sample(Kanal::start)),
            ];
            let id = format!("worker_pool/urgent/low_at_10x/{name}/{}", cores.name());
            contest(&id, &MEASURES, effort, contestants);
        }
    }
}

/// What takes Low, or refuses it, and takes Urgent.
trait Line: Send + Sync + 'static {
    fn low(&self, task: Job);
    fn urgent(&self, task: Job);
}

#[derive(Clone, Copy)]
struct Case {
    cores: Cores,
    service: Duration,
    tasks: usize,
    urgent_one_in: usize,
}

struct Load<L> {
    line: L,
    case: Case,
    begun: AtomicUsize,
    urgent: AtomicUsize,
    figures: Mutex<Figures>,
}

#[derive(Default)]
struct Figures {
    waited: Vec<f64>,
    offers: Vec<f64>,
    turns: Vec<f64>,
}

impl Case {
    fn sample<L: Line>(self, start: fn() -> L) -> Vec<f64> {
        let runtime = runtime(self.cores);
        let load = runtime.block_on(async {
            Arc::new(Load {
                line: start(),
                case: self,
                begun: AtomicUsize::new(0),
                urgent: AtomicUsize::new(0),
                figures: Mutex::default(),
            })
        });
        let referee = Arc::clone(&load);
        let referee = runtime.spawn(async move {
            (0..CAP).for_each(|_| referee.line.low(low(&referee)));
            referee.stand_by().await;
        });
        runtime.block_on(referee).expect("the load ends");
        let figures = std::mem::take(&mut *load.figures.lock().expect("nobody panics"));
        let Figures { waited, offers, turns } = figures;
        vec![
            quantile(&waited, 0.99),
            quantile(&waited, 0.5),
            quantile(&offers, 0.999),
            quantile(&turns, 0.999),
        ]
    }
}

fn us(since: Instant) -> f64 {
    since.elapsed().as_nanos() as f64 / 1e3
}

fn compute(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

fn low<L: Line>(load: &Arc<Load<L>>) -> Job {
    let load = Arc::clone(load);
    Job::new(async move {
        let (number, case) = (load.begun.fetch_add(1, Relaxed), load.case);
        // Weyl's sequence: evenly over the service.
        let share = (number as f64 * 0.618_033_988_749_895).fract();
        compute(case.service.mul_f64(share));
        let offers = if number < case.tasks { load.offer(number) } else { Vec::new() };
        compute(case.service.mul_f64(1.0 - share));
        let mut figures = load.figures.lock().expect("nobody panics");
        figures.offers.extend(offers);
    })
}

impl<L: Line> Load<L> {
    /// A bystander, until all that was to be offered has been and every Urgent one has run.
    async fn stand_by(&self) {
        let (mut turns, mut last) = (Vec::new(), Instant::now());
        while self.begun.load(Relaxed) < self.case.tasks || self.urgent.load(Relaxed) > 0 {
            tokio::task::yield_now().await;
            turns.push(us(last));
            last = Instant::now();
        }
        self.figures.lock().expect("nobody panics").turns = turns;
    }

    fn offer(self: &Arc<Self>, number: usize) -> Vec<f64> {
        let offers = (0..OFFERS).map(|_| {
            let task = low(self);
            let start = Instant::now();
            self.line.low(task);
            us(start)
        });
        let offers = offers.collect();
        if number.is_multiple_of(self.case.urgent_one_in) {
            self.urgent.fetch_add(1, Relaxed);
            let (load, start) = (Arc::clone(self), Instant::now());
            self.line.urgent(Job::new(async move {
                let waited = us(start);
                compute(load.case.service);
                load.figures.lock().expect("nobody panics").waited.push(waited);
                load.urgent.fetch_sub(1, Relaxed);
            }));
        }
        offers
    }
}

struct Ours(WorkerPool);

impl Ours {
    fn start() -> Self {
        Self::of(WORKERS)
    }

    fn alone() -> Self {
        Self::of(1)
    }

    fn of(workers: usize) -> Self {
        Self(WorkerPool::new(ours::config(workers)).expect("a config in range, on a runtime"))
    }
}

impl Line for Ours {
    fn low(&self, task: Job) {
        let _ = self.0.try_submit(Task::new(task).priority(Priority::Low));
    }

    fn urgent(&self, task: Job) {
        let accepted = self.0.try_submit(Task::new(task).priority(Priority::Urgent));
        drop(accepted.expect("a Low gives way"));
    }
}

struct Channel(channel::Sender<Job, u8>);

impl Channel {
    fn start() -> Self {
        let (sender, receiver) = channel::bounded::<Job, u8>(CAP as u64);
        for _ in 0..WORKERS {
            let receiver = receiver.clone();
            tokio::spawn(async move {
                while let Ok((job, _)) = receiver.recv().await {
                    job.await;
                }
            });
        }
        Self(sender)
    }
}

impl Line for Channel {
    fn low(&self, task: Job) {
        let _ = self.0.try_send(task, 0);
    }

    fn urgent(&self, task: Job) {
        let sender = self.0.clone();
        tokio::spawn(async move { sender.send(task, 3).await.is_ok() });
    }
}

struct Kanal(kanal::AsyncSender<Job>);

impl Kanal {
    fn start() -> Self {
        let (sender, receiver) = kanal::bounded_async::<Job>(CAP);
        for _ in 0..WORKERS {
            let receiver = receiver.clone();
            tokio::spawn(async move {
                while let Ok(job) = receiver.recv().await {
                    job.await;
                }
            });
        }
        Self(sender)
    }
}

impl Line for Kanal {
    fn low(&self, task: Job) {
        let _ = self.0.try_send(task);
    }

    fn urgent(&self, task: Job) {
        let sender = self.0.clone();
        tokio::spawn(async move { sender.send(task).await.is_ok() });
    }
}
