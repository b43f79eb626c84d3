//! From a package's folder to its manifest.

use super::{
    manifest::{FILES_MAX, FileEntry, MODE_FILE, MODE_PROGRAM, Manifest, ManifestError},
    path::{InvalidPath, PackagePath},
    piece::{FileHasher, PIECE_BYTES},
    store::{Access, Kind, Metadata, Store, StoreError, TREE_DEPTH_MAX, path_of},
};

pub mod index;

pub use index::Index;

/// A folder that cannot be a package, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// A name that no package may have.
    #[error(transparent)]
    Path(#[from] InvalidPath),
    /// Neither file nor folder.
    #[error("{0}: neither a file nor a folder")]
    Kind(String),
    /// More than a bound allows.
    #[error("{0}: more than {1} {2}")]
    TooMuch(String, usize, &'static str),
    /// It was written to while it was read.
    #[error("{0}: changed while it was read")]
    Changed(String),
    /// The files do not make up a package.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The disk fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The files of the package in `dir`, without what is the node's there, sorted.
///
/// # Errors
/// [`ScanError`].
pub fn files<S: Store>(store: &S, dir: &str) -> Result<Vec<(PackagePath, Metadata)>, ScanError> {
    let mut found = Vec::new();
    walk(store, dir, "", 0, &mut found)?;
    found.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found)
}

fn walk<S: Store>(
    store: &S,
    top: &str,
    below: &str,
    depth: usize,
    found: &mut Vec<(PackagePath, Metadata)>,
) -> Result<(), ScanError> {
    if depth > TREE_DEPTH_MAX {
        return Err(ScanError::TooMuch(path_of(top, below), TREE_DEPTH_MAX, "nested folders"));
    }
    for entry in store.list(&folder(top, below))? {
        let path = path_of(below, &entry.name);
        let at = path_of(top, &path);
        if !entry.nameable {
            return Err(ScanError::Store(StoreError::BadPath(at)));
        }
        let name = PackagePath::new(&path)?;
        if name.is_reserved() {
            continue;
        }
        // What has gone meanwhile is not part of it.
        let Some(metadata) = store.metadata(&at)? else { continue };
        match metadata.kind {
            Kind::Dir => walk(store, top, &path, depth + 1, found)?,
            Kind::File if found.len() == FILES_MAX => {
                return Err(ScanError::TooMuch(top.to_owned(), FILES_MAX, "files"));
            }
            Kind::File => found.push((name, metadata)),
            Kind::Other => return Err(ScanError::Kind(at)),
        }
    }
    Ok(())
}

fn folder(dir: &str, below: &str) -> String {
    if below.is_empty() { dir.to_owned() } else { path_of(dir, below) }
}

/// Hashes the package in `dir`, apart from the files that the index knows. `now_ns` is the time since
/// 1970 on the clock that stamps the files. `progress` is told of bytes that were hashed, and stops
/// the scan by `false`, which ends it with [`ScanError::Changed`].
///
/// # Errors
/// [`ScanError`]. What was hashed before is in the index.
pub fn scan<S: Store>(
    store: &S,
    dir: &str,
    index: &mut Index,
    now_ns: i128,
    mut progress: impl FnMut(u64) -> bool,
) -> Result<Manifest, ScanError> {
    let files = files(store, dir)?;
    let mut entries = Vec::with_capacity(files.len());
    for (path, metadata) in &files {
        let at = path_of(dir, path.as_str());
        let hashes = match index.lookup(&at, metadata) {
            Some(hashes) => hashes.clone(),
            None => {
                let file = store.open(&at, Access::Read)?;
                let (mut hasher, mut buffer, mut offset) = (FileHasher::new(), vec![0; PIECE_BYTES as usize], 0);
                loop {
                    let read = store.read_at(&file, offset, &mut buffer)?;
                    if read == 0 {
                        break;
                    }
                    hasher.update(&buffer[..read]);
                    offset += read as u64;
                    if offset > metadata.size || !progress(read as u64) {
                        return Err(ScanError::Changed(at));
                    }
                }
                if store.metadata(&at)?.as_ref() != Some(metadata) || offset != metadata.size {
                    return Err(ScanError::Changed(at));
                }
                let hashes = hasher.finish();
                index.insert(&at, metadata, &hashes, now_ns);
                hashes
            }
        };
        let mode = if metadata.executable { MODE_PROGRAM } else { MODE_FILE };
        entries.push(FileEntry::new(path.clone(), mode, hashes));
    }
    index.retain(dir, |path| files.binary_search_by(|(file, _)| file.as_str().cmp(path)).is_ok());
    Ok(Manifest::new(entries)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::store::{create_dirs, remove_tree, sim::SimStore, write_new};

    const LATER: i128 = 1 << 60;

    fn package(disk: &SimStore) {
        for (path, bytes) in [
            ("p/version.ini", &b"name=P\nversion=1\n"[..]),
            ("p/a/big", &vec![7; 3 * PIECE_BYTES as usize + 1]),
            ("p/a/empty", b""),
            ("p/a-b", b"sorts between"),
            ("p/local/x", b"installed"),
            ("p/.banyan-package", b"marker"),
        ] {
            create_dirs(disk, crate::library::store::parent(path)).expect("makes");
            write_new(disk, path, bytes).expect("writes");
        }
    }

    #[test]
    fn scan_hashes_only_what_has_changed() {
        let disk = SimStore::new();
        package(&disk);
        let mut index = Index::default();
        let mut hashed = 0;
        let mut scan = |index: &mut Index| {
            hashed = 0;
            let manifest = scan(&disk, "p", index, LATER, |bytes| {
                hashed += bytes;
                true
            });
            (manifest.expect("scans"), hashed)
        };
        let (first, hashed) = scan(&mut index);
        assert_eq!(hashed, first.bytes());
        let paths: Vec<_> = first.files().iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["a-b", "a/big", "a/empty", "version.ini"]);
        let mut index = Index::decode(&index.encode());
        assert_eq!(scan(&mut index), (first.clone(), 0));
        let file = disk.open("p/a-b", Access::Write).expect("opens");
        disk.write_at(&file, 0, b"S").expect("writes");
        let (second, hashed) = scan(&mut index);
        assert_eq!(hashed, 13);
        assert_ne!(first.id(), second.id());
        remove_tree(&disk, "p/a").expect("removes");
        assert_eq!(scan(&mut index).0.files().len(), 2);
        assert_eq!(index.len(), 2, "what is gone leaves the index");
    }

    #[test]
    fn file_that_has_just_changed_is_hashed_again() {
        let disk = SimStore::new();
        package(&disk);
        let mut index = Index::default();
        scan(&disk, "p", &mut index, 10, |_| true).expect("scans");
        assert_eq!(index.len(), 0, "another write in the same tick of the clock would not show");
    }

    #[test]
    fn package_with_a_bad_name_is_refused_d3() {
        let disk = SimStore::new();
        package(&disk);
        write_new(&disk, "p/CON", b"").expect("writes");
        assert!(matches!(scan(&disk, "p", &mut Index::default(), LATER, |_| true), Err(ScanError::Path(_))));
        disk.remove_file("p/CON").expect("removes");
        write_new(&disk, "p/A-B", b"").expect("writes");
        let error = scan(&disk, "p", &mut Index::default(), LATER, |_| true).expect_err("one name on some systems");
        assert!(matches!(error, ScanError::Manifest(_)));
    }
}
