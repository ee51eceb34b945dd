//! The files, by claims, on a real disk.

use std::collections::BTreeSet;
use std::fs;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Waker};

use bytes::Bytes;
use proptest::prelude::*;

use super::config::FileCheckpointsConfig;
use super::format;
use super::store::FileCheckpoints;
use crate::facade::pipeline::checkpoints::error::CheckpointError;
use crate::facade::pipeline::checkpoints::store::{Checkpoints, Loaded};
use crate::ground::cases::{cases, fuzz_seeds};

fn store(directory: &Path) -> FileCheckpoints {
    FileCheckpoints::new(config(directory)).unwrap()
}

fn config(directory: &Path) -> FileCheckpointsConfig {
    FileCheckpointsConfig::default().with_directory(directory)
}

fn page(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn pages(loaded: Loaded) -> Vec<(String, String)> {
    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let pages = loaded.pages.into_iter().map(|(key, page)| (key.to_string(), text(page)));
    pages.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The names in a directory, but for the one of what was put away.
fn files(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name != "set-aside");
    names.sort();
    names
}

#[tokio::test]
async fn what_is_saved_is_loaded_by_the_next_process_and_what_is_removed_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let first = store(directory.path());
    assert_eq!(pages(first.load().await.unwrap()), []);
    first.save("a", page("one")).await.unwrap();
    first.save("b", page("two")).await.unwrap();
    first.save("a", page("three")).await.unwrap();
    first.save("c", page("four")).await.unwrap();
    first.remove("c").await.unwrap();
    first.remove("nobody").await.unwrap();
    assert_eq!(files(directory.path()).len(), 2, "one for each key");

    let second = store(directory.path());
    let loaded = second.load().await.unwrap();
    assert!(loaded.set_aside.is_empty());
    assert_eq!(pages(loaded), [("a".into(), "three".into()), ("b".into(), "two".into())]);
    second.remove("a").await.unwrap();
    assert_eq!(files(directory.path()).len(), 1);
}

#[tokio::test]
async fn no_key_leads_out_of_the_directory_and_no_two_share_a_file() {
    let outside = tempfile::tempdir().unwrap();
    let directory = outside.path().join("in");
    let long = "x".repeat(5_000);
    let keys = [
        "../escape",
        "/etc/passwd",
        "..",
        ".",
        "",
        "a/b",
        "a_b",
        "A_B",
        "a\0b",
        "a\nb",
        "ä",
        "CON",
        "name.checkpoint",
        "-rf",
        &long,
        &long[1..],
    ];
    let first = store(&directory);
    first.load().await.unwrap();
    for key in keys {
        first.save(key, page(key)).await.unwrap();
    }
    assert_eq!(files(outside.path()), ["in"]);
    let names = files(&directory);
    let lower: BTreeSet<_> = names.iter().map(|name| name.to_lowercase()).collect();
    assert_eq!(lower.len(), keys.len(), "{names:?}");
    assert!(names.iter().all(|name| name.len() < 128), "{names:?}");
    let mut expected: Vec<_> = keys.map(|key| (key.to_owned(), key.to_owned())).into();
    expected.sort();
    assert_eq!(pages(store(&directory).load().await.unwrap()), expected);
}

#[tokio::test]
async fn keys_of_one_hash_have_files_of_their_own() {
    let mut names = super::names::Names::default();
    let first = names.of("key").to_owned();
    // Another key was found under the name that this one would get.
    let mut names = super::names::Names::default();
    assert!(names.found(&"other".into(), &first));
    let second = names.of("key").to_owned();
    assert_ne!(first, second);
    assert_eq!(names.of("key"), second, "and keeps it");
    assert!(!names.found(&"other".into(), "elsewhere"), "one file a key");
    names.forget("other");
    assert_eq!(names.len(), 1);
}

#[tokio::test]
async fn bounds_are_kept_and_told() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path()).with_max_files(2).with_max_file_bytes(100);
    let store = FileCheckpoints::new(config).unwrap();
    store.load().await.unwrap();
    store.save("a", page("1")).await.unwrap();
    store.save("b", page("1")).await.unwrap();
    let full = store.save("c", page("1")).await;
    assert!(matches!(full, Err(CheckpointError::Full { most: 2 })));
    store.save("a", page("2")).await.expect("it has its place");
    store.remove("b").await.unwrap();
    store.save("c", page("1")).await.expect("a place is free");
    let large = page(&"x".repeat(100));
    let refused = store.save("a", large).await;
    assert!(matches!(refused, Err(CheckpointError::TooLarge { most: 100, .. })));
    assert_eq!(
        pages(store.load().await.unwrap()),
        [("a".into(), "2".into()), ("c".into(), "1".into())]
    );

    for wrong in [
        FileCheckpointsConfig::default().with_max_files(0),
        FileCheckpointsConfig::default().with_max_file_bytes(0),
        FileCheckpointsConfig::default().with_directory(""),
    ] {
        assert!(FileCheckpoints::new(wrong).is_err());
    }
}

#[tokio::test]
async fn what_is_not_as_it_was_written_is_put_away_and_never_overwrites_what_was() {
    let directory = tempfile::tempdir().unwrap();
    let first = store(directory.path());
    first.load().await.unwrap();
    first.save("good", page("fine")).await.unwrap();
    let whole = format::encode("bad", b"page");
    let foreign = String::from_utf8(whole.clone()).unwrap().replace("checkpoint 1", "checkpoint 2");
    let path = |name: &str| directory.path().join(name);
    for round in 1..=2 {
        fs::write(path("torn.checkpoint"), &whole[..whole.len() - 1]).unwrap();
        fs::write(path("foreign.checkpoint"), &foreign).unwrap();
        fs::write(path("empty.checkpoint"), "").unwrap();
        fs::write(path("large.checkpoint"), vec![b'x'; 2 << 20]).unwrap();
        fs::write(path("double.checkpoint"), format::encode("good", b"another")).unwrap();
        fs::write(path("unfinished.checkpoint.part"), &whole[..9]).unwrap();
        fs::write(path("notes.txt"), "not ours").unwrap();
        fs::create_dir_all(path("folder.checkpoint")).unwrap();
        let loaded = store(directory.path()).load().await.unwrap();
        let mut whys: Vec<_> = loaded.set_aside.iter().map(|aside| aside.why.as_str()).collect();
        whys.sort_unstable();
        assert_eq!(
            whys,
            [
                "another file is of the same key",
                "it has 2097152 bytes",
                "it is corrupt",
                "it is corrupt",
                "it is of another version",
            ]
        );
        assert!(loaded.set_aside.iter().all(|aside| Path::new(&aside.place).is_file()));
        assert_eq!(loaded.pages.len(), 1, "the one of its key that was read first");
        assert_eq!(fs::read_dir(path("set-aside")).unwrap().count(), 5 * round);
        assert!(!path("unfinished.checkpoint.part").exists());
        assert!(path("notes.txt").exists() && path("folder.checkpoint").exists());
        assert_eq!(files(directory.path()).len(), 3);
        // Whichever of the two it was: both rounds begin with one.
        let left = files(directory.path()).into_iter().find(|name| name.starts_with("double"));
        if let Some(double) = left {
            fs::rename(path(&double), path("good-again.checkpoint")).unwrap();
        }
    }
}

#[tokio::test]
async fn what_the_pipeline_can_t_read_is_put_away_by_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    store.load().await.unwrap();
    store.save("a", page("one")).await.unwrap();
    let place = store.set_aside("a").await.unwrap();
    assert!(Path::new(&place).is_file());
    assert!(store.set_aside("a").await.is_err(), "it is not there any more");
    store.save("a", page("two")).await.unwrap();
    let other = store.set_aside("a").await.unwrap();
    assert_ne!(place, other);
    assert_eq!(pages(store.load().await.unwrap()), []);
}

#[tokio::test]
async fn whatever_is_dropped_after_one_poll_is_done_whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(pin!(store.load()).as_mut().poll(&mut cx).is_pending());
    store.load().await.unwrap();
    assert!(pin!(store.save("a", page("one"))).as_mut().poll(&mut cx).is_pending());
    store.save("b", page("two")).await.unwrap();
    assert!(pin!(store.remove("b")).as_mut().poll(&mut cx).is_pending());
    assert!(pin!(store.set_aside("a")).as_mut().poll(&mut cx).is_pending());
    store.save("b", page("three")).await.unwrap();
    let loaded = store.load().await.unwrap();
    assert!(loaded.set_aside.is_empty());
    let whole = [("a".into(), "one".into()), ("b".into(), "three".into())];
    assert!(pages(loaded).iter().all(|page| whole.contains(page)));
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_is_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret.checkpoint");
    fs::write(&secret, format::encode("secret", b"page")).unwrap();
    std::os::unix::fs::symlink(&secret, directory.path().join("link.checkpoint")).unwrap();
    let loaded = store(directory.path()).load().await.unwrap();
    assert!(loaded.pages.is_empty() && loaded.set_aside.is_empty());
    assert!(secret.exists());
}

#[test]
fn what_fuzzing_found_is_read_or_not() {
    fuzz_seeds("checkpoint_file").iter().for_each(|seed| format::claims(seed));
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn any_bytes_are_read_or_not_and_any_page_comes_back(bytes: Vec<u8>) {
        format::claims(&bytes);
    }

    #[test]
    fn any_key_comes_back(key: String, page: Vec<u8>) {
        let file = Bytes::from(format::encode(&key, &page));
        let (other, rest) = format::decode(&file).unwrap();
        prop_assert_eq!((&*other, &*rest), (&*key, &*page));
    }
}
