//! Whom a transport trusts, and who it says it is.

use std::fmt;

#[cfg(feature = "native-roots")]
use super::native_roots::NativeRoots;

/// The client side of TLS. Certificates and keys are bytes: PEM, or DER of one.
///
/// An `https` proxy is believed by the same roots, and never shown the client's certificate.
///
/// By code only: serde passes it over, so that no key is written into a file by accident.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct TlsConfig {
    /// Who may vouch for a server. Default: `PublicRoots`.
    pub trust: Trust,
    /// What servers that ask for a certificate are shown. Default: `None`.
    pub identity: Option<Identity>,
}

impl TlsConfig {
    /// Sets [`trust`](Self::trust).
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Sets [`identity`](Self::identity).
    #[must_use]
    pub fn with_identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }
}

/// Who may vouch for a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Trust {
    /// Mozilla's list of roots, as it was when this crate was built (`webpki-roots`).
    #[default]
    PublicRoots,
    /// Those, and these roots of your own: a PEM bundle, or one certificate as DER.
    PublicRootsAnd(Vec<u8>),
    /// The roots of the system.
    #[cfg(feature = "native-roots")]
    NativeRoots(NativeRoots),
    /// Those, and these roots of your own: a PEM bundle, or one certificate as DER.
    #[cfg(feature = "native-roots")]
    NativeRootsAnd(NativeRoots, Vec<u8>),
    /// These roots alone: a PEM bundle, or one certificate as DER.
    Only(Vec<u8>),
    /// **Dangerous.** Whoever answers is believed: expired, forged and stolen certificates, any
    /// host name. It is encrypted, and nobody knows for whom. For tests on one's own machine.
    DangerouslyAnyone,
}

/// A certificate of the client's own, and its key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The certificate, then those that vouch for it: PEM, or DER of the one.
    pub chain: Vec<u8>,
    /// Its private key, PKCS #8, PKCS #1 or SEC 1: PEM or DER.
    pub key: Vec<u8>,
}

/// Says nothing of the key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("chain_bytes", &self.chain.len()).finish_non_exhaustive()
    }
}
