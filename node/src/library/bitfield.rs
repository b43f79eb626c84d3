//! Sets of pieces: what a node has, needs or announces of a package.

use std::fmt;

use super::piece::Piece;

/// A set of pieces of a package with a known number of them. Takes a bit for each, at most 400 KiB.
#[derive(Clone, PartialEq, Eq)]
pub struct PieceSet {
    words: Box<[u64]>,
    /// How many pieces the package has.
    len: u32,
    /// How many are in the set.
    count: u32,
}

/// Bytes that are no set of pieces of this package; whoever sent them is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a set of {0} pieces")]
pub struct InvalidPieceSet(pub u32);

impl PieceSet {
    /// None of this many pieces.
    #[must_use]
    pub fn empty(len: u32) -> Self {
        Self { words: vec![0; len.div_ceil(64) as usize].into(), len, count: 0 }
    }

    /// All of this many pieces.
    #[must_use]
    pub fn full(len: u32) -> Self {
        let mut set = Self { words: vec![u64::MAX; len.div_ceil(64) as usize].into(), len, count: len };
        if let (Some(last), 1..) = (set.words.last_mut(), len % 64) {
            *last = (1 << (len % 64)) - 1;
        }
        set
    }

    /// How many pieces the package has.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// How many pieces are in the set.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Whether no piece is in the set.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether all pieces are in the set.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.count == self.len
    }

    /// Whether the piece is in the set; one that the package does not have never is.
    #[must_use]
    pub fn contains(&self, piece: Piece) -> bool {
        self.words.get(piece.0 as usize / 64).is_some_and(|word| word >> (piece.0 % 64) & 1 == 1)
    }

    /// Puts a piece into the set. Says whether it is new there; one that the package does not have is not.
    pub fn insert(&mut self, piece: Piece) -> bool {
        let new = piece.0 < self.len && !self.contains(piece);
        if new {
            self.words[piece.0 as usize / 64] |= 1 << (piece.0 % 64);
            self.count += 1;
        }
        new
    }

    /// Takes a piece out of the set. Says whether it was there.
    pub fn remove(&mut self, piece: Piece) -> bool {
        let there = self.contains(piece);
        if there {
            self.words[piece.0 as usize / 64] &= !(1 << (piece.0 % 64));
            self.count -= 1;
        }
        there
    }

    /// The pieces in the set, in order.
    pub fn iter(&self) -> impl Iterator<Item = Piece> {
        (0..).zip(&self.words).flat_map(|(at, word)| Ones(*word).map(move |bit| Piece(at * 64 + bit)))
    }

    /// The pieces that are not in the set, in order.
    pub fn missing(&self) -> impl Iterator<Item = Piece> {
        let zeros = (0..).zip(&self.words).flat_map(|(at, word)| Ones(!word).map(move |bit| Piece(at * 64 + bit)));
        zeros.take_while(|piece| piece.0 < self.len)
    }

    /// The pieces in both sets, in order from this one on and then from the first. Both are sets of the same
    /// package.
    pub(super) fn both_from(&self, other: &Self, from: u32) -> impl Iterator<Item = Piece> {
        let words = self.words.len().min(other.words.len()) as u32;
        let start = (from / 64).min(words);
        // The word in which it starts comes last again, for its lower bits.
        let low = move |at: u32| if at == start { (1 << (from % 64)) - 1 } else { 0 };
        let head = (start..words).map(move |at| (at, !low(at)));
        let tail = (0..words.min(start + 1)).map(move |at| (at, if at == start { low(at) } else { u64::MAX }));
        head.chain(tail).flat_map(move |(at, mask)| {
            let word = self.words[at as usize] & other.words[at as usize] & mask;
            Ones(word).map(move |bit| Piece(at * 64 + bit))
        })
    }

    /// The set as bytes, one bit a piece, the lowest bit of the first byte first; the rest of the last byte is 0.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.truncate(self.len.div_ceil(8) as usize);
        bytes
    }

    /// Reads a set of pieces of a package that has this many.
    ///
    /// # Errors
    /// [`InvalidPieceSet`] if the bytes are fewer or more, or hold other pieces.
    pub fn from_bytes(bytes: &[u8], len: u32) -> Result<Self, InvalidPieceSet> {
        if bytes.len() != len.div_ceil(8) as usize {
            return Err(InvalidPieceSet(len));
        }
        let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        let words: Box<[u64]> = bytes.chunks(8).map(word).collect();
        let beyond = !len.is_multiple_of(64) && words.last().is_some_and(|last| last >> (len % 64) != 0);
        if beyond {
            return Err(InvalidPieceSet(len));
        }
        let count = words.iter().map(|word| word.count_ones()).sum();
        Ok(Self { words, len, count })
    }
}

impl fmt::Debug for PieceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} pieces", self.count, self.len)
    }
}

/// The bits of a word that are set, from the lowest.
struct Ones(u64);

impl Iterator for Ones {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let bit = self.0.trailing_zeros();
        self.0 &= self.0.wrapping_sub(1);
        (bit < 64).then_some(bit)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_set_knows_its_ends() {
        for len in [0, 1, 7, 8, 63, 64, 65, 200] {
            let full = PieceSet::full(len);
            assert!(full.is_full() && full.iter().count() == len as usize && full.missing().next().is_none(), "{len}");
            let mut other = PieceSet::empty(len);
            assert!(other.is_empty() && other.missing().count() == len as usize, "{len}");
            (0..len).for_each(|piece| assert!(other.insert(Piece(piece))));
            assert!(!other.insert(Piece(len)) && !other.insert(Piece(u32::MAX)) && !other.contains(Piece(len)));
            assert_eq!(other, full);
            assert_eq!(PieceSet::from_bytes(&full.to_bytes(), len), Ok(full));
        }
        assert!(PieceSet::from_bytes(&[0xff], 7).is_err());
        assert!(PieceSet::from_bytes(&[0], 9).is_err());
        assert!(PieceSet::from_bytes(&[0; 3], 9).is_err());
    }

    proptest! {
        #[test]
        fn a_set_is_a_set(len in 0u32..300, steps in prop::collection::vec((any::<bool>(), 0u32..320), 0..200)) {
            let (mut set, mut model) = (PieceSet::empty(len), BTreeSet::new());
            for (insert, piece) in steps {
                if insert {
                    prop_assert_eq!(set.insert(Piece(piece)), piece < len && model.insert(piece));
                } else {
                    prop_assert_eq!(set.remove(Piece(piece)), model.remove(&piece));
                }
            }
            prop_assert_eq!(set.count() as usize, model.len());
            let missing: Vec<_> = (0..len).filter(|piece| !model.contains(piece)).map(Piece).collect();
            prop_assert_eq!(set.missing().collect::<Vec<_>>(), missing);
            prop_assert_eq!(set.iter().map(|piece| piece.0).collect::<BTreeSet<_>>(), model);
            prop_assert_eq!(PieceSet::from_bytes(&set.to_bytes(), len), Ok(set));
        }

        #[test]
        fn both_is_the_intersection_turned(a in prop::collection::vec(0u32..200, 0..99), from in 0u32..200) {
            let (mut set, mut other) = (PieceSet::empty(200), PieceSet::empty(200));
            for (index, piece) in a.iter().enumerate() {
                set.insert(Piece(*piece));
                if index % 3 > 0 {
                    other.insert(Piece(*piece));
                }
            }
            let both = || other.iter().filter(|piece| set.contains(*piece));
            let turned = both().filter(|piece| piece.0 >= from).chain(both().filter(|piece| piece.0 < from));
            prop_assert_eq!(set.both_from(&other, from).collect::<Vec<_>>(), turned.collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_are_a_set_or_an_error(bytes in any::<Vec<u8>>(), len in 0u32..2048) {
            if let Ok(set) = PieceSet::from_bytes(&bytes, len) {
                prop_assert_eq!(set.to_bytes(), bytes);
            }
        }
    }
}
