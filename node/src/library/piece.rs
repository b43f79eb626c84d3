//! Pieces: what is fetched, checked and remembered as a whole.
//!
//! A piece is 1 MiB of one file, the last one of a file the rest of it; an empty file has none. The pieces of a
//! package are numbered through all its files, in the manifest's order. A piece is a subtree of its file's
//! BLAKE3 tree, so that its hash and the hash of the file are made in one pass.

use blake3::{
    Hasher,
    hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root},
};

use super::manifest::Manifest;

/// Bytes of a piece.
pub const PIECE_BYTES: u32 = 1024 * 1024;
/// [`PIECE_BYTES`] as a size of files.
const PIECE: u64 = PIECE_BYTES as u64;

/// The hash of a file or of a piece.
pub type Hash = [u8; 32];

/// A piece of a package: its number over all files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Piece(pub u32);

/// Where a piece lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// Index of the file in the manifest.
    pub file: usize,
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// Its bytes, 1 to [`PIECE_BYTES`].
    pub bytes: u32,
}

/// Bytes that are not the piece; whoever sent them is at fault, or the disk that they were read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PieceError {
    /// The package has no such piece.
    #[error("the package has no piece {0}")]
    NoSuchPiece(u32),
    /// The piece has another size.
    #[error("piece {piece} has {expected} bytes, not {found}")]
    Length {
        /// Its number.
        piece: u32,
        /// Its bytes.
        expected: u32,
        /// What came.
        found: usize,
    },
    /// The piece has other bytes.
    #[error("piece {0} does not match its hash")]
    Hash(u32),
}

/// How many pieces a file of this size has.
#[must_use]
pub const fn count(file_bytes: u64) -> u64 {
    file_bytes.div_ceil(PIECE)
}

/// Checks that these bytes are the piece.
///
/// # Errors
/// [`PieceError`] if they are not.
pub fn verify(manifest: &Manifest, piece: Piece, bytes: &[u8]) -> Result<(), PieceError> {
    let at = manifest.locate(piece).ok_or(PieceError::NoSuchPiece(piece.0))?;
    if bytes.len() != at.bytes as usize {
        return Err(PieceError::Length { piece: piece.0, expected: at.bytes, found: bytes.len() });
    }
    let file = &manifest.files()[at.file];
    let matches = match file.pieces.as_ref() {
        [] => blake3::hash(bytes) == file.root,
        pieces => {
            let mut hasher = Hasher::new();
            hasher.set_input_offset(at.offset).update(bytes);
            // As `blake3::Hash` it is compared in constant time: a peer learns nothing from how long it takes.
            blake3::Hash::from(hasher.finalize_non_root()) == pieces[(at.offset / PIECE) as usize]
        }
    };
    if matches { Ok(()) } else { Err(PieceError::Hash(piece.0)) }
}

/// The hashes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHashes {
    /// Bytes of the file.
    pub size: u64,
    /// BLAKE3 of the file.
    pub root: Hash,
    /// The chaining values of its pieces; empty if it has at most one, whose hash is the root.
    pub pieces: Box<[Hash]>,
}

/// Hashes a file and its pieces in one pass. Keeps 32 bytes a piece.
#[derive(Debug, Default)]
pub struct FileHasher {
    /// The piece that is not complete.
    hasher: Hasher,
    bytes: u64,
    /// Complete ones. The first waits in the hasher for the second, because it may be all.
    pieces: Vec<Hash>,
}

impl FileHasher {
    /// Nothing hashed yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next bytes of the file. Whole pieces at once are fastest.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.bytes > 0 && self.bytes.is_multiple_of(PIECE) {
                self.pieces.push(self.hasher.finalize_non_root());
                self.hasher = Hasher::new();
                self.hasher.set_input_offset(self.bytes);
            }
            let room = PIECE - self.bytes % PIECE;
            let (now, later) = bytes.split_at(bytes.len().min(room as usize));
            self.hasher.update(now);
            self.bytes += now.len() as u64;
            bytes = later;
        }
    }

    /// The hashes of all that was added.
    #[must_use]
    pub fn finish(mut self) -> FileHashes {
        if self.pieces.is_empty() {
            let root = self.hasher.finalize().into();
            return FileHashes { size: self.bytes, root, pieces: Box::default() };
        }
        self.pieces.push(self.hasher.finalize_non_root());
        FileHashes { size: self.bytes, root: merge(&self.pieces), pieces: self.pieces.into() }
    }
}

/// The hash of the file that has these pieces, two or more.
pub(super) fn merge(pieces: &[Hash]) -> Hash {
    let (left, right) = halves(pieces);
    merge_subtrees_root(&merge_subtree(left), &merge_subtree(right), Mode::Hash).into()
}

/// Goes at most 32 levels deep.
fn merge_subtree(pieces: &[Hash]) -> Hash {
    if let [piece] = pieces {
        return *piece;
    }
    let (left, right) = halves(pieces);
    merge_subtrees_non_root(&merge_subtree(left), &merge_subtree(right), Mode::Hash)
}

/// The left subtree is the largest full one that leaves something to the right.
const fn halves(pieces: &[Hash]) -> (&[Hash], &[Hash]) {
    pieces.split_at(pieces.len().div_ceil(2).next_power_of_two())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::{
        manifest::{FileEntry, MODE_FILE},
        path::PackagePath,
    };

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at / 7 + at / 65_536 + len) as u8).collect()
    }

    fn hashes(bytes: &[u8], step: usize) -> FileHashes {
        let mut hasher = FileHasher::new();
        bytes.chunks(step).for_each(|bytes| hasher.update(bytes));
        hasher.finish()
    }

    #[test]
    fn the_hash_of_a_file_is_blake3_whatever_its_pieces_d6() {
        let piece = PIECE_BYTES as usize;
        for len in [0, 1, 1024, 1025, piece - 1, piece, piece + 1, 2 * piece, 3 * piece + 5, 4 * piece, 5 * piece + 1] {
            let bytes = bytes(len);
            let found = hashes(&bytes, piece);
            assert_eq!(found.root, *blake3::hash(&bytes).as_bytes(), "{len}");
            assert_eq!(found.size, len as u64);
            let expected = if len > piece { len.div_ceil(piece) } else { 0 };
            assert_eq!(found.pieces.len(), expected, "{len}");
            assert_eq!(hashes(&bytes, 300_007), found, "{len}");
        }
    }

    #[test]
    fn one_wrong_bit_or_byte_of_a_piece_is_seen_d6() {
        let piece = PIECE_BYTES as usize;
        let files = [2 * piece + 10, 0, 700, piece].map(bytes);
        let entry = |(index, bytes): (usize, &Vec<u8>)| {
            let path = PackagePath::new(&format!("file{index}")).expect("valid");
            FileEntry::new(path, MODE_FILE, hashes(bytes, piece))
        };
        let manifest = Manifest::new(files.iter().enumerate().map(entry).collect()).expect("valid");
        assert_eq!(manifest.piece_count(), 5);
        for number in 0..5 {
            let at = manifest.locate(Piece(number)).expect("there");
            let mut bytes = files[at.file][at.offset as usize..][..at.bytes as usize].to_vec();
            assert_eq!(verify(&manifest, Piece(number), &bytes), Ok(()));
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            assert_eq!(verify(&manifest, Piece(number), &bytes), Err(PieceError::Hash(number)));
            bytes[middle] ^= 1;
            bytes.push(0);
            assert!(matches!(verify(&manifest, Piece(number), &bytes), Err(PieceError::Length { .. })));
            let other = Piece((number + 1) % 5);
            assert!(verify(&manifest, other, &bytes[..at.bytes as usize]).is_err(), "{other:?}");
        }
        assert_eq!(verify(&manifest, Piece(5), &[]), Err(PieceError::NoSuchPiece(5)));
    }
}
