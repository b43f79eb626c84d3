//! What peers and packages bring into the library.

use std::io::Cursor;

use banyan_node::library::{
    bitfield::PieceSet,
    catalog::Catalog,
    journal,
    manifest::{Manifest, PackageId},
    path::PackagePath,
    scan::Index,
    sentinel::Title,
    store::StoreError,
    transaction::Cancel,
    unpack::{Archives, Limits, ReadSeek, Sink, Source, SourceFile, Target, UnpackError, Unpacker},
    wire::{Answer, Ask, Head},
};

/// Manifests: one that can be read has one form.
pub fn manifest(data: &[u8]) {
    if let Ok(manifest) = Manifest::decode(data) {
        let bytes = manifest.encode();
        assert_eq!(Manifest::decode(&bytes).expect("its own form"), manifest);
        let sizes: u64 = manifest.piece_sizes().map(u64::from).sum();
        let files: u64 = manifest.files().iter().map(|file| file.size).sum();
        assert_eq!(sizes, files, "pieces cover the files");
        for file in manifest.files() {
            assert_eq!(manifest.file(&file.path), Some(file));
        }
    }
}

/// Catalogs: one that can be read has one digest.
pub fn catalog(data: &[u8]) {
    if let Ok(catalog) = Catalog::decode(data) {
        let again = Catalog::decode(&catalog.encode()).expect("its own form");
        assert_eq!(again.digest(), catalog.digest());
    }
}

/// The frames of the library's streams.
pub fn wire(data: &[u8]) {
    if let Ok(ask) = Ask::decode(data) {
        let mut bytes = Vec::new();
        ask.put(&mut bytes);
    }
    if let Ok(answer) = Answer::decode(data) {
        let mut bytes = Vec::new();
        answer.put(&mut bytes);
    }
    if let Some(head) = data.first_chunk() {
        let _ = Head::decode(*head);
    }
}

/// Names in sentinels and packages.
pub fn titles(data: &[u8]) {
    if let Ok(title) = Title::read(data, "folder") {
        assert!(!title.name.is_empty());
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(path) = PackagePath::new(text)
    {
        assert!(!path.as_str().starts_with('/'));
        assert!(path.parts().all(|part| !part.is_empty() && part != "." && part != ".."));
    }
}

/// Journals and bit fields as they are found on disk: damage costs pieces, never more.
pub fn journal(data: &[u8]) {
    let Some((pieces, data)) = data.split_first_chunk::<2>() else { return };
    let pieces = u32::from(u16::from_be_bytes(*pieces));
    let package = PackageId::of(b"package");
    let found = journal::read(package, pieces, data);
    assert!(found.iter().all(|piece| piece.0 < pieces));
    if let Ok(set) = PieceSet::from_bytes(data, pieces) {
        assert_eq!(PieceSet::from_bytes(&set.to_bytes(), pieces), Ok(set));
    }
}

/// The index of hashes as it is found on disk.
pub fn index(data: &[u8]) {
    let index = Index::decode(data);
    assert_eq!(Index::decode(&index.encode()), index);
}

struct Archive<'a> {
    file: [SourceFile; 1],
    bytes: &'a [u8],
}

impl Source for Archive<'_> {
    fn files(&self) -> &[SourceFile] {
        &self.file
    }

    fn open<'a>(&'a self, _: &SourceFile) -> Result<Box<dyn ReadSeek + 'a>, UnpackError> {
        Ok(Box::new(Cursor::new(self.bytes)))
    }
}

/// Counts what is written.
#[derive(Default)]
struct Nowhere {
    bytes: u64,
}

impl Target for Nowhere {
    fn create_dirs(&mut self, path: &str) -> Result<(), StoreError> {
        inside(path);
        Ok(())
    }

    fn create(&mut self, path: &str, _: bool) -> Result<(), StoreError> {
        inside(path);
        Ok(())
    }

    fn write(&mut self, _: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn set_len(&mut self, _: u64) -> Result<(), StoreError> {
        Ok(())
    }
}

fn inside(path: &str) {
    assert!(!path.starts_with('/') && path.split('/').all(|part| part != ".."), "{path} leaves the folder");
}

/// Archives.
pub fn unpack(data: &[u8]) {
    let limits = Limits { bytes_max: 1 << 20, entries_max: 100, ratio_max: 10 };
    for name in ["a.zip", "a.tar.zst"] {
        let path = PackagePath::new(name).expect("a path");
        let file = [SourceFile { path, size: data.len() as u64, executable: false }];
        let (mut target, cancel) = (Nowhere::default(), Cancel::default());
        let mut sink = Sink::new(&mut target, limits, data.len() as u64, &cancel);
        let _ = Archives::ALL.unpack(&Archive { file, bytes: data }, &mut sink);
        assert!(target.bytes <= limits.bytes_max);
    }
}
