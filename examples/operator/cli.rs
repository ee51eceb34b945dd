//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::llm::{FaultRates, StandInConfig};

/// The intents that come with the project.
const OWN_INTENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/intents");

/// Carries out network intents: LLM, plan, manifests, git commit, verification.
///
/// Exit code 0: every document was committed, skipped, or failed by its own content. 1: anything
/// else. 2: the command line makes no sense.
#[derive(Clone, Debug, Parser)]
#[command(name = "operator", version)]
pub(crate) struct Options {
    /// Read every *.json and *.yaml below this folder
    #[arg(long, value_name = "DIR", default_value = OWN_INTENTS)]
    pub(crate) intents: PathBuf,

    /// Make N valid documents instead of reading any
    #[arg(long, value_name = "N", conflicts_with = "intents")]
    pub(crate) generate: Option<u64>,

    /// Decides what is generated, and how the stand-in LLM behaves
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Intents worked on at once
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) workers: usize,

    /// Intents the pipeline holds, waiting or parked
    #[arg(long, value_name = "N", default_value_t = 2000)]
    pub(crate) queue: usize,

    /// How long one intent may take from its submission to its end
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = duration)]
    pub(crate) deadline: Duration,

    /// How long Ctrl-C lets work in progress go on
    #[arg(long, value_name = "TIME", default_value = "25s", value_parser = duration)]
    pub(crate) drain: Duration,

    /// Where commits go: a git repository, or nowhere (for load runs)
    #[arg(long, value_name = "KIND", default_value = "git")]
    pub(crate) commit: Commit,

    /// Push to this bare repository (path or URL); default: a temporary one
    #[arg(long, value_name = "PLACE")]
    pub(crate) repo: Option<String>,

    /// The branch to push to
    #[arg(long, value_name = "NAME", default_value = "main")]
    pub(crate) branch: String,

    /// The folder of the repository that holds <namespace>/<name>/
    #[arg(long, value_name = "PATH", default_value = "deploy")]
    pub(crate) deploy_path: String,

    #[command(flatten)]
    pub(crate) llm: LlmOptions,

    /// Print the summary as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which LLM is asked, and how the stand-in behaves when there is no other.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "LLM")]
pub(crate) struct LlmOptions {
    /// Ask this server; default: a stand-in started on loopback
    #[arg(long, value_name = "URL")]
    pub(crate) llm_url: Option<String>,

    /// How it is asked: POST /v1/chat/completions, or POST /api/generate
    #[arg(long, value_name = "STYLE", default_value = "openai")]
    pub(crate) llm_style: Style,

    /// The model's name
    #[arg(long, value_name = "NAME", default_value = "stand-in")]
    pub(crate) llm_model: String,

    /// The environment variable with the key for `Authorization: Bearer`
    #[arg(long, value_name = "NAME", default_value = "LLM_API_KEY")]
    pub(crate) llm_key_env: String,

    /// Calls a second, at most
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) llm_rate: u32,

    /// How long one call may take [default: 5s, with --llm-url 60s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) llm_timeout: Option<Duration>,

    /// The stand-in's median latency
    #[arg(long, value_name = "TIME", default_value = "20ms", value_parser = duration)]
    pub(crate) llm_latency: Duration,

    /// The spread of its lognormal latency; 0 makes it constant
    #[arg(long, value_name = "SIGMA", default_value_t = 0.5)]
    pub(crate) llm_sigma: f64,

    /// The share of its answers that are faults: all together, or KIND=RATIO,… of rate-limited,
    /// server-error, hang, truncated, prose, reset
    #[arg(long, value_name = "RATIO", default_value = "0.095", value_parser = faults)]
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

impl LlmOptions {
    /// How long one call may take: a real model is slow, and the stand-in hangs on purpose.
    pub(crate) fn timeout(&self) -> Duration {
        let default = if self.llm_url.is_some() { 60 } else { 5 };
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

/// `250ms`, `5s`, `2m`: a whole number and its unit.
fn duration(text: &str) -> Result<Duration, String> {
    let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..unit].parse().map_err(|_| "a number and ms, s or m".to_owned())?;
    let duration = match &text[unit..] {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        _ => None,
    };
    let most = Duration::from_secs(24 * 60 * 60);
    duration.filter(|&it| it <= most).ok_or_else(|| "up to a day, in ms, s or m".to_owned())
}

/// `0.1`, or `hang=0.01,reset=0.02`: what isn't named doesn't happen.
fn faults(text: &str) -> Result<FaultRates, String> {
    let ratio = |text: &str| match text.parse::<f64>() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err(format!("{text:?} is not a ratio from 0 to 1")),
    };
    if !text.contains('=') {
        return ratio(text).map(FaultRates::total);
    }
    let mut rates = FaultRates::NONE;
    for part in text.split(',') {
        let (kind, share) = part.split_once('=').ok_or("KIND=RATIO,… is wanted")?;
        *match kind {
            "rate-limited" => &mut rates.rate_limited,
            "server-error" => &mut rates.server_error,
            "hang" => &mut rates.hang,
            "truncated" => &mut rates.truncated,
            "prose" => &mut rates.prose,
            "reset" => &mut rates.reset,
            _ => return Err(format!("there is no fault {kind:?}")),
        } = ratio(share)?;
    }
    match rates.sum() <= 1.0 {
        true => Ok(rates),
        false => Err("faults are more than 1 together".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(args: &[&str]) -> Result<Options, clap::Error> {
        Options::try_parse_from(["operator"].iter().chain(args))
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Options::command().debug_assert();
    }

    #[test]
    fn help_names_every_flag_with_its_default() {
        let help = Options::command().render_long_help().to_string();
        for flag in Options::command().get_arguments() {
            let long = flag.get_long().unwrap();
            let from = help.find(&format!("--{long}")).unwrap_or_else(|| panic!("{long}"));
            let text = &help
                [from..help[from + 2..].find("\n      --").map_or(help.len(), |at| from + 2 + at)];
            let takes_value = flag.get_action().takes_values() && long != "generate";
            assert!(!takes_value || text.contains("default:"), "{text}");
        }
    }

    #[test]
    fn times_have_units() {
        for (text, millis) in [("250ms", 250), ("5s", 5_000), ("2m", 120_000), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)));
        }
        for text in ["", "5", "s", "-1s", "1.5s", "5h", "99999999999999999999s", "1000000m"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn faults_are_a_ratio_or_a_list() {
        assert!((faults("0.05").unwrap().sum() - 0.05).abs() < 1e-9);
        let listed = faults("hang=0.25,reset=0.5").unwrap();
        assert_eq!((listed.hang, listed.reset, listed.prose), (0.25, 0.5, 0.0));
        for text in ["2", "-1", "NaN", "x", "hang=2", "dance=0.1", "hang=0.9,reset=0.9"] {
            assert!(faults(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_a_usage_error() {
        for args in [
            &["--workers", "many"][..],
            &["--generate", "5", "--intents", "x"],
            &["--commit", "nowhere"],
            &["--llm-style", "grpc"],
            &["--no-such-flag"],
        ] {
            assert_eq!(parse(args).unwrap_err().exit_code(), 2, "{args:?}");
        }
        assert_eq!(parse(&["--help"]).unwrap_err().exit_code(), 0);
    }
}
