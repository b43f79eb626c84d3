//! Sums over the shared part of a table, by which two nodes see at once whether they agree.
//!
//! Each entry has a hash of its key and its versions; a bucket's sum adds up those of its entries,
//! and the root those of all. A sum hangs on no order, so a change costs a subtraction and an addition.

use crate::{
    PeerId,
    message::BUCKETS,
    mix::{mix, mix_peer},
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sums {
    buckets: Vec<u64>,
    root: u64,
}

/// What an entry adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Term {
    bucket: u8,
    hash: u64,
}

impl Term {
    pub(super) fn new(peer: &PeerId, row_version: (u64, u64), death_incarnation: Option<u64>) -> Self {
        let of_peer = mix_peer(0, peer);
        let death = death_incarnation.map_or(0, |incarnation| incarnation.saturating_add(1));
        Self { bucket: of_peer.to_be_bytes()[0], hash: mix(of_peer, [row_version.0, row_version.1, death]) }
    }
}

/// The bucket of a peer.
pub(crate) fn bucket(peer: &PeerId) -> u8 {
    mix_peer(0, peer).to_be_bytes()[0]
}

impl Default for Sums {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], root: 0 }
    }
}

impl Sums {
    pub(super) fn buckets(&self) -> &[u64] {
        &self.buckets
    }

    pub(super) const fn root(&self) -> u64 {
        self.root
    }

    pub(super) fn add(&mut self, term: Term) {
        self.change(term, term.hash);
    }

    pub(super) fn subtract(&mut self, term: Term) {
        self.change(term, term.hash.wrapping_neg());
    }

    fn change(&mut self, term: Term, by: u64) {
        let bucket = &mut self.buckets[usize::from(term.bucket)];
        *bucket = bucket.wrapping_add(by);
        self.root = self.root.wrapping_add(by);
    }
}
