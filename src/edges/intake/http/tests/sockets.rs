//! Real connections, against those who mean no good with them. Nothing here sleeps: limits are short,
//! and the server answers when they are over.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

async fn bound(config: HttpIntakeConfig, pipeline: &Pipeline) -> HttpIntake {
    HttpIntake::builder(config, pipeline, lines).bind().await.unwrap()
}

async fn connect(intake: &HttpIntake) -> TcpStream {
    let address = intake.local_addr().unwrap();
    assert!(address.ip().is_loopback());
    TcpStream::connect(address).await.unwrap()
}

/// Everything that comes until the other end closes.
async fn heard(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    // A reset after the answer is an end, too.
    let _ = stream.read_to_end(&mut text).await;
    String::from_utf8(text).unwrap()
}

/// Status and problem's word of the last answer in a text.
fn problem(text: &str) -> (u16, String) {
    let answer =
        text.rfind("HTTP/1.1 ").map(|at| &text[at..]).unwrap_or_else(|| panic!("{text:?}"));
    let status = answer["HTTP/1.1 ".len()..][..3].parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    assert!(
        answer.to_ascii_lowercase().contains("content-type: application/problem+json"),
        "{answer}"
    );
    let body: Value = serde_json::from_str(body).unwrap();
    let word = body["type"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    (status, word)
}

const SOON: Duration = Duration::from_millis(50);

#[tokio::test]
async fn a_head_that_does_not_end_is_answered_with_408() {
    let intake = bound(unlimited().with_header_timeout(SOON), &open()).await;
    let mut stream = connect(&intake).await;
    stream.write_all(b"POST /intent HTTP/1.1\r\nHost: a\r\nX-Slow: ").await.unwrap();
    assert_eq!(problem(&heard(stream).await), (408, "header-timeout".to_owned()));
}

#[tokio::test]
async fn who_says_nothing_is_not_spoken_to() {
    let intake = bound(unlimited().with_header_timeout(SOON), &open()).await;
    assert_eq!(heard(connect(&intake).await).await, "");
    // Nor who has been answered, and idles.
    let mut stream = connect(&intake).await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let text = heard(stream).await;
    assert!(
        text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with(r#"{"status":"ok"}"#),
        "{text}"
    );
}

#[tokio::test]
async fn a_body_that_does_not_end_is_answered_with_408() {
    let intake = bound(unlimited().with_body_timeout(SOON), &open()).await;
    let mut stream = connect(&intake).await;
    stream
        .write_all(b"POST /intent HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\na")
        .await
        .unwrap();
    assert_eq!(problem(&heard(stream).await), (408, "body-timeout".to_owned()));
}

#[tokio::test]
async fn a_body_that_is_too_long_is_answered_before_it_comes() {
    let intake = bound(unlimited().with_body_bytes(1_000), &open()).await;
    let mut stream = connect(&intake).await;
    stream
        .write_all(b"POST /intent HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(problem(&heard(stream).await), (413, "body-too-large".to_owned()));
    // One that comes all the same does not take the answer with it.
    let mut stream = connect(&intake).await;
    stream
        .write_all(b"POST /intent HTTP/1.1\r\nHost: a\r\nContent-Length: 400000\r\n\r\n")
        .await
        .unwrap();
    let _ = stream.write_all(&vec![b'a'; 400_000]).await;
    assert_eq!(problem(&heard(stream).await), (413, "body-too-large".to_owned()));
    let mut stream = connect(&intake).await;
    stream
        .write_all(b"POST /intent HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    let _ = stream.write_all(format!("7d0\r\n{}\r\n", "a".repeat(2_000)).as_bytes()).await;
    assert_eq!(problem(&heard(stream).await), (413, "body-too-large".to_owned()));
}

#[tokio::test]
async fn what_is_no_request_ends_its_connection_with_a_4xx() {
    let intake = bound(unlimited().with_header_bytes(2_048), &open()).await;
    let long = format!("GET /healthz HTTP/1.1\r\nX-Long: {}\r\n\r\n", "a".repeat(40_000));
    let many = format!("GET /healthz HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200));
    for (sent, status) in [
        ("\0\0\0\0\r\n\r\n", "400"),
        ("GET /healthz HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked, x\r\n\r\n", "400"),
        (&long, "431"),
        (&many, "431"),
    ] {
        let mut stream = connect(&intake).await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        let text = heard(stream).await;
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{sent:.40}: {text}");
    }
    // And the next one is served.
    let mut stream = connect(&intake).await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(heard(stream).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_head_that_is_somewhat_too_long_is_answered_with_a_problem() {
    let intake = bound(unlimited().with_header_bytes(2_048), &open()).await;
    let mut stream = connect(&intake).await;
    let long = "a".repeat(4_000);
    let head = format!("GET /healthz HTTP/1.1\r\nConnection: close\r\nX-Long: {long}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(problem(&heard(stream).await), (431, "head-too-large".to_owned()));
}

/// Its system answers no more, so nothing that is sent to it is taken: but as long as there is little
/// to send, no write waits.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_that_has_vanished_is_noticed_in_the_time_of_a_write() {
    let intake = bound(unlimited().with_write_timeout(Duration::from_secs(7)), &open()).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    server::prepare(&stream, &intake.service().whole.state);
    let socket = socket2::SockRef::from(&stream);
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(7)));
    assert!(stream.nodelay().unwrap());
}

#[tokio::test]
async fn connections_are_bounded_and_who_is_too_many_is_told() {
    let intake = bound(unlimited().with_connections(2), &open()).await;
    let held = [connect(&intake).await, connect(&intake).await];
    while intake.snapshot().connections_open < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(problem(&heard(connect(&intake).await).await), (503, "busy".to_owned()));
    assert_eq!(intake.snapshot().connections_refused, 1);
    drop(held);
    while intake.snapshot().connections_open > 0 {
        tokio::task::yield_now().await;
    }
    let mut stream = connect(&intake).await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(heard(stream).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off() {
    let config =
        unlimited().with_write_timeout(SOON).with_header_timeout(Duration::from_secs(3_600));
    let intake = bound(config, &open()).await;
    let stream = connect(&intake).await;
    let (read, mut write) = stream.into_split();
    // It asks and asks, and never reads: until nobody listens any more.
    let asks = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1_000);
    while write.write_all(&asks).await.is_ok() {}
    while intake.snapshot().connections_open > 0 {
        tokio::task::yield_now().await;
    }
    drop(read);
}

#[tokio::test]
async fn a_client_that_goes_away_gives_its_stream_back() {
    let (pipeline, _gate) = gated(PipelineConfig::default());
    let intake = bound(unlimited(), &pipeline).await;
    let id = ask(&intake, post("a")).await.id();
    let mut stream = connect(&intake).await;
    let text = format!("GET /intent/{id}/events HTTP/1.1\r\nHost: a\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut first = [0; 9];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(intake.snapshot().event_streams, 1);
    drop(stream);
    while intake.snapshot().event_streams > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_shutdown_lets_answers_end_and_cuts_what_does_not() {
    let intake = bound(unlimited(), &open()).await;
    let idle = connect(&intake).await;
    let mut half = connect(&intake).await;
    let head =
        b"POST /intent HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n";
    half.write_all(head).await.unwrap();
    // Whoever is told to go on is being read.
    half.read_exact(&mut [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()]).await.unwrap();
    let address = intake.local_addr().unwrap();
    let report = intake.shutdown(Duration::from_millis(100)).await;
    assert_eq!((report.connections_cut, report.tickets_left), (1, 0));
    assert_eq!(heard(idle).await, "");
    assert_eq!(heard(half).await, "");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
    let report = intake.shutdown(Duration::ZERO).await;
    assert_eq!(report.connections_cut, 0);
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error() {
    let pipeline = open();
    let intake = bound(unlimited(), &pipeline).await;
    let taken = unlimited().with_bind(Bind::Anywhere(intake.local_addr().unwrap()));
    let error = HttpIntake::builder(taken, &pipeline, lines).bind().await.unwrap_err();
    assert!(
        matches!(error, HttpIntakeError::Bind { address, .. } if Some(address) == intake.local_addr())
    );
}
