//! Memory for what goes to a peer at once.

use super::buffers::Buffers;
use crate::library::piece::PIECE_BYTES;

/// What goes to a peer at once, in a buffer that is used again: it is not cleared before it is filled.
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) filled: usize,
    head: Vec<u8>,
}

impl From<Vec<u8>> for Batch {
    fn from(bytes: Vec<u8>) -> Self {
        Self { filled: bytes.len(), bytes, head: Vec::new() }
    }
}

impl Batch {
    pub(super) fn new(buffers: &Buffers) -> Self {
        Self { bytes: buffers.take(PIECE_BYTES as usize), filled: 0, head: Vec::new() }
    }

    /// So many bytes, to be filled.
    pub(super) fn room(&mut self, bytes: usize) -> &mut [u8] {
        let start = self.filled;
        self.filled += bytes;
        if self.bytes.len() < self.filled {
            self.bytes.resize(self.filled, 0);
        }
        &mut self.bytes[start..self.filled]
    }

    /// A message, or the beginning of one.
    pub(super) fn put(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        let mut head = std::mem::take(&mut self.head);
        put(&mut head);
        self.room(head.len()).copy_from_slice(&head);
        head.clear();
        self.head = head;
    }
}
