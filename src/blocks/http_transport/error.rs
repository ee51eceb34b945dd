//! What a request can end with, phase by phase.

use std::error::Error as StdError;
use std::fmt;
use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use crate::circuit_breaker::CircuitOpen;
use crate::ground::outcome::{Classify, Outcome, RetryClass, Verdict};
use crate::retry::RetryError;

/// Why a request got no answer, or not a whole one. One variant per phase and cause.
///
/// [`is_retryable`](Self::is_retryable) says whether the same request may go better later, and
/// [`outcome`](Self::outcome) what it says about the backend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The URL is not an absolute one with a host, or carries credentials.
    #[error("invalid url: {0}")]
    InvalidUrl(&'static str),
    /// Neither `http` nor `https`, or `https` without the feature `tls`.
    #[error("unsupported scheme: {0}")]
    UnsupportedScheme(&'static str),
    /// The request can't be sent as it is.
    #[error("invalid request: {0}")]
    InvalidRequest(&'static str),
    /// No connection came free in time.
    #[error("no connection came free in time")]
    PoolWaitTimeout,
    /// The host's waiting room is full for this class.
    #[error("too many requests wait for this host")]
    PoolFull,
    /// Every known host has connections or waiters, and there is no room for another.
    #[error("too many hosts at once")]
    TooManyHosts,
    /// Name lookup or connecting failed.
    #[error("could not connect to {host}")]
    Dial {
        /// Scheme, host and port; never credentials or a path.
        host: Box<str>,
        /// What went wrong.
        #[source]
        cause: Cause,
    },
    /// Name lookup and connecting took too long.
    #[error("connecting to {host} took too long")]
    DialTimeout {
        /// Scheme, host and port; never credentials or a path.
        host: Box<str>,
    },
    /// Looking the proxy's name up, or connecting to it, failed.
    #[error("could not connect to the proxy {proxy}")]
    ProxyDial {
        /// Scheme, host and port; never credentials.
        proxy: Box<str>,
        /// What went wrong.
        #[source]
        cause: Cause,
    },
    /// Connecting to the proxy took too long, or waiting for the tunnel it was asked for.
    #[error("the proxy {proxy} took too long")]
    ProxyTimeout {
        /// Scheme, host and port; never credentials.
        proxy: Box<str>,
    },
    /// The proxy was asked for a tunnel and answered something else than a 2xx: 407 when it wants
    /// other credentials, 403 when it must not, 502 to 504 when it can't reach the host.
    ///
    /// What a proxy says to a request to an `http` host is that request's answer.
    #[error("the proxy {proxy} answered {status} when asked for a tunnel")]
    ProxyRefused {
        /// Scheme, host and port; never credentials.
        proxy: Box<str>,
        /// What it answered.
        status: StatusCode,
    },
    /// The proxy was asked for a tunnel and answered no HTTP, too much of it, or nothing.
    #[error("the proxy {proxy} gave no answer that could be understood")]
    ProxyAnswer {
        /// Scheme, host and port; never credentials.
        proxy: Box<str>,
        /// What went wrong.
        #[source]
        cause: Cause,
    },
    /// The TLS handshake failed.
    #[cfg(feature = "tls")]
    #[error("the tls handshake with {host} failed: {failure}")]
    Tls {
        /// Scheme, host and port, of the host or of an `https` proxy; never credentials or a path.
        host: Box<str>,
        /// What was wrong.
        failure: TlsFailure,
        /// What went wrong.
        #[source]
        cause: Cause,
    },
    /// The TLS handshake took too long.
    #[cfg(feature = "tls")]
    #[error("the tls handshake with {host} took too long")]
    TlsTimeout {
        /// Scheme, host and port; never credentials or a path.
        host: Box<str>,
    },
    /// The connection broke before the answer's header was complete.
    #[error("sending the request failed")]
    Send(#[source] Cause),
    /// The stream that was to be the request's body failed.
    #[error("the request's body failed")]
    RequestBody(#[source] Cause),
    /// What came back is not HTTP. Over HTTP/2 also a header of four times `max_header_bytes`
    /// and more: of those it is only known that they were not taken.
    #[error("the answer is not http")]
    InvalidAnswer(#[source] Cause),
    /// The answer's header is larger than `max_header_bytes`.
    #[error("the answer's header is too large")]
    HeaderTooLarge,
    /// The answer's header did not come in time.
    #[error("the answer's header did not come in time")]
    HeaderTimeout,
    /// The answer's body stood still for too long.
    #[error("the answer's body stood still for too long")]
    BodyIdleTimeout,
    /// The transport is closed, or was while the request was under way and out of time.
    #[error("the transport is closed")]
    Closed,
    /// The host's circuit is open: nothing was sent.
    #[error("the circuit of {host} is open")]
    CircuitOpen {
        /// Scheme, host and port; never credentials or a path.
        host: Box<str>,
        /// When another request has a chance.
        #[source]
        open: CircuitOpen,
    },
    /// There were several attempts, or none made sense any more for another reason than the error
    /// itself: it holds the reason, and how the last attempt failed.
    #[error(transparent)]
    GaveUp(Box<RetryError<TransportError>>),
    /// The answer ended before its body was complete.
    #[error("the answer ended early")]
    ClosedEarly(#[source] Cause),
    /// The answer's body is larger than the reader allowed.
    #[error("the answer's body is larger than {limit_bytes} bytes")]
    BodyTooLarge {
        /// The limit that was given.
        limit_bytes: usize,
    },
    /// The answer's body is not what its `Content-Encoding` says, or ends in the midst of it.
    #[cfg(feature = "compression")]
    #[error("the answer can't be decoded")]
    Undecodable {
        /// Whether it ended too early.
        truncated: bool,
        /// What the decoder said.
        #[source]
        cause: Cause,
    },
    /// Decoded, the answer's body is larger than [`Decoding::max_bytes`](super::Decoding::max_bytes).
    #[cfg(feature = "compression")]
    #[error("decoded, the answer's body is larger than {limit_bytes} bytes")]
    DecodedTooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// More comes out of the answer's body than
    /// [`Decoding::max_expansion`](super::Decoding::max_expansion) allows.
    #[cfg(feature = "compression")]
    #[error("the answer's body expands to more than {max_expansion} times its size")]
    ExpandsTooMuch {
        /// The limit.
        max_expansion: u32,
    },
    /// The whole took longer than `total_timeout`.
    #[error("the request took too long in all; it was in its {phase} phase")]
    TotalTimeout {
        /// Where it stood.
        phase: Phase,
    },
    /// The value can't be written as JSON.
    #[cfg(feature = "json")]
    #[error("the value can't be written as json")]
    JsonEncode(#[source] Cause),
    /// The answer is not the JSON that was expected.
    #[cfg(feature = "json")]
    #[error("the answer is not the expected json")]
    JsonDecode {
        /// Whether the answer was cut short, empty or no JSON at all (may go better next time), or
        /// well-formed JSON of the wrong shape.
        malformed: bool,
        /// What the parser said.
        #[source]
        cause: Cause,
    },
    /// `post_json`: the backend answered, but not with a 2xx.
    #[error("the backend answered {status}")]
    Status {
        /// What it answered.
        status: StatusCode,
        /// Its `Retry-After`, at most 1 h.
        retry_after: Option<Duration>,
        /// The first 1,024 bytes of its body at most. From outside: not to be trusted.
        body: Bytes,
    },
}

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Waiting for a connection.
    PoolWait,
    /// Looking the name up and connecting.
    Dial,
    /// The TLS handshake.
    Tls,
    /// Sending, and waiting for the answer's header.
    Header,
    /// Reading the answer's body.
    Body,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PoolWait => "pool wait",
            Self::Dial => "dial",
            Self::Tls => "tls",
            Self::Header => "header",
            Self::Body => "body",
        })
    }
}

/// What was wrong in a TLS handshake.
#[cfg(feature = "tls")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TlsFailure {
    /// A certificate of the chain is past its end.
    Expired,
    /// A certificate of the chain is not valid yet.
    NotYetValid,
    /// The certificate is another host's.
    WrongHost,
    /// Nobody who is trusted vouches for it: an unknown root, or a link of the chain is missing.
    UnknownIssuer,
    /// What the server shows as its own is an authority's certificate: the chain is in the wrong
    /// order, or it vouches for itself.
    AuthorityAsServer,
    /// Who vouches for it is no authority, or not for this name or depth.
    NotAnAuthority,
    /// It is not signed by who is said to have signed it.
    BadSignature,
    /// It was revoked.
    Revoked,
    /// It is not meant for servers.
    WrongPurpose,
    /// Something else is wrong with a certificate.
    BadCertificate,
    /// No version of TLS, cipher or protocol (ALPN) that both sides speak.
    NothingInCommon,
    /// The server refused us: it wants a certificate, or another one.
    RefusedByServer,
    /// What came back is no TLS.
    NotTls,
    /// The connection broke.
    Interrupted,
    /// Anything else.
    Other,
}

#[cfg(feature = "tls")]
impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "a certificate has expired",
            Self::NotYetValid => "a certificate is not valid yet",
            Self::WrongHost => "the certificate is another host's",
            Self::UnknownIssuer => "nobody who is trusted vouches for the certificate",
            Self::AuthorityAsServer => "the server's own certificate is an authority's",
            Self::NotAnAuthority => "who vouches for the certificate is no authority for it",
            Self::BadSignature => "a certificate is signed wrongly",
            Self::Revoked => "a certificate was revoked",
            Self::WrongPurpose => "the certificate is not meant for servers",
            Self::BadCertificate => "something is wrong with a certificate",
            Self::NothingInCommon => "there is no protocol that both sides speak",
            Self::RefusedByServer => "the server refused us",
            Self::NotTls => "what came back is no tls",
            Self::Interrupted => "the connection broke",
            Self::Other => "of something else",
        })
    }
}

/// The error beneath, to be printed: its type is the transport's own business.
#[derive(Debug)]
pub struct Cause(Box<dyn StdError + Send + Sync>);

impl Cause {
    pub(super) fn new(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

impl TransportError {
    /// Whether the same request may go better later.
    ///
    /// It says nothing about whether the backend saw this one: after [`Send`](Self::Send),
    /// [`HeaderTimeout`](Self::HeaderTimeout) and anything about the body it may have, so repeat
    /// only what may happen twice.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::PoolWaitTimeout | Self::PoolFull | Self::TooManyHosts => true,
            Self::Dial { .. } | Self::DialTimeout { .. } => true,
            Self::ProxyDial { .. } | Self::ProxyTimeout { .. } | Self::ProxyAnswer { .. } => true,
            Self::ProxyRefused { status, .. } => may_pass(*status),
            Self::Send(_) => true,
            Self::InvalidAnswer(_) | Self::HeaderTimeout | Self::BodyIdleTimeout => true,
            Self::ClosedEarly(_) | Self::TotalTimeout { .. } => true,
            #[cfg(feature = "tls")]
            Self::TlsTimeout { .. } => true,
            #[cfg(feature = "tls")]
            Self::Tls { failure, .. } => *failure == TlsFailure::Interrupted,
            #[cfg(feature = "json")]
            Self::JsonDecode { malformed, .. } => *malformed,
            #[cfg(feature = "json")]
            Self::JsonEncode(_) => false,
            Self::Status { status, .. } => may_pass(*status),
            Self::InvalidUrl(_) | Self::UnsupportedScheme(_) | Self::InvalidRequest(_) => false,
            Self::RequestBody(_) | Self::HeaderTooLarge | Self::BodyTooLarge { .. } => false,
            Self::Closed => false,
            #[cfg(feature = "compression")]
            Self::Undecodable { .. } => true,
            #[cfg(feature = "compression")]
            Self::DecodedTooLarge { .. } | Self::ExpandsTooMuch { .. } => false,
            Self::CircuitOpen { .. } => true,
            Self::GaveUp(error) => error.verdict().retry() != RetryClass::Stop,
        }
    }

    /// When another attempt makes sense: the backend's `Retry-After`, at most 1 h, or when an open
    /// circuit lets the next request through.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::CircuitOpen { open, .. } => open.retry_after(),
            Self::GaveUp(error) => error.retry_after(),
            _ => None,
        }
    }

    /// What it says about the backend, for a circuit breaker.
    ///
    /// 5xx, 408 and everything that broke on the way is a failure; 429 and the other 4xx are
    /// ignored (the backend works), and so is what never left this process.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Status { status, .. } if status.is_server_error() => Outcome::Failure,
            Self::Status { status: StatusCode::REQUEST_TIMEOUT, .. } => Outcome::Failure,
            Self::Status { .. } => Outcome::Ignored,
            Self::InvalidUrl(_) | Self::UnsupportedScheme(_) | Self::InvalidRequest(_) => {
                Outcome::Ignored
            }
            Self::PoolWaitTimeout | Self::PoolFull | Self::TooManyHosts => Outcome::Ignored,
            Self::Closed | Self::CircuitOpen { .. } => Outcome::Ignored,
            Self::GaveUp(error) => error.verdict().outcome(),
            Self::TotalTimeout { phase: Phase::PoolWait } | Self::RequestBody(_) => {
                Outcome::Ignored
            }
            // The proxy does not let us; nobody asked the backend.
            Self::ProxyRefused { status, .. } if !status.is_server_error() => Outcome::Ignored,
            #[cfg(feature = "json")]
            Self::JsonEncode(_) => Outcome::Ignored,
            _ => Outcome::Failure,
        }
    }
}

impl Classify for TransportError {
    fn verdict(&self) -> Verdict {
        let verdict = match self {
            Self::Status { status, retry_after, .. } => {
                return Verdict::of_status(*status, *retry_after);
            }
            Self::PoolWaitTimeout | Self::PoolFull | Self::TooManyHosts => Verdict::refused(None),
            Self::CircuitOpen { open, .. } => return open.verdict(),
            Self::GaveUp(error) => return error.verdict(),
            Self::TotalTimeout { phase: Phase::PoolWait } => Verdict::refused(None),
            Self::Dial { .. } | Self::DialTimeout { .. } => Verdict::failure().unsent(),
            Self::ProxyDial { .. } | Self::ProxyTimeout { .. } | Self::ProxyAnswer { .. } => {
                Verdict::failure().unsent()
            }
            Self::ProxyRefused { status, .. } if status.is_server_error() => {
                Verdict::failure().unsent()
            }
            #[cfg(feature = "tls")]
            Self::Tls { .. } | Self::TlsTimeout { .. } => Verdict::failure().unsent(),
            _ if self.outcome() == Outcome::Failure => Verdict::failure(),
            _ => Verdict::permanent(),
        };
        if self.is_retryable() { verdict } else { verdict.stop() }
    }
}

/// 408, 425, 429 and the 5xx that aren't about what was asked for (501, 505).
fn may_pass(status: StatusCode) -> bool {
    match status.as_u16() {
        408 | 425 | 429 => true,
        501 | 505 => false,
        code => code >= 500,
    }
}

/// What hyper's error before the end of the answer's header means.
pub(super) fn broken_head(error: hyper::Error) -> TransportError {
    // hyper says `is_parse_too_large` to servers only; a test holds it to this text.
    if error.is_parse() && error.to_string().contains("too large") {
        TransportError::HeaderTooLarge
    } else if error.is_parse() {
        TransportError::InvalidAnswer(Cause::new(error))
    } else if error.is_user() {
        TransportError::RequestBody(Cause::new(error))
    } else {
        TransportError::Send(Cause::new(error))
    }
}

/// What hyper's error inside the answer's body means.
pub(super) fn broken_body(error: hyper::Error) -> TransportError {
    match io_kind(&error) {
        // A chunk's size or end that is none.
        Some(ErrorKind::InvalidData | ErrorKind::InvalidInput) => {
            TransportError::InvalidAnswer(Cause::new(error))
        }
        _ => TransportError::ClosedEarly(Cause::new(error)),
    }
}

fn io_kind(error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return Some(io.kind());
        }
        next = error.source();
    }
    None
}
