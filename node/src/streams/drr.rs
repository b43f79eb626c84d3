//! Deficit round robin (Shreedhar and Varghese, 1996): each turn adds `weight` quanta of bytes to what a
//! queue may send; what it does not use for want of a large enough share it keeps for its next turn.
//!
//! The scheduler holds keys, not queues, so it can serve whatever has a next frame of known size.

use std::collections::VecDeque;

/// Bytes that a turn is worth for each unit of weight.
pub const QUANTUM_BYTES: usize = 1024;

/// Whose turn it is. Holds one entry a busy queue.
#[derive(Debug)]
pub struct Drr<K> {
    ring: VecDeque<Turn<K>>,
}

#[derive(Debug)]
struct Turn<K> {
    key: K,
    quantum: usize,
    deficit: usize,
    /// The quantum of this turn was added already.
    begun: bool,
}

impl<K> Default for Drr<K> {
    fn default() -> Self {
        Self { ring: VecDeque::new() }
    }
}

impl<K: Copy> Drr<K> {
    /// A queue has something to send from now on. It must not be in the ring.
    pub fn push(&mut self, key: K, weight: u8) {
        let quantum = usize::from(weight.max(1)) * QUANTUM_BYTES;
        self.ring.push_back(Turn { key, quantum, deficit: 0, begun: false });
    }

    /// Whether no queue is in the ring.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Which queue sends its next frame now. `next_bytes` says how large that is; a queue for which it
    /// says `None` leaves the ring and its deficit is forgotten.
    pub fn next(&mut self, mut next_bytes: impl FnMut(K) -> Option<usize>) -> Option<K> {
        loop {
            let turn = self.ring.front_mut()?;
            let Some(bytes) = next_bytes(turn.key) else {
                self.ring.pop_front();
                continue;
            };
            if !std::mem::replace(&mut turn.begun, true) {
                turn.deficit += turn.quantum;
            }
            if bytes <= turn.deficit {
                turn.deficit -= bytes;
                return Some(turn.key);
            }
            turn.begun = false;
            self.ring.rotate_left(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that each queue sends of `total`, when none ever runs dry.
    fn shares(queues: &[(u8, usize)], total: usize) -> Vec<usize> {
        let mut drr = Drr::default();
        for (key, (weight, _)) in queues.iter().enumerate() {
            drr.push(key, *weight);
        }
        let mut sent = vec![0; queues.len()];
        while sent.iter().sum::<usize>() < total {
            let key = drr.next(|key: usize| Some(queues[key].1)).expect("none is dry");
            sent[key] += queues[key].1;
        }
        sent
    }

    #[test]
    fn shares_follow_weights_whatever_the_size_of_messages_b6() {
        let sent = shares(&[(1, 100), (2, 32_000), (4, 1_000), (0, 7)], 80_000_000);
        for (sent, weight) in sent.iter().zip([1, 2, 4, 1]) {
            let fair = 10_000_000 * weight;
            assert!(sent.abs_diff(fair) < fair / 50, "{sent} of {fair}");
        }
    }

    #[test]
    fn the_least_weight_is_never_starved_b6() {
        let sent = shares(&[(255, 32_768), (1, 32_768)], 40_000_000);
        assert!(sent[1] > 0, "{sent:?}");
        assert!(sent[0] / 255 <= sent[1] + 32_768, "{sent:?}");
    }

    #[test]
    fn an_idle_queue_saves_nothing_up_b6() {
        let mut drr = Drr::default();
        drr.push('a', 1);
        assert_eq!(drr.next(|_| None), None);
        drr.push('a', 1);
        drr.push('b', 1);
        let turns: Vec<char> = (0..4).filter_map(|_| drr.next(|_| Some(QUANTUM_BYTES))).collect();
        assert_eq!(turns, ['a', 'b', 'a', 'b']);
    }
}
