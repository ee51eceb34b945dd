//! A service from its start to its end, over real files.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use headworks::TransportFactory;
use headworks::http_transport::TransportConfig;
use http::StatusCode;
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::git::Report;
use crate::settings;

/// A quick LLM without faults.
pub(crate) const CALM: &[&str] = &["--llm-latency", "1ms", "--llm-sigma", "0", "--llm-faults", "0"];

pub(crate) fn options(args: &[&[&str]]) -> Options {
    settings::read(["operator"].iter().chain(args.iter().copied().flatten()), []).unwrap()
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub(crate) fn commits(stopped: &Stopped) -> &Report {
    stopped.parts.commits.as_ref().unwrap()
}

/// Names of files in a folder, without the time and number before them.
fn names(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let plain =
        |name: std::ffi::OsString| name.to_str().unwrap().splitn(3, '-').last().unwrap().to_owned();
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(name).map(plain).collect();
    names.sort();
    names
}

/// The status beside the file of this name.
fn status(folder: &Path, name: &str) -> Value {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let its = |path: &std::path::PathBuf| text(path).ends_with(&format!("{name}.status.json"));
    let path = files.into_iter().find(its).unwrap_or_else(|| panic!("no status of {name}"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_every_language_end_in_their_folders_with_a_status() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let flat = r#"{"intent_type":"scaling","target":"web","namespace":"lab","replicas":3}"#;
    fs::write(path.join("before.json"), flat).unwrap();
    let args = ["--watch", text(path), "--commit", "memory"];
    let service = Service::start(&options(&[CALM, &args])).await.unwrap();
    assert_eq!(service.to_string(), format!("watching {}", path.display()));
    let yaml = "apiVersion: nephoran.com/v1\nkind: NetworkIntent\nmetadata: {name: db, namespace: \
                lab, generation: 4}\nspec: {intent: Scale db to 2 replicas}\n---\nkind: Service\n";
    fs::write(path.join("two.yaml"), yaml).unwrap();
    fs::write(path.join("up.txt"), "scale amf to 2 in ns core\nscale smf to 1 in ns core\n")
        .unwrap();
    fs::write(path.join("half.txt"), "scale upf to 2 in ns core\nscale upf to\n").unwrap();
    fs::write(path.join("notes.md"), "not ours").unwrap();
    service.watching.as_ref().unwrap().drained().await;
    let stopped = service.stop().await;
    assert!(stopped.is_clean(), "{}", stopped.text());
    let (ledger, commits) = (&stopped.drained.ledger, commits(&stopped));
    assert_eq!((ledger.accepted, ledger.completed, commits.committed), (5, 5, 5));
    let files = ["before.json", "two.yaml", "up.txt"];
    let with_status =
        files.iter().flat_map(|name| [name.to_string(), format!("{name}.status.json")]);
    assert_eq!(names(&path.join("processed")), with_status.collect::<Vec<_>>());
    assert_eq!(names(&path.join("failed")), ["half.txt", "half.txt.status.json"]);
    assert!(path.join("notes.md").exists(), "left alone");
    let two = status(&path.join("processed"), "two.yaml");
    let ends: Vec<_> = two["documents"].as_array().unwrap().iter().map(|one| &one["end"]).collect();
    assert_eq!(ends, ["completed", "skipped"]);
    assert_eq!(two["documents"][0]["generation"], 4);
    let half = status(&path.join("failed"), "half.txt");
    assert_eq!(half["documents"][0]["end"], "completed", "a bad line spoils no other");
    assert_eq!(half["documents"][1]["end"], "rejected");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_drain_has_no_time_for_stays_for_the_next_start() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    for number in 0..40 {
        let command = format!("scale web-{number} to 2 in ns lab\n");
        fs::write(path.join(format!("{number}.txt")), command).unwrap();
    }
    // An LLM that answers nobody.
    let args = ["--watch", text(path), "--commit", "memory", "--drain", "10ms"];
    let slow = ["--llm-latency", "600s", "--llm-timeout", "600s", "--llm-sigma", "0"];
    let service = Service::start(&options(&[&args, &slow, &["--llm-faults", "0"]])).await.unwrap();
    let running = |service: &Service| service.parts.pipeline.snapshot().ledger.accepted;
    while running(&service) < 40 {
        tokio::task::yield_now().await;
    }
    let stopped = service.stop().await;
    assert!(!stopped.is_clean() && stopped.text().contains("40 left"), "{}", stopped.text());
    assert_eq!(stopped.json()["files"]["left"], 40);
    assert_eq!(names(&path.join("processing")).len(), 40);

    let args = ["--watch", text(path), "--commit", "memory"];
    let service = Service::start(&options(&[CALM, &args])).await.unwrap();
    service.watching.as_ref().unwrap().drained().await;
    let stopped = service.stop().await;
    assert!(stopped.is_clean(), "{}", stopped.text());
    assert_eq!(commits(&stopped).committed, 40);
    assert_eq!(stopped.json()["files"]["recovered"], 40);
    assert_eq!(names(&path.join("processed")).len(), 80);
}

/// A request and its answer, as JSON.
pub(crate) async fn asked(request: http::Request<Bytes>) -> (StatusCode, Value) {
    let transport = TransportFactory::new().unwrap().transport(TransportConfig::default()).unwrap();
    let answer = transport.send(request).await.unwrap();
    let status = answer.status();
    let body = answer.into_body().bytes(1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_else(|_| panic!("{body:?}")))
}

async fn get(url: &str) -> (StatusCode, Value) {
    asked(http::Request::get(url).body(Bytes::new()).unwrap()).await
}

pub(crate) fn post(url: &str, body: &str) -> http::Request<Bytes> {
    http::Request::post(format!("{url}/intent")).body(Bytes::from(body.to_owned())).unwrap()
}

/// How the run of an accepted document ended, once it has.
async fn ending(url: &str, ticket: &Value) -> String {
    let place = format!("{url}/{}", ticket["href"].as_str().unwrap().trim_start_matches('/'));
    // It ends with the run.
    let events = http::Request::get(format!("{place}/events")).body(Bytes::new()).unwrap();
    let transport = TransportFactory::new().unwrap().transport(TransportConfig::default()).unwrap();
    let events = transport.send(events).await.unwrap().into_body().bytes(1 << 20).await.unwrap();
    let events = String::from_utf8(events.to_vec()).unwrap();
    assert!(events.contains("event: ended"), "{events}");
    get(&place).await.1["ending"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_language_is_taken_over_http_beside_files_and_told_of() {
    let folder = TempDir::new().unwrap();
    let args = ["--watch", text(folder.path()), "--serve", "127.0.0.1:0", "--commit", "memory"];
    let service = Service::start(&options(&[CALM, &args])).await.unwrap();
    let url = format!("http://{}", service.address().unwrap());
    assert!(service.to_string().ends_with(&format!(", listening at {url}")), "{service}");
    for (path, status) in [("healthz", 200), ("readyz", 200), ("nothing", 404)] {
        assert_eq!(get(&format!("{url}/{path}")).await.0, status, "{path}");
    }
    let custom = "apiVersion: nephoran.com/v1\nkind: NetworkIntent\nmetadata: {name: db, namespace: \
                  lab}\nspec: {intent: Scale db to 2 replicas}\n";
    let flat = r#"{"intent_type":"scaling","target":"web","namespace":"lab","replicas":3}"#;
    for (body, key) in
        [("scale amf to 2 in ns core", "core/amf"), (flat, "lab/web"), (custom, "lab/db")]
    {
        let (status, ticket) = asked(post(&url, body)).await;
        assert_eq!((status, &ticket["key"]), (StatusCode::ACCEPTED, &key.into()), "{ticket}");
        assert_eq!(ending(&url, &ticket).await, "completed");
    }
    fs::write(folder.path().join("up.txt"), "scale smf to 1 in ns core\n").unwrap();
    let (status, problem) = asked(post(&url, "scale amf to 0 in ns core")).await;
    assert_eq!(
        (status, &problem["pointer"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &"/replicas".into())
    );
    let (status, problem) = asked(post(&url, "kind: Deployment")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problem["type"], "urn:headworks:intake:not-an-intent");
    service.watching.as_ref().unwrap().drained().await;
    let stopped = service.stop().await;
    assert!(stopped.is_clean(), "{}", stopped.text());
    assert_eq!((stopped.drained.ledger.completed, commits(&stopped).committed), (4, 4));
    let json = stopped.json();
    assert_eq!(
        (&json["requests"]["accepted"], &json["files"]["processed"]),
        (&3.into(), &1.into())
    );
    assert!(stopped.text().contains("3 documents accepted, 0 refused, 2 rejected"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_of_every_room_are_told_as_prometheus_reads_them() {
    let folder = TempDir::new().unwrap();
    let places = ["--watch", text(folder.path()), "--serve", "127.0.0.1:0", "--commit", "memory"];
    let service =
        Service::start(&options(&[CALM, &places, &["--metrics", "127.0.0.1:0"]])).await.unwrap();
    let url = format!("http://{}", service.address().unwrap());
    let (_, ticket) = asked(post(&url, "scale amf to 2 in ns core")).await;
    assert_eq!(ending(&url, &ticket).await, "completed");
    let transport = TransportFactory::new().unwrap().transport(TransportConfig::default()).unwrap();
    let place = format!("http://{}", service.exporter.as_ref().unwrap().address());
    assert!(service.to_string().ends_with(&format!("numbers at {place}/metrics")), "{service}");
    let answer = transport.get(format!("{place}/metrics")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let body = answer.into_body().bytes(1 << 20).await.unwrap();
    let said = str::from_utf8(&body).unwrap();
    for line in [
        "intent_pipeline_completed_total{name=\"operator\"} 1",
        "http_intake_accepted_total{name=\"intake\"} 1",
        "intake_files_in_flight{name=\"watch\"} 0",
        "# TYPE http_intake_seconds histogram",
        "http_client_max_connections{name=\"llm\"} 64",
        "circuit_breaker_state{name=\"llm\"} 0",
    ] {
        assert!(said.lines().any(|its| its == line), "{line} in {said}");
    }
    for room in ["retry_budget_", "cache_"] {
        assert!(said.lines().any(|line| line.starts_with(room)), "{room} in {said}");
    }
    assert_told_well(said);
    for (path, status) in [("/", StatusCode::NOT_FOUND), ("/metrics/", StatusCode::NOT_FOUND)] {
        let url = format!("{place}{path}");
        assert_eq!(transport.get(url).await.unwrap().status(), status, "{path}");
    }
    assert!(service.stop().await.is_clean());
}

/// Every name is declared once, before what it says; buckets only grow, and the last is the count.
fn assert_told_well(said: &str) {
    let mut declared = std::collections::BTreeSet::new();
    let (mut name, mut last) = ("", 0);
    for line in said.lines() {
        if let Some(declaration) = line.strip_prefix("# TYPE ") {
            name = declaration.split(' ').next().unwrap();
            assert!(declared.insert(name), "{name} is declared twice");
            last = 0;
            continue;
        }
        assert!(line.starts_with(name), "{line} under {name}");
        let (series, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap();
        if series.contains("_bucket{") || series.contains("_count{") {
            assert!(value as u64 >= last, "{line}");
            last = value as u64;
        }
    }
    assert!(declared.len() > 50, "{declared:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_of_the_file_nobody_submits() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("tokens");
    fs::write(&file, "planner 8fd0c2b1-cell-planner\n").unwrap();
    let args = ["--serve", "127.0.0.1:0", "--commit", "memory", "--token-file", text(&file)];
    let service = Service::start(&options(&[CALM, &args])).await.unwrap();
    let url = format!("http://{}", service.address().unwrap());
    let body = "scale amf to 2 in ns core";
    assert_eq!(asked(post(&url, body)).await.0, StatusCode::UNAUTHORIZED);
    for (token, status) in [
        ("8fd0c2b1-cell-plannex", StatusCode::UNAUTHORIZED),
        ("8fd0c2b1-cell-planner", StatusCode::ACCEPTED),
    ] {
        let mut request = post(&url, body);
        let token = format!("Bearer {token}").parse().unwrap();
        request.headers_mut().insert(http::header::AUTHORIZATION, token);
        assert_eq!(asked(request).await.0, status);
    }
    assert_eq!(get(&format!("{url}/readyz")).await.0, StatusCode::OK, "a probe has no token");
    assert_eq!(service.stop().await.drained.ledger.accepted, 1);

    fs::write(&file, "nobody\n").unwrap();
    let Err(error) = Service::start(&options(&[CALM, &args])).await else { panic!("no token") };
    assert!(error.is_usage() && with_causes(&error).contains("tokens:1: must be"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_somebody_else_watches_is_a_usage_error() {
    let folder = TempDir::new().unwrap();
    let args = ["--watch", text(folder.path()), "--commit", "memory"];
    let options = options(&[CALM, &args]);
    let service = Service::start(&options).await.unwrap();
    let Err(error) = Service::start(&options).await else { panic!("two of them") };
    assert!(error.is_usage() && with_causes(&error).contains("somebody else"), "{error:?}");
    assert!(service.stop().await.is_clean());
}
