//! What was seen lately, in bounded memory.

/// Most numbers of a generation; there are two.
const GENERATION: usize = 4_096;
/// Places of a generation, of 4 bytes each, taken when the first number comes.
const PLACES: usize = 2 * GENERATION;

/// The last numbers seen: at least [`GENERATION`] of them, at most twice as many. A number never seen
/// is taken for one of them once in about 2^31 times.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    young: Generation,
    old: Generation,
}

/// A hash table with open addressing, never more than half full.
#[derive(Debug, Default)]
struct Generation {
    len: usize,
    /// By the low half of a number its high half; 0 where there is none.
    places: Vec<u32>,
}

impl Recent {
    /// Whether a number, which has to be well mixed, was seen.
    pub(crate) fn contains(&self, number: u64) -> bool {
        self.young.contains(number) || self.old.contains(number)
    }

    /// Returns whether it was not seen lately.
    pub(crate) fn insert(&mut self, number: u64) -> bool {
        let new = !self.contains(number);
        if self.young.len == GENERATION {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(number);
        new
    }
}

impl Generation {
    fn contains(&self, number: u64) -> bool {
        !self.places.is_empty() && self.places[self.place(number)] != 0
    }

    fn insert(&mut self, number: u64) {
        self.places.resize(PLACES, 0);
        let place = self.place(number);
        let before = std::mem::replace(&mut self.places[place], tag(number));
        self.len += usize::from(before == 0);
    }

    /// Where a number is, or would be.
    fn place(&self, number: u64) -> usize {
        let mut place = number as usize % PLACES;
        while self.places[place] != 0 && self.places[place] != tag(number) {
            place = (place + 1) % PLACES;
        }
        place
    }

    fn clear(&mut self) {
        self.places.fill(0);
        self.len = 0;
    }
}

/// What is remembered of a number: never 0.
const fn tag(number: u64) -> u32 {
    (number >> 32) as u32 | 1
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
            assert!(recent.young.places.capacity() + recent.old.places.capacity() <= 2 * PLACES);
        }
        assert!(!recent.contains(number(0)));
    }
}
