//! Tokens taken ahead, a few for each stripe of threads, so that threads that take from one bucket
//! rarely meet.
//!
//! A stripe never holds or has coming more than one lease, and what all leases can hold is carved
//! out of the burst of the bucket that they are taken from. So in every window of length *t*, what
//! was taken ahead before it and what is taken in it are together at most
//! `leases + (burst - leases) + rate·t`. For that, room is *reserved* in the stripe before tokens are
//! taken for it.
//!
//! A change of the quota recalls all leases and gives every stripe the generation of the new one:
//! what is still coming by a former one finds no room and goes back to the bucket.

use crate::ground::primitives::atomic::{AtomicU64, Ordering};
use crate::ground::stripe::{Padded, STRIPES};

/// A lease is between these; a burst that leaves less than four each is too small for any.
const LEAST: u32 = 4;
const MOST: u32 = 64;
/// The least burst that may be leased from.
pub(super) const LEAST_BURST: u32 = 16 * STRIPES as u32;

/// So much a stripe gets at a time: together a quarter of the burst, or 512.
pub(super) fn lease_of(burst: u32) -> u8 {
    (burst / (4 * STRIPES as u32)).clamp(LEAST, MOST) as u8
}

/// Each word: the tokens, what is reserved above them, and the generation of their quota above
/// that.
///
/// Relaxed throughout: nothing is read or written on the strength of a token.
#[derive(Debug, Default)]
pub(super) struct Leases(Box<[Padded<AtomicU64>; STRIPES]>);

const RESERVED: u32 = 16;
const GENERATION: u32 = 32;

fn tokens(word: u64) -> u32 {
    word as u32 & 0xffff
}

fn reserved(word: u64) -> u32 {
    (word >> RESERVED) as u32 & 0xffff
}

fn generation(word: u64) -> u32 {
    (word >> GENERATION) as u32
}

fn word(tokens: u32, reserved: u32, generation: u32) -> u64 {
    u64::from(generation) << GENERATION | u64::from(reserved) << RESERVED | u64::from(tokens)
}

impl Leases {
    /// Takes from the stripe's lease, if it has so many.
    #[inline]
    pub(super) fn take(&self, stripe: usize, cost: u32) -> bool {
        let stripe = &self.0[stripe];
        let mut was = stripe.load(Ordering::Relaxed);
        while tokens(was) >= cost {
            let taken = was - u64::from(cost);
            match stripe.compare_exchange_weak(was, taken, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => was = now,
            }
        }
        false
    }

    /// Makes room for what the stripe lacks of a lease by this quota: how much.
    pub(super) fn reserve(&self, stripe: usize, of: u32, lease: u32) -> u32 {
        let room = |was: u64| match generation(was) == of {
            true => lease.saturating_sub(tokens(was) + reserved(was)),
            false => 0,
        };
        let add = |was: u64| match room(was) {
            0 => None,
            room => Some(was + (u64::from(room) << RESERVED)),
        };
        self.0[stripe].fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).map_or(0, room)
    }

    /// What was taken for what was reserved, all of it or less, comes: how much found no room, for
    /// the quota is another one by now.
    pub(super) fn fill(&self, stripe: usize, of: u32, room: u32, came: u32) -> u32 {
        debug_assert!(came <= room);
        let add = |was: u64| {
            (generation(was) == of).then(|| word(tokens(was) + came, reserved(was) - room, of))
        };
        match self.0[stripe].fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(_) => 0,
            Err(_) => came,
        }
    }

    /// All tokens back.
    pub(super) fn recall(&self) -> u32 {
        let empty = |was: u64| match tokens(was) {
            0 => None,
            _ => Some(word(0, reserved(was), generation(was))),
        };
        let recall = |stripe: &Padded<AtomicU64>| {
            stripe.fetch_update(Ordering::Relaxed, Ordering::Relaxed, empty).map_or(0, tokens)
        };
        self.0.iter().map(recall).sum()
    }

    /// All tokens back, and from now on only those of another quota come.
    pub(super) fn recall_for(&self, of: u32) -> u32 {
        self.0.iter().map(|stripe| tokens(stripe.swap(word(0, 0, of), Ordering::Relaxed))).sum()
    }

    /// Tokens that are there.
    pub(super) fn held(&self) -> u32 {
        self.0.iter().map(|stripe| tokens(stripe.load(Ordering::Relaxed))).sum()
    }
}
