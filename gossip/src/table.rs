//! The peer table: for each peer the greatest row and the greatest death certificate.
//!
//! Both merge by taking the greater, a row by (incarnation, version), a certificate by the
//! incarnation (who certified it makes no difference): a join of two chains, so that merging commutes, associates and is
//! idempotent. What a peer is follows from the two: dead if the certificate covers the row's
//! incarnation, left if the row says so, alive otherwise. Suspicion is local and changes no row.

use std::{collections::BTreeMap, time::Instant};

use crate::{
    PeerId, Presence, Row,
    op::{Claim, SignedOp},
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

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) row: Option<(Row, SignedOp)>,
    pub(crate) death: Option<(Claim, SignedOp)>,
    pub(crate) suspect: bool,
    /// Certified dead while a link to it works: it is about to refute, or the link to break. The
    /// trees above that link must not break for a certificate from beyond a healed partition.
    pub(crate) spared: bool,
    /// When it was found dead or left; tombstones age from here.
    pub(crate) buried: Option<Instant>,
}

impl Entry {
    fn status(&self) -> Option<Status> {
        let (row, _) = self.row.as_ref()?;
        Some(match &self.death {
            _ if row.presence == Presence::Left => Status::Left,
            Some((claim, _)) if claim.suspect_incarnation >= row.incarnation => {
                if self.spared {
                    Status::Suspect
                } else {
                    Status::Dead
                }
            }
            _ if self.suspect => Status::Suspect,
            _ => Status::Alive,
        })
    }

    pub(crate) fn row_version(&self) -> (u64, u64) {
        self.row.as_ref().map_or((0, 0), |(row, _)| (row.incarnation, row.version))
    }

    /// The incarnation that is certified dead.
    pub(crate) fn death_incarnation(&self) -> Option<u64> {
        self.death.as_ref().map(|(claim, _)| claim.suspect_incarnation)
    }
}

/// Everyone whom a node knows.
#[derive(Debug, Clone, Default)]
pub struct PeerTable {
    entries: BTreeMap<PeerId, Entry>,
    live: usize,
    buried: usize,
    revision: u64,
}

impl PeerTable {
    /// The row of a live peer.
    #[must_use]
    pub fn live(&self, peer: &PeerId) -> Option<&Row> {
        self.entries.get(peer).filter(|entry| entry.status().is_some_and(Status::is_live)).and_then(row)
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
        self.entries.get(peer).and_then(row)
    }

    /// All rows with what their owners are thought to be, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (Status, &Row)> {
        self.entries.values().filter_map(|entry| Some((entry.status()?, row(entry)?)))
    }

    /// Grows with each change of a row or a status.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Live peers.
    #[must_use]
    pub const fn live_len(&self) -> usize {
        self.live
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

    /// Merges a row. Returns whether it was news.
    pub fn merge_row(&mut self, now: Instant, row: Row, signed: SignedOp) -> bool {
        let key = (row.incarnation, row.version);
        self.change(now, row.peer, |entry| {
            let news = entry.row.is_none() || key > entry.row_version();
            if news {
                if key.0 > entry.row_version().0 {
                    // A suspicion names an incarnation; this one was not accused.
                    entry.suspect = false;
                }
                if entry.death_incarnation() < Some(key.0) {
                    // A death of an earlier life says nothing any more.
                    (entry.death, entry.spared) = (None, false);
                }
                entry.row = Some((row, signed));
            }
            news
        })
    }

    /// Merges a death certificate. Returns whether it was news. `spare`: a live peer becomes a
    /// suspect only, until [`PeerTable::unspare`].
    pub(crate) fn merge_death(&mut self, now: Instant, claim: Claim, signed: SignedOp, spare: bool) -> bool {
        let key = claim.suspect_incarnation;
        self.change(now, claim.suspect, |entry| {
            let refuted = entry.row.as_ref().is_some_and(|(row, _)| row.incarnation > key);
            let news = Some(key) > entry.death_incarnation() && !refuted;
            if news {
                entry.spared = spare && entry.status().is_some_and(Status::is_live);
                entry.death = Some((claim, signed));
            }
            news
        })
    }

    pub(crate) fn set_suspect(&mut self, now: Instant, peer: PeerId, suspect: bool) {
        if self.entries.contains_key(&peer) {
            self.change(now, peer, |entry| std::mem::replace(&mut entry.suspect, suspect) != suspect);
        }
    }

    /// The link to a peer is gone: a certificate of its death counts from now on.
    pub(crate) fn unspare(&mut self, now: Instant, peer: PeerId) {
        if self.entries.contains_key(&peer) {
            self.change(now, peer, |entry| std::mem::take(&mut entry.spared));
        }
    }

    /// Tombstones held, and how many there may be: twice the live rows, at least 64.
    pub(crate) fn tombstones(&self) -> (usize, usize) {
        (self.buried, (2 * self.live).max(64))
    }

    fn change(&mut self, now: Instant, peer: PeerId, change: impl FnOnce(&mut Entry) -> bool) -> bool {
        let entry = self.entries.entry(peer).or_insert(Entry {
            row: None,
            death: None,
            suspect: false,
            spared: false,
            buried: None,
        });
        let was_live = entry.status().is_some_and(Status::is_live);
        self.buried -= usize::from(entry.buried.is_some());
        let changed = change(entry);
        let is_live = entry.status().is_some_and(Status::is_live);
        if is_live {
            entry.buried = None;
        } else if entry.buried.is_none() {
            entry.buried = Some(now);
        }
        self.buried += usize::from(entry.buried.is_some());
        self.live = self.live + usize::from(is_live) - usize::from(was_live);
        self.revision += u64::from(changed);
        changed
    }

    pub(crate) fn remove(&mut self, peer: &PeerId) {
        if let Some(entry) = self.entries.remove(peer) {
            self.live -= usize::from(entry.status().is_some_and(Status::is_live));
            self.buried -= usize::from(entry.buried.is_some());
            self.revision += 1;
        }
    }

    pub(crate) fn entry(&self, peer: &PeerId) -> Option<&Entry> {
        self.entries.get(peer)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&PeerId, &Entry)> {
        self.entries.iter()
    }
}

fn row(entry: &Entry) -> Option<&Row> {
    entry.row.as_ref().map(|(row, _)| row)
}
