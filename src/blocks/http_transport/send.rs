//! One request over one connection, and the second attempt when the first was provably nothing.

use std::future::Future as _;
use std::pin::pin;
use std::sync::Arc;

use http::header::{EXPECT, HOST, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::client::conn::TrySendError;

use super::allowance::Allowance;
use super::body::Body;
use super::close::UnderWay;
use super::connection::Conn;
#[cfg(feature = "compression")]
use super::decoding::Decoding;
use super::error::{Phase, TransportError, broken_head};
use super::expect::{Expectation, forget_if_nothing_to_send};
use super::h1::H1;
use super::host::{HostKey, Names, is_idempotent, prepare};
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
    /// The request does not say itself which host it means.
    names_no_host: bool,
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
        request: Option<&mut Request<TransportBody>>,
        class: Priority,
    ) -> Result<Self, TransportError> {
        let Some(request) = request else { return Err(SENT) };
        let under_way = shared.door.enter()?;
        let class = request.extensions_mut().remove::<Priority>().unwrap_or(class);
        let key = HostKey::of(request.uri(), &shared.config)?;
        let names_no_host = prepare(request, &key)? == Names::NoHost;
        request.body().check_length(request.method())?;
        forget_if_nothing_to_send(request);
        let by_method = match is_idempotent(request.method()) {
            true => Idempotency::Idempotent,
            false => Idempotency::AtMostOnce,
        };
        let idempotency = request.extensions_mut().remove().unwrap_or(by_method);
        let began = now();
        let allowance = Allowance::new(began, shared.config.total_timeout);
        Ok(Self {
            key,
            names_no_host,
            idempotency,
            allowance,
            began,
            class,
            #[cfg(feature = "compression")]
            decoding: super::decode::ask(request, shared.config.decoding),
            under_way,
        })
    }

    /// Only what goes out names the host: a copy that is kept aside is less that way.
    fn name_host(&self, request: &mut Request<TransportBody>) -> Result<(), TransportError> {
        if self.names_no_host {
            let name = HeaderValue::from_str(self.key.authority.as_str())
                .map_err(|_| TransportError::InvalidUrl("its host is none"))?;
            request.headers_mut().insert(HOST, name);
        }
        Ok(())
    }

    /// The request once more; `None` when its body is a stream.
    pub(super) fn replay(
        &self,
        request: &Request<TransportBody>,
    ) -> Option<Request<TransportBody>> {
        let mut again = Request::new(request.body().replay()?);
        *again.method_mut() = request.method().clone();
        *again.uri_mut() = request.uri().clone();
        if !request.headers().is_empty() {
            *again.headers_mut() = request.headers().clone();
        }
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
    outgoing: &mut Option<Request<TransportBody>>,
    mut now: Instant,
) -> Result<Response<Body>, TransportError> {
    let config = &shared.config;
    let mut want = Want::Any;
    let mut sends = 0;
    let mut refused_to_expect = false;
    loop {
        let mut lease =
            shared.acquire(&call.key, call.class, want, call.allowance, &mut now).await?;
        sends += 1;
        let (stale, is_shared) = (lease.is_reused(), lease.is_shared());
        let idempotent = call.idempotency == Idempotency::Idempotent;
        let Some(request) = outgoing.as_mut() else { return Err(SENT) };
        let mut spare = if is_shared || stale && idempotent { call.replay(request) } else { None };
        let (above, wait) = (config.expect_continue_above, config.expect_continue_wait);
        let expectation = if refused_to_expect || !Expectation::is_one(request, above) {
            None
        } else {
            spare = spare.or_else(|| call.replay(request));
            Some(Expectation::of(request, wait))
        };
        call.name_host(request)?;
        let expected = expectation.as_ref();
        let failed = match exchange(shared, &mut lease, outgoing, call, expected, now).await {
            Ok(response) => {
                let may_ask_again = expectation.is_some() && sends < MOST_SENDS;
                let is_unmet = may_ask_again && response.status() == StatusCode::EXPECTATION_FAILED;
                let response = answer(response, lease, call);
                match spare.filter(|_| is_unmet) {
                    None => return Ok(response),
                    // It does not know what is expected of it (RFC 9110, section 10.1.1).
                    Some(mut again) => {
                        drop(response);
                        again.headers_mut().remove(EXPECT);
                        *outgoing = Some(again);
                        refused_to_expect = true;
                        now = time::now();
                        continue;
                    }
                }
            }
            Err(_) if shared.door.is_cut() => return Err(TransportError::Closed),
            Err(failed) => failed,
        };
        drop(lease);
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
        *outgoing = Some(again?);
        now = time::now();
        // Those that carry one request each may all have died with the one.
        want = if is_shared { Want::Any } else { Want::Fresh };
    }
}

/// Never seen: who calls gives a request, and another before the next time.
pub(super) const SENT: TransportError = TransportError::InvalidRequest("it was sent already");

/// The answer with its body, which holds the connection.
fn answer(response: Response<Incoming>, mut lease: Lease, call: &Call) -> Response<Body> {
    lease.carries(call.under_way.clone());
    #[cfg(feature = "compression")]
    return super::decode::decoded(response, call.decoding, |incoming| {
        RawBody::new(incoming, lease, call.allowance)
    });
    #[cfg(not(feature = "compression"))]
    response.map(|incoming| Body::from(RawBody::new(incoming, lease, call.allowance)))
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
    lease: &mut Lease,
    outgoing: &mut Option<Request<TransportBody>>,
    call: &Call,
    expectation: Option<&Expectation>,
    began: Instant,
) -> Result<Response<Incoming>, Failed> {
    let allowance = call.allowance;
    let header_until = allowance.until(began, shared.config.response_header_timeout);
    let response = match lease.conn() {
        Some(Conn::H1(conn)) => {
            let Some(request) = outgoing.take() else { return Err(Failed::Late(SENT)) };
            let mut sent = pin!(conn.sender().try_send_request(request));
            // What hyper returns in place of an answer is large, and rare.
            let polled =
                conn.until(header_until, |cx| sent.as_mut().poll(cx).map_err(Box::new)).await;
            let response = match polled {
                Some(Ok(response)) => response,
                Some(Err(unsent)) => return Err(over_h1(conn, *unsent)),
                None => return Err(Failed::Late(late(allowance, header_until))),
            };
            conn.times().answered(now().saturating_duration_since(began));
            response.map(Incoming::H1)
        }
        Some(Conn::H2(conn)) => {
            let heard = conn.heard();
            let (tls, most) = (call.key.tls, shared.config.max_header_bytes);
            let Some(request) = outgoing.take() else { return Err(Failed::Late(SENT)) };
            let sent = pin!(stream::exchange(conn.sender(), request, tls, most, expectation));
            match time::until(header_until, sent).await {
                Some(Ok(response)) => {
                    conn.was_answered();
                    conn.times().answered(now().saturating_duration_since(began));
                    response.map(|answer| Incoming::H2(Box::new(answer)))
                }
                Some(Err(failure)) => return Err(over_h2(lease, failure)),
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
    Ok(response)
}

fn late(allowance: Allowance, header_until: Option<Instant>) -> TransportError {
    allowance.late(header_until, Phase::Header, || TransportError::HeaderTimeout)
}

fn over_h1(conn: &H1, mut unsent: TrySendError<Request<TransportBody>>) -> Failed {
    let request = unsent.take_message();
    let error = broken_head(unsent.into_error());
    match request {
        Some(request) => Failed::Unsent { request: Some(Box::new(request)), error },
        None => Failed::Broken { error, answered: conn.was_answered() },
    }
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
