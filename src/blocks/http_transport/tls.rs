//! TLS: rustls on ring.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::config::Protocol;
use super::error::TransportError;
use super::host::HostKey;
use super::tls_config::{Identity, TlsConfig, Trust};
use crate::ground::config_error::ConfigError;

/// The client side of TLS, with its sessions. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tls(TlsConnector);

impl Tls {
    pub(super) fn new(config: &TlsConfig, protocol: Protocol) -> Result<Self, ConfigError> {
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&ring))
            .with_safe_default_protocol_versions()
            .map_err(|error| ConfigError::invalid("http_transport.tls", error, "TLS 1.2 or 1.3"))?;
        let public = || RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let builder = match &config.trust {
            Trust::PublicRoots => builder.with_root_certificates(public()),
            Trust::PublicRootsAnd(own) => builder.with_root_certificates(add(public(), own)?),
            Trust::Only(own) => builder.with_root_certificates(add(RootCertStore::empty(), own)?),
            Trust::DangerouslyAnyone => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(ring)))
            }
        };
        let mut config = match &config.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = read(identity)?;
                builder.with_client_auth_cert(chain, key).map_err(|error| wrong_identity(&error))?
            }
        };
        let (h1, h2) = (b"http/1.1".to_vec(), b"h2".to_vec());
        config.alpn_protocols = match protocol {
            Protocol::Http1 => vec![h1],
            Protocol::Negotiated => vec![h2, h1],
            Protocol::Http2 => vec![h2],
        };
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    pub(super) fn handshake(
        &self,
        host: &HostKey,
        tcp: TcpStream,
    ) -> Result<impl Future<Output = io::Result<TlsStream<TcpStream>>> + use<>, TransportError>
    {
        let name = host.authority.host().trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| TransportError::InvalidUrl("its host is no name for a certificate"))?;
        Ok(self.0.connect(name, tcp))
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
