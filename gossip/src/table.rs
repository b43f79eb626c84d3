//! The peer table: for each peer the greatest row and the greatest death certificate.
//!
//! Both merge by taking the greater, a row by (incarnation, version), a certificate by the
//! incarnation (who certified it makes no difference): a join of two chains, so that merging commutes, associates and is
//! idempotent. What a peer is follows from the two: dead if the certificate covers the row's
//! incarnation, left if the row says so, alive otherwise. Suspicion is local and changes no row.

mod entry;
mod graves;
mod sums;
#[cfg(test)]
mod tests;
mod tracks;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

pub use self::tracks::Publication;
pub(crate) use self::{entry::Entry, sums::bucket};
use self::{
    graves::Graves,
    sums::{Sums, Term},
    tracks::TrackIndex,
};
use crate::{
    PeerId, Row, TrackName,
    op::{Op, SignedOp},
};

/// What a peer is thought to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is there.
    Alive,
    /// Somebody lost touch with it; it may refute.
    Suspect,
    /// It was declared dead.
    Dead,
    /// It said goodbye.
    Left,
}

impl Status {
    /// Whether its row still counts.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Alive | Self::Suspect)
    }
}

/// Everyone whom a node knows.
#[derive(Debug, Clone, Default)]
pub struct PeerTable {
    entries: BTreeMap<PeerId, Entry>,
    derived: Derived,
    revision: u64,
}

/// What became of a peer when its row was merged.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Merged {
    pub(crate) before: Option<Status>,
    /// A new incarnation began.
    pub(crate) reborn: bool,
    pub(crate) after: Option<Status>,
}

/// Dead rows that a draw of a live one passes over.
const PASSED_MAX: usize = 64;

impl PeerTable {
    /// An empty table. The salt is secret, and decides in which order equal candidates of a track come.
    #[must_use]
    pub fn new(salt: u64) -> Self {
        Self { derived: Derived::new(salt), ..Self::default() }
    }

    /// The row of a live peer.
    #[must_use]
    pub fn live(&self, peer: &PeerId) -> Option<&Row> {
        self.entries.get(peer).filter(|entry| entry.is_live()).and_then(Entry::row)
    }

    /// The rows of all live peers, in the order of their ids.
    pub fn iter_live(&self) -> impl Iterator<Item = &Row> {
        self.iter().filter(|(status, _)| status.is_live()).map(|(_, row)| row)
    }

    /// What a peer is thought to be; `None` if its row is not known.
    #[must_use]
    pub fn status(&self, peer: &PeerId) -> Option<Status> {
        self.entries.get(peer)?.status()
    }

    /// The row of a peer, live or not.
    #[must_use]
    pub fn row(&self, peer: &PeerId) -> Option<&Row> {
        self.entries.get(peer).and_then(Entry::row)
    }

    /// All rows with what their owners are thought to be, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (Status, &Row)> {
        self.entries.values().filter_map(|entry| Some((entry.status()?, entry.row()?)))
    }

    /// Grows with each change of a row or a status.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Live peers.
    #[must_use]
    pub const fn live_len(&self) -> usize {
        self.derived.live
    }

    /// Everything held, tombstones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A live row drawn at random, about evenly if ids lie evenly between the least and the greatest.
    #[must_use]
    pub fn sample_live(&self, rng: &mut fastrand::Rng) -> Option<&Row> {
        let place = |peer: &PeerId| u128::from_be_bytes(*peer.key_bytes().first_chunk().expect("an id has 32 bytes"));
        let (least, greatest) = (place(self.entries.first_key_value()?.0), place(self.entries.last_key_value()?.0));
        // Beyond the greatest is the gap before the least.
        let gap = (greatest - least) / (self.entries.len() as u128 - 1).max(1);
        let mut start = [0; 32];
        start[..16].copy_from_slice(&rng.u128(least..=greatest.saturating_add(gap)).to_be_bytes());
        let start = PeerId::from_key_bytes(start);
        let circle = self.entries.range(start..).chain(self.entries.range(..start));
        let near = circle.take(PASSED_MAX).find(|(_, entry)| entry.is_live());
        let far = || self.iter_live().nth(rng.usize(..self.derived.live.max(1)));
        near.and_then(|(_, entry)| entry.row()).or_else(far)
    }

    /// The publications of a track that live rows publish or are attached to, by epoch and origin.
    pub fn publications(&self, track: &TrackName) -> impl DoubleEndedIterator<Item = (u64, PeerId, &Publication)> {
        self.derived.tracks.of(track)
    }

    /// One publication of a track.
    #[must_use]
    pub fn publication(&self, track: &TrackName, epoch: u64, origin: PeerId) -> Option<&Publication> {
        self.derived.tracks.publication(track, epoch, origin)
    }

    /// Merges an op that is a row. Returns whether it was news.
    pub fn merge_row(&mut self, now: Instant, signed: SignedOp) -> bool {
        let peer = signed.row().map(|row| row.peer);
        peer.is_some_and(|peer| self.change(now, peer, |entry| entry.take_row(signed)))
    }

    /// Merges an op that is the row of a peer, and says what that changed.
    pub(crate) fn take_row(&mut self, now: Instant, peer: PeerId, signed: SignedOp) -> Merged {
        let mut merged = Merged::default();
        self.change(now, peer, |entry| {
            let (before, known) = (entry.status(), entry.row_version());
            let news = entry.take_row(signed);
            merged = Merged { before, reborn: known.0 < entry.row_version().0, after: entry.status() };
            news
        });
        merged
    }

    /// Merges an op that is a death certificate. Returns whether it was news. `spare`: a live peer
    /// becomes a suspect only, until [`PeerTable::unspare`].
    pub(crate) fn merge_death(&mut self, now: Instant, signed: SignedOp, spare: bool) -> bool {
        let Some(Op::Death(claim)) = signed.op() else {
            return false;
        };
        let peer = claim.suspect;
        self.change(now, peer, |entry| entry.take_death(signed, spare))
    }

    pub(crate) fn set_suspect(&mut self, now: Instant, peer: PeerId, suspect: bool) {
        if self.entries.contains_key(&peer) {
            self.change(now, peer, |entry| entry.set_suspect(suspect));
        }
    }

    /// The link to a peer is gone: a certificate of its death counts from now on.
    pub(crate) fn unspare(&mut self, now: Instant, peer: PeerId) {
        if self.entries.contains_key(&peer) {
            self.change(now, peer, Entry::unspare);
        }
    }

    /// Tombstones held, and how many there may be: twice the live rows, at least 64.
    pub(crate) fn tombstones(&self) -> (usize, usize) {
        (self.derived.graves.len(), (2 * self.derived.live).max(64))
    }

    fn change(&mut self, now: Instant, peer: PeerId, change: impl FnOnce(&mut Entry) -> bool) -> bool {
        let entry = self.entries.entry(peer).or_default();
        self.derived.subtract(peer, entry);
        let changed = change(entry);
        entry.settle(now);
        self.derived.add(peer, entry);
        self.revision += u64::from(changed);
        changed
    }

    pub(crate) fn remove(&mut self, peer: &PeerId) {
        if let Some(entry) = self.entries.remove(peer) {
            self.derived.subtract(*peer, &entry);
            self.revision += 1;
        }
    }

    /// Tombstones of this age are no longer told others.
    pub(crate) fn hush(&mut self, now: Instant, age: Duration) {
        let is_due = |at: &Instant| now.saturating_duration_since(*at) >= age;
        while let Some((_, peer)) = self.derived.graves.oldest_shared().filter(|(at, _)| is_due(at))
            && let Some(entry) = self.entries.get_mut(&peer)
        {
            self.derived.subtract(peer, entry);
            entry.hush();
            self.derived.add(peer, entry);
        }
    }

    /// Forgets tombstones of this age, and the oldest of those that are too many. Returns whether
    /// there were any.
    pub(crate) fn forget(&mut self, now: Instant, age: Duration) -> bool {
        let before = self.len();
        while let Some((at, peer)) = self.derived.graves.oldest() {
            let (tombstones, most) = self.tombstones();
            if tombstones <= most && now.saturating_duration_since(at) < age {
                break;
            }
            self.remove(&peer);
        }
        self.len() < before
    }

    /// The sum over all entries that are shared.
    pub(crate) const fn root(&self) -> u64 {
        self.derived.sums.root()
    }

    /// The same, a bucket at a time.
    pub(crate) fn bucket_sums(&self) -> &[u64] {
        self.derived.sums.buckets()
    }

    /// The entries that others are told of.
    pub(crate) fn shared(&self) -> impl Iterator<Item = (&PeerId, &Entry)> {
        self.entries.iter().filter(|(_, entry)| entry.is_shared())
    }

    pub(crate) fn entry(&self, peer: &PeerId) -> Option<&Entry> {
        self.entries.get(peer)
    }
}

/// What follows from the entries: each is subtracted before it changes and added afterwards.
#[derive(Debug, Clone, Default)]
struct Derived {
    tracks: TrackIndex,
    sums: Sums,
    graves: Graves,
    live: usize,
}

impl Derived {
    fn new(salt: u64) -> Self {
        Self { tracks: TrackIndex::new(salt), ..Self::default() }
    }

    fn add(&mut self, peer: PeerId, entry: &Entry) {
        if let Some(row) = entry.live_row() {
            self.tracks.insert(row);
            self.live += 1;
        }
        if let Some(at) = entry.buried() {
            self.graves.insert(at, peer, entry.is_shared());
        }
        if let Some(term) = term(&peer, entry) {
            self.sums.add(term);
        }
    }

    fn subtract(&mut self, peer: PeerId, entry: &Entry) {
        if let Some(row) = entry.live_row() {
            self.tracks.remove(row);
            self.live -= 1;
        }
        if let Some(at) = entry.buried() {
            self.graves.remove(at, peer, entry.is_shared());
        }
        if let Some(term) = term(&peer, entry) {
            self.sums.subtract(term);
        }
    }
}

/// What an entry adds to the sums; nothing if others are not told of it.
fn term(peer: &PeerId, entry: &Entry) -> Option<Term> {
    let known = entry.row().is_some() || entry.death().is_some();
    (known && entry.is_shared()).then(|| Term::new(peer, entry.row_version(), entry.death_incarnation()))
}
