//! TLS: rustls on ring.

use std::fmt;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, HandshakeKind, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::config::{Protocol, TransportConfig};
use super::dial::Io;
use super::error::{Cause, TlsFailure, TransportError};
use super::host::HostKey;
use super::tls_config::{Identity, Trust};
use super::tls_sessions::Sessions;
use crate::ground::config_error::ConfigError;

/// The client side of TLS, with its sessions. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tls {
    hosts: TlsConnector,
    /// Shows proxies no certificate of ours, speaks HTTP/1.1 with them, and has its own sessions.
    proxies: TlsConnector,
}

impl Tls {
    pub(super) fn new(config: &TransportConfig) -> Result<Self, ConfigError> {
        let believed = Believed::of(&config.tls.trust)?;
        let (h1, h2) = (b"http/1.1".to_vec(), b"h2".to_vec());
        let mut hosts = believed.client(config.tls.identity.as_ref())?;
        hosts.alpn_protocols = match config.protocol {
            Protocol::Http1 => vec![h1.clone()],
            Protocol::Negotiated => vec![h2, h1.clone()],
            Protocol::Http2 => vec![h2],
        };
        let mut proxies = believed.client(None)?;
        proxies.alpn_protocols = vec![h1];
        let [hosts, proxies] = [hosts, proxies].map(|mut it| {
            it.resumption = Resumption::store(Arc::new(Sessions::new(config)));
            TlsConnector::from(Arc::new(it))
        });
        Ok(Self { hosts, proxies })
    }

    pub(super) async fn handshake(
        &self,
        host: &HostKey,
        io: Io,
    ) -> Result<TlsStream<Io>, TransportError> {
        handshake(&self.hosts, host, io).await
    }

    pub(super) async fn handshake_with_proxy(
        &self,
        proxy: &HostKey,
        io: Io,
    ) -> Result<TlsStream<Io>, TransportError> {
        handshake(&self.proxies, proxy, io).await
    }
}

async fn handshake(
    connector: &TlsConnector,
    host: &HostKey,
    io: Io,
) -> Result<TlsStream<Io>, TransportError> {
    let name = ServerName::try_from(host.host().to_owned())
        .map_err(|_| TransportError::InvalidUrl("its host is no name for a certificate"))?;
    connector.connect(name, io).await.map_err(|error| TransportError::Tls {
        host: host.name(),
        failure: TlsFailure::of(&error),
        cause: Cause::new(error),
    })
}

/// Whether the handshake went on from an earlier one.
pub(super) fn is_resumed(stream: &TlsStream<Io>) -> bool {
    stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
}

/// Who is believed, read once.
enum Believed {
    Roots(Arc<RootCertStore>),
    Anyone,
}

impl Believed {
    fn of(trust: &Trust) -> Result<Self, ConfigError> {
        let public = || RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let roots = match trust {
            Trust::PublicRoots => public(),
            Trust::PublicRootsAnd(own) => add(public(), own)?,
            #[cfg(feature = "native-roots")]
            Trust::NativeRoots(native) => native.store(),
            #[cfg(feature = "native-roots")]
            Trust::NativeRootsAnd(native, own) => add(native.store(), own)?,
            Trust::Only(own) => add(RootCertStore::empty(), own)?,
            Trust::DangerouslyAnyone => return Ok(Self::Anyone),
        };
        Ok(Self::Roots(Arc::new(roots)))
    }

    fn client(&self, identity: Option<&Identity>) -> Result<ClientConfig, ConfigError> {
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&ring))
            .with_safe_default_protocol_versions()
            .map_err(|error| ConfigError::invalid("http_transport.tls", error, "TLS 1.2 or 1.3"))?;
        let builder = match self {
            Self::Roots(roots) => builder.with_root_certificates(Arc::clone(roots)),
            Self::Anyone => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(ring)))
            }
        };
        let Some(identity) = identity else { return Ok(builder.with_no_client_auth()) };
        let (chain, key) = read(identity)?;
        builder.with_client_auth_cert(chain, key).map_err(|error| wrong_identity(&error))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

fn add(mut roots: RootCertStore, own: &[u8]) -> Result<RootCertStore, ConfigError> {
    let wrong = |why: &dyn fmt::Display| {
        ConfigError::invalid("http_transport.tls.trust", why, "certificates as PEM, or one as DER")
    };
    for certificate in certificates(own).map_err(|error| wrong(&error))? {
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    Ok(roots)
}

fn is_pem(bytes: &[u8]) -> bool {
    bytes.windows(11).any(|window| window == b"-----BEGIN ")
}

/// At least one.
fn certificates(
    bytes: &[u8],
) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    if !is_pem(bytes) {
        return Ok(vec![CertificateDer::from(bytes.to_vec())]);
    }
    let all: Vec<_> = CertificateDer::pem_slice_iter(bytes).collect::<Result<_, _>>()?;
    if all.is_empty() { Err(rustls::pki_types::pem::Error::NoItemsFound) } else { Ok(all) }
}

type Read = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn read(identity: &Identity) -> Result<Read, ConfigError> {
    let chain = certificates(&identity.chain).map_err(|error| wrong_identity(&error))?;
    let key = if is_pem(&identity.key) {
        PrivateKeyDer::from_pem_slice(&identity.key).map_err(|error| wrong_identity(&error))?
    } else {
        PrivateKeyDer::try_from(identity.key.clone()).map_err(|error| wrong_identity(&error))?
    };
    Ok((chain, key))
}

fn wrong_identity(why: &dyn fmt::Display) -> ConfigError {
    let allowed = "a certificate chain and its private key, as PEM or DER";
    ConfigError::invalid("http_transport.tls.identity", why, allowed)
}

/// Believes every certificate; only that the peer holds its key is still checked.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
