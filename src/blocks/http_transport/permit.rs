//! The two rights a request can hold, and the way back of each.

use std::sync::{Arc, Weak};
use std::time::Duration;

use http_body::Body as _;

use super::ceiling::{Member, Token};
use super::close::UnderWay;
use super::config::TransportConfig;
use super::connection::Conn;
use super::core::{Held, HostId, Look, NotOpened, Share as _};
use super::h1::{Settling, settle};
use super::metrics::CloseReason;
use super::shared::Shared;
use crate::BytesPool;
use crate::ground::time::Instant;

/// The right to one open connection, counted by both caps. Dropping it frees it.
#[derive(Debug)]
pub(super) struct Place {
    /// Weak: a connection's task must not keep the pool that owns it.
    shared: Weak<Shared>,
    host: HostId,
    stage: Stage,
    /// Its place beneath the ceiling, which it gives back also when its pool is gone.
    token: Option<Token>,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// What it is if it goes no further.
    Dialling(NotOpened),
    Open {
        id: u64,
        retire_at: Option<Instant>,
        reason: CloseReason,
    },
}

impl Place {
    pub(super) fn new(shared: &Arc<Shared>, host: HostId) -> Self {
        Self::dialling(shared, host, NotOpened::GivenUp)
    }

    /// For a dial ahead of need, which nobody gives up.
    pub(super) fn ahead(shared: &Arc<Shared>, host: HostId) -> Self {
        Self::dialling(shared, host, NotOpened::FailedAhead)
    }

    fn dialling(shared: &Arc<Shared>, host: HostId, if_no_further: NotOpened) -> Self {
        let stage = Stage::Dialling(if_no_further);
        let token = shared.member.as_ref().map(Member::token);
        Self { shared: Arc::downgrade(shared), host, stage, token }
    }

    pub(super) fn host(&self) -> HostId {
        self.host
    }

    /// The dial failed: it was not merely given up.
    pub(super) fn fails(&mut self) {
        self.stage = Stage::Dialling(NotOpened::Failed);
    }

    /// It is not dialled at all.
    pub(super) fn gives_up(mut self) {
        self.stage = Stage::Dialling(NotOpened::GivenUp);
    }

    /// The dial succeeded.
    pub(super) fn opens(&mut self, id: u64, retire_at: Option<Instant>) {
        // What it counts as when its task is dropped without a word: its runtime ended.
        self.stage = Stage::Open { id, retire_at, reason: CloseReason::Abandoned };
    }

    pub(super) fn closes_for(&mut self, why: CloseReason) {
        if let Stage::Open { reason, .. } = &mut self.stage {
            *reason = why;
        }
    }

    /// When the connection's task first asks whether it has been idle for too long.
    pub(super) fn first_look(&self, now: Instant) -> Instant {
        let idle_timeout = self.shared.upgrade().map(|shared| shared.idle_timeout());
        self.no_later_than_old(now + idle_timeout.unwrap_or_default(), now)
    }

    /// `None`: the pool is gone.
    pub(super) fn look(&self, now: Instant) -> Option<Look<Conn>> {
        let Stage::Open { id, .. } = self.stage else { return None };
        Some(match self.shared.upgrade()?.look(self.host, id, now) {
            Look::Again(at) => Look::Again(self.no_later_than_old(at, now)),
            retire => retire,
        })
    }

    fn no_later_than_old(&self, at: Instant, now: Instant) -> Instant {
        match self.stage {
            Stage::Open { retire_at: Some(old), .. } if old > now => at.min(old),
            Stage::Open { .. } | Stage::Dialling(_) => at,
        }
    }

    /// The connection takes no more requests.
    pub(super) fn drained(&self) {
        if let (Stage::Open { id, .. }, Some(shared)) = (self.stage, self.shared.upgrade()) {
            drop(shared.drain(self.host, id));
        }
    }

    /// The connection carries so many requests at a time now.
    pub(super) fn allows(&self, most: usize) {
        if let (Stage::Open { id, .. }, Some(shared)) = (self.stage, self.shared.upgrade()) {
            shared.set_most(self.host, id, most);
        }
    }

    /// The connection is not back as soon as was thought.
    pub(super) fn lingers(&self) {
        if let (Stage::Open { id, .. }, Some(shared)) = (self.stage, self.shared.upgrade()) {
            shared.lingers(self.host, id);
        }
    }

    pub(super) fn give_back(&self, held: Held<Conn>) {
        if let Some(shared) = self.shared.upgrade() {
            shared.give_back(held);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // First that: who waits for it would seem to need another one as soon as this is no longer
        // counted among those that leave.
        self.token = None;
        let Some(shared) = self.shared.upgrade() else { return };
        match self.stage {
            Stage::Dialling(why) => shared.not_opened(self.host, why),
            Stage::Open { id, reason, .. } => shared.closed(self.host, id, reason),
        }
    }
}

/// A connection on loan, or a stream of a shared one. Dropping it closes the connection, which only
/// [`Lease::finish`] and [`Lease::unused`] bring back; a shared one stays what it is.
#[derive(Debug)]
pub(super) struct Lease {
    shared: Arc<Shared>,
    /// `None` only after it has been brought back.
    held: Option<Held<Conn>>,
    reused: bool,
    /// What was promised to the server was not sent: it can't be told what comes next.
    spent: bool,
    /// The request it carries.
    under_way: Option<UnderWay>,
}

impl Lease {
    pub(super) fn new(shared: Arc<Shared>, held: Held<Conn>, reused: bool) -> Self {
        Self { shared, held: Some(held), reused, spent: false, under_way: None }
    }

    /// A request is under way until this lease is dropped.
    pub(super) fn carries(&mut self, request: UnderWay) {
        self.under_way = Some(request);
    }

    /// A connection of HTTP/1.1 carries no other request.
    pub(super) fn spend(&mut self) {
        self.spent = true;
    }

    pub(super) fn config(&self) -> &TransportConfig {
        &self.shared.config
    }

    pub(super) fn buffers(&self) -> &BytesPool {
        &self.shared.buffers
    }

    /// Whether the pool was cut.
    pub(super) fn is_cut(&self) -> bool {
        self.shared.door.is_cut()
    }

    /// Whether it has carried a request before.
    pub(super) fn is_reused(&self) -> bool {
        self.reused
    }

    pub(super) fn is_closed(&self) -> bool {
        self.held.as_ref().is_none_or(|held| held.conn.is_closed())
    }

    pub(super) fn conn(&mut self) -> Option<&mut Conn> {
        self.held.as_mut().map(|held| &mut held.conn)
    }

    /// A request waited for it so long.
    pub(super) fn waited(&self, took: Duration) {
        match self.held.as_ref().map(|held| &held.conn) {
            Some(Conn::H1(conn)) => conn.times().waited(took),
            Some(Conn::H2(conn)) => conn.times().waited(took),
            None => {}
        }
    }

    /// Whether other requests go over the same connection.
    pub(super) fn is_shared(&self) -> bool {
        matches!(&self.held, Some(Held { conn: Conn::H2(_), .. }))
    }

    /// The answer has been read to its end.
    pub(super) fn finish(mut self) {
        let held = if self.spent { None } else { self.held.take() };
        match held {
            Some(held) if matches!(held.conn, Conn::H2(_)) => self.held = Some(held),
            Some(held) => match &held.conn {
                Conn::H1(conn) if conn.is_ready() => self.shared.give_back(held),
                Conn::H1(conn) if !conn.is_closed() => self.shared.settle(held),
                Conn::H1(_) | Conn::H2(_) => {}
            },
            None => {}
        }
    }

    /// The answer is not wanted any more: `rest` of it is read by the connection's own task, if
    /// that is little, and else the connection closed.
    pub(super) fn finish_without(mut self, rest: hyper::body::Incoming) {
        let most = self.shared.config.drain_bytes;
        if self.spent || most == 0 || rest.size_hint().lower() > most as u64 {
            return;
        }
        if let Some(held) = self.held.take_if(|held| matches!(held.conn, Conn::H1(_))) {
            // If its task has ended, so has the connection.
            let _ = settle(Settling { held, rest: Some((rest, most)) });
        }
    }

    /// How many answers have begun over a shared connection.
    pub(super) fn heard(&self) -> Option<u64> {
        match &self.held {
            Some(Held { conn: Conn::H2(conn), .. }) => Some(conn.heard()),
            _ => None,
        }
    }

    /// The connection takes no more requests; those it carries may end.
    pub(super) fn drain(&self, reason: CloseReason) {
        if let Some(held) = &self.held
            && let Some(held) = self.shared.drain(held.host, held.id)
        {
            held.close(reason);
        }
    }

    /// It turned out to have ended before it was used. Its own task frees the place.
    pub(super) fn discard(self) {
        self.drain(CloseReason::ByPeer);
    }

    /// Whoever waited for it has it.
    pub(super) fn taken(self) -> Self {
        if let Some(held) = &self.held {
            self.shared.pool.lock().core.taken(held.host);
        }
        self
    }

    /// It was never used: it goes to the next in line.
    pub(super) fn unused(mut self) {
        let Some(held) = self.held.take() else { return };
        match held.conn {
            Conn::H1(_) => self.shared.give_back(held),
            Conn::H2(_) => self.held = Some(held),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(Held { conn: Conn::H2(_), host, id, .. }) = &self.held {
            let (host, id) = (*host, *id);
            // First the stream's end of the connection, which may be the last one.
            self.held = None;
            self.shared.stream_ended(host, id);
        }
    }
}
