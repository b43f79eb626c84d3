//! Pushing a package to many: the source hands different pieces to different peers, which fetch the rest from
//! each other ("super-seeding").
//!
//! A peer is told of a few pieces of the source at a time, which nobody else was told of, and of more when it has
//! fetched these. When none are left, the others have the rest to come from each other. Only what does not come is
//! offered a second time: a piece whose peer fetches nothing of the source for much longer than peers usually need for
//! a piece, and any piece to a peer that others bring nothing. So each piece leaves the source once before any leaves it
//! twice, and few do.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::{Duration, Instant},
};

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

/// A peer is late when it needed this many times as long as peers need for a piece, and at least so long.
const LATE: (u32, Duration) = (3, Duration::from_secs(1));
/// So long a piece takes before any was fetched.
const FIRST_TIME: Duration = Duration::from_secs(3);

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
    /// How long a peer waits for a piece of the source: an exponentially weighted moving average.
    time: Duration,
    peers: BTreeMap<PeerId, Peer>,
    /// Who will take part, or does, and may know of nothing but what it is offered.
    meant: BTreeSet<PeerId>,
    none: PieceSet,
}

#[derive(Debug)]
struct Peer {
    have: PieceSet,
    have_bytes: u64,
    /// What it has or was offered.
    known: PieceSet,
    /// Bytes that it was offered and does not have.
    open_bytes: u64,
    /// When it had the last piece that it was offered, or was offered one after it had all of these.
    served: Instant,
    /// When it had the last piece of somebody else.
    fed: Instant,
}

impl Peer {
    /// Says whether it did not know of it.
    fn offer(&mut self, now: Instant, piece: Piece, bytes: u32) -> bool {
        let new = self.known.insert(piece);
        if new {
            if self.open_bytes == 0 {
                self.served = now;
            }
            self.open_bytes += u64::from(bytes);
        }
        new
    }

    /// What it was offered and does not have.
    fn open(&self) -> impl Iterator<Item = Piece> {
        self.known.iter().filter(|piece| !self.have.contains(*piece))
    }
}

impl Offers {
    /// Nobody was offered anything of a package with pieces of these sizes, which these peers are meant to have. A peer
    /// is offered about this many bytes more than it has fetched: enough for a second, so that it never waits for an
    /// offer.
    #[must_use]
    pub fn new(
        sizes: impl IntoIterator<Item = u32>,
        ahead_bytes: u64,
        meant: impl IntoIterator<Item = PeerId>,
    ) -> Self {
        let sizes: Box<[u32]> = sizes.into_iter().collect();
        let counts: Box<[u16]> = vec![0; sizes.len()].into();
        Self {
            copies: counts.clone(),
            had: counts,
            none: PieceSet::empty(sizes.len() as u32),
            sizes,
            ahead_bytes: ahead_bytes.max(1),
            time: FIRST_TIME,
            peers: BTreeMap::new(),
            meant: meant.into_iter().collect(),
        }
    }

    /// A peer takes part and has these pieces. Says whether it can.
    pub fn handle_up(&mut self, now: Instant, peer: PeerId, have: PieceSet) -> bool {
        self.handle_down(&peer);
        if self.peers.len() >= PEERS_MAX || have.len() as usize != self.sizes.len() {
            return false;
        }
        for piece in have.iter() {
            self.copies[piece.0 as usize] += 1;
            self.had[piece.0 as usize] += 1;
        }
        let have_bytes = have.iter().map(|piece| u64::from(self.sizes[piece.0 as usize])).sum();
        self.peers.insert(peer, Peer { known: have.clone(), have, have_bytes, open_bytes: 0, served: now, fed: now });
        true
    }

    /// A peer says that it has more pieces.
    pub fn handle_has(&mut self, now: Instant, peer: &PeerId, pieces: Range<u32>) {
        let late = self.late();
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
                peer.fed = now;
            } else {
                peer.open_bytes -= bytes;
                let took = now.saturating_duration_since(peer.served).min(late);
                self.time = (self.time * 7 + took) / 8;
                peer.served = now;
            }
        }
    }

    /// A peer will not have it: it is like any other.
    pub fn handle_out(&mut self, peer: &PeerId) {
        self.handle_down(peer);
        self.meant.remove(peer);
    }

    /// A peer is gone, and may come back.
    pub fn handle_down(&mut self, peer: &PeerId) {
        if let Some(peer) = self.peers.remove(peer) {
            peer.known.iter().for_each(|piece| self.copies[piece.0 as usize] -= 1);
            peer.have.iter().for_each(|piece| self.had[piece.0 as usize] -= 1);
        }
    }

    /// What a peer may know of: what it has or was offered. Nothing if that is no matter of this push.
    #[must_use]
    pub fn known(&self, peer: &PeerId) -> Option<&PieceSet> {
        let meant = || self.meant.contains(peer).then_some(&self.none);
        self.peers.get(peer).map(|peer| &peer.known).or_else(meant)
    }

    /// Whether a peer takes part.
    #[must_use]
    pub fn is_up(&self, peer: &PeerId) -> bool {
        self.peers.contains_key(peer)
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
    /// somebody of a piece that does not come otherwise.
    pub fn poll_offer(&mut self, now: Instant) -> Option<(PeerId, Range<u32>)> {
        let fresh = self.copies.iter().position(|copies| *copies == 0);
        let (id, first, most) = match fresh {
            Some(first) => {
                let open = self.peers.iter().filter(|(_, peer)| peer.open_bytes < self.ahead_bytes);
                let (id, _) = open.min_by_key(|(_, peer)| peer.open_bytes)?;
                // Half of what it is ahead: the next offer comes before it is through with this one.
                (*id, first as u32, self.ahead_bytes.div_ceil(2))
            }
            None => {
                let (id, piece) = self.second(now)?;
                (id, piece.0, 1)
            }
        };
        let peer = self.peers.get_mut(&id)?;
        let copies = self.copies[first as usize];
        let (mut end, mut bytes) = (first, 0);
        while bytes < most
            && self.copies.get(end as usize) == Some(&copies)
            && peer.offer(now, Piece(end), self.sizes[end as usize])
        {
            self.copies[end as usize] += 1;
            bytes += u64::from(self.sizes[end as usize]);
            end += 1;
        }
        Some((id, first..end))
    }

    /// Whom to offer which piece although others were offered it, since it does not come.
    fn second(&self, now: Instant) -> Option<(PeerId, Piece)> {
        let late = self.late();
        let is_late = |since: Instant| now.saturating_duration_since(since) >= late;
        let (had, copies) = (|piece: Piece| self.had[piece.0 as usize], |piece: Piece| self.copies[piece.0 as usize]);
        let waiting = || self.peers.values().filter(|peer| peer.open_bytes > 0 && is_late(peer.served));
        // What nobody has, and all that were offered it are late.
        let mut stuck: BTreeMap<Piece, u16> = BTreeMap::new();
        for piece in waiting().flat_map(Peer::open).filter(|piece| had(*piece) == 0) {
            *stuck.entry(piece).or_default() += 1;
        }
        stuck.retain(|piece, late| *late == copies(*piece));
        let mut idle = self.peers.iter().filter(|(_, peer)| peer.open_bytes == 0 && !peer.known.is_full());
        idle.find_map(|(id, peer)| {
            // A peer that others bring nothing is not offered what nobody has: they could not.
            let unfed = is_late(peer.fed).then(|| peer.known.missing().filter(|piece| had(*piece) > 0));
            let stuck = stuck.keys().copied().filter(|piece| !peer.known.contains(*piece));
            let piece = stuck.chain(unfed.into_iter().flatten()).min_by_key(|piece| (had(*piece), copies(*piece)))?;
            Some((*id, piece))
        })
    }

    fn late(&self) -> Duration {
        (self.time * LATE.0).max(LATE.1)
    }
}

#[cfg(test)]
mod tests;
