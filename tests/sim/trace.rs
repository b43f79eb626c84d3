//! One number for everything that happened: the same seed gives the same number.

/// A running hash, good enough to tell two runs apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Trace {
    /// Notes a number.
    pub(crate) const fn note(&mut self, number: u64) {
        // One round of a multiply-xorshift mix.
        let mixed = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 29);
    }

    /// Notes bytes.
    pub(crate) fn note_bytes(&mut self, bytes: &[u8]) {
        self.note(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.note(u64::from_le_bytes(word));
        }
    }

    /// The hash so far.
    #[must_use]
    pub(crate) const fn value(&self) -> u64 {
        self.0
    }
}
