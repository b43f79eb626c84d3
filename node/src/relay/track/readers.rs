//! The readers of a track: children and subscribers, what they are owed, and what becomes of those that do not take it.

use std::time::Instant;

use banyan_gossip::PeerId;

use super::{Mode, Track};
use crate::relay::{
    frame::Frame,
    ring::{Cursor, Position},
};

/// Most claims of lost readers kept at a time; the oldest gives way.
const HOLDS_MAX: usize = 64;

/// Where a reader starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the next object.
    Latest,
    /// With the oldest object that is held.
    Oldest,
    /// With the first object that is not stable: what a relay must hold to be of use to others.
    Stable,
    /// With this object.
    Id(u64),
}

/// Names a reader of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReaderId(u64);

/// Who claims what a child has not consumed: a peer, and which of its processes. One that was started again knows nothing of
/// those who were below it.
pub type Owner = (PeerId, u64);

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReaderKind {
    /// A child, with all below it.
    Child,
    /// A subscriber at this node.
    Local,
}

/// What a reader gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// The next frame: a chunk or a gap.
    Frame(Frame),
    /// Nothing more for now.
    Wait,
    /// Nothing follows: the track ended.
    Ended,
    /// The reader held up the track for too long.
    CutOff,
}

#[derive(Debug)]
pub(super) struct Reader {
    pub(super) kind: ReaderKind,
    /// Whose claim it is, if somebody may be back with it.
    owner: Option<Owner>,
    pub(super) cursor: Cursor,
    /// Consumed below this id.
    acked: u64,
    /// As far as the reader says to have consumed. A child that moves here has more from its former
    /// parent than this one may have sent it yet; what it says counts as soon as it can be true.
    claimed: u64,
    /// `acked` grew while reading.
    caught_up: bool,
    /// When `acked` last grew, or the reader had nothing left to consume.
    moved: Instant,
    cut_off: bool,
    /// Its claim does not count for now.
    lapsed: bool,
    /// From here on it has to be told that what it read is void.
    pub(super) retract: Option<Position>,
}

/// The claim of a lost reader.
#[derive(Debug)]
pub(super) struct Hold {
    owner: Option<Owner>,
    /// It has consumed what is below this id.
    acked: u64,
    until: Instant,
}

impl Reader {
    const fn has_claim(&self) -> bool {
        !self.cut_off && !self.lapsed
    }

    /// Acknowledges what is both claimed and read. Says whether that is more than before.
    fn follow_claim(&mut self) -> bool {
        let acked = self.claimed.min(self.cursor.id());
        let grew = acked > self.acked;
        self.acked = self.acked.max(acked);
        grew
    }
}

impl Track {
    /// Adds a reader. Returns its name and the first object id that it may get.
    pub fn open_reader(&mut self, now: Instant, kind: ReaderKind, start: Start) -> (ReaderId, u64) {
        let id = match start {
            Start::Latest => self.newest(),
            Start::Oldest => self.ring.oldest(),
            Start::Stable => match self.mode {
                Mode::Reliable => self.stable.clamp(self.ring.oldest(), self.newest()),
                Mode::Live => self.newest(),
            },
            Start::Id(id) => id,
        };
        let (cursor, id) = match kind {
            ReaderKind::Child => self.ring.group_cursor(id, matches!(start, Start::Id(_))),
            ReaderKind::Local => (self.ring.cursor(id), id),
        };
        let name = ReaderId(self.next_reader);
        self.next_reader += 1;
        // What a child holds already, those below it need not have consumed: until it says how far
        // they are, it owes everything that is not stable.
        let acked = match (kind, self.mode) {
            (ReaderKind::Child, Mode::Reliable) => id.min(self.stable),
            _ => id,
        };
        let reader = Reader {
            kind,
            owner: None,
            cursor,
            acked,
            claimed: acked,
            caught_up: false,
            moved: now,
            cut_off: false,
            lapsed: false,
            retract: None,
        };
        self.readers.insert(name, reader);
        self.keep(self.acked());
        (name, id)
    }

    /// Says whose claim a reader's is. One that the same process left behind stands no longer: this reader's covers it.
    pub fn set_owner(&mut self, name: ReaderId, owner: Owner) {
        if let Some(reader) = self.readers.get_mut(&name) {
            reader.owner = Some(owner);
            self.holds.retain(|hold| hold.owner != Some(owner));
            self.follow_acks();
        }
    }

    /// Removes a reader. A lost one (`hold`) keeps its claim for a while, unless its owner is back already.
    pub fn close_reader(&mut self, now: Instant, name: ReaderId, hold: bool) {
        let Some(reader) = self.readers.remove(&name) else {
            return;
        };
        // Also one that had consumed everything: it needs what comes until it is back.
        let mut later = self.readers.range(name..).map(|(_, other)| other);
        let is_back = reader.owner.is_some() && later.any(|other| other.owner == reader.owner && other.has_claim());
        if hold && self.mode == Mode::Reliable && reader.has_claim() && !is_back {
            if self.holds.len() == HOLDS_MAX {
                self.holds.remove(0);
            }
            self.holds.push(Hold { owner: reader.owner, acked: reader.acked, until: now + self.config.hold });
        }
        self.follow_acks();
    }

    /// The next thing for a reader, in whole runs; to a live subscriber one object after the other, since it may still
    /// miss those that it has not taken. A name that is not open reads [`Read::CutOff`].
    pub fn read(&mut self, name: ReaderId) -> Read {
        let Some(reader) = self.readers.get_mut(&name).filter(|reader| !reader.cut_off) else {
            return Read::CutOff;
        };
        if let Some(place) = reader.retract.take() {
            return Read::Frame(Frame::Retract(place));
        }
        let frame = match (reader.kind, self.mode) {
            (ReaderKind::Local, Mode::Live) => self.ring.read_single(&mut reader.cursor),
            _ => self.ring.read(&mut reader.cursor),
        };
        match frame {
            Some(frame) => {
                if reader.follow_claim() {
                    reader.caught_up = true;
                    self.follow_acks();
                }
                Read::Frame(frame)
            }
            None if self.end.is_some_and(|end| reader.cursor.id() >= end) && self.ring.may_end() => Read::Ended,
            None => Read::Wait,
        }
    }

    /// A reader has consumed everything below `id`. Stale ids change nothing, and what was not read
    /// yet does not count as consumed.
    pub fn ack(&mut self, now: Instant, name: ReaderId, id: u64) {
        let Some(reader) = self.readers.get_mut(&name) else {
            return;
        };
        reader.claimed = reader.claimed.max(id);
        if reader.follow_claim() {
            reader.moved = now;
            self.follow_acks();
        }
    }

    /// Whether the claim of a child counts. That of one which does not answer any more should not, after
    /// [`TrackConfig::hold`](super::TrackConfig::hold): those below it have had the time to turn up elsewhere, and everybody else waits for it. If it is
    /// heard again, it gets what the ring still holds, and is told of the rest.
    pub fn set_lapsed(&mut self, name: ReaderId, lapsed: bool) {
        if let Some(reader) = self.readers.get_mut(&name)
            && std::mem::replace(&mut reader.lapsed, lapsed) != lapsed
        {
            self.follow_acks();
        }
    }

    /// Below this id, all readers here have consumed everything: what to tell the parent.
    #[must_use]
    pub fn acked(&self) -> u64 {
        let readers = self.readers.values().filter(|reader| reader.has_claim()).map(|reader| reader.acked);
        let held = self.holds.iter().map(|hold| hold.acked);
        readers.chain(held).min().unwrap_or(u64::MAX).min(self.ring.verified().id)
    }

    /// Whether nobody here or below will ask a parent for what is below this id.
    #[must_use]
    pub fn has_consumed(&self, id: u64) -> bool {
        self.mode == Mode::Live || self.acked() >= id
    }

    /// Lets claims expire, cuts off laggards, evicts by age. Call often: while a claim stands, the
    /// publisher may be waiting. Returns whether readers or the parent have to know.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        let before = (self.holds.len(), self.readers.values().filter(|reader| reader.cut_off).count());
        self.holds.retain(|hold| hold.until > now);
        self.ring.evict(now);
        if self.mode == Mode::Live {
            return false;
        }
        let (newest, laggard) = (self.newest(), self.config.laggard);
        for reader in self.readers.values_mut() {
            if reader.acked >= newest || std::mem::take(&mut reader.caught_up) {
                reader.moved = now;
            }
            // A child waits for its own laggards, so it gets twice their time.
            let patience = if reader.kind == ReaderKind::Child { 2 * laggard } else { laggard };
            reader.cut_off |= now.saturating_duration_since(reader.moved) > patience;
        }
        self.follow_acks();
        before != (self.holds.len(), self.readers.values().filter(|reader| reader.cut_off).count())
    }
}
