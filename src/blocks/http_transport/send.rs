//! One request over one connection, and the second attempt when the first was provably nothing.

use std::sync::Arc;

use http::header::EXPECT;
use http::{Request, Response, StatusCode};
use hyper::client::conn::TrySendError;

use super::allowance::Allowance;
use super::body::Body;
use super::close::UnderWay;
use super::connection::Conn;
#[cfg(feature = "compression")]
use super::decoding::Decoding;
use super::error::{Phase, TransportError, broken_head};
use super::expect::Expectation;
use super::h1::H1;
use super::host::{HostKey, is_idempotent, prepare};
use super::metrics::CloseReason;
use super::permit::Lease;
use super::raw_body::{Incoming, RawBody};
use super::request_body::TransportBody;
use super::shared::{Shared, Want};
use super::stream::{self, Failure};
use crate::ground::priority::Priority;
use crate::ground::time::{self, Instant, now};
use crate::retry::Idempotency;

/// How often one request is sent at most, the last time included.
const MOST_SENDS: usize = 3;

/// What all attempts of one request have in common.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) key: HostKey,
    pub(super) idempotency: Idempotency,
    pub(super) allowance: Allowance,
    pub(super) began: Instant,
    class: Priority,
    /// What was asked for is decoded.
    #[cfg(feature = "compression")]
    decoding: Option<Decoding>,
    under_way: UnderWay,
}

impl Call {
    /// Checks and prepares `request`. Its time begins now.
    pub(super) fn new(
        shared: &Shared,
        request: &mut Request<TransportBody>,
        class: Priority,
    ) -> Result<Self, TransportError> {
        let under_way = shared.door.enter()?;
        let key = HostKey::of(request.uri(), &shared.config)?;
        prepare(request, &key)?;
        request.body().check_length(request.method())?;
        let by_method = match is_idempotent(request.method()) {
            true => Idempotency::Idempotent,
            false => Idempotency::AtMostOnce,
        };
        let idempotency = request.extensions_mut().remove().unwrap_or(by_method);
        let began = now();
        let allowance = Allowance::new(began, shared.config.total_timeout);
        Ok(Self {
            key,
            idempotency,
            allowance,
            began,
            class,
            #[cfg(feature = "compression")]
            decoding: super::decode::ask(request, shared.config.decoding),
            under_way,
        })
    }

    /// The request once more; `None` when its body is a stream.
    pub(super) fn replay(
        &self,
        request: &Request<TransportBody>,
    ) -> Option<Request<TransportBody>> {
        let mut again = Request::new(request.body().replay()?);
        *again.method_mut() = request.method().clone();
        *again.uri_mut() = request.uri().clone();
        *again.headers_mut() = request.headers().clone();
        Some(again)
    }
}

/// Sends `request`, now, and waits for the head of the answer.
///
/// A pooled connection may have died since it was last used. Then, and before any byte came back,
/// the request is sent once more, over another connection: when hyper gives it back unsent, or
/// when it is idempotent and can be replayed. Over HTTP/2 a server can also refuse a request that
/// it has not begun with, and says so: then it is sent again whatever its method. Never otherwise.
pub(super) async fn attempt(
    shared: &Arc<Shared>,
    call: &Call,
    mut request: Request<TransportBody>,
    mut now: Instant,
) -> Result<Response<Body>, TransportError> {
    let config = &shared.config;
    let mut want = Want::Any;
    let mut sends = 0;
    let mut refused_to_expect = false;
    loop {
        let lease = shared.acquire(&call.key, call.class, want, call.allowance, &mut now).await?;
        sends += 1;
        let (stale, is_shared) = (lease.is_reused(), lease.is_shared());
        let idempotent = call.idempotency == Idempotency::Idempotent;
        let mut spare = if is_shared || stale && idempotent { call.replay(&request) } else { None };
        let (above, wait) = (config.expect_continue_above, config.expect_continue_wait);
        let expectation = if refused_to_expect || !Expectation::is_one(&request, above) {
            None
        } else {
            spare = spare.or_else(|| call.replay(&request));
            Some(Expectation::of(&mut request, wait))
        };
        let failed = match exchange(shared, lease, request, call, expectation.as_ref(), now).await {
            Ok(response) if expectation.is_some() && sends < MOST_SENDS && is_417(&response) => {
                // It does not know what is expected of it (RFC 9110, section 10.1.1).
                let Some(again) = spare else { return Ok(response) };
                request = again;
                request.headers_mut().remove(EXPECT);
                refused_to_expect = true;
                now = time::now();
                continue;
            }
            Ok(response) => return Ok(response),
            Err(_) if shared.door.is_cut() => return Err(TransportError::Closed),
            Err(failed) => failed,
        };
        if sends == MOST_SENDS {
            return Err(failed.into_error());
        }
        let again = match failed {
            Failed::Late(error) => Err(error),
            Failed::Unsent { request: Some(request), .. } if stale => Ok(*request),
            Failed::Unsent { request: None, error } => spare.ok_or(error),
            Failed::Unsent { error, .. } => Err(error),
            Failed::Broken { error, answered } => {
                spare.filter(|_| stale && idempotent && !answered).ok_or(error)
            }
        };
        request = again?;
        now = time::now();
        // Those that carry one request each may all have died with the one.
        want = if is_shared { Want::Any } else { Want::Fresh };
    }
}

fn is_417(response: &Response<Body>) -> bool {
    response.status() == StatusCode::EXPECTATION_FAILED
}

enum Failed {
    /// The server has not begun with it.
    Unsent {
        /// As it was, if hyper gave it back.
        request: Option<Box<Request<TransportBody>>>,
        error: TransportError,
    },
    /// It may have been sent.
    Broken {
        error: TransportError,
        answered: bool,
    },
    Late(TransportError),
}

impl Failed {
    fn into_error(self) -> TransportError {
        match self {
            Self::Unsent { error, .. } | Self::Broken { error, .. } | Self::Late(error) => error,
        }
    }
}

async fn exchange(
    shared: &Shared,
    mut lease: Lease,
    request: Request<TransportBody>,
    call: &Call,
    expectation: Option<&Expectation>,
    began: Instant,
) -> Result<Response<Body>, Failed> {
    let allowance = call.allowance;
    let header_until = allowance.until(began, shared.config.response_header_timeout);
    let response = match lease.conn() {
        Some(Conn::H1(conn)) => {
            let sent = conn.sender().try_send_request(request);
            let answer = time::until(header_until, sent).await;
            let response = over_h1(conn, answer, || late(allowance, header_until))?;
            conn.times().answered(now().saturating_duration_since(began));
            response.map(Incoming::H1)
        }
        Some(Conn::H2(conn)) => {
            let heard = conn.heard();
            let (tls, most) = (call.key.tls, shared.config.max_header_bytes);
            let sent = stream::exchange(conn.sender(), request, tls, most, expectation);
            match time::until(header_until, sent).await {
                Some(Ok(response)) => {
                    conn.was_answered();
                    conn.times().answered(now().saturating_duration_since(began));
                    response.map(|answer| Incoming::H2(Box::new(answer)))
                }
                Some(Err(failure)) => return Err(over_h2(&lease, failure)),
                None => {
                    let late = late(allowance, header_until);
                    // No answer for anybody meanwhile: nobody else is to wait for this peer. (The
                    // end of the whole tells nothing about it.)
                    if matches!(late, TransportError::HeaderTimeout) && conn.heard() == heard {
                        lease.drain(CloseReason::Abandoned);
                    }
                    return Err(Failed::Late(late));
                }
            }
        }
        None => return Err(Failed::Late(TransportError::PoolWaitTimeout)),
    };
    if expectation.is_some_and(Expectation::keeps_the_body) {
        lease.spend();
    }
    lease.carries(call.under_way.clone());
    let response =
        response.map(|incoming| RawBody::new(incoming, lease, allowance, &shared.config));
    #[cfg(feature = "compression")]
    return Ok(super::decode::decoded(response, call.decoding, shared.config.max_body_bytes));
    #[cfg(not(feature = "compression"))]
    Ok(response.map(Body::from))
}

fn late(allowance: Allowance, header_until: Option<Instant>) -> TransportError {
    allowance.late(header_until, Phase::Header, || TransportError::HeaderTimeout)
}

type Sent = Result<Response<hyper::body::Incoming>, TrySendError<Request<TransportBody>>>;

/// `None`: it took too long.
fn over_h1(
    conn: &H1,
    answer: Option<Sent>,
    late: impl FnOnce() -> TransportError,
) -> Result<Response<hyper::body::Incoming>, Failed> {
    let mut unsent = match answer {
        None => return Err(Failed::Late(late())),
        Some(Ok(response)) => return Ok(response),
        Some(Err(unsent)) => unsent,
    };
    let request = unsent.take_message();
    let error = broken_head(unsent.into_error());
    Err(match request {
        Some(request) => Failed::Unsent { request: Some(Box::new(request)), error },
        None => Failed::Broken { error, answered: conn.was_answered() },
    })
}

fn over_h2(lease: &Lease, failure: Failure) -> Failed {
    match failure {
        Failure::Unsent { error, connection_over } => {
            if connection_over {
                lease.drain(CloseReason::ByPeer);
            }
            Failed::Unsent { request: None, error }
        }
        Failure::ConnectionBroke(error) => {
            lease.drain(CloseReason::Broken);
            Failed::Broken { error, answered: false }
        }
        // The server answered, if only with a reset.
        Failure::Stream(error) => Failed::Broken { error, answered: true },
    }
}
