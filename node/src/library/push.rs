//! Pushing a package to many: the source hands different pieces to different peers, which fetch the rest from
//! each other ("super-seeding").
//!
//! A peer is told of a few pieces of the source at a time, which nobody else was told of, and of more when it has
//! fetched these. When none are left, a peer that waits for nothing of the source is told of another's, those that
//! nobody has first. So each piece leaves the source once before any leaves it twice, and few do.

use std::{collections::BTreeMap, ops::Range};

use banyan_gossip::PeerId;

use super::{bitfield::PieceSet, piece::Piece};
pub use policy::{Accept, NoTarget, Targets};

mod policy;

/// Most peers that a package is pushed to at a time. Each takes two bits a piece.
pub const PEERS_MAX: usize = 4096;

/// Bytes that peers are ahead of what they have fetched, in all.
const AHEAD_BYTES: u64 = 64 * 1024 * 1024;
/// Least that a peer is ahead, unless the package is that small.
const PEER_AHEAD_BYTES_MIN: u64 = 2 * 1024 * 1024;

/// How many bytes each of so many peers is offered more than it has fetched: what a fast link carries in half a
/// second, but of a small package not much more than everybody's part of it, so that each piece leaves once.
#[must_use]
pub fn ahead_bytes(package_bytes: u64, peers: usize) -> u64 {
    let peers = peers.max(1) as u64;
    (AHEAD_BYTES / peers).max(PEER_AHEAD_BYTES_MIN).min((package_bytes / peers).max(1024 * 1024))
}

/// What the source of a package offers to whom. Takes about 8 bytes a piece.
#[derive(Debug)]
pub struct Offers {
    sizes: Box<[u32]>,
    /// How many peers have each piece or were offered it.
    copies: Box<[u16]>,
    /// How many peers have each piece.
    had: Box<[u16]>,
    ahead_bytes: u64,
    peers: BTreeMap<PeerId, Peer>,
}

#[derive(Debug)]
struct Peer {
    have: PieceSet,
    have_bytes: u64,
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
        let none: Box<[u16]> = vec![0; sizes.len()].into();
        Self { copies: none.clone(), had: none, sizes, ahead_bytes: ahead_bytes.max(1), peers: BTreeMap::new() }
    }

    /// A peer takes part and has these pieces. Says whether it can.
    pub fn handle_up(&mut self, peer: PeerId, have: PieceSet) -> bool {
        self.handle_down(&peer);
        if self.peers.len() >= PEERS_MAX || have.len() as usize != self.sizes.len() {
            return false;
        }
        for piece in have.iter() {
            self.copies[piece.0 as usize] += 1;
            self.had[piece.0 as usize] += 1;
        }
        let have_bytes = have.iter().map(|piece| u64::from(self.sizes[piece.0 as usize])).sum();
        self.peers.insert(peer, Peer { known: have.clone(), have, have_bytes, open_bytes: 0 });
        true
    }

    /// A peer says that it has more pieces.
    pub fn handle_has(&mut self, peer: &PeerId, pieces: Range<u32>) {
        let Some(peer) = self.peers.get_mut(peer) else { return };
        for piece in (pieces.start..pieces.end.min(peer.have.len())).map(Piece) {
            if !peer.have.insert(piece) {
                continue;
            }
            let bytes = u64::from(self.sizes[piece.0 as usize]);
            peer.have_bytes += bytes;
            self.had[piece.0 as usize] += 1;
            if peer.known.insert(piece) {
                self.copies[piece.0 as usize] += 1;
            } else {
                peer.open_bytes -= bytes;
            }
        }
    }

    /// A peer is gone.
    pub fn handle_down(&mut self, peer: &PeerId) {
        if let Some(peer) = self.peers.remove(peer) {
            peer.known.iter().for_each(|piece| self.copies[piece.0 as usize] -= 1);
            peer.have.iter().for_each(|piece| self.had[piece.0 as usize] -= 1);
        }
    }

    /// What a peer has or was offered; nothing if it takes no part.
    #[must_use]
    pub fn known(&self, peer: &PeerId) -> Option<&PieceSet> {
        self.peers.get(peer).map(|peer| &peer.known)
    }

    /// Bytes that a peer has.
    #[must_use]
    pub fn have_bytes(&self, peer: &PeerId) -> u64 {
        self.peers.get(peer).map_or(0, |peer| peer.have_bytes)
    }

    /// How many peers have all of it, of how many: what a barrier waits for.
    #[must_use]
    pub fn complete(&self) -> (usize, usize) {
        (self.peers.values().filter(|peer| peer.have.is_full()).count(), self.peers.len())
    }

    /// Whom to tell of which pieces next: the peer with the fewest open bytes of a run that nobody was offered, or
    /// one without any of a piece that others were.
    pub fn poll_offer(&mut self) -> Option<(PeerId, Range<u32>)> {
        // Half of what it is ahead: the next offer comes before it is through with this one.
        let most = self.ahead_bytes.div_ceil(2);
        let fresh = self.copies.iter().position(|copies| *copies == 0);
        let room = if fresh.is_some() { self.ahead_bytes } else { 1 };
        let open = self.peers.iter_mut().filter(|(_, peer)| peer.open_bytes < room && !peer.known.is_full());
        let (id, peer) = open.min_by_key(|(_, peer)| peer.open_bytes)?;
        let (first, most) = match fresh {
            Some(first) => (first, most),
            None => {
                let rarity = |piece: &Piece| (self.had[piece.0 as usize], self.copies[piece.0 as usize]);
                (peer.known.missing().min_by_key(rarity)?.0 as usize, 1)
            }
        };
        let (copies, mut end, mut bytes) = (self.copies[first], first, 0);
        while bytes < most && self.copies.get(end) == Some(&copies) && peer.known.insert(Piece(end as u32)) {
            self.copies[end] += 1;
            bytes += u64::from(self.sizes[end]);
            end += 1;
        }
        peer.open_bytes += bytes;
        Some((*id, first as u32..end as u32))
    }
}

#[cfg(test)]
mod tests;
