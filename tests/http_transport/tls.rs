//! Nobody is trusted by default but who the public roots vouch for; what a configuration says
//! beyond that; what both sides agree to speak; sessions.

use std::sync::Arc;

use bytes::Bytes;
use headworks::http_transport::{
    Identity, Preset, Protocol, TlsConfig, TlsFailure, TransportConfig, TransportError, Trust,
};
use headworks::{Outcome, Transport, TransportFactory};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::server::{OK, Peer, Server, at_rest, counts, patiently, transport, until};

/// A root of the test's own.
pub(crate) struct Root {
    params: CertificateParams,
    key: KeyPair,
    pub(crate) pem: String,
    pub(crate) der: Vec<u8>,
}

/// A certificate and its key.
pub(crate) struct Leaf {
    der: Vec<u8>,
    pem: String,
    key: KeyPair,
}

impl Root {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        // Two of one name would be told apart by their signatures alone.
        let name = format!("{:x?}", &key.public_key_raw()[..16]);
        params.distinguished_name.push(DnType::CommonName, name);
        let own = params.self_signed(&key).unwrap();
        Self { params, key, pem: own.pem(), der: own.der().to_vec() }
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    pub(crate) fn signs(&self, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer()).unwrap();
        Leaf { der: leaf.der().to_vec(), pem: leaf.pem(), key }
    }
}

fn key_of(leaf: &Leaf) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from(PrivatePkcs8KeyDer::from(leaf.key.serialize_der()))
}

/// What a server is like.
pub(crate) struct Says<'a> {
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) leaf: &'a Leaf,
    pub(crate) speaks: &'static [&'static [u8]],
    /// Whose clients it lets in; anybody when `None`.
    pub(crate) clients_of: Option<&'a Root>,
}

impl<'a> Says<'a> {
    pub(crate) fn only(leaf: &'a Leaf) -> Self {
        Self { chain: vec![leaf.der.clone()], leaf, speaks: &[], clients_of: None }
    }

    pub(crate) fn config(self) -> ServerConfig {
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&ring))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match self.clients_of {
            None => builder.with_no_client_auth(),
            Some(root) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from(root.der.clone())).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), ring).build();
                builder.with_client_cert_verifier(verifier.unwrap())
            }
        };
        let chain = self.chain.into_iter().map(CertificateDer::from).collect();
        let key = any_supported_type(&key_of(self.leaf)).unwrap();
        // Nobody checks that the key is the first certificate's.
        let own = SingleCertAndKey::from(CertifiedKey::new(chain, key));
        let mut config = builder.with_cert_resolver(Arc::new(own));
        config.alpn_protocols = self.speaks.iter().map(|name| name.to_vec()).collect();
        config
    }
}

/// Answers `ok` in whatever was agreed on.
pub(crate) async fn serve(says: Says<'_>) -> Server {
    let acceptor = TlsAcceptor::from(Arc::new(says.config()));
    Server::running(move |peer: Peer| {
        let accepting = acceptor.accept(peer.stream);
        async move {
            let Ok(mut stream) = accepting.await else { return };
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                let mut connection = ::h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let answer = http::Response::new(());
                    let mut body = respond.send_response(answer, false).unwrap();
                    body.send_data(Bytes::from_static(b"ok"), true).unwrap();
                }
                return;
            }
            let mut request = [0; 4096];
            // Requests without a body come in one piece.
            while matches!(stream.read(&mut request).await, Ok(1..)) {
                if stream.write_all(OK.as_bytes()).await.is_err() {
                    return;
                }
                let _ = stream.flush().await;
            }
        }
    })
    .await
}

fn url(server: &Server) -> String {
    format!("https://localhost:{}/", server.address.port())
}

pub(crate) fn trusting(trust: Trust) -> TransportConfig {
    TransportConfig::default().with_tls(TlsConfig::default().with_trust(trust))
}

async fn get(transport: &Transport, server: &Server) -> Result<Bytes, TransportError> {
    patiently(async { transport.get(url(server)).await?.into_body().bytes(10).await }).await
}

/// Nobody is believed, and nothing is left behind.
async fn refused(config: impl Into<TransportConfig>, server: &Server, what: TlsFailure) {
    let transport = transport(config);
    let error = get(&transport, server).await.unwrap_err();
    let TransportError::Tls { failure, .. } = &error else { panic!("{what}: {error:?}") };
    assert_eq!(*failure, what, "{error:?}");
    assert_eq!((error.is_retryable(), error.outcome()), (false, Outcome::Failure), "{what}");
    assert_eq!(at_rest(&transport).await.opened, 0, "{what}");
}

#[tokio::test]
async fn a_root_of_ones_own_vouches_as_pem_and_as_der() {
    let root = Root::new();
    let leaf = root.signs(|_| {});
    let server = serve(Says::only(&leaf)).await;
    let several = [Root::new().pem, root.pem.clone()].concat();
    for trust in [
        Trust::Only(root.pem.clone().into()),
        Trust::Only(root.der.clone()),
        Trust::PublicRootsAnd(several.into()),
    ] {
        let transport = transport(trusting(trust));
        for _ in 0..20 {
            assert_eq!(get(&transport, &server).await.unwrap(), "ok");
        }
        let counts = at_rest(&transport).await;
        assert_eq!((counts.opened, counts.reused), (1, 19));
        assert_eq!(transport.snapshot().timings.tls.count(), 1, "handshakes = connections");
    }
    refused(Preset::Default, &server, TlsFailure::UnknownIssuer).await;
}

#[tokio::test]
async fn a_certificate_that_does_not_hold_is_refused() {
    type Change = fn(&mut CertificateParams);
    let changes: [(TlsFailure, Change); 4] = [
        (TlsFailure::Expired, |leaf| leaf.not_after = date_time_ymd(2001, 1, 1)),
        (TlsFailure::NotYetValid, |leaf| leaf.not_before = date_time_ymd(3000, 1, 1)),
        (TlsFailure::WrongPurpose, |leaf| {
            leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }),
        (TlsFailure::WrongHost, |leaf| {
            leaf.subject_alt_names =
                CertificateParams::new(["else".to_owned()]).unwrap().subject_alt_names;
        }),
    ];
    let root = Root::new();
    for (what, change) in changes {
        let leaf = root.signs(change);
        let server = serve(Says::only(&leaf)).await;
        refused(trusting(Trust::Only(root.der.clone())), &server, what).await;
        // Only who asks for danger by name gets it.
        let careless = transport(trusting(Trust::DangerouslyAnyone));
        assert_eq!(get(&careless, &server).await.unwrap(), "ok", "{what}");
    }
    let leaf = root.signs(|_| {});
    let server = serve(Says::only(&leaf)).await;
    refused(trusting(Trust::Only(Root::new().der)), &server, TlsFailure::UnknownIssuer).await;
}

/// The chain is what its signatures say, whatever the order in which it is sent; and one that is
/// not whole is none.
#[tokio::test]
async fn a_chain_must_be_whole() {
    let root = Root::new();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "between");
    let key = KeyPair::generate().unwrap();
    let between = params.signed_by(&key, &root.issuer()).unwrap();
    let (between, between_der) = (Root { params, key, pem: between.pem(), der: vec![] }, between);
    let leaf = between.signs(|_| {});
    let trust = || trusting(Trust::Only(root.der.clone()));
    let chain = |chain: Vec<Vec<u8>>| Says { chain, ..Says::only(&leaf) };

    let whole = serve(chain(vec![leaf.der.clone(), between_der.der().to_vec()])).await;
    assert_eq!(get(&transport(trust()), &whole).await.unwrap(), "ok");
    // Those that vouch may come in any order (RFC 8446, section 4.4.2), but the own one comes first.
    let shuffled = chain(vec![leaf.der.clone(), root.der.clone(), between_der.der().to_vec()]);
    assert_eq!(get(&transport(trust()), &serve(shuffled).await).await.unwrap(), "ok");
    let missing = serve(chain(vec![leaf.der.clone()])).await;
    refused(trust(), &missing, TlsFailure::UnknownIssuer).await;
    // A leaf is no authority, though what it signs is signed well.
    let usurper = Root {
        params: CertificateParams::new(["localhost".to_owned()]).unwrap(),
        key: KeyPair::generate().unwrap(),
        pem: String::new(),
        der: vec![],
    };
    let lent = usurper.params.signed_by(&usurper.key, &root.issuer()).unwrap();
    let forged = usurper.signs(|_| {});
    let says = Says { chain: vec![forged.der.clone(), lent.der().to_vec()], ..Says::only(&forged) };
    refused(trust(), &serve(says).await, TlsFailure::NotAnAuthority).await;
}

#[tokio::test]
async fn a_chain_in_the_wrong_order_and_one_that_vouches_for_itself_are_refused() {
    let root = Root::new();
    let leaf = root.signs(|_| {});
    let reversed = Says { chain: vec![root.der.clone(), leaf.der.clone()], ..Says::only(&leaf) };
    let trust = || trusting(Trust::Only(root.der.clone()));
    refused(trust(), &serve(reversed).await, TlsFailure::AuthorityAsServer).await;
    let forged = Root::new();
    let selfish = Leaf { der: forged.der.clone(), pem: forged.pem.clone(), key: forged.key };
    let server = serve(Says::only(&selfish)).await;
    refused(trust(), &server, TlsFailure::AuthorityAsServer).await;
}

#[tokio::test]
async fn a_server_that_asks_who_we_are_is_shown_our_certificate() {
    let (root, clients) = (Root::new(), Root::new());
    let (leaf, own) = (root.signs(|_| {}), clients.signs(|_| {}));
    let server = serve(Says { clients_of: Some(&clients), ..Says::only(&leaf) }).await;
    let tls = TlsConfig::default().with_trust(Trust::Only(root.der.clone()));
    let as_pem = Identity { chain: own.pem.clone().into(), key: own.key.serialize_pem().into() };
    let as_der = Identity { chain: own.der.clone(), key: own.key.serialize_der() };
    assert!(!format!("{as_pem:?}").contains("PRIVATE"));
    for identity in [as_pem, as_der] {
        let config = TransportConfig::default().with_tls(tls.clone().with_identity(identity));
        assert_eq!(get(&transport(config), &server).await.unwrap(), "ok");
    }
    // In TLS 1.3 a client is refused after its own side is done.
    let stranger = transport(TransportConfig::default().with_tls(tls));
    let error = get(&stranger, &server).await.unwrap_err();
    let refused = match &error {
        TransportError::Tls { failure, .. } => *failure == TlsFailure::RefusedByServer,
        other => matches!(other, TransportError::Send(_)),
    };
    assert!(refused, "{error:?}");
    assert_eq!(at_rest(&stranger).await.open(), 0);
}

#[tokio::test]
async fn both_sides_speak_the_best_that_both_know() {
    let root = Root::new();
    let leaf = root.signs(|_| {});
    type Spoken = &'static [&'static [u8]];
    let cases: [(Protocol, Spoken, Option<u64>); 7] = [
        (Protocol::Negotiated, &[b"h2", b"http/1.1"], Some(1)),
        // The server chooses.
        (Protocol::Negotiated, &[b"http/1.1", b"h2"], Some(10)),
        (Protocol::Negotiated, &[b"http/1.1"], Some(10)),
        (Protocol::Negotiated, &[], Some(10)),
        (Protocol::Http1, &[b"h2", b"http/1.1"], Some(10)),
        (Protocol::Http2, &[b"h2", b"http/1.1"], Some(1)),
        (Protocol::Http2, &[b"http/1.1"], None),
    ];
    for (protocol, speaks, most) in cases {
        let server = serve(Says { speaks, ..Says::only(&leaf) }).await;
        let config = trusting(Trust::Only(root.der.clone())).with_protocol(protocol);
        let transport = transport(config.with_open_per_host(10));
        let Some(most) = most else {
            refused_protocol(&transport, &server).await;
            continue;
        };
        let answers: Vec<_> = (0..10).map(|_| get(&transport, &server)).collect();
        for answer in join_all(answers).await {
            assert_eq!(answer.unwrap(), "ok", "{protocol:?}, {speaks:?}");
        }
        let counts = at_rest(&transport).await;
        assert!(counts.opened <= most, "{protocol:?}, {speaks:?}: {counts:?}");
        assert_eq!(counts.opened + counts.reused, 10);
        let timings = transport.snapshot().timings;
        assert_eq!(timings.tls.count(), counts.opened, "handshakes = connections opened");
    }
}

async fn refused_protocol(transport: &Transport, server: &Server) {
    let error = get(transport, server).await.unwrap_err();
    let TransportError::Tls { failure, .. } = error else { panic!("{error:?}") };
    assert_eq!(failure, TlsFailure::NothingInCommon);
    assert_eq!(at_rest(transport).await.open(), 0);
}

pub(crate) async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, done) in futures.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(output) = future.as_mut().poll(cx)
            {
                *done = Some(output);
            }
        }
        if done.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test]
async fn a_session_is_resumed_and_counted() {
    let root = Root::new();
    let leaf = root.signs(|_| {});
    let server = serve(Says::only(&leaf)).await;
    let config = trusting(Trust::Only(root.der.clone())).with_idle_per_host(0);
    let transport = transport(config);
    for _ in 0..5 {
        assert_eq!(get(&transport, &server).await.unwrap(), "ok");
        at_rest(&transport).await;
    }
    let snapshot = transport.snapshot();
    assert_eq!(snapshot.in_all.opened, 5);
    assert_eq!((snapshot.timings.tls.count(), snapshot.timings.tls_resumed), (5, 4));
    assert_eq!(snapshot.hosts[0].timings.tls_resumed, 4);
    // Another pool has its own sessions: it may trust others.
    let other = TransportFactory::new().unwrap();
    let other = other.transport(trusting(Trust::Only(root.der.clone()))).unwrap();
    assert_eq!(get(&other, &server).await.unwrap(), "ok");
    assert_eq!(other.snapshot().timings.tls_resumed, 0);
}

#[tokio::test]
async fn of_a_server_that_was_restarted_every_session_is_resumed() {
    const CONNECTIONS: usize = 30;
    let root = Root::new();
    let leaf = root.signs(|_| {});
    let acceptor = TlsAcceptor::from(Arc::new(Says::only(&leaf).config()));
    let cut = Arc::new(Semaphore::new(0));
    let server = Server::running({
        let cut = Arc::clone(&cut);
        move |peer: Peer| {
            let (accepting, cut) = (acceptor.accept(peer.stream), Arc::clone(&cut));
            async move {
                let Ok(mut stream) = accepting.await else { return };
                cut.acquire().await.unwrap().forget();
                let _ = stream.shutdown().await;
            }
        }
    })
    .await;
    let config = trusting(Trust::Only(root.der)).with_idle_per_host(CONNECTIONS);
    let transport = transport(config);
    let mut resumed = 0;
    for must in [0, CONNECTIONS as u64] {
        let warm = patiently(transport.warm_up(url(&server), CONNECTIONS)).await.unwrap();
        assert_eq!(warm.opened, CONNECTIONS);
        let before = resumed;
        resumed = transport.snapshot().timings.tls_resumed;
        // The last of the first ones may already have the tickets of the first.
        assert!(resumed - before >= must, "{} of {CONNECTIONS}", resumed - before);
        cut.add_permits(CONNECTIONS);
        until(|| counts(&transport).idle == 0).await;
    }
}

#[test]
fn what_is_no_certificate_is_refused_by_name() {
    let key = KeyPair::generate().unwrap();
    let own =
        |chain: Vec<u8>, key: Vec<u8>| TlsConfig::default().with_identity(Identity { chain, key });
    let trust = |bytes: &[u8]| TlsConfig::default().with_trust(Trust::Only(bytes.to_vec()));
    let leaf = Root::new().signs(|_| {});
    for (tls, field) in [
        (trust(b"not a certificate"), "http_transport.tls.trust"),
        (trust(b""), "http_transport.tls.trust"),
        (trust(b"-----BEGIN CERTIFICATE-----\nnone\n"), "http_transport.tls.trust"),
        (trust(key.serialize_pem().as_bytes()), "http_transport.tls.trust"),
        (own(leaf.der.clone(), b"no key".to_vec()), "http_transport.tls.identity"),
        (own(leaf.der.clone(), key.serialize_der()), "http_transport.tls.identity"),
        (own(key.serialize_pem().into(), key.serialize_der()), "http_transport.tls.identity"),
    ] {
        let config = TransportConfig::default().with_tls(tls);
        let error = TransportFactory::new().unwrap().transport(config).unwrap_err();
        assert!(error.to_string().starts_with(field), "{error}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_no_tls_server() {
    let server = Server::running(|mut peer: Peer| async move {
        peer.write("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        peer.closed().await;
    })
    .await;
    let transport = transport(Preset::Default);
    let error = get(&transport, &server).await.unwrap_err();
    let TransportError::Tls { failure, .. } = error else { panic!("{error:?}") };
    assert_eq!(failure, TlsFailure::NotTls);
    assert_eq!(at_rest(&transport).await.open(), 0);
}

#[tokio::test]
async fn a_connection_that_breaks_in_the_handshake_may_go_better_next_time() {
    let server = Server::running(|peer: Peer| async move { drop(peer) }).await;
    let error = get(&transport(Preset::Default), &server).await.unwrap_err();
    let TransportError::Tls { failure, .. } = &error else { panic!("{error:?}") };
    assert_eq!((*failure, error.is_retryable()), (TlsFailure::Interrupted, true));
}
