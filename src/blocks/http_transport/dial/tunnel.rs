//! A tunnel through a proxy: `CONNECT` (RFC 9110, section 9.3.6).

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use http::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use http::{Method, Request, StatusCode, Uri};
use hyper::client::conn::http1::Builder;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::blocks::http_transport::error::TransportError;
use crate::blocks::http_transport::host::HostKey;
use crate::blocks::http_transport::request_body::TransportBody;

/// Why there is no tunnel.
#[derive(Debug)]
pub(in crate::blocks::http_transport) enum Failure {
    /// The proxy said no.
    Refused(StatusCode),
    /// It said nothing that can be understood.
    Broken(hyper::Error),
    /// It can't even be asked.
    Unasked(TransportError),
}

impl From<hyper::Error> for Failure {
    fn from(error: hyper::Error) -> Self {
        Self::Broken(error)
    }
}

/// Asks the proxy behind `io` for a tunnel to `host`. What comes back is the tunnel, and what has
/// already come out of it.
pub(in crate::blocks::http_transport) async fn open<I>(
    io: I,
    host: &HostKey,
    authorization: Option<&HeaderValue>,
    max_header_bytes: usize,
) -> Result<(I, Bytes), Failure>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let request = connect(host, authorization).map_err(Failure::Unasked)?;
    let (mut sender, connection) = Builder::new()
        .max_header_size(max_header_bytes)
        .max_buf_size(max_header_bytes)
        .handshake(TokioIo::new(io))
        .await?;
    let (mut connection, mut answer) =
        (pin!(connection.without_shutdown()), pin!(sender.send_request(request)));
    let mut over = None;
    // The connection is what moves the answer.
    let answer = poll_fn(|cx| {
        if over.is_none()
            && let Poll::Ready(end) = connection.as_mut().poll(cx)
        {
            over = Some(end);
        }
        answer.as_mut().poll(cx)
    })
    .await?;
    if !answer.status().is_success() {
        return Err(Failure::Refused(answer.status()));
    }
    let parts = match over {
        Some(end) => end?,
        None => connection.await?,
    };
    Ok((parts.io.into_inner(), parts.read_buf))
}

fn connect(
    host: &HostKey,
    authorization: Option<&HeaderValue>,
) -> Result<Request<TransportBody>, TransportError> {
    let invalid = || TransportError::InvalidUrl("its host is none");
    // The port is not optional here.
    let target = format!("{}:{}", host.authority.host(), host.port());
    let name = HeaderValue::from_str(&target).map_err(|_| invalid())?;
    let mut request = Request::new(TransportBody::empty());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = Uri::try_from(target).map_err(|_| invalid())?;
    request.headers_mut().insert(HOST, name);
    if let Some(authorization) = authorization {
        request.headers_mut().insert(PROXY_AUTHORIZATION, authorization.clone());
    }
    Ok(request)
}
