//! What is written in one go.

use bytes::{Bytes, BytesMut};

/// Bytes shorter than this are copied together to one write; longer ones are shared.
pub(crate) const COPY_BELOW_BYTES: usize = 16 * 1024;

/// Frames on their way into one write: small ones lie together, large ones are shared.
#[derive(Debug, Default)]
pub struct Batch {
    parts: Vec<Bytes>,
    /// What is copied together, after `parts`.
    small: BytesMut,
    bytes: usize,
}

impl Batch {
    /// Bytes in it.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Makes room for so many bytes of small frames at once. If all that was taken out before is gone, that is the same memory.
    pub fn reserve(&mut self, bytes: usize) {
        self.small.reserve(bytes);
    }

    /// Adds what is encoded.
    pub fn encode(&mut self, encode: impl FnOnce(&mut BytesMut)) {
        let before = self.small.len();
        encode(&mut self.small);
        self.bytes += self.small.len() - before;
    }

    /// Adds bytes that are encoded already.
    pub fn push(&mut self, bytes: &Bytes) {
        self.bytes += bytes.len();
        if bytes.len() < COPY_BELOW_BYTES {
            self.small.extend_from_slice(bytes);
        } else {
            self.cut();
            self.parts.push(bytes.clone());
        }
    }

    fn cut(&mut self) {
        if !self.small.is_empty() {
            self.parts.push(self.small.split().freeze());
        }
    }

    /// Takes everything out, in order.
    pub fn take(&mut self) -> Vec<Bytes> {
        self.cut();
        self.bytes = 0;
        std::mem::take(&mut self.parts)
    }
}
