//! What was seen lately, in bounded memory.

/// Most numbers of a generation; there are two, sorted, of 8 bytes a number.
const GENERATION: usize = 4_096;
/// Memory is taken for so many numbers at a time.
const STEP: usize = 512;

/// The last numbers seen: at least [`GENERATION`] of them, at most twice as many.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    young: Vec<u64>,
    old: Vec<u64>,
}

impl Recent {
    pub(crate) fn contains(&self, number: u64) -> bool {
        self.young.binary_search(&number).is_ok() || self.old.binary_search(&number).is_ok()
    }

    /// Returns whether it was not seen lately.
    pub(crate) fn insert(&mut self, number: u64) -> bool {
        let new = !self.contains(number);
        if self.young.len() == GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        if let Err(at) = self.young.binary_search(&number) {
            if self.young.len() == self.young.capacity() {
                self.young.reserve_exact(STEP);
            }
            self.young.insert(at, number);
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_generation_is_always_known_and_memory_is_bounded_c4() {
        let mut recent = Recent::default();
        // Multiplied by an odd number, so that they come in no order.
        let number = |index: u64| index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for index in 0..5 * GENERATION as u64 {
            assert!(recent.insert(number(index)));
            assert!(!recent.insert(number(index)));
            assert!(recent.contains(number(index.saturating_sub(GENERATION as u64 - 1))));
            assert!(recent.young.capacity() + recent.old.capacity() <= 2 * GENERATION);
        }
        assert!(!recent.contains(number(0)));
    }
}
