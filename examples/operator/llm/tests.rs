//! Over real sockets: every fault is seen from the wire.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::attempts::content_hash;
use super::fate::{Fate, Kind};
use super::*;

const OPENAI: &str = "/v1/chat/completions";
const OLLAMA: &str = "/api/generate";

fn question(name: &str) -> String {
    json!({"metadata": {"namespace": "ns", "name": name}, "text": "web to 3 replicas"}).to_string()
}

fn openai(name: &str) -> String {
    let system = json!({"role": "system", "content": "instructions"});
    let user = json!({"role": "user", "content": question(name)});
    let format = json!({"type": "json_object"});
    json!({
        "model": "m", "messages": [system, user], "max_tokens": 512, "temperature": 0,
        "response_format": format,
    })
    .to_string()
}

fn ollama(name: &str) -> String {
    let prompt = format!("instructions {{}}\n\n{}", question(name));
    json!({"model": "m", "prompt": prompt, "stream": false}).to_string()
}

/// Answers at once, and every request meets this fault.
fn always(faults: FaultRates) -> StandInConfig {
    StandInConfig { median: Duration::ZERO, sigma: 0.0, faults, ..StandInConfig::default() }
}

fn none() -> FaultRates {
    FaultRates::NONE
}

/// A client that reads what is on the wire.
struct Client(TcpStream);

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().find(|line| {
            line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name))
        })?;
        line.split_once(':').map(|(_, value)| value.trim())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn content(&self) -> String {
        self.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    }
}

impl Client {
    async fn to(server: &StandIn) -> Self {
        let address = server.url();
        Self(TcpStream::connect(address.strip_prefix("http://").unwrap()).await.unwrap())
    }

    async fn send(&mut self, path: &str, body: &str) {
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        self.0.write_all((head + body).as_bytes()).await.unwrap();
    }

    async fn ask(&mut self, path: &str, body: &str) -> std::io::Result<Answer> {
        self.send(path, body).await;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await?);
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, head, body: Vec::new() };
        let length = answer.header("content-length").unwrap().parse().unwrap();
        answer.body.resize(length, 0);
        self.0.read_exact(&mut answer.body).await?;
        Ok(answer)
    }
}

#[tokio::test]
async fn both_styles_are_spoken_over_one_connection() {
    let server = StandIn::start(always(none())).await.unwrap();
    let mut client = Client::to(&server).await;
    let said: Value = json!({
        "action": "scale", "settings": {},
        "targets": [{"namespace": "ns", "name": "web", "replicas": 3}],
    });
    let answer = client.ask(OPENAI, &openai("a")).await.unwrap();
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(serde_json::from_str::<Value>(&answer.content()).unwrap(), said);
    assert_eq!(answer.json()["choices"][0]["finish_reason"], "stop");
    assert!(answer.json()["usage"]["total_tokens"].as_u64().unwrap() > 0);
    let answer = client.ask(OLLAMA, &ollama("a")).await.unwrap().json();
    assert_eq!(serde_json::from_str::<Value>(answer["response"].as_str().unwrap()).unwrap(), said);
    assert_eq!((&answer["done"], &answer["model"]), (&json!(true), &json!("m")));
    assert_eq!(client.ask("/proxy/v1/chat/completions", &openai("a")).await.unwrap().status, 200);
    assert_eq!(server.shutdown().await, Counts { plain: 3, ..Counts::default() });
}

#[tokio::test]
async fn a_rate_limited_request_is_told_when_to_come_back() {
    let faults = FaultRates { rate_limited: 1.0, ..none() };
    let config = StandInConfig { retry_after: Duration::from_millis(1_500), ..always(faults) };
    let server = StandIn::start(config).await.unwrap();
    let mut client = Client::to(&server).await;
    let answer = client.ask(OPENAI, &openai("a")).await.unwrap();
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("2")));
    assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some("0"));
    assert_eq!(answer.header("x-ratelimit-reset-requests"), Some("2s"));
    assert_eq!(answer.json()["error"]["code"], "rate_limit_exceeded");
    let answer = client.ask(OLLAMA, &ollama("a")).await.unwrap();
    assert!(answer.status == 429 && answer.json()["error"].is_string());
    assert_eq!(server.shutdown().await.rate_limited, 2);
}

#[tokio::test]
async fn server_errors_come_in_all_their_kinds() {
    let faults = FaultRates { server_error: 1.0, ..none() };
    let server = StandIn::start(always(faults)).await.unwrap();
    let mut client = Client::to(&server).await;
    let mut seen = std::collections::BTreeSet::new();
    for i in 0..40 {
        seen.insert(client.ask(OPENAI, &openai(&i.to_string())).await.unwrap().status);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [500, 502, 503, 504]);
    server.shutdown().await;
}

#[tokio::test]
async fn a_hanging_request_is_closed_without_an_answer() {
    let faults = FaultRates { hang: 1.0, ..none() };
    let config = StandInConfig { hang: Duration::from_millis(20), ..always(faults) };
    let server = StandIn::start(config).await.unwrap();
    let mut client = Client::to(&server).await;
    client.send(OPENAI, &openai("a")).await;
    let mut read = Vec::new();
    client.0.read_to_end(&mut read).await.unwrap();
    assert!(read.is_empty());
    assert_eq!(server.shutdown().await.hang, 1);
}

#[tokio::test]
async fn shutdown_ends_what_still_hangs() {
    let faults = FaultRates { hang: 1.0, ..none() };
    let config = StandInConfig { hang: Duration::from_secs(3_600), ..always(faults) };
    let server = StandIn::start(config).await.unwrap();
    let address = server.url();
    let mut client = Client::to(&server).await;
    client.send(OPENAI, &openai("a")).await;
    while server.counts().hang == 0 {
        tokio::task::yield_now().await;
    }
    server.shutdown().await;
    // Closed with or without a reset: what matters is that nobody is there any more.
    _ = client.0.read_to_end(&mut Vec::new()).await;
    assert!(TcpStream::connect(address.strip_prefix("http://").unwrap()).await.is_err());
}

#[tokio::test]
async fn a_reset_comes_in_the_middle_of_the_body() {
    let faults = FaultRates { reset: 1.0, ..none() };
    let server = StandIn::start(always(faults)).await.unwrap();
    let mut client = Client::to(&server).await;
    client.send(OPENAI, &openai("a")).await;
    let mut read = Vec::new();
    let error = client.0.read_to_end(&mut read).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let text = String::from_utf8_lossy(&read);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let announced = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(!body.is_empty() && body.len() < announced.parse().unwrap(), "{body}");
    server.shutdown().await;
}

#[tokio::test]
async fn a_truncated_answer_never_holds_a_json_object() {
    let faults = FaultRates { truncated: 1.0, ..none() };
    let server = StandIn::start(always(faults)).await.unwrap();
    let mut client = Client::to(&server).await;
    let (mut outputs, mut empty, mut envelopes) = (0, 0, 0);
    for i in 0..60 {
        let answer = client.ask(OPENAI, &openai(&i.to_string())).await.unwrap();
        assert_eq!(answer.status, 200);
        match serde_json::from_slice::<Value>(&answer.body) {
            Err(_) => envelopes += 1,
            Ok(envelope) => {
                assert_eq!(envelope["choices"][0]["finish_reason"], "length");
                assert!(serde_json::from_str::<Value>(&answer.content()).is_err());
                *(if answer.content().is_empty() { &mut empty } else { &mut outputs }) += 1;
            }
        }
    }
    assert!(outputs > 0 && empty > 0 && envelopes > 0, "{outputs} {empty} {envelopes}");
    server.shutdown().await;
}

#[tokio::test]
async fn prose_stands_around_one_whole_object() {
    let faults = FaultRates { prose: 1.0, ..none() };
    let server = StandIn::start(always(faults)).await.unwrap();
    let mut client = Client::to(&server).await;
    let content = client.ask(OPENAI, &openai("a")).await.unwrap().content();
    let (from, to) = (content.find('{').unwrap(), content.rfind('}').unwrap());
    assert!(from > 0 && to < content.len() - 1);
    let object: Value = serde_json::from_str(&content[from..=to]).unwrap();
    assert_eq!(object["action"], "scale");
    server.shutdown().await;
}

#[tokio::test]
async fn what_is_no_request_of_ours_is_refused() {
    let server = StandIn::start(always(none())).await.unwrap();
    let mut client = Client::to(&server).await;
    for (path, body, status) in [
        ("/v1/models", "{}", 404),
        (OPENAI, "no json", 400),
        (OPENAI, "{}", 400),
        (OPENAI, r#"{"model":"m","messages":[]}"#, 400),
        (OPENAI, r#"{"model":"m","messages":[{"content":"x"}],"stream":true}"#, 400),
        (OLLAMA, r#"{"model":"m","prompt":"x"}"#, 400),
        (OLLAMA, r#"{"model":"m","prompt":"","stream":false}"#, 400),
    ] {
        assert_eq!(client.ask(path, body).await.unwrap().status, status, "{path} {body}");
    }
    assert_eq!(server.shutdown().await.bad_request, 7);
    let faults = FaultRates { hang: 0.7, reset: 0.7, ..none() };
    let config = StandIn::start(always(faults)).await.unwrap_err();
    assert_eq!(config.to_string(), "faults: was 1.4, must be at most 1 together");
}

/// How each of 300 contents, asked three times, ended.
async fn endings(seed: u64, callers: usize) -> Vec<Kind> {
    let config = StandInConfig {
        seed,
        median: Duration::ZERO,
        hang: Duration::ZERO,
        faults: FaultRates::total(0.6),
        ..StandInConfig::default()
    };
    let server = StandIn::start(config.clone()).await.unwrap();
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let client = Client::to(&server);
        let mut client = client.await;
        let address = server.url();
        let faults = config.clone();
        tasks.spawn(async move {
            let mut kinds = Vec::new();
            for i in (caller..300).step_by(callers) {
                let body = openai(&i.to_string());
                for attempt in 1..=3 {
                    let answer = client.ask(OPENAI, &body).await;
                    let expected =
                        Fate::of(&faults, content_hash(OPENAI, body.as_bytes()), attempt).kind;
                    assert_eq!(answer.is_err(), matches!(expected, Kind::Hang | Kind::Reset));
                    if answer.is_err() {
                        let address = address.strip_prefix("http://").unwrap();
                        client = Client(TcpStream::connect(address).await.unwrap());
                    }
                    kinds.push(((i, attempt), expected));
                }
            }
            kinds
        });
    }
    let mut all: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    all.sort_by_key(|(at, _)| *at);
    let counts = server.shutdown().await;
    assert_eq!(counts.total(), 900);
    all.into_iter().map(|(_, kind)| kind).collect()
}

#[tokio::test]
async fn a_run_replays_from_its_seed_whatever_the_order() {
    let one = endings(7, 1).await;
    assert_eq!(one, endings(7, 20).await);
    assert_ne!(one, endings(8, 20).await);
}

#[test]
fn faults_and_latencies_come_at_the_rates_they_were_told() {
    let config = StandInConfig::default();
    let n = 100_000_u64;
    let fates: Vec<Fate> = (0..n).map(|content| Fate::of(&config, content, 1)).collect();
    let share = |kind| fates.iter().filter(|fate| fate.kind == kind).count() as f64 / n as f64;
    for (kind, rate) in [
        (Kind::RateLimited, 0.02),
        (Kind::ServerError, 0.02),
        (Kind::Hang, 0.005),
        (Kind::Truncated, 0.02),
        (Kind::Prose, 0.02),
        (Kind::Reset, 0.01),
        (Kind::Plain, 0.905),
    ] {
        assert!((share(kind) - rate).abs() < 0.002, "{kind:?}: {}", share(kind));
    }
    let mut latencies: Vec<_> = fates.iter().map(|fate| fate.latency.as_secs_f64()).collect();
    latencies.sort_by(f64::total_cmp);
    let at = |quantile: f64| latencies[(quantile * n as f64) as usize] / 0.020;
    assert!((at(0.5) - 1.0).abs() < 0.02, "{}", at(0.5));
    // The quantile of a lognormal: exp(sigma × that of the normal, 1.2816).
    assert!((at(0.9) - (0.5_f64 * 1.2816).exp()).abs() < 0.05, "{}", at(0.9));
    let constant = StandInConfig { sigma: 0.0, ..config };
    assert!((0..100).all(|c| Fate::of(&constant, c, 1).latency == Duration::from_millis(20)));
}

#[test]
fn the_default_faults_stay_below_a_tenth() {
    assert!(FaultRates::default().sum() <= 0.10);
    assert!((FaultRates::total(0.3).sum() - 0.3).abs() < 1e-9);
    assert_eq!(FaultRates::total(0.0), FaultRates::NONE);
}

/// Numbers, not claims: run by hand with `--release … -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by hand to measure"]
async fn requests_a_second_over_100_connections() {
    let server = StandIn::start(always(none())).await.unwrap();
    let begun = std::time::SystemTime::now();
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let mut client = Client::to(&server).await;
        callers.spawn(async move {
            for i in 0..500 {
                let answer = client.ask(OPENAI, &openai(&i.to_string())).await.unwrap();
                assert_eq!(answer.status, 200);
            }
        });
    }
    callers.join_all().await;
    let taken = begun.elapsed().unwrap();
    println!("{:.0} requests/s", 50_000.0 / taken.as_secs_f64());
    server.shutdown().await;
}
