//! The recent objects of a track, in order, as chunks that are shared with all who read them.
//!
//! The ring of a signed track knows besides how far the origin's seals reach (see [`super::seal`]). What is
//! beyond them, the *tail*, is passed on to children but not handed to subscribers, and may be taken back.
//! Groups are evicted as a whole, so that whoever is sent the oldest objects can verify them.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use self::seals::Seals;
use super::{
    OBJECT_BYTES_MAX,
    frame::{Chunk, Frame, HEADER_BYTES},
};
pub use seals::Cut;

mod seals;

/// What a gap counts as: it is an object and a frame like others, so that gaps alone fill no ring
/// beyond its bounds.
const GAP_BYTES: usize = HEADER_BYTES + 8;

/// How much a ring keeps.
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
        if chunk.last { Self { id: self.id + 1, chunk: 0 } } else { Self { id: self.id, chunk: self.chunk + 1 } }
    }
}

/// What became of a chunk or gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Push {
    /// It was next, and is kept.
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
    Gap { from: u64, to: u64 },
}

impl Held {
    const fn id(&self) -> u64 {
        match self {
            Self::Chunk(chunk) => chunk.id,
            Self::Gap { from, .. } => *from,
        }
    }
}

/// A reader's place in a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Entries of the ring's life before this place.
    entry: u64,
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
            (self.entry, self.id) = (cut.entry, cut.position.id);
        }
        read
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
        let start = self.entries.partition_point(|entry| entry.what.id() < id);
        let total = |entry: Option<&Entry>| entry.map_or(self.appended, |entry| entry.before);
        usize::try_from(self.appended - total(self.entries.get(start))).expect("no more than is held")
    }

    /// Objects from `id` on are owed to somebody: keep them beyond the ordinary limits.
    pub fn keep_from(&mut self, id: u64) {
        self.keep_from = id;
    }

    /// Takes a chunk if it is the one that comes next.
    pub fn push(&mut self, now: Instant, position: Position, chunk: Chunk) -> Push {
        if position.id == u64::MAX {
            // No origin gets there; the id after it would not exist.
            return Push::Skipped;
        }
        match position.cmp(&self.next) {
            std::cmp::Ordering::Less => return Push::Duplicate,
            std::cmp::Ordering::Greater => return Push::Skipped,
            std::cmp::Ordering::Equal => {}
        }
        self.append(now, chunk);
        self.evict(now);
        Push::Stored
    }

    fn append(&mut self, now: Instant, chunk: Chunk) {
        let (position, before) = (self.next, self.appended);
        self.objects += usize::from(chunk.first);
        self.bytes += chunk.wire.len();
        self.next = position.after(&chunk);
        self.appended += chunk.wire.len() as u64;
        self.entries.push_back(Entry { at: now, before, index: position.chunk, what: Held::Chunk(chunk) });
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
        let before = self.appended;
        self.appended += GAP_BYTES as u64;
        self.bytes += GAP_BYTES;
        self.objects += 1;
        self.entries.push_back(Entry { at: now, before, index: 0, what: Held::Gap { from, to } });
        if let Some(seals) = &mut self.seals {
            seals.on_gap(self.evicted + self.entries.len() as u64, self.next, self.appended);
        }
        self.evict(now);
        Ok(Some((from, to)))
    }

    /// Drops what need not be kept any longer. Cheap when there is nothing to drop.
    pub fn evict(&mut self, now: Instant) {
        while let Some(front) = self.entries.front() {
            let over = self.bytes > self.config.bytes_max
                || (self.objects > self.config.objects_min
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
            return Some(front.what.id());
        };
        if let Held::Gap { .. } = front.what {
            return Some(front.what.id());
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
        let (bytes, objects) = match what {
            Held::Chunk(chunk) => (chunk.wire.len(), usize::from(chunk.first)),
            Held::Gap { .. } => (GAP_BYTES, 1),
        };
        self.bytes -= bytes;
        self.objects -= objects;
    }

    /// A cursor at object `id`, or at the nearest place after it that is held. An id beyond the
    /// newest object waits for it.
    #[must_use]
    pub fn cursor(&self, id: u64) -> Cursor {
        Cursor { entry: self.evicted + self.index_of(id) as u64, id, seals: None, group: id, skip_to: id }
    }

    fn index_of(&self, id: u64) -> usize {
        self.entries.partition_point(|entry| match entry.what {
            Held::Chunk(ref chunk) => chunk.id < id,
            Held::Gap { to, .. } => to <= id,
        })
    }

    /// The next frame for a reader, if there is one. A reader whose objects were evicted meanwhile
    /// gets the gap first.
    pub fn read(&self, cursor: &mut Cursor) -> Option<Frame> {
        if let Some(gap) = self.missed_seal(cursor) {
            return Some(gap);
        }
        if cursor.entry < self.evicted || self.oldest() > cursor.id {
            let (from, to) = (cursor.id, self.oldest().max(cursor.id));
            cursor.entry = cursor.entry.max(self.evicted);
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
            let entry = self.entries.get(index)?;
            match &entry.what {
                // A cursor may have been set beyond what was held then.
                Held::Chunk(chunk) if chunk.id < cursor.id => cursor.entry += 1,
                Held::Chunk(chunk) => {
                    cursor.entry += 1;
                    cursor.id = if chunk.last { chunk.id + 1 } else { chunk.id };
                    return Some(Frame::Chunk(chunk.clone()));
                }
                Held::Gap { to, .. } if *to <= cursor.id => cursor.entry += 1,
                Held::Gap { to, .. } => {
                    let from = std::mem::replace(&mut cursor.id, *to);
                    (cursor.entry, cursor.group) = (cursor.entry + 1, *to);
                    return Some(Frame::Gap { from, to: *to });
                }
            }
        }
    }
}
