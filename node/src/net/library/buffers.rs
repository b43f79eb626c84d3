//! Memory for pieces on their way, used again and again: fresh pages would cost more than hashing what is in them.

use std::sync::Mutex;

use super::lock;

/// Smaller ones are not kept: many of them would take as much memory as whole pieces.
const KEPT_BYTES_MIN: usize = 256 * 1024;
/// Buffers that are kept, of at most about 1 MiB.
const KEPT_MAX: usize = 16;

/// What is not used at present.
#[derive(Debug, Default)]
pub(super) struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// A buffer of this length, with anything in it.
    pub(super) fn take(&self, length: usize) -> Vec<u8> {
        let kept = if length >= KEPT_BYTES_MIN { lock(&self.0).pop() } else { None };
        let mut buffer = kept.unwrap_or_default();
        buffer.resize(length, 0);
        buffer
    }

    /// Gives one back.
    pub(super) fn give(&self, buffer: Vec<u8>) {
        let mut kept = lock(&self.0);
        if buffer.capacity() >= KEPT_BYTES_MIN && kept.len() < KEPT_MAX {
            kept.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_buffers_are_used_again_and_few_are_kept() {
        let buffers = Buffers::default();
        let mut first = buffers.take(1 << 20);
        first[0] = 7;
        buffers.give(first);
        let again = buffers.take(1 << 19);
        assert_eq!((again.len(), again[0], again.capacity()), (1 << 19, 7, 1 << 20));
        (0..2 * KEPT_MAX).for_each(|_| buffers.give(vec![0; 1 << 20]));
        buffers.give(vec![0; 100]);
        assert_eq!(lock(&buffers.0).len(), KEPT_MAX);
        assert!(buffers.take(100).capacity() < KEPT_BYTES_MIN);
    }
}
