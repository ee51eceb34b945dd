//! TLS with a root that the test made: who is trusted, who isn't, and reuse.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::super::config::TransportConfig;
use super::super::dial::Connector;
use super::super::error::TransportError;
use super::super::shared::Shared;
use super::super::tls::Tls;
use super::super::transport::Transport;

struct Server {
    port: u16,
    handshakes: Arc<AtomicUsize>,
    roots: RootCertStore,
    _task: JoinSet<()>,
}

/// A root and, signed by it, a certificate that `change` has changed.
fn certificates(
    change: impl FnOnce(&mut CertificateParams),
) -> (CertificateDer<'static>, CertificateDer<'static>, PrivateKeyDer<'static>) {
    let mut root = CertificateParams::new(Vec::new()).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_key = KeyPair::generate().unwrap();
    let root_cert = root.self_signed(&root_key).unwrap();
    let mut leaf = CertificateParams::new(["localhost".to_owned()]).unwrap();
    change(&mut leaf);
    let key = KeyPair::generate().unwrap();
    let leaf = leaf.signed_by(&key, &Issuer::new(root, root_key)).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    (root_cert.der().clone(), leaf.der().clone(), key)
}

async fn serve(change: impl FnOnce(&mut CertificateParams)) -> Server {
    let (root, leaf, key) = certificates(change);
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let handshakes = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&handshakes);
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut peers = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (accepting, counter) = (acceptor.accept(stream), Arc::clone(&counter));
            peers.spawn(async move {
                let Ok(mut stream) = accepting.await else { return };
                counter.fetch_add(1, Ordering::SeqCst);
                let mut request = [0; 4096];
                // Requests without a body come in one piece.
                while matches!(stream.read(&mut request).await, Ok(1..)) {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    stream.write_all(answer).await.unwrap();
                    stream.flush().await.unwrap();
                }
            });
        }
    });
    let mut roots = RootCertStore::empty();
    roots.add(root).unwrap();
    Server { port, handshakes, roots, _task: task }
}

fn trusting(roots: &RootCertStore) -> Transport {
    let config = TransportConfig::default();
    let connector = Connector::new(&config, Tls::trusting(roots.clone(), config.protocol).unwrap());
    Transport::new(Arc::new(Shared::new(config, connector)))
}

#[tokio::test]
async fn over_tls_handshakes_equal_connections_and_both_are_reused() {
    let server = serve(|_| {}).await;
    let transport = trusting(&server.roots);
    for _ in 0..20 {
        let answer = transport.get(format!("https://localhost:{}/", server.port)).await.unwrap();
        assert_eq!(answer.into_body().bytes(10).await.unwrap(), "ok");
    }
    let counts = transport.snapshot().in_all;
    assert_eq!((counts.opened, counts.reused), (1, 19));
    assert_eq!(server.handshakes.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_certificate_that_does_not_hold_is_refused() {
    type Change = fn(&mut CertificateParams);
    let changes: [(&str, Change); 3] = [
        ("expired", |leaf| leaf.not_after = date_time_ymd(2001, 1, 1)),
        ("not yet valid", |leaf| leaf.not_before = date_time_ymd(3000, 1, 1)),
        ("another host", |leaf| {
            leaf.subject_alt_names =
                CertificateParams::new(["else".to_owned()]).unwrap().subject_alt_names;
        }),
    ];
    for (what, change) in changes {
        let server = serve(change).await;
        let transport = trusting(&server.roots);
        let error = transport.get(format!("https://localhost:{}/", server.port)).await.unwrap_err();
        assert!(matches!(error, TransportError::Tls { .. }), "{what}: {error:?}");
        assert!(!error.is_retryable(), "{what}");
        assert_eq!(transport.snapshot().in_all.open(), 0, "{what}");
    }
    let server = serve(|_| {}).await;
    let stranger = serve(|_| {}).await;
    let transport = trusting(&stranger.roots);
    let error = transport.get(format!("https://localhost:{}/", server.port)).await.unwrap_err();
    assert!(matches!(error, TransportError::Tls { .. }), "unknown root: {error:?}");
}
