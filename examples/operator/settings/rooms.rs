//! The library's rooms as they are configured: its defaults, or the operator's, with what is said
//! laid over them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use headworks::cache::CacheConfig;
use headworks::circuit_breaker::CircuitBreakerConfig;
use headworks::http_transport::{Preset, TransportConfig};
use headworks::intake::WatchConfig;
use headworks::intake::http::{Bind, HttpIntakeConfig};
use headworks::pipeline::{FileCheckpointsConfig, PipelineConfig};

use super::error::{Said, SettingsError};
use super::overlay::Overlay;
use crate::cli::Options;
use crate::document::MAX_FILE_BYTES;
use crate::language::Language;

/// Every room that the operator uses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rooms {
    pub(crate) pipeline: PipelineConfig,
    pub(crate) breaker: CircuitBreakerConfig,
    pub(crate) transport: TransportConfig,
    pub(crate) llm_cache: CacheConfig,
    pub(crate) watch: WatchConfig,
    pub(crate) serve: HttpIntakeConfig,
    pub(crate) state: FileCheckpointsConfig,
    overlay: Overlay,
}

impl Rooms {
    pub(super) fn of(options: &Options, overlay: &Overlay) -> Result<Self, SettingsError> {
        let mut pipeline =
            overlay.over("pipeline", PipelineConfig::default().with_name("operator"))?;
        if let Some(workers) = options.workers {
            pipeline.seats = workers;
        }
        if let Some(queue) = options.queue {
            pipeline.queue_capacity = queue;
        }
        let breaker = CircuitBreakerConfig::default().with_name("llm");
        let answers = CacheConfig::default().with_name("llm").with_ttl(Some(options.llm.llm_cache));
        let transport = transport(options.llm.timeout(), pipeline.seats);
        let mut rooms = Self {
            breaker: overlay.over("breaker", breaker)?,
            transport: overlay.over("transport", transport)?,
            llm_cache: overlay.over("llm_cache", answers)?,
            watch: overlay.over("watch", watch())?,
            serve: overlay.over("serve", serve())?,
            state: overlay.over("state", FileCheckpointsConfig::default())?,
            pipeline,
            overlay: overlay.clone(),
        };
        if let Some(folder) = &options.watch {
            rooms.watch.directory.clone_from(folder);
        }
        if let Some(at) = options.serve {
            rooms.serve.bind = bind(at);
        }
        if let Some(folder) = &options.state {
            rooms.state.directory.clone_from(folder);
        }
        Ok(rooms)
    }

    /// Who says the field that the library complains of, if somebody does.
    pub(crate) fn said_by(&self, options: &Options, field: &str) -> Option<Said> {
        match field {
            "pipeline.seats" if options.workers.is_some() => return Some(Said::Flag("--workers")),
            "pipeline.queue_capacity" if options.queue.is_some() => {
                return Some(Said::Flag("--queue"));
            }
            _ => {}
        }
        let (room, rest) = NAMES.iter().find_map(|(theirs, ours)| {
            Some((ours, field.strip_prefix(theirs)?.strip_prefix('.')?))
        })?;
        self.overlay.said_by(&format!("{room}.{rest}")).cloned()
    }
}

/// What the library calls its rooms, and what they are called here.
const NAMES: [(&str, &str); 7] = [
    ("pipeline", "pipeline"),
    ("circuit_breaker", "breaker"),
    ("http_transport", "transport"),
    ("cache", "llm_cache"),
    ("watch", "watch"),
    ("intake.http", "serve"),
    ("checkpoints", "state"),
];

/// Connections for as many calls as there are workers.
fn transport(timeout: Duration, workers: usize) -> TransportConfig {
    TransportConfig::from(Preset::HighThroughput)
        .with_name("llm")
        .with_open_per_host(workers)
        .with_open_overall(workers)
        .with_idle_per_host(workers)
        .with_idle_overall(workers)
        .with_response_header_timeout(timeout)
        .with_total_timeout(timeout)
}

fn watch() -> WatchConfig {
    WatchConfig::default()
        .with_extensions(Language::EXTENSIONS)
        .with_max_file_bytes(MAX_FILE_BYTES as usize)
}

fn serve() -> HttpIntakeConfig {
    HttpIntakeConfig::default().with_body_bytes(MAX_FILE_BYTES as usize)
}

fn bind(at: SocketAddr) -> Bind {
    match at {
        SocketAddr::V4(v4) if *v4.ip() == Ipv4Addr::LOCALHOST => Bind::Loopback(at.port()),
        _ => Bind::Anywhere(at),
    }
}
