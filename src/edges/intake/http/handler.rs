//! The innermost: who asks, and what is answered.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, LOCATION};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError};
use serde::Serialize;
use tokio::sync::SemaphorePermit;
use tower_service::Service;

use super::backend::{Backend, Documents, readiness};
use super::bearer::{Bearer, Caller, Denied};
use super::body::IntakeBody;
use super::core::{Begun, Id, KeyName, Route, bearer_token, media_type};
use super::events::{Events, Said, Teller};
use super::layers::size::Incoming;
use super::problem::{Kind, Problem};
use super::state::State;
use super::ticket::Filed;
use crate::Reason;
use crate::ground::time;
use crate::intake::Origin;

/// What a future of this room's services comes to: they never fail, they answer.
pub(super) type Answer = std::pin::Pin<
    Box<dyn Future<Output = Result<Response<IntakeBody>, std::convert::Infallible>> + Send>,
>;

#[derive(Clone)]
pub(super) struct Handler(Arc<Desk>);

/// What answers need.
pub(super) struct Desk {
    pub(super) state: Arc<State>,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) bearer: Option<Arc<dyn Bearer>>,
    pub(super) phases: Arc<[&'static str]>,
}

impl Handler {
    pub(super) fn new(desk: Arc<Desk>) -> Self {
        Self(desk)
    }
}

impl Service<Request<Incoming>> for Handler {
    type Response = Response<IntakeBody>;
    type Error = std::convert::Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Answer {
        let desk = Arc::clone(&self.0);
        Box::pin(async move { Ok(desk.answer(request).await.unwrap_or_else(|p| p.response())) })
    }
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

impl Desk {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<IntakeBody>, Problem> {
        let Some(route) = Route::of(request.uri().path()) else {
            return Err(Problem::new(Kind::NotFound, "there is nothing at this path"));
        };
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        match route {
            Route::Submit if request.method() != Method::POST => {
                return Err(Problem::allow("POST"));
            }
            Route::Submit => {}
            _ if !is_read => return Err(Problem::allow("GET, HEAD")),
            _ => {}
        }
        if route.is_probe() {
            return self.probe(route);
        }
        let Caller { tenant } = self.caller(request.headers()).await?;
        match route {
            Route::Ticket(id) => Ok(self.ticket(id, &tenant)?),
            Route::Events(id) => Ok(self.events(id, &tenant)?),
            _ => self.submit(request, tenant).await,
        }
    }

    async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let Some(bearer) = &self.bearer else { return Ok(Caller::new("")) };
        let mut fields = headers.get_all(AUTHORIZATION).iter();
        let token = match (fields.next(), fields.next()) {
            (Some(only), None) => bearer_token(only.as_bytes()),
            _ => None,
        };
        let unknown = "a bearer token is needed that somebody here knows";
        let Some(token) = token else { return Err(Problem::new(Kind::Unauthorized, unknown)) };
        let until = time::later(time::now(), self.state.config.answer_timeout);
        let Some(caller) = time::until(until, bearer.caller(token)).await else {
            return Err(Problem::busy("nobody has said in time whose token this is"));
        };
        caller.map_err(|denied| match denied {
            Denied::Unknown => Problem::new(Kind::Unauthorized, unknown),
            Denied::Forbidden => Problem::new(Kind::Forbidden, "this token is not for that"),
            Denied::Unavailable { retry_after } => {
                Problem::busy("nobody can tell whose token this is").after(retry_after)
            }
        })
    }

    /// What is known for a tenth of a second is not asked again: a look at the pipeline walks over
    /// everything live.
    pub(super) fn probe(&self, route: Route) -> Result<Response<IntakeBody>, Problem> {
        const KNOWN_FOR: Duration = Duration::from_millis(100);
        if route == Route::Healthz {
            return Ok(json(StatusCode::OK, &Plain { status: "ok" }));
        }
        let now = time::now();
        let known = self
            .state
            .ready
            .lock()
            .filter(|(at, _)| now.saturating_duration_since(*at) < KNOWN_FOR);
        let ready = match known {
            _ if self.state.closing.is_cancelled() => Err("the intake is closed"),
            Some((_, ready)) => ready,
            None => {
                let ready = readiness(&self.backend.snapshot(), self.state.config.ready_ratio);
                *self.state.ready.lock() = Some((now, ready));
                ready
            }
        };
        ready
            .map(|()| json(StatusCode::OK, &Plain { status: "ready" }))
            .map_err(|why| Problem::new(Kind::NotReady, why).after(Duration::from_secs(1)))
    }

    fn find(&self, id: Id, tenant: &str) -> Result<Arc<Filed>, Problem> {
        let unknown = || Problem::new(Kind::UnknownTicket, "no such ticket, or not any more");
        self.state.ticket(id, tenant).ok_or_else(unknown)
    }

    fn ticket(&self, id: Id, tenant: &str) -> Result<Response<IntakeBody>, Problem> {
        let filed = self.find(id, tenant)?;
        // Looked at first: it may end in between, and then this one is not for keeping.
        let is_final = filed.ended.initialized();
        let mut response = whole(StatusCode::OK, filed.status());
        if let Some(cache_for) = self.state.config.cache_for.filter(|_| is_final) {
            let age = format!("private, max-age={}", cache_for.as_secs());
            if let Ok(age) = HeaderValue::try_from(age) {
                response.headers_mut().insert(CACHE_CONTROL, age);
            }
        }
        Ok(response)
    }

    fn events(&self, id: Id, tenant: &str) -> Result<Response<IntakeBody>, Problem> {
        let filed = self.find(id, tenant)?;
        let Ok(place) = Arc::clone(&self.state.streams).try_acquire_owned() else {
            return Err(Problem::busy("too many event streams are open"));
        };
        let teller = Teller {
            progress: filed.progress.clone(),
            ticket: filed,
            phases: Arc::clone(&self.phases),
            heartbeat: self.state.config.heartbeat,
            closing: self.state.closing.clone(),
            said: Said::default(),
            _place: place,
        };
        let mut response = Response::new(IntakeBody::events(Events::new(teller)));
        let kind = HeaderValue::from_static("text/event-stream");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        Ok(response)
    }

    async fn submit(
        &self,
        request: Request<Incoming>,
        tenant: Arc<str>,
    ) -> Result<Response<IntakeBody>, Problem> {
        if self.state.closing.is_cancelled() {
            return Err(Problem::new(Kind::Refused(Reason::Closed), "the intake is closed"));
        }
        let (head, body) = request.into_parts();
        let key = idempotency_key(&head.headers)?;
        let claimed = head.headers.get(CONTENT_TYPE);
        let media_type = claimed.and_then(|field| media_type(field.as_bytes()));
        let bytes = self.read(body).await?;
        drop(head);
        let (documents, is_replay) = match key {
            None => (Arc::new(self.decode(&tenant, &bytes, media_type)?), false),
            Some(key) => self.once(KeyName { tenant, key }, &bytes, media_type)?,
        };
        // Not kept while the disk is waited for.
        drop(bytes);
        if is_replay {
            self.state.metrics.replayed.add(1);
        }
        let saved = self.saved(&documents).await;
        let mut response = answered(&saved);
        if is_replay {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        Ok(response)
    }

    /// The whole body, within its time.
    async fn read(&self, body: Incoming) -> Result<Bytes, Problem> {
        let until = time::later(time::now(), self.state.config.body_timeout);
        let read = pin!(self.collected(body));
        let late = || Err(Problem::new(Kind::BodyTimeout, "the body took too long"));
        time::until(until, read).await.unwrap_or_else(late)
    }

    /// What comes is counted as it comes, and copied: a client that says much and sends little holds
    /// no room, and pieces of a byte hold no more than what they say.
    async fn collected(&self, mut body: Incoming) -> Result<Bytes, Problem> {
        let mut whole = BytesMut::new();
        let mut room = None::<SemaphorePermit<'_>>;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| match error.is::<LengthLimitError>() {
                true => self.too_large(),
                false => Problem::new(Kind::BadRequest, "the body can't be read"),
            })?;
            let Ok(data) = frame.into_data() else { continue };
            let held = room.as_ref().map_or(0, SemaphorePermit::num_permits);
            let kilobytes = (whole.len() + data.len()).div_ceil(1 << 10).saturating_sub(held);
            let more = u32::try_from(kilobytes).unwrap_or(u32::MAX);
            let Ok(more) = self.state.bodies.try_acquire_many(more) else {
                return Err(Problem::busy("too much is being read"));
            };
            match &mut room {
                Some(room) => room.merge(more),
                None => room = Some(more),
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    }

    fn too_large(&self) -> Problem {
        super::layers::size::too_large(self.state.config.body_bytes)
    }

    fn decode(
        &self,
        tenant: &Arc<str>,
        bytes: &[u8],
        media_type: Option<String>,
    ) -> Result<Documents, Problem> {
        let origin = Origin::Request { media_type, tenant: Arc::clone(tenant) };
        self.backend.submit(&self.state, tenant, bytes, &origin)
    }

    /// The documents of a request that may have come before; whether it had.
    fn once(
        &self,
        name: KeyName,
        bytes: &[u8],
        media_type: Option<String>,
    ) -> Result<(Arc<Documents>, bool), Problem> {
        let body = self.state.secret_hash(&(&media_type, bytes));
        let begun = {
            let mut keys = self.state.keys.lock();
            keys.forget_if(&name, |documents| is_void(documents));
            keys.begin(&name, body, time::now())
        };
        let number = match begun {
            Begun::New(number) => number,
            Begun::Again(documents) => return Ok((documents, true)),
            Begun::OtherBody => {
                let detail = "this idempotency key came with another body before";
                return Err(Problem::new(Kind::KeyReused, detail));
            }
            Begun::InUse => {
                let detail = "a request with this idempotency key is being worked on";
                let problem = Problem::new(Kind::KeyInUse, detail);
                return Err(problem.after(Duration::from_secs(1)));
            }
            Begun::Full => return Err(Problem::busy("too many idempotency keys are in use")),
        };
        // Released however this ends, a panic of the decoder's included.
        let claim = Claim { state: &self.state, name: &name, number };
        let documents = Arc::new(self.decode(&name.tenant, bytes, media_type)?);
        // What was refused as a whole may come again under its key.
        if documents.iter().any(Result::is_ok) {
            claim.keep(&documents);
        }
        Ok((documents, false))
    }

    /// The documents once they are on disk, or will not be.
    async fn saved(&self, documents: &Documents) -> Documents {
        let until = time::later(time::now(), self.state.config.answer_timeout);
        let mut saved = Vec::with_capacity(documents.len());
        for document in documents {
            saved.push(match document {
                Err(problem) => Err(problem.clone()),
                Ok(filed) => match time::until(until, filed.saved.wait()).await {
                    Some(true) => Ok(Arc::clone(filed)),
                    known => Err(not_saved(known.is_some()).with_ticket(filed.id.to_string())),
                },
            });
        }
        saved
    }
}

/// Nothing of it could be kept on disk, so all of it has ended: it may come again.
fn is_void(documents: &Documents) -> bool {
    let counts = |filed: &Arc<Filed>| filed.saved.get() != Some(&false);
    !documents.iter().flatten().any(counts)
}

fn not_saved(is_known: bool) -> Problem {
    let known = "it could not be kept on disk";
    let unknown = "it was accepted, and is not on disk yet: its ticket will tell";
    let detail = if is_known { known } else { unknown };
    Problem::new(Kind::Refused(Reason::NotPersisted), detail).after(Duration::from_secs(1))
}

/// A key that is being worked on.
struct Claim<'a> {
    state: &'a State,
    name: &'a KeyName,
    number: u64,
}

impl Claim<'_> {
    fn keep(&self, documents: &Arc<Documents>) {
        let (kept, weight) = (Arc::clone(documents), documents.len());
        let now = time::now();
        let forgotten = self.state.keys.lock().keep(self.name, self.number, kept, weight, now);
        drop(forgotten);
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.state.keys.lock().release(self.name, self.number);
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<Arc<str>>, Problem> {
    let mut fields = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(field) = fields.next() else { return Ok(None) };
    let is_key = fields.next().is_none() && KeyName::is_key(field.as_bytes());
    match field.to_str() {
        Ok(key) if is_key => Ok(Some(Arc::from(key))),
        _ => {
            let detail = "Idempotency-Key is one field of 1 to 255 visible ASCII characters";
            Err(Problem::new(Kind::BadRequest, detail))
        }
    }
}

#[derive(Serialize)]
struct Plain {
    status: &'static str,
}

/// One document in an answer.
#[derive(Serialize)]
#[serde(untagged)]
enum Told<'a> {
    Accepted {
        id: String,
        key: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        generation: Option<u64>,
        href: String,
    },
    Problem(&'a Problem),
}

#[derive(Serialize)]
struct Several<'a> {
    #[serde(flatten)]
    problem: Option<&'a Problem>,
    documents: Vec<Told<'a>>,
}

impl<'a> Told<'a> {
    fn of(document: &'a Result<Arc<Filed>, Problem>) -> Self {
        match document {
            Ok(filed) => Self::Accepted {
                id: filed.id.to_string(),
                key: &filed.key,
                generation: filed.generation,
                href: href(filed.id),
            },
            Err(problem) => Self::Problem(problem),
        }
    }
}

/// Relative to `…/intent`, so that it holds below any prefix.
fn href(id: Id) -> String {
    format!("intent/{id}")
}

/// 202 if anything was accepted; a problem if nothing was, the first one.
fn answered(documents: &Documents) -> Response<IntakeBody> {
    if let [one] = &documents[..] {
        return match one {
            Ok(filed) => {
                let mut response = json(StatusCode::ACCEPTED, &Told::of(one));
                if let Ok(location) = HeaderValue::try_from(href(filed.id)) {
                    response.headers_mut().insert(LOCATION, location);
                }
                response
            }
            Err(problem) => problem.response(),
        };
    }
    let first = documents.iter().find_map(|document| document.as_ref().err());
    let problem = first.filter(|_| documents.iter().all(Result::is_err));
    let told = Several { problem, documents: documents.iter().map(Told::of).collect() };
    match problem {
        Some(problem) => problem.response_with(&told),
        None => json(StatusCode::ACCEPTED, &told),
    }
}

fn json(status: StatusCode, document: &impl Serialize) -> Response<IntakeBody> {
    whole(status, serde_json::to_vec(document).unwrap_or_default())
}

fn whole(status: StatusCode, bytes: Vec<u8>) -> Response<IntakeBody> {
    let mut response = Response::new(IntakeBody::whole(Bytes::from(bytes)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
