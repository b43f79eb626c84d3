//! Who publishes a track and who could feed it, kept beside the rows: a choice among ten thousand
//! peers reads a few of them.
//!
//! For each publication (a track, an epoch, an origin) that a live row publishes or is attached to,
//! the index holds the rows that have a slot free, in the order in which they are to be asked: least
//! depth first, slots for anybody before slots kept for repairs, then the fewest children (A1). Among
//! equals the order hangs on a salt of this node, so that nodes that see the same table do not herd.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use crate::{PeerId, Role, Row, TrackEntry, TrackName, mix::mix_peer, op::SignedOp};

/// One publication of a track, as the live rows tell.
#[derive(Debug, Clone, Default)]
pub struct Publication {
    published: bool,
    attached: usize,
    candidates: BTreeSet<Candidate>,
}

impl Publication {
    /// Whether its origin is live and still has it.
    #[must_use]
    pub const fn is_published(&self) -> bool {
        self.published
    }

    /// Live rows that are attached to it.
    #[must_use]
    pub const fn attached(&self) -> usize {
        self.attached
    }

    /// Rows with a slot free.
    #[must_use]
    pub fn candidates(&self) -> usize {
        self.candidates.len()
    }

    /// The least depth from this one on at which somebody has a slot free.
    #[must_use]
    pub fn depth_from(&self, depth: u8) -> Option<u8> {
        let from = Candidate::bound(rank(depth, false, 0, 0));
        self.candidates.range(from..).next().map(Candidate::depth)
    }

    /// The rows at a depth that have a slot for anybody, those with the fewest children first.
    pub fn open_at(&self, depth: u8) -> impl Iterator<Item = &Row> {
        self.ranks(rank(depth, false, 0, 0)..=rank(depth, false, u16::MAX, u32::MAX))
    }

    /// The rows at a depth that have a slot for repairs only.
    pub fn reserved_at(&self, depth: u8) -> impl Iterator<Item = &Row> {
        self.ranks(rank(depth, true, 0, 0)..=rank(depth, true, u16::MAX, u32::MAX))
    }

    fn ranks(&self, ranks: RangeInclusive<u64>) -> impl Iterator<Item = &Row> {
        let last = *ranks.end();
        let from = self.candidates.range(Candidate::bound(*ranks.start())..);
        from.take_while(move |candidate| candidate.rank <= last).filter_map(|candidate| candidate.row.as_ref()?.row())
    }
}

/// A row with its place in the order: 16 bytes, for the row itself is shared.
#[derive(Debug, Clone)]
struct Candidate {
    rank: u64,
    /// `None` comes before all rows of the rank.
    row: Option<SignedOp>,
}

impl Candidate {
    const fn bound(rank: u64) -> Self {
        Self { rank, row: None }
    }

    const fn depth(&self) -> u8 {
        self.rank.to_be_bytes()[0]
    }

    fn peer(&self) -> Option<&PeerId> {
        Some(&self.row.as_ref()?.row()?.peer)
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank.cmp(&other.rank).then_with(|| self.peer().cmp(&other.peer()))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}

/// Sorts as (depth, reserved, load, tie).
const fn rank(depth: u8, reserved: bool, load: u16, tie: u32) -> u64 {
    (depth as u64) << 56 | (reserved as u64) << 48 | (load as u64) << 32 | tie as u64
}

/// All publications: of one track next to one another, by epoch and origin.
#[derive(Debug, Clone, Default)]
pub(super) struct TrackIndex {
    salt: u64,
    publications: BTreeMap<(TrackName, u64, PeerId), Publication>,
}

/// The least id.
const FIRST: PeerId = PeerId::from_key_bytes([0; 32]);
/// The greatest id.
const LAST: PeerId = PeerId::from_key_bytes([u8::MAX; 32]);

impl TrackIndex {
    pub(super) const fn new(salt: u64) -> Self {
        Self { salt, publications: BTreeMap::new() }
    }

    pub(super) fn of(&self, track: &TrackName) -> impl DoubleEndedIterator<Item = (u64, PeerId, &Publication)> {
        let all = (track.clone(), 0, FIRST)..=(track.clone(), u64::MAX, LAST);
        self.publications.range(all).map(|((_, epoch, origin), publication)| (*epoch, *origin, publication))
    }

    pub(super) fn publication(&self, track: &TrackName, epoch: u64, origin: PeerId) -> Option<&Publication> {
        self.publications.get(&(track.clone(), epoch, origin))
    }

    /// Takes a live row in.
    pub(super) fn insert(&mut self, signed: &SignedOp) {
        for (row, track, entry) in parts(signed) {
            let Some(origin) = entry.publisher(row.peer) else {
                continue;
            };
            let publication = self.publications.entry((track.clone(), entry.epoch, origin)).or_default();
            publication.published |= entry.role != Role::Member;
            publication.attached += usize::from(entry.depth.is_some());
            if let Some(candidate) = candidate(self.salt, signed, row, entry) {
                publication.candidates.insert(candidate);
            }
        }
    }

    /// Undoes [`TrackIndex::insert`] of the same row.
    pub(super) fn remove(&mut self, signed: &SignedOp) {
        for (row, track, entry) in parts(signed) {
            let Some(origin) = entry.publisher(row.peer) else {
                continue;
            };
            let key = (track.clone(), entry.epoch, origin);
            let Some(publication) = self.publications.get_mut(&key) else {
                continue;
            };
            // Nobody but its origin publishes it.
            publication.published &= entry.role == Role::Member;
            publication.attached -= usize::from(entry.depth.is_some());
            if let Some(candidate) = candidate(self.salt, signed, row, entry) {
                publication.candidates.remove(&candidate);
            }
            if !publication.published && publication.attached == 0 {
                self.publications.remove(&key);
            }
        }
    }

    /// Everything in it, to be compared.
    #[cfg(test)]
    pub(super) fn picture(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let candidates = |publication: &Publication| {
            let ids = publication.candidates.iter().map(|c| (c.rank, c.row.as_ref().expect("a row").clone()));
            ids.collect::<Vec<_>>()
        };
        let all = self.publications.iter();
        all.map(|(key, of)| (key.clone(), of.published, of.attached, candidates(of))).collect::<Vec<_>>()
    }
}

/// The parts of a row that name a publication and have a place in it.
fn parts(signed: &SignedOp) -> impl Iterator<Item = (&Row, &TrackName, &TrackEntry)> {
    let row = signed.row();
    let entries = row.into_iter().flat_map(|row| row.tracks.iter().map(move |(track, entry)| (row, track, entry)));
    entries.filter(|(_, _, entry)| entry.role != Role::Member || entry.depth.is_some())
}

fn candidate(salt: u64, signed: &SignedOp, row: &Row, entry: &TrackEntry) -> Option<Candidate> {
    let depth = entry.depth?;
    let reserved = entry.free == 0;
    // The low half is as good as the high one.
    let tie = mix_peer(salt, &row.peer) as u32;
    let rank = rank(depth, reserved, entry.children, tie);
    (row.believed_free() > 0).then(|| Candidate { rank, row: Some(signed.clone()) })
}
