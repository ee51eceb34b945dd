//! Sessions to be resumed: as many tickets of a server as it may have connections, so that all of them
//! come back by a short handshake when it was restarted. (rustls itself keeps eight.)

use std::collections::{HashMap, VecDeque};
use std::fmt;

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

use super::config::TransportConfig;
use crate::ground::primitives::Mutex;

/// Servers that are remembered; beyond it the one that was added first is forgotten.
const MOST_SERVERS: usize = 256;

pub(super) struct Sessions {
    /// Tickets of one server, and of all.
    most_per_server: usize,
    most: usize,
    servers: Mutex<Servers>,
}

#[derive(Default)]
struct Servers {
    known: HashMap<ServerName<'static>, Server>,
    /// By when they were added.
    order: VecDeque<ServerName<'static>>,
    tickets: usize,
}

#[derive(Default)]
struct Server {
    group: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    /// TLS 1.3, each good for one connection, the newest last.
    tickets: VecDeque<Tls13ClientSessionValue>,
}

impl Sessions {
    pub(super) fn new(config: &TransportConfig) -> Self {
        let (most_per_server, most) = (config.open_per_host, config.open_overall);
        Self { most_per_server, most, servers: Mutex::default() }
    }
}

impl Servers {
    fn entry(&mut self, name: ServerName<'static>) -> &mut Server {
        if !self.known.contains_key(&name) {
            if self.known.len() == MOST_SERVERS {
                self.forget_first();
            }
            self.order.push_back(name.clone());
        }
        self.known.entry(name).or_default()
    }

    fn forget_first(&mut self) {
        let first = self.order.pop_front().and_then(|name| self.known.remove(&name));
        self.tickets -= first.map_or(0, |server| server.tickets.len());
    }

    /// For a ticket of this server, at the cost of the others' if need be.
    fn make_place(&mut self, most: usize, name: &ServerName<'static>) {
        while self.tickets >= most && self.order.len() > 1 {
            match self.order.front() == Some(name) {
                true => self.order.rotate_left(1),
                false => self.forget_first(),
            }
        }
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.servers.lock().entry(name).group = Some(group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.servers.lock().known.get(name)?.group
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.servers.lock().entry(name).tls12 = Some(value);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.servers.lock().known.get(name)?.tls12.clone()
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        if let Some(server) = self.servers.lock().known.get_mut(name) {
            server.tls12 = None;
        }
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut servers = self.servers.lock();
        servers.make_place(self.most, &name);
        let tickets = &mut servers.entry(name).tickets;
        let is_full = tickets.len() >= self.most_per_server;
        let oldest = if is_full { tickets.pop_front() } else { None };
        tickets.push_back(value);
        servers.tickets += usize::from(!is_full);
        drop(servers);
        drop(oldest);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let mut servers = self.servers.lock();
        let newest = servers.known.get_mut(name)?.tickets.pop_back()?;
        servers.tickets -= 1;
        Some(newest)
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers = self.servers.lock();
        f.debug_struct("Sessions")
            .field("servers", &servers.known.len())
            .field("tickets", &servers.tickets)
            .finish()
    }
}
