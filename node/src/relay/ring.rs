//! The recent objects of a track, in order, as chunks that are shared with all who read them.
//!
//! The ring of a signed track knows besides how far the origin's seals reach (see [`super::seal`]). What is
//! beyond them, the *tail*, is passed on to children but not handed to subscribers, and may be taken back.
//! Groups are evicted as a whole, so that whoever is sent the oldest objects can verify them.
//!
//! Small objects that came as a run are one entry, which is evicted as a whole and given to children as a whole; a reader
//! may stand in the middle of it. At the origin, what is published before anybody reads is one. A signed track has no runs.

use std::{
    cmp::Ordering,
    collections::VecDeque,
    time::{Duration, Instant},
};

use self::{open::Open, seals::Seals};
use super::{
    OBJECT_BYTES_MAX,
    frame::{self, Chunk, Frame, HEADER_BYTES},
};
pub use seals::Cut;

mod open;
mod seals;
#[cfg(test)]
mod tests;

/// What a gap counts as: it is an object and a frame like others, so that gaps alone fill no ring
/// beyond its bounds.
const GAP_BYTES: usize = HEADER_BYTES + 8;

/// A run is kept in pieces of at most this part of the ring, so that little more than what is over goes with the oldest.
const RUN_PART: usize = 16;

/// How much a ring keeps. The objects of a run go together: so it may be up to a run less than `bytes_max`, and up to a run
/// more than `objects_min`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingConfig {
    /// Objects younger than this are kept, within `bytes_max`.
    pub age_min: Duration,
    /// This many objects are kept even when older, within `bytes_max`.
    pub objects_min: usize,
    /// Most bytes kept. What a reliable track still owes to somebody may exceed it by as much
    /// again, plus one largest object; never more.
    pub bytes_max: usize,
}

impl Default for RingConfig {
    fn default() -> Self {
        Self { age_min: Duration::from_secs(5), objects_min: 256, bytes_max: 8 * 1024 * 1024 }
    }
}

impl RingConfig {
    /// Most bytes that a ring holds whatever happens.
    #[must_use]
    pub const fn bytes_hard_max(&self) -> usize {
        2 * self.bytes_max + OBJECT_BYTES_MAX
    }
}

/// A place in the order of chunks: the object and the chunk within it that come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The object.
    pub id: u64,
    /// Chunks of it that are before this place.
    pub chunk: u32,
}

impl Position {
    /// The place after a chunk that stands here.
    #[must_use]
    pub const fn after(self, chunk: &Chunk) -> Self {
        if chunk.last {
            Self { id: self.id + chunk.count as u64, chunk: 0 }
        } else {
            Self { id: self.id, chunk: self.chunk + 1 }
        }
    }
}

/// What became of a chunk or gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Push {
    /// It was next, and is kept; of a run, what was not here already.
    Stored,
    /// It is here already.
    Duplicate,
    /// Something before it is missing: the sender skipped without saying so.
    Skipped,
}

#[derive(Debug)]
struct Entry {
    at: Instant,
    /// Bytes appended in the ring's life before this entry.
    before: u64,
    /// Chunks of the object before this one.
    index: u32,
    what: Held,
}

impl Entry {
    const fn position(&self) -> Position {
        Position { id: self.what.id(), chunk: self.index }
    }
}

#[derive(Debug)]
enum Held {
    Chunk(Chunk),
    /// The last entry only.
    Open(Open),
    Gap {
        from: u64,
        to: u64,
    },
}

impl Held {
    const fn id(&self) -> u64 {
        match self {
            Self::Chunk(chunk) => chunk.id,
            Self::Open(open) => open.id,
            Self::Gap { from, .. } => *from,
        }
    }

    const fn end(&self) -> u64 {
        match self {
            Self::Chunk(chunk) => chunk.end(),
            Self::Open(open) => open.end(),
            Self::Gap { to, .. } => *to,
        }
    }

    /// What it counts as: bytes and objects.
    fn size(&self) -> (usize, usize) {
        match self {
            Self::Chunk(chunk) => (chunk.wire.len(), chunk.begun() as usize),
            Self::Open(open) => (open.wire.len(), open.count as usize),
            Self::Gap { .. } => (GAP_BYTES, 1),
        }
    }

    /// The last object that is evicted with it. A gap goes by where it begins.
    const fn last_id(&self) -> u64 {
        match self {
            Self::Chunk(_) | Self::Open(_) => self.end() - 1,
            Self::Gap { from, .. } => *from,
        }
    }
}

/// A reader's place in a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Entries of the ring's life before this place.
    entry: u64,
    /// Bytes of that entry, a run, which are known to be before this place.
    offset: usize,
    /// The object that comes next, or of which the rest comes next.
    id: u64,
    /// Seals of the ring's life before this place, for who verifies; such a reader gets whole groups.
    seals: Option<u64>,
    /// The object that the group being read begins with, or belongs to.
    group: u64,
    /// Groups that end before this object are left out.
    skip_to: u64,
}

impl Cursor {
    /// Goes back to where something was dropped. Says whether that had been read.
    pub fn go_back(&mut self, cut: Cut) -> bool {
        let read = self.entry > cut.entry;
        if read {
            (self.entry, self.offset, self.id) = (cut.entry, 0, cut.position.id);
        }
        read
    }

    const fn pass_entry(&mut self) {
        (self.entry, self.offset) = (self.entry + 1, 0);
    }

    /// Takes what is left of the entry's chunk.
    fn take_run(&mut self, chunk: &Chunk) -> Chunk {
        let rest = chunk.starting_with(self.id);
        self.pass_entry();
        self.id = if rest.last { rest.end() } else { rest.id };
        rest
    }

    /// Takes the next object of the entry's chunk, or the piece that it is.
    fn take_single(&mut self, chunk: &Chunk) -> Chunk {
        if chunk.count == 1 {
            return self.take_run(chunk);
        }
        let offset = chunk.offset_of(self.id, self.offset);
        let single = chunk.single_at(offset);
        (self.offset, self.id) = (offset + single.wire.len(), single.end());
        if self.offset == chunk.wire.len() {
            self.pass_entry();
        }
        single
    }

    /// The object that comes next, or of which the rest comes next.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }
}

/// The recent objects of one epoch of a track.
#[derive(Debug)]
pub struct Ring {
    config: RingConfig,
    entries: VecDeque<Entry>,
    /// Entries evicted in the ring's life.
    evicted: u64,
    next: Position,
    bytes: usize,
    /// Bytes appended in the ring's life.
    appended: u64,
    /// Complete and begun objects held, and gaps.
    objects: usize,
    /// Objects below this are owed to nobody.
    keep_from: u64,
    /// Of a signed track.
    seals: Option<Seals>,
}

impl Ring {
    /// An empty ring whose first object is to be `from`.
    #[must_use]
    pub const fn new(config: RingConfig, from: u64) -> Self {
        Self::with_seals(config, from, None)
    }

    /// The same of a signed track.
    #[must_use]
    pub const fn new_signed(config: RingConfig, from: u64) -> Self {
        Self::with_seals(config, from, Some(Seals::new(Position { id: from, chunk: 0 })))
    }

    const fn with_seals(config: RingConfig, from: u64, seals: Option<Seals>) -> Self {
        Self {
            config,
            entries: VecDeque::new(),
            evicted: 0,
            next: Position { id: from, chunk: 0 },
            bytes: 0,
            appended: 0,
            objects: 0,
            keep_from: u64::MAX,
            seals,
        }
    }

    /// What comes next.
    #[must_use]
    pub const fn next(&self) -> Position {
        self.next
    }

    /// The oldest object held; `next` when there is none.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        self.entries.front().map_or(self.next.id, |entry| entry.what.id())
    }

    /// The id after the newest object of which anything is held.
    #[must_use]
    pub const fn newest(&self) -> u64 {
        if self.next.chunk == 0 { self.next.id } else { self.next.id + 1 }
    }

    /// Bytes held, headers included.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes held of objects from `id` on, headers included.
    #[must_use]
    pub fn bytes_from(&self, id: u64) -> usize {
        let start = self.entries.partition_point(|entry| entry.what.last_id() < id);
        let before = self.entries.get(start).map_or(self.appended, |entry| match &entry.what {
            Held::Chunk(chunk) if chunk.id < id => entry.before + chunk.offset_of(id, 0) as u64,
            Held::Open(open) if open.id < id => entry.before + frame::offset_of(&open.wire, id, 0) as u64,
            _ => entry.before,
        });
        usize::try_from(self.appended - before).expect("no more than is held")
    }

    /// Bytes appended in the ring's life, headers included.
    pub(super) const fn appended(&self) -> u64 {
        self.appended
    }

    /// Objects from `id` on are owed to somebody: keep them beyond the ordinary limits.
    pub fn keep_from(&mut self, id: u64) {
        self.keep_from = id;
    }

    /// Takes a chunk if it is the one that comes next, or of a run what comes next.
    pub fn push(&mut self, now: Instant, position: Position, chunk: Chunk) -> Push {
        let Some(end) = position.id.checked_add(u64::from(chunk.count)) else {
            // No origin gets there; the id after it would not exist.
            return Push::Skipped;
        };
        match position.cmp(&self.next) {
            Ordering::Less if end <= self.newest() => return Push::Duplicate,
            // The whole object is said to follow one of which the end is missing.
            Ordering::Less if self.next.chunk > 0 => return Push::Skipped,
            Ordering::Less => self.append_run(now, chunk.starting_with(self.next.id)),
            Ordering::Equal => self.append_run(now, chunk),
            Ordering::Greater => return Push::Skipped,
        }
        self.evict(now);
        Push::Stored
    }

    fn append_run(&mut self, now: Instant, mut chunk: Chunk) {
        let bytes_max = self.config.bytes_max / RUN_PART;
        while chunk.count > 1 && chunk.wire.len() > bytes_max {
            let front = chunk.split_front(bytes_max);
            self.append(now, front);
        }
        self.append(now, chunk);
    }

    fn append(&mut self, now: Instant, chunk: Chunk) {
        let position = self.next;
        self.next = position.after(&chunk);
        self.hold(now, position.chunk, Held::Chunk(chunk));
    }

    fn hold(&mut self, now: Instant, index: u32, what: Held) {
        self.close_open();
        let (before, (bytes, objects)) = (self.appended, what.size());
        self.count(bytes, objects);
        self.entries.push_back(Entry { at: now, before, index, what });
    }

    const fn count(&mut self, bytes: usize, objects: usize) {
        self.appended += bytes as u64;
        self.bytes += bytes;
        self.objects += objects;
    }

    /// Notes that the objects `from..to` will not come; what is here of them already stays.
    /// Returns the missing range, cut to what is not held in full.
    pub fn push_gap(&mut self, now: Instant, from: u64, to: u64) -> Result<Option<(u64, u64)>, Push> {
        if from > self.next.id {
            return Err(Push::Skipped);
        }
        if to <= self.next.id {
            return Ok(None);
        }
        // What came of objects that nobody will vouch for is missing too.
        self.drop_tail();
        let from = self.next.id;
        self.next = Position { id: to, chunk: 0 };
        self.hold(now, 0, Held::Gap { from, to });
        if let Some(seals) = &mut self.seals {
            seals.on_gap(self.evicted + self.entries.len() as u64, self.next, self.appended);
        }
        self.evict(now);
        Ok(Some((from, to)))
    }

    /// Drops what need not be kept any longer. Cheap when there is nothing to drop.
    pub fn evict(&mut self, now: Instant) {
        while let Some(front) = self.entries.front() {
            let others = self.objects.checked_sub(front.what.size().1.max(1));
            let over = self.bytes > self.config.bytes_max
                || (others.is_some_and(|others| others >= self.config.objects_min)
                    && now.saturating_duration_since(front.at) > self.config.age_min);
            let Some(last) = Some(()).filter(|()| over).and_then(|()| self.front_group()) else {
                return;
            };
            let owed = last >= self.keep_from && self.bytes <= self.config.bytes_hard_max();
            if owed || last == self.next.id {
                return;
            }
            self.evict_front_object();
            while self.entries.front().is_some_and(|front| front.what.id() <= last) {
                self.evict_front_object();
            }
        }
    }

    /// The last of the objects that are evicted together with the first; `None`: it is not sealed yet.
    fn front_group(&self) -> Option<u64> {
        let front = self.entries.front()?;
        let Some(seals) = &self.seals else {
            return Some(front.what.last_id());
        };
        if let Held::Gap { .. } = front.what {
            return Some(front.what.last_id());
        }
        seals.first_whole()
    }

    fn evict_front_object(&mut self) {
        let Some(id) = self.entries.front().map(|entry| entry.what.id()) else {
            return;
        };
        while self.entries.front().is_some_and(|entry| entry.what.id() == id) {
            let entry = self.entries.pop_front().expect("there is a front");
            self.evicted += 1;
            self.forget(&entry.what);
        }
        if let Some(seals) = &mut self.seals {
            seals.on_evicted(self.evicted);
        }
    }

    /// What was taken out counts no longer.
    fn forget(&mut self, what: &Held) {
        let (bytes, objects) = what.size();
        self.bytes -= bytes;
        self.objects -= objects;
    }

    /// A cursor at object `id`, or at the nearest place after it that is held. An id beyond the
    /// newest object waits for it.
    #[must_use]
    pub fn cursor(&self, id: u64) -> Cursor {
        Cursor { entry: self.evicted + self.index_of(id) as u64, offset: 0, id, seals: None, group: id, skip_to: id }
    }

    fn index_of(&self, id: u64) -> usize {
        // What is open may still grow to the object.
        self.entries.partition_point(|entry| !matches!(entry.what, Held::Open(_)) && entry.what.end() <= id)
    }

    /// The next frame for a reader, if there is one; a run as a whole, or what is left of it. A reader whose objects were
    /// evicted meanwhile gets the gap first.
    pub fn read(&mut self, cursor: &mut Cursor) -> Option<Frame> {
        self.read_by(cursor, Cursor::take_run)
    }

    /// The same for a reader that takes the objects of a run one by one.
    pub fn read_single(&mut self, cursor: &mut Cursor) -> Option<Frame> {
        self.read_by(cursor, Cursor::take_single)
    }

    fn read_by(&mut self, cursor: &mut Cursor, take: fn(&mut Cursor, &Chunk) -> Chunk) -> Option<Frame> {
        if let Some(gap) = self.missed_seal(cursor) {
            return Some(gap);
        }
        if cursor.entry < self.evicted || self.oldest() > cursor.id {
            let (from, to) = (cursor.id, self.oldest().max(cursor.id));
            if cursor.entry < self.evicted {
                (cursor.entry, cursor.offset) = (self.evicted, 0);
            }
            cursor.id = to;
            if from < to {
                return Some(Frame::Gap { from, to });
            }
        }
        if let Some((seals, told)) = self.seals.as_ref().zip(cursor.seals.as_mut()) {
            if let Some(seal) = seals.due(told, cursor.entry) {
                cursor.group = seal.upto.id;
                return Some(Frame::Seal(seal));
            }
            if cursor.skip_to > cursor.id {
                let gap = self.skip_groups(seals, cursor)?;
                if gap.is_some() {
                    return gap;
                }
            }
        }
        loop {
            if !self.may_read(cursor) {
                return None;
            }
            let index = usize::try_from(cursor.entry - self.evicted).expect("a cursor is never that far ahead");
            match &self.entries.get(index)?.what {
                Held::Open(open) if open.end() <= cursor.id => return None,
                Held::Open(_) => self.close_open(),
                _ => {}
            }
            match &self.entries[index].what {
                // A cursor may have been set beyond what was held then.
                Held::Chunk(chunk) if chunk.end() <= cursor.id => cursor.pass_entry(),
                Held::Chunk(chunk) => return Some(Frame::Chunk(take(cursor, chunk))),
                Held::Open(_) => return None,
                Held::Gap { to, .. } if *to <= cursor.id => cursor.pass_entry(),
                Held::Gap { to, .. } => {
                    let from = std::mem::replace(&mut cursor.id, *to);
                    cursor.pass_entry();
                    cursor.group = *to;
                    return Some(Frame::Gap { from, to: *to });
                }
            }
        }
    }
}
