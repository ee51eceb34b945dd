//! What all transports of one configuration share: the pool behind its one lock.

use std::sync::Arc;
use std::time::Duration;

use super::allowance::Allowance;
use super::ceiling::{Calls, Member};
use super::close::Door;
use super::config::{Protocol, TransportConfig};
use super::connection::Conn;
use super::core::{
    Ask, Closing, Core, First, Grant, Grants, Held, HostId, Limits, Look, NotOpened, Share as _,
    Speaks,
};
use super::dial::{Connector, Opened};
use super::drivers::Drivers;
use super::error::{Cause, Phase, TransportError};
use super::h1::{Settling, settle};
use super::host::HostKey;
use super::metrics::{CloseReason, HostSnapshot, TransportSnapshot};
use super::permit::{Lease, Place};
use super::times::AllTimes;
use super::wait::{Verdict, Wait, Waiter};
use crate::gates::wait_queue::Ticket;
use crate::ground::handoff::Handoff;
use crate::ground::primitives::Mutex;
use crate::ground::priority::Priority;
use crate::ground::quiet::wake_quietly;
use crate::ground::rng::Rng;
use crate::ground::time::{self, Instant, later, now};

/// Connections dialled together don't end together.
const AGE_JITTER_RATIO: f64 = 0.1;

/// See the room's head for the invariants and the lock order.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Arc<TransportConfig>,
    pub(super) connector: Arc<Connector>,
    pub(super) pool: Mutex<Pool>,
    pub(super) times: AllTimes,
    /// One task per connection, and those that dial ahead. Dropped with the pool, which ends them all.
    pub(super) drivers: Drivers,
    pub(super) door: Door,
    /// Where the factory has a ceiling.
    pub(super) member: Option<Member>,
    /// What JSON is written into, and answers are put together in.
    pub(super) buffers: crate::BytesPool,
}

#[derive(Debug)]
pub(super) struct Pool {
    pub(super) core: Core<Conn, Waiter>,
    rng: Rng,
    /// Time for an orderly end ran out: nothing is begun any more.
    pub(super) is_cut: bool,
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
    pub(super) fn new(
        config: TransportConfig,
        connector: Connector,
        member: Option<Member>,
    ) -> Self {
        let limits = Limits {
            idle_overall: config.idle_overall,
            idle_per_host: config.idle_per_host,
            open_per_host: config.open_per_host,
            open_overall: config.open_overall,
            hosts: config.hosts,
            waiting_per_host: config.waiting_per_host,
            idle_timeout: config.idle_timeout,
            in_the_clear: match config.protocol {
                Protocol::Negotiated | Protocol::Http1 => Speaks::Single,
                Protocol::Http2 => Speaks::Muxed,
            },
            over_tls: match config.protocol {
                Protocol::Negotiated => Speaks::Unknown,
                Protocol::Http1 => Speaks::Single,
                Protocol::Http2 => Speaks::Muxed,
            },
        };
        let core = Core::new(limits).beneath(member.as_ref().map(Member::seat));
        let pool = Pool { core, rng: Rng::from_entropy(), is_cut: false };
        Self {
            config: Arc::new(config),
            connector: Arc::new(connector),
            pool: Mutex::new(pool),
            times: AllTimes::default(),
            drivers: Drivers::default(),
            door: Door::default(),
            member,
            buffers: crate::BytesPool::new(),
        }
    }

    /// A connection to `key`, in the order of the host's line. `now` is when it is asked for, and
    /// then when it is there.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        key: &HostKey,
        class: Priority,
        want: Want,
        allowance: Allowance,
        now: &mut Instant,
    ) -> Result<Lease, TransportError> {
        let wait_until = allowance.until(*now, self.config.pool_wait_timeout);
        loop {
            let verdict = match self.ask(key, class, want, *now)? {
                Asked::Lease(lease) => return Ok(lease),
                Asked::Place(place) => Verdict::Dial(place),
                Asked::Wait(wait) => {
                    let served = wait.until(wait_until, *now).await;
                    let since = std::mem::replace(now, time::now());
                    let verdict = served.ok_or_else(|| {
                        let own = || TransportError::PoolWaitTimeout;
                        allowance.late(wait_until, Phase::PoolWait, own)
                    })?;
                    let took = now.saturating_duration_since(since);
                    match &verdict {
                        Verdict::Use(lease) => lease.waited(took),
                        Verdict::Dial(_) => self.times.of(key.name()).waited(took),
                        Verdict::Evicted | Verdict::Closed => {}
                    }
                    verdict
                }
            };
            match verdict {
                Verdict::Use(lease) if lease.is_closed() => lease.discard(),
                Verdict::Use(lease) => return Ok(lease.taken()),
                // Boxed: it is rare, and larger than all the rest of a request.
                Verdict::Dial(place) => {
                    let dialled = Box::pin(self.dial(key, place, allowance)).await;
                    *now = time::now();
                    return dialled;
                }
                Verdict::Evicted => return Err(TransportError::PoolFull),
                Verdict::Closed => return Err(TransportError::Closed),
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
        let (mut closing, mut grants) = (Closing::new(), Grants::new());
        let (mut evicted, mut ahead) = (None, None);
        let (asked, calls) = {
            let pool = &mut *self.pool.lock();
            if pool.is_cut {
                return Err(TransportError::Closed);
            }
            let core = &mut pool.core;
            let ask = match want {
                Want::Any => core.ask(key, now, &mut closing),
                Want::Fresh => core.ask_fresh(key),
            };
            let asked = match ask {
                Ask::Use(held) => Ok(Asked::Lease(Lease::new(Arc::clone(self), held, true))),
                Ask::Stream(held, more) => {
                    ahead = more.map(|host| Place::ahead(self, host));
                    Ok(Asked::Lease(Lease::new(Arc::clone(self), held, true)))
                }
                Ask::Dial(host) => Ok(Asked::Place(Place::new(self, host))),
                Ask::TooManyHosts => Err(TransportError::TooManyHosts),
                Ask::Wait(host) => {
                    let cell = Arc::new(Handoff::new());
                    match core.wait(host, class, Arc::clone(&cell), now, &mut closing) {
                        Ok(waiting) => {
                            evicted = waiting.evicted;
                            let shared = Arc::clone(self);
                            let (ticket, promise) = (waiting.ticket, waiting.promise);
                            Ok(Asked::Wait(Wait::new(shared, host, ticket, cell, promise)))
                        }
                        Err(_) => Err(TransportError::PoolFull),
                    }
                }
            };
            (asked, core.ends_section(&mut closing, &mut grants))
        };
        self.hand_out(closing, grants, calls);
        if let Some(Ok(Some(waker))) = evicted.map(|cell| cell.put(Verdict::Evicted)) {
            wake_quietly(waker);
        }
        if let Some(place) = ahead {
            self.dial_ahead(key.clone(), place);
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
        let times = self.times.of(key.name());
        let dialled = self.connector.connect(key, &self.config, allowance, times);
        let opened = self.door.unless_cut(dialled).await.ok_or(TransportError::Closed)?;
        let opened = opened.inspect_err(|_| place.fails())?;
        // `None` from a pool that was cut. (One that forgot its host, which it does not while there
        // is a place, would be the other.)
        self.add(opened, place, First::Dialler).ok_or(TransportError::Closed)
    }

    /// Dials ahead of need, in a task of the pool's, since streams run out. A failure is counted,
    /// and whoever finds them scarce after a pause tries again.
    fn dial_ahead(self: &Arc<Self>, key: HostKey, place: Place) {
        if tokio::runtime::Handle::try_current().is_err() {
            return place.gives_up();
        }
        let (pool, connector) = (Arc::downgrade(self), Arc::clone(&self.connector));
        let (config, times) = (Arc::clone(&self.config), self.times.of(key.name()));
        self.drivers.spawn(async move {
            let allowance = Allowance::new(now(), config.total_timeout);
            let opened = connector.connect(&key, &config, allowance, times).await;
            if let (Ok(opened), Some(shared)) = (opened, pool.upgrade()) {
                shared.add(opened, place, First::Line);
            }
        });
    }

    /// Takes a new connection into the pool and starts its task. A lease of it, if it is for the
    /// request that dialled.
    pub(super) fn add(
        self: &Arc<Self>,
        opened: Opened,
        mut place: Place,
        first: First,
    ) -> Option<Lease> {
        let (host, now) = (place.host(), now());
        let (mut closing, mut grants) = (Closing::new(), Grants::new());
        let mut pool = self.pool.lock();
        if pool.is_cut {
            drop(pool);
            return None;
        }
        let calls;
        let age = pool.rng.around(self.config.max_age, AGE_JITTER_RATIO);
        let (id, retire_at) = (pool.core.opened(host), later(now, age));
        place.opens(id, retire_at);
        let held = match opened {
            Opened::H1(conn, driver) => {
                pool.core.is_single(host, now, &mut closing, &mut grants);
                calls = pool.core.ends_section(&mut closing, &mut grants);
                drop(pool);
                self.drivers.spawn(driver.run(place));
                Some(Held { conn: Conn::H1(Box::new(conn)), host, id, retire_at })
            }
            Opened::H2(conn, driver) => {
                let held = Held { conn: Conn::H2(conn), host, id, retire_at };
                let core = &mut pool.core;
                let most = driver.most();
                let held = core.opened_muxed(held, most, first, now, &mut closing, &mut grants);
                calls = core.ends_section(&mut closing, &mut grants);
                drop(pool);
                self.drivers.spawn(driver.run(place));
                held
            }
        };
        self.hand_out(closing, grants, calls);
        let lease = Lease::new(Arc::clone(self), held?, false);
        match first {
            First::Dialler => Some(lease),
            First::Line => {
                lease.finish();
                None
            }
        }
    }

    pub(super) fn snapshot(&self) -> TransportSnapshot {
        let pool = self.pool.lock();
        let (in_all, hosts) = (pool.core.in_all(), pool.core.each_host());
        drop(pool);
        let hosts = hosts.into_iter().map(|it| {
            let timings = self.times.look(&it.host);
            let max_connections = self.config.open_per_host;
            HostSnapshot { host: it.host, counts: it.counts, timings, max_connections }
        });
        TransportSnapshot {
            name: self.config.name.clone(),
            in_all,
            timings: self.times.in_all(),
            max_connections: self.config.open_overall,
            ceiling: self.member.as_ref().map(Member::counts),
            hosts: hosts.collect(),
        }
    }
}

/// The ways back. None of them holds the lock while it wakes or drops anything.
impl Shared {
    pub(super) fn give_back(self: &Arc<Self>, held: Held<Conn>) {
        let now = now();
        self.change(|core, closing, grants| {
            if held.conn.is_closed() {
                // Its own task has freed the place already, or will; it must not lie idle.
                return Some(held);
            }
            core.give_back(held, now, closing, grants);
            None
        });
    }

    /// Its own task gives it back when it is ready for the next request, which may count on it.
    pub(super) fn settle(self: &Arc<Self>, held: Held<Conn>) {
        let (host, id) = (held.host, held.id);
        self.change(|core, _, _| core.settles(host, id));
        if !settle(Settling { held, rest: None }) {
            // Its task has ended, perhaps before it was counted on.
            self.lingers(host, id);
        }
    }

    pub(super) fn lingers(self: &Arc<Self>, host: HostId, id: u64) {
        let now = now();
        self.change(|core, closing, grants| core.lingers(host, id, now, closing, grants));
    }

    pub(super) fn lose_patience(self: &Arc<Self>, host: HostId, promise: u64) {
        let now = now();
        self.change(|core, closing, grants| {
            core.lose_patience(host, promise, now, closing, grants)
        });
    }

    pub(super) fn not_opened(self: &Arc<Self>, host: HostId, why: NotOpened) {
        let now = now();
        self.change(|core, closing, grants| core.not_opened(host, why, now, closing, grants));
    }

    pub(super) fn closed(self: &Arc<Self>, host: HostId, id: u64, reason: CloseReason) {
        let now = now();
        // What was idle is dropped here, after the unlock.
        self.change(|core, closing, grants| core.closed(host, id, reason, now, closing, grants));
    }

    pub(super) fn stream_ended(self: &Arc<Self>, host: HostId, id: u64) {
        let now = now();
        self.change(|core, closing, grants| core.stream_ended(host, id, now, closing, grants));
    }

    pub(super) fn set_most(self: &Arc<Self>, host: HostId, id: u64, most: usize) {
        let now = now();
        self.change(|core, closing, grants| core.set_most(host, id, most, now, closing, grants));
    }

    /// `None`: it is out of the pool already.
    pub(super) fn drain(self: &Arc<Self>, host: HostId, id: u64) -> Option<Held<Conn>> {
        let now = now();
        self.change(|core, closing, grants| core.drain(host, id, now, closing, grants))
    }

    /// A place is on its way to it, or was.
    pub(super) fn looks_again(self: &Arc<Self>) {
        self.change(|core, closing, grants| core.balance(now(), closing, grants));
    }

    /// Since when its oldest idle connection is.
    pub(super) fn oldest_idle(&self) -> Option<Instant> {
        self.pool.lock().core.oldest_idle_since()
    }

    /// Closes that one for another pool.
    pub(super) fn makes_room(self: &Arc<Self>) {
        let (mut closing, mut grants) = (Closing::new(), Grants::new());
        let calls = {
            let core = &mut self.pool.lock().core;
            core.makes_room(&mut closing);
            core.ends_section(&mut closing, &mut grants)
        };
        self.act(closing, grants, calls);
    }

    /// Decides under the lock, and acts on it after the unlock.
    pub(super) fn change<R>(
        self: &Arc<Self>,
        decide: impl FnOnce(&mut Core<Conn, Waiter>, &mut Closing<Conn>, &mut Grants<Conn, Waiter>) -> R,
    ) -> R {
        let (mut closing, mut grants) = (Closing::new(), Grants::new());
        let (decided, calls) = {
            let core = &mut self.pool.lock().core;
            let decided = decide(core, &mut closing, &mut grants);
            (decided, core.ends_section(&mut closing, &mut grants))
        };
        self.hand_out(closing, grants, calls);
        decided
    }

    /// Other pools, to which a place is on its way.
    pub(super) fn call(&self, calls: Calls) {
        if let Some(member) = &self.member {
            member.call(calls);
        }
    }

    #[inline]
    fn hand_out(
        self: &Arc<Self>,
        closing: Closing<Conn>,
        grants: Grants<Conn, Waiter>,
        calls: Calls,
    ) {
        self.act(closing, grants, calls);
        // What is idle now may be in another pool's way.
        if let Some(member) = &self.member {
            member.make_room();
        }
    }

    /// Refused because the waiter left: dropping its right hands it on, one waiter deeper. Waiters
    /// that leave take themselves out of the line, so that is as deep as futures that are being
    /// dropped on other threads at this very moment.
    #[inline]
    fn act(self: &Arc<Self>, closing: Closing<Conn>, grants: Grants<Conn, Waiter>, calls: Calls) {
        close_all(closing);
        for (waiter, grant) in grants {
            let verdict = match grant {
                Grant::Use(held) => Verdict::Use(Lease::new(Arc::clone(self), held, true)),
                Grant::Dial(host) => Verdict::Dial(Place::new(self, host)),
            };
            match waiter.put(verdict) {
                Ok(waker) => waker.into_iter().for_each(wake_quietly),
                Err(Verdict::Use(lease)) => lease.unused(),
                Err(Verdict::Dial(_) | Verdict::Evicted | Verdict::Closed) => {}
            }
        }
        if !calls.is_empty() {
            self.call(calls);
        }
    }

    pub(super) fn cancel(self: &Arc<Self>, host: HostId, ticket: Ticket) {
        let waiter = self.change(|core, _, _| core.cancel(host, ticket));
        drop(waiter);
    }

    pub(super) fn look(self: &Arc<Self>, host: HostId, id: u64, now: Instant) -> Look<Conn> {
        self.change(|core, _, _| core.look(host, id, now))
    }

    pub(super) fn idle_timeout(&self) -> Duration {
        self.config.idle_timeout
    }
}

impl Core<Conn, Waiter> {
    /// The end of each section under the lock: what it wants of the ceiling, and has at once.
    #[inline]
    fn ends_section(
        &mut self,
        closing: &mut Closing<Conn>,
        grants: &mut Grants<Conn, Waiter>,
    ) -> Calls {
        let mut calls = Calls::new();
        while self.says_what_it_wants(&mut calls) {
            self.balance(now(), closing, grants);
        }
        calls
    }
}

#[inline]
fn close_all(closing: Closing<Conn>) {
    if closing.is_empty() {
        return;
    }
    for (held, reason) in closing {
        held.close(reason);
    }
}
