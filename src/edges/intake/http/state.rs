//! What the connections, answers and tickets of an intake share.

use std::future::Future;
use std::hash::RandomState;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::backend::{Documents, id_of};
use super::config::HttpIntakeConfig;
use super::core::{Id, KeyLimits, Keys, Table, TableLimits};
use super::metrics::Metrics;
use super::ticket::Filed;
use crate::ground::primitives::Mutex;
use crate::ground::primitives::atomic::{AtomicU64, Ordering};
use crate::ground::time::{self, Instant};

pub(super) struct State {
    pub(super) config: HttpIntakeConfig,
    pub(super) table: Mutex<Table<Arc<Filed>>>,
    pub(super) keys: Mutex<Keys<Arc<Documents>>>,
    pub(super) metrics: Metrics,
    /// Kilobytes that bodies may still come to.
    pub(super) bodies: Semaphore,
    pub(super) streams: Arc<Semaphore>,
    pub(super) connections: Arc<Semaphore>,
    /// Nothing new any more; streams end.
    pub(super) closing: CancellationToken,
    /// Everything ends where it stands.
    pub(super) cut: CancellationToken,
    /// Is it ready, and when was that known?
    pub(super) ready: Mutex<Option<(Instant, Result<(), &'static str>)>>,
    /// The listener and its connections.
    pub(super) servers: Tasks,
    /// One for each ticket that has not ended.
    pub(super) keepers: Tasks,
    secrets: [RandomState; 2],
    next: AtomicU64,
}

impl State {
    pub(super) fn new(config: HttpIntakeConfig, runtime: Handle) -> Self {
        let table = TableLimits {
            live: config.live_tickets,
            ended: config.ended_tickets,
            ended_for: config.ended_for,
        };
        let keys = KeyLimits { most: config.idempotency_keys, keep_for: config.idempotency_for };
        let places = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        Self {
            table: Mutex::new(Table::new(table)),
            keys: Mutex::new(Keys::new(keys)),
            metrics: Metrics::default(),
            bodies: Semaphore::new(config.bodies_bytes.div_ceil(1 << 10)),
            streams: places(config.event_streams),
            connections: places(config.connections),
            closing: CancellationToken::new(),
            cut: CancellationToken::new(),
            ready: Mutex::new(None),
            servers: Tasks::new(runtime.clone()),
            keepers: Tasks::new(runtime),
            secrets: [RandomState::new(), RandomState::new()],
            next: AtomicU64::new(0),
            config,
        }
    }

    /// Nobody can guess it: that it is unique is as sure as 128 bits of chance.
    pub(super) fn next_id(&self) -> Id {
        // Relaxed: a number by itself.
        id_of(&self.secrets, self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// A hash under this process's own keys.
    pub(super) fn secret_hash<Q: std::hash::Hash + ?Sized>(&self, of: &Q) -> u128 {
        super::core::pair(&self.secrets, of)
    }

    pub(super) fn ended(&self, id: Id) {
        let forgotten = self.table.lock().ends(id, time::now());
        drop(forgotten);
    }

    /// The ticket of this name, if it is this tenant's.
    pub(super) fn ticket(&self, id: Id, tenant: &str) -> Option<Arc<Filed>> {
        let ticket = self.table.lock().look(id, time::now());
        ticket.filter(|ticket| *ticket.tenant == *tenant)
    }
}

/// Tasks that somebody waits for in the end.
pub(super) struct Tasks {
    set: Mutex<JoinSet<()>>,
    runtime: Handle,
}

impl Tasks {
    fn new(runtime: Handle) -> Self {
        Self { set: Mutex::new(JoinSet::new()), runtime }
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut set = self.set.lock();
        // Those that have ended: two at most for each that begins, so that none is left for long.
        let ended = [set.try_join_next(), set.try_join_next()];
        set.spawn_on(task, &self.runtime);
        drop(set);
        drop(ended);
    }

    /// Until all have ended, also those that begin meanwhile; how many have not by then. They are
    /// given up: whoever drops this, or comes to its end, ends them.
    pub(super) async fn end(&self, until: Option<Instant>, cut: &CancellationToken) -> usize {
        let mut late = 0;
        loop {
            let mut set = std::mem::take(&mut *self.set.lock());
            if set.is_empty() {
                return late;
            }
            let in_time = time::until(until, all_of(&mut set)).await;
            if in_time.is_none() {
                late += set.len();
                cut.cancel();
                // Each ends at its next await point.
                let soon = time::later(time::now(), CUT_WITHIN);
                let _ = time::until(soon, all_of(&mut set)).await;
            }
        }
    }
}

/// How long what is cut off may take for it.
const CUT_WITHIN: Duration = Duration::from_millis(100);

async fn all_of(set: &mut JoinSet<()>) {
    while set.join_next().await.is_some() {}
}
