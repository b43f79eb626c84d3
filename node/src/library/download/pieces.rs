//! The pieces of a job: which are stored, which are asked for, how many sources have each.

use std::ops::Range;

use crate::library::{bitfield::PieceSet, piece::Piece};

/// Candidates looked at for the rarest. A package of up to 4 GiB is looked at as a whole, a larger one from a
/// random place on.
const CANDIDATES: u32 = 4096;

/// Takes about 12 bytes a piece.
#[derive(Debug)]
pub(super) struct Pieces {
    sizes: Box<[u32]>,
    /// Sources that have it.
    holders: Box<[u16]>,
    /// Requests for it that were not given up.
    requests: Box<[u8]>,
    stored: PieceSet,
    /// Here, but not stored.
    arrived: PieceSet,
    /// Neither here nor asked for.
    pool: PieceSet,
    bytes: u64,
    stored_bytes: u64,
    arrived_bytes: u64,
}

impl Pieces {
    pub(super) fn new(sizes: Box<[u32]>, stored: PieceSet) -> Self {
        let len = stored.len();
        assert_eq!(sizes.len(), len as usize, "the set is one of this package's pieces");
        let mut pool = PieceSet::empty(len);
        for piece in stored.missing() {
            pool.insert(piece);
        }
        let sum =
            |pieces: &mut dyn Iterator<Item = Piece>| pieces.map(|piece| u64::from(sizes[piece.0 as usize])).sum();
        let (bytes, stored_bytes) = (sum(&mut (0..len).map(Piece)), sum(&mut stored.iter()));
        Self {
            holders: vec![0; sizes.len()].into(),
            requests: vec![0; sizes.len()].into(),
            sizes,
            stored,
            arrived: PieceSet::empty(len),
            pool,
            bytes,
            stored_bytes,
            arrived_bytes: 0,
        }
    }

    pub(super) fn size(&self, piece: u32) -> u32 {
        self.sizes[piece as usize]
    }

    pub(super) const fn stored(&self) -> &PieceSet {
        &self.stored
    }

    /// What is neither here nor asked for.
    pub(super) const fn pool(&self) -> &PieceSet {
        &self.pool
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) const fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// Bytes here that wait for the disk.
    pub(super) const fn arrived_bytes(&self) -> u64 {
        self.arrived_bytes
    }

    pub(super) fn requests(&self, piece: u32) -> u8 {
        self.requests[piece as usize]
    }

    /// Whether the piece is here, stored or not.
    pub(super) fn is_here(&self, piece: u32) -> bool {
        self.stored.contains(Piece(piece)) || self.arrived.contains(Piece(piece))
    }

    /// A source has the piece now, or has it no more.
    pub(super) fn on_holder(&mut self, piece: Piece, has: bool) {
        let holders = &mut self.holders[piece.0 as usize];
        *holders = if has { holders.saturating_add(1) } else { holders.saturating_sub(1) };
    }

    /// Whether no second source has the piece: whoever was asked for it is the one to wait for.
    pub(super) fn has_one_holder(&self, piece: u32) -> bool {
        self.holders[piece as usize] <= 1
    }

    pub(super) fn on_requested(&mut self, piece: u32) {
        self.requests[piece as usize] += 1;
        self.pool.remove(Piece(piece));
    }

    /// A request for the piece was given up or has brought it.
    pub(super) fn on_request_over(&mut self, piece: u32) {
        self.requests[piece as usize] -= 1;
        self.pool_if_wanted(piece);
    }

    /// The piece is here.
    pub(super) fn on_arrived(&mut self, piece: u32) {
        self.arrived.insert(Piece(piece));
        self.arrived_bytes += u64::from(self.size(piece));
        self.pool.remove(Piece(piece));
    }

    /// The piece that was here is stored, or is gone. Says whether it was here.
    pub(super) fn on_settled(&mut self, piece: u32, stored: bool) -> bool {
        if !self.arrived.remove(Piece(piece)) {
            return false;
        }
        let bytes = u64::from(self.size(piece));
        self.arrived_bytes -= bytes;
        if stored {
            self.stored.insert(Piece(piece));
            self.stored_bytes += bytes;
        } else {
            self.pool_if_wanted(piece);
        }
        true
    }

    fn pool_if_wanted(&mut self, piece: u32) {
        if self.requests(piece) == 0 && !self.is_here(piece) {
            self.pool.insert(Piece(piece));
        }
    }

    /// Whether one of these is not stored.
    pub(super) fn lacks_any(&self, have: &PieceSet) -> bool {
        have.iter().any(|piece| !self.stored.contains(piece))
    }

    /// The next pieces to ask a source for that has these: a run of the rarest, of at most this many bytes. Goes
    /// on at `next` if nothing is rarer, otherwise somewhere at random. Even one piece may be too many bytes.
    pub(super) fn pick(&self, have: &PieceSet, bytes: u64, next: u32, rng: &mut fastrand::Rng) -> Option<Range<u32>> {
        let rarity = |piece: &Piece| self.holders[piece.0 as usize];
        let from = rng.u32(0..self.pool.len().max(1));
        let candidates = self.pool.both_from(have, from).take(CANDIDATES as usize);
        let mut first = candidates.min_by_key(rarity)?;
        let next = Piece(next);
        if self.pool.contains(next) && have.contains(next) && rarity(&next) <= rarity(&first) {
            first = next;
        }
        let mut room = bytes;
        let run = (first.0..self.pool.len()).map(Piece).take_while(|piece| {
            let size = u64::from(self.size(piece.0));
            let fits = size <= room;
            room = room.saturating_sub(size);
            fits && self.pool.contains(*piece) && have.contains(*piece) && rarity(piece) == rarity(&first)
        });
        let count = run.count() as u32;
        (count > 0).then_some(first.0..first.0 + count)
    }
}
