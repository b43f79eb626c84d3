//! Pushing a package to many: the source hands different pieces to different peers, which fetch the rest from
//! each other ("super-seeding").
//!
//! A peer is told of a few pieces of the source at a time, those with the fewest copies first, and of more when it
//! has fetched these. So each piece leaves the source about once before any leaves it twice.

use std::{collections::BTreeMap, ops::Range};

use banyan_gossip::PeerId;

use super::{bitfield::PieceSet, piece::Piece};

/// Most peers that a package is pushed to at a time. Each takes two bits a piece.
pub const PEERS_MAX: usize = 4096;

/// What the source of a package offers to whom. Takes about 6 bytes a piece.
#[derive(Debug)]
pub struct Offers {
    sizes: Box<[u32]>,
    /// How many peers have each piece or were offered it.
    copies: Box<[u16]>,
    ahead_bytes: u64,
    peers: BTreeMap<PeerId, Peer>,
}

#[derive(Debug)]
struct Peer {
    have: PieceSet,
    /// What it has or was offered.
    known: PieceSet,
    /// Bytes that it was offered and does not have.
    open_bytes: u64,
}

impl Offers {
    /// Nobody was offered anything of a package with pieces of these sizes. A peer is offered about this many
    /// bytes more than it has fetched: enough for a second, so that it never waits for an offer.
    #[must_use]
    pub fn new(sizes: impl IntoIterator<Item = u32>, ahead_bytes: u64) -> Self {
        let sizes: Box<[u32]> = sizes.into_iter().collect();
        Self { copies: vec![0; sizes.len()].into(), sizes, ahead_bytes: ahead_bytes.max(1), peers: BTreeMap::new() }
    }

    /// A peer takes part and has these pieces. Says whether it can.
    pub fn handle_up(&mut self, peer: PeerId, have: PieceSet) -> bool {
        self.handle_down(&peer);
        if self.peers.len() >= PEERS_MAX || have.len() as usize != self.sizes.len() {
            return false;
        }
        have.iter().for_each(|piece| self.copies[piece.0 as usize] += 1);
        self.peers.insert(peer, Peer { known: have.clone(), have, open_bytes: 0 });
        true
    }

    /// A peer says that it has more pieces.
    pub fn handle_has(&mut self, peer: &PeerId, pieces: Range<u32>) {
        let Some(peer) = self.peers.get_mut(peer) else { return };
        for piece in (pieces.start..pieces.end.min(peer.have.len())).map(Piece) {
            if !peer.have.insert(piece) {
                continue;
            }
            if peer.known.insert(piece) {
                self.copies[piece.0 as usize] += 1;
            } else {
                peer.open_bytes -= u64::from(self.sizes[piece.0 as usize]);
            }
        }
    }

    /// A peer is gone.
    pub fn handle_down(&mut self, peer: &PeerId) {
        if let Some(peer) = self.peers.remove(peer) {
            peer.known.iter().for_each(|piece| self.copies[piece.0 as usize] -= 1);
        }
    }

    /// How many peers have all of it, of how many: what a barrier waits for.
    #[must_use]
    pub fn complete(&self) -> (usize, usize) {
        (self.peers.values().filter(|peer| peer.have.is_full()).count(), self.peers.len())
    }

    /// Whom to tell of which pieces next: the peer with the fewest open bytes, of a run of the rarest pieces.
    pub fn poll_offer(&mut self) -> Option<(PeerId, Range<u32>)> {
        let open =
            self.peers.iter_mut().filter(|(_, peer)| peer.open_bytes < self.ahead_bytes && !peer.known.is_full());
        let (id, peer) = open.min_by_key(|(_, peer)| peer.open_bytes)?;
        let copies = &mut self.copies;
        let first = peer.known.missing().min_by_key(|piece| copies[piece.0 as usize])?;
        let rarity = copies[first.0 as usize];
        let mut end = first.0;
        // Half of what it is ahead: the next offer comes before it is through with this one.
        let most = self.ahead_bytes.div_ceil(2);
        let mut bytes = 0;
        while bytes < most && copies.get(end as usize) == Some(&rarity) && peer.known.insert(Piece(end)) {
            copies[end as usize] += 1;
            bytes += u64::from(self.sizes[end as usize]);
            end += 1;
        }
        peer.open_bytes += bytes;
        Some((*id, first.0..end))
    }
}

#[cfg(test)]
mod tests;
