//! An open loop at and above capacity: what is answered in time, and whose it is.

use std::time::{Duration, Instant};

use headworks::Priority;
use tokio::task::JoinSet;

use super::flow::{Backend, Flow, Setup};
use super::runtime;
use crate::harness::Measure;
use crate::pin::Cores;

pub const MEASURES: [Measure; 4] = [
    Measure { suffix: "", unit: "answered in time per second" },
    Measure { suffix: "/high_lost", unit: "of 1000 high ones" },
    Measure { suffix: "/normal_lost", unit: "of 1000 normal ones" },
    Measure { suffix: "/low_lost", unit: "of 1000 low ones" },
];

const TAKES: Duration = Duration::from_millis(20);
const WIDTH: usize = 32;
/// What is answered later is worth nothing.
const IN_TIME: Duration = Duration::from_millis(400);
/// By tens: one high, three normal, six low.
const CLASSES: [Priority; 10] = {
    use Priority::{High, Low, Normal};
    [Low, Normal, Low, Low, High, Normal, Low, Low, Normal, Low]
};

#[derive(Clone, Copy)]
pub struct Load {
    /// Of what the flow can carry.
    pub times: usize,
    pub seconds: f64,
}

/// One call: its class, and whether it was answered in time.
type Ended = (Priority, bool);

impl Load {
    pub fn sample<F: Flow>(self, start: impl Fn(Setup) -> F + Send + 'static) -> Vec<f64> {
        let setup = Setup { backend: Backend::Takes(TAKES), width: WIDTH, queue: 2_000 };
        let runtime = runtime(Cores::Two);
        let referee = runtime.spawn(async move { self.run(start(setup)).await });
        runtime.block_on(referee).expect("the calls end")
    }

    async fn run(self, flow: impl Flow) -> Vec<f64> {
        let rate = (WIDTH * self.times) as f64 / TAKES.as_secs_f64();
        let begin = Instant::now() + Duration::from_millis(5);
        let mut calls = JoinSet::new();
        for call in 0..(rate * self.seconds) as usize {
            let due = begin + Duration::from_secs_f64(call as f64 / rate);
            // Several may be due at one tick of the timer.
            if due > Instant::now() {
                tokio::time::sleep_until(due.into()).await;
            }
            let (mut flow, class) = (flow.clone(), CLASSES[call % CLASSES.len()]);
            calls.spawn(async move {
                let until = due + IN_TIME;
                let is_done = flow.pass_in_time(call as u64, class, until).await;
                (class, is_done && Instant::now() <= until)
            });
        }
        figures(&calls.join_all().await, begin.elapsed())
    }
}

fn figures(ended: &[Ended], took: Duration) -> Vec<f64> {
    let good = ended.iter().filter(|call| call.1).count() as f64;
    let lost = |class| {
        let of_it: Vec<_> = ended.iter().filter(|call| call.0 == class).collect();
        let lost = of_it.iter().filter(|call| !call.1).count();
        lost as f64 * 1e3 / of_it.len().max(1) as f64
    };
    vec![
        good / took.as_secs_f64(),
        lost(Priority::High),
        lost(Priority::Normal),
        lost(Priority::Low),
    ]
}
