//! A raw TCP server: what comes over the wire is written out by the test itself.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use headworks::http_transport::{PoolCounts, TransportConfig};
use headworks::{Transport, TransportFactory};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

/// Nothing here takes longer, or it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What is done with a connection.
pub(crate) type Served = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    listener: Option<TcpListener>,
    /// Aborted when dropped.
    _tasks: JoinSet<()>,
}

impl Server {
    /// One whose connections the test takes by [`accept`](Self::accept).
    pub(crate) async fn by_hand() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { address, listener: Some(listener), _tasks: JoinSet::new() }
    }

    /// Answers nobody before so many have asked.
    pub(crate) async fn answering_together(callers: usize) -> Self {
        let all = Arc::new(Barrier::new(callers));
        Self::running(move |mut peer: Peer| {
            let all = Arc::clone(&all);
            async move {
                while peer.request().await.is_some() {
                    all.wait().await;
                    peer.write(OK).await;
                }
            }
        })
        .await
    }

    /// One that runs `each` for every connection.
    pub(crate) fn running<F>(
        each: impl Fn(Peer) -> F + Send + 'static,
    ) -> impl Future<Output = Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::serving(Box::new(move |peer| Box::pin(each(peer))))
    }

    /// In one shape for all tests: a task of its own type for each would double the time they
    /// take to compile.
    async fn serving(each: Box<dyn Fn(Peer) -> Served + Send>) -> Self {
        let mut server = Self::by_hand().await;
        let listener = server.listener.take().unwrap();
        server._tasks.spawn(async move {
            let mut peers = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                peers.spawn(each(Peer { stream, buffer: Vec::new() }));
                while peers.try_join_next().is_some() {}
            }
        });
        server
    }

    /// One that answers every request with `ok`.
    pub(crate) async fn answering() -> Self {
        Self::running(|mut peer| async move {
            while peer.request().await.is_some() && peer.write(OK).await {}
        })
        .await
    }

    pub(crate) async fn accept(&self) -> Peer {
        let accepted = self.listener.as_ref().unwrap().accept();
        let (stream, _) = patiently(accepted).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Peer { stream, buffer: Vec::new() }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// One connection, seen from the server.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

impl Peer {
    /// The next request with its body; `None` when the client has closed.
    pub(crate) async fn request(&mut self) -> Option<String> {
        loop {
            if let Some(length) = whole(&self.buffer) {
                let request = self.buffer.drain(..length).collect();
                return Some(String::from_utf8(request).unwrap());
            }
            if self.stream.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// `false`: the client has gone.
    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// All that comes until the client has closed.
    pub(crate) async fn rest(mut self) -> String {
        let read = patiently(self.stream.read_to_end(&mut self.buffer)).await;
        assert!(read.is_ok(), "{read:?}");
        String::from_utf8(self.buffer).unwrap()
    }

    /// Waits until the client has closed.
    pub(crate) async fn closed(mut self) {
        let mut sink = [0; 4096];
        patiently(async { while matches!(self.stream.read(&mut sink).await, Ok(1..)) {} }).await;
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

/// The length of the first request in `bytes`, if it is all there.
fn whole(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap().to_ascii_lowercase();
    if text.contains("transfer-encoding: chunked") {
        let end = bytes[head..].windows(5).position(|five| five == b"0\r\n\r\n")?;
        return Some(head + end + 5);
    }
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    (bytes.len() >= head + length).then_some(head + length)
}

pub(crate) fn transport(config: impl Into<TransportConfig>) -> Transport {
    TransportFactory::new().unwrap().transport(config).unwrap()
}

pub(crate) fn counts(transport: &Transport) -> PoolCounts {
    transport.snapshot().in_all
}

pub(crate) async fn patiently<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it hangs")
}

/// Lets other tasks run until `reached`.
pub(crate) async fn until(mut reached: impl FnMut() -> bool) {
    patiently(async {
        while !reached() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Waits until the pool holds nothing but idle connections, and returns its counts.
pub(crate) async fn at_rest(transport: &Transport) -> PoolCounts {
    until(|| {
        let now = counts(transport);
        now.active == 0 && now.dialling == 0 && now.waiting == 0
    })
    .await;
    let counts = counts(transport);
    assert_eq!(counts.opened, counts.idle as u64 + counts.closed.total(), "{counts:?}");
    counts
}
