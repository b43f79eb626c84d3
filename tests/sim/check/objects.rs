//! What subscribers get is what was published: a contiguous run, except gaps that they were told
//! of, and nothing twice (A14, E1).

use std::collections::BTreeMap;

use banyan_gossip::TrackName;
use banyan_node::relay::Mode;

use crate::world::World;

/// What was published, and who got what.
#[derive(Debug, Default)]
pub struct Ledger {
    published: BTreeMap<(TrackName, u64), Publication>,
    /// By subscriber and epoch, the object that comes next: an epoch that is followed anew is no new one.
    readers: BTreeMap<(u32, TrackName, u64), u64>,
    /// Objects delivered to subscribers.
    pub delivered: u64,
    /// Objects that subscribers were told they missed.
    pub missed: u64,
}

#[derive(Debug)]
struct Publication {
    mode: Mode,
    objects: u64,
}

/// The payload of an object: it says which one it is.
#[must_use]
pub fn payload(epoch: u64, id: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![id as u8; length.max(16)];
    bytes[..8].copy_from_slice(&epoch.to_be_bytes());
    bytes[8..16].copy_from_slice(&id.to_be_bytes());
    bytes
}

impl Ledger {
    pub(super) fn died(&mut self, host: u32) {
        self.readers.retain(|(at, ..), _| *at != host);
    }

    pub(crate) fn stopped(&mut self, host: u32, track: &TrackName) {
        self.readers.retain(|(at, of, _), _| (*at, of) != (host, track));
    }

    pub(crate) fn published(&mut self, track: &TrackName, epoch: u64, mode: Mode, id: u64) {
        let key = (track.clone(), epoch);
        let publication = self.published.entry(key).or_insert(Publication { mode, objects: 0 });
        publication.objects = id + 1;
    }

    /// The object that a subscriber gets next, if it has got any of this epoch.
    #[must_use]
    pub fn next_of(&self, host: u32, track: &TrackName, epoch: u64) -> Option<u64> {
        self.readers.get(&(host, track.clone(), epoch)).copied()
    }

    /// Objects published under an epoch.
    #[must_use]
    pub fn objects(&self, track: &TrackName, epoch: u64) -> u64 {
        self.published.get(&(track.clone(), epoch)).map_or(0, |publication| publication.objects)
    }

    fn take(&mut self, host: u32, track: &TrackName, epoch: u64, from: u64, to: u64) -> Result<(), String> {
        match self.readers.insert((host, track.clone(), epoch), to) {
            Some(next) if from < next => Err(format!("host {host} got object {from} again, it had all below {next}")),
            Some(next) if from > next => {
                Err(format!("host {host} got object {from} and was not told of {next}..{from}"))
            }
            _ => Ok(()),
        }
    }
}

impl World {
    pub(crate) fn on_object(&mut self, host: u32, track: &TrackName, epoch: u64, id: u64, bytes: &[u8]) {
        self.measure.on_object(self.now, host);
        let ledger = &mut self.checks.ledger;
        ledger.delivered += 1;
        let known = id < ledger.objects(track, epoch) && bytes == payload(epoch, id, bytes.len());
        let taken = if known {
            ledger.take(host, track, epoch, id, id + 1)
        } else {
            Err(format!("host {host} got object {id} of epoch {epoch}, which nobody published so"))
        };
        if let Err(what) = taken {
            self.violated(&format!("{what} (A14)"));
        }
    }

    pub(crate) fn on_gap(&mut self, host: u32, track: &TrackName, epoch: u64, from: u64, to: u64) {
        let ledger = &mut self.checks.ledger;
        ledger.missed += to - from;
        if let Err(what) = ledger.take(host, track, epoch, from, to) {
            self.violated(&format!("{what} (a gap)"));
        }
    }

    /// Demands that a subscriber has got everything that was published in this epoch.
    pub fn demand_complete(&self, host: u32, track: &TrackName, epoch: u64) {
        let (objects, next) = (self.ledger().objects(track, epoch), self.ledger().next_of(host, track, epoch));
        if next.unwrap_or(0) != objects {
            self.violated(&format!("host {host} is at object {next:?} of {objects}"));
        }
    }

    /// Whether the publication was to lose nothing.
    #[must_use]
    pub fn is_reliable(&self, track: &TrackName, epoch: u64) -> bool {
        let publication = self.checks.ledger.published.get(&(track.clone(), epoch));
        publication.is_some_and(|publication| publication.mode == Mode::Reliable)
    }
}
