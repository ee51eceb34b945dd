//! Connections dialled ahead of the first requests.

use std::sync::Arc;

use http::Uri;
use tokio::task::JoinSet;

use super::allowance::Allowance;
use super::ceiling::Calls;
use super::core::{Ask, First};
use super::error::{Cause, TransportError};
use super::host::HostKey;
use super::permit::Place;
use super::shared::Shared;
use crate::ground::time::now;

/// A listening host's queue of connections that it has not accepted yet is short.
const AT_A_TIME: usize = 32;

/// What a [`warm_up`](super::Transport::warm_up) came to.
#[derive(Debug)]
#[non_exhaustive]
pub struct WarmUp {
    /// Connections that it opened.
    pub opened: usize,
    /// The first dial that failed: it began no further ones.
    pub error: Option<TransportError>,
}

pub(super) async fn warm_up(
    shared: &Arc<Shared>,
    url: &Uri,
    connections: usize,
) -> Result<WarmUp, TransportError> {
    let key = HostKey::of(url, &shared.config)?;
    let _under_way = shared.door.enter()?;
    let mut done = WarmUp { opened: 0, error: None };
    // They end with this call, however it ends.
    let mut dials = JoinSet::new();
    loop {
        while done.error.is_none()
            && dials.len() < AT_A_TIME
            && let Some(place) = shared.ask_ahead(&key, connections)?
        {
            dials.spawn(dial(Arc::clone(shared), key.clone(), place));
        }
        match dials.join_next().await {
            None => return Ok(done),
            Some(Ok(Ok(()))) => done.opened += 1,
            Some(Ok(Err(error))) => done.error = done.error.or(Some(error)),
            // Nothing in there panics, and nobody else aborts it.
            Some(Err(error)) => {
                let host = key.name();
                let error = TransportError::Dial { host, cause: Cause::new(error) };
                done.error = done.error.or(Some(error));
            }
        }
    }
}

async fn dial(shared: Arc<Shared>, key: HostKey, mut place: Place) -> Result<(), TransportError> {
    let allowance = Allowance::new(now(), shared.config.total_timeout);
    let times = shared.times.of(key.name());
    let dialled = shared.connector.connect(&key, &shared.config, allowance, times);
    let opened = shared.door.unless_cut(dialled).await.ok_or(TransportError::Closed)?;
    let opened = opened.inspect_err(|_| place.fails())?;
    shared.add(opened, place, First::Line);
    Ok(())
}

impl Shared {
    /// A place for one more connection, while the host has fewer than `connections`.
    fn ask_ahead(
        self: &Arc<Self>,
        key: &HostKey,
        connections: usize,
    ) -> Result<Option<Place>, TransportError> {
        let mut calls = Calls::new();
        let ask = {
            let pool = &mut *self.pool.lock();
            if pool.is_cut {
                return Err(TransportError::Closed);
            }
            let ask = pool.core.ask_ahead(key, connections);
            // It says no more than before: nobody waits, or it would have no place.
            pool.core.says_what_it_wants(&mut calls);
            ask
        };
        self.call(calls);
        match ask {
            Ask::Dial(host) => Ok(Some(Place::new(self, host))),
            Ask::TooManyHosts => Err(TransportError::TooManyHosts),
            Ask::Use(_) | Ask::Stream(..) | Ask::Wait(_) => Ok(None),
        }
    }
}
