//! Against real git, in temporary directories.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::command::Git;
use super::error::{Difference, DifferenceKind};
use super::memory::Memory;
use super::target::Remote;
use super::verifier::Verifier;
use super::*;

fn change(key: &str, generation: Option<u64>, content: u128) -> Change {
    let (namespace, name) = key.split_once('/').unwrap();
    let file = |name: &str| (name.to_owned(), Bytes::from(format!("{name}: {content}\n")));
    Change {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        generation,
        content,
        subject: format!("intent: {key}"),
        files: BTreeMap::from([file("deployment.yaml"), file("config.yaml")]),
    }
}

/// A bare repository that outlives the one under test, and git as somebody else uses it.
struct Bare(TempDir);

impl Bare {
    fn new() -> Self {
        let bare = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(bare.path()).unwrap();
        bare.git(&["init", "--quiet", "--bare", "--initial-branch=main"]);
        bare
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("target")
    }

    fn git(&self, args: &[&str]) -> String {
        git_at(&self.path(), args)
    }

    fn config(&self) -> RepositoryConfig {
        let target = Target::At(self.path().display().to_string());
        RepositoryConfig { target, ..RepositoryConfig::default() }
    }

    async fn open(&self) -> (Repository, RepositoryTasks) {
        Repository::open(self.config()).await.unwrap()
    }

    /// A script that the target runs; removed by `unhook`.
    fn hook(&self, name: &str, script: &str) {
        let hooks = self.path().join("hooks");
        std::fs::create_dir_all(&hooks).unwrap();
        std::fs::write(hooks.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(hooks.join(name), executable).unwrap();
    }

    fn unhook(&self, name: &str) {
        std::fs::remove_file(self.path().join("hooks").join(name)).unwrap();
    }

    fn count(&self) -> usize {
        self.git(&["rev-list", "--count", "main"]).trim().parse().unwrap()
    }

    fn ids(&self) -> Vec<String> {
        let list = self.git(&["rev-list", "--reverse", "main"]);
        list.lines().map(str::to_owned).collect()
    }

    /// What somebody else does meanwhile: a commit with a file of its own, pushed.
    fn foreign_push(&self, file: &str) {
        let dir = tempfile::tempdir().unwrap();
        git_at(dir.path(), &["clone", "--quiet", &self.path().display().to_string(), "clone"]);
        let clone = dir.path().join("clone");
        std::fs::write(clone.join(file), "theirs\n").unwrap();
        git_at(&clone, &["checkout", "--quiet", "-B", "main"]);
        git_at(&clone, &["add", "."]);
        git_at(&clone, &["commit", "--quiet", "-m", "theirs"]);
        git_at(&clone, &["push", "--quiet", "origin", "main"]);
    }
}

fn git_at(dir: &Path, args: &[&str]) -> String {
    let who = ["-c", "user.name=them", "-c", "user.email=them@localhost"];
    let output = Command::new("git").args(who).args(args).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_change_is_in_the_target_when_its_id_is_answered() {
    let bare = Bare::new();
    let (repository, tasks) = bare.open().await;
    let change = change("shop/web", Some(3), 0xabc);
    let id = repository.commit(change.clone()).await.unwrap();
    assert_eq!(bare.ids(), [id.as_str()]);
    let message = bare.git(&["log", "-1", "--format=%B", "main"]);
    let trailers = "Intent: shop/web\nGeneration: 3\nContent: 00000000000000000000000000000abc\n";
    assert_eq!(message.trim_end(), format!("intent: shop/web\n\n{trailers}").trim_end());
    let files = bare.git(&["ls-tree", "-r", "--name-only", "main"]);
    assert_eq!(files, "deploy/shop/web/config.yaml\ndeploy/shop/web/deployment.yaml\n");
    repository.verify(&id, &change).await.unwrap();
    let report = tasks.close().await;
    assert_eq!(report.commits, [Committed { id, key: "shop/web".to_owned(), verified: true }]);
}

#[tokio::test]
async fn only_the_folder_of_the_intent_is_replaced() {
    let bare = Bare::new();
    let (repository, tasks) = bare.open().await;
    repository.commit(change("a/web", None, 1)).await.unwrap();
    repository.commit(change("b/web", None, 2)).await.unwrap();
    let mut next = change("a/web", None, 3);
    next.files.remove("config.yaml");
    next.files.insert("service.yaml".to_owned(), Bytes::from_static(b"\0 any bytes\n\n"));
    let id = repository.commit(next.clone()).await.unwrap();
    repository.verify(&id, &next).await.unwrap();
    repository.verify(&id, &change("b/web", None, 2)).await.unwrap();
    let files = bare.git(&["ls-tree", "-r", "--name-only", "main", "deploy/a/"]);
    assert_eq!(files, "deploy/a/web/deployment.yaml\ndeploy/a/web/service.yaml\n");
    (next.content, next.files) = (4, BTreeMap::new());
    let id = repository.commit(next.clone()).await.unwrap();
    repository.verify(&id, &next).await.unwrap();
    assert_eq!(bare.git(&["ls-tree", "-r", "--name-only", "main", "deploy/a/"]), "");
    tasks.close().await;
}

#[tokio::test]
async fn two_namespaces_never_share_a_folder() {
    let bare = Bare::new();
    let (repository, tasks) = bare.open().await;
    let same = [change("a/b.c", None, 7), change("a.b/c", None, 7)];
    for change in &same {
        repository.commit(change.clone()).await.unwrap();
    }
    let files = bare.git(&["ls-tree", "-r", "--name-only", "main"]);
    assert_eq!(files.lines().count(), 4, "{files}");
    tasks.close().await;
}

#[tokio::test]
async fn a_repeated_attempt_is_answered_with_the_commit_that_exists() {
    let bare = Bare::new();
    let (repository, tasks) = bare.open().await;
    let first = repository.commit(change("a/web", Some(1), 1)).await.unwrap();
    assert_eq!(repository.commit(change("a/web", Some(1), 1)).await.unwrap(), first);
    assert_eq!(bare.count(), 1);
    assert_eq!(tasks.close().await.repeated, 1);

    let (repository, tasks) = bare.open().await;
    assert_eq!(repository.commit(change("a/web", Some(1), 1)).await.unwrap(), first, "reopened");
    let report = tasks.close().await;
    assert_eq!((report.committed, report.repeated, report.pushes), (0, 1, 0));
}

#[tokio::test]
async fn an_older_attempt_that_comes_again_commits_anew() {
    let bare = Bare::new();
    let mut ids = HashSet::new();
    let order = [(Some(1), 1), (Some(2), 2), (Some(1), 1), (None, 1), (Some(1), 2)];
    for (generation, content) in order {
        // Opened every time, so that the index is read from the trailers.
        let (repository, tasks) = bare.open().await;
        assert!(ids.insert(repository.commit(change("a/web", generation, content)).await.unwrap()));
        tasks.close().await;
    }
    assert_eq!(bare.count(), 5);
}

#[tokio::test]
async fn an_unchanged_tree_becomes_an_empty_commit() {
    let bare = Bare::new();
    let (repository, tasks) = bare.open().await;
    for generation in [1, 2] {
        repository.commit(change("a/web", Some(generation), 1)).await.unwrap();
    }
    assert_eq!(bare.count(), 2);
    let trees = bare.git(&["log", "--format=%T", "main"]);
    assert_eq!(trees.lines().collect::<HashSet<_>>().len(), 1);
    tasks.close().await;
}

/// `n` callers at once over `keys` keys; their ids in no order.
async fn commit_at_once(repository: &Repository, n: u64, keys: u64) -> Vec<CommitId> {
    let mut callers = JoinSet::new();
    for i in 0..n {
        let (repository, key) = (repository.clone(), format!("ns-{}/app-{}", i % 7, i % keys));
        callers.spawn(async move {
            let change = change(&key, Some(i), u128::from(i));
            let id = repository.commit(change.clone()).await.unwrap();
            repository.verify(&id, &change).await.unwrap();
            id
        });
    }
    callers.join_all().await
}

#[tokio::test]
async fn callers_that_wait_together_share_a_push() {
    let bare = Bare::new();
    let (repository, tasks) = bare.open().await;
    let ids = commit_at_once(&repository, 500, 100).await;
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 500);
    let report = tasks.close().await;
    let told: Vec<_> = report.commits.iter().map(|commit| commit.id.as_str()).collect();
    assert_eq!(told, bare.ids());
    assert!(report.pushes <= 50, "{} pushes", report.pushes);
}

#[tokio::test]
async fn a_group_limit_bounds_the_push() {
    let bare = Bare::new();
    let config = RepositoryConfig { group_limit: 8, queue_capacity: 4, ..bare.config() };
    let (repository, tasks) = Repository::open(config).await.unwrap();
    commit_at_once(&repository, 40, 40).await;
    let report = tasks.close().await;
    assert_eq!(report.committed, 40);
    assert!(report.pushes >= 5, "{} pushes", report.pushes);
}

#[tokio::test]
async fn a_foreign_push_fails_the_group_and_the_next_attempt_stands_on_it() {
    let bare = Bare::new();
    let (repository, tasks) = bare.open().await;
    repository.commit(change("a/web", None, 1)).await.unwrap();
    bare.foreign_push("theirs.txt");
    let lost = repository.commit(change("a/web", None, 2)).await.unwrap_err();
    assert!(matches!(lost, CommitError::Conflict), "{lost}");
    assert!(lost.is_retryable());
    let again = repository.commit(change("a/web", None, 2)).await.unwrap();
    repository.verify(&again, &change("a/web", None, 2)).await.unwrap();
    let files = bare.git(&["ls-tree", "-r", "--name-only", "main"]);
    assert!(files.contains("theirs.txt"), "{files}");
    assert_eq!(bare.count(), 3);
    let report = tasks.close().await;
    assert_eq!((report.committed, report.pushes, report.failed_pushes), (2, 3, 1));
}

#[tokio::test]
async fn another_operators_commits_are_found_after_a_conflict() {
    let bare = Bare::new();
    let (ours, our_tasks) = bare.open().await;
    let (theirs, their_tasks) = bare.open().await;
    ours.commit(change("a/web", Some(1), 1)).await.unwrap();
    theirs.commit(change("a/web", Some(2), 2)).await.unwrap_err();
    let id = theirs.commit(change("a/web", Some(2), 2)).await.unwrap();
    ours.commit(change("a/other", None, 3)).await.unwrap_err();
    assert_eq!(ours.commit(change("a/web", Some(2), 2)).await.unwrap(), id);
    assert_eq!((our_tasks.close().await.committed, their_tasks.close().await.committed), (1, 1));
}

#[tokio::test]
async fn a_branch_that_was_rewritten_is_followed() {
    let bare = Bare::new();
    let (repository, tasks) = bare.open().await;
    let first = repository.commit(change("a/web", Some(1), 1)).await.unwrap();
    repository.commit(change("a/web", Some(2), 2)).await.unwrap();
    bare.git(&["update-ref", "refs/heads/main", first.as_str()]);
    repository.commit(change("a/other", None, 1)).await.unwrap_err();
    let again = repository.commit(change("a/web", Some(1), 1)).await.unwrap();
    assert_eq!(again, first, "the newest of its key once more");
    bare.git(&["update-ref", "-d", "refs/heads/main"]);
    repository.commit(change("a/other", None, 1)).await.unwrap_err();
    repository.commit(change("a/other", None, 1)).await.unwrap();
    assert_eq!(bare.count(), 1);
    tasks.close().await;
}

#[tokio::test]
async fn a_refusing_hook_is_permanent_and_leaves_the_next_push_alone() {
    let bare = Bare::new();
    let (repository, tasks) = bare.open().await;
    repository.commit(change("a/web", None, 1)).await.unwrap();
    bare.hook("pre-receive", "echo not on Fridays >&2; exit 1");
    let refused = repository.commit(change("a/web", None, 2)).await.unwrap_err();
    assert!(matches!(refused, CommitError::Rejected(_)), "{refused}");
    assert!(!refused.is_retryable() && refused.to_string().contains("Fridays"), "{refused}");
    bare.unhook("pre-receive");
    repository.commit(change("a/web", None, 2)).await.unwrap();
    assert_eq!(bare.count(), 2);
    let report = tasks.close().await;
    let told: Vec<_> = report.commits.iter().map(|commit| commit.id.as_str()).collect();
    assert_eq!(told, bare.ids());
}

#[tokio::test]
async fn a_target_that_goes_and_comes_back_is_told_and_recovered() {
    let bare = Bare::new();
    let (repository, tasks) = bare.open().await;
    repository.commit(change("a/web", None, 1)).await.unwrap();
    let (here, away) = (bare.path(), bare.0.path().join("away"));
    std::fs::rename(&here, &away).unwrap();
    for _ in 0..2 {
        let gone = repository.commit(change("a/web", None, 2)).await.unwrap_err();
        assert!(matches!(gone, CommitError::NotARepository(_)), "{gone}");
    }
    std::fs::rename(&away, &here).unwrap();
    let id = repository.commit(change("a/web", None, 2)).await.unwrap();
    repository.verify(&id, &change("a/web", None, 2)).await.unwrap();
    assert_eq!((bare.count(), tasks.close().await.committed), (2, 2));
}

#[tokio::test]
async fn a_push_whose_answer_is_lost_is_looked_up() {
    let bare = Bare::new();
    let (repository, tasks) = bare.open().await;
    repository.commit(change("a/web", None, 1)).await.unwrap();
    // The target takes the push, and then its answer is cut off: receive-pack, the hook's parent,
    // is killed once it has moved the branch.
    bare.hook("post-receive", "kill -9 $PPID");
    let id = repository.commit(change("a/web", None, 2)).await.unwrap();
    assert_eq!(bare.ids().last().map(String::as_str), Some(id.as_str()));
    bare.unhook("post-receive");
    repository.commit(change("a/web", None, 3)).await.unwrap();
    let report = tasks.close().await;
    let told: Vec<_> = report.commits.iter().map(|commit| commit.id.as_str()).collect();
    assert_eq!(told, bare.ids());
}

#[tokio::test]
async fn a_push_that_lands_after_it_was_given_up_is_in_the_report() {
    let bare = Bare::new();
    let (repository, tasks) = bare.open().await;
    repository.commit(change("a/web", None, 1)).await.unwrap();
    // Our push is killed while the target holds it back, and let through later.
    let gate = bare.0.path().join("gate");
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    let up = "up() { cut -d' ' -f4 /proc/$1/stat; }; pushing=$(up $PPID)";
    let skip_shell = "[ \"$(cat /proc/$pushing/comm)\" = git ] || pushing=$(up $pushing)";
    let wait = format!("kill -9 $pushing; cat '{}'", gate.display());
    bare.hook("pre-receive", &format!("{up}; {skip_shell}; {wait}"));
    let lost = repository.commit(change("a/web", None, 2)).await.unwrap_err();
    assert!(lost.is_retryable(), "{lost}");
    bare.unhook("pre-receive");
    assert_eq!(bare.count(), 1);
    std::fs::write(&gate, "go\n").unwrap();
    while bare.count() == 1 {
        tokio::task::yield_now().await;
    }
    let late = bare.ids().pop();
    repository.commit(change("a/other", None, 1)).await.unwrap_err();
    let again = repository.commit(change("a/web", None, 2)).await.unwrap();
    assert_eq!(Some(again.as_str()), late.as_deref());
    repository.commit(change("a/other", None, 1)).await.unwrap();
    let report = tasks.close().await;
    let told: Vec<_> = report.commits.iter().map(|commit| commit.id.as_str()).collect();
    assert_eq!(told, bare.ids());
}

#[tokio::test]
async fn abandoned_callers_leave_an_exact_report() {
    let bare = Bare::new();
    let (repository, tasks) = bare.open().await;
    let mut callers = JoinSet::new();
    for i in 0..60 {
        let repository = repository.clone();
        let change = change(&format!("ns/app-{i}"), None, i);
        callers.spawn(async move { repository.commit(change).await });
    }
    // Some have their answer by now, some are on their way, some have not been begun.
    let mut answered = HashSet::new();
    for _ in 0..5 {
        answered.insert(callers.join_next().await.unwrap().unwrap().unwrap());
    }
    callers.shutdown().await;
    let report = tasks.close().await;
    let told: Vec<_> = report.commits.iter().map(|commit| commit.id.as_str()).collect();
    assert_eq!(told, bare.ids());
    assert!(answered.iter().all(|id| told.contains(&id.as_str())));
    assert_eq!(report.unknown, Vec::<String>::new());
}

#[tokio::test]
async fn what_was_accepted_is_finished_by_close_and_later_calls_are_refused() {
    let bare = Bare::new();
    let (repository, tasks) = bare.open().await;
    let (one, two) = (change("a/web", None, 1), change("b/web", None, 2));
    let both = async { tokio::join!(repository.commit(one), repository.commit(two)) };
    let ((one, two), report) = tokio::join!(biased; both, tasks.close());
    assert!(one.is_ok() && two.is_ok());
    assert_eq!((report.committed, bare.count()), (2, 2));
    let late = repository.commit(change("a/web", None, 3)).await.unwrap_err();
    assert!(matches!(late, CommitError::Closed));
    let id = CommitId::numbered(1);
    let late = repository.verify(&id, &change("a/web", None, 3)).await.unwrap_err();
    assert!(matches!(late, VerifyError::Closed));
}

#[tokio::test]
async fn verification_names_every_file_that_differs() {
    let bare = Bare::new();
    let (repository, tasks) = bare.open().await;
    let id = repository.commit(change("a/web", None, 1)).await.unwrap();
    let mut other = change("a/web", None, 1);
    other.files.insert("config.yaml".to_owned(), Bytes::from_static(b"config.yaml: 9\n"));
    other.files.remove("deployment.yaml");
    other.files.insert("new.yaml".to_owned(), Bytes::new());
    let VerifyError::Different(found) = repository.verify(&id, &other).await.unwrap_err() else {
        panic!("not different");
    };
    let differs = |file: &str, kind| Difference { file: file.to_owned(), kind };
    let expected = [
        differs("config.yaml", DifferenceKind::Bytes),
        differs("new.yaml", DifferenceKind::Absent),
        differs("deployment.yaml", DifferenceKind::Unexpected),
    ];
    assert_eq!(found, expected);
    let missing = repository.verify(&CommitId::numbered(1), &other).await.unwrap_err();
    assert!(matches!(missing, VerifyError::Missing(_)) && missing.is_retryable(), "{missing}");
    repository.verify(&id, &change("a/web", None, 1)).await.unwrap();
    tasks.close().await;
}

#[tokio::test]
async fn a_target_elsewhere_is_verified_through_a_mirror() {
    let bare = Bare::new();
    let (repository, tasks) = bare.open().await;
    let dir = tempfile::tempdir().unwrap();
    git_at(dir.path(), &["init", "--quiet", "--bare", "."]);
    let mirror = Git::at(dir.path(), Duration::from_secs(30));
    let remote = Remote { local: None, ..Remote::new(repository.target(), "main") };
    let verifier = Verifier::new(mirror, Some(remote), "deploy".to_owned());
    let (to, inbox) = tokio::sync::mpsc::channel(1);
    let verifying = tokio::spawn(verifier.run(inbox, CancellationToken::new()));
    for content in [1, 2] {
        let change = change("a/web", None, content);
        let commit = repository.commit(change.clone()).await.unwrap();
        let (reply, verdict) = tokio::sync::oneshot::channel();
        let (key, files) = (change.key(), change.files);
        to.send(verifier::Request { commit, key, files, reply }).await.unwrap();
        verdict.await.unwrap().unwrap();
    }
    drop(to);
    verifying.await.unwrap();
    tasks.close().await;
}

#[tokio::test]
async fn a_temporary_target_is_gone_after_the_end() {
    let (repository, tasks) = Repository::open(RepositoryConfig::default()).await.unwrap();
    let path = PathBuf::from(repository.target().strip_prefix("file://").unwrap());
    let id = repository.commit(change("a/web", None, 1)).await.unwrap();
    assert_eq!(git_at(&path, &["rev-parse", "main"]).trim(), id.as_str());
    tasks.close().await;
    assert!(!path.exists());
    let (repository, tasks) = Repository::open(RepositoryConfig::default()).await.unwrap();
    repository.commit(change("a/web", None, 1)).await.unwrap();
    drop(tasks);
    let late = repository.commit(change("a/web", None, 2)).await.unwrap_err();
    assert!(matches!(late, CommitError::Closed), "{late}");
}

#[tokio::test]
async fn what_could_leave_its_folder_is_refused() {
    let bare = Bare::new();
    let (repository, tasks) = bare.open().await;
    for (namespace, name) in
        [("..", "web"), ("a", ".."), ("a/b", "c"), ("a", ""), ("A", "b"), ("a", "b."), ("a", "-b")]
    {
        let bad =
            Change { namespace: namespace.into(), name: name.into(), ..change("a/b", None, 1) };
        let refused = repository.commit(bad).await.unwrap_err();
        assert!(matches!(refused, CommitError::Invalid { .. }), "{namespace} {name}: {refused}");
    }
    for file in ["..", ".git", "a/b", "", "a b", "\"", "a\nb"] {
        let mut bad = change("a/b", None, 1);
        bad.files.insert(file.to_owned(), Bytes::new());
        let refused = repository.commit(bad).await.unwrap_err();
        assert!(matches!(refused, CommitError::Invalid { field: "files", .. }), "{file:?}");
    }
    let bad = Change { subject: "a\n\nIntent: b/c".to_owned(), ..change("a/b", None, 1) };
    assert!(!repository.commit(bad).await.unwrap_err().is_retryable());
    let mut bad = change("a/b", None, 1);
    bad.files.insert("large.yaml".to_owned(), vec![0; 1 << 20].into());
    assert!(matches!(repository.commit(bad).await, Err(CommitError::Invalid { .. })));
    assert_eq!(tasks.close().await.committed, 0);
}

#[tokio::test]
async fn an_impossible_setting_or_target_is_told_at_once() {
    let open = async |config| Repository::open(config).await.unwrap_err().to_string();
    for deploy_path in ["", "/deploy", "a//b", "../a", "a/.git"] {
        let config = RepositoryConfig { deploy_path: deploy_path.into(), ..Default::default() };
        assert!(open(config).await.starts_with("deploy_path: was"), "{deploy_path}");
    }
    for branch in ["", "a..b", "a.lock", "a/b.", ".a"] {
        let config = RepositoryConfig { branch: branch.into(), ..Default::default() };
        assert!(open(config).await.starts_with("branch: was"), "{branch}");
    }
    let config = RepositoryConfig { queue_capacity: 0, ..Default::default() };
    assert_eq!(open(config).await, "queue_capacity: was \"0\", must be at least 1");
    let dir = tempfile::tempdir().unwrap();
    for place in [dir.path().display().to_string(), dir.path().join("no").display().to_string()] {
        let config = RepositoryConfig { target: Target::At(place), ..Default::default() };
        assert!(open(config).await.starts_with("no git repository at "));
    }
}

#[test]
fn memory_answers_like_the_repository_and_forgets_the_oldest() {
    let memory = Memory::keeping(2);
    let first = memory.commit(change("a/web", Some(1), 1)).unwrap();
    assert_eq!(memory.commit(change("a/web", Some(1), 1)).unwrap(), first);
    let second = memory.commit(change("a/web", Some(2), 1)).unwrap();
    assert_ne!(memory.commit(change("a/web", Some(1), 1)).unwrap(), first);
    memory.verify(&second, &change("a/web", None, 1)).unwrap();
    let different = memory.verify(&second, &change("a/web", None, 2)).unwrap_err();
    assert!(matches!(different, VerifyError::Different(_)));
    let forgotten = memory.verify(&first, &change("a/web", None, 1)).unwrap_err();
    assert!(matches!(forgotten, VerifyError::Missing(_)));
    let report = memory.close();
    assert_eq!((report.committed, report.repeated), (3, 1));
    assert!(matches!(memory.commit(change("a/web", None, 1)), Err(CommitError::Closed)));
}

/// Numbers, not claims: `cargo test --release --example operator --all-features -- --ignored
/// --nocapture ten_thousand`.
#[tokio::test]
#[ignore = "takes a minute; run by hand to measure"]
async fn ten_thousand_small_commits_by_64_callers() {
    let (repository, tasks) = Repository::open(RepositoryConfig::default()).await.unwrap();
    let begun = std::time::SystemTime::now();
    let mut callers = JoinSet::new();
    for caller in 0..64_u64 {
        let repository = repository.clone();
        callers.spawn(async move {
            for i in (caller..10_000).step_by(64) {
                let change = change(&format!("ns-{}/app-{i}", i % 100), Some(1), u128::from(i));
                let id = repository.commit(change.clone()).await.unwrap();
                repository.verify(&id, &change).await.unwrap();
            }
        });
    }
    callers.join_all().await;
    let taken = begun.elapsed().unwrap();
    let report = tasks.close().await;
    println!("{} commits, {} pushes, {taken:.1?}", report.committed, report.pushes);
    assert_eq!(report.committed, 10_000);
}
