//! How far the seals of a signed track's ring reach, and what readers of whole groups get.

use std::{collections::VecDeque, time::Instant};

use super::{Cursor, Entry, Held, Position, Push, Ring};
use crate::relay::{
    frame::{Chunk, Frame},
    seal::{Group, Seal, TAIL_BYTES_MAX},
};

/// Which entries a seal is for, counted over the ring's life.
#[derive(Debug, Clone)]
struct Sealed {
    seal: Seal,
    begin: u64,
    end: u64,
}

/// How far the seals of a signed track reach.
#[derive(Debug, Clone)]
pub(super) struct Seals {
    held: VecDeque<Sealed>,
    /// Seals evicted in the ring's life.
    evicted: u64,
    /// Entries of the ring's life that are verified, and what comes after them.
    entries: u64,
    next: Position,
    /// Bytes appended in the ring's life before that.
    appended: u64,
    /// What was dropped since anybody asked.
    cut: Option<Cut>,
}

/// Entries from a place on were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    pub(super) entry: u64,
    /// The place.
    pub position: Position,
}

impl Seals {
    /// Nothing is sealed yet; `next` is the first place.
    pub(super) const fn new(next: Position) -> Self {
        Self { held: VecDeque::new(), evicted: 0, entries: 0, next, appended: 0, cut: None }
    }

    /// The next seal for a reader that has come to this entry.
    pub(super) fn due(&self, told: &mut u64, entry: u64) -> Option<Seal> {
        *told = self.evicted.max(*told);
        let sealed = self.at(*told).filter(|sealed| sealed.end <= entry)?;
        *told += 1;
        Some(sealed.seal)
    }

    /// A gap was appended: what is missing needs no seal.
    pub(super) const fn on_gap(&mut self, entries: u64, next: Position, appended: u64) {
        (self.entries, self.next, self.appended) = (entries, next, appended);
    }

    /// So many entries were evicted in the ring's life.
    pub(super) fn on_evicted(&mut self, entries: u64) {
        while self.held.front().is_some_and(|sealed| sealed.begin < entries) {
            self.held.pop_front();
            self.evicted += 1;
        }
    }

    /// The last object up to which all are whole and sealed by the first seals; of an object of many groups all go together.
    pub(super) fn first_whole(&self) -> Option<u64> {
        let seal = self.held.iter().find(|sealed| sealed.seal.upto.chunk == 0)?;
        Some(seal.seal.upto.id.saturating_sub(1))
    }

    /// Whether the last seal of all is there.
    fn ended(&self) -> bool {
        self.held.back().is_some_and(|sealed| sealed.seal.last)
    }

    /// A seal by its number in the ring's life.
    fn at(&self, number: u64) -> Option<&Sealed> {
        self.held.get(usize::try_from(number - self.evicted).expect("a cursor is never that far ahead"))
    }
}

impl Ring {
    /// A cursor for a child of a signed track: at the beginning of the group that `id` is in, and the object
    /// that comes first. With `exact`, groups before `id` that are not known yet are left out once they are.
    #[must_use]
    pub fn group_cursor(&self, id: u64, exact: bool) -> (Cursor, u64) {
        let Some(seals) = &self.seals else {
            return (self.cursor(id), id);
        };
        let wanted = Position { id, chunk: 0 };
        let covering = seals.held.get(seals.held.partition_point(|sealed| sealed.seal.upto <= wanted));
        let start = match covering {
            _ if id <= self.oldest() => id,
            Some(sealed) if sealed.seal.from.chunk == 0 => sealed.seal.from.id.min(id),
            Some(_) => id,
            None => seals.next.id.min(id),
        };
        let entry = self.evicted + self.index_of(start) as u64;
        let told = seals.held.partition_point(|sealed| sealed.end <= entry && !sealed.seal.last) as u64;
        let skip_to = if exact { id } else { 0 };
        (Cursor { entry, offset: 0, id: start, seals: Some(seals.evicted + told), group: start, skip_to }, start)
    }

    /// A reader whose group was evicted before it got the seal can verify nothing of it, however much it has read.
    pub(super) fn missed_seal(&self, cursor: &mut Cursor) -> Option<Frame> {
        let seals = self.seals.as_ref()?;
        let told = cursor.seals.as_mut().filter(|told| **told < seals.evicted)?;
        let (from, to) = (cursor.group, self.oldest());
        *told = seals.evicted;
        (cursor.entry, cursor.id, cursor.group) = (self.evicted, to.max(cursor.id), to.max(from));
        (from < to).then_some(Frame::Gap { from, to })
    }

    /// Leaves out the groups before [`Cursor::skip_to`]. Returns the gap to tell of, if there is one, once that is done.
    pub(super) fn skip_groups(&self, seals: &Seals, cursor: &mut Cursor) -> Option<Option<Frame>> {
        let to = loop {
            let Some(entry) = self.entries.get(usize::try_from(cursor.entry - self.evicted).ok()?) else {
                break seals.next.id;
            };
            let group = cursor.seals.and_then(|told| seals.at(told)).filter(|group| group.begin == cursor.entry);
            match (&entry.what, group) {
                (what, _) if what.id() >= cursor.skip_to => break what.id(),
                (Held::Gap { to, .. }, _) if *to <= cursor.skip_to => cursor.entry += 1,
                (Held::Gap { from, .. }, _) => break *from,
                (Held::Chunk(_), Some(group)) if group.seal.upto <= (Position { id: cursor.skip_to, chunk: 0 }) => {
                    cursor.entry = group.end;
                    cursor.seals = cursor.seals.map(|told| told + 1);
                }
                (Held::Chunk(chunk), Some(_)) => break chunk.id,
                (Held::Chunk(_), None) | (Held::Open(_), _) => return None,
            }
        };
        // With nothing there yet, what comes next may still be before it.
        if self.entries.len() as u64 + self.evicted == cursor.entry && to < cursor.skip_to {
            return None;
        }
        cursor.skip_to = 0;
        let from = cursor.id;
        (cursor.id, cursor.group) = (to.max(from), to.max(from));
        Some((from < to).then_some(Frame::Gap { from, to }))
    }

    /// A subscriber reads what is sealed; a child some of what is not yet.
    pub(super) fn may_read(&self, cursor: &Cursor) -> bool {
        let Some(seals) = &self.seals else {
            return true;
        };
        if cursor.seals.is_none() {
            return cursor.entry < seals.entries;
        }
        let entry = usize::try_from(cursor.entry - self.evicted).ok().and_then(|index| self.entries.get(index));
        entry.is_some_and(|entry| entry.before < seals.appended + TAIL_BYTES_MAX as u64)
    }

    /// Up to where everything may be handed out: all of it, or what is sealed.
    #[must_use]
    pub fn verified(&self) -> Position {
        self.seals.as_ref().map_or(self.next, |seals| seals.next)
    }

    /// Bytes held that are not sealed.
    #[must_use]
    pub fn tail_bytes(&self) -> usize {
        let sealed = self.seals.as_ref().map_or(self.appended, |seals| seals.appended);
        usize::try_from(self.appended - sealed).expect("no more than is held")
    }

    /// Whether the end may be told: on a signed track, once that is sealed too.
    #[must_use]
    pub fn may_end(&self) -> bool {
        self.seals.as_ref().is_none_or(Seals::ended)
    }

    /// What the origin has to seal next.
    #[must_use]
    pub fn next_group(&self) -> Option<Group> {
        let seals = self.seals.as_ref()?;
        let begin = usize::try_from(seals.entries - self.evicted).ok()?;
        let chunks = self.entries.range(begin..).map_while(|entry| match &entry.what {
            Held::Chunk(chunk) => Some((entry.index, chunk)),
            Held::Open(_) | Held::Gap { .. } => None,
        });
        Group::first_of(seals.next, chunks)
    }

    /// Takes a seal that was verified for these chunks. What is here in their place is replaced.
    pub fn seal(&mut self, now: Instant, seal: Seal, chunks: &[Chunk]) -> Push {
        let Some(seals) = &self.seals else {
            return Push::Skipped;
        };
        let known = if seal.last { seals.ended() } else { seal.upto <= seals.next };
        if known {
            return Push::Duplicate;
        }
        if seal.from != seals.next {
            return Push::Skipped;
        }
        let begin = seals.entries;
        let mut index = usize::try_from(begin - self.evicted).expect("what is not sealed is held");
        for chunk in chunks {
            let same = |entry: &Entry| matches!(&entry.what, Held::Chunk(held) if is_same(held, chunk));
            if !self.entries.get(index).is_some_and(same) {
                self.truncate(index);
                self.append(now, chunk.clone());
            }
            index += 1;
        }
        let appended = self.entries.get(index).map_or(self.appended, |entry| entry.before);
        let end = self.evicted + index as u64;
        if let Some(seals) = &mut self.seals {
            (seals.entries, seals.next, seals.appended) = (end, seal.upto, appended);
            seals.held.push_back(Sealed { seal, begin, end });
        }
        self.evict(now);
        Push::Stored
    }

    /// Drops what is not sealed, from this place on.
    pub fn drop_from(&mut self, position: Position) {
        let Some(seals) = &self.seals else {
            return;
        };
        let sealed = usize::try_from(seals.entries - self.evicted).expect("what is not sealed is held");
        let index = self.entries.partition_point(|entry| entry.position() < position);
        self.truncate(index.max(sealed));
    }

    /// Drops what is not sealed.
    pub fn drop_tail(&mut self) {
        self.drop_from(Position { id: 0, chunk: 0 });
    }

    fn truncate(&mut self, length: usize) {
        let Some(first) = self.entries.get(length) else {
            return;
        };
        let cut = Cut { entry: self.evicted + length as u64, position: first.position() };
        (self.appended, self.next) = (first.before, cut.position);
        for entry in self.entries.split_off(length) {
            self.forget(&entry.what);
        }
        if let Some(seals) = &mut self.seals {
            seals.cut = Some(seals.cut.filter(|before| before.entry < cut.entry).unwrap_or(cut));
        }
    }

    /// What was dropped since this was asked last: from which place on.
    pub fn take_cut(&mut self) -> Option<Cut> {
        self.seals.as_mut()?.cut.take()
    }
}

/// Whether two chunks are the same bytes; mostly they are in the same place.
fn is_same(held: &Chunk, other: &Chunk) -> bool {
    std::ptr::eq(held.wire.as_ptr(), other.wire.as_ptr()) && held.wire.len() == other.wire.len()
        || held.wire == other.wire
}
