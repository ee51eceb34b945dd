//! TLS: rustls on ring, trusting Mozilla's roots.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::config::Protocol;
use super::error::TransportError;
use super::host::HostKey;
use crate::ground::config_error::ConfigError;

/// The client side of TLS, with its session cache. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tls(TlsConnector);

impl Tls {
    pub(super) fn new(protocol: Protocol) -> Result<Self, ConfigError> {
        let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        Self::trusting(roots, protocol)
    }

    pub(super) fn trusting(roots: RootCertStore, protocol: Protocol) -> Result<Self, ConfigError> {
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .map_err(|error| ConfigError::invalid("http_transport.tls", error, "TLS 1.2 or 1.3"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
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
