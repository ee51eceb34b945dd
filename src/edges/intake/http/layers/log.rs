//! One event for each answer, redacted by what is not in it: no body, no field of a header, no query,
//! no id; the path is named, not quoted.

use http::{Method, StatusCode};

use crate::ground::time::Instant;
use crate::intake::http::core::Route;
use crate::rate_limit::http::PeerAddr;

/// What of a request may be told.
pub(in crate::edges::intake::http) struct Line {
    method: &'static str,
    route: Option<Route>,
    peer: Option<PeerAddr>,
    since: Instant,
}

impl Line {
    pub(in crate::edges::intake::http) fn new(
        method: &Method,
        route: Option<Route>,
        peer: Option<PeerAddr>,
        since: Instant,
    ) -> Self {
        Self { method: named(method), route, peer, since }
    }

    pub(in crate::edges::intake::http) fn write(
        &self,
        intake: &str,
        status: StatusCode,
        now: Instant,
    ) {
        let Self { method, route, peer, since } = self;
        let route = Route::NAMES[Route::index(*route)];
        let took_us = now.saturating_duration_since(*since).as_micros() as u64;
        let client = peer.map(|PeerAddr(address)| tracing::field::display(address.ip()));
        let status = status.as_u16();
        if status >= 500 {
            tracing::warn!(intake, method, route, status, took_us, client, "answered");
        } else {
            tracing::info!(intake, method, route, status, took_us, client, "answered");
        }
    }
}

/// A method of the client's own making is not repeated.
fn named(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
