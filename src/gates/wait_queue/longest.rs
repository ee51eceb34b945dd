//! Which lane of a class is the longest, in O(1).
//!
//! Lanes stand in buckets by length, the buckets in a list by rising length: a lane whose length
//! changes by one moves to the neighbouring bucket (the frequency list of Shah, Mitra and Matani,
//! "An O(1) algorithm for implementing the LFU cache eviction scheme", 2010). Lengths count the
//! fresh waiters only: what can't be evicted makes no lane long.

use super::lane::{Lane, LaneId};
use crate::ground::list::{Links, List, NIL};

#[derive(Debug, Default)]
pub(super) struct Longest {
    buckets: Vec<Bucket>,
    vacant: Vec<u32>,
    order: List,
    bucket_links: Links,
    lane_links: Links,
}

#[derive(Debug, Default)]
struct Bucket {
    len: usize,
    lanes: List,
}

impl Longest {
    /// The longest lane; on a tie the one that has been so long for the longest time.
    pub(super) fn lane(&self) -> Option<LaneId> {
        self.order.tail().and_then(|top| self.buckets[top as usize].lanes.head())
    }

    pub(super) fn len(&self) -> usize {
        self.order.tail().map_or(0, |top| self.buckets[top as usize].len)
    }

    /// The lane's fresh length changed by one, from `was`.
    pub(super) fn moved(&mut self, id: LaneId, lane: &mut Lane, was: usize) {
        let len = lane.fresh.len();
        let old = (was > 0).then_some(lane.bucket);
        // The bucket that the new one belongs behind, found before the old one may go.
        let below = match old {
            None => None,
            Some(old) if len > was => Some(old),
            Some(old) => self.bucket_links.prev(old),
        };
        lane.bucket = if len == 0 { NIL } else { self.bucket_for(len, below) };
        if let Some(old) = old {
            self.leave(id, old);
        }
        if len > 0 {
            let bucket = &mut self.buckets[lane.bucket as usize];
            self.lane_links.push_back(&mut bucket.lanes, id);
        }
    }

    fn leave(&mut self, id: LaneId, bucket: u32) {
        let lanes = &mut self.buckets[bucket as usize].lanes;
        self.lane_links.unlink(lanes, id);
        if lanes.is_empty() {
            self.bucket_links.unlink(&mut self.order, bucket);
            self.vacant.push(bucket);
        }
    }

    /// The bucket of this length: `below` itself, the one behind it, or a new one between.
    fn bucket_for(&mut self, len: usize, below: Option<u32>) -> u32 {
        let above = match below {
            Some(below) => self.bucket_links.next(below),
            None => self.order.head(),
        };
        let found = [below, above].into_iter().flatten();
        if let Some(bucket) = found.clone().find(|&b| self.buckets[b as usize].len == len) {
            return bucket;
        }
        let bucket = self.vacant.pop().unwrap_or_else(|| {
            self.buckets.push(Bucket::default());
            (self.buckets.len() - 1) as u32
        });
        self.buckets[bucket as usize] = Bucket { len, lanes: List::default() };
        self.bucket_links.insert_after(&mut self.order, below, bucket);
        bucket
    }
}
