//! The HTTP intake, for clients that others wrote: curl, and wrk for the load.

use std::future::poll_fn;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use eventsource_stream::Eventsource;
use futures_core::Stream;
use headworks::TransportFactory;
use headworks::http_transport::TransportConfig;
use headworks::intake::http::{Bind, HttpIntake, HttpIntakeConfig};
use headworks::intake::{Origin, Rejected};
use headworks::{Intent, IntentPipeline, PhaseConfig, PhaseContext, PipelineConfig, phase_fn};
use http_body_util::BodyDataStream;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStdout, Command};
use tokio::sync::Semaphore;

/// `None`: it is not here, and nobody insists.
fn client(name: &str) -> Option<Command> {
    match std::env::var(name) {
        Ok(path) => {
            let mut command = Command::new(path);
            command.kill_on_drop(true).stdin(Stdio::null());
            Some(command)
        }
        Err(_) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "CI runs tests/with-services.sh");
            eprintln!("{name} is not set: passed over");
            None
        }
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Scale<'a> {
    target: &'a str,
    namespace: &'a str,
    replicas: u32,
}

fn decode(bytes: &[u8], _: &Origin) -> Vec<Result<Intent<u32>, Rejected>> {
    vec![match serde_json::from_slice(bytes) {
        Ok(Scale { target, namespace, replicas }) => {
            Ok(Intent::new(format!("{namespace}/{target}"), replicas))
        }
        Err(error) => Err(Rejected::invalid("", error.to_string())),
    }]
}

/// Each attempt of the second phase takes a permit.
fn pipeline(gate: &Arc<Semaphore>) -> IntentPipeline<u32, ()> {
    let gate = Arc::clone(gate);
    let check = phase_fn(|replicas: &u32, _: &PhaseContext| {
        let replicas = *replicas;
        async move { Ok(replicas) }
    });
    let scale = phase_fn(move |_: &u32, _: &PhaseContext| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(())
        }
    });
    IntentPipeline::builder::<u32>(PipelineConfig::default())
        .phase("check", PhaseConfig::local(), check)
        .phase("scale", PhaseConfig::remote(), scale)
        .build()
        .unwrap()
}

async fn intake(
    pipeline: &IntentPipeline<u32, ()>,
    config: HttpIntakeConfig,
) -> (HttpIntake, String) {
    let config = config.with_bind(Bind::Loopback(0)).with_rate(None);
    let intake = HttpIntake::builder(config, pipeline, decode).bind().await.unwrap();
    let url = format!("http://{}", intake.local_addr().unwrap());
    (intake, url)
}

/// What curl printed, and the status it was told at the end.
async fn curl(arguments: &[&str], url: &str) -> Option<(Value, String)> {
    let mut curl = client("HEADWORKS_CURL")?;
    curl.args(["-sS", "--max-time", "30", "-w", "\n%{http_code} %{content_type}"]);
    let Output { stdout, stderr, status } = curl.args(arguments).arg(url).output().await.unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    let text = String::from_utf8(stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    Some((serde_json::from_str(body).unwrap(), status.to_owned()))
}

const BODY: &str = r#"{"target":"web","namespace":"lab","replicas":3}"#;

#[tokio::test]
#[ignore = "needs curl"]
async fn curl_submits_reads_and_repeats() {
    let gate = Arc::new(Semaphore::new(1_000));
    let pipeline = pipeline(&gate);
    let (_intake, url) = intake(&pipeline, HttpIntakeConfig::default()).await;
    let to = format!("{url}/intent");
    let json = ["-H", "content-type: application/json"];
    let send = [json[0], json[1], "-H", "idempotency-key: k-1", "--data-binary", BODY];
    let Some((said, status)) = curl(&send, &to).await else { return };
    assert_eq!((&said["key"], &*status), (&"lab/web".into(), "202 application/json"));
    let (again, _) = curl(&send, &to).await.unwrap();
    assert_eq!(again, said);
    let other = BODY.replace('3', "4");
    let send = ["-H", "idempotency-key: k-1", "--data-binary", &other];
    let (_, status) = curl(&send, &to).await.unwrap();
    assert_eq!(status, "422 application/problem+json");
    let path = format!("{url}/{}", said["href"].as_str().unwrap());
    while curl(&[], &path).await.unwrap().0["ending"] != "completed" {}
    for (path, expected) in [
        ("/healthz", "200 application/json"),
        ("/readyz", "200 application/json"),
        ("/nothing", "404 application/problem+json"),
    ] {
        assert_eq!(curl(&[], &format!("{url}{path}")).await.unwrap().1, expected);
    }
    let (said, status) = curl(&["--data-binary", "{"], &to).await.unwrap();
    assert_eq!(
        (&said["type"], &*status),
        (&"urn:headworks:intake:rejected".into(), "422 application/problem+json")
    );
    assert_eq!(pipeline.snapshot().ledger.accepted, 1);
}

#[tokio::test]
#[ignore = "needs curl"]
async fn curl_is_refused_for_what_is_too_long_or_too_slow() {
    let pipeline = pipeline(&Arc::new(Semaphore::new(0)));
    let config = HttpIntakeConfig::default()
        .with_body_bytes(100_000)
        .with_body_timeout(Duration::from_millis(300));
    let (_intake, url) = intake(&pipeline, config).await;
    let to = format!("{url}/intent");
    let folder = tempfile::tempdir().unwrap();
    let file = |bytes: usize| {
        let path = folder.path().join(bytes.to_string());
        std::fs::write(&path, vec![b' '; bytes]).unwrap();
        format!("@{}", path.display())
    };
    let Some((said, _)) = curl(&["--data-binary", &file(100_001)], &to).await else { return };
    assert_eq!(said["type"], "urn:headworks:intake:body-too-large");
    let chunked = file(300_000);
    let send = ["-H", "transfer-encoding: chunked", "--data-binary", &chunked];
    assert_eq!(curl(&send, &to).await.unwrap().0["type"], "urn:headworks:intake:body-too-large");
    let slow = ["--limit-rate", "10", "--data-binary", &file(90_000)];
    assert_eq!(curl(&slow, &to).await.unwrap().0["type"], "urn:headworks:intake:body-timeout");
}

/// The next event of a stream: its name and data.
async fn event(lines: &mut Lines<BufReader<ChildStdout>>) -> Option<(String, Value)> {
    let mut name = String::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some(event) = line.strip_prefix("event: ") {
            name = event.to_owned();
        } else if let Some(data) = line.strip_prefix("data: ") {
            return Some((name, serde_json::from_str(data).unwrap()));
        }
    }
    None
}

/// curl -N gives out what comes as it comes: so what is read here was sent by then.
#[tokio::test]
#[ignore = "needs curl"]
async fn curl_follows_the_phases_of_a_ticket() {
    let gate = Arc::new(Semaphore::new(0));
    let pipeline = pipeline(&gate);
    let (_intake, url) = intake(&pipeline, HttpIntakeConfig::default()).await;
    let Some((said, _)) = curl(&["--data-binary", BODY], &format!("{url}/intent")).await else {
        return;
    };
    let mut follower = client("HEADWORKS_CURL").unwrap();
    follower.args(["-sS", "-N", "--max-time", "30", "-H", "accept: text/event-stream"]);
    follower.arg(format!("{url}/{}/events", said["href"].as_str().unwrap()));
    let mut follower = follower.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut told = Vec::new();
    loop {
        let (name, data) = event(&mut lines).await.expect("it runs");
        assert_ne!(name, "ended");
        let is_inside = data["phase"] == "scale" && data["state"] == "running";
        told.push((name, data));
        if is_inside {
            break;
        }
    }
    gate.add_permits(1);
    while let Some(next) = event(&mut lines).await {
        told.push(next);
    }
    let done: Vec<_> = told.iter().filter(|(_, data)| data["state"] == "done").collect();
    let done: Vec<_> = done.iter().map(|(_, data)| data["phase"].as_str().unwrap()).collect();
    assert_eq!(done, ["check", "scale"], "{told:?}");
    let (name, data) = told.last().unwrap();
    assert_eq!((name.as_str(), &data["ending"]), ("ended", &"completed".into()));
    assert!(follower.wait().await.unwrap().success(), "the stream ends");
}

/// The same for a library that others wrote to read event streams, over our own transport: so this
/// needs no service.
#[tokio::test]
async fn an_event_stream_is_what_a_reader_of_event_streams_reads() {
    let gate = Arc::new(Semaphore::new(0));
    let pipeline = pipeline(&gate);
    let config = HttpIntakeConfig::default().with_heartbeat(Duration::from_millis(1));
    let (intake, url) = intake(&pipeline, config).await;
    let transport = TransportFactory::new().unwrap().transport(TransportConfig::default()).unwrap();
    let document: Value = serde_json::from_str(BODY).unwrap();
    let said: Value = transport.post_json(&format!("{url}/intent"), &document).await.unwrap();
    let path = format!("{url}/{}/events", said["href"].as_str().unwrap());
    let answer = transport.get(&path).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut events = Box::pin(BodyDataStream::new(answer.into_body()).eventsource());
    let mut told = Vec::new();
    while let Some(event) = poll_fn(|cx| events.as_mut().poll_next(cx)).await {
        let event = event.unwrap();
        let data: Value = serde_json::from_str(&event.data).unwrap();
        if data["phase"] == "scale" && data["state"] == "running" {
            // Comments in between are none of its events.
            gate.add_permits(1);
        }
        told.push((event.id, event.event, data));
    }
    let ids: Vec<u64> = told.iter().map(|(id, ..)| id.parse().unwrap()).collect();
    assert_eq!(ids, (1..=told.len() as u64).collect::<Vec<_>>());
    let done = told.iter().filter(|(_, name, data)| name == "phase" && data["state"] == "done");
    assert_eq!(done.count(), 2, "{told:?}");
    let (_, name, data) = told.last().unwrap();
    assert_eq!((name.as_str(), &data["ending"]), ("ended", &"completed".into()));
    assert_eq!(intake.snapshot().event_streams, 0, "the stream has ended");
}

/// As many small intents as wrk can send for some seconds, and then every one is accounted for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs wrk"]
async fn under_load_not_one_intent_is_lost() {
    const CONNECTIONS: u64 = 32;
    let Some(mut wrk) = client("HEADWORKS_WRK") else { return };
    let pipeline = pipeline(&Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)));
    let (intake, url) = intake(&pipeline, HttpIntakeConfig::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("post.lua");
    std::fs::write(
        &script,
        r#"
local threads = 0
function setup(thread)
    threads = threads + 1
    thread:set("thread", threads)
end
local number = 0
function request()
    number = number + 1
    local body = string.format('{"target":"cell-%d-%d","namespace":"load","replicas":3}', thread, number)
    return wrk.format("POST", "/intent", { ["content-type"] = "application/json" }, body)
end
function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format('\n{"requests":%d,"seconds":%f,"status":%d,"broken":%d,"p99_ms":%f}\n',
        summary.requests, summary.duration / 1e6, errors.status,
        errors.connect + errors.read + errors.write + errors.timeout, latency:percentile(99) / 1e3))
end
"#,
    )
    .unwrap();
    wrk.args(["-t1", &format!("-c{CONNECTIONS}"), "-d5s", "-s"]).arg(&script).arg(&url);
    let Output { stdout, stderr, .. } = wrk.output().await.unwrap();
    let stdout = String::from_utf8(stdout).unwrap();
    let last =
        stdout.lines().last().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&stderr)));
    let said: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{stdout}"));
    let requests = said["requests"].as_u64().unwrap();
    println!("{said}: {:.0} intents/s", requests as f64 / said["seconds"].as_f64().unwrap());
    assert_eq!((&said["status"], &said["broken"]), (&0.into(), &0.into()), "all were accepted");

    let report = pipeline.shutdown(Duration::from_secs(60)).await;
    let accepted = report.ledger.accepted;
    // When its time is up wrk has asked for some of which it does not count the answer.
    assert!((requests..=requests + CONNECTIONS).contains(&accepted), "{accepted} of {requests}");
    assert!(report.ledger.is_exact() && report.ledger.completed == accepted, "{}", report.ledger);
    let snapshot = intake.snapshot();
    assert_eq!((snapshot.accepted, snapshot.refused, snapshot.rejected), (accepted, 0, 0));
    let left = intake.shutdown(Duration::from_secs(60)).await;
    assert_eq!(
        (left.tickets_left, intake.snapshot().live_tickets),
        (0, 0),
        "every ticket was told"
    );
}
