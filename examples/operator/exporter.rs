//! The numbers of every room as Prometheus reads them (its text format, 0.0.4): `GET /metrics`.

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headworks::pipeline::{Metric, MetricValue};
use headworks::worker_pool::Histogram;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::listener::listen;

/// Readers at once; more wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 16;
/// How long one may take, all in all.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the buckets of a histogram end: powers of two in nanoseconds, from 1 ms to 137 s.
const BUCKETS: std::ops::RangeInclusive<u32> = 20..=37;

/// Says what there is to whoever asks.
#[derive(Debug)]
pub(crate) struct Exporter {
    address: SocketAddr,
    /// One task, the listener, which owns those of the connections.
    tasks: JoinSet<()>,
}

impl Exporter {
    /// # Errors
    /// The address can't be had.
    pub(crate) async fn start(
        at: SocketAddr,
        say: impl Fn() -> Numbers + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(at).await?;
        let address = listener.local_addr()?;
        let mut tasks = JoinSet::new();
        let say = Arc::new(say);
        let serve = move |stream| connection(stream, Arc::clone(&say));
        tasks.spawn(listen(listener, MAX_CONNECTIONS, serve));
        Ok(Self { address, tasks })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the listener and every connection.
    pub(crate) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Metrics as text.
#[derive(Debug, Default)]
pub(crate) struct Numbers(String);

impl Numbers {
    /// Those of one room, told from others of its kind by its name.
    pub(crate) fn add<'a>(&mut self, room: &str, metrics: impl Iterator<Item = Metric<'a>>) {
        let room = room.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        for Metric { name, value, .. } in metrics {
            self.one(name, &room, value).expect("a string takes any text");
        }
    }

    fn one(&mut self, name: &str, room: &str, value: MetricValue<'_>) -> std::fmt::Result {
        let out = &mut self.0;
        match value {
            MetricValue::Counter(count) => {
                writeln!(out, "# TYPE {name} counter\n{name}{{name=\"{room}\"}} {count}")
            }
            MetricValue::Gauge(level) => {
                writeln!(out, "# TYPE {name} gauge\n{name}{{name=\"{room}\"}} {level}")
            }
            MetricValue::Histogram(times) => {
                writeln!(out, "# TYPE {name} histogram")?;
                for power in BUCKETS {
                    let end = Duration::from_nanos(1 << power);
                    let (le, below) = (end.as_secs_f64(), below(times, end));
                    writeln!(out, "{name}_bucket{{name=\"{room}\",le=\"{le}\"}} {below}")?;
                }
                let (count, sum) = (times.count(), times.sum().as_secs_f64());
                writeln!(out, "{name}_bucket{{name=\"{room}\",le=\"+Inf\"}} {count}")?;
                writeln!(out, "{name}_sum{{name=\"{room}\"}} {sum}")?;
                writeln!(out, "{name}_count{{name=\"{room}\"}} {count}")
            }
        }
    }
}

/// How many took less than `end`, which is where a bucket of the histogram ends.
fn below(times: &Histogram, end: Duration) -> u64 {
    times.buckets().take_while(|(its, _)| *its <= end).last().map_or(0, |(_, so_many)| so_many)
}

/// One question, one answer.
async fn connection(stream: TcpStream, say: Arc<impl Fn() -> Numbers + Send + Sync>) {
    let service = service_fn(|request| {
        let answer = answer(&request, &*say);
        async { Ok::<_, std::convert::Infallible>(answer) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(PATIENCE).keep_alive(false);
    // How it ends is the reader's to see.
    _ = tokio::time::timeout(PATIENCE, server.serve_connection(TokioIo::new(stream), service))
        .await;
}

fn answer(request: &Request<Incoming>, say: &impl Fn() -> Numbers) -> Response<Full<Bytes>> {
    let mut response = Response::default();
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => {
            let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            *response.body_mut() = Full::from(say().0);
        }
        (_, "/metrics") => *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED,
        _ => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    response
}
