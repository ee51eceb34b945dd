//! The listener, its connections, and the handle that owns them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::attempts::{Attempts, content_hash};
use super::body::ReplyBody;
use super::config::StandInConfig;
use super::counts::{Counters, Counts};
use super::fate::{Fate, Kind};
use super::reply::{Prompt, Style, failure, reply};
use super::socket::{ResetSwitch, Socket};
use crate::listener::listen;

/// Connections at once; more wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 1_024;
/// Bytes in a request, at most.
const MAX_REQUEST_BYTES: usize = 1 << 20;

/// Why the stand-in did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StandInError {
    /// A setting is out of its range.
    #[error("{field}: was {was}, must be {rule}")]
    Config { field: &'static str, was: f64, rule: &'static str },
    /// No port on loopback.
    #[error("cannot listen on loopback")]
    Listen(#[from] std::io::Error),
}

/// A running stand-in. Dropped, it aborts listener and connections.
#[derive(Debug)]
pub(crate) struct StandIn {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// One task, the listener, which owns those of the connections.
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    config: StandInConfig,
    attempts: Attempts,
    counters: Counters,
}

impl StandIn {
    /// Listens on a free port of loopback.
    ///
    /// # Errors
    /// A setting is out of its range, or there is no port.
    pub(crate) async fn start(config: StandInConfig) -> Result<Self, StandInError> {
        config.check().map_err(|(field, was, rule)| StandInError::Config { field, was, rule })?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (attempts, counters) = (Attempts::default(), Counters::default());
        let shared = Arc::new(Shared { config, attempts, counters });
        let mut tasks = JoinSet::new();
        let serve = {
            let shared = Arc::clone(&shared);
            move |stream| connection(stream, Arc::clone(&shared))
        };
        tasks.spawn(listen(listener, MAX_CONNECTIONS, serve));
        Ok(Self { address, shared, tasks })
    }

    /// `http://127.0.0.1:<port>`, without a slash at its end.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What has been served so far.
    pub(crate) fn counts(&self) -> Counts {
        self.shared.counters.read()
    }

    /// Ends the listener and every connection, answered or not.
    pub(crate) async fn shutdown(mut self) -> Counts {
        self.tasks.shutdown().await;
        self.counts()
    }
}

/// Serves one connection until the client closes it, or a fault does.
async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    // Without it the second half of a small answer may wait for an acknowledgement.
    _ = stream.set_nodelay(true);
    let switch = ResetSwitch::default();
    let socket = Socket::new(stream, switch.clone());
    let service = service_fn(|request| serve(&shared, &switch, request));
    let serving = http1::Builder::new().header_read_timeout(None).serve_connection(socket, service);
    // How a connection ends is the client's to see; what was served has been counted.
    _ = serving.await;
}

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("no answer")]
struct NoAnswer;

async fn serve(
    shared: &Shared,
    switch: &ResetSwitch,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, NoAnswer> {
    let (head, body) = request.into_parts();
    let refuse = |style, status, message| {
        shared.counters.add(None);
        Ok(failure(style, status, message, "invalid_request_error"))
    };
    let path = head.uri.path();
    let Some(style) = Style::of(path) else {
        return refuse(Style::OpenAi, StatusCode::NOT_FOUND, "no such path");
    };
    if head.method != Method::POST {
        return refuse(style, StatusCode::METHOD_NOT_ALLOWED, "only POST");
    }
    let body = match Limited::new(body, MAX_REQUEST_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return refuse(style, StatusCode::PAYLOAD_TOO_LARGE, "more than 1 MiB");
        }
        Err(_) => return Err(NoAnswer),
    };
    let prompt = match Prompt::read(style, &body) {
        Ok(prompt) => prompt,
        Err(problem) => return refuse(style, StatusCode::BAD_REQUEST, problem),
    };
    let config = &shared.config;
    let fate = shared.fate(content_hash(path, &body));
    shared.counters.add(Some(fate.kind));
    if fate.kind == Kind::Hang {
        tokio::time::sleep(config.hang).await;
        return Err(NoAnswer);
    }
    if !fate.latency.is_zero() {
        tokio::time::sleep(fate.latency).await;
    }
    Ok(reply(style, &prompt, fate, config.retry_after, switch))
}

impl Shared {
    fn fate(&self, content: u64) -> Fate {
        let config = &self.config;
        // Without chance there is nothing to remember: a load run of any length takes no memory.
        let chance = config.sigma > 0.0 || config.faults.sum() > 0.0;
        let attempt = if chance { self.attempts.next(content) } else { 1 };
        Fate::of(config, content, attempt)
    }
}
