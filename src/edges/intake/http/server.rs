//! The listener, and what is done with a connection.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tower_service::Service;

use super::body::IntakeBody;
use super::paced::Paced;
use super::problem::{Kind, Problem};
use super::service::{HttpIntakeService, IntakeFuture};
use super::state::State;
use crate::ground::time;
use crate::rate_limit::http::PeerAddr;

/// When the system has no connection to give, it has none for a while.
const PAUSE: Duration = Duration::from_millis(100);

/// Who is sent away gets so long to hear it, and so has who was answered before all was read.
const LINGER: Duration = Duration::from_secs(1);

/// Those who hear at once that there are too many; beyond, connections are just closed.
const REFUSED_AT_ONCE: usize = 64;

/// Accepts until the intake closes.
pub(super) async fn listen(listener: TcpListener, service: HttpIntakeService) {
    let state = Arc::clone(&service.whole.state);
    let refusals = Arc::new(tokio::sync::Semaphore::new(REFUSED_AT_ONCE));
    while let Some(accepted) = state.closing.run_until_cancelled(listener.accept()).await {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            // Of that one connection, which is gone.
            Err(error) if is_of_one(&error) => continue,
            Err(_) => {
                state.metrics.accept_errors.add(1);
                let pause = tokio::time::sleep(PAUSE);
                let _ = state.closing.run_until_cancelled(pause).await;
                continue;
            }
        };
        state.metrics.connections.add(1);
        if let Ok(place) = Arc::clone(&state.connections).try_acquire_owned() {
            let service = service.clone();
            let cut = state.cut.clone();
            state.servers.spawn(async move {
                let served = serve(stream, peer, service, place);
                let _ = cut.run_until_cancelled(served).await;
            });
        } else {
            state.metrics.connections_refused.add(1);
            if let Ok(place) = Arc::clone(&refusals).try_acquire_owned() {
                let cut = state.cut.clone();
                state.servers.spawn(async move {
                    let problem = Problem::busy("too many connections are open");
                    let _ = cut.run_until_cancelled(tell(stream, &problem)).await;
                    drop(place);
                });
            }
        }
    }
}

fn is_of_one(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// One connection, to its end.
async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    service: HttpIntakeService,
    place: OwnedSemaphorePermit,
) {
    let state = Arc::clone(&service.whole.state);
    prepare(&stream, &state);
    let io = TokioIo::new(Paced::new(stream, state.config.write_timeout));
    let mut connection =
        builder(&state).serve_connection(io, OnConnection { service, peer: PeerAddr(peer) });
    let mut closing = pin!(state.closing.cancelled());
    let mut is_told = false;
    let ended = poll_fn(|cx| {
        if !is_told && closing.as_mut().poll(cx).is_ready() {
            is_told = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        connection.poll_without_shutdown(cx)
    })
    .await;
    let parts = connection.into_parts();
    let stream = parts.io.into_inner().into_inner();
    match ended {
        // Somebody who has begun a head and does not end it. Who was silent is not spoken to.
        Err(error) if error.is_timeout() && !parts.read_buf.is_empty() => {
            let problem =
                Problem::new(Kind::HeaderTimeout, "the head of the request took too long");
            tell(stream, &problem).await;
        }
        // Not while the intake closes: who is idle then would hold it up.
        _ => _ = state.closing.run_until_cancelled(linger(stream)).await,
    }
    drop(place);
}

/// Neither is worth a connection, if the system can't do it.
pub(super) fn prepare(stream: &TcpStream, state: &State) {
    // Answers are small, and complete when they are written.
    let _ = stream.set_nodelay(true);
    // Who has vanished takes nothing, and what is written lies in the system's buffers.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(state.config.write_timeout));
}

fn builder(state: &State) -> http1::Builder {
    /// The least that hyper has.
    const LEAST_BUFFER: usize = 8 << 10;
    /// A head that is so many times too long is still answered with a problem document.
    const TOLD: usize = 4;
    let config = &state.config;
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        // Up to there it can be told; beyond, the library says it in its own words.
        .max_header_size(config.header_bytes * TOLD)
        .max_buf_size(config.header_bytes.max(LEAST_BUFFER) * TOLD);
    builder
}

/// The service with what only its connection knows.
struct OnConnection {
    service: HttpIntakeService,
    peer: PeerAddr,
}

impl hyper::service::Service<Request<Incoming>> for OnConnection {
    type Response = Response<IntakeBody>;
    type Error = Infallible;
    type Future = IntakeFuture;

    fn call(&self, mut request: Request<Incoming>) -> IntakeFuture {
        request.extensions_mut().insert(self.peer);
        self.service.clone().call(request)
    }
}

/// Says what is wrong, and ends the connection.
async fn tell(mut stream: TcpStream, problem: &Problem) {
    let text = problem.on_the_wire();
    let mut left = &text[..];
    let write = poll_fn(|cx| {
        while !left.is_empty() {
            match ready!(Pin::new(&mut stream).poll_write(cx, left)) {
                Ok(wrote) if wrote > 0 => left = &left[wrote..],
                _ => break,
            }
        }
        Poll::Ready(())
    });
    let _ = time::until(time::later(time::now(), LINGER), write).await;
    linger(stream).await;
}

/// Reads on for a moment what is not wanted: a connection that is closed before all of it was read
/// may take the answer with it (RFC 9112, section 9.6).
async fn linger(mut stream: TcpStream) {
    const MOST_BYTES: usize = 1 << 20;
    let rest = poll_fn(|cx| {
        ready!(Pin::new(&mut stream).poll_shutdown(cx))?;
        let (mut bytes, mut total) = ([0; 4096], 0);
        while total < MOST_BYTES {
            let mut buf = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut stream).poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                break;
            }
            total += buf.filled().len();
        }
        Poll::Ready(Ok::<_, io::Error>(()))
    });
    let _ = time::until(time::later(time::now(), LINGER), rest).await;
}
