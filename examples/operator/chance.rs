//! Chance that replays: numbers that follow from a seed and from what they are for.
//!
//! A generator of the operator's own, because a seed must mean the same for ever; the one within
//! `headworks` is private and promises no such thing.

use std::f64::consts::TAU;

/// `SplitMix64` (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// The stream for one attempt at one thing.
    pub(crate) fn of(seed: u64, thing: u64, attempt: u32) -> Self {
        let mut mixed = Self(seed);
        mixed.0 = mixed.next() ^ thing;
        mixed.0 = mixed.next() ^ u64::from(attempt);
        mixed
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `0..sides`, as far as a remainder can be.
    pub(crate) fn below(&mut self, sides: u64) -> u64 {
        self.next() % sides
    }

    /// Any of the words, of which there must be some.
    pub(crate) fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len() as u64) as usize]
    }

    /// Uniform in `0.0..1.0`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Normal with mean 0 and deviation 1 (Box and Muller, 1958), cut off at ±4: one latency in
    /// thirty thousand would lie beyond, and be absurd.
    pub(crate) fn normal(&mut self) -> f64 {
        let (radius, angle) = ((-2.0 * (1.0 - self.unit()).ln()).sqrt(), TAU * self.unit());
        (radius * angle.cos()).clamp(-4.0, 4.0)
    }
}
