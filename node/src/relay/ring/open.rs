//! What the origin publishes: small objects lie together in a run until somebody reads them.

use std::time::Instant;

use super::{Entry, Held, Position, RUN_PART, Ring};
use crate::relay::frame::{self, Chunk, HEADER_BYTES, RUN_BYTES_MAX};

/// Frames up to this size may lie together at their origin. Larger ones cost little for themselves.
pub(super) const OPEN_OBJECT_BYTES_MAX: usize = 4 * 1024;

/// Small objects of the origin that nobody has read yet: a run that may still grow.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) id: u64,
    pub(super) count: u32,
    pub(super) wire: Vec<u8>,
}

impl Open {
    pub(super) const fn end(&self) -> u64 {
        self.id + self.count as u64
    }

    fn close(&mut self) -> Chunk {
        let wire = std::mem::take(&mut self.wire).into_boxed_slice().into();
        Chunk { id: self.id, count: self.count, first: true, last: true, wire }
    }
}

impl Ring {
    /// Takes the next object, which this node publishes. Small ones that nobody has read yet are a run.
    pub fn publish(&mut self, now: Instant, payload: &[u8]) {
        let id = self.next.id;
        let bytes = HEADER_BYTES + payload.len();
        if self.seals.is_some() || bytes > OPEN_OBJECT_BYTES_MAX || id == u64::MAX {
            for (index, chunk) in (0..).zip(frame::chunks(id, payload)) {
                self.push(now, Position { id, chunk: index }, chunk);
            }
            return;
        }
        let most = RUN_BYTES_MAX.min(self.config.bytes_max / RUN_PART);
        match self.entries.back_mut() {
            Some(Entry { at, what: Held::Open(open), .. }) if open.wire.len() + bytes <= most => {
                frame::encode_whole(&mut open.wire, id, payload);
                open.count += 1;
                *at = now;
                self.count(bytes, 1);
            }
            _ => {
                let mut wire = Vec::with_capacity(bytes);
                frame::encode_whole(&mut wire, id, payload);
                self.hold(now, 0, Held::Open(Open { id, count: 1, wire }));
            }
        }
        self.next = Position { id: id + 1, chunk: 0 };
        self.evict(now);
    }

    pub(super) fn close_open(&mut self) {
        if let Some(Entry { what, .. }) = self.entries.back_mut()
            && let Held::Open(open) = what
        {
            *what = Held::Chunk(open.close());
        }
    }
}
