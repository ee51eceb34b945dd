//! How often each content has been asked.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;

/// Contents remembered. Beyond, the oldest is forgotten and starts again at its first attempt.
const KEPT: usize = 65_536;

#[derive(Debug, Default)]
pub(crate) struct Attempts(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    counts: HashMap<u64, u32>,
    order: VecDeque<u64>,
}

impl Attempts {
    /// The number of this attempt at `content`, from 1.
    pub(crate) fn next(&self, content: u64) -> u32 {
        let seen = &mut *self.0.lock();
        if let Some(count) = seen.counts.get_mut(&content) {
            *count = count.saturating_add(1);
            return *count;
        }
        if seen.order.len() >= KEPT
            && let Some(oldest) = seen.order.pop_front()
        {
            seen.counts.remove(&oldest);
        }
        seen.order.push_back(content);
        seen.counts.insert(content, 1);
        1
    }
}

/// FNV-1a of a request's path and body: the same question has the same number in every run.
pub(crate) fn content_hash(path: &str, body: &[u8]) -> u64 {
    let bytes = path.bytes().chain([0]).chain(body.iter().copied());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
