//! What rustls says went wrong, in the transport's words.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use super::error::TlsFailure;

impl TlsFailure {
    pub(super) fn of(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(Error::InvalidCertificate(what)) => Self::of_certificate(what),
            Some(Error::NoCertificatesPresented) => Self::BadCertificate,
            Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => {
                Self::NothingInCommon
            }
            Some(Error::AlertReceived(alert)) => Self::of_alert(*alert),
            Some(Error::InvalidMessage(_) | Error::InappropriateMessage { .. }) => Self::NotTls,
            Some(_) => Self::Other,
            // A socket's own error has none of rustls' inside, nor has an end too early.
            None => Self::Interrupted,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        use CertificateError as Is;
        match error {
            Is::Expired | Is::ExpiredContext { .. } => Self::Expired,
            Is::NotValidYet | Is::NotValidYetContext { .. } => Self::NotYetValid,
            Is::NotValidForName | Is::NotValidForNameContext { .. } => Self::WrongHost,
            Is::UnknownIssuer => Self::UnknownIssuer,
            Is::BadSignature => Self::BadSignature,
            Is::Revoked => Self::Revoked,
            Is::InvalidPurpose | Is::InvalidPurposeContext { .. } => Self::WrongPurpose,
            Is::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
                Some(webpki::Error::CaUsedAsEndEntity) => Self::AuthorityAsServer,
                Some(
                    webpki::Error::EndEntityUsedAsCa
                    | webpki::Error::NameConstraintViolation
                    | webpki::Error::PathLenConstraintViolated,
                ) => Self::NotAnAuthority,
                _ => Self::BadCertificate,
            },
            _ => Self::BadCertificate,
        }
    }

    fn of_alert(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::NoApplicationProtocol
            | AlertDescription::ProtocolVersion
            | AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity => Self::NothingInCommon,
            _ => Self::RefusedByServer,
        }
    }
}
