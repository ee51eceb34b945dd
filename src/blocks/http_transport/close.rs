//! The end of a pool: no new requests, those under way may end, what is left is cut.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use tokio_util::sync::{CancellationToken, DropGuard};

use super::ceiling::Calls;
use super::error::TransportError;
use super::metrics::HostCounts;
use super::shared::Shared;
use super::wait::Verdict;
use crate::ground::primitives::Mutex;
use crate::ground::quiet::wake_quietly;
use crate::ground::time::{self, later, now};

/// How long connections that carry nothing any more may take to say good-bye.
const GOOD_BYE: Duration = Duration::from_secs(1);

/// How long tasks that were told to end may take to do so: they need a turn on a thread.
const LAST_TURN: Duration = Duration::from_millis(100);

/// What a [`close`](super::Transport::close) had to cut: nothing, if all requests ended in time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// Requests that had not ended: they end now, as [`TransportError::Closed`].
    pub requests: usize,
    /// Where they were, in the order in which the hosts were first called.
    pub hosts: Vec<HostCut>,
    /// Connections whose task was told to end and had no turn to do so within 100 ms: nobody drives
    /// the runtime that dialled them, or a body of a request's holds its thread. They end when their
    /// task gets its turn, or its runtime ends.
    pub unresponsive: usize,
}

/// What was cut of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostCut {
    /// Scheme, host and port.
    pub host: String,
    /// Requests that waited for a connection.
    pub waiting: usize,
    /// Connections that were being dialled.
    pub dialling: usize,
    /// Connections that were open: they carried requests, or had not been closed yet.
    pub active: usize,
    /// Requests among them that went over shared (HTTP/2) connections.
    pub streams: usize,
}

impl HostCut {
    fn of(host: HostCounts) -> Option<Self> {
        let HostCounts { host, counts } = host;
        let (waiting, dialling) = (counts.waiting, counts.dialling);
        let (active, streams) = (counts.active, counts.streams);
        let is_any = waiting + dialling + active + streams > 0;
        is_any.then_some(Self { host, waiting, dialling, active, streams })
    }
}

/// What requests come in by.
#[derive(Debug)]
pub(super) struct Door {
    /// `None`: closed.
    open: Mutex<Option<UnderWay>>,
    inside: Weak<DropGuard>,
    /// The door is closed and nobody is inside.
    left: CancellationToken,
    /// Held by whoever ends the connections: the others wait for that.
    ending: tokio::sync::Mutex<()>,
    /// Whatever is still being done is not wanted any more.
    cut: CancellationToken,
}

/// A request under way, until its answer was read to the end or dropped.
pub(super) type UnderWay = Arc<DropGuard>;

impl Default for Door {
    fn default() -> Self {
        let left = CancellationToken::new();
        let open = Arc::new(left.clone().drop_guard());
        Self {
            inside: Arc::downgrade(&open),
            open: Mutex::new(Some(open)),
            left,
            ending: tokio::sync::Mutex::new(()),
            cut: CancellationToken::new(),
        }
    }
}

impl Door {
    pub(super) fn enter(&self) -> Result<UnderWay, TransportError> {
        self.open.lock().clone().ok_or(TransportError::Closed)
    }

    pub(super) fn close(&self) {
        let open = self.open.lock().take();
        // Beside the lock, since it may wake.
        drop(open);
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.lock().is_some()
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.is_cancelled()
    }

    /// What `future` comes to; `None`: all was cut before that.
    pub(super) async fn unless_cut<F: Future>(&self, future: F) -> Option<F::Output> {
        let (mut future, mut cut) = (pin!(future), pin!(self.cut.cancelled()));
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => cut.as_mut().poll(cx).map(|()| None),
        })
        .await
    }
}

impl Shared {
    /// Nothing is kept for later any more: idle connections are closed, and those that come back.
    pub(super) fn retire(self: &Arc<Self>) {
        self.change(|core, closing, _| core.retire(closing));
    }

    /// See [`Transport::close`](super::Transport::close).
    pub(super) async fn close(self: &Arc<Self>, within: Duration) -> CloseReport {
        let end = later(now(), within);
        self.door.close();
        self.retire();
        let report = match time::until(end, self.door.left.cancelled()).await {
            Some(_) => CloseReport::default(),
            None => self.cut(),
        };
        let _ending = self.door.ending.lock().await;
        if report.requests == 0 {
            let good_bye = later(now(), GOOD_BYE);
            let _ = time::until(time::earlier(end, good_bye), self.drivers.all_ended()).await;
        }
        // Those that are left carry nothing that anybody waits for, or were cut.
        self.cut();
        self.drivers.end_all();
        let ended = time::until(later(now(), LAST_TURN), self.drivers.all_ended()).await;
        let unresponsive = if ended.is_some() { 0 } else { self.drivers.running() };
        CloseReport { unresponsive, ..report }
    }

    /// Waiting requests are told, dials given up; nothing new is begun.
    fn cut(self: &Arc<Self>) -> CloseReport {
        let requests = self.door.inside.strong_count();
        let mut pool = self.pool.lock();
        pool.is_cut = true;
        let hosts = pool.core.each_host().into_iter().filter_map(HostCut::of).collect();
        let waiters = pool.core.dismiss();
        let mut calls = Calls::new();
        // Nobody of it waits any more.
        pool.core.says_what_it_wants(&mut calls);
        drop(pool);
        self.call(calls);
        self.door.cut.cancel();
        for waiter in waiters {
            if let Ok(waker) = waiter.put(Verdict::Closed) {
                waker.into_iter().for_each(wake_quietly);
            }
        }
        CloseReport { requests, hosts, unresponsive: 0 }
    }
}

/// Keeps a pool in use; with the last of them its idle connections are closed. Requests under way
/// end over it all the same.
#[derive(Debug)]
pub(super) struct InUse(pub(super) Arc<Shared>);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.retire();
    }
}
