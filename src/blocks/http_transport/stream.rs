//! One request and its answer over a stream of HTTP/2.
//!
//! No task: whoever waits for the answer also moves the request's body, and dropping either ends
//! the stream with a reset that leaves the connection alone.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use ::h2::client::{ResponseFuture, SendRequest};
use ::h2::{Reason, RecvStream, SendStream};
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TE};
use http::uri::{Authority, Scheme, Uri};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::{Body as _, Frame, SizeHint};

use super::error::{Cause, TransportError};
use super::expect::Expectation;
use super::request_body::TransportBody;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The peer has provably not begun with it: it says so (`REFUSED_STREAM`, or a `GOAWAY` below
    /// this stream: RFC 9113, sections 8.7 and 6.8), or the stream was never opened.
    Unsent { error: TransportError, connection_over: bool },
    /// The connection broke under it.
    ConnectionBroke(TransportError),
    /// This stream alone failed.
    Stream(TransportError),
}

/// What is on its way once the head of a request has been handed over.
struct Opened {
    is_head: bool,
    answer: ResponseFuture,
    upload: Option<Upload>,
}

fn open(
    sender: &mut SendRequest<Bytes>,
    request: Request<TransportBody>,
    tls: bool,
) -> Result<Opened, Failure> {
    let (head, body) = into_stream(request, tls).map_err(Failure::Stream)?;
    let is_head = head.method() == Method::HEAD;
    let opened = sender.send_request(head, body.is_end_stream());
    let (answer, send) = opened.map_err(refused)?;
    let upload = (!body.is_end_stream()).then(|| Upload { send, body, rest: Bytes::new() });
    Ok(Opened { is_head, answer, upload })
}

/// Sends `request`, at once, and waits for the head of its answer.
pub(super) fn exchange<'e>(
    sender: &mut SendRequest<Bytes>,
    request: Request<TransportBody>,
    tls: bool,
    max_header_bytes: usize,
    expectation: Option<&'e Expectation>,
) -> impl Future<Output = Result<Response<Answer>, Failure>> + use<'e> {
    // Beside the future, which would have room for the request twice.
    let opened = open(sender, request, tls);
    async move {
        let Opened { is_head, mut answer, mut upload } = opened?;
        let response = poll_fn(|cx| {
            while let Some(expectation) = expectation
                && let Poll::Ready(Some(Ok(word))) = answer.poll_informational(cx)
            {
                expectation.told(word.status());
            }
            if let Some(sending) = &mut upload {
                match sending.poll(cx) {
                    Poll::Ready(Err(cause)) => {
                        sending.send.send_reset(Reason::CANCEL);
                        let error = TransportError::RequestBody(cause);
                        return Poll::Ready(Err(Failure::Stream(error)));
                    }
                    Poll::Ready(Ok(())) => upload = None,
                    Poll::Pending => {}
                }
            }
            Pin::new(&mut answer).poll(cx).map_err(failed)
        })
        .await?;
        if header_bytes(response.headers()) > max_header_bytes {
            // Dropping it ends the stream.
            return Err(Failure::Stream(TransportError::HeaderTooLarge));
        }
        if expectation.is_some_and(Expectation::keeps_the_body) {
            // What was not asked for ends with the stream.
            upload = None;
        }
        Ok(response.map(|receive| Answer::new(receive, upload)).map_length(is_head))
    }
}

/// As HTTP/2 counts it (RFC 9113, section 6.5.2).
fn header_bytes(headers: &HeaderMap) -> usize {
    let each = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32);
    each.sum()
}

trait MapLength {
    fn map_length(self, is_head: bool) -> Self;
}

impl MapLength for Response<Answer> {
    fn map_length(mut self, is_head: bool) -> Self {
        let length =
            self.headers().get(CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok());
        // Of these two it is said how long the body would be (RFC 9110, section 8.6).
        let has_none = is_head || self.status() == StatusCode::NOT_MODIFIED;
        let ended = self.body().receive.is_end_stream();
        self.body_mut().left = if ended || has_none { Some(0) } else { length };
        self
    }
}

/// A request as HTTP/2 wants it: no header about the connection, the host as `:authority`
/// (RFC 9113, sections 8.2.2 and 8.3.1).
fn into_stream(
    request: Request<TransportBody>,
    tls: bool,
) -> Result<(Request<()>, TransportBody), TransportError> {
    let (mut parts, body) = request.into_parts();
    let no_host = TransportError::InvalidRequest("its host header is none");
    let host = parts.headers.remove(HOST);
    let host = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let host = host.filter(|host| !host.as_str().contains('@')).ok_or(no_host)?;
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(if tls { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = Some(host);
    uri.path_and_query = parts.uri.path_and_query().cloned();
    parts.uri = Uri::from_parts(uri).map_err(|_| TransportError::InvalidUrl("it is none"))?;
    parts.version = Version::HTTP_2;
    about_the_message(&mut parts.headers);
    let has_meaning = matches!(parts.method, Method::POST | Method::PUT | Method::PATCH);
    if let Some(length) = body.size_hint().exact().filter(|&length| length > 0 || has_meaning) {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok((Request::from_parts(parts, ()), body))
}

fn about_the_message(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in ["connection", "keep-alive", "proxy-connection"] {
        headers.remove(name);
    }
    if headers.get(TE).is_some_and(|te| te != "trailers") {
        headers.remove(TE);
    }
}

/// The request's body on its way.
#[derive(Debug)]
struct Upload {
    send: SendStream<Bytes>,
    body: TransportBody,
    /// Taken from the body, not yet allowed by the peer's window.
    rest: Bytes,
}

impl Upload {
    /// Ready when all is handed over, or when the peer wants no more of it: what that means, the
    /// answer tells. `Err`: the body itself failed.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        loop {
            if self.rest.is_empty() {
                match std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                    Some(Ok(frame)) => self.rest = frame.into_data().unwrap_or_default(),
                    Some(Err(cause)) => return Poll::Ready(Err(cause)),
                    None => {
                        let _ = self.send.send_data(Bytes::new(), true);
                        return Poll::Ready(Ok(()));
                    }
                }
                self.send.reserve_capacity(self.rest.len());
                continue;
            }
            // What is allowed already is not told again.
            if self.send.capacity() == 0 {
                match std::task::ready!(self.send.poll_capacity(cx)) {
                    Some(Ok(_)) => continue,
                    Some(Err(_)) | None => return Poll::Ready(Ok(())),
                }
            }
            let piece = self.rest.split_to(self.send.capacity().min(self.rest.len()));
            let last = self.rest.is_empty() && self.body.is_end_stream();
            if self.send.send_data(piece, last).is_err() || last {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// The answer's body as it comes in. Dropping it ends the stream.
#[derive(Debug)]
pub(super) struct Answer {
    receive: RecvStream,
    /// An answer may come before the request has been written.
    upload: Option<Upload>,
    /// What is still to come, where the peer has said it.
    left: Option<u64>,
}

impl Answer {
    fn new(receive: RecvStream, upload: Option<Upload>) -> Self {
        Self { receive, upload, left: None }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.receive.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TransportError>>> {
        if let Some(upload) = &mut self.upload
            && let Poll::Ready(sent) = upload.poll(cx)
        {
            if let Err(cause) = sent {
                // Or the peer would wait for the rest.
                upload.send.send_reset(Reason::CANCEL);
                return Poll::Ready(Some(Err(TransportError::RequestBody(cause))));
            }
            self.upload = None;
        }
        match std::task::ready!(self.receive.poll_data(cx)) {
            Some(Ok(data)) => {
                // Fails only for more than was received.
                let _ = self.receive.flow_control().release_capacity(data.len());
                self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(broken(error)))),
            None => match std::task::ready!(self.receive.poll_trailers(cx)) {
                Ok(Some(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(None) => Poll::Ready(None),
                Err(error) => Poll::Ready(Some(Err(broken(error)))),
            },
        }
    }
}

/// A stream that could not even be opened.
fn refused(error: ::h2::Error) -> Failure {
    let own_fault = !(error.is_remote() || error.is_io() || error.is_go_away());
    if own_fault && error.reason().is_none() {
        return Failure::Stream(TransportError::InvalidRequest("http/2 does not allow it"));
    }
    Failure::Unsent { error: TransportError::Send(Cause::new(error)), connection_over: true }
}

/// What went wrong before the head of the answer.
fn failed(error: ::h2::Error) -> Failure {
    if error.is_remote() && error.is_go_away() {
        let error = TransportError::Send(Cause::new(error));
        return Failure::Unsent { error, connection_over: true };
    }
    if error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM) {
        let error = TransportError::Send(Cause::new(error));
        return Failure::Unsent { error, connection_over: false };
    }
    if error.is_io() {
        return Failure::ConnectionBroke(TransportError::Send(Cause::new(error)));
    }
    if error.is_remote() {
        return Failure::Stream(TransportError::Send(Cause::new(error)));
    }
    Failure::Stream(TransportError::InvalidAnswer(Cause::new(error)))
}

/// What went wrong inside the answer's body.
fn broken(error: ::h2::Error) -> TransportError {
    if error.is_io() || error.is_remote() {
        TransportError::ClosedEarly(Cause::new(error))
    } else {
        TransportError::InvalidAnswer(Cause::new(error))
    }
}
