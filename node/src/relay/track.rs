//! One epoch of a track at one node: the ring, its readers, and what is owed to them.
//!
//! How a reliable track loses nothing: each node tells its parent below which id it and all below
//! it have consumed everything (an acknowledgement, the minimum over its readers). The origin takes
//! the minimum of all as *stable* and tells it down the tree. Every ring keeps what is not stable,
//! and the origin publishes at most [`TrackConfig::window_bytes`] beyond stable. So whatever an
//! orphan still needs is in the ring of whichever parent it finds. A child that vanishes keeps its
//! claim for [`TrackConfig::hold`], the time it has to turn up elsewhere; one that falls silent on an open stream, likewise.
//!
//! A live track has no acknowledgements: rings keep the recent past, and a reader that falls
//! behind it gets a gap.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};

use self::readers::{Hold, Reader};
use super::{
    Integrity, Mode,
    frame::{self, Chunk},
    ring::{Position, Push, Ring, RingConfig},
    seal::{Group, Seal, TAIL_BYTES_MAX},
};
pub use readers::{Owner, Read, ReaderId, ReaderKind, Start};

mod readers;

/// How a track is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackConfig {
    /// The ring.
    pub ring: RingConfig,
    /// Most bytes of a reliable track that may be published and not yet stable. An object larger
    /// than this is published when everything before it is stable.
    pub window_bytes: usize,
    /// How long a lost reader keeps its claim on a reliable track.
    pub hold: Duration,
    /// A reader of a reliable track that consumes nothing of what is there for this long is cut off.
    pub laggard: Duration,
}

impl Default for TrackConfig {
    fn default() -> Self {
        Self {
            ring: RingConfig::default(),
            window_bytes: RingConfig::default().bytes_max,
            hold: Duration::from_millis(1_500),
            laggard: Duration::from_secs(30),
        }
    }
}

/// Where the stored chunks came from, for measuring the gap of a repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch {
    /// The ticket of the parent that delivered first after another.
    pub ticket: u64,
    /// From the last chunk of the former parent to the first of this one.
    pub gap: Duration,
}

/// Counters since the start of the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Objects received or published.
    pub objects: u64,
    /// Payload bytes received or published.
    pub bytes: u64,
    /// Objects that came again and were dropped.
    pub duplicates: u64,
    /// Objects reported as missing.
    pub missing: u64,
}

/// One epoch of a track at one node.
#[derive(Debug)]
pub struct Track {
    config: TrackConfig,
    mode: Mode,
    integrity: Integrity,
    /// Whether this node publishes it.
    origin: bool,
    ring: Ring,
    /// The id after the last object, once the end is known.
    end: Option<u64>,
    readers: BTreeMap<ReaderId, Reader>,
    next_reader: u64,
    /// Claims of lost readers.
    holds: Vec<Hold>,
    stable: u64,
    /// Bytes that the origin has published below `stable`, headers included.
    stable_bytes: u64,
    counters: Counters,
    last_stored: Option<(Instant, u64)>,
    /// What the streams of the last parents have brought: ticket, and the id after the newest object.
    brought: VecDeque<(u64, u64)>,
    switch: Option<Switch>,
}

/// Parents whose streams are told apart: one, another on trial, and what is on its way from former ones.
const PARENTS_MAX: usize = 4;

impl Track {
    /// A track that comes from a parent, and whose first object is to be `from`.
    #[must_use]
    pub fn new(config: TrackConfig, mode: Mode, from: u64) -> Self {
        Self::with_role(config, mode, Integrity::None, from, false)
    }

    /// The same of a track that its origin signs.
    #[must_use]
    pub fn new_signed(config: TrackConfig, mode: Mode, from: u64) -> Self {
        Self::with_role(config, mode, Integrity::Signed, from, false)
    }

    /// A track that this node publishes, from object 0 on.
    #[must_use]
    pub fn new_origin(config: TrackConfig, mode: Mode) -> Self {
        Self::with_role(config, mode, Integrity::None, 0, true)
    }

    /// The same of a track that this node signs: whoever calls [`Track::publish`] sees to [`Track::next_group`].
    #[must_use]
    pub fn new_signing_origin(config: TrackConfig, mode: Mode) -> Self {
        Self::with_role(config, mode, Integrity::Signed, 0, true)
    }

    fn with_role(config: TrackConfig, mode: Mode, integrity: Integrity, from: u64, origin: bool) -> Self {
        let ring = match integrity {
            Integrity::Signed => Ring::new_signed(config.ring, from),
            Integrity::None => Ring::new(config.ring, from),
        };
        let mut track = Self {
            config,
            mode,
            integrity,
            origin,
            ring,
            end: None,
            readers: BTreeMap::new(),
            next_reader: 0,
            holds: Vec::new(),
            stable: from,
            stable_bytes: 0,
            counters: Counters::default(),
            last_stored: None,
            brought: VecDeque::new(),
            switch: None,
        };
        track.keep(from);
        track
    }

    /// What happens to readers that cannot keep up.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether its origin signs it.
    #[must_use]
    pub const fn integrity(&self) -> Integrity {
        self.integrity
    }

    /// The ring, to look at.
    #[must_use]
    pub const fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The id after the last object, once the end is known.
    #[must_use]
    pub const fn end(&self) -> Option<u64> {
        self.end
    }

    /// Below this id everyone has consumed everything.
    #[must_use]
    pub const fn stable(&self) -> u64 {
        self.stable
    }

    /// Counters since the start of the epoch.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// The id after the newest object of which anything may be believed.
    #[must_use]
    pub fn newest(&self) -> u64 {
        match self.integrity {
            Integrity::None => self.ring.newest(),
            Integrity::Signed => {
                let place = self.ring.verified();
                place.id + u64::from(place.chunk > 0)
            }
        }
    }

    /// Number of readers of a kind.
    #[must_use]
    pub fn readers(&self, kind: ReaderKind) -> usize {
        self.readers.values().filter(|reader| reader.kind == kind).count()
    }

    /// The last change of the delivering parent, taken.
    pub fn take_switch(&mut self) -> Option<Switch> {
        self.switch.take()
    }

    // --- The origin's side -----------------------------------------------------------------

    /// Whether an object of `length` bytes may be published now.
    #[must_use]
    pub fn may_publish(&self, length: usize) -> bool {
        if self.ring.tail_bytes() >= TAIL_BYTES_MAX {
            return false;
        }
        let owed = self.owed_bytes();
        self.mode == Mode::Live || owed == 0 || owed + length <= self.config.window_bytes
    }

    /// Publishes the next object. Returns its id.
    pub fn publish(&mut self, now: Instant, payload: &[u8]) -> u64 {
        let id = self.ring.next().id;
        self.ring.publish(now, payload);
        self.counters.bytes += payload.len() as u64;
        self.counters.objects += 1;
        self.follow_acks();
        id
    }

    /// The origin's end: nothing is published after this.
    pub fn finish(&mut self) {
        self.end = Some(self.ring.next().id);
    }

    /// What the origin of a signed track has to seal next.
    #[must_use]
    pub fn next_group(&self) -> Option<Group> {
        self.ring.next_group()
    }

    /// At the origin, stable is what all readers have acknowledged.
    fn follow_acks(&mut self) {
        let acked = self.acked();
        if self.origin && acked > self.stable {
            self.stable = acked;
            self.stable_bytes = self.ring.appended() - self.ring.bytes_from(acked) as u64;
        }
        self.keep(acked);
    }

    /// Bytes in the origin's ring that somebody may still need.
    fn owed_bytes(&self) -> usize {
        usize::try_from(self.ring.appended() - self.stable_bytes).unwrap_or(usize::MAX)
    }

    // --- From the parent -------------------------------------------------------------------

    /// Takes a chunk from the parent of this ticket. `position` is its place in that stream.
    pub fn push(&mut self, now: Instant, ticket: u64, position: Position, chunk: Chunk) -> Push {
        let (count, completed, end) = (u64::from(chunk.count), u64::from(chunk.completed()), chunk.end());
        // Only a run may be stored of which some is here already.
        let known = self.ring.next().id.saturating_sub(position.id).min(count);
        let appended = self.ring.appended();
        let pushed = self.ring.push(now, position, chunk);
        if pushed != Push::Skipped {
            self.note_brought(ticket, end);
        }
        match pushed {
            Push::Stored => {
                let headers = (count - known) * frame::HEADER_BYTES as u64;
                self.counters.bytes += self.ring.appended() - appended - headers;
                self.counters.objects += completed.saturating_sub(known);
                self.counters.duplicates += known;
                if let Some((before, _)) = self.last_stored.filter(|(_, from)| *from != ticket) {
                    self.switch = Some(Switch { ticket, gap: now.saturating_duration_since(before) });
                }
                self.last_stored = Some((now, ticket));
            }
            Push::Duplicate => self.counters.duplicates += completed,
            Push::Skipped => {}
        }
        pushed
    }

    fn note_brought(&mut self, ticket: u64, next: u64) {
        match self.brought.iter_mut().find(|(known, _)| *known == ticket) {
            Some((_, brought)) => *brought = (*brought).max(next),
            None => {
                if self.brought.len() == PARENTS_MAX {
                    self.brought.pop_front();
                }
                self.brought.push_back((ticket, next));
            }
        }
    }

    /// What the streams of the last parents have brought, new or not: ticket, and the id after the newest object.
    pub fn brought(&self) -> impl Iterator<Item = (u64, u64)> {
        self.brought.iter().copied()
    }

    /// Takes a gap from the parent. Returns what is missing now, if anything is.
    ///
    /// # Errors
    /// [`Push::Skipped`] if the gap does not follow what is here.
    pub fn push_gap(&mut self, now: Instant, from: u64, to: u64) -> Result<Option<(u64, u64)>, Push> {
        let missing = self.ring.push_gap(now, from, to)?;
        self.after_cut();
        if let Some((from, to)) = missing {
            self.counters.missing += to - from;
        }
        Ok(missing)
    }

    /// Takes a seal that was verified for these chunks, or that this node has made.
    ///
    /// # Errors
    /// [`Push::Skipped`] if the group does not follow what is here.
    pub fn seal(&mut self, now: Instant, seal: Seal, chunks: &[Chunk]) -> Result<(), Push> {
        if self.ring.seal(now, seal, chunks) == Push::Skipped {
            return Err(Push::Skipped);
        }
        if seal.last {
            self.end = Some(seal.upto.id);
        }
        self.after_cut();
        self.follow_acks();
        Ok(())
    }

    /// Drops what is not sealed, from this place on.
    pub fn drop_from(&mut self, place: Position) {
        self.ring.drop_from(place);
        self.after_cut();
    }

    /// Drops what is not sealed: whoever sent it was found to lie.
    pub fn drop_tail(&mut self) {
        self.ring.drop_tail();
        self.after_cut();
    }

    /// Whoever has read what was dropped is to be told so.
    fn after_cut(&mut self) {
        let Some(cut) = self.ring.take_cut() else {
            return;
        };
        for reader in self.readers.values_mut() {
            if reader.cursor.go_back(cut) {
                reader.retract = Some(reader.retract.map_or(cut.position, |before| before.min(cut.position)));
            }
        }
    }

    /// The parent says that the track ends before `id`.
    pub fn set_end(&mut self, id: u64) {
        self.end = Some(id.max(self.ring.newest()));
    }

    /// The parent says that everything below `id` was consumed by everyone.
    pub fn set_stable(&mut self, id: u64) {
        self.stable = self.stable.max(id);
        self.keep(self.acked());
    }

    /// Stable may have passed readers here whose subtree moved and lagged behind: nobody but this
    /// node may still hold what they need.
    fn keep(&mut self, acked: u64) {
        let from = if self.mode == Mode::Reliable { self.stable.min(acked) } else { u64::MAX };
        self.ring.keep_from(from);
    }
}

/// Puts chunks together to objects again.
#[derive(Debug, Default)]
pub struct Assembler {
    parts: BytesMut,
}

impl Assembler {
    /// Takes the next frame of a local reader. Returns the objects that are complete with it.
    pub fn take<'a>(&mut self, chunk: &'a Chunk) -> impl Iterator<Item = (u64, Bytes)> + use<'a> {
        let is_whole = chunk.first && chunk.last;
        let assembled = if is_whole { None } else { self.put(chunk) };
        let whole = is_whole.then(|| chunk.payloads());
        whole.into_iter().flatten().chain(assembled.map(|object| (chunk.id, object)))
    }

    fn put(&mut self, chunk: &Chunk) -> Option<Bytes> {
        if chunk.first {
            self.parts.clear();
        }
        self.parts.extend_from_slice(&chunk.wire[frame::HEADER_BYTES..]);
        chunk.last.then(|| self.parts.split().freeze())
    }
}
