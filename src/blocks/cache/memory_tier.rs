//! A second tier in memory.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::tier::{SecondTier, Stored, TierError};
use crate::ground::primitives::Mutex;
use crate::ground::time::{self, Instant};

/// A second tier in memory: for tests, and for several caches of one process. What has expired
/// makes room when it is looked at, or when there is no more room.
#[derive(Debug)]
pub struct MemoryTier {
    stored: Mutex<HashMap<String, (Bytes, Option<Instant>)>>,
    most: usize,
}

impl MemoryTier {
    /// Room for so many. Beyond, `set` fails.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { stored: Mutex::new(HashMap::new()), most }
    }
}

#[async_trait]
impl SecondTier for MemoryTier {
    async fn get(&self, name: &str) -> Result<Option<Stored>, TierError> {
        let now = time::now();
        let mut stored = self.stored.lock();
        if stored.get(name).is_some_and(|(_, until)| until.is_some_and(|until| until <= now)) {
            stored.remove(name);
        }
        Ok(stored.get(name).map(|(bytes, until)| Stored {
            bytes: bytes.clone(),
            ttl: until.map(|until| until.saturating_duration_since(now)),
        }))
    }

    async fn set(&self, name: &str, bytes: Bytes, ttl: Option<Duration>) -> Result<(), TierError> {
        let now = time::now();
        let until = ttl.and_then(|ttl| time::later(now, ttl));
        let mut stored = self.stored.lock();
        if stored.len() >= self.most && !stored.contains_key(name) {
            stored.retain(|_, (_, until)| until.is_none_or(|until| until > now));
        }
        if stored.len() >= self.most && !stored.contains_key(name) {
            return Err(TierError::failed("it is full"));
        }
        stored.insert(name.to_owned(), (bytes, until));
        Ok(())
    }

    async fn delete(&self, name: &str) -> Result<(), TierError> {
        self.stored.lock().remove(name);
        Ok(())
    }
}
