//! One request over one connection, and the second attempt when the first was provably nothing.

use std::sync::Arc;

use http::{Request, Response};

use super::allowance::Allowance;
use super::body::Body;
use super::error::{Phase, TransportError, broken_head};
use super::host::{HostKey, is_idempotent, prepare};
use super::permit::Lease;
use super::request_body::TransportBody;
use super::shared::{Shared, Want};
use crate::ground::priority::Priority;
use crate::ground::time::now;

/// Sends `request` and waits for the head of the answer.
///
/// A pooled connection may have died since it was last used. Then, and before any byte came back,
/// the request is sent once more, over another connection: when hyper gives it back unsent, or
/// when it is idempotent and can be replayed. Never otherwise.
pub(super) async fn send(
    shared: &Arc<Shared>,
    mut request: Request<TransportBody>,
    class: Priority,
) -> Result<Response<Body>, TransportError> {
    let key = HostKey::of(request.uri())?;
    prepare(&mut request, &key)?;
    let allowance = Allowance::new(now(), shared.config.total_timeout);
    let lease = shared.acquire(&key, class, Want::Any, allowance).await?;
    let stale = lease.is_reused();
    let spare = if stale { replay(&request) } else { None };
    let failed = match exchange(shared, lease, request, allowance).await {
        Ok(response) => return Ok(response),
        Err(failed) => failed,
    };
    let again = match failed {
        Failed::Unsent { request, .. } if stale => Ok(*request),
        Failed::Unsent { error, .. } | Failed::Late(error) => Err(error),
        Failed::Broken { error, answered } => spare.filter(|_| !answered).ok_or(error),
    }?;
    let lease = shared.acquire(&key, class, Want::Fresh, allowance).await?;
    exchange(shared, lease, again, allowance).await.map_err(Failed::into_error)
}

enum Failed {
    /// Not one byte of it was written.
    Unsent {
        request: Box<Request<TransportBody>>,
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
    allowance: Allowance,
) -> Result<Response<Body>, Failed> {
    let Some(conn) = lease.conn() else {
        return Err(Failed::Late(TransportError::PoolWaitTimeout));
    };
    let sent = conn.sender().try_send_request(request);
    let limit = shared.config.response_header_timeout;
    match allowance.spend(Phase::Header, limit, sent, || TransportError::HeaderTimeout).await {
        Err(late) => Err(Failed::Late(late)),
        Ok(Ok(response)) => {
            let idle = shared.config.body_idle_timeout;
            Ok(response.map(|incoming| Body::new(incoming, lease, allowance, idle)))
        }
        Ok(Err(mut unsent)) => {
            let request = unsent.take_message();
            let error = broken_head(unsent.into_error());
            let answered = conn.was_answered();
            Err(match request {
                Some(request) => Failed::Unsent { request: Box::new(request), error },
                None => Failed::Broken { error, answered },
            })
        }
    }
}

/// The same request again, if it may be sent twice.
fn replay(request: &Request<TransportBody>) -> Option<Request<TransportBody>> {
    if !is_idempotent(request.method()) {
        return None;
    }
    let mut again = Request::new(request.body().replay()?);
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.headers_mut() = request.headers().clone();
    Some(again)
}
