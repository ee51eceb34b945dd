//! What every way of running needs: an LLM, a repository, and the pipeline between them.

use std::sync::Arc;
use std::time::Duration;

use headworks::cache::Cache;
use headworks::circuit_breaker::CircuitBreaker;
use headworks::http_transport::{Transport, TransportFactory, TransportSnapshot};
use headworks::pipeline::{FileCheckpoints, Phase, PhaseConfig, PipelineSnapshot};
use headworks::rate_limit::{Quota, RateLimiter};
use headworks::{ConfigError, IntentPipeline};
use http::HeaderValue;
use tokio::time::timeout;

use crate::answer::Answer;
use crate::ask::Llm;
use crate::cli::{Commit, Options};
use crate::exporter::Numbers;
use crate::git::{Report, Repository, RepositoryConfig, RepositoryTasks, Target};
use crate::intent::NetworkIntent;
use crate::llm::{Counts, StandIn};
use crate::phases::{
    Asking, DEPLOYMENT_VERIFICATION, DeploymentVerification, GIT_OPS_COMMIT, GitOpsCommit,
    LLM_PROCESSING, LlmProcessing, MANIFEST_GENERATION, ManifestGeneration, RESOURCE_PLANNING,
    ResourcePlanning,
};
use crate::prompt::user_message;
use crate::start_error::StartError;
use crate::submit::Pipeline;

/// The pipeline, and what stands behind it.
pub(crate) struct Parts {
    pub(crate) pipeline: Pipeline,
    pub(crate) watched: Watched,
    transport: Transport,
    tasks: RepositoryTasks,
    stand_in: Option<StandIn>,
    llm: Asked,
    target: String,
    temporary: bool,
}

/// The rooms whose numbers are told while they work.
#[derive(Clone)]
pub(crate) struct Watched {
    pipeline: Pipeline,
    transport: Transport,
    breaker: CircuitBreaker,
    answers: Answers,
}

/// Answers by their question.
type Answers = Cache<String, Answer>;

impl Watched {
    pub(crate) fn tell(&self, numbers: &mut Numbers) {
        let (pipeline, transport) = (self.pipeline.snapshot(), self.transport.snapshot());
        let (breaker, answers) = (self.breaker.snapshot(), self.answers.snapshot());
        numbers.add(&pipeline.name, pipeline.metrics());
        numbers.add(&pipeline.name, pipeline.retry_budget.metrics());
        numbers.add(&transport.name, transport.metrics());
        numbers.add(&breaker.name, breaker.metrics());
        numbers.add(&answers.name, answers.metrics());
    }
}

/// The LLM that is asked.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) url: String,
    /// How long one call may take.
    pub(crate) timeout: Duration,
    /// What the stand-in served, once it is over; `None` when a real one was asked.
    pub(crate) served: Option<Counts>,
}

/// What is known of the parts when all is over.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) pipeline: PipelineSnapshot,
    pub(crate) transport: TransportSnapshot,
    pub(crate) llm: Asked,
    /// Where the commits went.
    pub(crate) target: String,
    /// Whether it was made for this run and is gone by now.
    pub(crate) temporary: bool,
    /// `None`: the repository took too long to end.
    pub(crate) commits: Option<Report>,
}

impl Parts {
    /// # Errors
    /// One of them cannot begin.
    pub(crate) async fn open(options: &Options) -> Result<Self, StartError> {
        let transport = TransportFactory::new()?.transport(options.rooms.transport.clone())?;
        let (repository, tasks) = repository(options).await?;
        let (llm, stand_in) = llm(options, transport.clone()).await?;
        let (url, target) = (llm.url().to_string(), repository.target().to_owned());
        let breaker = CircuitBreaker::new(options.rooms.breaker.clone())?;
        let answers = Cache::new(options.rooms.llm_cache.clone())?;
        let asking = Asking(llm).cached(|intent| user_message(intent), answers.clone());
        let pipeline = pipeline(options, breaker.clone(), asking, repository)?;
        let watched =
            Watched { pipeline: pipeline.clone(), transport: transport.clone(), breaker, answers };
        let llm = Asked { url, timeout: options.llm.timeout(), served: None };
        let temporary = options.commit == Commit::Git && options.repo.is_none();
        Ok(Self { pipeline, watched, transport, tasks, stand_in, llm, target, temporary })
    }

    /// Ends what is behind a pipeline that is over. A push that takes longer than this is cut off,
    /// and may be there or not.
    pub(crate) async fn close(self, within: Duration) -> Ended {
        let Self { pipeline, transport, tasks, stand_in, mut llm, target, temporary, .. } = self;
        let commits = timeout(within, tasks.close()).await.ok();
        if let Some(stand_in) = stand_in {
            llm.served = Some(stand_in.shutdown().await);
        }
        let (pipeline, transport) = (pipeline.snapshot(), transport.snapshot());
        Ended { pipeline, transport, llm, target, temporary, commits }
    }
}

/// The five phases, each with what protects it.
fn pipeline(
    options: &Options,
    breaker: CircuitBreaker,
    asking: impl Phase<Arc<NetworkIntent>, Out = Answer>,
    repository: Repository,
) -> Result<Pipeline, ConfigError> {
    let rooms = &options.rooms;
    let remote = || PhaseConfig::remote().with_concurrency(rooms.pipeline.seats);
    let egress = RateLimiter::new(Quota::per_second(options.llm.llm_rate))?;
    let ask =
        remote().with_timeout(options.llm.timeout()).with_breaker(breaker).with_egress(egress);
    // A push that hangs is the committer's to end; its own limit comes before this one.
    let commit = remote().with_timeout(Duration::from_secs(90)).critical();
    let (local, verify) = (PhaseConfig::local, remote());
    let (answered, committed) = (LlmProcessing(asking), GitOpsCommit(repository.clone()));
    let verified = DeploymentVerification(repository);
    let builder = IntentPipeline::builder(rooms.pipeline.clone());
    if options.state.is_none() {
        return builder
            .phase(LLM_PROCESSING, ask, answered)
            .phase(RESOURCE_PLANNING, local(), ResourcePlanning)
            .phase(MANIFEST_GENERATION, local(), ManifestGeneration)
            .phase(GIT_OPS_COMMIT, commit, committed)
            .phase(DEPLOYMENT_VERIFICATION, verify, verified)
            .build();
    }
    // Kept is what was paid for, and that it is all done. What is between is quickly made again, and
    // a commit is found again by its trailers.
    builder
        .checkpoints(FileCheckpoints::new(rooms.state.clone())?)
        .durable_phase(LLM_PROCESSING, 1, ask, answered)
        .phase(RESOURCE_PLANNING, local(), ResourcePlanning)
        .phase(MANIFEST_GENERATION, local(), ManifestGeneration)
        .phase(GIT_OPS_COMMIT, commit, committed)
        .durable_phase(DEPLOYMENT_VERIFICATION, 1, verify, verified)
        .build()
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
        // Who runs on and on would name them without end.
        listed: if options.runs_on() { 0 } else { usize::MAX },
        ..RepositoryConfig::default()
    };
    Ok(match options.commit {
        Commit::Git => Repository::open(config).await?,
        Commit::Memory => Repository::in_memory(&config)?,
    })
}
