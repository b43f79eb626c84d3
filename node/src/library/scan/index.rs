//! Which files have which hashes, so that unchanged ones are not hashed again.
//!
//! A plain file, replaced as a whole after a scan: it is small beside the files, read once, and only
//! spares work: one that is lost or damaged costs a scan.

use std::{collections::BTreeMap, ops::Bound};

use serde_bytes::ByteBuf;

use crate::library::{
    manifest::{FileEntry, Manifest},
    piece::{FileHashes, Hash},
    store::{Metadata, Store, StoreError, path_of, read_all, replace_file},
};

/// Largest index that is read or written, in bytes; a file takes about 150 and 32 for each MiB.
pub const INDEX_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// A file that changed so shortly before it was read may change again without showing it, in ns.
const TICK_NS: i128 = 2_000_000_000;

/// Hashes of files by path, with what shows that they are unchanged.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Index {
    files: BTreeMap<String, Known>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    modified_ns: i128,
    inode: u64,
    hashes: FileHashes,
}

/// Path, size, time, inode, root, pieces.
type Row = (String, u64, i128, u64, ByteBuf, ByteBuf);

impl Index {
    /// How many files it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether it knows none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub(super) fn lookup(&self, path: &str, now: &Metadata) -> Option<&FileHashes> {
        let known = self.files.get(path)?;
        let same = (known.hashes.size, known.modified_ns, known.inode) == (now.size, now.modified_ns, now.inode);
        same.then_some(&known.hashes)
    }

    pub(super) fn insert(&mut self, path: &str, metadata: &Metadata, hashes: &FileHashes, now_ns: i128) {
        if metadata.modified_ns + TICK_NS > now_ns {
            self.files.remove(path);
            return;
        }
        let (modified_ns, inode) = (metadata.modified_ns, metadata.inode);
        self.files.insert(path.to_owned(), Known { modified_ns, inode, hashes: hashes.clone() });
    }

    /// Takes over what a package's manifest says of the files in `dir`, which were written as it says.
    ///
    /// # Errors
    /// The disk fails.
    pub fn learn<S: Store>(&mut self, store: &S, dir: &str, manifest: &Manifest) -> Result<(), StoreError> {
        for FileEntry { path, size, root, pieces, .. } in manifest.files() {
            let path = path_of(dir, path.as_str());
            if let Some(Metadata { modified_ns, inode, .. }) = store.metadata(&path)?.filter(|now| now.size == *size) {
                let hashes = FileHashes { size: *size, root: *root, pieces: pieces.clone() };
                self.files.insert(path, Known { modified_ns, inode, hashes });
            }
        }
        Ok(())
    }

    /// Forgets files in a folder, given by their path from there. Forget a whole folder by `|_| false`.
    pub fn retain(&mut self, dir: &str, mut keep: impl FnMut(&str) -> bool) {
        let prefix = format!("{dir}/");
        let below = (Bound::Included(prefix.clone()), Bound::Unbounded);
        let inside = self.files.range(below).map(|(path, _)| path).take_while(|path| path.starts_with(&prefix));
        let gone: Vec<String> = inside.filter(|path| !keep(&path[prefix.len()..])).cloned().collect();
        for path in gone {
            self.files.remove(&path);
        }
    }

    /// The index as bytes: a BLAKE3 hash, then CBOR.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let row = |(path, known): (&String, &Known)| -> Row {
            let FileHashes { size, root, pieces } = &known.hashes;
            let (root, pieces) = (ByteBuf::from(*root), ByteBuf::from(pieces.as_flattened()));
            (path.clone(), *size, known.modified_ns, known.inode, root, pieces)
        };
        let rows: Vec<Row> = self.files.iter().map(row).collect();
        let mut bytes = vec![0; 32];
        ciborium::into_writer(&rows, &mut bytes).expect("writing to memory does not fail");
        let hash = blake3::hash(&bytes[32..]);
        bytes[..32].copy_from_slice(hash.as_bytes());
        bytes
    }

    /// Reads an index; a damaged one is empty.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let Some((hash, payload)) = bytes.split_first_chunk::<32>() else { return Self::default() };
        if blake3::hash(payload) != *hash {
            return Self::default();
        }
        let rows: Vec<Row> = ciborium::from_reader(payload).unwrap_or_default();
        let known = |(path, size, modified_ns, inode, root, pieces): Row| {
            let root: Hash = root.into_vec().try_into().ok()?;
            let (pieces, []) = pieces.as_chunks() else { return None };
            Some((path, Known { modified_ns, inode, hashes: FileHashes { size, root, pieces: pieces.into() } }))
        };
        Self { files: rows.into_iter().filter_map(known).collect() }
    }

    /// Reads the index of a library; one that is not there, damaged or too large is empty.
    ///
    /// # Errors
    /// The disk fails.
    pub fn load<S: Store>(store: &S, path: &str) -> Result<Self, StoreError> {
        match read_all(store, path, INDEX_BYTES_MAX) {
            Err(StoreError::TooMuch(..)) => Ok(Self::default()),
            bytes => Ok(bytes?.map(|bytes| Self::decode(&bytes)).unwrap_or_default()),
        }
    }

    /// Replaces the index of a library on the disk, unless it is too large.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub fn save<S: Store>(&self, store: &S, path: &str) -> Result<(), StoreError> {
        let bytes = self.encode();
        if bytes.len() as u64 > INDEX_BYTES_MAX { Ok(()) } else { replace_file(store, path, &bytes) }
    }
}
