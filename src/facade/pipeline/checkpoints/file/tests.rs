//! The files, by claims, on a real disk.

use std::collections::BTreeSet;
use std::fs;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::{Condvar, Mutex};
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

/// The names in a directory, but for those of what was put away and of the lock.
fn files(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name != "set-aside" && name != super::disk::LOCK);
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

    drop(first);
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
    drop(first);
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
    drop(first);
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
    // While the one that was dropped still works on its key, this one is refused.
    drop(pin!(store.set_aside("a")).as_mut().poll(&mut cx));
    while let Err(busy) = store.save("b", page("three")).await {
        assert!(busy.is_doubtful(), "{busy}");
        tokio::task::yield_now().await;
    }
    let loaded = store.load().await.unwrap();
    assert!(loaded.set_aside.is_empty());
    let whole = [("a".into(), "one".into()), ("b".into(), "three".into())];
    assert!(pages(loaded).iter().all(|page| whole.contains(page)));
}

/// Two stores of one process have two open files, as two processes do.
#[tokio::test]
async fn a_directory_is_for_one_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (store(directory.path()), store(directory.path()));
    first.load().await.unwrap();
    first.load().await.expect("it is its own");
    first.save("a", page("one")).await.unwrap();
    assert!(matches!(second.load().await, Err(CheckpointError::InUse)));
    first.close();
    assert_eq!(pages(second.load().await.unwrap()), [("a".into(), "one".into())]);
    assert!(matches!(first.load().await, Err(CheckpointError::InUse)));
    drop(second);
    first.load().await.expect("whoever is gone has nothing");
}

#[tokio::test]
async fn a_page_whose_directory_can_t_be_synced_is_in_doubt() {
    let fails = |_: &Path| Err(std::io::Error::other("no such luck"));
    let directory = tempfile::tempdir().unwrap();
    let first = store(directory.path());
    first.load().await.unwrap();
    first.save("old", page("one")).await.unwrap();
    drop(first);
    let second = store(directory.path()).with_sync(fails);
    second.load().await.unwrap();
    let doubtful = second.save("new", page("one")).await.unwrap_err();
    assert!(doubtful.is_doubtful(), "{doubtful}");
    assert_eq!(files(directory.path()).len(), 1, "what is said not to be kept is not found");
    assert!(second.save("old", page("two")).await.unwrap_err().is_doubtful());
    assert!(second.remove("new").await.is_err(), "nor is a removal that may not last a removal");
    drop(second);
    let third = store(directory.path());
    assert_eq!(pages(third.load().await.unwrap()), [("old".into(), "two".into())]);
    // What could not be written at all leaves nothing, and takes no place.
    let config = config(directory.path()).with_max_files(2);
    let fourth = FileCheckpoints::new(config).unwrap();
    drop(third);
    fourth.load().await.unwrap();
    let part = directory.path().join(format!("{}.part", super::names::Names::default().of("b")));
    fs::create_dir(&part).unwrap();
    let failed = fourth.save("b", page("one")).await.unwrap_err();
    assert!(matches!(failed, CheckpointError::Io(_)), "{failed}");
    fourth.save("c", page("one")).await.expect("there is room for two");
}

#[tokio::test]
async fn what_can_t_be_put_away_leaves_nothing_and_what_was_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    store.load().await.unwrap();
    store.save("a", page("one")).await.unwrap();
    let [name] = files(directory.path()).try_into().unwrap();
    let gone = directory.path().join("elsewhere");
    fs::rename(directory.path().join(&name), &gone).unwrap();
    assert!(store.set_aside("a").await.is_err());
    let aside = directory.path().join("set-aside");
    assert_eq!(fs::read_dir(&aside).unwrap().count(), 0, "no empty file in its place");
    fs::rename(gone, directory.path().join(&name)).unwrap();
    assert!(Path::new(&store.set_aside("a").await.unwrap()).is_file());
}

/// Loads that overlap: the last one that was asked for is right, and no other one does anything to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_loads_that_overlap_the_last_one_counts() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    store.load().await.unwrap();
    for n in 0..50 {
        store.save(&n.to_string(), page("one")).await.unwrap();
    }
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..20 {
        let mut given_up: Vec<_> = (0..3).map(|_| Box::pin(store.load())).collect();
        given_up.iter_mut().for_each(|load| drop(load.as_mut().poll(&mut cx)));
        drop(given_up);
        let (early, last) = tokio::join!(store.load(), store.load());
        assert_eq!(last.unwrap().pages.len(), 50);
        // The earlier one was done before the last one was asked for, or did nothing.
        assert!(early.map_or(true, |loaded| loaded.pages.len() == 50));
    }
    store.save("0", page("two")).await.unwrap();
    assert_eq!(files(directory.path()).len(), 50, "its names are known as they are");
}

/// A call that nobody waits for any more goes on on its thread: nothing overtakes it.
#[tokio::test]
async fn a_key_is_touched_by_one_call_at_a_time() {
    static IS_OPEN: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());
    let hangs = |_: &Path| {
        let is_open = IS_OPEN.0.lock().unwrap();
        drop(IS_OPEN.1.wait_while(is_open, |is_open| !*is_open));
        Ok(())
    };
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path()).with_sync(hangs);
    store.load().await.unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(pin!(store.save("a", page("one"))).as_mut().poll(&mut cx).is_pending());
    let refused = store.save("a", page("two")).await.unwrap_err();
    assert!(refused.is_doubtful(), "{refused}");
    let mut others: Vec<_> = (0..63).map(|n| n.to_string()).collect();
    for key in &others {
        assert!(pin!(store.save(key, page("one"))).as_mut().poll(&mut cx).is_pending());
    }
    assert!(matches!(store.save("more", page("one")).await, Err(CheckpointError::Io(_))));
    store.close();
    let other = self::store(directory.path());
    assert!(matches!(other.load().await, Err(CheckpointError::InUse)), "they still write");
    *IS_OPEN.0.lock().unwrap() = true;
    IS_OPEN.1.notify_all();
    others.push("a".to_owned());
    for key in others {
        while let Err(error) = store.save(&key, page("two")).await {
            assert!(error.is_doubtful() || matches!(error, CheckpointError::Io(_)), "{error}");
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(pages(other.load().await.unwrap()).len(), 64);
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
