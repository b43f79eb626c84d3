//! The partial view: who has a place in a table that is full.
//!
//! The peers to whom this node is linked have one, then those that are of use to its tracks, then a
//! sample of the rest that time makes random. What is said of the others is passed on once.

use std::time::Instant;

use super::{Gossip, push::mark};
use crate::{
    PeerId, Presence, Role, Row, TrackEntry,
    io::Applied,
    mix::{mix, mix_peer},
    op::{Op, SignedOp},
    table::Entry,
};

/// One in so many newcomers that are neither linked nor useful gets a place.
const LUCKY: u8 = 16;
/// Rows looked at to find one that may go.
const PROBES_MAX: usize = 32;

impl Gossip {
    /// Whether the table is full. This node's own row is not counted.
    pub(super) const fn is_full(&self) -> bool {
        self.table.live_len() > self.config.table_rows_max
    }

    /// Whether an op about a peer outside is news: each copy would be again, and go round for ever.
    pub(super) fn is_news_outside(&self, op: &Op) -> Applied {
        let wanted = matches!(op, Op::Row(row) if self.is_wanted(row));
        if !wanted && self.passed_on.contains(self.mark(op)) { Applied::AlreadySeen } else { Applied::Applied }
    }

    /// Takes an op about a peer outside: its row may get a place.
    pub(super) fn take_outside(&mut self, now: Instant, op: &Op, signed: &SignedOp) {
        let first = self.passed_on.insert(self.mark(op)) && self.is_worth_telling(op);
        if let Op::Row(row) = op
            && self.make_room(row)
        {
            self.take_row(now, row, signed);
        }
        if first {
            self.push_later(now, signed);
        }
    }

    /// Of several accusers a few are enough.
    fn is_worth_telling(&mut self, op: &Op) -> bool {
        let Op::Suspicion(claim) = op else {
            return true;
        };
        let suspect = mix_peer(self.salt, &claim.suspect);
        let mut accusers = 0..=u64::from(self.config.suspicion.confirmations);
        accusers.any(|nth| self.passed_on.insert(mix(suspect, [claim.suspect_incarnation, nth, 1])))
    }

    /// By what it is remembered that an op was passed on: of several certificates of a death one
    /// is enough.
    fn mark(&self, op: &Op) -> u64 {
        match op {
            Op::Death(claim) => mix(mix_peer(self.salt, &claim.suspect), [claim.suspect_incarnation]),
            Op::Row(_) | Op::Suspicion(_) => mark(self.salt, &op.id()),
        }
    }

    fn is_wanted(&self, row: &Row) -> bool {
        row.presence == Presence::Alive && (self.push.is_linked(&row.peer) || self.is_useful(row))
    }

    /// Whether it could feed this node, or says what there is to follow, now or later: an origin says so
    /// once, and nobody would tell a node that begins to follow after that.
    fn is_useful(&self, row: &Row) -> bool {
        let feeds = |entry: &TrackEntry| entry.depth.is_some() && entry.free > 0;
        row.tracks.iter().any(|(track, entry)| {
            entry.role != Role::Member || (feeds(entry) && self.own.body.tracks.contains_key(track))
        })
    }

    /// Whether a newcomer gets a place. If so another has gone, unless the newcomer is linked and
    /// nobody could go.
    fn make_room(&mut self, row: &Row) -> bool {
        let wanted = self.is_wanted(row);
        if row.presence != Presence::Alive || (!wanted && self.rng.u8(..LUCKY) != 0) {
            return false;
        }
        let Some(victim) = self.draw_victim(wanted) else {
            return self.push.is_linked(&row.peer);
        };
        if let Some(op) = self.table.entry(&victim).and_then(Entry::signed_row).and_then(SignedOp::op) {
            self.passed_on.insert(self.mark(op));
        }
        self.suspicions.forget(&victim);
        self.table.remove(&victim);
        true
    }

    /// A peer that is neither linked nor useful; if none is found, and a useful one may go, that.
    fn draw_victim(&mut self, or_useful: bool) -> Option<PeerId> {
        let mut useful = None;
        for _ in 0..PROBES_MAX {
            let row = self.table.sample_live(&mut self.rng)?;
            if row.peer == self.me || self.push.is_linked(&row.peer) {
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
