//! Bad servers: each a typed error in bounded time, nothing leaked, the pool healthy afterwards.

use std::time::Duration;

use headworks::Outcome;
use headworks::http_transport::{Preset, TransportConfig, TransportError};
use http::StatusCode;
use serde_json::{Value, json};

use crate::server::{OK, Peer, Server, at_rest, patiently, transport};

/// Answers the first request of each connection with `answer`, then closes; by reset if `reset`.
async fn answers(answer: impl Into<Vec<u8>>, reset: bool) -> Server {
    let answer = answer.into();
    Server::running(move |mut peer: Peer| {
        let answer = answer.clone();
        async move {
            peer.request().await;
            peer.write(answer).await;
            if reset {
                peer.reset();
            }
        }
    })
    .await
}

/// Posts to a server that answers so, checks that nothing stays open, and gives the result.
async fn post(answer: impl Into<Vec<u8>>) -> Result<Value, TransportError> {
    let server = answers(answer, false).await;
    post_to(&server, TransportConfig::default()).await
}

async fn post_to(server: &Server, config: TransportConfig) -> Result<Value, TransportError> {
    let transport = transport(config);
    let result = patiently(transport.post_json(server.url("/"), &json!({"ask": 1}))).await;
    assert_eq!(at_rest(&transport).await.open(), 0);
    result
}

fn whole(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn json_goes_out_and_comes_back() {
    let server = Server::by_hand().await;
    let transport = transport(Preset::HighThroughput);
    let serve = async {
        let mut peer = server.accept().await;
        let request = peer.request().await.unwrap();
        assert!(request.starts_with("POST /v1/chat?x=1 HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("content-type: application/json\r\n"), "{request}");
        assert!(request.contains(&format!("host: {}\r\n", server.address)), "{request}");
        assert!(request.ends_with("\r\n\r\n{\"ask\":\"hi\"}"), "{request}");
        peer.write(whole("200 OK", "", "{\"answer\":[1,2]}")).await;
    };
    let ask = json!({"ask": "hi"});
    let (answer, ()) =
        tokio::join!(transport.post_json::<_, Value>(server.url("/v1/chat?x=1"), &ask), serve);
    assert_eq!(answer.unwrap(), json!({"answer": [1, 2]}));
}

#[tokio::test]
async fn a_429_carries_its_retry_after_and_says_nothing_against_the_backend() {
    let error = post(whole("429 Too Many Requests", "Retry-After: 7\r\n", "slow down")).await;
    let error = error.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    assert_eq!((error.is_retryable(), error.outcome()), (true, Outcome::Ignored));
    let TransportError::Status { status, body, .. } = error else { panic!("{error:?}") };
    assert_eq!((status, &body[..]), (StatusCode::TOO_MANY_REQUESTS, &b"slow down"[..]));
}

#[tokio::test]
async fn a_status_is_classified() {
    for (status, retryable, outcome) in [
        ("500 Oops", true, Outcome::Failure),
        ("503 Busy", true, Outcome::Failure),
        ("501 Never", false, Outcome::Failure),
        ("400 Bad", false, Outcome::Ignored),
        ("404 None", false, Outcome::Ignored),
        ("408 Slow", true, Outcome::Failure),
        ("302 There", false, Outcome::Ignored),
    ] {
        let error = post(whole(status, "Location: http://elsewhere/\r\n", "")).await.unwrap_err();
        assert_eq!((error.is_retryable(), error.outcome()), (retryable, outcome), "{status}");
    }
}

#[tokio::test]
async fn of_an_errors_body_a_prefix_is_kept_and_the_connection_used_again() {
    let server = Server::running(|mut peer: Peer| async move {
        while peer.request().await.is_some() {
            peer.write(whole("500 Oops", "", &"x".repeat(5_000))).await;
        }
    })
    .await;
    let transport = transport(Preset::Default);
    for _ in 0..3 {
        let error = transport.post_json::<_, Value>(server.url("/"), "?").await.unwrap_err();
        let TransportError::Status { body, .. } = error else { panic!("{error:?}") };
        assert_eq!(body.len(), 1_024);
    }
    assert_eq!(at_rest(&transport).await.opened, 1);
}

#[tokio::test]
async fn json_that_is_cut_short_or_none_may_go_better_and_json_of_another_shape_not() {
    for (body, better) in
        [("{\"a\":", true), ("", true), ("Sure! {}", true), ("{} and so on", true)]
    {
        let error = post(whole("200 OK", "", body)).await.unwrap_err();
        let TransportError::JsonDecode { malformed, .. } = error else { panic!("{error:?}") };
        assert_eq!((malformed, error.is_retryable()), (better, better), "{body}");
        assert_eq!(error.outcome(), Outcome::Failure);
    }
    let server = answers(whole("200 OK", "", "{\"a\":1}"), false).await;
    let transport = transport(Preset::Default);
    let error = transport.post_json::<_, Vec<u8>>(server.url("/"), "?").await.unwrap_err();
    assert!(matches!(error, TransportError::JsonDecode { malformed: false, .. }), "{error:?}");
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn an_answer_larger_than_the_limit_is_not_read() {
    for answer in [
        whole("200 OK", "", "[1,2,3,4,5,6,7]"),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n[1,2,3,4\r\n8\r\n,5,6,7,8\r\n"
            .into(),
    ] {
        let server = answers(answer, false).await;
        let small = TransportConfig::default().with_max_json_bytes(10);
        let error = post_to(&server, small).await.unwrap_err();
        assert!(matches!(error, TransportError::BodyTooLarge { limit_bytes: 10 }), "{error:?}");
    }
}

#[tokio::test]
async fn an_answer_that_ends_early_is_closed_early() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{\"a\":1}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{}",
    ] {
        for reset in [false, true] {
            let server = answers(answer, reset).await;
            let error = post_to(&server, TransportConfig::default()).await.unwrap_err();
            let early = matches!(error, TransportError::ClosedEarly(_));
            // A reset may overtake the header.
            assert!(early || reset && matches!(error, TransportError::Send(_)), "{error:?}");
            assert!(error.is_retryable());
        }
    }
}

#[tokio::test]
async fn no_answer_at_all_is_a_failed_send() {
    for (answer, reset) in [("", false), ("", true), ("HTTP/1.1 2", false)] {
        let server = answers(answer, reset).await;
        let error = post_to(&server, TransportConfig::default()).await.unwrap_err();
        assert!(matches!(error, TransportError::Send(_)), "{error:?}");
        assert_eq!((error.is_retryable(), error.outcome()), (true, Outcome::Failure));
    }
}

#[tokio::test]
async fn garbage_is_an_invalid_answer() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let long_chunk = format!("{chunked}fffffffffffffffff\r\n{{}}\r\n0\r\n\r\n");
    let no_chunk = format!("{chunked}zz\r\n{{}}\r\n0\r\n\r\n");
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    for answer in [
        "\u{16}\u{3}\u{1}garbage that is not http\r\n\r\n".to_owned(),
        "HTTP/1.1 99999 What\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nContent-Length: minus one\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}".into(),
        "SSH-2.0-OpenSSH_9\r\n\r\n".into(),
        no_chunk,
        long_chunk,
    ] {
        let error = post(answer.clone()).await.unwrap_err();
        assert!(matches!(error, TransportError::InvalidAnswer(_)), "{answer}: {error:?}");
    }
    let error = post(whole("200 OK", &many, "{}")).await.unwrap_err();
    assert!(matches!(error, TransportError::HeaderTooLarge), "{error:?}");
}

#[tokio::test]
async fn a_header_has_a_limit() {
    let huge = format!("X: {}\r\n", "x".repeat(20_000));
    let server = answers(whole("200 OK", &huge, "{}"), false).await;
    assert!(post_to(&server, TransportConfig::default()).await.is_ok(), "64 KiB are allowed");
    let small = TransportConfig::default().with_max_header_bytes(8_192);
    let error = post_to(&server, small).await.unwrap_err();
    assert!(matches!(error, TransportError::HeaderTooLarge), "{error:?}");
    assert!(!error.is_retryable());

    // Never ending: cut off at the limit, not read for ever.
    let server = Server::running(|mut peer: Peer| async move {
        peer.request().await;
        peer.write("HTTP/1.1 200 OK\r\n").await;
        while peer.write("X: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n").await {}
    })
    .await;
    let error = post_to(&server, TransportConfig::default()).await.unwrap_err();
    assert!(matches!(error, TransportError::HeaderTooLarge), "{error:?}");
}

#[tokio::test]
async fn chunks_and_trailers_are_read_to_their_end() {
    let server = Server::running(|mut peer: Peer| async move {
        while peer.request().await.is_some() {
            peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n").await;
            peer.write("3;note=1\r\n[1,\r\n").await;
            peer.write("2\r\n2]\r\n0\r\nx: y\r\n\r\n").await;
        }
    })
    .await;
    let transport = transport(Preset::Default);
    for _ in 0..5 {
        let numbers: Vec<u8> = transport.post_json(server.url("/"), &()).await.unwrap();
        assert_eq!(numbers, [1, 2]);
    }
    assert_eq!(at_rest(&transport).await.opened, 1);
}

/// Its body never stands still for long enough, and never ends.
#[tokio::test]
async fn a_refusal_whose_body_drips_is_told_in_bounded_time_and_closed() {
    let server = Server::running(|mut peer: Peer| async move {
        peer.request().await;
        peer.write("HTTP/1.1 503 No\r\nContent-Length: 60000\r\n\r\n").await;
        while peer.write("no ").await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let transport = transport(Preset::Default);
    let ask = json!(1);
    let answer = transport.post_json::<_, Value>(server.url("/"), &ask);
    match tokio::time::timeout(Duration::from_secs(5), answer).await.expect("it is bounded") {
        Err(TransportError::Status { status, body, .. }) => {
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(body.starts_with(b"no no "), "{body:?}");
        }
        other => panic!("{other:?}"),
    }
    let counts = at_rest(&transport).await;
    assert_eq!(counts.open(), 0);
    assert_eq!(format!("{:?}", counts.closed), "{abandoned: 1}");
}

/// HTTP/1.0 says the end of a body by closing.
#[tokio::test]
async fn a_body_that_ends_with_its_connection_is_whole() {
    for head in ["HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"] {
        assert_eq!(post(format!("{head}[1,2]")).await.unwrap(), json!([1, 2]));
    }
}

#[tokio::test]
async fn answers_without_a_body_free_their_connection_at_once() {
    let server = Server::running(|mut peer: Peer| async move {
        while let Some(request) = peer.request().await {
            let length = if request.starts_with("HEAD") { "Content-Length: 9\r\n" } else { "" };
            let status = if request.starts_with("HEAD") { "200 OK" } else { "204 None" };
            peer.write(format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 {status}\r\n{length}\r\n"))
                .await;
        }
    })
    .await;
    let transport = transport(Preset::Default);
    let mut answers = Vec::new();
    for method in [http::Method::HEAD, http::Method::GET, http::Method::HEAD] {
        let request = http::Request::builder().method(method).uri(server.url("/")).body(());
        answers.push(transport.send(request.unwrap()).await.unwrap());
    }
    assert_eq!(at_rest(&transport).await.opened, 1, "held by {} answers", answers.len());
}

#[tokio::test]
async fn nobody_there_is_a_failed_dial() {
    let gone = Server::by_hand().await.address;
    let transport = transport(Preset::Default);
    let error = transport.get(format!("http://{gone}/secret?key=1")).await.unwrap_err();
    assert!(matches!(error, TransportError::Dial { .. }), "{error:?}");
    assert_eq!(error.to_string(), format!("could not connect to http://{gone}"));
    assert_eq!((error.is_retryable(), error.outcome()), (true, Outcome::Failure));
    assert_eq!(at_rest(&transport).await.opened, 0);
}

#[tokio::test]
async fn a_bad_server_leaves_the_pool_healthy() {
    let server = Server::running(|mut peer: Peer| async move {
        while let Some(request) = peer.request().await {
            if request.starts_with("GET /bad") {
                peer.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nno").await;
                return peer.reset();
            }
            peer.write(OK).await;
        }
    })
    .await;
    let transport = transport(TransportConfig::default().with_open_per_host(1));
    for _ in 0..20 {
        let bad = async { transport.get(server.url("/bad")).await?.into_body().bytes(9).await };
        patiently(bad).await.unwrap_err();
        let good = async { transport.get(server.url("/")).await?.into_body().bytes(9).await };
        assert_eq!(patiently(good).await.unwrap(), "ok");
    }
    assert_eq!(at_rest(&transport).await.idle, 1);
}
