//! A process that is killed, again and again, with everything it was doing, and what is left of it.
//!
//! The test runs itself as a child, reads what the child says line by line, and kills it (`SIGKILL`)
//! after a line that chance names. What the child says is in the pipe before it goes on, so an
//! effect has happened exactly if its line is there. After each death the pages on disk are read,
//! and the next child is held to them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod child;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Tells a child what it is, and where.
const DIRECTORY: &str = "HEADWORKS_CRASH_DIRECTORY";
/// Its number; the keys of its intents begin with it.
const LIFE: &str = "HEADWORKS_CRASH_LIFE";
/// What is restored is to be finished, and nothing more.
const LAST: &str = "HEADWORKS_CRASH_LAST";

const LIVES: u32 = 30;

/// A key and a durable phase.
type Effect = (String, String);

#[derive(Default)]
struct Seen {
    accepted: BTreeSet<String>,
    done: BTreeSet<String>,
    /// How often each durable phase had its effect, over all lives.
    effects: BTreeMap<Effect, u32>,
    /// Checkpoints that were on disk when a process died.
    kept: BTreeSet<Effect>,
    resumed: u32,
}

#[test]
fn what_is_on_disk_survives_kill_9_and_no_durable_phase_that_is_kept_runs_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut seen = Seen::default();
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    for life in 0..LIVES {
        let child = spawn(directory.path(), life, false);
        let lines = lines_until(child, Some(1 + chance.below(250)));
        seen.book(&lines);
        seen.kept = on_disk(directory.path());
    }
    let lines = lines_until(spawn(directory.path(), LIVES, true), None);
    seen.book(&lines);

    let again = seen.effects.values().filter(|times| **times > 1).count();
    println!(
        "{LIVES} lives: {} accepted, {} effects, {again} of them again, {} resumed",
        seen.accepted.len(),
        seen.effects.len(),
        seen.resumed,
    );
    // Killed between its end and the line that says so, it has ended all the same: its page is gone.
    let is_at_its_end = |key: &str| seen.effects.contains_key(&(key.to_owned(), "last".to_owned()));
    let never_done = seen.accepted.difference(&seen.done);
    let lost: Vec<_> = never_done.filter(|key| !is_at_its_end(key)).collect();
    assert!(lost.is_empty(), "accepted, and never done: {lost:?}");
    assert_eq!(on_disk(directory.path()), BTreeSet::new());
    let files = fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name());
    let files: Vec<_> = files.filter(|name| name != "in-use.lock").collect();
    assert!(files.is_empty(), "every page is removed, and nothing was set aside: {files:?}");
    // The test would prove nothing if nobody had died in the middle.
    assert!(seen.resumed > 20 && again > 0, "{} resumed, {again} again", seen.resumed);
    for key in &seen.done {
        for phase in ["first", "second"] {
            assert!(seen.effects.contains_key(&(key.clone(), phase.to_owned())), "{key} {phase}");
        }
    }
}

impl Seen {
    /// One life, as far as it came.
    fn book(&mut self, lines: &[String]) {
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["@accepted", key] => drop(self.accepted.insert(key.to_owned())),
                ["@done", key] => drop(self.done.insert(key.to_owned())),
                ["@resumed", _] => self.resumed += 1,
                ["@effect", key, phase] => {
                    let effect = (key.to_owned(), phase.to_owned());
                    assert!(!self.kept.contains(&effect), "{effect:?} was kept, and ran again");
                    *self.effects.entry(effect).or_default() += 1;
                }
                ["@trouble", ..] => panic!("{line}"),
                // The test harness says something, too.
                _ => {}
            }
        }
    }
}

fn spawn(directory: &Path, life: u32, is_last: bool) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["child::a_life", "--exact", "--nocapture", "--test-threads=1"]);
    child.env(DIRECTORY, directory).env(LIFE, life.to_string());
    if is_last {
        child.env(LAST, "1");
    }
    child.stdout(Stdio::piped()).spawn().unwrap()
}

/// What a child says, until it ends; killed after so many lines.
fn lines_until(mut child: Child, killed_after: Option<u32>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut said = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        said += u32::from(line.starts_with('@'));
        lines.push(line);
        if killed_after.is_some_and(|most| said >= most) {
            // What it has said by then is still read.
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    let killed = status.signal() == Some(9);
    let is_as_meant = if killed_after.is_some() { killed } else { status.success() };
    assert!(is_as_meant, "{status}: {lines:?}");
    lines
}

/// Every checkpoint in the directory, read without the crate's help.
fn on_disk(directory: &Path) -> BTreeSet<Effect> {
    let mut kept = BTreeSet::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "checkpoint") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.splitn(3, '\n').collect();
        let key: String = serde_json::from_str(lines[1]).unwrap();
        let page: serde_json::Value = serde_json::from_str(lines[2]).unwrap();
        for run in page["runs"].as_array().unwrap() {
            for checkpoint in run["checkpoints"].as_array().unwrap() {
                kept.insert((key.clone(), checkpoint["phase"].as_str().unwrap().to_owned()));
            }
        }
    }
    kept
}

/// Numbers that look random (xorshift64, Marsaglia 2003).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % u64::from(bound)) as u32
    }
}
