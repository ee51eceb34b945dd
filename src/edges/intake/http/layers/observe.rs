//! Answers that will not change, given again.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AGE, AUTHORIZATION, CACHE_CONTROL, DATE, HeaderName, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};

use crate::Cache;
use crate::cache::CacheConfig;
use crate::ground::time::Instant;
use crate::intake::http::body::IntakeBody;
use crate::intake::http::config::HttpIntakeConfig;
use crate::intake::http::core::{Id, Route};
use crate::intake::http::state::State;

/// Whose answer it is: of this ticket, to whoever has this token, in a page of this origin. Of the
/// last two only a hash is kept, under keys that nobody else knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::edges::intake::http) struct Asked {
    id: Id,
    who: u128,
}

/// An answer to be given again.
#[derive(Debug)]
struct Kept {
    headers: HeaderMap,
    body: Bytes,
    at: Instant,
}

/// What tickets have come to, for those who have just asked.
pub(in crate::edges::intake::http) struct Answers(Option<Cache<Asked, Arc<Kept>>>);

impl Answers {
    pub(in crate::edges::intake::http) fn new(
        config: &HttpIntakeConfig,
    ) -> Result<Self, crate::ConfigError> {
        let Some(cache_for) = config.cache_for else { return Ok(Self(None)) };
        // No need to outlive the tickets, nor to be as many.
        let capacity = config.ended_tickets.clamp(1, 4_096) as u64;
        let cache = CacheConfig::default()
            .with_name(config.name.clone())
            .with_capacity(capacity)
            .with_ttl(Some(cache_for.min(config.ended_for)));
        Cache::new(cache).map(Some).map(Self)
    }

    /// What a request asks for, if its answer may be one that is kept.
    pub(in crate::edges::intake::http) fn asked<B>(
        &self,
        request: &Request<B>,
        route: Option<Route>,
        state: &State,
    ) -> Option<Asked> {
        self.0.as_ref()?;
        let Some(Route::Ticket(id)) = route.filter(|_| request.method() == Method::GET) else {
            return None;
        };
        let lines = |name: HeaderName| {
            request.headers().get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>()
        };
        let who = state.secret_hash(&(lines(AUTHORIZATION), lines(ORIGIN)));
        Some(Asked { id, who })
    }

    pub(in crate::edges::intake::http) fn get(
        &self,
        asked: Asked,
        now: Instant,
    ) -> Option<Response<IntakeBody>> {
        let kept = self.0.as_ref()?.get(&asked)?;
        let mut response = Response::new(IntakeBody::whole(kept.body.clone()));
        *response.headers_mut() = kept.headers.clone();
        let age = now.saturating_duration_since(kept.at).as_secs();
        response.headers_mut().insert(AGE, HeaderValue::from(age));
        Some(response)
    }

    /// Keeps an answer that says of itself that it may be kept.
    pub(in crate::edges::intake::http) fn keep(
        &self,
        asked: Asked,
        response: &Response<IntakeBody>,
        now: Instant,
    ) {
        let Some(cache) = &self.0 else { return };
        let says_so = response
            .headers()
            .get(CACHE_CONTROL)
            .is_some_and(|value| value.as_bytes().starts_with(b"private, max-age="));
        if response.status() != StatusCode::OK || !says_so {
            return;
        }
        let Some(body) = response.body().bytes() else { return };
        let mut headers = response.headers().clone();
        // Of that moment and that asker's bucket.
        for name in NOT_KEPT {
            headers.remove(name);
        }
        cache.set(asked, Arc::new(Kept { headers, body: body.clone(), at: now }));
    }
}

const NOT_KEPT: [HeaderName; 6] = [
    DATE,
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
    HeaderName::from_static("x-ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-reset"),
];
