//! Two links and the pipes between them.

mod lives;
mod random;
mod rules;

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::*;

/// Two ends; what one writes waits in a pipe until it is let through.
struct Pair {
    now: Instant,
    ends: [Link; 2],
    pipes: [BytesMut; 2],
}

impl Pair {
    fn new() -> Self {
        Self { now: Instant::now(), ends: Default::default(), pipes: Default::default() }
    }

    /// Lets one end write up to `budget_bytes` into its pipe.
    fn write(&mut self, end: usize, budget_bytes: usize) {
        let mut batch = Batch::default();
        self.ends[end].fill(budget_bytes, &mut batch);
        for part in batch.take() {
            self.pipes[end].extend_from_slice(&part);
        }
    }

    /// Hands at most `bytes` of what an end wrote to the other.
    fn carry(&mut self, end: usize, bytes: usize) {
        let bytes = bytes.min(self.pipes[end].len());
        let mut part = self.pipes[end].split_to(bytes);
        let rest = self.pipes[end].split();
        self.ends[1 - end].handle_bytes(self.now, &mut part).expect("honest");
        // What is left of the part is the start of a frame.
        self.pipes[end] = part;
        self.pipes[end].extend_from_slice(&rest);
    }

    /// Everything that wants to goes through.
    fn settle(&mut self) {
        for _ in 0..100 {
            let mut quiet = true;
            for end in 0..2 {
                self.write(end, 1 << 20);
                quiet &= self.pipes[end].is_empty();
                self.carry(end, usize::MAX);
            }
            if quiet {
                return;
            }
        }
        panic!("never quiet");
    }

    fn open(&mut self, end: usize, id: u64, config: StreamConfig) -> Key {
        self.ends[end].open(self.now, StreamId(id), config).expect("opens").key
    }

    /// Opens an id at both ends.
    fn both(&mut self, id: u64, config: StreamConfig) -> [Key; 2] {
        let keys = [self.open(0, id, config), self.open(1, id, config)];
        self.settle();
        keys
    }

    fn send(&mut self, end: usize, key: Key, payload: &[u8]) -> Result<(), TrySendError> {
        self.ends[end].try_send(self.now, key, &Bytes::copy_from_slice(payload))
    }

    fn read(&mut self, end: usize, key: Key) -> Read {
        self.ends[end].read(self.now, key)
    }

    /// Everything there is to read now.
    fn read_all(&mut self, end: usize, key: Key) -> Vec<Message> {
        std::iter::from_fn(|| match self.read(end, key) {
            Read::Message(message) => Some(message),
            _ => None,
        })
        .collect()
    }

    /// Sends until it is refused; says how many on-wire bytes went.
    fn flood(&mut self, end: usize, key: Key, length: usize) -> u64 {
        let mut sent = 0;
        while self.send(end, key, &vec![0; length]).is_ok() {
            sent += frame::message_bytes(length);
        }
        sent
    }

    fn stats(&self, end: usize, key: Key) -> StreamStats {
        self.ends[end].stats(key).expect("is there")
    }
}

fn fixed(bytes: u32) -> StreamConfig {
    StreamConfig::default().fixed_window(bytes)
}

fn message(seq: u64, payload: &'static [u8]) -> Read {
    Read::Message(Message { seq, payload: Bytes::from_static(payload) })
}
