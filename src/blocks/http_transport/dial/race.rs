//! Happy eyeballs: the addresses of a host are tried one beside the other, each a little later than
//! the one before, and the first that answers is taken (RFC 8305, section 5).

use std::error::Error as StdError;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use std::vec;

use crate::ground::time::{Instant, later, now, until};

/// Which addresses are still to be tried, and when. Pure.
#[derive(Debug)]
pub(in crate::blocks::http_transport) struct Race {
    left: vec::IntoIter<SocketAddr>,
    running: usize,
    delay: Duration,
    /// When the next is due; `None`: it is not, before one of those that run fails.
    next_at: Option<Instant>,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::blocks::http_transport) enum Step {
    /// Try this one, and ask again.
    Start(SocketAddr),
    /// Wait for those that run; `Some`: but ask again then.
    Wait(Option<Instant>),
    /// All have failed.
    Lost,
}

impl Race {
    pub(in crate::blocks::http_transport) fn new(
        addresses: Vec<SocketAddr>,
        delay: Duration,
        now: Instant,
    ) -> Self {
        Self { left: addresses.into_iter(), running: 0, delay, next_at: Some(now) }
    }

    pub(in crate::blocks::http_transport) fn step(&mut self, now: Instant) -> Step {
        let is_due = self.next_at.is_some_and(|at| at <= now);
        if is_due && let Some(address) = self.left.next() {
            self.running += 1;
            self.next_at = later(now, self.delay);
            return Step::Start(address);
        }
        if self.running == 0 && self.left.as_slice().is_empty() {
            return Step::Lost;
        }
        Step::Wait(self.next_at.filter(|_| !self.left.as_slice().is_empty()))
    }

    /// One of those that ran has failed: the next need not wait for its time.
    pub(in crate::blocks::http_transport) fn failed(&mut self, now: Instant) {
        self.running = self.running.saturating_sub(1);
        self.next_at = Some(now);
    }
}

/// Tries `addresses` in this order until one answers. The others are dropped then, and so are all
/// when this future is.
pub(in crate::blocks::http_transport) async fn first_of<C, F>(
    addresses: Vec<SocketAddr>,
    delay: Duration,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<C, Unreachable>
where
    F: Future<Output = io::Result<C>>,
{
    let mut race = Race::new(addresses, delay, now());
    let (mut running, mut failures) = (Vec::new(), Vec::new());
    loop {
        let next_at = match race.step(now()) {
            Step::Start(address) => {
                running.push((address, Box::pin(connect(address))));
                continue;
            }
            Step::Wait(next_at) => next_at,
            Step::Lost => return Err(Unreachable(failures)),
        };
        match until(next_at, any(&mut running)).await {
            Some((_, Ok(connected))) => return Ok(connected),
            Some((address, Err(error))) => {
                failures.push((address, error));
                race.failed(now());
            }
            None => {}
        }
    }
}

/// The first of `running` that ends, taken out.
async fn any<A: Copy, F: Future>(running: &mut Vec<(A, Pin<Box<F>>)>) -> (A, F::Output) {
    poll_fn(|cx| {
        for at in 0..running.len() {
            let (address, future) = &mut running[at];
            let address = *address;
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                drop(running.remove(at));
                return Poll::Ready((address, output));
            }
        }
        Poll::Pending
    })
    .await
}

/// What each address answered, in the order in which they failed. None: the name has no address.
#[derive(Debug)]
pub(in crate::blocks::http_transport) struct Unreachable(Vec<(SocketAddr, io::Error)>);

impl Unreachable {
    /// Whether the system gave up on all of them.
    pub(in crate::blocks::http_transport) fn is_timeout(&self) -> bool {
        let late = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
        !self.0.is_empty() && self.0.iter().all(|(_, error)| late(error))
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("the name has no address");
        }
        for (n, (address, error)) in self.0.iter().enumerate() {
            write!(f, "{}{address}: {error}", if n == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl StdError for Unreachable {}
