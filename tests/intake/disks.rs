//! Disks that are full, and folders that can't be written: a clear state, and nothing lost.
//!
//! Each runs as a child in a mount namespace of its own, which takes root or user namespaces; where
//! the machine has neither, it says so and checks nothing (the errors themselves are also injected, in
//! the room's own tests).

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::harness::{Harness, document};

const DIRECTORY: &str = "HEADWORKS_DISK";
/// What `unshare` or `mount` end with where they may not.
const FORBIDDEN: i32 = 77;

/// Runs the child test of this name on a disk of 1 MiB of its own.
fn on_a_small_disk(child: &str) {
    let directory = tempfile::tempdir().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=1m none \"$0\" || exit {FORBIDDEN}; exec \"$1\" {child} --exact --nocapture"
    );
    let status = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", &script])
        .args([directory.path(), &std::env::current_exe().unwrap()])
        .env(DIRECTORY, directory.path())
        .status();
    match status.map(|status| status.code()) {
        Ok(Some(0)) => {}
        Ok(Some(FORBIDDEN | 1)) | Err(_) if !may_mount() => println!("no mounts here: not checked"),
        other => panic!("{child}: {other:?}"),
    }
}

fn may_mount() -> bool {
    let probe = ["--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"];
    Command::new("unshare").args(probe).status().is_ok_and(|status| status.success())
}

fn directory() -> Option<PathBuf> {
    Some(PathBuf::from(std::env::var_os(DIRECTORY)?).join("intents"))
}

pub(crate) fn block_on(scenario: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(scenario);
}

#[test]
fn a_full_disk_stops_the_intake_until_there_is_room() {
    on_a_small_disk("disks::child_full");
}

#[test]
fn child_full() {
    let Some(path) = directory() else { return };
    block_on(async {
        let harness = Harness::start(&path);
        for n in 0..20 {
            harness.write(&format!(".{n}"), document(&format!("k/{n}"), "x"));
        }
        // All that is left, to the last byte.
        let ballast = path.join(".ballast");
        let mut file = fs::File::create(&ballast).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
        drop(file);
        for n in 0..20 {
            fs::rename(path.join(format!(".{n}")), path.join(format!("{n}.json"))).unwrap();
        }
        harness.until("trouble", |it| it.watching.snapshot().trouble.is_some()).await;
        let trouble = harness.watching.snapshot().trouble.unwrap();
        assert!(trouble.contains("No space left"), "{trouble}");
        fs::remove_file(&ballast).unwrap();
        all_ended_once(harness).await;
    });
}

/// Each of the twenty files was run once and processed.
pub(crate) async fn all_ended_once(harness: Harness) {
    let ended = harness.end().await;
    assert_eq!((ended.processed.len(), ended.failed.len()), (20, 0));
    let once = ended.run.values().all(|it| it.len() == 1);
    assert!(ended.run.len() == 20 && once, "{:?}", ended.run);
}

#[test]
fn a_folder_that_cannot_be_written_keeps_its_files_until_it_can() {
    on_a_small_disk("disks::child_read_only");
}

fn remount(path: &Path, how: &str) {
    let disk = path.parent().unwrap();
    let done = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(disk).status();
    assert!(done.unwrap().success());
}

#[test]
fn child_read_only() {
    let Some(path) = directory() else { return };
    block_on(async {
        Harness::start(&path).end().await;
        for n in 0..20 {
            fs::write(path.join(format!("{n}.json")), document(&format!("k/{n}"), "x")).unwrap();
        }
        remount(&path, "ro");
        let harness = Harness::start(&path);
        harness.until("trouble", |it| it.watching.snapshot().trouble.is_some()).await;
        let trouble = harness.watching.snapshot().trouble.unwrap();
        assert!(trouble.contains("Read-only file system"), "{trouble}");
        assert!(harness.run.lock().unwrap().is_empty());
        remount(&path, "rw");
        all_ended_once(harness).await;
    });
}
