//! Puts the parts together: reader, LLM, pipeline, repository.

use std::time::Duration;

use headworks::circuit_breaker::{CircuitBreaker, CircuitBreakerConfig};
use headworks::http_transport::{Preset, Transport, TransportConfig, TransportFactory};
use headworks::pipeline::{PhaseConfig, PipelineConfig};
use headworks::rate_limit::{Quota, RateLimiter};
use headworks::{ConfigError, IntentPipeline};
use http::HeaderValue;
use http::uri::InvalidUri;

use crate::ask::Llm;
use crate::cli::{Commit, Options};
use crate::git::{OpenError, Repository, RepositoryConfig, RepositoryTasks, Target};
use crate::llm::{StandIn, StandInError};
use crate::phases::{
    DEPLOYMENT_VERIFICATION, DeploymentVerification, GIT_OPS_COMMIT, GitOpsCommit, LLM_PROCESSING,
    LlmProcessing, MANIFEST_GENERATION, ManifestGeneration, RESOURCE_PLANNING, ResourcePlanning,
};
use crate::progress::Progress;
use crate::reader::{Reader, Source};
use crate::submit::{Limits, Pipeline, carry_out};
use crate::summary::{Asked, Summary};

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
}

impl StartError {
    /// Whether the command line is to blame.
    pub(crate) fn is_usage(&self) -> bool {
        match self {
            Self::Intents { .. } | Self::Config(_) | Self::Url(_) | Self::Key(_) => true,
            Self::StandIn(error) => matches!(error, StandInError::Config { .. }),
            Self::Repository(error) => error.is_usage(),
        }
    }
}

/// Runs until every document has ended, however it may; `interrupt` begins a drain.
///
/// # Errors
/// A part cannot begin. Once all have, nothing that goes wrong with a document is an error here:
/// it is in the summary.
pub(crate) async fn run(
    options: &Options,
    interrupt: impl Future<Output = ()>,
    mut progress: Progress,
) -> Result<Summary, StartError> {
    let reader = reader(options)?;
    let transport = TransportFactory::new()?.transport(transport_config(options))?;
    let (repository, tasks) = repository(options).await?;
    let (llm, stand_in) = llm(options, transport.clone()).await?;
    let (url, target) = (llm.url().to_string(), repository.target().to_owned());
    let pipeline = pipeline(options, llm, repository)?;

    let (tally, drained) =
        carry_out(&pipeline, reader, limits(options), interrupt, &mut progress).await;

    let elapsed = progress.finish();
    let commits = tasks.close().await;
    let served = match stand_in {
        Some(stand_in) => Some(stand_in.shutdown().await),
        None => None,
    };
    let llm = Asked { url, timeout: options.llm.timeout(), served };
    let temporary = options.commit == Commit::Git && options.repo.is_none();
    let (pipeline, transport) = (pipeline.snapshot(), transport.snapshot());
    Ok(Summary { tally, drained, pipeline, transport, llm, target, temporary, commits, elapsed })
}

/// The five phases, each with what protects it.
fn pipeline(options: &Options, llm: Llm, repository: Repository) -> Result<Pipeline, ConfigError> {
    let config = PipelineConfig::default()
        .with_name("operator")
        .with_queue_capacity(options.queue)
        .with_seats(options.workers);
    let remote = || PhaseConfig::remote().with_concurrency(options.workers);
    let breaker = CircuitBreaker::new(CircuitBreakerConfig::default().with_name("llm"))?;
    let egress = RateLimiter::new(Quota::per_second(options.llm.llm_rate))?;
    let ask =
        remote().with_timeout(options.llm.timeout()).with_breaker(breaker).with_egress(egress);
    // A push that hangs is the committer's to end; its own limit comes before this one.
    let commit = remote().with_timeout(Duration::from_secs(90)).critical();
    IntentPipeline::builder(config)
        .phase(LLM_PROCESSING, ask, LlmProcessing(llm))
        .phase(RESOURCE_PLANNING, PhaseConfig::local(), ResourcePlanning)
        .phase(MANIFEST_GENERATION, PhaseConfig::local(), ManifestGeneration)
        .phase(GIT_OPS_COMMIT, commit, GitOpsCommit(repository.clone()))
        .phase(DEPLOYMENT_VERIFICATION, remote(), DeploymentVerification(repository))
        .build()
}

fn reader(options: &Options) -> Result<Reader, StartError> {
    let source = match options.generate {
        Some(count) => Source::Generator { count, seed: options.seed },
        None => Source::Place(options.intents.clone()),
    };
    let place = options.intents.display().to_string();
    Reader::start(source).map_err(|source| StartError::Intents { place, source })
}

/// Connections for as many calls as there are workers.
fn transport_config(options: &Options) -> TransportConfig {
    let timeout = options.llm.timeout();
    TransportConfig::from(Preset::HighThroughput)
        .with_name("llm")
        .with_open_per_host(options.workers)
        .with_open_overall(options.workers)
        .with_idle_per_host(options.workers)
        .with_idle_overall(options.workers)
        .with_response_header_timeout(timeout)
        .with_total_timeout(timeout)
}

async fn llm(
    options: &Options,
    transport: Transport,
) -> Result<(Llm, Option<StandIn>), StartError> {
    let (url, authorization, stand_in) = match &options.llm.llm_url {
        Some(url) => (url.clone(), authorization(&options.llm.llm_key_env)?, None),
        None => {
            let stand_in = StandIn::start(options.llm.stand_in(options.seed)).await?;
            (stand_in.url(), None, Some(stand_in))
        }
    };
    let (style, model) = (options.llm.llm_style, &options.llm.llm_model);
    Ok((Llm::new(transport, &url, style, model, authorization)?, stand_in))
}

/// `Bearer …` from the environment, so that no key is ever on a command line.
fn authorization(variable: &str) -> Result<Option<HeaderValue>, StartError> {
    let Ok(key) = std::env::var(variable) else { return Ok(None) };
    let mut value = HeaderValue::try_from(format!("Bearer {key}"))
        .map_err(|_| StartError::Key(variable.to_owned()))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

async fn repository(options: &Options) -> Result<(Repository, RepositoryTasks), StartError> {
    let target = match &options.repo {
        Some(place) => Target::At(place.clone()),
        None => Target::Temporary,
    };
    let config = RepositoryConfig {
        target,
        branch: options.branch.clone(),
        deploy_path: options.deploy_path.clone(),
        ..RepositoryConfig::default()
    };
    Ok(match options.commit {
        Commit::Git => Repository::open(config).await?,
        Commit::Memory => Repository::in_memory(&config)?,
    })
}

fn limits(options: &Options) -> Limits {
    // The lowest class may fill 80 % of the queue; see `Limits::window`.
    let window = (options.queue * 4 / 5).max(1);
    Limits { window, deadline: options.deadline, drain: options.drain }
}
