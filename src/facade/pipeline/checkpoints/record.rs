//! A page: what is kept of a key, as JSON.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::CheckpointError;
use super::kept::Checkpoint;
use super::pages::Entry;
use crate::Priority;
use crate::ground::time::{self, Instant};

/// The current run of a key, and its successor if it has one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    runs: Vec<Record>,
}

/// One run.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) generation: Option<u64>,
    /// In hexadecimal: not every reader of JSON has numbers that large.
    #[serde(with = "hexadecimal")]
    pub(super) content: Option<u128>,
    pub(super) tenant: Arc<str>,
    pub(super) priority: Priority,
    pub(super) weight: NonZeroU32,
    /// Milliseconds since 1970.
    deadline_unix_ms: Option<u64>,
    pub(super) payload: Arc<RawValue>,
    pub(super) checkpoints: Vec<Checkpoint>,
}

/// How many runs a key has at most.
const MOST: usize = 2;

pub(super) fn encode(entries: &[Entry]) -> Result<Bytes, CheckpointError> {
    let clock = WallClock::look();
    let runs = entries.iter().map(|entry| Record::of(entry, clock)).collect();
    serde_json::to_vec(&Page { runs }).map(Bytes::from).map_err(CheckpointError::Encode)
}

/// Whether a page that is too large would be so without what is new on it: what was there before
/// has grown.
pub(super) fn is_too_large_without_new(entries: &[Entry], error: &CheckpointError) -> bool {
    let CheckpointError::TooLarge { bytes, most } = *error else { return false };
    let old: Vec<Entry> = entries.iter().filter(|entry| !entry.is_new()).cloned().collect();
    let (Ok(all), Ok(old)) = (encode(entries), encode(&old)) else { return false };
    bytes.saturating_sub(all.len().saturating_sub(old.len())) > most
}

pub(super) fn decode(page: &[u8]) -> Result<Vec<Record>, String> {
    let page: Page = serde_json::from_slice(page).map_err(|error| error.to_string())?;
    match page.runs.len() {
        0 => Err("no run is in it".to_owned()),
        1..=MOST => Ok(page.runs),
        more => Err(format!("{more} runs are more than a key has")),
    }
}

impl Record {
    fn of(entry: &Entry, clock: WallClock) -> Self {
        let Entry { ask, kept, .. } = entry;
        Self {
            generation: ask.version.generation,
            content: ask.version.content,
            tenant: Arc::clone(&kept.tenant),
            priority: ask.class,
            weight: ask.weight,
            deadline_unix_ms: ask.deadline.map(|at| clock.unix_ms(at)),
            payload: Arc::clone(&kept.payload),
            checkpoints: kept.checkpoints.clone(),
        }
    }

    pub(super) fn deadline(&self, clock: WallClock) -> Option<Instant> {
        clock.instant(self.deadline_unix_ms?)
    }
}

/// The time of day beside our clock, at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct WallClock {
    now: Instant,
    wall: Duration,
}

impl WallClock {
    pub(super) fn look() -> Self {
        Self { now: time::now(), wall: time::wall() }
    }

    fn unix_ms(self, at: Instant) -> u64 {
        let past = self.now.saturating_duration_since(at);
        let ahead = at.saturating_duration_since(self.now);
        let unix = self.wall.saturating_add(ahead).saturating_sub(past);
        u64::try_from(unix.as_millis()).unwrap_or(u64::MAX)
    }

    /// `None`: later than the clock can say, which is never. What is past is past by now.
    fn instant(self, unix_ms: u64) -> Option<Instant> {
        time::later(self.now, Duration::from_millis(unix_ms).saturating_sub(self.wall))
    }
}

mod hexadecimal {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(n: &Option<u128>, to: S) -> Result<S::Ok, S::Error> {
        n.map(|n| format!("{n:x}")).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<u128>, D::Error> {
        let text: Option<String> = Option::deserialize(from)?;
        let read = |text: String| u128::from_str_radix(&text, 16).map_err(D::Error::custom);
        text.map(read).transpose()
    }
}
