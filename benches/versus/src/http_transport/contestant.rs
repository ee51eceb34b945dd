//! Who asks: each reads the whole body.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use headworks::http_transport::{Protocol, TlsConfig, TransportConfig, Trust};
use headworks::{Transport, TransportFactory};
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::server::Server;

/// What a client speaks, in the clear or over TLS.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    H1,
    H2,
    H1Tls,
}

/// To whom, and what.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    pub server: &'a Server,
    pub speaks: Speaks,
    pub path: &'static str,
    /// How many ask at a time.
    pub callers: usize,
}

impl Setting<'_> {
    fn url(&self, path: &str) -> Uri {
        match self.speaks {
            Speaks::H1 | Speaks::H2 => self.server.url(path),
            Speaks::H1Tls => self.server.tls_url(path),
        }
    }
}

pub trait Caller: Send + Sync + Sized + 'static {
    const NAME: &'static str;
    fn new(setting: &Setting) -> impl Future<Output = Self>;
    /// How many bytes came; `None`: an error did.
    fn get(&self, caller: usize) -> impl Future<Output = Option<usize>> + Send;
    /// The same client, asking for another path.
    fn at(&self, setting: &Setting, path: &str) -> Option<Self>;
}

pub struct Ours {
    transport: Transport,
    url: Uri,
}

impl Caller for Ours {
    const NAME: &'static str = "headworks";

    async fn new(setting: &Setting<'_>) -> Self {
        let protocol = if setting.speaks == Speaks::H2 { Protocol::Http2 } else { Protocol::Http1 };
        // As many idle ones as there may be: none is closed between two herds.
        let config = TransportConfig::default().with_idle_per_host(100).with_protocol(protocol);
        let roots = Trust::Only(setting.server.certificate().into());
        let config = config.with_tls(TlsConfig::default().with_trust(roots));
        let factory = TransportFactory::new().expect("it needs nothing");
        let transport = factory.transport(config).expect("it is sound");
        Self { transport, url: setting.url(setting.path) }
    }

    async fn get(&self, _: usize) -> Option<usize> {
        let answer = self.transport.get(&self.url).await.ok()?;
        Some(answer.into_body().bytes(1 << 20).await.ok()?.len())
    }

    fn at(&self, setting: &Setting, path: &str) -> Option<Self> {
        Some(Self { transport: self.transport.clone(), url: setting.url(path) })
    }
}

/// Connections held by hand: over HTTP/1.1 one for each caller, over HTTP/2 one for all.
pub enum Raw {
    H1(Vec<Mutex<http1::SendRequest<Empty<Bytes>>>>, Uri, String),
    H2(http2::SendRequest<Empty<Bytes>>, Uri),
}

impl Caller for Raw {
    const NAME: &'static str = "raw hyper connections";

    async fn new(setting: &Setting<'_>) -> Self {
        let dial = async || {
            let stream = TcpStream::connect(setting.server.address()).await.expect("it listens");
            stream.set_nodelay(true).expect("a socket");
            TokioIo::new(stream)
        };
        if setting.speaks == Speaks::H2 {
            let begun = http2::handshake(TokioExecutor::new(), dial().await).await;
            let (send, connection) = begun.expect("it begins");
            tokio::spawn(connection);
            return Self::H2(send, setting.url(setting.path));
        }
        let mut connections = Vec::new();
        for _ in 0..setting.callers {
            let (send, connection) = http1::handshake(dial().await).await.expect("it begins");
            tokio::spawn(connection);
            connections.push(Mutex::new(send));
        }
        let path = setting.path.parse().expect("a path");
        Self::H1(connections, path, setting.server.address())
    }

    async fn get(&self, caller: usize) -> Option<usize> {
        let answer = match self {
            Self::H1(connections, path, host) => {
                let request = Request::get(path).header("host", host).body(Empty::new());
                let mut send = connections[caller].lock().await;
                send.ready().await.ok()?;
                send.send_request(request.ok()?).await.ok()?
            }
            Self::H2(send, url) => {
                let mut send = send.clone();
                send.ready().await.ok()?;
                send.send_request(Request::get(url).body(Empty::new()).ok()?).await.ok()?
            }
        };
        Some(answer.into_body().collect().await.ok()?.to_bytes().len())
    }

    fn at(&self, _: &Setting, _: &str) -> Option<Self> {
        None
    }
}

pub struct HyperUtil {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    url: Uri,
}

impl Caller for HyperUtil {
    const NAME: &'static str = "hyper-util legacy";

    async fn new(setting: &Setting<'_>) -> Self {
        let tls = client_config(setting.server);
        let connector = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls);
        let mut plain = HttpConnector::new();
        plain.set_nodelay(true);
        plain.enforce_http(false);
        let connector = connector.https_or_http().enable_http1().wrap_connector(plain);
        let is_h2 = setting.speaks == Speaks::H2;
        let client = Client::builder(TokioExecutor::new()).http2_only(is_h2).build(connector);
        Self { client, url: setting.url(setting.path) }
    }

    async fn get(&self, _: usize) -> Option<usize> {
        let answer = self.client.get(self.url.clone()).await.ok()?;
        Some(answer.into_body().collect().await.ok()?.to_bytes().len())
    }

    fn at(&self, setting: &Setting, path: &str) -> Option<Self> {
        Some(Self { client: self.client.clone(), url: setting.url(path) })
    }
}

fn client_config(server: &Server) -> rustls::ClientConfig {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(server.certificate().as_bytes());
    roots.add(root.expect("a certificate")).expect("it is sound");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = rustls::ClientConfig::builder_with_provider(provider);
    let versions = versions.with_safe_default_protocol_versions().expect("versions");
    versions.with_root_certificates(roots).with_no_client_auth()
}

pub struct Reqwest {
    client: reqwest::Client,
    url: reqwest::Url,
}

impl Caller for Reqwest {
    const NAME: &'static str = "reqwest";

    async fn new(setting: &Setting<'_>) -> Self {
        // It has none of its own; only the first call counts.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder().no_proxy();
        let builder = match setting.speaks {
            Speaks::H1 => builder.http1_only(),
            Speaks::H2 => builder.http2_prior_knowledge(),
            Speaks::H1Tls => {
                builder.http1_only().use_preconfigured_tls(client_config(setting.server))
            }
        };
        let client = builder.build().expect("it needs nothing");
        Self { client, url: setting.url(setting.path).to_string().parse().expect("a url") }
    }

    async fn get(&self, _: usize) -> Option<usize> {
        let answer = self.client.get(self.url.clone()).send().await.ok()?;
        Some(answer.bytes().await.ok()?.len())
    }

    fn at(&self, setting: &Setting, path: &str) -> Option<Self> {
        let url = setting.url(path).to_string().parse().ok()?;
        Some(Self { client: self.client.clone(), url })
    }
}
