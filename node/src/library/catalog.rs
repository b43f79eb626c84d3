//! What one node offers: its catalog.
//!
//! A node's row carries the revision and the digest of its catalog; the catalog itself is fetched by digest, from
//! whoever has it. On the wire it is CBOR: `[1, revision, [[package, name, version, bytes, files, holding], …]]`,
//! sorted by package. [`merged`] puts the catalogs of all nodes together.

pub mod merged;

use std::collections::BTreeSet;

use banyan_gossip::LibraryDigest;
use serde::{Deserialize, Serialize};

use super::{
    manifest::{FILES_MAX, Manifest, PackageId},
    sentinel::Title,
};

/// Most packages of a catalog.
pub const ENTRIES_MAX: usize = 16_384;
/// Largest catalog, in bytes; in memory it takes a few times as much.
pub const CATALOG_BYTES_MAX: usize = 4 * 1024 * 1024;

const FORMAT: u8 = 1;

/// How much of a package a node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holding {
    /// Some pieces, and more are coming.
    Partial,
    /// All of it.
    Complete,
    /// All of it, and it is installed.
    Installed,
}

/// A package that a node offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub package: PackageId,
    /// What it is called.
    pub title: Title,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Number of its files.
    pub files: u32,
    /// How much of it the node has.
    pub holding: Holding,
}

/// What a node offers, by package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalog {
    revision: u64,
    entries: Vec<Entry>,
}

/// A catalog that is none; whoever wrote it is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// It is too large.
    #[error("the catalog has more than 16384 packages or 4194304 bytes")]
    Large,
    /// It is no CBOR of a catalog.
    #[error("the catalog cannot be read: {0}")]
    Malformed(String),
    /// Its packages are not in order, or one is there twice.
    #[error("the catalog is not sorted at {0}")]
    Unsorted(PackageId),
    /// A package has a title that is none, or more files than there can be.
    #[error("the catalog has an entry that is not valid: {0}")]
    Entry(PackageId),
}

#[derive(Serialize, Deserialize)]
struct WireEntry(PackageId, String, String, u64, u32, Holding);

impl Entry {
    /// The entry of a package.
    #[must_use]
    pub fn new(manifest: &Manifest, title: Title, holding: Holding) -> Self {
        let files = manifest.files().len() as u32;
        Self { package: manifest.id(), title, bytes: manifest.bytes(), files, holding }
    }

    /// Whether it says the size that the package has.
    #[must_use]
    pub fn is_of_size(&self, manifest: &Manifest) -> bool {
        (self.bytes, self.files as usize) == (manifest.bytes(), manifest.files().len())
    }
}

impl Catalog {
    /// The catalog with these packages, in any order. `revision` grows with each change of a node's catalog.
    ///
    /// # Errors
    /// [`CatalogError`] if they are too many, or one is there twice.
    pub fn new(revision: u64, mut entries: Vec<Entry>) -> Result<Self, CatalogError> {
        entries.sort_unstable_by_key(|entry| entry.package);
        let catalog = Self { revision, entries }.checked()?;
        if catalog.encode().len() > CATALOG_BYTES_MAX { Err(CatalogError::Large) } else { Ok(catalog) }
    }

    /// Reads a catalog.
    ///
    /// # Errors
    /// [`CatalogError`] if the bytes are not exactly one catalog.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, CatalogError> {
        if bytes.len() > CATALOG_BYTES_MAX {
            return Err(CatalogError::Large);
        }
        let (format, revision, entries): (u8, u64, Vec<WireEntry>) =
            ciborium::de::from_reader_with_recursion_limit(&mut bytes, 8)
                .map_err(|error| CatalogError::Malformed(error.to_string()))?;
        if format != FORMAT {
            return Err(CatalogError::Malformed(format!("format {format}, not {FORMAT}")));
        }
        if !bytes.is_empty() {
            return Err(CatalogError::Malformed("bytes follow it".to_owned()));
        }
        let entry = |WireEntry(package, name, version, bytes, files, holding): WireEntry| {
            let title = Title::new(&name, &version).map_err(|_| CatalogError::Entry(package))?;
            Ok(Entry { package, title, bytes, files, holding })
        };
        let entries = entries.into_iter().map(entry).collect::<Result<_, _>>()?;
        Self { revision, entries }.checked()
    }

    fn checked(self) -> Result<Self, CatalogError> {
        if self.entries.len() > ENTRIES_MAX {
            return Err(CatalogError::Large);
        }
        if let Some(pair) = self.entries.windows(2).find(|pair| pair[0].package >= pair[1].package) {
            return Err(CatalogError::Unsorted(pair[1].package));
        }
        if let Some(entry) = self.entries.iter().find(|entry| entry.files as usize > FILES_MAX) {
            return Err(CatalogError::Entry(entry.package));
        }
        Ok(self)
    }

    /// The CBOR of the catalog, at most [`CATALOG_BYTES_MAX`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let wire = |entry: &Entry| {
            let Entry { package, title: Title { name, version }, bytes, files, holding } = entry.clone();
            WireEntry(package, name, version, bytes, files, holding)
        };
        let entries: Vec<WireEntry> = self.entries.iter().map(wire).collect();
        let mut bytes = Vec::with_capacity(96 * entries.len());
        ciborium::into_writer(&(FORMAT, self.revision, entries), &mut bytes).expect("writing to memory does not fail");
        bytes
    }

    /// What the row of its node says of it.
    #[must_use]
    pub fn digest(&self) -> LibraryDigest {
        LibraryDigest { revision: self.revision, digest: digest(&self.encode()) }
    }

    /// Grows with each change.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// The packages, sorted by id.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of a package.
    #[must_use]
    pub fn entry(&self, package: PackageId) -> Option<&Entry> {
        let index = self.entries.binary_search_by_key(&package, |entry| entry.package).ok()?;
        self.entries.get(index)
    }
}

/// The digest of a catalog that is encoded.
fn digest(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// What a node announces and serves; everything, unless something is named (D3).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowList {
    /// Names of titles, in any version.
    pub names: BTreeSet<String>,
    /// Packages.
    pub packages: BTreeSet<PackageId>,
    /// Whether nothing is allowed when nothing is named.
    pub strict: bool,
}

impl AllowList {
    /// Whether a package may be announced and served.
    #[must_use]
    pub fn permits(&self, entry: &Entry) -> bool {
        let open = !self.strict && self.names.is_empty() && self.packages.is_empty();
        open || self.names.contains(&entry.title.name) || self.packages.contains(&entry.package)
    }
}

#[cfg(test)]
mod tests;
