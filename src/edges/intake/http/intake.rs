//! The handle.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Handle;

use super::backend::{self, Backend};
use super::bearer::Bearer;
use super::config::HttpIntakeConfig;
use super::error::HttpIntakeError;
use super::handler::Desk;
use super::layers::observe::Answers;
use super::layers::stack;
use super::metrics::HttpIntakeSnapshot;
use super::server;
use super::service::{HttpIntakeService, Whole};
use super::state::State;
use crate::ground::time;
use crate::intake::Decode;
use crate::rate_limit::http::TrustedProxies;
use crate::{ConfigError, IntentPipeline};

/// Takes intents over HTTP: see the [module](super). Cheap to clone.
///
/// When the last clone is dropped without a [`shutdown`](Self::shutdown), it is closed and cut off.
#[derive(Clone)]
pub struct HttpIntake {
    owner: Arc<Owner>,
}

/// Ends it when the last handle is gone.
struct Owner {
    whole: Arc<Whole>,
    address: Option<SocketAddr>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.whole.state.closing.cancel();
        self.whole.state.cut.cancel();
    }
}

impl HttpIntake {
    /// Begins one: `decode` makes intents of bodies, for this pipeline.
    pub fn builder<P, O>(
        config: HttpIntakeConfig,
        pipeline: &IntentPipeline<P, O>,
        decode: impl Decode<P>,
    ) -> HttpIntakeBuilder
    where
        P: Send + Sync + 'static,
        O: Send + Sync + 'static,
    {
        let pipeline = pipeline.clone();
        let backend = Arc::new(backend::Into { pipeline, decode });
        HttpIntakeBuilder { config, backend, bearer: None, proxies: TrustedProxies::none() }
    }

    /// Where it listens; `None` if it does not.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.owner.address
    }

    /// The same as a service, to be mounted elsewhere.
    #[must_use]
    pub fn service(&self) -> HttpIntakeService {
        HttpIntakeService { whole: Arc::clone(&self.owner.whole) }
    }

    /// Its numbers.
    #[must_use]
    pub fn snapshot(&self) -> HttpIntakeSnapshot {
        HttpIntakeSnapshot::of(&self.owner.whole.state)
    }

    /// Accepts no connection and no intent more; event streams end, connections end with the answer
    /// that they are at, and it is not ready. Tickets can be read on the connections that are open,
    /// and through [`service`](Self::service).
    pub fn close(&self) {
        self.owner.whole.state.closing.cancel();
    }

    /// Closes, waits for the connections, and reports, after `within` + 200 ms at the latest, given
    /// a runtime that still runs. Tickets that have not ended are let go: the pipeline goes on with
    /// them. (So shut the pipeline down first, and what it comes to can still be read meanwhile.)
    ///
    /// # Cancel safety
    /// Dropped, it stays closed, and what it waited for is cut off at its next await point.
    pub async fn shutdown(&self, within: Duration) -> HttpIntakeReport {
        self.close();
        let state = &self.owner.whole.state;
        let until = time::later(time::now(), within);
        let connections_cut = state.servers.end(until, &state.cut).await;
        let tickets_left = state.table.lock().live();
        state.cut.cancel();
        state.keepers.end(Some(time::now()), &state.cut).await;
        HttpIntakeReport { connections_cut, tickets_left }
    }
}

impl fmt::Debug for HttpIntake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpIntake").field("address", &self.owner.address).finish_non_exhaustive()
    }
}

/// What a shutdown left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpIntakeReport {
    /// Connections that were cut off in the middle of something.
    pub connections_cut: usize,
    /// Tickets that had not ended: the pipeline has their intents, and nobody hears of their ends.
    pub tickets_left: usize,
}

/// The parts of an intake that are not data.
#[must_use = "it takes nothing before `bind` or `build`"]
pub struct HttpIntakeBuilder {
    config: HttpIntakeConfig,
    backend: Arc<dyn Backend>,
    bearer: Option<Arc<dyn Bearer>>,
    proxies: TrustedProxies,
}

impl HttpIntakeBuilder {
    /// Asks every request but those for health and readiness for a token. Default: nobody is asked.
    pub fn bearer(self, bearer: impl Bearer) -> Self {
        Self { bearer: Some(Arc::new(bearer)), ..self }
    }

    /// Through whom clients come, for the rate limit. Default: directly.
    pub fn proxies(self, proxies: TrustedProxies) -> Self {
        Self { proxies, ..self }
    }

    /// Listens nowhere: [`HttpIntake::service`] is for a server of yours.
    ///
    /// # Errors
    /// [`ConfigError`]: a field is out of its range, or no tokio runtime is entered.
    pub fn build(self) -> Result<HttpIntake, ConfigError> {
        let whole = self.whole()?;
        Ok(HttpIntake { owner: Arc::new(Owner { whole, address: None }) })
    }

    /// Listens where [`HttpIntakeConfig::bind`] says.
    ///
    /// # Errors
    /// [`HttpIntakeError`]: as for [`build`](Self::build), or the address can't be had.
    ///
    /// # Cancel safety
    /// Dropped, there is none.
    pub async fn bind(self) -> Result<HttpIntake, HttpIntakeError> {
        let address = self.config.bind.address();
        let whole = self.whole()?;
        let wrong = |source| HttpIntakeError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(wrong)?;
        let address = listener.local_addr().map_err(wrong)?;
        let service = HttpIntakeService { whole: Arc::clone(&whole) };
        whole.state.servers.spawn(server::listen(listener, service));
        Ok(HttpIntake { owner: Arc::new(Owner { whole, address: Some(address) }) })
    }

    fn whole(self) -> Result<Arc<Whole>, ConfigError> {
        let Self { config, backend, bearer, proxies } = self;
        config.check()?;
        let runtime = Handle::try_current().map_err(|_| ConfigError::NoRuntime)?;
        let answers = Answers::new(&config)?;
        let phases = backend.snapshot().phases.iter().map(|phase| phase.name).collect();
        let state = Arc::new(State::new(config, runtime));
        let desk = Arc::new(Desk { state: Arc::clone(&state), backend, bearer, phases });
        let stack = stack::of(&state.config, proxies, desk)?;
        Ok(Arc::new(Whole { state, answers, stack }))
    }
}

impl fmt::Debug for HttpIntakeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpIntakeBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
