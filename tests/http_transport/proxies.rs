//! Requests through proxies: who is told what, whom nobody is mixed up with, and what goes wrong.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headworks::http_transport::{
    Phase, Protocol, Proxy, ProxyRules, ProxyUrl, TransportConfig, TransportError,
};
use headworks::{Outcome, TransportFactory};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::{OK, Peer, Server, at_rest, counts, patiently, transport, until};

/// What was asked of a server, head by head.
type Asked = Arc<Mutex<Vec<String>>>;

/// Answers `ok` itself, and connects whoever wants a tunnel to `backend`, whatever its name.
async fn forward<S>(mut client: S, backend: SocketAddr, asked: Asked)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = client.read_u8().await else { return };
            head.push(byte);
        }
        let head = String::from_utf8(head).unwrap();
        let wants_tunnel = head.starts_with("CONNECT ");
        asked.lock().unwrap().push(head);
        if wants_tunnel {
            let mut backend = TcpStream::connect(backend).await.unwrap();
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut client, &mut backend).await;
            return;
        }
        if client.write_all(OK.as_bytes()).await.is_err() || client.flush().await.is_err() {
            return;
        }
    }
}

async fn forwarder(backend: SocketAddr) -> (Server, Asked) {
    let asked = Asked::default();
    let log = Arc::clone(&asked);
    let each = move |peer: Peer| forward(peer.stream, backend, Arc::clone(&log));
    (Server::running(each).await, asked)
}

fn at(server: &Server) -> ProxyUrl {
    format!("http://user:s3cret@{}", server.address).parse().unwrap()
}

fn through(server: &Server) -> TransportConfig {
    TransportConfig::default().with_proxy(ProxyRules::all(at(server)).into())
}

const CREDENTIALS: &str = "proxy-authorization: Basic dXNlcjpzM2NyZXQ=\r\n";

async fn get(transport: &headworks::Transport, url: &str) -> Result<String, TransportError> {
    patiently(async {
        let body = transport.get(url).await?.into_body().bytes(1 << 10).await?;
        Ok(String::from_utf8(body.to_vec()).unwrap())
    })
    .await
}

/// No part of an error, however it is printed, tells the password.
fn keeps_the_secret(error: &TransportError) {
    let mut told = format!("{error:?} {error}");
    let mut next = error.source();
    while let Some(cause) = next {
        told += &format!("{cause:?} {cause}");
        next = cause.source();
    }
    assert!(!told.contains("s3cret") && !told.contains("dXNlcjpzM2NyZXQ"), "{told}");
}

#[tokio::test]
async fn a_plain_request_is_sent_to_the_proxy_with_its_whole_url() {
    let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let (proxy, asked) = forwarder(nobody).await;
    let transport = transport(through(&proxy));
    for _ in 0..3 {
        assert_eq!(get(&transport, "http://backend.invalid:81/a?b=c").await.unwrap(), "ok");
    }
    let heads = asked.lock().unwrap().clone();
    assert_eq!(heads.len(), 3);
    for head in heads {
        assert!(head.starts_with("GET http://backend.invalid:81/a?b=c HTTP/1.1\r\n"), "{head}");
        assert!(
            head.contains("host: backend.invalid:81\r\n") && head.contains(CREDENTIALS),
            "{head}"
        );
    }
    let counts = at_rest(&transport).await;
    assert_eq!((counts.opened, counts.reused), (1, 2), "the connection to the proxy is kept");
    assert_eq!(transport.snapshot().hosts[0].host, "http://backend.invalid:81");
}

#[tokio::test]
async fn who_is_exempt_is_reached_directly_and_told_nothing() {
    let (told, log) = (Asked::default(), Asked::default());
    let backend = {
        let log = Arc::clone(&told);
        Server::running(move |mut peer: Peer| {
            let log = Arc::clone(&log);
            async move {
                while let Some(request) = peer.request().await {
                    log.lock().unwrap().push(request);
                    peer.write(OK).await;
                }
            }
        })
        .await
    };
    let proxy = Server::running({
        let log = Arc::clone(&log);
        move |peer: Peer| forward(peer.stream, "127.0.0.1:1".parse().unwrap(), Arc::clone(&log))
    })
    .await;
    let exempt = format!("127.0.0.1:{}", backend.address.port());
    let rules = ProxyRules::all(at(&proxy)).with_no_proxy(exempt.parse().unwrap());
    let factory = TransportFactory::new().unwrap();
    let config = TransportConfig::default();
    let both = factory.transport(config.clone().with_proxy(rules.into())).unwrap();
    assert_eq!(get(&both, &backend.url("/")).await.unwrap(), "ok");
    assert_eq!(get(&both, "http://else.invalid/").await.unwrap(), "ok");
    let direct = told.lock().unwrap().clone();
    assert_eq!((direct.len(), log.lock().unwrap().len()), (1, 1));
    assert!(
        direct[0].starts_with("GET / HTTP/1.1\r\n") && !direct[0].contains("roxy"),
        "{direct:?}"
    );

    // Another configuration is another pool: the same host, another way, another connection.
    let proxied = factory.transport(through(&proxy)).unwrap();
    assert_eq!(get(&proxied, &backend.url("/")).await.unwrap(), "ok");
    let straight = factory.transport(config.with_proxy(Proxy::Direct)).unwrap();
    assert_eq!(get(&straight, &backend.url("/")).await.unwrap(), "ok");
    assert_eq!((told.lock().unwrap().len(), log.lock().unwrap().len()), (2, 2));
    for transport in [&both, &proxied, &straight] {
        let counts = counts(transport);
        assert_eq!(counts.reused, 0, "nobody uses what another opened");
    }
}

#[tokio::test]
async fn over_http2_by_prior_knowledge_a_plain_request_goes_through_a_tunnel() {
    let backend = crate::h2::serving(10, |_, mut respond| async move {
        if let Ok(mut send) = respond.send_response(http::Response::new(()), false) {
            let _ = send.send_data("ok".into(), true);
        }
    })
    .await;
    let (proxy, asked) = forwarder(backend.address).await;
    let transport = transport(through(&proxy).with_protocol(Protocol::Http2));
    for _ in 0..3 {
        assert_eq!(get(&transport, "http://backend.invalid/").await.unwrap(), "ok");
    }
    let heads = asked.lock().unwrap().clone();
    let [head] = &heads[..] else { panic!("{heads:?}") };
    assert!(head.starts_with("CONNECT backend.invalid:80 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("host: backend.invalid:80\r\n") && head.contains(CREDENTIALS), "{head}");
    assert_eq!(at_rest(&transport).await.opened, 1);
}

/// Through a proxy that says `answer` to whoever wants a tunnel, and then hangs up.
async fn tunnel_by(answer: impl Into<Vec<u8>>) -> TransportError {
    let answer = answer.into();
    let proxy = Server::running(move |mut peer: Peer| {
        let answer = answer.clone();
        async move {
            peer.request().await;
            peer.write(answer).await;
        }
    })
    .await;
    let transport = transport(through(&proxy).with_protocol(Protocol::Http2));
    let error = get(&transport, "http://backend.invalid/").await.unwrap_err();
    keeps_the_secret(&error);
    assert_eq!(at_rest(&transport).await.open(), 0, "{error:?}");
    error
}

#[tokio::test]
async fn a_proxy_that_says_no_is_quoted() {
    for (status, retryable, outcome) in [
        (407, false, Outcome::Ignored),
        (403, false, Outcome::Ignored),
        (429, true, Outcome::Ignored),
        (502, true, Outcome::Failure),
        (504, true, Outcome::Failure),
        // What was asked for is a tunnel.
        (304, false, Outcome::Ignored),
        (101, false, Outcome::Ignored),
    ] {
        let answer = format!("HTTP/1.1 {status} No\r\nContent-Length: 5\r\n\r\nnever");
        let error = tunnel_by(answer).await;
        let TransportError::ProxyRefused { status: said, proxy } = &error else {
            panic!("{status}: {error:?}")
        };
        assert_eq!(said.as_u16(), status);
        assert!(proxy.starts_with("http://127.0.0.1:"), "{proxy}");
        assert_eq!((error.is_retryable(), error.outcome()), (retryable, outcome), "{status}");
    }
}

#[tokio::test]
async fn a_proxy_that_speaks_no_http_is_told_apart() {
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(1 << 20));
    for answer in ["", "HTTP/1.1 2", "SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 two\r\n\r\n", &endless] {
        let error = tunnel_by(answer).await;
        assert!(matches!(error, TransportError::ProxyAnswer { .. }), "{answer:.20}: {error:?}");
        assert_eq!((error.is_retryable(), error.outcome()), (true, Outcome::Failure));
    }
    // Behind a tunnel that is opened, what is no HTTP is the host's fault.
    let error = tunnel_by("HTTP/1.1 200 OK\r\n\r\nthis is no http/2 at all, and long enough").await;
    assert!(matches!(error, TransportError::Dial { .. }), "{error:?}");
}

#[tokio::test]
async fn a_proxy_that_is_not_there_and_one_that_is_silent_are_told_apart() {
    let gone = Server::by_hand().await;
    let config = through(&gone);
    drop(gone);
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let transport = transport(config.clone().with_protocol(protocol));
        let error = get(&transport, "http://backend.invalid/").await.unwrap_err();
        keeps_the_secret(&error);
        assert!(matches!(error, TransportError::ProxyDial { .. }), "{error:?}");
        assert!(error.is_retryable() && at_rest(&transport).await.open() == 0);
    }
    let silent = Server::by_hand().await;
    let config = through(&silent).with_protocol(Protocol::Http2);
    let short = Duration::from_millis(50);
    let late = transport(config.clone().with_dial_timeout(short));
    let error = get(&late, "http://backend.invalid/").await.unwrap_err();
    keeps_the_secret(&error);
    assert!(
        matches!(error, TransportError::ProxyTimeout { .. }) && error.is_retryable(),
        "{error:?}"
    );
    let late = transport(config.with_total_timeout(short));
    let error = get(&late, "http://backend.invalid/").await.unwrap_err();
    assert!(matches!(error, TransportError::TotalTimeout { phase: Phase::Dial }), "{error:?}");
    assert_eq!(at_rest(&late).await.open(), 0);
}

#[tokio::test]
async fn a_request_that_is_dropped_while_the_tunnel_is_dug_leaves_nothing() {
    let proxy = Server::by_hand().await;
    let transport = transport(through(&proxy).with_protocol(Protocol::Http2));
    let asking = tokio::spawn({
        let transport = transport.clone();
        async move { transport.get("http://backend.invalid/").await.map(drop) }
    });
    let mut peer = proxy.accept().await;
    assert!(peer.request().await.unwrap().starts_with("CONNECT "));
    assert_eq!(counts(&transport).dialling, 1);
    asking.abort();
    peer.closed().await;
    until(|| counts(&transport).open() == 0).await;
}

/// Does nothing unless it is the child of the next test.
#[tokio::test]
async fn child_goes_by_its_environment() {
    let Ok(url) = std::env::var("HEADWORKS_TEST_URL") else { return };
    let factory = TransportFactory::new().unwrap();
    let config = TransportConfig::default().with_proxy(Proxy::Environment);
    match factory.transport(config) {
        Ok(transport) => {
            println!("<{:?}>", get(&transport, &url).await.map_err(|it| it.to_string()))
        }
        Err(error) => println!("<{error}>"),
    }
}

async fn child(environment: &[(&str, String)]) -> String {
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "proxies::child_goes_by_its_environment", "--nocapture"])
        .kill_on_drop(true);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD"] {
        child.env_remove(name).env_remove(name.to_lowercase());
    }
    // Nobody listens there: directly it is refused at once.
    child.env("HEADWORKS_TEST_URL", "http://127.0.0.1:1/");
    child.envs(environment.iter().map(|(name, value)| (name, value)));
    let output = patiently(child.output()).await.unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let said = output.split_once('<').and_then(|(_, said)| said.split_once(">\n"));
    said.unwrap_or_else(|| panic!("{output}")).0.to_owned()
}

#[tokio::test]
async fn the_environment_of_the_process_is_gone_by() {
    let (proxy, asked) = forwarder("127.0.0.1:1".parse().unwrap()).await;
    let url = format!("http://user:s3cret@{}", proxy.address);
    assert_eq!(child(&[("HTTP_PROXY", url.clone())]).await, "Ok(\"ok\")");
    assert!(asked.lock().unwrap()[0].contains(CREDENTIALS));
    for environment in [
        &[][..],
        &[("HTTP_PROXY", url.clone()), ("NO_PROXY", "127.0.0.1".to_owned())],
        &[("HTTP_PROXY", url.clone()), ("REQUEST_METHOD", "GET".to_owned())],
        &[("HTTPS_PROXY", url.clone())],
    ] {
        let said = child(environment).await;
        assert!(said.contains("could not connect to http://127.0.0.1:1"), "{said}");
    }
    let said = child(&[("HTTP_PROXY", url.replace("http:", "socks5:"))]).await;
    assert!(said.starts_with("HTTP_PROXY is ") && !said.contains("s3cret"), "{said}");
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[cfg(feature = "tls")]
mod tls {
    use std::io;

    use headworks::http_transport::{TlsFailure, Trust};
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::tls::{Root, Says, serve, trusting};

    fn trust(root: &Root, rules: ProxyRules) -> TransportConfig {
        trusting(Trust::Only(root.der.clone())).with_proxy(rules.into())
    }

    #[tokio::test]
    async fn https_goes_through_a_tunnel_in_which_all_is_as_ever() {
        let root = Root::new();
        let leaf = root.signs(|_| {});
        type Spoken = &'static [&'static [u8]];
        let cases: [(Spoken, usize); 2] = [(&[], 4), (&[b"h2"], 1)];
        for (speaks, opened) in cases {
            let backend = serve(Says { speaks, ..Says::only(&leaf) }).await;
            let (proxy, asked) = forwarder(backend.address).await;
            let config = trust(&root, ProxyRules::default().with_https(at(&proxy)));
            let keeps = if speaks.is_empty() { 0 } else { 1 };
            let transport = transport(config.with_idle_per_host(keeps));
            for _ in 0..4 {
                assert_eq!(get(&transport, "https://localhost:4430/").await.unwrap(), "ok");
                at_rest(&transport).await;
            }
            let heads = asked.lock().unwrap().clone();
            assert_eq!(heads.len(), opened);
            for head in heads {
                assert!(head.starts_with("CONNECT localhost:4430 HTTP/1.1\r\n"), "{head}");
                assert!(head.contains(CREDENTIALS));
            }
            let timings = transport.snapshot().timings;
            let handshakes = (timings.tls.count(), timings.tls_resumed);
            assert_eq!(handshakes, (opened as u64, opened as u64 - 1), "sessions are resumed");
        }
    }

    #[tokio::test]
    async fn the_host_behind_a_tunnel_still_has_to_prove_itself() {
        let (root, other) = (Root::new(), Root::new());
        let leaf = other.signs(|_| {});
        let backend = serve(Says::only(&leaf)).await;
        let (proxy, _) = forwarder(backend.address).await;
        let transport = transport(trust(&root, ProxyRules::all(at(&proxy))));
        let error = get(&transport, "https://localhost/").await.unwrap_err();
        let TransportError::Tls { host, failure, .. } = &error else { panic!("{error:?}") };
        assert_eq!((&**host, *failure), ("https://localhost", TlsFailure::UnknownIssuer));
        keeps_the_secret(&error);
    }

    /// A proxy that is itself reached over TLS.
    async fn secure_forwarder(says: Says<'_>, backend: SocketAddr) -> (Server, Asked) {
        let acceptor = TlsAcceptor::from(Arc::new(says.config()));
        let asked = Asked::default();
        let log = Arc::clone(&asked);
        let server = Server::running(move |peer: Peer| {
            let (accepting, log) = (acceptor.accept(peer.stream), Arc::clone(&log));
            async move {
                let accepted: io::Result<_> = accepting.await;
                let Ok(stream) = accepted else { return };
                assert_ne!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
                forward(stream, backend, log).await;
            }
        });
        (server.await, asked)
    }

    #[tokio::test]
    async fn a_proxy_may_itself_be_reached_over_tls() {
        let root = Root::new();
        let (leaf, own) = (root.signs(|_| {}), root.signs(|_| {}));
        let backend = serve(Says { speaks: &[b"h2"], ..Says::only(&leaf) }).await;
        let says = Says { speaks: &[b"h2", b"http/1.1"], ..Says::only(&own) };
        let (proxy, asked) = secure_forwarder(says, backend.address).await;
        let url = format!("https://user:s3cret@localhost:{}", proxy.address.port());
        let rules = ProxyRules::all(url.parse().unwrap());
        let safe = transport(trust(&root, rules.clone()));
        assert_eq!(get(&safe, "https://localhost/").await.unwrap(), "ok");
        assert_eq!(get(&safe, "http://backend.invalid/").await.unwrap(), "ok");
        let heads = asked.lock().unwrap().clone();
        assert!(heads[0].starts_with("CONNECT localhost:443 "), "{heads:?}");
        assert!(heads[1].starts_with("GET http://backend.invalid/ "), "{heads:?}");
        // One that nobody vouches for is told neither password nor host.
        let careful = transport(trust(&Root::new(), rules));
        let error = get(&careful, "http://backend.invalid/").await.unwrap_err();
        let TransportError::Tls { host, failure, .. } = &error else { panic!("{error:?}") };
        assert!(host.starts_with("https://localhost:"), "{host}");
        assert_eq!(*failure, TlsFailure::UnknownIssuer);
        keeps_the_secret(&error);
        assert_eq!(asked.lock().unwrap().len(), 2);
    }
}
