//! Serving pieces to others: whose turn it is, and when the answer is "busy".
//!
//! Peers share the uplink by deficit round robin, whatever they ask for; what one peer does not read does not
//! hold up the others. What may wait is bounded for each peer and in all.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use banyan_gossip::PeerId;

use super::{download::RequestId, manifest::Manifest, piece::Piece};
use crate::streams::drr::{Drr, QUANTUM_BYTES};

/// Bytes that a turn is worth, and the most of a block.
pub const BLOCK_BYTES: u32 = 128 * 1024;
const WEIGHT: u8 = (BLOCK_BYTES as usize / QUANTUM_BYTES) as u8;

/// The bounds of serving. What waits are names of pieces, not their bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Peers served at a time.
    pub peers: usize,
    /// Requests of one peer that wait.
    pub peer_requests: usize,
    /// Pieces of one request.
    pub request_pieces: u32,
    /// Bytes that wait for one peer.
    pub peer_bytes: u64,
    /// Bytes that wait in all.
    pub bytes: u64,
    /// When a peer that was refused may ask again.
    pub retry_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            peers: 64,
            peer_requests: 1024,
            request_pieces: 8192,
            peer_bytes: 128 * 1024 * 1024,
            bytes: 1024 * 1024 * 1024,
            retry_after: Duration::from_millis(500),
        }
    }
}

/// A request that is not served; nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too much waits; the peer may ask again after this long.
    #[error("this node is busy")]
    Busy(Duration),
    /// The peer is at fault: such a request does not exist.
    #[error("the request asks for no pieces, too many, or some that the package does not have, or was made before")]
    Invalid,
}

/// What to send next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Bytes of a piece.
    Block {
        /// To whom.
        peer: PeerId,
        /// By which request.
        request: RequestId,
        /// Of which package.
        manifest: Arc<Manifest>,
        /// Of which piece.
        piece: Piece,
        /// Where they begin in the piece.
        offset: u32,
        /// How many, at most [`BLOCK_BYTES`].
        bytes: u32,
    },
    /// The request is answered.
    End {
        /// To whom.
        peer: PeerId,
        /// Which.
        request: RequestId,
    },
}

/// Everything that this node owes to others.
#[derive(Debug, Default)]
pub struct Serve {
    config: Config,
    peers: BTreeMap<PeerId, Queue>,
    ring: Drr<PeerId>,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Queue {
    requests: VecDeque<Request>,
    bytes: u64,
    /// The way to the peer does not take more.
    blocked: bool,
    in_ring: bool,
}

#[derive(Debug)]
struct Request {
    id: RequestId,
    manifest: Arc<Manifest>,
    pieces: Range<u32>,
    /// What of the first piece was sent.
    offset: u32,
    cancelled: BTreeSet<u32>,
}

impl Request {
    /// The piece that is being sent, and its size, if any is left.
    fn front(&mut self) -> Option<(u32, u32)> {
        while self.cancelled.remove(&self.pieces.start) {
            self.pieces.start += 1;
        }
        let piece = self.pieces.clone().next()?;
        Some((piece, size(&self.manifest, piece)))
    }
}

fn size(manifest: &Manifest, piece: u32) -> u32 {
    manifest.locate(Piece(piece)).map_or(0, |at| at.bytes)
}

impl Queue {
    /// Bytes of the next output; nothing if there is none.
    fn next_bytes(&mut self) -> Option<u32> {
        if self.blocked {
            return None;
        }
        let request = self.requests.front_mut()?;
        Some(request.front().map_or(0, |(_, size)| (size - request.offset).min(BLOCK_BYTES)))
    }
}

impl Serve {
    /// Owes nothing.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, ..Self::default() }
    }

    /// Bytes owed to a peer, and in all.
    #[must_use]
    pub fn queued_bytes(&self, peer: &PeerId) -> (u64, u64) {
        (self.peers.get(peer).map_or(0, |queue| queue.bytes), self.bytes)
    }

    /// A peer asks for pieces of a package. That these are here is for the caller to check.
    ///
    /// # Errors
    /// [`Refused`]: tell the peer.
    pub fn handle_request(
        &mut self,
        peer: PeerId,
        id: RequestId,
        manifest: &Arc<Manifest>,
        pieces: Range<u32>,
    ) -> Result<(), Refused> {
        let count = pieces.end.saturating_sub(pieces.start);
        let queue = self.peers.get(&peer);
        // Ids grow.
        let known = queue.and_then(|queue| queue.requests.back()).is_some_and(|last| last.id >= id);
        if count == 0 || count > self.config.request_pieces || pieces.end > manifest.piece_count() || known {
            return Err(Refused::Invalid);
        }
        let bytes: u64 = pieces.clone().map(|piece| u64::from(size(manifest, piece))).sum();
        let fits = match queue {
            None => self.peers.len() < self.config.peers && bytes <= self.config.peer_bytes,
            Some(queue) => {
                queue.requests.len() < self.config.peer_requests && queue.bytes + bytes <= self.config.peer_bytes
            }
        };
        if !fits || self.bytes + bytes > self.config.bytes {
            return Err(Refused::Busy(self.config.retry_after));
        }
        let queue = self.peers.entry(peer).or_default();
        let (manifest, cancelled) = (manifest.clone(), BTreeSet::new());
        queue.requests.push_back(Request { id, manifest, pieces, offset: 0, cancelled });
        queue.bytes += bytes;
        self.bytes += bytes;
        self.wake(peer);
        Ok(())
    }

    /// A peer needs a piece no more, or not the rest of it.
    pub fn handle_cancel(&mut self, peer: PeerId, id: RequestId, piece: Piece) {
        let Some(queue) = self.peers.get_mut(&peer) else { return };
        let Ok(index) = queue.requests.binary_search_by_key(&id, |request| request.id) else { return };
        let request = &mut queue.requests[index];
        if !request.pieces.contains(&piece.0) || !request.cancelled.insert(piece.0) {
            return;
        }
        let sent = if piece.0 == request.pieces.start { std::mem::take(&mut request.offset) } else { 0 };
        let bytes = u64::from(size(&request.manifest, piece.0) - sent);
        queue.bytes -= bytes;
        self.bytes -= bytes;
    }

    /// Whether the way to a peer takes more now. That is forgotten while nothing waits for the peer, so there can
    /// be one output for a peer that is not ready.
    pub fn handle_ready(&mut self, peer: PeerId, ready: bool) {
        if let Some(queue) = self.peers.get_mut(&peer).filter(|queue| !queue.requests.is_empty()) {
            queue.blocked = !ready;
            self.wake(peer);
        }
    }

    /// A peer is gone, and is owed nothing.
    pub fn handle_down(&mut self, peer: PeerId) {
        if let Some(queue) = self.peers.get_mut(&peer) {
            self.bytes -= queue.bytes;
            // Its place in the ring stays until its turn, or it could have more than one by coming again.
            *queue = Queue { in_ring: queue.in_ring, ..Queue::default() };
            if !queue.in_ring {
                self.peers.remove(&peer);
            }
        }
    }

    /// What to send next.
    pub fn poll_output(&mut self) -> Option<Output> {
        let Self { peers, ring, .. } = self;
        let peer = ring.next(|peer| {
            let queue = peers.get_mut(&peer)?;
            let bytes = queue.next_bytes();
            queue.in_ring = bytes.is_some();
            if queue.requests.is_empty() {
                peers.remove(&peer);
            }
            bytes.map(|bytes| bytes as usize)
        })?;
        let queue = self.peers.get_mut(&peer)?;
        let request = queue.requests.front_mut()?;
        let id = request.id;
        let Some((piece, size)) = request.front() else {
            queue.requests.pop_front();
            return Some(Output::End { peer, request: id });
        };
        let offset = request.offset;
        let bytes = (size - offset).min(BLOCK_BYTES);
        request.offset += bytes;
        if request.offset == size {
            request.offset = 0;
            request.pieces.start += 1;
        }
        queue.bytes -= u64::from(bytes);
        self.bytes -= u64::from(bytes);
        let manifest = request.manifest.clone();
        Some(Output::Block { peer, request: id, manifest, piece: Piece(piece), offset, bytes })
    }

    fn wake(&mut self, peer: PeerId) {
        if let Some(queue) = self.peers.get_mut(&peer)
            && !queue.blocked
            && !queue.requests.is_empty()
            && !std::mem::replace(&mut queue.in_ring, true)
        {
            self.ring.push(peer, WEIGHT);
        }
    }
}

#[cfg(test)]
mod tests;
