//! What the stream of outcomes says, beside what the tickets heard and the ledger counted.

use std::collections::HashMap;
use std::future::Future;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use headworks::pipeline::{Done, Ended, IntentPipeline, Outcome, Outcomes, Trace};
use headworks::{Ending, Ledger};

use super::phases::{NAMES, Plan};
use super::world::{Load, World};

pub(crate) struct Told {
    stream: Outcomes<Plan>,
    all: Vec<Outcome<Plan>>,
    /// Tickets that heard the same: the key, the ending and the trace.
    heard: HashMap<String, usize>,
}

fn signature(key: &str, ending: Ending, trace: &Trace) -> String {
    format!("{key} {ending:?} {trace:?}")
}

impl Told {
    pub(crate) fn by(pipeline: &IntentPipeline<Load, Plan>) -> Self {
        let stream = pipeline.outcomes(NonZeroUsize::new(10_000).unwrap());
        Self { stream, all: Vec::new(), heard: HashMap::new() }
    }

    /// Reads what is there.
    fn read(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(outcome)) = pin!(self.stream.next()).poll(&mut cx) {
            self.all.push(outcome);
        }
    }

    pub(crate) fn heard(
        &mut self,
        world: &World,
        key: &str,
        result: &Result<Done<Plan>, Ended<Load>>,
    ) {
        let (ending, trace) = match result {
            Ok(done) => (Ending::Completed, &done.trace),
            // One of several tickets that gave up: no run has ended.
            Err(ended) if ended.ending() == Ending::Cancelled && ended.phase().is_none() => return,
            Err(ended) => (ended.ending(), ended.trace()),
        };
        *self.heard.entry(signature(key, ending, trace)).or_default() += 1;
        let phases = trace.phases.iter().map(|phase| phase.name);
        world.claim(phases.eq(NAMES.into_iter().take(trace.phases.len())), || {
            format!("{key}: the trace goes another way: {trace:?}")
        });
        let inside = trace.phases.iter().map(|phase| phase.waited + phase.ran).sum();
        world.claim(trace.queued <= trace.total && trace.total >= inside, || {
            format!("{key}: the trace has more time than there was: {trace:?}")
        });
    }

    /// Once everything has ended: each run once, each ticket with its run.
    pub(crate) fn compare(&mut self, world: &World, ledger: Ledger, runs: Ledger) {
        self.read();
        world.claim(self.stream.missed() == 0, || "outcomes were missed".to_owned());
        let mut tickets: HashMap<String, usize> = HashMap::new();
        for ending in Ending::ALL {
            let of = || self.all.iter().filter(|outcome| outcome.ending == ending);
            let (told, counted) = (of().count() as u64, runs.count(ending));
            world.claim(told == counted, || format!("{told} runs told {ending}: {runs}"));
            let told = of().map(|outcome| outcome.tickets as u64).sum::<u64>();
            let counted = ledger.count(ending);
            // Those who gave up one by one ended with no run.
            let is_right = told == counted || (ending == Ending::Cancelled && told < counted);
            world.claim(is_right, || format!("{told} tickets told {ending}: {ledger}"));
        }
        for outcome in &self.all {
            let is_right = outcome.output.is_some() == (outcome.ending == Ending::Completed);
            world.claim(is_right, || format!("an output at the wrong end: {outcome:?}"));
            let signature = signature(&outcome.key, outcome.ending, &outcome.trace);
            *tickets.entry(signature).or_default() += outcome.tickets;
        }
        for (signature, heard) in &self.heard {
            let told = tickets.get(signature).copied().unwrap_or(0);
            world.claim(*heard <= told, || format!("{heard} heard, {told} told: {signature}"));
        }
    }
}
