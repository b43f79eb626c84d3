//! The network between the hosts: how long a packet takes, and who reaches whom.

use std::collections::BTreeSet;

use crate::queue::{MS, Nanos};

/// What the network is like.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// One-way latency of the nearest and of the farthest pair.
    pub latency: (Nanos, Nanos),
    /// Greatest addition to it, drawn a packet.
    pub jitter: Nanos,
    /// Packets lost, of 1000; a lost packet is sent again after a while, as TCP does it.
    pub loss: u32,
    /// Nanoseconds that a host needs to send a byte.
    pub ns_per_byte: u64,
}

impl Default for Weather {
    /// A LAN: 0.5–2 ms one way, 1 Gbit/s.
    fn default() -> Self {
        Self { latency: (MS / 2, 2 * MS), jitter: MS / 10, loss: 0, ns_per_byte: 8 }
    }
}

/// What TCP waits before it sends a lost packet again, if nothing tells it earlier.
const RETRANSMIT: Nanos = 200 * MS;

/// Who reaches whom, and how fast.
#[derive(Debug)]
pub struct Network {
    /// What it is like now.
    pub weather: Weather,
    rng: fastrand::Rng,
    salt: u64,
    /// The side of each host in a partition; hosts of different sides do not reach each other.
    sides: Vec<u8>,
    /// Directions that are blocked beside that.
    cut: BTreeSet<(u32, u32)>,
    /// Hosts that nothing reaches and nothing comes from.
    isolated: BTreeSet<u32>,
}

impl Network {
    pub(crate) fn new(weather: Weather, mut rng: fastrand::Rng) -> Self {
        let salt = rng.u64(..);
        Self { weather, rng, salt, sides: Vec::new(), cut: BTreeSet::new(), isolated: BTreeSet::new() }
    }

    /// One-way latency of a pair, without jitter; the same in both directions.
    #[must_use]
    pub fn base_latency(&self, a: u32, b: u32) -> Nanos {
        let (least, most) = self.weather.latency;
        let pair = (u64::from(a.min(b)) << 32 | u64::from(a.max(b))) ^ self.salt;
        let mixed = pair.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        least + (mixed ^ (mixed >> 31)) % (most - least + 1)
    }

    /// How long a packet is under way, retransmissions included.
    pub(crate) fn transit(&mut self, from: u32, to: u32) -> Nanos {
        let base = self.base_latency(from, to);
        let mut time = base + if self.weather.jitter == 0 { 0 } else { self.rng.u64(..self.weather.jitter) };
        while self.weather.loss > 0 && self.rng.u32(..1000) < self.weather.loss {
            // A packet that others follow is missed at once, the last one only by its timer.
            time += if self.rng.bool() { 2 * base } else { RETRANSMIT };
        }
        time
    }

    /// Whether packets get from one host to another.
    #[must_use]
    pub fn reaches(&self, from: u32, to: u32) -> bool {
        let side = |host: u32| self.sides.get(host as usize).copied().unwrap_or(0);
        side(from) == side(to)
            && !self.cut.contains(&(from, to))
            && !(self.isolated.contains(&from) || self.isolated.contains(&to))
    }

    /// Splits the network: hosts of different sides do not reach each other.
    pub fn split(&mut self, sides: Vec<u8>) {
        self.sides = sides;
    }

    /// Blocks one direction.
    pub fn cut(&mut self, from: u32, to: u32) {
        self.cut.insert((from, to));
    }

    /// Pulls a host's cable, or puts it back.
    pub fn isolate(&mut self, host: u32, isolated: bool) {
        if isolated {
            self.isolated.insert(host);
        } else {
            self.isolated.remove(&host);
        }
    }

    /// Everyone reaches everyone again.
    pub fn heal(&mut self) {
        self.sides.clear();
        self.cut.clear();
        self.isolated.clear();
    }

    /// Whether everyone reaches everyone.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.sides.is_empty() && self.cut.is_empty() && self.isolated.is_empty()
    }
}
