//! What is answered to whom, by requests without a socket.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::intake::{JsonDecode, JsonDecodeConfig};
use crate::pipeline::{CheckpointError, Checkpoints, Loaded, MemoryCheckpoints};
use crate::rate_limit::{Quota, TieredQuota};

#[tokio::test]
async fn a_document_has_a_ticket_that_tells_what_became_of_it() {
    let intake = intake(&open());
    let said = ask(&intake, post("cells/one@3")).await;
    let id = said.id();
    assert_eq!(said.header("location"), format!("intent/{id}"));
    assert_eq!((&said.body["key"], &said.body["generation"]), (&"cells/one".into(), &3.into()));
    let ended = end_of(&intake, &id).await;
    assert_eq!((&ended["ending"], &ended["id"]), (&"completed".into(), &said.body["id"]));
    let phases = ended["phases"].as_array().unwrap();
    let names: Vec<_> = phases.iter().map(|phase| phase["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["parse", "apply", "check"]);

    let failed = ask(&intake, post("fail/one")).await.id();
    let ended = end_of(&intake, &failed).await;
    assert_eq!((&ended["ending"], &ended["ended_in"]), (&"failed".into(), &"apply".into()));
    assert!(ended["error"].as_str().unwrap().contains("there is no cell"), "{ended}");
}

#[tokio::test]
async fn a_ticket_says_where_its_run_is() {
    let (pipeline, gate) = gated(PipelineConfig::default());
    let intake = intake(&pipeline);
    let id = ask(&intake, post("cells/one")).await.id();
    let path = format!("/intent/{id}");
    let running = loop {
        let said = ask(&intake, get(&path)).await;
        assert_eq!(said.header("cache-control"), "no-store", "it will change");
        if said.body["phase"] == "apply" {
            break said.body;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((&running["state"], &running["attempt"]), (&"running".into(), &1.into()));
    gate.add_permits(1);
    assert_eq!(end_of(&intake, &id).await["ending"], "completed");
    let said = ask(&intake, request("HEAD", &path, "")).await;
    assert_eq!(
        (said.status, said.header("cache-control")),
        (StatusCode::OK, "private, max-age=10")
    );
}

#[tokio::test]
async fn several_documents_have_a_list() {
    let intake = intake(&open());
    let said = ask(&intake, post("a/1\n!\n#Deployment\nb/2")).await;
    assert_eq!(said.status, StatusCode::ACCEPTED);
    let list = said.body["documents"].as_array().unwrap();
    assert_eq!(list.len(), 4);
    assert_eq!((&list[0]["key"], &list[3]["key"]), (&"a/1".into(), &"b/2".into()));
    assert_eq!((&list[1]["status"], &list[1]["pointer"]), (&422.into(), &"/spec/replicas".into()));
    assert_eq!(list[2]["type"], "urn:headworks:intake:not-an-intent");
    end_of(&intake, list[3]["id"].as_str().unwrap()).await;

    let said = ask(&intake, post("!\n#Deployment")).await;
    assert_eq!((said.status, said.problem()), (StatusCode::UNPROCESSABLE_ENTITY, "rejected"));
    assert_eq!(said.body["documents"].as_array().unwrap().len(), 2);
    let snapshot = intake.snapshot();
    assert_eq!((snapshot.accepted, snapshot.rejected), (2, 4));
}

#[tokio::test]
async fn what_is_no_intent_is_told_so() {
    let intake = intake(&open());
    let long = "a\n".repeat(65);
    for (body, word) in [
        ("", "no-document"),
        ("!", "rejected"),
        ("#Deployment", "not-an-intent"),
        (&long, "too-many-documents"),
    ] {
        let said = ask(&intake, post(body)).await;
        assert_eq!((said.status, said.problem()), (StatusCode::UNPROCESSABLE_ENTITY, word));
    }
    let said = ask(&intake, post("panic")).await;
    assert_eq!(
        (said.status, said.problem()),
        (StatusCode::INTERNAL_SERVER_ERROR, "internal-error")
    );
    assert_eq!(intake.snapshot().panicked, 1);
}

#[tokio::test]
async fn other_paths_and_methods_are_problems() {
    let intake = intake(&open());
    let id = ask(&intake, post("a")).await.id();
    for (method, path, status, word) in [
        ("GET", "/", 404, "not-found"),
        ("GET", "/intent/1", 404, "not-found"),
        ("GET", &format!("/intent/{}", "0".repeat(32)), 404, "unknown-ticket"),
        ("GET", &format!("/intent/{}/events", "0".repeat(32)), 404, "unknown-ticket"),
        ("GET", "/intent", 405, "method-not-allowed"),
        ("DELETE", &format!("/intent/{id}"), 405, "method-not-allowed"),
        ("POST", "/healthz", 405, "method-not-allowed"),
    ] {
        let said = ask(&intake, request(method, path, "")).await;
        assert_eq!((said.status.as_u16(), said.problem()), (status, word), "{method} {path}");
        assert_eq!(said.headers.contains_key("allow"), status == 405);
    }
}

#[tokio::test]
async fn refusals_of_the_pipeline_are_told_as_what_they_are() {
    let config = PipelineConfig::default()
        .with_queue_capacity(1)
        .with_seats(1)
        .with_thresholds(crate::Thresholds::flat(1.0))
        .with_ingress(TieredQuota::default().with_per_key(Quota::per_minute(2)));
    let (pipeline, _gate) = gated(config);
    let intake = intake(&pipeline);
    let refused = async |body: &str| {
        let said = ask(&intake, post(body)).await;
        let after = said.header("retry-after").parse::<u64>().ok();
        assert_eq!(after, said.body["retry_after_s"].as_u64());
        (said.status.as_u16(), said.problem().to_owned(), after.is_some())
    };
    pipeline.pause();
    assert_eq!(refused("a/1@5").await, (503, "paused".to_owned(), true));
    pipeline.resume();
    ask(&intake, post("a/1@5")).await.id();
    assert_eq!(refused("a/1@5'").await, (409, "conflict".to_owned(), false));
    assert_eq!(refused("a/1@4").await, (409, "stale".to_owned(), false));
    while pipeline.snapshot().busy == 0 {
        tokio::task::yield_now().await;
    }
    ask(&intake, post("a/2")).await.id();
    assert_eq!(refused("b/1").await, (503, "queue-full".to_owned(), true));
    pipeline.set_queue_capacity(100).unwrap();
    assert_eq!(refused("a/3").await, (429, "rate-limited".to_owned(), true));
    pipeline.close();
    assert_eq!(refused("b/1").await, (503, "closed".to_owned(), false));
    assert_eq!(intake.snapshot().refused, 6);
}

#[tokio::test]
async fn too_heavy_is_413() {
    let pipeline = open();
    let heavy = |_: &[u8], _: &Origin| {
        vec![Ok(Intent::new("a", String::new()).weight(1_000.try_into().unwrap()))]
    };
    let intake = HttpIntake::builder(unlimited(), &pipeline, heavy).build().unwrap();
    let said = ask(&intake, post("x")).await;
    assert_eq!((said.status, said.problem()), (StatusCode::PAYLOAD_TOO_LARGE, "too-large"));
}

#[tokio::test]
async fn the_decoder_is_told_the_media_type() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sees = Arc::clone(&seen);
    let decode = move |_: &[u8], origin: &Origin| {
        sees.lock().push(origin.clone());
        Vec::<Result<Intent<String>, Rejected>>::new()
    };
    let intake = HttpIntake::builder(unlimited(), &open(), decode).build().unwrap();
    ask(&intake, with(post("x"), "content-type", "Text/Plain; charset=utf-8")).await;
    ask(&intake, post("x")).await;
    let of = |media_type: Option<&str>| Origin::Request {
        media_type: media_type.map(Into::into),
        tenant: "".into(),
    };
    assert_eq!(*seen.lock(), [of(Some("text/plain")), of(None)]);
}

/// So that it can say whose objects these are.
#[tokio::test]
async fn the_decoder_is_told_who_asks() {
    let tokens = StaticTokens::new().with("0123456789abcdef", "red").unwrap();
    let tokens = tokens.with("fedcba9876543210", "blue").unwrap();
    let decode = |bytes: &[u8], origin: &Origin| {
        let Origin::Request { tenant, .. } = origin else { panic!("{origin:?}") };
        let key = String::from_utf8_lossy(bytes).into_owned();
        if key.split('/').next() != Some(tenant) {
            return vec![Err(Rejected::invalid("/namespace", format!("one of {tenant}'s")))];
        }
        vec![Ok(Intent::new(key.clone(), key).tenant(Arc::clone(tenant)))]
    };
    let intake = HttpIntake::builder(unlimited(), &open(), decode).bearer(tokens).build().unwrap();
    let red = |body| with(post(body), "authorization", "Bearer 0123456789abcdef");
    ask(&intake, red("red/1")).await.id();
    let said = ask(&intake, red("blue/1")).await;
    assert_eq!((said.problem(), &said.body["detail"]), ("rejected", &"one of red's".into()));
}

#[tokio::test]
async fn an_idempotency_key_has_one_ticket_among_those_of_its_tenant() {
    let tokens = StaticTokens::new().with("0123456789abcdef", "red").unwrap();
    let tokens = tokens.with("fedcba9876543210", "blue").unwrap();
    let pipeline = open();
    let intake = HttpIntake::builder(unlimited(), &pipeline, lines).bearer(tokens).build().unwrap();
    let send = async |token: &str, body: &str, key: &str| {
        let request = with(post(body), "authorization", &format!("Bearer {token}"));
        ask(&intake, with(request, "idempotency-key", key)).await
    };
    let first = send("0123456789abcdef", "a/1", "k").await;
    let again = send("0123456789abcdef", "a/1", "k").await;
    assert_eq!(again.id(), first.id());
    assert_eq!(
        (first.header("idempotency-replayed"), again.header("idempotency-replayed")),
        ("", "true")
    );
    assert_eq!(again.header("location"), first.header("location"));
    let other = send("0123456789abcdef", "a/2", "k").await;
    assert_eq!(
        (other.status, other.problem()),
        (StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused")
    );
    assert_ne!(send("fedcba9876543210", "a/2", "k").await.id(), first.id(), "another tenant's key");
    assert_ne!(send("0123456789abcdef", "a/1", "l").await.id(), first.id(), "another key");
    assert_eq!((intake.snapshot().accepted, intake.snapshot().replayed), (3, 1));

    // What was refused as a whole is not remembered.
    pipeline.pause();
    assert_eq!(send("0123456789abcdef", "a/9", "m").await.problem(), "paused");
    pipeline.resume();
    send("0123456789abcdef", "a/9", "m").await.id();
    // Nor what panicked.
    assert_eq!(send("0123456789abcdef", "panic", "n").await.problem(), "internal-error");
    send("0123456789abcdef", "a/9", "n").await.id();

    let request = with(post("a"), "authorization", "Bearer 0123456789abcdef");
    let twice = with(with(request, "idempotency-key", "a"), "idempotency-key", "b");
    assert_eq!(ask(&intake, twice).await.problem(), "bad-request");
    assert_eq!(send("0123456789abcdef", "a", "a b").await.problem(), "bad-request");
}

#[tokio::test]
async fn a_key_that_is_being_worked_on_is_in_use() {
    let pipeline = open();
    let inner = Arc::new(Mutex::new(None::<HttpIntake>));
    let found = Arc::new(Mutex::new(None));
    let (used, finds) = (Arc::clone(&inner), Arc::clone(&found));
    // Its own decoder sends the same again: so the first is surely not done.
    let decode = move |bytes: &[u8], origin: &Origin| {
        let intake = used.lock().take();
        if let Some(intake) = intake {
            let again = with(post("a/1"), "idempotency-key", "k");
            let Poll::Ready(said) = poll(&mut Box::pin(intake.service().call(again))) else {
                panic!("it waits")
            };
            *finds.lock() = Some(said.unwrap());
        }
        lines(bytes, origin)
    };
    let intake = HttpIntake::builder(unlimited(), &pipeline, decode).build().unwrap();
    *inner.lock() = Some(intake.clone());
    ask(&intake, with(post("a/1"), "idempotency-key", "k")).await.id();
    let found = found.lock().take().unwrap();
    let said = Said::of(found).await;
    assert_eq!((said.status, said.problem()), (StatusCode::CONFLICT, "idempotency-key-in-use"));
    assert_eq!(said.header("retry-after"), "1");
}

#[tokio::test]
async fn a_tenant_does_not_see_another_ones_tickets() {
    let tokens = StaticTokens::new().with("0123456789abcdef", "red").unwrap();
    let tokens = tokens.with("fedcba9876543210", "blue").unwrap();
    let intake = HttpIntake::builder(unlimited(), &open(), lines).bearer(tokens).build().unwrap();
    let red = |request| with(request, "authorization", "Bearer 0123456789abcdef");
    let blue = |request| with(request, "authorization", "bearer fedcba9876543210");
    let id = ask(&intake, red(post("a"))).await.id();
    for path in [format!("/intent/{id}"), format!("/intent/{id}/events")] {
        assert_eq!(ask(&intake, blue(get(&path))).await.problem(), "unknown-ticket");
    }
    let path = format!("/intent/{id}");
    while ask(&intake, red(get(&path))).await.body["state"] != "ended" {
        tokio::task::yield_now().await;
    }
    // Kept for the one by now, and still not for the other, nor for nobody.
    assert_eq!(ask(&intake, red(get(&path))).await.header("age"), "0");
    assert_eq!(ask(&intake, blue(get(&path))).await.problem(), "unknown-ticket");
    assert_eq!(ask(&intake, get(&path)).await.problem(), "unauthorized");
    assert_eq!(intake.snapshot().cached, 1);
}

struct Odd;

#[async_trait::async_trait]
impl Bearer for Odd {
    async fn caller(&self, token: &str) -> Result<Caller, Denied> {
        match token {
            "forbidden" => Err(Denied::Forbidden),
            "away" => Err(Denied::Unavailable { retry_after: std::time::Duration::from_secs(7) }),
            "panics" => panic!("as it was told to"),
            _ => Err(Denied::Unknown),
        }
    }
}

#[tokio::test]
async fn without_a_token_that_is_known_nothing_is_told_but_health() {
    let pipeline = open();
    let intake = HttpIntake::builder(unlimited(), &pipeline, lines).bearer(Odd).build().unwrap();
    for (field, status, word) in [
        (None, 401, "unauthorized"),
        (Some("Bearer other"), 401, "unauthorized"),
        (Some("Basic Zm9v"), 401, "unauthorized"),
        (Some("Bearer forbidden"), 403, "forbidden"),
        (Some("Bearer away"), 503, "busy"),
        (Some("Bearer panics"), 500, "internal-error"),
    ] {
        for request in [post("a"), get(&format!("/intent/{}", "0".repeat(32)))] {
            let request = match field {
                Some(field) => with(request, "authorization", field),
                None => request,
            };
            let said = ask(&intake, request).await;
            assert_eq!((said.status.as_u16(), said.problem()), (status, word));
            assert_eq!(said.header("www-authenticate") == "Bearer", status == 401);
        }
    }
    let twice = with(with(post("a"), "authorization", "Bearer a"), "authorization", "Bearer b");
    assert_eq!(ask(&intake, twice).await.problem(), "unauthorized");
    assert_eq!(ask(&intake, get("/healthz")).await.status, StatusCode::OK);
    assert_eq!(ask(&intake, get("/readyz")).await.status, StatusCode::OK);
    assert_eq!(pipeline.snapshot().ledger.accepted, 0);
}

#[test]
fn static_tokens_are_found_by_all_of_them_and_shown_by_none() {
    let tokens = StaticTokens::new().with("0123456789abcdef", "red").unwrap();
    let tokens = tokens.with("0123456789abcdeg", "blue").unwrap();
    let find = |token: &str| {
        let Poll::Ready(found) = poll(&mut Box::pin(tokens.caller(token))) else {
            panic!("it waits")
        };
        found.map(|caller| caller.tenant.to_string())
    };
    assert_eq!(find("0123456789abcdef"), Ok("red".to_owned()));
    assert_eq!(find("0123456789abcdeg"), Ok("blue".to_owned()));
    for wrong in ["", "0123456789abcde", "0123456789abcdeff", "1123456789abcdef"] {
        assert_eq!(find(wrong), Err(Denied::Unknown));
    }
    assert!(!format!("{tokens:?}").contains("0123"));
    let secret = "not a token, secret";
    let error = StaticTokens::new().with(secret, "red").unwrap_err().to_string();
    assert!(!error.contains("secret"), "{error}");
}

/// Writes when it is let, or fails: once, or when its gate is closed.
struct Slow {
    inner: MemoryCheckpoints,
    gate: Arc<Semaphore>,
    fails_once: AtomicBool,
}

#[async_trait::async_trait]
impl Checkpoints for Slow {
    async fn save(&self, key: &str, page: Bytes) -> Result<(), CheckpointError> {
        match self.gate.acquire().await {
            Ok(permit) if !self.fails_once.swap(false, Ordering::Relaxed) => permit.forget(),
            _ => return Err(CheckpointError::TooLarge { bytes: 2, most: 1 }),
        }
        self.inner.save(key, page).await
    }

    async fn remove(&self, key: &str) -> Result<(), CheckpointError> {
        self.inner.remove(key).await
    }

    async fn set_aside(&self, key: &str) -> Result<String, CheckpointError> {
        self.inner.set_aside(key).await
    }

    async fn load(&self) -> Result<Loaded, CheckpointError> {
        self.inner.load().await
    }
}

async fn kept(gate: &Arc<Semaphore>) -> Pipeline {
    kept_where(gate, false).await
}

async fn kept_where(gate: &Arc<Semaphore>, fails_once: bool) -> Pipeline {
    let (inner, fails_once) = (MemoryCheckpoints::default(), AtomicBool::new(fails_once));
    let store = Slow { inner, gate: Arc::clone(gate), fails_once };
    let measure = phase_fn(|text: &String, _: &PhaseContext| {
        let length = text.len();
        async move { Ok(length) }
    });
    let pipeline = IntentPipeline::builder::<String>(PipelineConfig::default())
        .phase("parse", PhaseConfig::local(), measure)
        .checkpoints(store)
        .build()
        .unwrap();
    let _ = pipeline.restore().await.unwrap();
    pipeline
}

#[tokio::test]
async fn accepted_is_said_once_it_is_on_disk() {
    let gate = Arc::new(Semaphore::new(0));
    let intake = intake(&kept(&gate).await);
    let keyed = || with(post("a/1"), "idempotency-key", "k");
    let mut service = intake.service();
    let mut answer = Box::pin(service.call(keyed()));
    for _ in 0..100 {
        assert!(poll(&mut answer).is_pending());
        tokio::task::yield_now().await;
    }
    // Whoever goes away has it nevertheless, and finds it by its key.
    drop(answer);
    let mut again = Box::pin(service.call(keyed()));
    assert!(poll(&mut again).is_pending(), "not said before it is true, to nobody");
    gate.add_permits(100);
    let said = Said::of(again.await.unwrap()).await;
    assert_eq!(said.header("idempotency-replayed"), "true");
    assert_eq!(end_of(&intake, &said.id()).await["ending"], "completed");
    assert_eq!(intake.snapshot().accepted, 1);
}

#[tokio::test]
async fn what_can_not_be_kept_is_refused_with_its_ticket() {
    let gate = Arc::new(Semaphore::new(0));
    gate.close();
    let intake = intake(&kept(&gate).await);
    let said = ask(&intake, post("a/1")).await;
    assert_eq!((said.status, said.problem()), (StatusCode::SERVICE_UNAVAILABLE, "not-persisted"));
    let ended = end_of(&intake, said.body["ticket"].as_str().unwrap()).await;
    assert_eq!(ended["ending"], "failed");
}

/// Who is told to come back may: the key stands for nothing that is left.
#[tokio::test]
async fn a_key_of_what_could_not_be_kept_may_come_again() {
    let open = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
    let intake = intake(&kept_where(&open, true).await);
    let keyed = || with(post("a/1"), "idempotency-key", "k");
    let said = ask(&intake, keyed()).await;
    assert_eq!((said.problem(), said.header("retry-after")), ("not-persisted", "1"));
    end_of(&intake, said.body["ticket"].as_str().unwrap()).await;
    let id = ask(&intake, keyed()).await.id();
    assert_eq!(end_of(&intake, &id).await["ending"], "completed");
    assert_eq!(ask(&intake, keyed()).await.id(), id);
    assert_eq!((intake.snapshot().replayed, intake.snapshot().idempotency_keys), (1, 1));
}

/// Whoever could tell whose token it is hangs.
#[cfg(feature = "test-util")]
struct Hangs;

#[cfg(feature = "test-util")]
#[async_trait::async_trait]
impl Bearer for Hangs {
    async fn caller(&self, _: &str) -> Result<Caller, Denied> {
        std::future::pending().await
    }
}

#[cfg(feature = "test-util")]
#[tokio::test(start_paused = true)]
async fn nobody_waits_for_ever_for_whose_token_it_is() {
    let intake = HttpIntake::builder(unlimited(), &open(), lines).bearer(Hangs).build().unwrap();
    let since = tokio::time::Instant::now();
    let said = ask(&intake, with(post("a"), "authorization", "Bearer a")).await;
    assert_eq!((said.status, said.problem()), (StatusCode::SERVICE_UNAVAILABLE, "busy"));
    assert_eq!((since.elapsed().as_secs(), said.header("retry-after")), (30, "1"));
}

#[cfg(feature = "test-util")]
#[tokio::test(start_paused = true)]
async fn an_answer_waits_no_longer_than_it_may_for_the_disk() {
    let gate = Arc::new(Semaphore::new(0));
    let intake = intake(&kept(&gate).await);
    let said = ask(&intake, post("a/1")).await;
    assert_eq!((said.status, said.problem()), (StatusCode::SERVICE_UNAVAILABLE, "not-persisted"));
    gate.add_permits(100);
    let ended = end_of(&intake, said.body["ticket"].as_str().unwrap()).await;
    assert_eq!(ended["ending"], "completed", "it was accepted");
}

#[cfg(feature = "test-util")]
#[tokio::test(start_paused = true)]
async fn ready_is_what_takes_intents() {
    let (pipeline, _gate) = gated(PipelineConfig::default().with_queue_capacity(10).with_seats(1));
    let intake = intake(&pipeline);
    let ready = async || {
        // What was known a moment ago is not asked again.
        tokio::time::advance(std::time::Duration::from_millis(101)).await;
        let said = ask(&intake, get("/readyz")).await;
        if said.status == StatusCode::OK {
            assert_eq!(said.body["status"], "ready");
            return "ready".to_owned();
        }
        assert_eq!((said.problem(), said.header("retry-after")), ("not-ready", "1"));
        said.body["detail"].as_str().unwrap().to_owned()
    };
    assert_eq!(ready().await, "ready");
    pipeline.pause();
    assert_eq!(ready().await, "the pipeline is paused");
    pipeline.resume();
    assert_eq!(ready().await, "ready");
    for number in 0..11 {
        let intent = Intent::new(format!("t{number}"), String::new()).priority(Priority::Urgent);
        drop(pipeline.try_submit(intent).unwrap());
        while pipeline.snapshot().busy == 0 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(ready().await, "the pipeline's queue is nearly full");
    pipeline.close();
    assert_eq!(ready().await, "the pipeline is closed");
    intake.close();
    assert_eq!(ready().await, "the intake is closed");
    assert_eq!(ask(&intake, get("/healthz")).await.status, StatusCode::OK, "it lives");
    assert_eq!(ask(&intake, post("a")).await.problem(), "closed");
}

#[tokio::test]
async fn tickets_that_live_are_bounded() {
    let (pipeline, gate) = gated(PipelineConfig::default());
    let config = unlimited().with_live_tickets(2);
    let intake = HttpIntake::builder(config, &pipeline, lines).build().unwrap();
    // They join one run.
    let ids = [ask(&intake, post("a@1")).await.id(), ask(&intake, post("a@1")).await.id()];
    assert_ne!(ids[0], ids[1]);
    let said = ask(&intake, post("a@1")).await;
    assert_eq!((said.status, said.problem()), (StatusCode::SERVICE_UNAVAILABLE, "busy"));
    gate.add_permits(1);
    for id in &ids {
        end_of(&intake, id).await;
    }
    while intake.snapshot().live_tickets > 0 {
        tokio::task::yield_now().await;
    }
    ask(&intake, post("a@2")).await.id();
    assert_eq!(pipeline.snapshot().runs.accepted, 2);
}

#[tokio::test]
async fn a_shutdown_lets_tickets_go_and_the_pipeline_goes_on() {
    let (pipeline, gate) = gated(PipelineConfig::default());
    let intake = intake(&pipeline);
    ask(&intake, post("a/1")).await.id();
    ask(&intake, post("a/2")).await.id();
    let report = intake.shutdown(std::time::Duration::from_secs(5)).await;
    assert_eq!((report.connections_cut, report.tickets_left), (0, 2));
    gate.add_permits(2);
    let report = pipeline.shutdown(std::time::Duration::from_secs(5)).await;
    assert_eq!((report.ledger.accepted, report.ledger.completed), (2, 2));
}

#[tokio::test]
async fn the_last_handle_ends_what_it_had_begun() {
    let (pipeline, _gate) = gated(PipelineConfig::default());
    let intake = intake(&pipeline);
    ask(&intake, post("a/1")).await.id();
    let service = intake.service();
    drop(intake);
    let said = Said::of(service.clone().call(post("a/2")).await.unwrap()).await;
    assert_eq!(said.problem(), "closed");
    assert_eq!(pipeline.snapshot().ledger.accepted, 1);
}

#[test]
fn an_intake_needs_a_runtime_and_a_configuration_that_can_work() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pipeline = runtime.block_on(async { open() });
    let wrong = |config| HttpIntake::builder(config, &pipeline, lines).build().unwrap_err();
    assert_eq!(wrong(unlimited()), crate::ConfigError::NoRuntime);
    let _entered = runtime.enter();
    for (config, field) in [
        (unlimited().with_connections(0), "connections"),
        (unlimited().with_header_bytes(100), "header_bytes"),
        (unlimited().with_bodies_bytes(1), "bodies_bytes"),
        (unlimited().with_body_timeout(std::time::Duration::ZERO), "body_timeout"),
        (unlimited().with_ready_ratio(f64::NAN), "ready_ratio"),
        (unlimited().with_cors_origins(vec!["*".into()]), "cors_origins"),
        (unlimited().with_cors_origins(vec!["https://a.example/".into()]), "cors_origins"),
    ] {
        let error = wrong(config).to_string();
        assert!(error.starts_with(&format!("intake.http.{field} is ")), "{error}");
    }
    let text = serde_json::to_string(&unlimited()).unwrap();
    assert_eq!(serde_json::from_str::<HttpIntakeConfig>(&text).unwrap(), unlimited());
    let bind = serde_json::from_str::<HttpIntakeConfig>(r#"{"bind":{"anywhere":"0.0.0.0:80"}}"#);
    assert_eq!(bind.unwrap().bind, Bind::Anywhere("0.0.0.0:80".parse().unwrap()));
    assert!(serde_json::from_str::<HttpIntakeConfig>(r#"{"bnd":1}"#).is_err());
}

#[tokio::test]
async fn json_that_is_deep_or_says_a_name_twice_or_is_none_is_rejected() {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Scale {
        target: String,
        #[serde(rename = "parameters")]
        _parameters: serde::de::IgnoredAny,
    }
    let scale = |scale: Scale, _: &Origin| Ok(Intent::new(scale.target, String::new()));
    let decode = JsonDecode::new(JsonDecodeConfig::default(), scale).unwrap();
    let intake = HttpIntake::builder(unlimited(), &open(), decode).build().unwrap();
    let deep = format!(r#"{{"target":"a","parameters":{}1{}}}"#, "[".repeat(100), "]".repeat(100));
    for body in [
        &deep,
        r#"{"target":"a","target":"b","parameters":1}"#,
        r#"{"target":"a","parameters":{"x":1,"x":2}}"#,
        r#"{"target":"a","parameters":1"#,
        r#"{"target":1,"parameters":1}"#,
        "// no JSON",
        "",
    ] {
        let said = ask(&intake, post(body)).await;
        assert_eq!((said.status, said.problem()), (StatusCode::UNPROCESSABLE_ENTITY, "rejected"));
        assert!(said.body["pointer"].is_string(), "{said:?}");
    }
    ask(&intake, post(r#"{"target":"a","parameters":{"x":[1,2]}}"#)).await.id();
    assert_eq!((intake.snapshot().rejected, intake.snapshot().accepted), (7, 1));
}
