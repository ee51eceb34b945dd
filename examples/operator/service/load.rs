//! Many intents by HTTP and in files at once into one operator, and not one that is not accounted
//! for. Nothing here waits by the clock.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headworks::http_transport::TransportConfig;
use headworks::{Transport, TransportFactory};
use http::StatusCode;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::Service;
use super::tests::{CALM, commits, post, text};
use crate::clock::now;
use crate::settings;

/// Clients at once; each follows what it has sent to its end.
const CLIENTS: u64 = 64;

const HOUR: Duration = Duration::from_secs(3_600);

/// So many in a file, and one file in so many is wrong.
const DOCUMENTS: u64 = 3;
const ONE_BAD: u64 = 50;

#[tokio::test(flavor = "multi_thread")]
async fn every_intent_of_a_load_has_one_end() {
    load(300, 200, "git").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute: 30,000 intents in files and 10,000 over HTTP"]
async fn every_intent_of_a_great_load_has_one_end() {
    load(10_000, 10_000, "memory").await;
}

async fn load(files: u64, posts: u64, commit: &str) {
    let folder = TempDir::new().unwrap();
    // A queue that the files alone overfill: they wait, and make way for what is urgent.
    let args = ["--watch", text(folder.path()), "--serve", "127.0.0.1:0", "--queue", "200"];
    let command = ["operator", "--commit", commit];
    let args = command.iter().chain(&args).chain(CALM);
    // Nobody is cut off for being slow: what is measured is who ends how, on any machine.
    let environment = [
        ("HEADWORKS_SERVE__RATE", "null"),
        ("HEADWORKS_SERVE__HEADER_TIMEOUT", "60m"),
        ("HEADWORKS_SERVE__BODY_TIMEOUT", "60m"),
        ("HEADWORKS_SERVE__WRITE_TIMEOUT", "60m"),
        ("HEADWORKS_LLM_TIMEOUT", "60m"),
    ];
    let environment = environment.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let options = settings::read(args, environment).unwrap();
    let service = Service::start(&options).await.unwrap();
    let url: Arc<str> = format!("http://{}", service.address().unwrap()).into();
    let config = TransportConfig::default()
        .with_response_header_timeout(HOUR)
        .with_total_timeout(HOUR)
        .with_pool_wait_timeout(HOUR)
        .with_body_idle_timeout(HOUR);
    let transport = TransportFactory::new().unwrap().transport(config).unwrap();

    let since = now();
    let path = folder.path().to_owned();
    let writer = tokio::task::spawn_blocking(move || (0..files).for_each(|it| write(&path, it)));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (url, transport) = (Arc::clone(&url), transport.clone());
        clients.spawn(async move {
            for number in (client..posts).step_by(CLIENTS as usize) {
                send(&transport, &url, number).await;
            }
        });
    }
    clients.join_all().await;
    writer.await.unwrap();
    service.watching.as_ref().unwrap().drained().await;
    let took = now().saturating_duration_since(since);
    let stopped = service.stop().await;

    let (bad, said) = (files.div_ceil(ONE_BAD), stopped.text());
    let in_files = (files - bad) * DOCUMENTS;
    let ledger = &stopped.drained.ledger;
    assert!(stopped.is_clean() && ledger.is_exact() && ledger.live == 0, "{said}");
    assert_eq!(ledger.completed, in_files + posts, "{said}");
    assert_eq!(ledger.accepted, ledger.completed + ledger.evicted, "{said}");
    let commits = commits(&stopped);
    assert_eq!((commits.committed, commits.repeated), (ledger.completed, 0), "{said}");
    let (seen, _) = stopped.requests.as_ref().unwrap();
    assert_eq!((seen.accepted, seen.refused, seen.rejected), (posts, 0, 0), "{said}");
    let (seen, report) = stopped.files.as_ref().unwrap();
    assert_eq!((report.processed, report.failed, report.left), (files - bad, bad, 0), "{said}");
    assert_eq!(seen.admitted, ledger.accepted - posts, "{said}");
    assert_eq!(ends(&folder.path().join("processed")), [("completed".to_owned(), in_files)].into());
    assert_eq!(ends(&folder.path().join("failed")), [("rejected".to_owned(), bad)].into());
    assert_eq!(fs::read_dir(folder.path().join("processing")).unwrap().count(), 0);
    let left =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_type().unwrap());
    assert_eq!(left.filter(|kind| kind.is_file()).count(), 0);
    println!(
        "{} intents in {:.1} s, {:.0}/s; {} evicted and run later, {} refused for a while, {} pushes",
        ledger.completed,
        took.as_secs_f64(),
        ledger.completed as f64 / took.as_secs_f64(),
        ledger.evicted,
        seen.refusals,
        commits.pushes,
    );
}

fn write(folder: &Path, number: u64) {
    let command = |n: u64| format!("scale cell-{number}-{n} to {} in ns files\n", 1 + n);
    let (name, text) = match number % ONE_BAD {
        0 => (format!("{number}.json"), "{".to_owned()),
        _ => (format!("{number}.txt"), (0..DOCUMENTS).map(command).collect()),
    };
    fs::write(folder.join(name), text).unwrap();
}

/// Sends one, and follows it to its end.
async fn send(transport: &Transport, url: &str, number: u64) {
    let body = format!(
        r#"{{"intent_type":"scaling","target":"cell-{number}","namespace":"http","replicas":2,"priority":9}}"#
    );
    let (status, ticket) = answer(transport, post(url, &body)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{ticket}");
    let ticket: Value = serde_json::from_str(&ticket).unwrap();
    let place = format!("{url}/{}", ticket["href"].as_str().unwrap().trim_start_matches('/'));
    // They end with the run.
    let (status, events) = answer(transport, get(&format!("{place}/events"))).await;
    assert_eq!((status, events.matches("event: ended").count()), (StatusCode::OK, 1), "{events}");
    let (_, end) = answer(transport, get(&place)).await;
    let end: Value = serde_json::from_str(&end).unwrap();
    assert_eq!(end["ending"], "completed", "{end}");
}

fn get(url: &str) -> http::Request<Bytes> {
    http::Request::get(url).body(Bytes::new()).unwrap()
}

async fn answer(transport: &Transport, request: http::Request<Bytes>) -> (StatusCode, String) {
    let answer = transport.send(request).await.unwrap();
    let status = answer.status();
    let body = answer.into_body().bytes(1 << 20).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// How documents ended, by what lies beside their files.
fn ends(folder: &Path) -> BTreeMap<String, u64> {
    let mut ends = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !text(&path).ends_with(".status.json") {
            continue;
        }
        let status: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        for document in status["documents"].as_array().unwrap() {
            *ends.entry(document["end"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    ends
}
