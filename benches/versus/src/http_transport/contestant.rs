//! Who asks: each reads the whole body.

use std::future::Future;

use bytes::Bytes;
use headworks::http_transport::TransportConfig;
use headworks::{Transport, TransportFactory};
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::server::Server;

pub trait Caller: Send + Sync + Sized + 'static {
    const NAME: &'static str;
    /// `callers`: how many ask at a time, where that has to be known before.
    fn new(server: &Server, callers: usize) -> impl Future<Output = Self>;
    /// How many bytes came.
    fn get(&self, caller: usize) -> impl Future<Output = usize> + Send;
}

pub struct Ours {
    transport: Transport,
    url: Uri,
}

impl Caller for Ours {
    const NAME: &'static str = "headworks";

    async fn new(server: &Server, _: usize) -> Self {
        // As many idle ones as there may be: none is closed between two herds.
        let config = TransportConfig::default().with_idle_per_host(100);
        let factory = TransportFactory::new().expect("it needs nothing");
        let transport = factory.transport(config).expect("it is sound");
        Self { transport, url: server.url() }
    }

    async fn get(&self, _: usize) -> usize {
        let answer = self.transport.get(&self.url).await.expect("an answer");
        answer.into_body().bytes(1 << 20).await.expect("a body").len()
    }
}

/// A connection for each caller, held by hand.
pub struct Raw {
    connections: Vec<Mutex<SendRequest<Empty<Bytes>>>>,
    host: String,
}

impl Caller for Raw {
    const NAME: &'static str = "raw hyper connections";

    async fn new(server: &Server, callers: usize) -> Self {
        let mut connections = Vec::new();
        for _ in 0..callers {
            let stream = TcpStream::connect(server.address()).await.expect("it listens");
            stream.set_nodelay(true).expect("a socket");
            let (send, connection) = handshake(TokioIo::new(stream)).await.expect("it begins");
            tokio::spawn(connection);
            connections.push(Mutex::new(send));
        }
        Self { connections, host: server.address() }
    }

    async fn get(&self, caller: usize) -> usize {
        let request = Request::get("/").header("host", &self.host).body(Empty::new());
        let mut send = self.connections[caller].lock().await;
        send.ready().await.expect("it is there");
        let answer = send.send_request(request.expect("a request")).await.expect("an answer");
        answer.into_body().collect().await.expect("a body").to_bytes().len()
    }
}

pub struct HyperUtil {
    client: Client<HttpConnector, Empty<Bytes>>,
    url: Uri,
}

impl Caller for HyperUtil {
    const NAME: &'static str = "hyper-util legacy";

    async fn new(server: &Server, _: usize) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { client, url: server.url() }
    }

    async fn get(&self, _: usize) -> usize {
        let answer = self.client.get(self.url.clone()).await.expect("an answer");
        answer.into_body().collect().await.expect("a body").to_bytes().len()
    }
}

pub struct Reqwest {
    client: reqwest::Client,
    url: reqwest::Url,
}

impl Caller for Reqwest {
    const NAME: &'static str = "reqwest";

    async fn new(server: &Server, _: usize) -> Self {
        let client = reqwest::Client::builder().no_proxy().build().expect("it needs nothing");
        Self { client, url: server.url().to_string().parse().expect("a url") }
    }

    async fn get(&self, _: usize) -> usize {
        let answer = self.client.get(self.url.clone()).send().await.expect("an answer");
        answer.bytes().await.expect("a body").len()
    }
}
