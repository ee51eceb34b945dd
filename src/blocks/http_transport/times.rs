//! How long things took, of each host and of all together.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::ground::metrics::{Counter, Histogram, Recorder};
use crate::ground::primitives::Mutex;
use crate::ground::primitives::atomic::{AtomicUsize, Ordering};

/// How long things took so far. Only what came to a good end is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timings {
    /// Looking the name up and connecting, through a proxy until its tunnel is open.
    pub dial: Histogram,
    /// TLS handshakes; each is one connection.
    pub tls: Histogram,
    /// TLS handshakes among them that resumed an earlier session.
    pub tls_resumed: u64,
    /// Waiting in line, of the requests that had to and were served.
    pub wait: Histogram,
    /// From handing the request to a connection to the head of the answer.
    pub first_byte: Histogram,
}

#[derive(Debug, Default)]
struct Times {
    dial: Recorder,
    tls: Recorder,
    tls_resumed: Counter,
    wait: Recorder,
    first_byte: Recorder,
    /// Dials begun so far, where they go round the host's addresses.
    turns: AtomicUsize,
}

impl Times {
    fn look(&self) -> Timings {
        Timings {
            dial: self.dial.look(),
            tls: self.tls.look(),
            tls_resumed: self.tls_resumed.get(),
            wait: self.wait.look(),
            first_byte: self.first_byte.look(),
        }
    }
}

/// Where what concerns one host is recorded. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct HostTimes {
    own: Arc<Times>,
    all: Arc<Times>,
}

impl HostTimes {
    fn both(&self) -> [&Times; 2] {
        [&self.own, &self.all]
    }

    /// 0, then 1, and so on.
    pub(super) fn next_turn(&self) -> usize {
        // Relaxed: a number each, and nothing hangs on it.
        self.own.turns.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn dialled(&self, took: Duration) {
        self.both().iter().for_each(|times| times.dial.record(took));
    }

    #[cfg(feature = "tls")]
    pub(super) fn secured(&self, took: Duration, resumed: bool) {
        for times in self.both() {
            times.tls.record(took);
            times.tls_resumed.add(u64::from(resumed));
        }
    }

    pub(super) fn waited(&self, took: Duration) {
        self.both().iter().for_each(|times| times.wait.record(took));
    }

    pub(super) fn answered(&self, took: Duration) {
        self.both().iter().for_each(|times| times.first_byte.record(took));
    }
}

/// Of all hosts. Its lock is held with no other, for a look-up when a connection is dialled, when a
/// request has waited and for a snapshot; never for a request that is served at once.
#[derive(Debug, Default)]
pub(super) struct AllTimes {
    all: Arc<Times>,
    /// By the host's name. Looked up and pruned, never asked for an order.
    hosts: Mutex<HashMap<Box<str>, Arc<Times>>>,
}

/// Ten KiB each: so many hosts are remembered beyond those that have a connection.
const REMEMBERED: usize = 1_024;

impl AllTimes {
    pub(super) fn of(&self, host: Box<str>) -> HostTimes {
        let mut hosts = self.hosts.lock();
        if hosts.len() >= REMEMBERED && !hosts.contains_key(&host) {
            // Those whose connections are all gone begin anew.
            hosts.retain(|_, times| Arc::strong_count(times) > 1);
        }
        let own = Arc::clone(hosts.entry(host).or_default());
        HostTimes { own, all: Arc::clone(&self.all) }
    }

    pub(super) fn in_all(&self) -> Timings {
        self.all.look()
    }

    pub(super) fn look(&self, host: &str) -> Timings {
        let known = self.hosts.lock().get(host).cloned();
        known.unwrap_or_default().look()
    }
}
