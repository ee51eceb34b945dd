mod answers;
mod core;
#[cfg(feature = "test-util")]
mod events;
mod layers;
mod sockets;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use ::http::{HeaderMap, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Semaphore;
use tower_service::Service;

use super::*;
use crate::intake::{Origin, Rejected};
use crate::pipeline::{PhaseContext, PhaseError, PipelineConfig, phase_fn};
use crate::{Intent, IntentPipeline, PhaseConfig, Priority};

type Pipeline = IntentPipeline<String, usize>;

/// A document a line: `key`, or `key@generation`, or `#kind` for what is no intent, or `!` for what
/// is wrong. The line is the payload and the content.
fn lines(bytes: &[u8], _: &Origin) -> Vec<Result<Intent<String>, Rejected>> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return vec![Err(Rejected::invalid("", "UTF-8"))];
    };
    let one = |line: &str| {
        if let Some(kind) = line.strip_prefix('#') {
            return Err(Rejected::skipped(kind));
        }
        if line.starts_with('!') {
            return Err(Rejected::invalid("/spec/replicas", "1 to 100"));
        }
        assert!(line != "panic", "as it was told to");
        let (key, generation) = line.split_once('@').unwrap_or((line, ""));
        let intent = Intent::new(key.to_owned(), line.to_owned());
        let content = line.bytes().map(u128::from).sum();
        Ok(match generation.trim_end_matches('\'').parse() {
            Ok(generation) => intent.generation(generation).content(content),
            Err(_) => intent,
        })
    };
    text.lines().map(one).collect()
}

/// Three phases; the middle one takes a permit of the returned semaphore for each attempt. A payload
/// that begins with `fail` fails there.
fn gated(config: PipelineConfig) -> (Pipeline, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let wait = phase_fn(move |text: &String, _: &PhaseContext| {
        let (held, text) = (Arc::clone(&held), text.clone());
        async move {
            held.acquire().await.unwrap().forget();
            match text.starts_with("fail") {
                true => Err(PhaseError::permanent("there is no cell")),
                false => Ok(text),
            }
        }
    });
    let pipeline = IntentPipeline::builder::<String>(config)
        .phase(
            "parse",
            PhaseConfig::local(),
            phase_fn(|text: &String, _: &PhaseContext| {
                let text = text.clone();
                async move { Ok(text) }
            }),
        )
        .phase("apply", PhaseConfig::remote(), wait)
        .phase(
            "check",
            PhaseConfig::local(),
            phase_fn(|text: &String, _: &PhaseContext| {
                let length = text.len();
                async move { Ok(length) }
            }),
        )
        .build()
        .unwrap();
    (pipeline, gate)
}

/// One that waits for nothing.
fn open() -> Pipeline {
    let (pipeline, gate) = gated(PipelineConfig::default());
    gate.add_permits(Semaphore::MAX_PERMITS / 2);
    pipeline
}

fn unlimited() -> HttpIntakeConfig {
    HttpIntakeConfig::default().with_rate(None).with_bind(Bind::Loopback(0))
}

fn intake(pipeline: &Pipeline) -> HttpIntake {
    HttpIntake::builder(unlimited(), pipeline, lines).build().unwrap()
}

fn request(method: &str, path: &str, body: &str) -> Request<Full<Bytes>> {
    Request::builder().method(method).uri(path).body(Full::from(body.to_owned())).unwrap()
}

fn post(body: &str) -> Request<Full<Bytes>> {
    request("POST", "/intent", body)
}

fn get(path: &str) -> Request<Full<Bytes>> {
    request("GET", path, "")
}

fn with(
    mut request: Request<Full<Bytes>>,
    name: &'static str,
    value: &str,
) -> Request<Full<Bytes>> {
    request.headers_mut().append(name, value.parse().unwrap());
    request
}

/// An answer, read.
#[derive(Debug)]
struct Said {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Said {
    async fn of(response: Response<IntakeBody>) -> Self {
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body =
            if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Self { status: head.status, headers: head.headers, body }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The word at the end of a problem's type, after a look at the rest of it.
    fn problem(&self) -> &str {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(self.body["status"], self.status.as_u16());
        assert!(self.body["title"].is_string() && self.body["detail"].is_string(), "{self:?}");
        self.body["type"].as_str().unwrap().strip_prefix("urn:headworks:intake:").unwrap()
    }

    fn id(&self) -> String {
        assert_eq!(self.status, StatusCode::ACCEPTED, "{self:?}");
        self.body["id"].as_str().unwrap().to_owned()
    }
}

async fn ask(intake: &HttpIntake, request: Request<Full<Bytes>>) -> Said {
    Said::of(intake.service().call(request).await.unwrap()).await
}

/// Until its ticket has ended.
async fn end_of(intake: &HttpIntake, id: &str) -> Value {
    loop {
        let said = ask(intake, get(&format!("/intent/{id}"))).await;
        assert_eq!(said.status, StatusCode::OK);
        if said.body["state"] == "ended" {
            return said.body;
        }
        tokio::task::yield_now().await;
    }
}

fn poll<T>(future: &mut Pin<Box<impl Future<Output = T> + ?Sized>>) -> Poll<T> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}
