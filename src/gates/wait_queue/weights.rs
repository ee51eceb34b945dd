//! How heavy those are who wait in a class, to within a factor of two.

/// Waiters heavier than 1, counted by the binary digits of their weight.
#[derive(Debug, Default)]
pub(super) struct Weights {
    /// `counts[d]` waiters have a weight of `d + 2` digits. Empty until the first one comes.
    counts: Vec<u32>,
    /// Bit `d` is set while `counts[d]` is not zero.
    present: u32,
}

impl Weights {
    /// What a lane may take in one turn: at least the heaviest weight that waits, so that each turn
    /// serves somebody, and at most twice that.
    pub(super) fn quantum(&self) -> u32 {
        match self.present.checked_ilog2() {
            None => 1,
            Some(digits) => 1_u32.checked_shl(digits + 2).unwrap_or(u32::MAX),
        }
    }

    #[inline]
    pub(super) fn came(&mut self, weight: u32) {
        if weight > 1 {
            let digits = weight.ilog2() as usize - 1;
            self.counts.resize(self.counts.len().max(digits + 1), 0);
            self.counts[digits] += 1;
            self.present |= 1 << digits;
        }
    }

    #[inline]
    pub(super) fn left(&mut self, weight: u32) {
        if weight > 1 {
            let digits = weight.ilog2() as usize - 1;
            self.counts[digits] -= 1;
            if self.counts[digits] == 0 {
                self.present &= !(1 << digits);
            }
        }
    }
}

#[cfg(all(test, not(headworks_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_quantum_is_at_least_the_heaviest_that_waits_and_at_most_twice_that() {
        let mut weights = Weights::default();
        assert_eq!(weights.quantum(), 1);
        for weight in [1, 2, 3, 4, 7, 8, 1 << 30, (1 << 31) - 1, 1 << 31, u32::MAX] {
            weights.came(weight);
            let quantum = weights.quantum();
            assert!(quantum >= weight && u64::from(quantum) <= 2 * u64::from(weight), "{weight}");
        }
        for weight in [u32::MAX, 1 << 31, (1 << 31) - 1] {
            weights.left(weight);
        }
        assert_eq!(weights.quantum(), 1 << 31, "the heaviest have left");
        [1 << 30, 8, 7, 4, 3, 2, 1].into_iter().for_each(|weight| weights.left(weight));
        assert_eq!(weights.quantum(), 1);
    }
}
