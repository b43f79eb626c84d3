//! Manifests: every file of a package, by name and hash.
//!
//! On the wire and on disk a manifest is CBOR, and always the same CBOR: `[1, [[path, size, mode, root, pieces],
//! …]]`, sorted by path, `root` 32 bytes, `pieces` 32 bytes for each piece of a file that has several, otherwise
//! nothing. Its BLAKE3 hash is the package's id. A manifest that was decoded is consistent: its pieces make up the
//! roots, its paths can lie beside each other. What it says of the bytes shows when they are there.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_bytes::{ByteArray, ByteBuf, Bytes};

use super::{
    path::{Collision, PackagePath, check_collisions},
    piece::{self, FileHashes, Hash, Location, PIECE_BYTES, Piece},
};

/// Most files of a package.
pub const FILES_MAX: usize = 1_000_000;
/// Largest manifest, in bytes. It bounds the pieces, too: a package has at most 2 TiB in large files. In memory
/// a manifest takes a few times as much.
pub const MANIFEST_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The mode of a file that is no program.
pub const MODE_FILE: u32 = 0o644;
/// The mode of a file that is a program.
pub const MODE_PROGRAM: u32 = 0o755;

const FORMAT: u8 = 1;

/// Names a package by its content: the BLAKE3 hash of its manifest. As text 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageId(pub Hash);

/// A text that is no package id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a package id: 64 hexadecimal digits")]
pub struct InvalidPackageId;

/// A file of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Where it lies, from the package's folder.
    pub path: PackagePath,
    /// Its bytes.
    pub size: u64,
    /// [`MODE_FILE`] or [`MODE_PROGRAM`].
    pub mode: u32,
    /// BLAKE3 of the file.
    pub root: Hash,
    /// The chaining values of its pieces; empty if it has at most one, whose hash is the root.
    pub pieces: Box<[Hash]>,
}

/// Every file of a package, sorted by path.
#[derive(Clone)]
pub struct Manifest {
    files: Vec<FileEntry>,
    /// For each file its first piece, and at the end the number of pieces.
    first_pieces: Vec<u32>,
    bytes: u64,
    id: PackageId,
}

/// A manifest that is none; whoever wrote it is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is too large.
    #[error("the manifest has more than 1000000 files or 67108864 bytes")]
    Large,
    /// It is no CBOR of a manifest.
    #[error("the manifest cannot be read: {0}")]
    Malformed(String),
    /// It is not written the one way that there is.
    #[error("the manifest is not in canonical form")]
    NotCanonical,
    /// The paths are not in order, or one is there twice.
    #[error("the manifest is not sorted at {0:?}")]
    Unsorted(PackagePath),
    /// Two paths cannot lie beside each other.
    #[error(transparent)]
    Collision(#[from] Collision),
    /// A path is in a folder that belongs to the node.
    #[error("the manifest has a path that belongs to the node, {0:?}")]
    Reserved(PackagePath),
    /// A mode is neither [`MODE_FILE`] nor [`MODE_PROGRAM`].
    #[error("the manifest has a file with another mode than 644 or 755, {0:?}")]
    Mode(PackagePath),
    /// The pieces of a file do not make up its size and hash.
    #[error("the manifest has a file whose pieces are not those of its hash, {0:?}")]
    Pieces(PackagePath),
}

impl FileEntry {
    /// A file with these hashes.
    #[must_use]
    pub fn new(path: PackagePath, mode: u32, hashes: FileHashes) -> Self {
        let FileHashes { size, root, pieces } = hashes;
        Self { path, size, mode, root, pieces }
    }

    fn check(&self) -> Result<(), ManifestError> {
        if self.path.is_reserved() {
            return Err(ManifestError::Reserved(self.path.clone()));
        }
        if self.mode != MODE_FILE && self.mode != MODE_PROGRAM {
            return Err(ManifestError::Mode(self.path.clone()));
        }
        let consistent = match self.pieces.as_ref() {
            [] if self.size == 0 => self.root == *blake3::hash(&[]).as_bytes(),
            [] => self.size <= PIECE_BYTES.into(),
            [_] => false,
            pieces => pieces.len() as u64 == piece::count(self.size) && piece::merge(pieces) == self.root,
        };
        if consistent { Ok(()) } else { Err(ManifestError::Pieces(self.path.clone())) }
    }
}

impl Manifest {
    /// The manifest of these files, in any order.
    ///
    /// # Errors
    /// [`ManifestError`] if they cannot make up a package.
    pub fn new(mut files: Vec<FileEntry>) -> Result<Self, ManifestError> {
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Self::of_sorted(files)
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// [`ManifestError`] if the bytes are not exactly one manifest in canonical form.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::Large);
        }
        let id = PackageId::of(bytes);
        let (format, files): (u8, Vec<FileEntry>) = ciborium::de::from_reader_with_recursion_limit(&mut bytes, 8)
            .map_err(|error| ManifestError::Malformed(error.to_string()))?;
        if format != FORMAT {
            return Err(ManifestError::Malformed(format!("format {format}, not {FORMAT}")));
        }
        let manifest = Self::of_sorted(files)?;
        // The same hash is the same bytes.
        if manifest.id == id { Ok(manifest) } else { Err(ManifestError::NotCanonical) }
    }

    fn of_sorted(files: Vec<FileEntry>) -> Result<Self, ManifestError> {
        if files.len() > FILES_MAX {
            return Err(ManifestError::Large);
        }
        if let Some(pair) = files.windows(2).find(|pair| pair[0].path >= pair[1].path) {
            return Err(ManifestError::Unsorted(pair[1].path.clone()));
        }
        files.iter().try_for_each(FileEntry::check)?;
        check_collisions(files.iter().map(|file| &file.path))?;
        let mut encoding = Encoding::default();
        ciborium::into_writer(&(FORMAT, &files), &mut encoding).expect("hashing does not fail");
        if encoding.bytes > MANIFEST_BYTES_MAX {
            return Err(ManifestError::Large);
        }
        let mut first_pieces = Vec::with_capacity(files.len() + 1);
        // Neither overflows: each piece of a large file takes 32 bytes of the manifest, each other file has one.
        let (mut pieces, mut bytes) = (0, 0);
        for file in &files {
            first_pieces.push(pieces);
            pieces += piece::count(file.size) as u32;
            bytes += file.size;
        }
        first_pieces.push(pieces);
        Ok(Self { files, first_pieces, bytes, id: PackageId(encoding.hasher.finalize().into()) })
    }

    /// The CBOR of the manifest, at most [`MANIFEST_BYTES_MAX`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128 * self.files.len() + 32 * self.piece_count() as usize);
        ciborium::into_writer(&(FORMAT, &self.files), &mut bytes).expect("writing to memory does not fail");
        bytes
    }

    /// The package's id.
    #[must_use]
    pub const fn id(&self) -> PackageId {
        self.id
    }

    /// The files, sorted by path.
    #[must_use]
    pub fn files(&self) -> &[FileEntry] {
        &self.files
    }

    /// The file at this path.
    #[must_use]
    pub fn file(&self, path: &PackagePath) -> Option<&FileEntry> {
        let index = self.files.binary_search_by(|file| file.path.cmp(path)).ok()?;
        self.files.get(index)
    }

    /// Bytes of all files.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many pieces the package has; they are numbered from 0.
    #[must_use]
    pub fn piece_count(&self) -> u32 {
        *self.first_pieces.last().expect("it ends with the number of pieces")
    }

    /// Where a piece lies.
    #[must_use]
    pub fn locate(&self, piece: Piece) -> Option<Location> {
        if piece.0 >= self.piece_count() {
            return None;
        }
        // The last file that begins at or before it: an empty file begins where the next one does.
        let file = self.first_pieces.partition_point(|first| *first <= piece.0) - 1;
        let offset = u64::from(piece.0 - self.first_pieces[file]) * u64::from(PIECE_BYTES);
        let bytes = (self.files[file].size - offset).min(PIECE_BYTES.into()) as u32;
        Some(Location { file, offset, bytes })
    }

    /// The pieces of a file, given by its index; none if there is no such file.
    #[must_use]
    pub fn pieces_of(&self, file: usize) -> std::ops::Range<u32> {
        match self.first_pieces.get(file..file + 2) {
            Some(&[first, end]) => first..end,
            _ => 0..0,
        }
    }

    /// The bytes of each piece, in order.
    pub fn piece_sizes(&self) -> impl Iterator<Item = u32> {
        self.files.iter().flat_map(|file| {
            let whole = file.size / u64::from(PIECE_BYTES);
            let rest = (file.size % u64::from(PIECE_BYTES)) as u32;
            (0..whole).map(|_| PIECE_BYTES).chain((rest > 0).then_some(rest))
        })
    }
}

impl fmt::Debug for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Manifest({}, {} files, {} bytes)", self.id, self.files.len(), self.bytes)
    }
}

/// A manifest is what its id says.
impl PartialEq for Manifest {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Manifest {}

/// Hashes and counts what is written to it.
#[derive(Default)]
struct Encoding {
    hasher: blake3::Hasher,
    bytes: usize,
}

impl std::io::Write for Encoding {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.hasher.update(bytes);
        self.bytes += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Serialize for FileEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (root, pieces) = (Bytes::new(&self.root), Bytes::new(self.pieces.as_flattened()));
        (self.path.as_str(), self.size, self.mode, root, pieces).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FileEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (path, size, mode, root, pieces): (PackagePath, u64, u32, ByteArray<32>, ByteBuf) =
            Deserialize::deserialize(deserializer)?;
        let (pieces, []) = pieces.as_chunks() else { return Err(D::Error::custom("half a hash of a piece")) };
        Ok(Self { path, size, mode, root: root.into_array(), pieces: pieces.into() })
    }
}

impl PackageId {
    /// The id of the package with this manifest, which is encoded.
    #[must_use]
    pub fn of(manifest: &[u8]) -> Self {
        Self(blake3::hash(manifest).into())
    }

    /// The first eight digits: enough to tell packages apart in a log.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl fmt::Display for PackageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from(self.0).to_hex())
    }
}

impl fmt::Debug for PackageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PackageId {
    type Err = InvalidPackageId;

    fn from_str(text: &str) -> Result<Self, InvalidPackageId> {
        blake3::Hash::from_hex(text).map(|hash| Self(hash.into())).map_err(|_| InvalidPackageId)
    }
}

impl Serialize for PackageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Bytes::new(&self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PackageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ByteArray::<32>::deserialize(deserializer).map(|hash| Self(hash.into_array()))
    }
}

#[cfg(test)]
mod tests;
