//! What was seen lately, in bounded memory.

use std::collections::BTreeSet;

/// Most numbers of a generation; there are two, of about 16 bytes a number.
const GENERATION: usize = 8_192;

/// The last numbers seen: at least [`GENERATION`] of them, at most twice as many.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    young: BTreeSet<u64>,
    old: BTreeSet<u64>,
}

impl Recent {
    pub(crate) fn contains(&self, number: u64) -> bool {
        self.young.contains(&number) || self.old.contains(&number)
    }

    pub(crate) fn insert(&mut self, number: u64) {
        if self.young.len() == GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_generation_is_always_known_and_memory_is_bounded_c4() {
        let mut recent = Recent::default();
        for number in 0..5 * GENERATION as u64 {
            recent.insert(number);
            assert!(recent.contains(number.saturating_sub(GENERATION as u64 - 1)));
            assert!(recent.young.len() + recent.old.len() <= 2 * GENERATION);
        }
        assert!(!recent.contains(0));
    }
}
