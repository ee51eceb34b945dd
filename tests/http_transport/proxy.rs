//! A proxy that does to the answers of a healthy server what networks and bad servers do.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What happens to what the server says, from the first byte of each connection on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    None,
    /// Each piece comes later: by this, and up to as much again.
    Latency(Duration),
    /// So many bytes, then a pause.
    Bandwidth(usize, Duration),
    /// After so many bytes the connection is closed.
    Cut(usize),
    /// After so many bytes it is reset.
    Reset(usize),
    /// After so many bytes nothing more comes this way, and the other still stands.
    HalfClose(usize),
    /// After so many bytes everything is swallowed, and nothing closed.
    BlackHole(usize),
    /// This comes instead, once there was a request.
    Instead(&'static [u8]),
    /// This comes instead, and then the end.
    InsteadAndClose(&'static [u8]),
}

/// Forwards connections. Its fault is that of the moment at which a connection comes.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    fault: Arc<Mutex<Fault>>,
    _task: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn before(server: SocketAddr, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let fault = Arc::new(Mutex::new(fault));
        let (mut task, current) = (JoinSet::new(), Arc::clone(&fault));
        task.spawn(async move {
            let mut peers = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let fault = *current.lock().unwrap();
                peers.spawn(async move {
                    let server = TcpStream::connect(server).await.unwrap();
                    forward(client, server, fault).await;
                });
                while peers.try_join_next().is_some() {}
            }
        });
        Self { address, fault, _task: task }
    }

    /// For connections that come from now on.
    pub(crate) fn now(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

/// Ends with either side, or when the fault ends it.
async fn forward(client: TcpStream, server: TcpStream, fault: Fault) {
    client.set_nodelay(true).unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let asks = async {
        if let Fault::Instead(_) | Fault::InsteadAndClose(_) = fault {
            let mut request = [0; 4096];
            if matches!(from_client.read(&mut request).await, Ok(1..)) {
                return Asked::Something;
            }
        } else {
            let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
        }
        Asked::Nothing
    };
    let answers = async {
        let mut said = Vec::new();
        let mut sent = 0;
        while matches!(from_server.read_buf(&mut said).await, Ok(1..)) {
            if !pass(&mut to_client, &mut said, &mut sent, fault).await {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        () = answers => if let Fault::Reset(_) = fault {
            let client = from_client.reunite(to_client).unwrap();
            client.set_zero_linger().unwrap();
        } else if let Fault::HalfClose(_) = fault {
            to_client.shutdown().await.unwrap();
            // Until the client has enough of it.
            while matches!(from_client.read(&mut [0; 4096]).await, Ok(1..)) {}
        },
        asked = asks => if let (Asked::Something, Fault::Instead(bytes)) = (asked, fault) {
            let _ = to_client.write_all(bytes).await;
            while matches!(from_client.read(&mut [0; 4096]).await, Ok(1..)) {}
        } else if let (Asked::Something, Fault::InsteadAndClose(bytes)) = (asked, fault) {
            let _ = to_client.write_all(bytes).await;
        },
    }
}

#[derive(Clone, Copy)]
enum Asked {
    Something,
    /// The client has closed.
    Nothing,
}

/// Passes on what was said, as far as the fault allows; `false`: it is over.
async fn pass(
    to_client: &mut tokio::net::tcp::OwnedWriteHalf,
    said: &mut Vec<u8>,
    sent: &mut usize,
    fault: Fault,
) -> bool {
    let (piece, pause) = match fault {
        Fault::Latency(by) => {
            let jitter = by.mul_f64(*sent as f64 % 7.0 / 7.0);
            tokio::time::sleep(by + jitter).await;
            (said.len(), Duration::ZERO)
        }
        Fault::Bandwidth(bytes, pause) => (bytes, pause),
        _ => (said.len(), Duration::ZERO),
    };
    let most = match fault {
        Fault::Cut(n) | Fault::Reset(n) | Fault::HalfClose(n) | Fault::BlackHole(n) => n - *sent,
        _ => usize::MAX,
    };
    let allowed = said.len().min(most);
    for piece in said[..allowed].chunks(piece.max(1)) {
        if to_client.write_all(piece).await.is_err() {
            return false;
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    *sent += allowed;
    said.clear();
    allowed < most || matches!(fault, Fault::BlackHole(_))
}
