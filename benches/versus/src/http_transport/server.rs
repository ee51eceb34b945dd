//! The server of the rows: hyper, HTTP/1.1 and HTTP/2, in the clear and over TLS, 2 KiB of JSON for
//! everybody, in a process of its own so that its work is nobody's who is measured.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use crate::child::FLAG;

/// The name under which this program is the server.
pub const CHILD: &str = "http_server";

/// The length of an answer.
pub const BYTES: usize = 2_048;

/// Where the server says what it has counted.
const COUNTS: &str = "/counts";
/// Answers after [`DELAY`].
pub const SLOW: &str = "/slow";
/// The connection ends with the answer, and says so.
pub const BYE: &str = "/bye";
/// One connection in [`FICKLE_ONE_IN`] ends a little later by itself, and doesn't say so.
pub const FICKLE: &str = "/fickle";

pub const DELAY: Duration = Duration::from_millis(20);
const FICKLE_ONE_IN: usize = 4_000;

/// The other process. Dropping it ends it.
pub struct Server {
    child: Child,
    port: u16,
    tls_port: u16,
    certificate: String,
}

/// What the server has seen so far, but for those that asked.
#[derive(Clone, Copy)]
pub struct Counts {
    pub opened: usize,
    /// TLS handshakes that began anew, and those that took up an earlier session.
    pub full: usize,
    pub resumed: usize,
}

impl Server {
    pub fn start() -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut command = Command::new(program);
        command.args([FLAG, CHILD, "0"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("this program starts");
        let mut said = BufReader::new(child.stdout.take().expect("its output is ours"));
        let mut line = || {
            let mut line = String::new();
            said.read_line(&mut line).expect("it says where it is");
            line.trim().to_owned()
        };
        let (port, tls_port) = (line(), line());
        let port_of = |text: String| text.parse().expect("a port");
        let mut certificate = String::new();
        while !certificate.contains("END CERTIFICATE") {
            certificate += &line();
            certificate.push('\n');
        }
        Self { child, port: port_of(port), tls_port: port_of(tls_port), certificate }
    }

    pub fn url(&self, path: &str) -> http::Uri {
        format!("http://127.0.0.1:{}{path}", self.port).parse().expect("a url")
    }

    pub fn tls_url(&self, path: &str) -> http::Uri {
        format!("https://localhost:{}{path}", self.tls_port).parse().expect("a url")
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Whom to trust, as PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    pub fn counts(&self) -> Counts {
        let mut stream = TcpStream::connect(self.address()).expect("it listens");
        let request = format!("GET {COUNTS} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let numbers = answer.lines().last().unwrap_or_default().split(' ');
        let mut numbers = numbers.map(|number| number.parse().expect("a number"));
        let mut next = || numbers.next().expect("three of them");
        Counts { opened: next(), full: next(), resumed: next() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What all connections share.
struct Shared {
    opened: AtomicUsize,
    full: AtomicUsize,
    resumed: AtomicUsize,
    fickle: AtomicUsize,
    json: Bytes,
}

/// Serves until its standard input ends, as it does when the other process is gone.
pub fn serve() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let listen = async || TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let (plain, secure) = (listen().await, listen().await);
        let (acceptor, certificate) = acceptor();
        for listener in [&plain, &secure] {
            println!("{}", listener.local_addr().expect("it has an address").port());
        }
        println!("{}", certificate.trim());
        let json = format!("{{\"answer\":\"{}\"}}", "x".repeat(BYTES - 13)).into();
        let [opened, full, resumed, fickle] = std::array::from_fn(|_| AtomicUsize::new(0));
        let shared = Arc::new(Shared { opened, full, resumed, fickle, json });
        tokio::join!(accept_plain(plain, &shared), accept_secure(secure, acceptor, &shared));
    });
}

async fn accept_plain(listener: TcpListener, shared: &Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        shared.opened.fetch_add(1, Relaxed);
        tokio::spawn(connection(stream, Arc::clone(shared)));
    }
}

async fn accept_secure(listener: TcpListener, acceptor: TlsAcceptor, shared: &Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        shared.opened.fetch_add(1, Relaxed);
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(shared));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let kind = match stream.get_ref().1.handshake_kind() {
                Some(HandshakeKind::Resumed) => &shared.resumed,
                _ => &shared.full,
            };
            kind.fetch_add(1, Relaxed);
            connection(stream, Arc::clone(&shared)).await;
        });
    }
}

/// Who this server is, from its start on.
fn acceptor() -> (TlsAcceptor, String) {
    let names = vec!["localhost".to_owned()];
    let own = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).expect("a key");
    let chain = vec![CertificateDer::from(own.cert.der().to_vec())];
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions.expect("versions").with_no_client_auth().with_single_cert(chain, key);
    let mut config = config.expect("it is its own");
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    (TlsAcceptor::from(Arc::new(config)), own.cert.pem())
}

/// One connection, until either side ends it.
async fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    shared: Arc<Shared>,
) {
    let (leaves, busy) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let (told, working) = (Arc::clone(&leaves), Arc::clone(&busy));
    let service = service_fn(move |request| {
        let (shared, told, working) =
            (Arc::clone(&shared), Arc::clone(&told), Arc::clone(&working));
        async move {
            working.store(true, Relaxed);
            let answer = answer(request, &shared, &told).await;
            working.store(false, Relaxed);
            Ok::<_, Infallible>(answer)
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(1_000);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    loop {
        tokio::select! {
            biased;
            _ = &mut serving => return,
            () = leaves.notified() => {
                // Idle by then, or the next one like it.
                let pause = tokio::time::sleep(Duration::from_millis(1));
                tokio::select! {
                    biased;
                    _ = &mut serving => return,
                    () = pause => if !busy.load(Relaxed) { return },
                }
            }
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: &Shared,
    leaves: &Notify,
) -> Response<Full<Bytes>> {
    let mut answer = Response::builder().header("content-type", "application/json");
    let body = match request.uri().path() {
        COUNTS => {
            // Who asks does not count, now or later.
            let opened = shared.opened.fetch_sub(1, Relaxed) - 1;
            let (full, resumed) = (shared.full.load(Relaxed), shared.resumed.load(Relaxed));
            Bytes::from(format!("{opened} {full} {resumed}"))
        }
        path => {
            match path {
                SLOW => tokio::time::sleep(DELAY).await,
                BYE => answer = answer.header("connection", "close"),
                FICKLE if shared.fickle.fetch_add(1, Relaxed).is_multiple_of(FICKLE_ONE_IN) => {
                    leaves.notify_one();
                }
                _ => {}
            }
            shared.json.clone()
        }
    };
    answer.body(Full::new(body)).expect("a fixed answer")
}
