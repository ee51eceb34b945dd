//! D20, half-written input: files written slowly, truncated, renamed over, thousands at once, links
//! out of the folder, 100 MB, nesting 10,000 deep, invalid UTF-8, duplicate keys.
//!
//! The control reads what it finds, when it finds it, as a watcher without this care would: it must
//! break the claims.
//!
//! `HEADWORKS_FILES=10000` runs it at full size (default: 2,000).

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::harness::{Ended, Harness, document};

fn so_many() -> usize {
    std::env::var("HEADWORKS_FILES").map_or(2000, |files| files.parse().unwrap())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A text that shows where it was cut.
fn whole(n: usize) -> String {
    format!("begin {} end", "x".repeat(n))
}

/// Everything below a directory: kind, time of change and content.
fn picture(path: &Path) -> BTreeMap<String, String> {
    let mut picture = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let about = fs::symlink_metadata(&path).unwrap();
        let (kind, rights, changed) = (about.file_type(), about.permissions(), about.modified());
        let text = format!("{kind:?} {rights:?} {changed:?} {:?}", fs::read(&path));
        picture.insert(path.display().to_string(), text);
    }
    picture
}

/// The files that never become intents, and part of the reason that is to be told.
const BAD: [(&str, &str); 9] = [
    ("cut.json", "EOF"),
    ("deep.json", "at most 64 levels deep"),
    ("empty.json", "EOF"),
    ("fifo.json", "it is a FIFO"),
    ("large.json", "it has 104857600 bytes, and may have 1048576"),
    ("link.json", "it is a symbolic link"),
    ("text.json", "UTF-8"),
    ("trailing.json", "trailing characters"),
    ("twice.json", "each name of an object once"),
];

fn write_bad(path: &Path, outside: &Path) {
    let write = |name: &str, bytes: &[u8]| fs::write(path.join(name), bytes).unwrap();
    write("cut.json", &document("bad/cut", "cut").as_bytes()[..20]);
    let (open, close) = ("[".repeat(10_000), "]".repeat(10_000));
    write("deep.json", format!("{{\"key\": {open}{close}}}").as_bytes());
    write("empty.json", b"");
    write("text.json", b"{\"key\": \"\xff\", \"text\": \"\"}");
    write("trailing.json", (document("bad/trailing", "") + "{}").as_bytes());
    write("twice.json", b"{\"key\": \"bad/one\", \"key\": \"bad/two\", \"text\": \"\"}");
    File::create(path.join("large.json")).unwrap().set_len(100 << 20).unwrap();
    symlink(outside.join("secret.json"), path.join("link.json")).unwrap();
    assert!(Command::new("mkfifo").arg(path.join("fifo.json")).status().unwrap().success());
}

#[test]
fn d20_every_file_ends_once_and_none_is_run_half_written() {
    let directory = tempfile::tempdir().unwrap();
    let (path, outside) = (directory.path().join("intents"), directory.path().join("outside"));
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("secret.json"), document("secret", "told")).unwrap();
    let before = picture(&outside);
    let Ended { processed, failed, mut run } = runtime().block_on(async {
        fs::create_dir(&path).unwrap();
        // Some are there before anybody watches.
        for n in 0..100 {
            fs::write(path.join(format!("early-{n}.json")), document(&format!("early/{n}"), "x"))
                .unwrap();
        }
        let harness = Harness::start(&path);
        // Written slowly: between two writes others come and go.
        let slow: Vec<String> =
            (0..3).map(|n| document(&format!("slow/{n}"), &whole(1000))).collect();
        let mut files: Vec<File> =
            (0..3).map(|n| File::create(path.join(format!("slow-{n}.json"))).unwrap()).collect();
        for quarter in 0..4 {
            for (file, text) in files.iter_mut().zip(&slow) {
                let part = text.len() / 4;
                let end = if quarter == 3 { text.len() } else { (quarter + 1) * part };
                file.write_all(&text.as_bytes()[quarter * part..end]).unwrap();
            }
            harness.sentinel(quarter).await;
        }
        drop(files);
        // Truncated while it is open, and written anew.
        let mut anew = File::create(path.join("anew.json")).unwrap();
        anew.write_all(document("anew", "old and long").as_bytes()).unwrap();
        harness.sentinel(4).await;
        let mut again =
            OpenOptions::new().write(true).truncate(true).open(path.join("anew.json")).unwrap();
        again.write_all(document("anew", "new").as_bytes()).unwrap();
        harness.sentinel(5).await;
        // The first handle is closed last, and has nothing more to say.
        drop(again);
        drop(anew);
        // Renamed over, again and again.
        for n in 0..200 {
            fs::write(path.join("over.part"), document("over", &format!("version {n}"))).unwrap();
            fs::rename(path.join("over.part"), path.join("over.json")).unwrap();
        }
        write_bad(&path, &outside);
        for n in 0..so_many() {
            let key = format!("many/{n}");
            harness.write(&format!("many-{n}.json"), document(&key, &whole(n % 100)));
        }
        harness.end().await
    });
    assert_eq!(picture(&outside), before, "nothing outside was touched");

    for (name, reason) in BAD {
        let statuses = failed.get(name).unwrap_or_else(|| panic!("{name} has not failed"));
        assert_eq!(statuses.len(), 1, "{name}");
        let document = &statuses[0]["documents"][0]["reason"];
        let told = statuses[0]["reason"].as_str().or(document.as_str()).unwrap();
        assert!(told.contains(reason), "{name}: {told}");
    }
    assert_eq!(failed.len(), BAD.len(), "{:?}", failed.keys());

    let once = |name: String| assert_eq!(processed.get(&name).map(Vec::len), Some(1), "{name}");
    (0..100).for_each(|n| once(format!("early-{n}.json")));
    (0..3).for_each(|n| once(format!("slow-{n}.json")));
    (0..so_many()).for_each(|n| once(format!("many-{n}.json")));
    for n in 0..3 {
        assert_eq!(run.remove(&format!("slow/{n}")), Some(vec![whole(1000)]));
    }
    for n in 0..so_many() {
        assert_eq!(run.remove(&format!("many/{n}")), Some(vec![whole(n % 100)]));
    }
    // What was closed was run; of versions that were renamed over, the last one was, and last.
    assert_eq!(run.remove("anew").unwrap().last().unwrap(), "new");
    let versions = run.remove("over").unwrap();
    assert_eq!(versions.last().unwrap(), "version 199");
    let numbers: Vec<u32> =
        versions.iter().map(|it| it["version ".len()..].parse().unwrap()).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    let left: Vec<_> = run
        .keys()
        .filter(|key| !key.starts_with("early/") && !key.starts_with("sentinel/"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Reads whatever lies there, at once, and through links.
fn naive(path: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.extension().is_some_and(|end| end == "json"));
    files
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

#[test]
fn d20_control_without_care_half_written_files_are_read_and_links_followed() {
    let directory = tempfile::tempdir().unwrap();
    let (path, outside) = (directory.path().join("intents"), directory.path().join("secret.json"));
    fs::create_dir(&path).unwrap();
    fs::write(&outside, document("secret", "told")).unwrap();
    let text = document("slow/0", &whole(1000));
    let mut slow = File::create(path.join("slow-0.json")).unwrap();
    slow.write_all(&text.as_bytes()[..text.len() / 4]).unwrap();
    symlink(&outside, path.join("link.json")).unwrap();
    let read = naive(&path);
    assert!(
        read.iter().any(|(name, it)| name == "slow-0.json" && text.starts_with(it) && *it != text)
    );
    assert!(read.iter().any(|(name, it)| name == "link.json" && it.contains("told")));
}
