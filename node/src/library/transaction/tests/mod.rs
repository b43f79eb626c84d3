//! Operations on a simulated disk.

mod crash;
mod rules;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use super::*;
use crate::library::{
    manifest::{FileEntry, MODE_FILE, MODE_PROGRAM, Manifest},
    path::PackagePath,
    piece::{FileHasher, Piece},
    store::{Access, read_all, sim::SimStore},
    unpack::{Archives, Limits, Unpacker},
};

const ID: LibraryId = LibraryId([5; 16]);

/// A package to be fetched.
struct Origin {
    manifest: Arc<Manifest>,
    files: BTreeMap<String, Vec<u8>>,
}

impl Origin {
    fn new(version: u64) -> Self {
        let files: BTreeMap<String, Vec<u8>> = [
            ("version.ini", format!("name=P\nversion={version}\n").into_bytes()),
            ("bin/run", vec![version as u8; 50]),
            ("bin/empty", Vec::new()),
            ("data.bin", vec![version as u8; 30 + version as usize]),
            // Only in one of two versions.
            (if version == 1 { "a/b/one" } else { "c/two" }, b"content".to_vec()),
        ]
        .map(|(path, bytes)| (path.to_owned(), bytes))
        .into();
        Self::of(files)
    }

    fn of(files: BTreeMap<String, Vec<u8>>) -> Self {
        let entry = |(path, bytes): (&String, &Vec<u8>)| {
            let mut hasher = FileHasher::new();
            hasher.update(bytes);
            let mode = if path == "bin/run" { MODE_PROGRAM } else { MODE_FILE };
            FileEntry::new(PackagePath::new(path).expect("valid"), mode, hasher.finish())
        };
        let manifest = Manifest::new(files.iter().map(entry).collect()).expect("valid");
        Self { manifest: Arc::new(manifest), files }
    }

    fn id(&self) -> PackageId {
        self.manifest.id()
    }

    fn piece(&self, piece: Piece) -> &[u8] {
        let at = self.manifest.locate(piece).expect("is there");
        &self.files[self.manifest.files()[at.file].path.as_str()][at.offset as usize..][..at.bytes as usize]
    }

    /// Whether the files are there as they should be.
    fn is_in(&self, disk: &SimStore, dir: &str) -> bool {
        self.manifest.files().iter().all(|file| {
            let path = format!("{dir}/{}", file.path);
            let mode = disk.metadata(&path).expect("looks").map(|metadata| metadata.executable);
            read_all(disk, &path, 1 << 24).expect("reads").as_ref() == self.files.get(file.path.as_str())
                && mode == Some(file.mode == MODE_PROGRAM)
        })
    }
}

fn open(disk: &SimStore) -> Arc<Library<SimStore>> {
    let (library, recovered) = Library::open(disk.clone(), "version.ini", ID).expect("opens");
    assert!(recovered.failed.is_empty(), "{recovered:?}");
    library
}

/// Fetches what is missing, with a checkpoint after every second piece.
fn fetch(
    library: &Arc<Library<SimStore>>,
    origin: &Origin,
    saved: &mut Vec<Piece>,
) -> Result<Download<SimStore>, TransactionError> {
    let mut download = library.download("p", Arc::clone(&origin.manifest))?;
    let missing: Vec<Piece> = download.have().missing().collect();
    for (count, piece) in missing.into_iter().enumerate() {
        assert!(download.write_piece(Instant::now(), piece, origin.piece(piece))?);
        if count % 2 == 1 {
            download.checkpoint()?;
            *saved = download.have().iter().collect();
        }
    }
    Ok(download)
}

const COPY: Option<(&dyn Unpacker, Limits)> =
    Some((&Archives::COPY, Limits { bytes_max: 1 << 20, entries_max: 100, ratio_max: 10 }));

fn install(library: &Arc<Library<SimStore>>, origin: &Origin) -> Result<(), TransactionError> {
    library.install("p", origin.id(), &Archives::COPY, Limits::default(), &Cancel::default())
}

/// A library with the package in place.
fn with_package(origin: &Origin, installed: bool) -> SimStore {
    let disk = SimStore::new();
    let library = open(&disk);
    let download = fetch(&library, origin, &mut Vec::new()).expect("fetches");
    download.commit(None, &Cancel::default()).expect("commits");
    if installed {
        install(&library, origin).expect("installs");
    }
    disk.settle();
    disk
}
