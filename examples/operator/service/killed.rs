//! The process is killed (`SIGKILL`) with everything that it was doing, again and again; and asked
//! to stop (`SIGTERM`).
//!
//! A test runs itself as the operator's process: `a_life` is nothing but a way in.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{ExitCode, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use super::Service;
use super::tests::{asked, options, post, text};

/// The command line of a process, an argument a line.
const ARGS: &str = "OPERATOR_LIFE";
/// It finishes what there is, and ends.
const LAST: &str = "OPERATOR_LAST_LIFE";

const LIVES: u64 = 5;
/// Fewer than one client may send at once.
const POSTS: u64 = 36;
const FILES: u64 = 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_life() {
    let Ok(args) = std::env::var(ARGS) else { return };
    let options = options(&[&args.lines().collect::<Vec<_>>()]);
    if std::env::var_os(LAST).is_none() {
        let code = crate::run(&options).await.unwrap();
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));
        return;
    }
    let service = Service::start(&options).await.unwrap();
    service.watching.as_ref().unwrap().drained().await;
    let stopped = service.stop().await;
    assert!(stopped.is_clean() && stopped.drained.returned.is_empty(), "{}", stopped.text());
}

/// Everything of the operator that outlives its process.
struct Places(TempDir);

impl Places {
    fn new() -> Self {
        let places = Self(TempDir::new().unwrap());
        places.git(&["init", "--quiet", "--bare", "repo"]);
        places
    }

    fn path(&self, name: &str) -> String {
        text(&self.0.path().join(name)).to_owned()
    }

    fn git(&self, args: &[&str]) -> String {
        let output = std::process::Command::new("git").current_dir(&self.0).args(args).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn args(&self) -> String {
        let [watch, state, repo] = ["intents", "state", "repo"].map(|name| self.path(name));
        let places = ["--watch", &watch, "--state", &state, "--repo", &repo];
        let llm =
            ["--llm-latency", "15ms", "--llm-sigma", "1", "--llm-faults", "0", "--drain", "60s"];
        [&places[..], &llm, &["--json", "--serve", "127.0.0.1:0"]].concat().join("\n")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["service::killed::a_life", "--exact", "--nocapture", "--test-threads=1"]);
        command.env(ARGS, self.args()).kill_on_drop(true).stdin(Stdio::null());
        command
    }

    /// A process that has begun, and where it listens.
    async fn begin(&self) -> (Child, String) {
        let mut command = self.command();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            assert!(!line.contains("set aside"), "{line}");
            if let Some((_, at)) = line.split_once("listening at ") {
                let url = at.split(',').next().unwrap().to_owned();
                // What it says later on must not fill the pipe.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return (child, url);
            }
        }
        panic!("it did not begin: {:?}", child.wait_with_output().await);
    }

    /// How often each (key, generation) was committed.
    fn commits(&self) -> BTreeMap<(String, u64), u32> {
        let trailer = |key| format!("%(trailers:key={key},valueonly,separator=)");
        let format = format!("--format={} {}", trailer("Intent"), trailer("Generation"));
        let log = self.git(&["-C", "repo", "log", &format, "main"]);
        let mut commits = BTreeMap::new();
        for line in log.lines() {
            let (key, generation) = line.split_once(' ').unwrap();
            *commits.entry((key.to_owned(), generation.parse().unwrap())).or_default() += 1;
        }
        commits
    }
}

fn document(name: &str, generation: u64) -> String {
    json!({
        "apiVersion": "nephoran.com/v1",
        "kind": "NetworkIntent",
        "metadata": { "name": name, "namespace": "lab", "generation": generation },
        "spec": { "intent": format!("Scale {name} to {} replicas", 1 + generation % 9) },
    })
    .to_string()
}

/// Numbers that look random (xorshift64, Marsaglia 2003).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_before_kill_9_is_committed_once_by_a_later_start() {
    let (places, mut dice) = (Places::new(), Dice(0x9e37_79b9_7f4a_7c15));
    fs::create_dir(places.path("intents")).unwrap();
    let (mut accepted, mut written) = (Vec::new(), Vec::new());
    let mut newest = None;
    for life in 0..LIVES {
        let (mut child, url) = places.begin().await;
        for number in 0..FILES {
            let name = format!("file-{life}-{number}");
            let path = Path::new(&places.path("intents")).join(format!("{name}.json"));
            fs::write(path, document(&name, 1)).unwrap();
            written.push((format!("lab/{name}"), 1));
        }
        for number in 0..dice.below(POSTS) {
            let (name, generation) = match number % 4 {
                0 => ("shared".to_owned(), 1 + life * POSTS + number),
                _ => (format!("post-{life}-{number}"), 1),
            };
            let (status, ticket) = asked(post(&url, &document(&name, generation))).await;
            assert_eq!(status, 202, "{ticket}");
            match number % 4 {
                0 => newest = Some((format!("lab/{name}"), generation)),
                _ => accepted.push((format!("lab/{name}"), generation)),
            }
        }
        child.kill().await.unwrap();
    }
    let before = places.commits().len();
    let status = places.command().env(LAST, "1").status().await.unwrap();
    assert!(status.success());

    let commits = places.commits();
    assert!(before < commits.len(), "nobody died in the middle");
    let again: Vec<_> = commits.iter().filter(|(_, times)| **times > 1).collect();
    assert!(again.is_empty(), "committed more than once: {again:?}");
    let lost = |one: &&(String, u64)| !commits.contains_key(one);
    let lost: Vec<_> = accepted.iter().chain(&written).chain(&newest).filter(lost).collect();
    assert!(lost.is_empty(), "accepted, and never committed: {lost:?}");
    let left = |folder: &str| {
        fs::read_dir(Path::new(&places.path("intents")).join(folder)).unwrap().count()
    };
    assert_eq!((left("processing"), left("failed")), (0, 0));
    assert_eq!(left("processed") as u64, 2 * LIVES * FILES, "each beside its status");
    println!("{} of {} were committed before the last life", before, commits.len());
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_drains_and_says_what_came_of_it() {
    let places = Places::new();
    let (mut child, url) = places.begin().await;
    for number in 0..20 {
        assert_eq!(asked(post(&url, &document(&format!("web-{number}"), 1))).await.0, 202);
    }
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).await.unwrap();
    assert!(child.wait().await.unwrap().success(), "{said}");
    // The test harness has begun the line.
    let json = |line: &str| serde_json::from_str::<Value>(&line[line.find('{')?..]).ok();
    let summary = said.lines().find_map(json).unwrap_or_else(|| panic!("{said}"));
    assert_eq!((&summary["clean"], &summary["ledger"]["completed"]), (&true.into(), &20.into()));
    assert_eq!(places.commits().values().sum::<u32>(), 20);
}
