//! The one event queue: by time, then in the order in which events were made.

use std::{cmp::Reverse, collections::BinaryHeap};

/// Virtual time in nanoseconds since the world began.
pub type Nanos = u64;

/// A millisecond.
pub const MS: Nanos = 1_000_000;
/// A second.
pub const SECOND: Nanos = 1_000 * MS;

/// Events to come. Of two at the same time, the one that was pushed first comes first.
#[derive(Debug)]
pub struct Queue<E> {
    order: BinaryHeap<Reverse<(Nanos, u64, u32)>>,
    events: Vec<Option<E>>,
    free: Vec<u32>,
    pushed: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { order: BinaryHeap::new(), events: Vec::new(), free: Vec::new(), pushed: 0 }
    }
}

impl<E> Queue<E> {
    /// Adds an event.
    pub fn push(&mut self, at: Nanos, event: E) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            u32::try_from(self.events.len() - 1).expect("fewer than 2^32 events wait")
        });
        self.events[slot as usize] = Some(event);
        self.order.push(Reverse((at, self.pushed, slot)));
        self.pushed += 1;
    }

    /// Takes the next event if it is not later than `end`.
    pub fn pop_until(&mut self, end: Nanos) -> Option<(Nanos, E)> {
        let Reverse((at, _, slot)) = *self.order.peek()?;
        if at > end {
            return None;
        }
        self.order.pop();
        self.free.push(slot);
        Some((at, self.events[slot as usize].take().expect("each event is taken once")))
    }

    /// Events waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}
