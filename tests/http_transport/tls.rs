//! Nobody is trusted by default but who the public roots vouch for.

use std::sync::Arc;

use headworks::Outcome;
use headworks::http_transport::{Preset, TransportError};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use crate::server::{Peer, Server, at_rest, patiently, transport};

#[tokio::test]
async fn a_self_signed_certificate_is_refused() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = Server::running(move |peer: Peer| {
        let accepting = acceptor.accept(peer.stream);
        async move { drop(accepting.await) }
    })
    .await;
    let transport = transport(Preset::Default);
    let url = format!("https://localhost:{}/", server.address.port());
    let error = patiently(transport.get(url)).await.unwrap_err();
    assert!(matches!(error, TransportError::Tls { .. }), "{error:?}");
    assert_eq!((error.is_retryable(), error.outcome()), (false, Outcome::Failure));
    assert_eq!(at_rest(&transport).await.opened, 0);
}

#[tokio::test]
async fn a_server_without_tls_is_no_tls_server() {
    let server = Server::running(|mut peer: Peer| async move {
        peer.write("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        peer.closed().await;
    })
    .await;
    let transport = transport(Preset::Default);
    let url = format!("https://localhost:{}/", server.address.port());
    let error = patiently(transport.get(url)).await.unwrap_err();
    assert!(matches!(error, TransportError::Tls { .. }), "{error:?}");
    assert_eq!(at_rest(&transport).await.open(), 0);
}
