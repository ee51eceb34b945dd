//! What all transports of one configuration share: the pool behind its one lock.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::allowance::Allowance;
use super::config::TransportConfig;
use super::connection::{Conn, handshake};
use super::core::{Ask, Closing, Core, Held, HostId, Limits, Look};
use super::dial::Connector;
use super::error::{Cause, Phase, TransportError};
use super::host::HostKey;
use super::metrics::{CloseReason, TransportSnapshot};
use super::permit::{Lease, Place};
use super::wait::{Verdict, Wait, Waiter};
use crate::gates::wait_queue::Ticket;
use crate::ground::handoff::Handoff;
use crate::ground::primitives::Mutex;
use crate::ground::priority::Priority;
use crate::ground::rng::Rng;
use crate::ground::time::{Instant, later, now};

/// Connections dialled together don't end together.
const AGE_JITTER_RATIO: f64 = 0.1;

/// See the room's head for the invariants and the lock order.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: TransportConfig,
    connector: Connector,
    pool: Mutex<Pool>,
    /// One task per connection. Dropped with the pool, which ends them all.
    drivers: Mutex<JoinSet<()>>,
    /// What JSON is written into.
    #[cfg(feature = "json")]
    pub(super) buffers: crate::BytesPool,
}

#[derive(Debug)]
struct Pool {
    core: Core<Conn, Waiter>,
    rng: Rng,
}

/// Which connection will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Any,
    /// No idle one: the last was dead.
    Fresh,
}

enum Asked {
    Lease(Lease),
    Place(Place),
    Wait(Wait),
}

/// What futures ask of the pool.
impl Shared {
    pub(super) fn new(config: TransportConfig, connector: Connector) -> Self {
        let limits = Limits {
            idle_overall: config.idle_overall,
            idle_per_host: config.idle_per_host,
            open_per_host: config.open_per_host,
            open_overall: config.open_overall,
            hosts: config.hosts,
            waiting_per_host: config.waiting_per_host,
            idle_timeout: config.idle_timeout,
        };
        let pool = Pool { core: Core::new(limits), rng: Rng::from_entropy() };
        let (pool, drivers) = (Mutex::new(pool), Mutex::new(JoinSet::new()));
        Self {
            config,
            connector,
            pool,
            drivers,
            #[cfg(feature = "json")]
            buffers: crate::BytesPool::new(),
        }
    }

    /// A connection to `key`, in the order of the host's line.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        key: &HostKey,
        class: Priority,
        want: Want,
        allowance: Allowance,
    ) -> Result<Lease, TransportError> {
        let began = now();
        let wait_until = allowance.until(began, self.config.pool_wait_timeout);
        loop {
            let verdict = match self.ask(key, class, want, began)? {
                Asked::Lease(lease) => Verdict::Use(lease),
                Asked::Place(place) => Verdict::Dial(place),
                Asked::Wait(wait) => {
                    crate::ground::time::until(wait_until, wait).await.ok_or_else(|| {
                        let own = || TransportError::PoolWaitTimeout;
                        allowance.late(wait_until, Phase::PoolWait, own)
                    })?
                }
            };
            match verdict {
                Verdict::Use(lease) if lease.is_closed() => lease.discard(),
                Verdict::Use(lease) => return Ok(lease),
                Verdict::Dial(place) => return self.dial(key, place, allowance).await,
                Verdict::Evicted => return Err(TransportError::PoolFull),
            }
        }
    }

    fn ask(
        self: &Arc<Self>,
        key: &HostKey,
        class: Priority,
        want: Want,
        now: Instant,
    ) -> Result<Asked, TransportError> {
        let mut closing = Closing::new();
        let mut evicted = None;
        let asked = {
            let core = &mut self.pool.lock().core;
            let ask = match want {
                Want::Any => core.ask(key, now, &mut closing),
                Want::Fresh => core.ask_fresh(key),
            };
            match ask {
                Ask::Use(held) => Ok(Asked::Lease(Lease::new(Arc::clone(self), held, true))),
                Ask::Dial(host) => Ok(Asked::Place(Place::new(self, host))),
                Ask::TooManyHosts => Err(TransportError::TooManyHosts),
                Ask::Wait(host) => {
                    let cell = Arc::new(Handoff::new());
                    match core.wait(host, class, Arc::clone(&cell), now, &mut closing) {
                        Ok(waiting) => {
                            evicted = waiting.evicted;
                            let ticket = waiting.ticket;
                            Ok(Asked::Wait(Wait::new(Arc::clone(self), host, ticket, cell)))
                        }
                        Err(_) => Err(TransportError::PoolFull),
                    }
                }
            }
        };
        close_all(closing);
        if let Some(Ok(Some(waker))) = evicted.map(|cell| cell.put(Verdict::Evicted)) {
            waker.wake();
        }
        asked
    }

    /// Turns a place into a connection. Dropped or failed, the place goes to the next in line.
    async fn dial(
        self: &Arc<Self>,
        key: &HostKey,
        mut place: Place,
        allowance: Allowance,
    ) -> Result<Lease, TransportError> {
        tokio::runtime::Handle::try_current()
            .map_err(|error| TransportError::Dial { host: key.name(), cause: Cause::new(error) })?;
        let stream = self.connector.connect(key, &self.config, allowance).await?;
        let (conn, driver) = handshake(stream, self.config.max_header_bytes)
            .await
            .map_err(|error| TransportError::Dial { host: key.name(), cause: Cause::new(error) })?;
        let (host, now) = (place.host(), now());
        let (id, retire_at) = {
            let pool = &mut *self.pool.lock();
            let age = pool.rng.around(self.config.max_age, AGE_JITTER_RATIO);
            (pool.core.opened(host), later(now, age))
        };
        place.opens(id, retire_at);
        let mut drivers = self.drivers.lock();
        // Here the tasks that have ended are awaited: never more are kept than ended since.
        while drivers.try_join_next().is_some() {}
        drivers.spawn(driver.run(place));
        drop(drivers);
        Ok(Lease::new(Arc::clone(self), Held { conn, host, id, retire_at }, false))
    }

    pub(super) fn snapshot(&self) -> TransportSnapshot {
        let pool = self.pool.lock();
        let (in_all, hosts) = (pool.core.in_all(), pool.core.each_host());
        drop(pool);
        TransportSnapshot { name: self.config.name.clone(), in_all, hosts }
    }
}

/// The ways back. None of them holds the lock while it wakes or drops anything.
impl Shared {
    pub(super) fn give_back(self: &Arc<Self>, mut held: Held<Conn>) {
        let now = now();
        loop {
            let mut closing = Closing::new();
            let host = held.host;
            let mut pool = self.pool.lock();
            if held.conn.is_closed() {
                // Its own task has freed the place already, or will; it must not lie idle.
                drop(pool);
                return drop(held);
            }
            let next = pool.core.give_back(held, now, &mut closing);
            drop(pool);
            close_all(closing);
            let Some((waiter, granted)) = next else { return };
            let lease = Lease::new(Arc::clone(self), granted, true);
            match waiter.put(Verdict::Use(lease)) {
                Ok(waker) => return waker.into_iter().for_each(crate::ground::quiet::wake_quietly),
                // It left in between: the next one's turn.
                Err(Verdict::Use(lease)) => match lease.into_held() {
                    Some(again) => held = again,
                    None => return,
                },
                Err(_) => return,
            }
            self.declined(host);
        }
    }

    pub(super) fn declined(&self, host: HostId) {
        self.pool.lock().core.declined(host);
    }

    pub(super) fn not_opened(self: &Arc<Self>, host: HostId) {
        let next = self.pool.lock().core.not_opened(host, now());
        self.hand_place(next);
    }

    pub(super) fn closed(self: &Arc<Self>, host: HostId, id: u64, reason: CloseReason) {
        let (idle, next) = self.pool.lock().core.closed(host, id, reason, now());
        drop(idle);
        self.hand_place(next);
    }

    fn hand_place(self: &Arc<Self>, next: Option<(Waiter, HostId)>) {
        let Some((waiter, host)) = next else { return };
        // Refused because the waiter left: dropping the place hands it on, one waiter deeper.
        // Waiters that leave take themselves out of the line, so that is as deep as futures that
        // are being dropped on other threads at this very moment.
        if let Ok(Some(waker)) = waiter.put(Verdict::Dial(Place::new(self, host))) {
            waker.wake();
        }
    }

    pub(super) fn cancel(&self, host: HostId, ticket: Ticket) {
        let waiter = self.pool.lock().core.cancel(host, ticket);
        drop(waiter);
    }

    pub(super) fn look(&self, host: HostId, id: u64, now: Instant) -> Look<Conn> {
        self.pool.lock().core.look(host, id, now)
    }

    pub(super) fn idle_timeout(&self) -> Duration {
        self.config.idle_timeout
    }
}

fn close_all(closing: Closing<Conn>) {
    for (held, reason) in closing {
        held.close(reason);
    }
}
