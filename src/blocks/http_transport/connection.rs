//! One connection, of either kind: the end a request holds.
//!
//! Each connection has one task of its own, started when it is dialled and owned by the pool's
//! `JoinSet`. It ends when the server ends the connection, when the connection has been idle or is
//! old enough, and with the pool. It owns the connection's [`Place`](super::permit::Place), so a
//! place is free exactly when its socket is closed.

use super::core::{Held, Share};
use super::h1::H1;
use super::h2::H2;
use super::metrics::CloseReason;

/// The end of a connection that a request holds.
#[derive(Debug)]
pub(super) enum Conn {
    /// One request at a time. Dropping it closes the connection. Boxed once, since it is moved a
    /// dozen times for each request.
    H1(Box<H1>),
    /// One of many ends. The connection ends with the last, but not before what it carries.
    H2(H2),
}

impl Share for Conn {
    fn share(&self) -> Option<Self> {
        match self {
            Self::H1(_) => None,
            Self::H2(conn) => Some(Self::H2(conn.clone())),
        }
    }

    fn is_closed(&self) -> bool {
        match self {
            Self::H1(conn) => conn.is_closed(),
            Self::H2(conn) => conn.is_closed(),
        }
    }
}

impl Held<Conn> {
    /// Ends the connection, a shared one with the last request it carries, and says why.
    pub(super) fn close(self, reason: CloseReason) {
        match &self.conn {
            Conn::H1(conn) => conn.close(reason),
            Conn::H2(conn) => conn.drain(reason),
        }
    }
}
