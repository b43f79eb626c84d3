//! The partial view: who has a place in a table that is full.
//!
//! The peers to whom this node is linked have one, then those that are of use to its tracks, then a
//! sample of the rest that time makes random. What is said of the others is passed on once.

use std::time::Instant;

use super::{Gossip, push::mark, versions::version_of};
use crate::{
    PeerId, Presence, Role, Row, TrackEntry, TrackName,
    io::Applied,
    mix::{mix, mix_peer},
    op::{Claim, Op, SignedOp},
    table::Publication,
};

/// One in so many newcomers that are neither linked nor useful gets a place.
const LUCKY: u8 = 16;
/// What is noted of a dead incarnation: no row of it is news.
const DEAD: u32 = u32::MAX;
/// Rows looked at to find one that may go.
const PROBES_MAX: usize = 32;
/// Peers that could feed this node may take one place in so many, a track, before others.
const FEEDERS: usize = 4;

impl Gossip {
    /// Whether the table is full. This node's own row is not counted.
    pub(super) const fn is_full(&self) -> bool {
        self.table.live_len() > self.config.table_rows_max
    }

    /// Whether an op about a peer outside is news: each copy would be again, and go round for ever.
    pub(super) fn is_news_outside(&self, op: &Op) -> Applied {
        let known = |peer| self.outside.newest(peer).unwrap_or_default();
        match op {
            Op::Row(row) => {
                let (row_is, known) = ((row.incarnation, version_of(row.version)), known(&row.peer));
                // What was passed on when it was of no use may get a place now.
                let wanted = row_is == known && self.is_wanted(row);
                if row_is > known || wanted { Applied::Applied } else { Applied::AlreadySeen }
            }
            Op::Death(claim) if known(&claim.suspect) >= (claim.suspect_incarnation, DEAD) => Applied::AlreadySeen,
            Op::Suspicion(_) if self.passed_on.contains(mark(self.salt, &op.id())) => Applied::AlreadySeen,
            Op::Death(_) | Op::Suspicion(_) | Op::UserEvent(_) => Applied::Applied,
        }
    }

    /// Takes an op about a peer outside: its row may get a place.
    pub(super) fn take_outside(&mut self, now: Instant, op: &Op, signed: &SignedOp) {
        let first = match op {
            Op::Row(row) => {
                let first = self.outside.note(&row.peer, row.incarnation, version_of(row.version));
                if self.make_room(row) {
                    self.take_row(now, row, signed);
                }
                first
            }
            Op::Death(claim) => self.outside.note(&claim.suspect, claim.suspect_incarnation, DEAD),
            Op::Suspicion(claim) => self.passed_on.insert(mark(self.salt, &op.id())) && self.is_among_the_first(claim),
            Op::UserEvent(_) => false,
        };
        if first {
            self.push_later(now, signed);
        }
    }

    /// Of several accusers a few are enough.
    fn is_among_the_first(&mut self, claim: &Claim) -> bool {
        let suspect = mix_peer(self.salt, &claim.suspect);
        let mut accusers = 0..=u64::from(self.config.suspicion.confirmations);
        accusers.any(|nth| self.passed_on.insert(mix(suspect, [claim.suspect_incarnation, nth, 1])))
    }

    fn is_wanted(&self, row: &Row) -> bool {
        row.presence == Presence::Alive && (self.push.is_linked(&row.peer) || self.is_useful(row))
    }

    /// Whether it says what there is to follow, now or later (an origin says so once, and nobody would
    /// tell a node that begins to follow after that), or could feed this node, which has not enough such.
    fn is_useful(&self, row: &Row) -> bool {
        row.tracks.iter().any(|(track, entry)| entry.role != Role::Member || self.lacks_feeders(row.peer, track, entry))
    }

    fn lacks_feeders(&self, peer: PeerId, track: &TrackName, entry: &TrackEntry) -> bool {
        let enough = |known: &Publication| known.candidates() >= self.config.table_rows_max / FEEDERS;
        let known = || self.table.publication(track, entry.epoch, entry.publisher(peer)?);
        entry.depth.is_some()
            && entry.free > 0
            && self.own.body.tracks.contains_key(track)
            && !known().is_some_and(enough)
    }

    /// Whether a newcomer gets a place. If so another has gone, unless the newcomer is linked or asked for
    /// and nobody could go.
    fn make_room(&mut self, row: &Row) -> bool {
        let wanted = self.is_wanted(row);
        if row.presence != Presence::Alive || (!wanted && self.rng.u8(..LUCKY) != 0) {
            return false;
        }
        let Some(victim) = self.draw_victim(wanted) else {
            return self.push.is_linked(&row.peer) || self.is_asked_for(row);
        };
        self.evict(victim);
        true
    }

    /// A link is gone, and its peer may have had a place beyond the bound.
    pub(super) fn give_up_place(&mut self) {
        if self.table.live_len() > self.config.table_rows_max + 1 + self.push.links().count()
            && let Some(victim) = self.draw_victim(true)
        {
            self.evict(victim);
        }
    }

    fn evict(&mut self, peer: PeerId) {
        if let Some(row) = self.table.row(&peer) {
            self.outside.note(&peer, row.incarnation, version_of(row.version));
        }
        self.suspicions.forget(&peer);
        self.table.remove(&peer);
    }

    /// Whether it publishes what this node follows or wants: without its row there is nothing to follow. Of several
    /// only the newest counts, so that there are no more such than tracks.
    fn is_origin_here(&self, row: &Row) -> bool {
        let newest = |track: &TrackName| self.table.publications(track).next_back().map(|(_, origin, _)| origin);
        let here = |(track, entry): (&TrackName, &TrackEntry)| {
            entry.role == Role::Origin && self.own.body.tracks.contains_key(track) && newest(track) == Some(row.peer)
        };
        row.tracks.iter().any(here)
    }

    /// A peer that is neither linked nor useful; if none is found, and a useful one may go, that.
    fn draw_victim(&mut self, or_useful: bool) -> Option<PeerId> {
        let mut useful = None;
        for _ in 0..PROBES_MAX {
            let row = self.table.sample_live(&mut self.rng)?;
            if row.peer == self.me || self.push.is_linked(&row.peer) || self.is_origin_here(row) {
                continue;
            }
            if !self.is_useful(row) {
                return Some(row.peer);
            }
            useful.get_or_insert(row.peer);
        }
        useful.filter(|_| or_useful)
    }
}
