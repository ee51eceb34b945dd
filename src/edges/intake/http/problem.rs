//! What went wrong, as RFC 9457 writes it.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::body::IntakeBody;
use crate::intake::Rejected;
use crate::{Reason, Refused};

/// What kind of thing. Its word ends the document's `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    BadRequest,
    Unauthorized,
    Forbidden,
    ForeignOrigin,
    NotFound,
    UnknownTicket,
    MethodNotAllowed,
    HeaderTimeout,
    BodyTimeout,
    KeyInUse,
    BodyTooLarge,
    HeadTooLarge,
    Rejected,
    NotAnIntent,
    NoDocument,
    TooManyDocuments,
    KeyReused,
    TooManyRequests,
    Panicked,
    Busy,
    NotReady,
    Refused(Reason),
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::ForeignOrigin => "foreign-origin",
            Self::NotFound => "not-found",
            Self::UnknownTicket => "unknown-ticket",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::HeaderTimeout => "header-timeout",
            Self::BodyTimeout => "body-timeout",
            Self::KeyInUse => "idempotency-key-in-use",
            Self::BodyTooLarge => "body-too-large",
            Self::HeadTooLarge => "head-too-large",
            Self::Rejected => "rejected",
            Self::NotAnIntent => "not-an-intent",
            Self::NoDocument => "no-document",
            Self::TooManyDocuments => "too-many-documents",
            Self::KeyReused => "idempotency-key-reused",
            Self::TooManyRequests => "too-many-requests",
            Self::Panicked => "internal-error",
            Self::Busy => "busy",
            Self::NotReady => "not-ready",
            Self::Refused(reason) => match reason {
                Reason::QueueFull => "queue-full",
                Reason::RateLimited { .. } => "rate-limited",
                Reason::CircuitOpen => "circuit-open",
                Reason::DeadlineInfeasible => "deadline-infeasible",
                Reason::TooLarge => "too-large",
                Reason::Conflict => "conflict",
                Reason::Stale => "stale",
                Reason::Evicted => "evicted",
                Reason::Expired => "expired",
                Reason::Paused => "paused",
                Reason::NotPersisted => "not-persisted",
                Reason::Closed => "closed",
            },
        }
    }

    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden | Self::ForeignOrigin => StatusCode::FORBIDDEN,
            Self::NotFound | Self::UnknownTicket => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::HeaderTimeout | Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::KeyInUse | Self::Refused(Reason::Conflict | Reason::Stale) => {
                StatusCode::CONFLICT
            }
            Self::BodyTooLarge | Self::Refused(Reason::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Rejected
            | Self::NotAnIntent
            | Self::NoDocument
            | Self::TooManyDocuments
            | Self::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooManyRequests | Self::Refused(Reason::RateLimited { .. }) => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Busy | Self::NotReady | Self::Refused(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// What went wrong with a request, or with one document of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) kind: Kind,
    detail: Cow<'static, str>,
    /// Where in the document.
    pointer: Option<String>,
    retry_after: Option<Duration>,
    /// The ticket that was given nevertheless.
    ticket: Option<String>,
    allow: Option<&'static str>,
}

/// Texts that come from elsewhere end here.
pub(super) const LONGEST_TEXT: usize = 1_024;

/// Nobody is sent away for longer.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

impl Problem {
    pub(super) fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        let detail = shortened(detail.into());
        Self { kind, detail, pointer: None, retry_after: None, ticket: None, allow: None }
    }

    pub(super) fn after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }

    pub(super) fn with_ticket(self, ticket: String) -> Self {
        Self { ticket: Some(ticket), ..self }
    }

    pub(super) fn allow(methods: &'static str) -> Self {
        let problem = Self::new(Kind::MethodNotAllowed, format!("only {methods} here"));
        Self { allow: Some(methods), ..problem }
    }

    pub(super) fn busy(detail: &'static str) -> Self {
        Self::new(Kind::Busy, detail).after(Duration::from_secs(1))
    }

    /// What the pipeline did not accept.
    pub(super) fn refused<T>(refused: &Refused<T>) -> Self {
        let reason = refused.reason();
        let problem = Self::new(Kind::Refused(reason), reason.to_string());
        // It may be accepted later, and nobody knows when: soon enough to be of use, and no storm.
        let unknown = Some(Duration::from_secs(1)).filter(|_| reason.is_retryable());
        Self { retry_after: refused.retry_after().or(unknown), ..problem }
    }

    /// What the operator's decoder said.
    pub(super) fn rejected(rejected: Rejected) -> Self {
        match rejected {
            Rejected::Invalid { pointer, rule } => {
                let pointer = shortened(pointer.into()).into_owned();
                Self { pointer: Some(pointer), ..Self::new(Kind::Rejected, rule) }
            }
            Rejected::Skipped { kind } => {
                Self::new(Kind::NotAnIntent, format!("it is no intent: {kind}"))
            }
        }
    }

    /// Whole seconds, rounded up, at least one.
    pub(super) fn retry_after_s(&self) -> Option<u64> {
        let after = self.retry_after?.min(LONGEST_WAIT);
        Some((after.as_secs() + u64::from(after.subsec_nanos() > 0)).max(1))
    }

    pub(super) fn response(&self) -> Response<IntakeBody> {
        self.response_with(self)
    }

    /// With this instead of itself as the document.
    pub(super) fn response_with(&self, document: &impl Serialize) -> Response<IntakeBody> {
        let bytes = serde_json::to_vec(document).unwrap_or_default();
        let mut response = Response::new(IntakeBody::whole(Bytes::from(bytes)));
        *response.status_mut() = self.kind.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(Self::MEDIA_TYPE));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_s() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(methods) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(methods));
        }
        if self.kind == Kind::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }

    /// As a whole answer on a connection that nobody answers on any more.
    pub(super) fn on_the_wire(&self) -> Vec<u8> {
        let body = serde_json::to_vec(self).unwrap_or_default();
        let retry = self.retry_after_s().map(|seconds| format!("retry-after: {seconds}\r\n"));
        let head = format!(
            "HTTP/1.1 {}\r\ncontent-type: {}\r\ncache-control: no-store\r\n{}content-length: {}\r\nconnection: close\r\n\r\n",
            self.kind.status(),
            Self::MEDIA_TYPE,
            retry.unwrap_or_default(),
            body.len(),
        );
        [head.into_bytes(), body].concat()
    }

    pub(super) const MEDIA_TYPE: &'static str = "application/problem+json";
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let status = self.kind.status();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &format_args!("urn:headworks:intake:{}", self.kind.word()))?;
        map.serialize_entry("title", status.canonical_reason().unwrap_or_default())?;
        map.serialize_entry("status", &status.as_u16())?;
        map.serialize_entry("detail", &self.detail)?;
        if let Some(pointer) = &self.pointer {
            map.serialize_entry("pointer", pointer)?;
        }
        if let Some(seconds) = self.retry_after_s() {
            map.serialize_entry("retry_after_s", &seconds)?;
        }
        if let Some(ticket) = &self.ticket {
            map.serialize_entry("ticket", ticket)?;
        }
        map.end()
    }
}

/// At most so many bytes of it.
fn shortened(text: Cow<'static, str>) -> Cow<'static, str> {
    if text.len() <= LONGEST_TEXT {
        return text;
    }
    let end = (0..=LONGEST_TEXT).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    Cow::Owned(format!("{}…", &text[..end]))
}
