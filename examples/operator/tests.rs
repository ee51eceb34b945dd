//! Whole runs, from a folder of documents to the commits in a repository.

use std::collections::BTreeMap;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::cli::Options;
use crate::failure::Failure;
use crate::generate::documents;
use crate::operator::run;
use crate::phases::{DEPLOYMENT_VERIFICATION, GIT_OPS_COMMIT, LLM_PROCESSING};
use crate::problem::with_causes;
use crate::progress::Progress;
use crate::settings;
use crate::summary::Summary;

/// A quick LLM without faults, unless the arguments say otherwise.
const CALM: &[&str] = &["--llm-latency", "1ms", "--llm-sigma", "0", "--llm-faults", "0"];

/// A quick LLM with all its faults; a hang costs little.
const FAULTY: &[&str] = &["--llm-latency", "1ms", "--llm-timeout", "2s"];

fn options(args: &[&[&str]]) -> Options {
    settings::read(["operator"].iter().chain(args.iter().copied().flatten()), []).unwrap()
}

async fn finished(args: &[&[&str]]) -> Summary {
    run(&options(args), pending(), Progress::hidden()).await.unwrap()
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// An empty bare repository to push to.
fn bare() -> TempDir {
    let folder = TempDir::new().unwrap();
    git(folder.path(), &["init", "--quiet", "--bare", "."]);
    folder
}

fn git(folder: &Path, args: &[&str]) -> String {
    let output = Command::new("git").current_dir(folder).args(args).output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// `file#document` to how it ended, for those that are neither committed nor skipped.
fn failures(summary: &Summary) -> BTreeMap<String, &Failure> {
    let name = |failure: &Failure| format!("{}#{}", failure.file, failure.document);
    summary.tally.failures.iter().map(|failure| (name(failure), failure)).collect()
}

/// Asserts that every document ends as the table says. The decoder's part of the table has a test
/// of its own; here, what it lets through is committed, but for one: negative replicas, which
/// only the answer shows.
fn assert_ends(summary: &Summary, table: &str) {
    let failures = failures(summary);
    let (mut committed, mut documents) = (0, 0);
    for line in table.lines() {
        let (file, ends) = line.split_once(": ").unwrap();
        for (index, end) in ends.split(" | ").enumerate() {
            let document = format!("{file}#{}", index + 1);
            let failure = failures.get(&document);
            documents += 1;
            if end.starts_with("skipped") {
                assert_eq!(failure, None, "{document}");
            } else if end.starts_with("failed") {
                let failure = failure.unwrap_or_else(|| panic!("{document} did not fail"));
                assert!(failure.ending == "invalid" && failure.by_content, "{failure:?}");
            } else if file.contains("negative") {
                let failure = failure.unwrap_or_else(|| panic!("{document} did not fail"));
                assert_eq!(failure.phase, Some(LLM_PROCESSING));
                assert_eq!(failure.pointer.as_deref(), Some("/targets/0/replicas"));
                assert!(failure.by_content, "{failure:?}");
            } else {
                assert_eq!(failure, None, "{document}");
                committed += 1;
            }
        }
    }
    assert_eq!(summary.tally.committed(), committed);
    assert_eq!(summary.tally.documents(), documents);
    assert!(summary.is_clean(), "{}", summary.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_projects_own_samples_end_as_they_should() {
    for commit in ["memory", "git"] {
        let summary = finished(&[CALM, &["--commit", commit]]).await;
        assert_ends(&summary, include_str!("expected/samples.txt"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn real_samples_of_the_field_end_as_they_should() {
    let folder = here("../shared/intents");
    if folder.is_dir() {
        let summary = finished(&[CALM, &["--intents", text(&folder)]]).await;
        assert_ends(&summary, include_str!("expected/field.txt"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_llm_change_no_ending() {
    for seed in ["1", "2", "3", "4", "5"] {
        let style = if seed == "3" { "ollama" } else { "openai" };
        let args = ["--seed", seed, "--llm-style", style, "--commit", "memory"];
        let summary = finished(&[FAULTY, &args]).await;
        assert_ends(&summary, include_str!("expected/samples.txt"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_samples_meet_the_faults_that_the_readme_tells_of() {
    let summary = finished(&[&["--commit", "memory"]]).await;
    let served = summary.llm.served.unwrap();
    assert_eq!((served.total(), served.truncated, served.prose), (20, 1, 2), "{served:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_documents_are_all_committed_under_faults() {
    let summary = finished(&[FAULTY, &["--generate", "1000", "--commit", "memory"]]).await;
    assert_eq!(summary.tally.committed(), 1000, "{}", summary.text());
    assert!(summary.is_clean(), "{}", summary.text());
    let faults = summary.llm.served.unwrap();
    assert!(faults.total() > 1000, "faults happened: {faults:?}");
    assert!(summary.pipeline.retry_budget.withdrawn > 0);
    assert!(summary.transport.in_all.reused > summary.transport.in_all.opened);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_folder_holds_the_newest_of_its_key_and_every_commit_its_trailers() {
    let repo = bare();
    let summary = finished(&[CALM, &["--repo", text(repo.path())]]).await;
    assert!(summary.is_clean(), "{}", summary.text());
    let folder = "main:deploy/lab/cell-sim/cell-sim-scale.yaml";
    assert!(git(repo.path(), &["show", folder]).ends_with("\n  replicas: 2\n"));
    let log =
        git(repo.path(), &["log", "--format=%(trailers:key=Intent,valueonly,separator=)", "main"]);
    assert_eq!(
        log.lines().filter(|key| *key == "lab/cell-sim").count(),
        3,
        "one each, even unchanged"
    );
    assert_eq!(log.lines().count() as u64, summary.tally.committed());
    let log =
        git(repo.path(), &["log", "-1", "--format=%B", "main", "--", "deploy/edge/gateway-up"]);
    assert!(log.contains("\nIntent: edge/gateway-up\nGeneration: 3\nContent: "), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_commits_only_what_is_not_the_newest_already() {
    let repo = bare();
    let args: &[&[&str]] = &[CALM, &["--repo", text(repo.path())]];
    let first = finished(args).await;
    let second = finished(args).await;
    assert_eq!(first.commits.repeated, 0);
    // Of the three documents of one key, each differs from the one before it.
    assert_eq!((second.commits.committed, second.tally.committed()), (3, first.tally.committed()));
    assert_eq!(second.commits.repeated, first.tally.committed() - 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_the_same_shares_one_call() {
    let folder = TempDir::new().unwrap();
    for number in 0..40 {
        let replicas = 1 + number % 2;
        let document = serde_json::json!({
            "apiVersion": "nephoran.com/v1",
            "kind": "NetworkIntent",
            "metadata": { "name": format!("tuesday-{number}"), "namespace": "lab" },
            "spec": {
                "action": "scale",
                "target": { "type": "deployment", "name": "web", "namespace": "lab" },
                "parameters": { "replicas": replicas },
            },
        });
        let path = folder.path().join(format!("{number}.json"));
        std::fs::write(path, document.to_string()).unwrap();
    }
    let args = ["--commit", "memory", "--intents", text(folder.path())];
    let summary = finished(&[CALM, &args]).await;
    assert_eq!(summary.tally.committed(), 40, "{}", summary.text());
    assert_eq!(summary.llm.served.unwrap().total(), 2, "one call for each question");
    // A call that fails fails nobody for good: they ask again, together.
    let faults = ["--llm-latency", "1ms", "--llm-faults", "server-error=0.5"];
    let summary = finished(&[&faults, &args]).await;
    assert_eq!(summary.tally.committed(), 40, "{}", summary.text());
    assert!(summary.llm.served.unwrap().total() < 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_llm_that_never_works_fails_by_name_and_not_by_content() {
    let faults = ["--llm-faults", "server-error=1", "--deadline", "2s", "--commit", "memory"];
    let summary = finished(&[&["--llm-latency", "1ms", "--generate", "5"], &faults]).await;
    assert_eq!(summary.tally.committed(), 0);
    assert_eq!(summary.tally.failures.len(), 5);
    assert!(summary.tally.failures.iter().all(|failure| !failure.by_content));
    assert!(!summary.is_clean());
    assert!(summary.drained.ledger.is_exact());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_not_what_it_should_be_is_a_usage_error() {
    let folder = TempDir::new().unwrap();
    git(folder.path(), &["init", "--quiet", "work"]);
    std::fs::write(folder.path().join("notes.txt"), "hello").unwrap();
    let place = |name: &str| text(&folder.path().join(name)).to_owned();
    for (flag, value, words) in [
        ("--intents", place("none"), "cannot read the intents at"),
        ("--intents", place("notes.txt"), "cannot read the intents at"),
        ("--repo", place("none"), "cannot open the repository: no git repository at"),
        ("--repo", place("."), "cannot open the repository: no git repository at"),
        ("--repo", place("notes.txt"), "cannot open the repository: no git repository at"),
        ("--repo", place("work"), "is not bare"),
        ("--repo", place("work/.git"), "is not bare"),
    ] {
        let options = options(&[&[flag, &value]]);
        let error = run(&options, pending(), Progress::hidden()).await.unwrap_err();
        assert!(error.is_usage(), "{error:?}");
        assert!(with_causes(&error).contains(words), "{}", with_causes(&error));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_folder_is_no_failure_but_noticed() {
    let folder = TempDir::new().unwrap();
    let args = ["--commit", "memory", "--intents", text(folder.path())];
    let summary = finished(&[&args]).await;
    assert!(summary.is_clean() && summary.tally.has_nothing_to_do());
    std::fs::write(folder.path().join("notes.md"), "hello").unwrap();
    let summary = finished(&[&args]).await;
    assert!(summary.is_clean() && summary.tally.has_nothing_to_do());
    std::fs::write(folder.path().join("bad.json"), "hello").unwrap();
    let summary = finished(&[&args]).await;
    assert!(summary.is_clean() && !summary.tally.has_nothing_to_do());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_is_read_as_a_folder_of_one_would_be() {
    let file = here("examples/intents/cr/scale.yaml");
    let summary = finished(&[CALM, &["--commit", "memory", "--intents", text(&file)]]).await;
    assert_eq!((summary.tally.documents(), summary.tally.committed()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_summary_says_the_same_in_words_and_in_json() {
    let summary = finished(&[CALM, &["--commit", "memory"]]).await;
    let (text, json) = (summary.text(), summary.json());
    assert_readable(&summary);
    let documents = &json["documents"];
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    let sum: u64 = ["skipped", "invalid", "accepted", "refused"]
        .map(|part| number(&documents[part]))
        .iter()
        .sum();
    assert_eq!(number(&documents["total"]), sum);
    assert!(text.contains(&format!("documents   {sum} = ")), "{text}");
    assert_eq!(json["clean"], true);
    assert_eq!(json["adds_up"], true);
    let failures = json["failures"].as_array().unwrap();
    for failure in failures {
        let line = format!("{}#{}", failure["file"].as_str().unwrap(), failure["document"]);
        let line = text.lines().find(|text| text.contains(&line)).expect(&line);
        assert!(line.ends_with(failure["rule"].as_str().unwrap()), "{line}");
        assert!(line.contains(&format!("{:?}", failure["pointer"].as_str().unwrap())), "{line}");
    }
    for class in ["low", "normal", "high", "urgent"] {
        assert!(json["priorities"][class]["total_ms"]["p99"].is_number());
    }
}

/// A folder with so many valid documents.
fn written(count: u64, seed: u64) -> TempDir {
    let folder = TempDir::new().unwrap();
    for document in documents(count, seed) {
        let name = document.origin.file.replace('/', "-").replace(".yaml", ".json");
        std::fs::write(folder.path().join(name), document.value.to_string()).unwrap();
    }
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_whenever_it_is_interrupted() {
    const DOCUMENTS: u64 = 200;
    let folder = written(DOCUMENTS, 11);
    for seed in 0..20_u64 {
        let repo = bare();
        let args = ["--intents", text(folder.path()), "--repo", text(repo.path())];
        let options = options(&[FAULTY, &args, &["--workers", "8", "--drain", "400ms"]]);
        // Anywhere from before the first call to after the last one.
        let moment = Duration::from_millis(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54);
        let interrupt = tokio::time::sleep(moment);
        let summary = run(&options, interrupt, Progress::hidden()).await.unwrap();
        assert_nothing_lost(&summary, DOCUMENTS, repo.path());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_to_be_generated_and_was_not_is_said() {
    let args = ["--generate", "5000", "--commit", "memory", "--workers", "4", "--drain", "50ms"];
    let options = options(&[CALM, &args]);
    let interrupt = tokio::time::sleep(Duration::from_millis(100));
    let summary = run(&options, interrupt, Progress::hidden()).await.unwrap();
    let tally = &summary.tally;
    assert_eq!(tally.documents() + tally.not_submitted, 5_000);
    assert!(tally.not_submitted > 0 && !summary.is_clean());
    let line = format!("{} not submitted, of 5000 to be generated", tally.not_submitted);
    assert!(summary.text().contains(&line), "{}", summary.text());
    assert_eq!(summary.json()["documents"]["not_submitted"], tally.not_submitted);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_llm_that_nobody_can_reach_is_named() {
    let file = here("examples/intents/cr/scale.yaml");
    let args = ["--llm-url", "http://127.0.0.1:9", "--commit", "memory", "--deadline", "300ms"];
    let summary = finished(&[&args, &["--intents", text(&file)]]).await;
    assert!(summary.text().contains(", asking http://127.0.0.1:9/v1/"), "{}", summary.text());
}

/// Every failure has one line of its own, in order, without what only a programmer reads.
fn assert_readable(summary: &Summary) {
    let (words, failures) = (summary.text(), &summary.tally.failures);
    for failure in failures {
        let name = format!(" {}#{}", failure.file, failure.document);
        let is_its =
            |line: &&str| line.contains(&format!("{name} ")) || line.contains(&format!("{name}:"));
        assert_eq!(words.lines().filter(is_its).count(), 1, "{name} in {words}");
    }
    let table = words.lines().skip_while(|line| !line.starts_with("priority ")).take(5);
    let ends: Vec<_> = table.map(str::len).collect();
    assert!(ends.len() == 5 && ends.iter().all(|end| *end == ends[0]), "{words}");
    let by_content = failures.iter().filter(|failure| failure.by_content).count();
    let others = failures[by_content..].iter().map(|it| (it.ending, &it.file, it.document));
    assert!(others.is_sorted(), "{words}");
    for debug in [" { ", "ended returned", "RecordedAnchorEvents"] {
        assert!(!words.contains(debug), "{words}");
    }
}

/// Every document is committed or named; the repository holds what the report says.
fn assert_nothing_lost(summary: &Summary, count: u64, repo: &Path) {
    let tally = &summary.tally;
    let words = summary.text();
    assert_eq!(tally.documents(), count, "{words}");
    assert_eq!(failures(summary).len() as u64 + tally.committed(), count, "{words}");
    assert!(summary.drained.ledger.is_exact(), "{words}");
    assert_eq!(summary.drained.ledger.live, 0, "{words}");
    let reported: Vec<_> = summary.commits.commits.iter().map(|one| one.id.as_str()).collect();
    let has_commits = !git(repo, &["branch", "--list", "main"]).is_empty();
    let log =
        if has_commits { git(repo, &["rev-list", "--reverse", "main"]) } else { String::new() };
    assert_eq!(log.lines().collect::<Vec<_>>(), reported, "{words}");
    // What was being committed or verified when the time was up is named, whether it is there or
    // not; everything else that is there was reported committed.
    let failures = tally.failures.iter();
    let halfway = failures
        .filter(|it| [Some(GIT_OPS_COMMIT), Some(DEPLOYMENT_VERIFICATION)].contains(&it.phase));
    let most = tally.committed() + halfway.count() as u64;
    assert!((tally.committed()..=most).contains(&(reported.len() as u64)), "{words}");
    let unverified = summary.commits.unverified().count();
    let verified = (reported.len() - unverified) as u64;
    assert!((tally.committed()..=most).contains(&verified), "{words}");
    assert_eq!(words.contains("pushed, not verified"), unverified > 0, "{words}");
    assert_readable(summary);
}
