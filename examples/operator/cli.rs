//! The command line: every flag with its default and its range. What clap lets through can begin.

mod values;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{NonEmptyStringValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};

use crate::llm::{FaultRates, StandInConfig};
use crate::settings::Rooms;

pub(crate) use values::time;
use values::{base_url, branch, faults, number, path, sigma, some_time};

/// The intents that come with the project.
const OWN_INTENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/intents");

/// Carries out network intents: LLM, plan, manifests, git commit, verification.
///
/// Exit code 0: every document was committed, skipped, or failed by its own content. 1: anything
/// else. 2: the command line makes no sense.
///
/// TIME is a whole number and its unit: 250ms, 5s, 2m.
#[derive(Clone, Debug, Parser)]
#[command(name = "operator", version, args_override_self = true)]
pub(crate) struct Options {
    /// Read every *.json, *.yaml and *.yml below this folder, or this one file
    ///
    /// Other files are skipped, and said. Names that begin with a dot are left alone. A symbolic
    /// link is followed when it leads to a place inside the folder, as in a mounted ConfigMap; one
    /// that leads elsewhere is skipped, and said. No file is read twice.
    #[arg(long, value_name = "DIR", default_value = OWN_INTENTS)]
    pub(crate) intents: PathBuf,

    /// Read settings from this YAML file [default: none]
    ///
    /// Every flag, with `_` for `-`, and every field of the library's configuration, as in
    /// `pipeline: {seats: 16}`. The environment goes before it, as in HEADWORKS_PIPELINE__SEATS=16, and
    /// the command line before both.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Make N valid documents instead of reading any
    #[arg(long, value_name = "N", conflicts_with = "intents", allow_negative_numbers = true,
        value_parser = number::<u64>(1..=999_999_999))]
    pub(crate) generate: Option<u64>,

    /// Take the files of this folder as they come, until Ctrl-C or SIGTERM [default: none]
    ///
    /// *.json, *.yaml, *.yml, and *.txt with one `scale NAME to N in ns NAMESPACE` a line. A file is
    /// moved into `processing`, and at its end, with a status beside it, into `processed` or `failed`.
    /// One process at a time.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["intents", "generate"],
        value_parser = NonEmptyStringValueParser::new().map(PathBuf::from))]
    pub(crate) watch: Option<PathBuf>,

    /// Take intents over HTTP here, until Ctrl-C or SIGTERM [default: none]
    ///
    /// POST /intent (JSON, YAML, or `scale NAME to N in ns NAMESPACE`) is answered with 202 and a
    /// ticket; GET /intent/ID and /intent/ID/events tell of it; /healthz and /readyz. No TLS: that is a
    /// proxy's.
    #[arg(long, value_name = "IP:PORT", conflicts_with_all = ["intents", "generate"])]
    pub(crate) serve: Option<SocketAddr>,

    /// Let what listens do so where other machines come in
    #[arg(long)]
    pub(crate) serve_anywhere: bool,

    /// Who may come in over HTTP: a file with a tenant and its token a line [default: none, and
    /// everybody may]
    #[arg(long, value_name = "FILE", requires = "serve")]
    pub(crate) token_file: Option<PathBuf>,

    /// Tell every number here, at GET /metrics, for --watch and --serve [default: nowhere]
    ///
    /// In Prometheus' text format. Whoever comes in may read them.
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) metrics: Option<SocketAddr>,

    /// Keep here what was accepted and has not ended, so that it outlives the process
    /// [default: nowhere]
    ///
    /// The next start goes on with it; an answer of the LLM that is kept is not asked for again. For
    /// --watch and --serve: a run over --intents begins again by itself, and what is committed is not
    /// committed again. One process at a time.
    #[arg(long, value_name = "DIR",
        value_parser = NonEmptyStringValueParser::new().map(PathBuf::from))]
    pub(crate) state: Option<PathBuf>,

    /// Decides what is generated, and how the stand-in LLM behaves
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Intents worked on at once [default: 64]
    #[arg(long, value_name = "N", allow_negative_numbers = true,
        value_parser = number::<usize>(1..=65_536))]
    pub(crate) workers: Option<usize>,

    /// Intents the pipeline holds, waiting or parked [default: 2000]
    #[arg(long, value_name = "N", allow_negative_numbers = true,
        value_parser = number::<usize>(1..=1_000_000))]
    pub(crate) queue: Option<usize>,

    /// How long one intent may take from its submission to its end [default: 120s, with --watch
    /// or --serve as long as it takes]
    #[arg(long, value_name = "TIME", value_parser = some_time)]
    pub(crate) deadline: Option<Duration>,

    /// How long Ctrl-C or SIGTERM lets work in progress go on. All is over 5s later: a pod's
    /// terminationGracePeriodSeconds should be longer
    #[arg(long, value_name = "TIME", default_value = "25s", value_parser = time)]
    pub(crate) drain: Duration,

    /// Where commits go: a git repository, or nowhere (for load runs)
    #[arg(long, value_name = "KIND", default_value = "git")]
    pub(crate) commit: Commit,

    /// Push to this bare repository (path or URL) [default: a temporary one]
    #[arg(long, value_name = "PLACE", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) repo: Option<String>,

    /// The branch to push to
    #[arg(long, value_name = "NAME", default_value = "main", value_parser = branch)]
    pub(crate) branch: String,

    /// The folder of the repository that holds <namespace>/<name>/
    #[arg(long, value_name = "PATH", default_value = "deploy", value_parser = path)]
    pub(crate) deploy_path: String,

    #[command(flatten)]
    pub(crate) llm: LlmOptions,

    /// Print the summary as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// The library's configuration, with what is said of it anywhere.
    #[arg(skip)]
    pub(crate) rooms: Rooms,
}

/// Which LLM is asked, and how the stand-in behaves when there is no other.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "LLM")]
pub(crate) struct LlmOptions {
    /// Ask this server, to whose URL the style adds its path [default: a stand-in on loopback]
    #[arg(long, value_name = "URL", value_parser = base_url)]
    pub(crate) llm_url: Option<String>,

    /// How it is asked: POST /v1/chat/completions, or POST /api/generate
    #[arg(long, value_name = "STYLE", default_value = "openai")]
    pub(crate) llm_style: Style,

    /// The model's name
    #[arg(long, value_name = "NAME", default_value = "stand-in")]
    pub(crate) llm_model: String,

    /// The environment variable with the key for `Authorization: Bearer`; without it none is sent
    #[arg(long, value_name = "NAME", default_value = "LLM_API_KEY")]
    pub(crate) llm_key_env: String,

    /// Calls a second, at most
    #[arg(long, value_name = "N", default_value = "10000", allow_negative_numbers = true,
        value_parser = number::<u32>(1..=10_000_000))]
    pub(crate) llm_rate: u32,

    /// How long one call may take [default: 2s, with --llm-url 60s]
    #[arg(long, value_name = "TIME", value_parser = some_time)]
    pub(crate) llm_timeout: Option<Duration>,

    /// How long an answer is given again to whoever asks the same; who asks while it is being given
    /// shares it always
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = some_time)]
    pub(crate) llm_cache: Duration,

    /// The stand-in's median latency
    #[arg(long, value_name = "TIME", default_value = "20ms", value_parser = time,
        conflicts_with = "llm_url")]
    pub(crate) llm_latency: Duration,

    /// The spread of its lognormal latency, 0 to 3; 0 makes it constant
    #[arg(long, value_name = "SIGMA", default_value = "0.5", value_parser = sigma,
        allow_negative_numbers = true, conflicts_with = "llm_url")]
    pub(crate) llm_sigma: f64,

    /// The share of its answers that are faults: all together, or KIND=RATIO,… of rate-limited,
    /// server-error, hang, truncated, prose, reset
    #[arg(long, value_name = "RATIO", default_value = "0.095", value_parser = faults,
        allow_negative_numbers = true, conflicts_with = "llm_url")]
    pub(crate) llm_faults: FaultRates,
}

/// Where commits go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Commit {
    Git,
    Memory,
}

/// How an LLM is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Style {
    Openai,
    Ollama,
}

impl Options {
    /// Reads a command line, with the program's name first. Its rooms are as they are by default.
    ///
    /// # Errors
    /// It makes no sense, or asks for help; [`clap::Error::exit`] knows what to do.
    pub(crate) fn parse_checked(args: &[OsString]) -> Result<Self, clap::Error> {
        let options = Self::try_parse_from(args)?;
        if options.commit == Commit::Memory && options.repo.is_some() {
            let words =
                "'--repo <PLACE>' cannot be used with '--commit memory', which pushes nowhere";
            return Err(Self::command().error(ErrorKind::ArgumentConflict, words));
        }
        let missing =
            |words: String| Self::command().error(ErrorKind::MissingRequiredArgument, words);
        let (state, metrics) = (options.state.is_some(), options.metrics.is_some());
        let for_services = [(state, "--state <DIR>"), (metrics, "--metrics <IP:PORT>")];
        if let Some((_, flag)) = for_services.iter().find(|(said, _)| *said && !options.runs_on()) {
            let words = format!("'{flag}' is for '--watch <DIR>' and '--serve <IP:PORT>'");
            return Err(missing(words));
        }
        let listens = [(options.serve, "--serve"), (options.metrics, "--metrics")];
        let is_open = |at: Option<SocketAddr>| at.is_some_and(|at| !at.ip().is_loopback());
        if let Some((_, flag)) = listens.iter().find(|(at, _)| is_open(*at))
            && !options.serve_anywhere
        {
            let words = format!(
                "'{flag} <IP:PORT>' listens where other machines come in, \
                 which '--serve-anywhere' has to allow"
            );
            return Err(missing(words));
        }
        Ok(options)
    }

    /// Whether it runs until it is asked to stop.
    pub(crate) fn runs_on(&self) -> bool {
        self.watch.is_some() || self.serve.is_some()
    }

    /// How long one intent may take. Who runs on can wait for a backend that is down.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let default = (!self.runs_on()).then_some(Duration::from_secs(120));
        self.deadline.or(default)
    }
}

impl LlmOptions {
    /// How long one call may take: a real model is slow, and the stand-in hangs on purpose.
    pub(crate) fn timeout(&self) -> Duration {
        let default = if self.llm_url.is_some() { 60 } else { 2 };
        self.llm_timeout.unwrap_or(Duration::from_secs(default))
    }

    pub(crate) fn stand_in(&self, seed: u64) -> StandInConfig {
        StandInConfig {
            seed,
            median: self.llm_latency,
            sigma: self.llm_sigma,
            faults: self.llm_faults,
            ..StandInConfig::default()
        }
    }
}

#[cfg(test)]
mod tests;
