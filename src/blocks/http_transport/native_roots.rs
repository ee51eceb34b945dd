//! The roots of the system the program runs on.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls_native_certs::{CertificateResult, ErrorKind, load_native_certs};

/// The roots that the system trusts, read once. Cheap to clone.
///
/// # Examples
/// ```no_run
/// use headworks::http_transport::{NativeRoots, TlsConfig, TransportConfig, Trust};
///
/// let roots = NativeRoots::load()?;
/// for store in roots.unreadable() {
///     eprintln!("{store}");
/// }
/// let tls = TlsConfig::default().with_trust(Trust::NativeRoots(roots));
/// let config = TransportConfig::default().with_tls(tls);
/// # Ok::<(), headworks::http_transport::NoNativeRoots>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct NativeRoots {
    certificates: Arc<[CertificateDer<'static>]>,
    unreadable: Arc<[UnreadableRoots]>,
}

/// A part of the system's store of roots that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum UnreadableRoots {
    /// A file or folder.
    #[error("{path:?}: {kind}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        kind: io::ErrorKind,
    },
    /// A file that is not PEM; which one is not told.
    #[error("not in pem: {0}")]
    Pem(String),
    /// What the system's own store answered.
    #[error("the system's store of roots: {0}")]
    System(String),
    /// So many certificates that can't be roots.
    #[error("{0} certificates that can't be roots")]
    NoRoots(usize),
}

/// The system has no root that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system has no root that can be read, and {} parts of its store can't be", unreadable.len())]
#[non_exhaustive]
pub struct NoNativeRoots {
    /// Why not; empty where there simply are none.
    pub unreadable: Vec<UnreadableRoots>,
}

impl NativeRoots {
    /// Reads the system's roots: on Linux and BSD the files that OpenSSL would read, on macOS and
    /// Windows the system's store; or, where they are set, what the environment variables
    /// `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
    ///
    /// It blocks on files for some milliseconds: call it at start, not in a task. A part that can't
    /// be read is told by [`unreadable`](Self::unreadable), and is no error while any root is left.
    ///
    /// # Errors
    ///
    /// [`NoNativeRoots`]: none is left.
    pub fn load() -> Result<Self, NoNativeRoots> {
        Self::of(load_native_certs())
    }

    pub(super) fn of(found: CertificateResult) -> Result<Self, NoNativeRoots> {
        let mut unreadable: Vec<_> = found.errors.into_iter().map(UnreadableRoots::from).collect();
        let mut store = RootCertStore::empty();
        let all = found.certs.len();
        let usable = |it: &CertificateDer<'static>| store.add(it.clone()).is_ok();
        let certificates: Vec<_> = found.certs.into_iter().filter(usable).collect();
        if certificates.len() < all {
            unreadable.push(UnreadableRoots::NoRoots(all - certificates.len()));
        }
        if certificates.is_empty() {
            return Err(NoNativeRoots { unreadable });
        }
        Ok(Self { certificates: certificates.into(), unreadable: unreadable.into() })
    }

    /// How many roots there are: one at least.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.certificates.len()
    }

    /// What of the system's store could not be read.
    #[must_use]
    pub fn unreadable(&self) -> &[UnreadableRoots] {
        &self.unreadable
    }

    pub(super) fn store(&self) -> RootCertStore {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(self.certificates.iter().cloned());
        store
    }
}

/// How many, not which.
impl fmt::Debug for NativeRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeRoots")
            .field("len", &self.len())
            .field("unreadable", &self.unreadable)
            .finish()
    }
}

impl From<rustls_native_certs::Error> for UnreadableRoots {
    fn from(error: rustls_native_certs::Error) -> Self {
        match error.kind {
            ErrorKind::Io { inner, path } => Self::Io { path, kind: inner.kind() },
            ErrorKind::Pem(error) => Self::Pem(error.to_string()),
            ErrorKind::Os(error) => Self::System(error.to_string()),
            _ => Self::System(error.context.to_owned()),
        }
    }
}
