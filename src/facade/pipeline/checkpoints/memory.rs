//! Pages in memory: for tests, and for those who want to see how it works.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::error::CheckpointError;
use super::store::{Checkpoints, Loaded};
use crate::ground::primitives::Mutex;

/// Keeps pages in memory, for tests: a clone of it outlives the pipeline, and a second pipeline
/// restores from it as a process that begins again would from a disk.
///
/// ```
/// use std::time::Duration;
/// use headworks::pipeline::{phase_fn, MemoryCheckpoints};
/// use headworks::{Intent, IntentPipeline, PhaseConfig, PhaseContext, PipelineConfig};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryCheckpoints::new();
/// let ask = phase_fn(|n: &u32, _: &PhaseContext| std::future::ready(Ok(n + 1)));
/// let pipeline = IntentPipeline::builder::<u32>(PipelineConfig::default())
///     .checkpoints(store.clone())
///     .durable_phase("ask", 1, PhaseConfig::remote(), ask)
///     .build()?;
/// pipeline.restore().await?;
/// let ticket = pipeline.submit(Intent::new("default/web", 41)).await?;
/// assert_eq!(*ticket.await?.output, 42);
/// pipeline.shutdown(Duration::from_secs(1)).await;
/// assert!(store.is_empty(), "nothing is left to be done");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryCheckpoints(Arc<Mutex<Inside>>);

#[derive(Debug, Default)]
struct Inside {
    pages: BTreeMap<Arc<str>, Bytes>,
    set_aside: BTreeMap<Arc<str>, Bytes>,
}

impl MemoryCheckpoints {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many keys are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().pages.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[async_trait]
impl Checkpoints for MemoryCheckpoints {
    async fn load(&self) -> Result<Loaded, CheckpointError> {
        let pages = self.0.lock().pages.clone().into_iter().collect();
        Ok(Loaded { pages, set_aside: Vec::new() })
    }

    async fn save(&self, key: &str, page: Bytes) -> Result<(), CheckpointError> {
        self.0.lock().pages.insert(key.into(), page);
        Ok(())
    }

    async fn remove(&self, key: &str) -> Result<(), CheckpointError> {
        self.0.lock().pages.remove(key);
        Ok(())
    }

    async fn set_aside(&self, key: &str) -> Result<String, CheckpointError> {
        let mut inside = self.0.lock();
        if let Some((key, page)) = inside.pages.remove_entry(key) {
            inside.set_aside.insert(key, page);
        }
        Ok("in memory".to_owned())
    }
}
