//! Files and folders that may not be read, moved or written: a clear state, and nothing lost.
//!
//! Runs as a child that is nobody in particular, which takes root to become; where this is not run by
//! root, it says so and checks nothing.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::disks::{all_ended_once, block_on};
use super::harness::{Harness, document};

const DIRECTORY: &str = "HEADWORKS_PERMISSIONS";
const NOBODY: u32 = 65_534;

fn let_in(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn as_nobody(child: &str, prepare: impl FnOnce(&Path)) {
    if fs::metadata("/proc/self").map_or(1, |it| it.uid()) != 0 {
        println!("not run by root: not checked");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let_in(directory.path(), 0o777);
    prepare(directory.path());
    // Wherever this was built, it may be closed to others.
    let program = directory.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let status = Command::new(&program)
        .args([child, "--exact", "--nocapture"])
        .env(DIRECTORY, directory.path())
        .current_dir(directory.path())
        .uid(NOBODY)
        .gid(NOBODY)
        .status();
    assert!(status.unwrap().success(), "{child}");
}

fn directory() -> Option<PathBuf> {
    std::env::var_os(DIRECTORY).map(PathBuf::from)
}

#[test]
fn a_file_that_may_not_be_read_fails_and_one_that_may_not_be_moved_holds_up_nobody() {
    as_nobody("permissions::child_files", |directory| {
        // In a folder of one's own everything can be moved, and not everything read.
        let own = directory.join("own");
        fs::create_dir(&own).unwrap();
        fs::write(own.join("secret.json"), document("secret", "told")).unwrap();
        let_in(&own.join("secret.json"), 0o600);
        chown(&own, Some(NOBODY), Some(NOBODY)).unwrap();
        // Where everybody may put something, nobody moves what is another one's.
        let shared = directory.join("shared");
        fs::create_dir(&shared).unwrap();
        let_in(&shared, 0o1777);
        fs::write(shared.join("another.json"), document("another", "")).unwrap();
    });
}

#[test]
fn child_files() {
    let Some(directory) = directory() else { return };
    block_on(async {
        let harness = Harness::start(&directory.join("own"));
        let ended = harness.end().await;
        let reason = ended.failed["secret.json"][0]["reason"].as_str().unwrap();
        assert!(reason.starts_with("it can't be read: Permission denied"), "{reason}");
        assert!(ended.run.is_empty());

        let path = directory.join("shared");
        let harness = Harness::start(&path);
        harness.until("trouble", |it| it.watching.snapshot().trouble.is_some()).await;
        for n in 0..200 {
            harness.write(&format!("{n}.json"), document(&format!("k/{n}"), ""));
        }
        // It is tried again now and then, and none of these waits for it.
        harness.until("the others", |it| it.watching.snapshot().processed == 200).await;
        let trouble = harness.watching.snapshot().trouble.unwrap();
        assert_eq!(trouble, "taking \"another.json\": Operation not permitted (os error 1)");
        let report = harness.watching.shutdown(Duration::from_secs(10)).await;
        assert_eq!((report.processed, report.failed, report.left), (200, 0, 0));
        assert_eq!(fs::read_to_string(path.join("another.json")).unwrap(), document("another", ""));
    });
}

#[test]
fn a_folder_that_may_not_be_written_keeps_its_files_until_it_may() {
    as_nobody("permissions::child_folders", |_| ());
}

#[test]
fn child_folders() {
    let Some(directory) = directory() else { return };
    block_on(async {
        for (folder, while_doing) in [(".", "taking a file"), ("processed", "putting a file away")]
        {
            let path = directory.join(while_doing);
            Harness::start(&path).end().await;
            for n in 0..20 {
                fs::write(path.join(format!("{n}.json")), document(&format!("k/{n}"), "x"))
                    .unwrap();
            }
            let_in(&path.join(folder), 0o555);
            let harness = Harness::start(&path);
            harness.until("trouble", |it| it.watching.snapshot().trouble.is_some()).await;
            let trouble = harness.watching.snapshot().trouble.unwrap();
            assert_eq!(trouble, format!("{while_doing}: Permission denied (os error 13)"));
            let_in(&path.join(folder), 0o755);
            all_ended_once(harness).await;
        }
    });
}
