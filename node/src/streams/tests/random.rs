//! Many short random histories, checked against what each end knows it did; and random bytes.

use std::collections::BTreeMap;

use super::*;

/// What one end's handle of a life was used for.
#[derive(Default)]
struct Life {
    /// Marks every message: unlike any other life's.
    mark: u8,
    sent: u64,
    /// By the mark of whoever sent: how many were read.
    heard: BTreeMap<u8, u64>,
    over: bool,
}

struct History {
    pair: Pair,
    rng: fastrand::Rng,
    lives: [BTreeMap<u64, (Key, Life)>; 2],
    marks: u8,
    delivered: u64,
}

const IDS: u64 = 3;

impl History {
    fn step(&mut self) {
        let (end, id) = (self.rng.usize(..2), self.rng.u64(..IDS));
        match self.rng.u32(..20) {
            0 => self.open(end, id),
            1 => self.close(end, id),
            2..=8 => self.send(end, id),
            9..=13 => self.read(end, id),
            14..=16 => {
                let budget = self.rng.usize(1..3000);
                self.pair.write(end, budget);
            }
            _ => {
                let bytes = self.rng.usize(1..3000);
                self.pair.carry(end, bytes);
            }
        }
        for link in &mut self.pair.ends {
            while link.poll_event().is_some() {}
        }
    }

    fn open(&mut self, end: usize, id: u64) {
        let window = self.rng.u32(100..2000);
        let config = if self.rng.bool() { fixed(window) } else { StreamConfig { window, ..StreamConfig::default() } };
        let Ok(opened) = self.pair.ends[end].open(self.pair.now, StreamId(id), config) else { return };
        if self.lives[end].get(&id).is_none_or(|(key, _)| *key != opened.key) {
            self.marks += 1;
            self.lives[end].insert(id, (opened.key, Life { mark: self.marks, ..Life::default() }));
        }
    }

    fn close(&mut self, end: usize, id: u64) {
        let Some((key, life)) = self.lives[end].get_mut(&id) else { return };
        let drain = self.rng.bool();
        let behavior = if drain { CloseBehavior::DrainThenClose } else { CloseBehavior::DropAndClose };
        self.pair.ends[end].close(*key, behavior);
        life.over = true;
    }

    fn send(&mut self, end: usize, id: u64) {
        let Some((key, life)) = self.lives[end].get_mut(&id) else { return };
        let before = self.pair.ends[end].stats(*key);
        let mut payload = vec![life.mark; self.rng.usize(9..400)];
        payload[1..9].copy_from_slice(&life.sent.to_be_bytes());
        match self.pair.send(end, *key, &payload) {
            Ok(()) => {
                assert!(!life.over);
                life.sent += 1;
            }
            Err(TrySendError::NotConnected) => {}
            Err(_) => {
                let (before, after) = (before.expect("is there"), self.pair.stats(end, *key));
                assert_eq!((before.credit_left, before.tx_seq), (after.credit_left, after.tx_seq));
            }
        }
    }

    fn read(&mut self, end: usize, id: u64) {
        let Some((key, life)) = self.lives[end].get_mut(&id) else { return };
        if let Read::Message(message) = self.pair.ends[end].read(self.pair.now, *key) {
            assert!(!life.over, "a closed handle reads nothing");
            let count = life.heard.entry(message.payload[0]).or_default();
            assert_eq!(message.payload[1..9], count.to_be_bytes(), "in order, none missing, none twice");
            *count += 1;
            assert_eq!(life.heard.len(), 1, "one life hears one life");
            self.delivered += 1;
        }
        if let Some(stats) = self.pair.ends[end].stats(*key) {
            assert!(stats.rx_pending_bytes <= stats.rx_window);
        }
    }
}

#[test]
fn random_histories_keep_every_promise_b2_b3_b7_b9() {
    let mut delivered = 0;
    for seed in 0..400 {
        let rng = fastrand::Rng::with_seed(seed);
        let lives = [BTreeMap::new(), BTreeMap::new()];
        let mut history = History { pair: Pair::new(), rng, lives, marks: 0, delivered: 0 };
        for _ in 0..2000 {
            if history.marks == u8::MAX {
                break;
            }
            history.step();
        }
        history.pair.settle();
        // However it went, the ids can be used again.
        for id in 0..IDS {
            for end in 0..2 {
                if let Some((key, _)) = history.lives[end].remove(&id) {
                    history.pair.ends[end].close(key, CloseBehavior::DropAndClose);
                }
            }
        }
        history.pair.settle();
        while let Some((key, _)) = history.pair.ends[0].accept(history.pair.now) {
            history.pair.ends[0].close(key, CloseBehavior::DropAndClose);
        }
        while let Some((key, _)) = history.pair.ends[1].accept(history.pair.now) {
            history.pair.ends[1].close(key, CloseBehavior::DropAndClose);
        }
        history.pair.settle();
        for id in 0..IDS {
            let [a, b] = history.pair.both(id, fixed(1000));
            history.pair.send(0, a, b"again").unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            history.pair.settle();
            assert_eq!(history.pair.read(1, b), message(0, b"again"), "seed {seed}");
        }
        delivered += history.delivered;
    }
    assert!(delivered > 10_000, "the histories are worth something: {delivered}");
}

#[test]
fn random_bytes_never_panic_and_hold_no_more_than_is_granted_b3() {
    let mut rng = fastrand::Rng::with_seed(5);
    for _ in 0..300 {
        let (now, mut link) = (Instant::now(), Link::default());
        let key = link.open(now, StreamId(1), fixed(500)).expect("opens").key;
        let mut wire = BytesMut::new();
        for _ in 0..200 {
            let kind = rng.choice([0u8, 1, 2, 3, 3, 3, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85]).expect("some");
            let mut frame = vec![kind];
            // Small numbers, so that they hit.
            frame.extend((0..22).map(|at| if at % 4 == 3 { rng.u8(..4) } else { u8::from(rng.u8(..50) == 0) }));
            let body = match kind {
                0..=3 => 10 + usize::from(frame[10]),
                0x80 => 21,
                0x81 | 0x82 => 12,
                0x83 => 9,
                0x84 => 8,
                _ => 4,
            };
            frame.resize(1 + body, 0);
            wire.extend_from_slice(&frame);
            if link.handle_bytes(now, &mut wire).is_err() {
                break;
            }
            if rng.u8(..4) == 0 {
                link.fill(1000, &mut Batch::default());
            }
            while let Some(event) = link.poll_event() {
                if event == Event::Incoming
                    && let Some((key, _)) = link.accept(now)
                {
                    link.read(now, key);
                }
            }
            if let Some(stats) = link.stats(key) {
                assert!(stats.rx_pending_bytes <= stats.rx_window && stats.credit_left <= 500);
            }
        }
    }
}
