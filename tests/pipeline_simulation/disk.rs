//! A store that is slow, fails, and leaves doubt, as chance says; and what is left of it when the
//! process dies.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use headworks::pipeline::{CheckpointError, Checkpoints, Loaded};

use super::ms;
use super::world::World;

/// What a page may have.
const MOST_BYTES: usize = 2_000;

#[derive(Default)]
struct Platter {
    pages: Mutex<BTreeMap<String, Bytes>>,
    /// The life whose writes arrive.
    life: AtomicU64,
    /// The control: now and then it says that it has what it has not.
    forgets: AtomicBool,
    writing: Mutex<HashSet<String>>,
    /// Pages whose last change did not say that it succeeded.
    troubled: Mutex<HashSet<String>>,
}

/// The disk as one life has it: nothing of that one arrives after its death.
#[derive(Clone)]
pub(crate) struct Disk {
    platter: Arc<Platter>,
    life: u64,
    world: Arc<World>,
}

impl Disk {
    pub(crate) fn new(world: &Arc<World>, forgets: bool) -> Self {
        let platter = Platter { forgets: AtomicBool::new(forgets), ..Platter::default() };
        Self { platter: Arc::new(platter), life: 0, world: Arc::clone(world) }
    }

    /// The life that has it dies; the disk of the next one.
    pub(crate) fn next_life(&self) -> Self {
        self.platter.life.fetch_add(1, Ordering::Relaxed);
        self.platter.writing.lock().unwrap().clear();
        Self { life: self.life + 1, ..self.clone() }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.platter.pages.lock().unwrap().contains_key(key)
    }

    /// Whether its last change may not be what is there.
    pub(crate) fn is_troubled(&self, key: &str) -> bool {
        self.platter.troubled.lock().unwrap().contains(key)
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.platter.pages.lock().unwrap().keys().cloned().collect()
    }

    /// Every run that is there: whose, and which phases are done.
    pub(crate) fn runs(&self) -> HashMap<u64, Vec<String>> {
        let mut runs = HashMap::new();
        for page in self.platter.pages.lock().unwrap().values() {
            let page: serde_json::Value = serde_json::from_slice(page).unwrap();
            for run in page["runs"].as_array().unwrap() {
                let id = run["payload"]["id"].as_u64().unwrap();
                let done = run["checkpoints"].as_array().unwrap().iter();
                runs.insert(
                    id,
                    done.map(|done| done["phase"].as_str().unwrap().to_owned()).collect(),
                );
            }
        }
        runs
    }

    /// Does it, if nothing goes wrong; and perhaps also then.
    async fn act(&self, key: &str, write: impl FnOnce(&mut BTreeMap<String, Bytes>)) -> Acted {
        let is_calm = self.world.is_calm();
        let is_alone = self.platter.writing.lock().unwrap().insert(key.to_owned());
        self.world.claim(is_alone, || format!("{key} is written twice at once"));
        let _ends = Ends(self, key);
        self.platter.troubled.lock().unwrap().insert(key.to_owned());
        match self.world.below(3) {
            0 => tokio::time::sleep(ms(self.world.below(20))).await,
            1 => tokio::task::yield_now().await,
            _ => {}
        }
        let chance = if is_calm { 99 } else { self.world.below(30) };
        if chance == 0 {
            return Err(std::io::Error::other("no").into());
        }
        let is_lost = chance == 1 || self.platter.life.load(Ordering::Relaxed) != self.life;
        let forgets = chance == 2 && self.platter.forgets.load(Ordering::Relaxed);
        if !is_lost && !forgets {
            write(&mut self.platter.pages.lock().unwrap());
        }
        match chance {
            1 | 3 => Err(CheckpointError::Doubtful(std::io::Error::other("perhaps"))),
            4 if self.world.below(4) == 0 => std::panic::panic_any("a phase"),
            _ => {
                self.platter.troubled.lock().unwrap().remove(key);
                Ok(())
            }
        }
    }
}

type Acted = Result<(), CheckpointError>;

struct Ends<'a>(&'a Disk, &'a str);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        let Disk { platter, life, .. } = self.0;
        if platter.life.load(Ordering::Relaxed) == *life {
            platter.writing.lock().unwrap().remove(self.1);
        }
    }
}

#[async_trait]
impl Checkpoints for Disk {
    async fn load(&self) -> Result<Loaded, CheckpointError> {
        let pages = self.platter.pages.lock().unwrap().clone();
        let mut loaded = Loaded::default();
        loaded.pages = pages.into_iter().map(|(key, page)| (key.into(), page)).collect();
        Ok(loaded)
    }

    async fn save(&self, key: &str, page: Bytes) -> Acted {
        let (bytes, most) = (page.len(), MOST_BYTES);
        if bytes > most {
            return Err(CheckpointError::TooLarge { bytes, most });
        }
        self.act(key, |pages| drop(pages.insert(key.to_owned(), page))).await
    }

    async fn remove(&self, key: &str) -> Acted {
        self.act(key, |pages| drop(pages.remove(key))).await
    }

    async fn set_aside(&self, key: &str) -> Result<String, CheckpointError> {
        self.world.complain(format!("{key} can't be read"));
        Ok(String::new())
    }
}
