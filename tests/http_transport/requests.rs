//! What may be asked, and that nothing else gets onto the wire.

use headworks::http_transport::{Preset, TransportBody, TransportError};
use http::{HeaderValue, Method, Request, Uri};
use tower_service::Service;

use crate::server::{OK, Server, at_rest, patiently, transport};

/// The request as the server saw it.
async fn seen(server: &Server, request: Request<TransportBody>) -> String {
    let transport = transport(Preset::Default);
    let serve = async {
        let mut peer = server.accept().await;
        let request = peer.request().await.unwrap();
        peer.write(OK).await;
        request
    };
    let (answer, request) = patiently(async { tokio::join!(transport.send(request), serve) }).await;
    answer.unwrap();
    request
}

#[tokio::test]
async fn urls_that_lead_nowhere_are_refused_before_anything_is_dialled() {
    let transport = transport(Preset::Default);
    for url in ["", "/", "/path", "*", "example.org", "example.org:80", "http:///x", "http://"] {
        let error = transport.get(url).await.unwrap_err();
        assert!(matches!(error, TransportError::InvalidUrl(_)), "{url}: {error:?}");
        assert!(!error.is_retryable());
    }
    for url in [
        "http://user:secret@127.0.0.1:1/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:99999/",
        "http://[::g]/",
        "http://+[::1]:8080/",
    ] {
        let error = transport.get(url).await.unwrap_err();
        assert!(matches!(error, TransportError::InvalidUrl(_)), "{url}: {error:?}");
    }
    for url in ["ftp://127.0.0.1/", "unix://socket/", "ws://127.0.0.1/", "javascript://x/"] {
        let error = transport.get(url).await.unwrap_err();
        assert!(matches!(error, TransportError::UnsupportedScheme(_)), "{url}: {error:?}");
        assert!(!error.is_retryable());
    }
    if cfg!(not(feature = "tls")) {
        let error = transport.get("https://127.0.0.1:1/").await.unwrap_err();
        assert!(matches!(error, TransportError::UnsupportedScheme(_)), "{error:?}");
    }
    let snapshot = transport.snapshot();
    assert_eq!((snapshot.in_all.opened, snapshot.hosts.len()), (0, 0));
}

/// User input in a URL or a header can't end its line.
#[tokio::test]
async fn a_line_break_never_reaches_the_wire() {
    let transport = transport(Preset::Default);
    for evil in ["a\r\nX: y", "a\nX: y", "a\rX: y", "a\0b", "\r\n\r\nGET /second HTTP/1.1\r\n\r\n"]
    {
        assert!(HeaderValue::from_str(evil).is_err(), "{evil:?}");
        assert!(http::HeaderName::from_bytes(evil.as_bytes()).is_err(), "{evil:?}");
        assert!(Method::from_bytes(evil.as_bytes()).is_err(), "{evil:?}");
        for url in [format!("http://127.0.0.1:1/{evil}"), format!("http://127.0.0.1{evil}/")] {
            let error = transport.get(url).await.unwrap_err();
            assert!(matches!(error, TransportError::InvalidUrl(_)), "{evil:?}: {error:?}");
        }
    }
    for url in
        ["http://127.0.0.1:1/a b HTTP/1.1", "http://127.0.0.1:1 /", "http://127.0.0.1:1\\@x/"]
    {
        let error = transport.get(url).await.unwrap_err();
        assert!(matches!(error, TransportError::InvalidUrl(_)), "{url}: {error:?}");
    }
}

/// Headers of the caller can't say another length than the body has.
#[tokio::test]
async fn the_bodys_length_is_the_transports_to_say() {
    let server = Server::by_hand().await;
    let smuggle = "x\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n";
    for (name, value) in [("Content-Length", "1"), ("Transfer-Encoding", "chunked")] {
        let request = Request::post(server.url("/")).header(name, value);
        let request = seen(&server, request.body(TransportBody::from(smuggle)).unwrap()).await;
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", smuggle.len())), "{head}");
        assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
        assert_eq!(body, smuggle);
    }
}

#[tokio::test]
async fn what_would_break_the_framing_is_refused() {
    let transport = transport(Preset::Default);
    let two_hosts = Request::get("http://127.0.0.1:1/").header("Host", "a").header("Host", "b");
    let upgrade = Request::get("http://127.0.0.1:1/").header("Upgrade", "websocket");
    let connect = Request::builder().method(Method::CONNECT).uri("http://127.0.0.1:1/");
    for request in [two_hosts, upgrade, connect] {
        let error = transport.send(request.body(()).unwrap()).await.unwrap_err();
        assert!(matches!(error, TransportError::InvalidRequest(_)), "{error:?}");
    }
}

#[tokio::test]
async fn the_request_line_is_in_origin_form() {
    let server = Server::by_hand().await;
    for (path, line) in [
        ("", "GET / HTTP/1.1"),
        ("/", "GET / HTTP/1.1"),
        ("#fragment", "GET / HTTP/1.1"),
        ("?a=b", "GET /?a=b HTTP/1.1"),
        ("/a/../b%20c?d=e&f#fragment", "GET /a/../b%20c?d=e&f HTTP/1.1"),
    ] {
        let request = Request::get(server.url(path)).body(TransportBody::empty()).unwrap();
        let request = seen(&server, request).await;
        assert_eq!(request.lines().next(), Some(line));
        assert!(request.contains(&format!("host: {}\r\n", server.address)), "{request}");
    }
    let request = Request::get(server.url("/")).header("Host", "named.example");
    let request = seen(&server, request.body(TransportBody::empty()).unwrap()).await;
    assert_eq!(request.matches("host: ").count(), 1, "{request}");
    assert!(request.contains("host: named.example\r\n"), "{request}");
}

#[tokio::test]
async fn a_stream_of_unknown_length_goes_out_in_chunks_and_a_failing_one_ends_the_request() {
    struct Pieces(std::vec::IntoIter<Result<&'static str, &'static str>>);
    impl http_body::Body for Pieces {
        type Data = bytes::Bytes;
        type Error = &'static str;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, &'static str>>> {
            let piece = self.0.next();
            std::task::Poll::Ready(piece.map(|it| it.map(|it| http_body::Frame::data(it.into()))))
        }
    }
    let server = Server::by_hand().await;
    let body = TransportBody::stream(Pieces(vec![Ok("one"), Ok("two")].into_iter()));
    let request = seen(&server, Request::put(server.url("/")).body(body).unwrap()).await;
    assert!(request.ends_with("\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"), "{request}");

    let transport = transport(Preset::Default);
    let body = TransportBody::stream(Pieces(vec![Ok("one")].into_iter()));
    let error = transport.send(Request::get(server.url("/")).body(body).unwrap()).await;
    let error = error.map(drop).unwrap_err();
    assert!(
        matches!(error, TransportError::InvalidRequest(_)),
        "it would lack its body: {error:?}"
    );
    let body = TransportBody::stream(Pieces(vec![Ok("one"), Err("broken")].into_iter()));
    let request = Request::put(server.url("/")).body(body).unwrap();
    let (answer, peer) = tokio::join!(transport.send(request), server.accept());
    let error = answer.unwrap_err();
    assert!(matches!(error, TransportError::RequestBody(_)), "{error:?}");
    peer.closed().await;
    assert_eq!(at_rest(&transport).await.open(), 0);
}

#[tokio::test]
async fn one_host_is_one_however_it_is_written() {
    let server = Server::answering().await;
    let transport = transport(Preset::Default);
    let port = server.address.port();
    for host in ["localhost", "LOCALHOST", "LocalHost"] {
        let answer = transport.get(format!("HTTP://{host}:{port}/")).await.unwrap();
        answer.into_body().bytes(10).await.unwrap();
    }
    assert_eq!((at_rest(&transport).await.opened, transport.snapshot().hosts.len()), (1, 1));
    let error = transport.get("http://localhost:80/").await.map(drop);
    let known = transport.snapshot().hosts;
    assert!(known.iter().any(|it| it.host == "http://localhost"), "{known:?} {error:?}");
}

#[tokio::test]
async fn it_is_a_tower_service() {
    let server = Server::answering().await;
    let mut transport = transport(Preset::Default);
    std::future::poll_fn(|cx| Service::<Request<String>>::poll_ready(&mut transport, cx))
        .await
        .unwrap();
    let request = Request::post(server.url("/")).body("text".to_owned()).unwrap();
    let answer = transport.call(request).await.unwrap();
    assert_eq!(answer.into_body().bytes(10).await.unwrap(), "ok");
    let uri: Uri = server.url("/").parse().unwrap();
    transport.get(&uri).await.unwrap();
}
