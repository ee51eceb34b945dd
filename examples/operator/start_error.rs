//! Why the operator could not begin.

use std::net::SocketAddr;

use headworks::ConfigError;
use headworks::intake::WatchError;
use headworks::intake::http::HttpIntakeError;
use headworks::pipeline::RestoreError;
use http::uri::InvalidUri;

use crate::git::OpenError;
use crate::llm::StandInError;
use crate::tokens::TokenError;

/// Why it could not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("cannot read the intents at {place}")]
    Intents { place: String, source: std::io::Error },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("--llm-url is no URL")]
    Url(#[from] InvalidUri),
    #[error("the variable {0} cannot be a header")]
    Key(String),
    #[error("the stand-in LLM does not start")]
    StandIn(#[from] StandInError),
    #[error("cannot open the repository")]
    Repository(#[from] OpenError),
    #[error("cannot watch the folder")]
    Watch(#[from] WatchError),
    #[error("cannot take intents over HTTP")]
    Serve(#[from] HttpIntakeError),
    #[error("cannot go on with what was kept (--state)")]
    Restore(#[from] RestoreError),
    #[error("cannot tell numbers at {at}")]
    Metrics { at: SocketAddr, source: std::io::Error },
    #[error("cannot tell who may come in over HTTP")]
    Tokens(#[from] TokenError),
}

impl StartError {
    /// The field of the library's configuration that is out of its range, if it is one.
    pub(crate) fn field(&self) -> Option<&'static str> {
        match self {
            Self::Config(error) | Self::Serve(HttpIntakeError::Config(error)) => match error {
                ConfigError::Invalid { field, .. } => Some(field),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether the settings are to blame.
    pub(crate) fn is_usage(&self) -> bool {
        match self {
            Self::Intents { .. } | Self::Config(_) | Self::Url(_) | Self::Key(_) => true,
            Self::Serve(_) | Self::Tokens(_) | Self::Metrics { .. } => true,
            Self::StandIn(error) => matches!(error, StandInError::Config { .. }),
            Self::Repository(error) => error.is_usage(),
            // A folder that is no folder, or somebody else's.
            Self::Restore(_) => true,
            Self::Watch(error) => !matches!(error, WatchError::Unwatched { .. }),
        }
    }
}
