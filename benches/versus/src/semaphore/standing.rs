//! The line alone, without a runtime: a release grants its head, which comes back as its last.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use super::Case;
use super::contestant::{Gate, Waiting, ready};
use crate::clock::Stretch;

#[derive(Clone, Copy)]
pub struct Standing {
    pub waiters: usize,
    pub rounds: usize,
}

impl Case for Standing {
    fn sample<G: Gate>(self) -> Vec<f64> {
        let gate = G::new(1);
        let mut permit = Some(ready(gate.acquire()));
        let mut line: VecDeque<_> = (0..self.waiters).map(|_| waiting(&gate)).collect();
        let stretch = Stretch::start();
        for _ in 0..self.rounds {
            drop(permit.take());
            let head = line.pop_front().expect("the line is never empty");
            permit = Some(ready(head));
            line.push_back(waiting(&gate));
        }
        let rounds = self.rounds as f64;
        vec![stretch.wall().as_nanos() as f64 / rounds, stretch.cpu_ns() / rounds]
    }
}

fn waiting<G: Gate>(gate: &G) -> Waiting<'_, G::Permit<'_>> {
    let mut waiting: Waiting<'_, G::Permit<'_>> = Box::pin(gate.acquire());
    match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Pending => waiting,
        Poll::Ready(_) => unreachable!("the permit is out"),
    }
}
