//! What all nodes offer together.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use banyan_gossip::{LibraryDigest, PeerId};

use super::{Catalog, CatalogError, Holding, digest};
use crate::library::manifest::{Manifest, PackageId};

/// Most peers whose catalogs are held.
pub const PEERS_MAX: usize = 4096;
/// Most packages in all catalogs that are held, each counted for each peer that offers it: about 300 MiB at worst,
/// usually a quarter of it.
pub const MERGED_ENTRIES_MAX: usize = 500_000;

/// Why a catalog was not taken; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TakeError {
    /// No peer announces a catalog with this digest, or no more: nobody is at fault, unless it was asked for by
    /// this digest.
    #[error("no peer announces this catalog")]
    Unknown,
    /// The peer that announces it is at fault.
    #[error(transparent)]
    Invalid(#[from] CatalogError),
    /// The peer announces it with another revision than it has.
    #[error("the catalog has revision {found}, announced was {announced}")]
    Revision {
        /// In the row.
        announced: u64,
        /// In the catalog.
        found: u64,
    },
    /// The catalogs of all peers have more than [`MERGED_ENTRIES_MAX`] packages.
    #[error("the catalogs of all peers have too many packages")]
    Full,
}

/// The catalogs of all nodes but this one.
#[derive(Debug)]
pub struct MergedCatalog {
    me: PeerId,
    peers: BTreeMap<PeerId, Held>,
    /// Packages in all of them.
    entries: usize,
}

#[derive(Debug)]
struct Held {
    /// What the peer's newest row says.
    announced: LibraryDigest,
    /// The catalog, maybe one from before, and what was announced of it.
    catalog: Option<(LibraryDigest, Arc<Catalog>)>,
    /// The announced one is refused: it is not asked for again.
    refused: bool,
    /// There was no room for the announced one: it is asked for again when another is gone or smaller.
    full: bool,
}

/// A title that somebody offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedTitle {
    /// Its name.
    pub name: String,
    /// Peers that have all of some version of it, without this node.
    pub peers: usize,
    /// Its versions, by version and package.
    pub versions: Vec<ListedVersion>,
}

/// A version of a title. Two packages that call themselves the same are two of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedVersion {
    /// The version.
    pub version: String,
    /// The package.
    pub package: PackageId,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Number of its files.
    pub files: u32,
    /// Peers that have all of it, without this node.
    pub peers: Vec<PeerId>,
    /// Peers that have a part of it, without this node.
    pub partial: Vec<PeerId>,
    /// How much of it this node has.
    pub here: Option<Holding>,
}

impl MergedCatalog {
    /// Nothing is known.
    #[must_use]
    pub const fn new(me: PeerId) -> Self {
        Self { me, peers: BTreeMap::new(), entries: 0 }
    }

    /// The newest row of a peer says this of its catalog, or the peer is gone. Of rows the newest is the one that
    /// gossip has: a peer that lost its disk may begin with a smaller revision.
    pub fn handle_row(&mut self, peer: PeerId, library: Option<LibraryDigest>) {
        let Some(announced) = library.filter(|_| peer != self.me) else {
            if let Some(held) = self.peers.remove(&peer) {
                self.set_entries(self.entries - held.count());
            }
            return;
        };
        let digest = announced.digest;
        let full = self.peers.len() >= PEERS_MAX;
        match self.peers.get_mut(&peer) {
            Some(held) if held.announced == announced => return,
            Some(held) => (held.announced, held.refused, held.full) = (announced, false, false),
            None if full => return,
            None => {
                self.peers.insert(peer, Held { announced, catalog: None, refused: false, full: false });
            }
        }
        // Another peer may offer the same. What is wrong with it shows when it is fetched.
        if let Some(same) = self.known(digest) {
            let _ = self.take(digest, &same);
        }
    }

    /// Catalogs to fetch, by digest, with the peers that announce them: any of these can be asked.
    #[must_use]
    pub fn wanted(&self) -> BTreeMap<[u8; 32], Vec<PeerId>> {
        let mut wanted: BTreeMap<_, Vec<PeerId>> = BTreeMap::new();
        for (peer, held) in self.peers.iter().filter(|(_, held)| !held.refused && !held.full && !held.is_current()) {
            wanted.entry(held.announced.digest).or_default().push(*peer);
        }
        wanted
    }

    /// A catalog that was fetched. It takes the place of what the peers had that announce it.
    ///
    /// # Errors
    /// [`TakeError`]: nothing changed, and the catalog is not wanted any more, unless nobody announced it.
    pub fn handle_catalog(&mut self, bytes: &[u8]) -> Result<(), TakeError> {
        let digest = digest(bytes);
        if self.announcers(digest).is_empty() {
            return Err(TakeError::Unknown);
        }
        let taken = Catalog::decode(bytes).map_err(TakeError::from);
        let taken = taken.and_then(|catalog| self.take(digest, &Arc::new(catalog)));
        if taken.is_err() && taken != Err(TakeError::Full) {
            let refused = self.peers.values_mut().filter(|held| held.announced.digest == digest && !held.is_current());
            refused.for_each(|held| held.refused = true);
        }
        taken
    }

    fn take(&mut self, digest: [u8; 32], catalog: &Arc<Catalog>) -> Result<(), TakeError> {
        let mut error = None;
        for peer in self.announcers(digest) {
            let Some(held) = self.peers.get_mut(&peer).filter(|held| !held.is_current()) else { continue };
            let (announced, found) = (held.announced.revision, catalog.revision());
            let entries = self.entries - held.count() + catalog.entries().len();
            if announced != found {
                error = Some(TakeError::Revision { announced, found });
            } else if entries > MERGED_ENTRIES_MAX {
                held.full = true;
                error = Some(TakeError::Full);
            } else {
                held.catalog = Some((held.announced.clone(), catalog.clone()));
                self.set_entries(entries);
            }
        }
        error.map_or(Ok(()), Err)
    }

    /// Where there is more room than before, what found none is asked for again.
    fn set_entries(&mut self, entries: usize) {
        if entries < std::mem::replace(&mut self.entries, entries) {
            self.peers.values_mut().for_each(|held| held.full = false);
        }
    }

    fn announcers(&self, digest: [u8; 32]) -> Vec<PeerId> {
        let announcers = self.peers.iter().filter(|(_, held)| held.announced.digest == digest);
        announcers.map(|(peer, _)| *peer).collect()
    }

    fn known(&self, digest: [u8; 32]) -> Option<Arc<Catalog>> {
        let mut current = self.peers.values().filter(|held| held.announced.digest == digest && held.is_current());
        current.next()?.catalog().cloned()
    }

    /// The peers that offer a package, with how much of it they have: the sources of a download.
    pub fn holders(&self, package: PackageId) -> impl Iterator<Item = (PeerId, Holding)> {
        let catalogs = self.peers.iter().filter_map(|(peer, held)| Some((peer, held.catalog()?)));
        catalogs.filter_map(move |(peer, catalog)| Some((*peer, catalog.entry(package)?.holding)))
    }

    /// The peers that offer a package with another size than it has.
    pub fn misstating(&self, manifest: &Manifest) -> impl Iterator<Item = PeerId> {
        let entries = self.peers.iter().filter_map(|(peer, held)| Some((peer, held.catalog()?.entry(manifest.id())?)));
        entries.filter(|(_, entry)| !entry.is_of_size(manifest)).map(|(peer, _)| *peer)
    }

    /// Every title that this node or a peer offers, by name, with every version. What one peer calls a package
    /// does not change what others call it.
    #[must_use]
    pub fn titles(&self, own: &Catalog) -> Vec<ListedTitle> {
        let mut titles: BTreeMap<&str, BTreeMap<(&str, PackageId), ListedVersion>> = BTreeMap::new();
        let others = self.peers.iter().filter_map(|(peer, held)| Some((Some(*peer), &**held.catalog()?)));
        for (peer, catalog) in others.chain([(None, own)]) {
            for entry in catalog.entries() {
                let versions = titles.entry(&entry.title.name).or_default();
                let listed = versions.entry((&entry.title.version, entry.package)).or_insert_with(|| ListedVersion {
                    version: entry.title.version.clone(),
                    package: entry.package,
                    bytes: entry.bytes,
                    files: entry.files,
                    peers: Vec::new(),
                    partial: Vec::new(),
                    here: None,
                });
                match peer {
                    // What is here was checked.
                    None => (listed.bytes, listed.files, listed.here) = (entry.bytes, entry.files, Some(entry.holding)),
                    Some(peer) if entry.holding == Holding::Partial => listed.partial.push(peer),
                    Some(peer) => listed.peers.push(peer),
                }
            }
        }
        let title = |(name, versions): (&str, BTreeMap<_, ListedVersion>)| {
            let versions: Vec<ListedVersion> = versions.into_values().collect();
            let peers: BTreeSet<PeerId> = versions.iter().flat_map(|version| version.peers.iter().copied()).collect();
            ListedTitle { name: name.to_owned(), peers: peers.len(), versions }
        };
        titles.into_iter().map(title).collect()
    }
}

impl Held {
    fn catalog(&self) -> Option<&Arc<Catalog>> {
        self.catalog.as_ref().map(|(_, catalog)| catalog)
    }

    /// Packages in it.
    fn count(&self) -> usize {
        self.catalog().map_or(0, |catalog| catalog.entries().len())
    }

    /// Whether the catalog is the one that is announced.
    fn is_current(&self) -> bool {
        self.catalog.as_ref().is_some_and(|(announced, _)| *announced == self.announced)
    }
}
