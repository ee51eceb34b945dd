//! The server of the rows: hyper, HTTP/1.1, 2 KiB of JSON for everybody, in a process of its own so
//! that its work is nobody's who is measured.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::child::FLAG;

/// The name under which this program is the server.
pub const CHILD: &str = "http_server";

/// The length of an answer.
pub const BYTES: usize = 2_048;

/// Where the server says how many connections it has accepted.
const OPENED: &str = "/opened";

/// The other process. Dropping it ends it.
pub struct Server {
    child: Child,
    port: u16,
}

impl Server {
    pub fn start() -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut command = Command::new(program);
        command.args([FLAG, CHILD, "0"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("this program starts");
        let said = child.stdout.take().expect("its output is ours");
        let mut port = String::new();
        BufReader::new(said).read_line(&mut port).expect("it says its port");
        Self { child, port: port.trim().parse().expect("a port") }
    }

    pub fn url(&self) -> http::Uri {
        format!("http://127.0.0.1:{}/", self.port).parse().expect("a url")
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Connections accepted so far, but for those that asked.
    pub fn opened(&self) -> usize {
        let mut stream = TcpStream::connect(self.address()).expect("it listens");
        let request = format!("GET {OPENED} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer.lines().last().and_then(|number| number.parse().ok()).expect("a number")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves until its standard input ends, as it does when the other process is gone.
pub fn serve() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        println!("{}", listener.local_addr().expect("it has an address").port());
        let opened = Arc::new(AtomicUsize::new(0));
        let json = Bytes::from(format!("{{\"answer\":\"{}\"}}", "x".repeat(BYTES - 13)));
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            opened.fetch_add(1, Ordering::Relaxed);
            let opened = Arc::clone(&opened);
            let json = json.clone();
            let service =
                service_fn(move |request| answer(request, Arc::clone(&opened), json.clone()));
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
}

async fn answer(
    request: Request<Incoming>,
    opened: Arc<AtomicUsize>,
    json: Bytes,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = if request.uri().path() == OPENED {
        // Who asks does not count, now or later.
        Bytes::from(format!("{}", opened.fetch_sub(1, Ordering::Relaxed) - 1))
    } else {
        json
    };
    let answer = Response::builder().header("content-type", "application/json");
    Ok(answer.body(Full::new(body)).expect("a fixed answer"))
}
