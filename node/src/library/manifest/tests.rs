use proptest::prelude::*;

use super::*;

fn path(text: &str) -> PackagePath {
    PackagePath::new(text).expect("valid")
}

fn entry(name: &str, bytes: &[u8]) -> FileEntry {
    let mut hasher = piece::FileHasher::new();
    hasher.update(bytes);
    FileEntry::new(path(name), MODE_FILE, hasher.finish())
}

/// A large file of zeros costs nothing to describe but its hashes.
fn sample() -> Vec<FileEntry> {
    let program = FileEntry { mode: MODE_PROGRAM, ..entry("bin/run", &[1; 3_000_000]) };
    vec![entry("version.ini", b"version=1"), entry("data/empty", b""), program, entry("data/z", &[7; 1 << 20])]
}

fn encode(files: &[FileEntry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(&(FORMAT, files), &mut bytes).expect("writes");
    bytes
}

#[test]
fn a_manifest_survives_the_wire_and_is_named_by_it_d5() {
    let manifest = Manifest::new(sample()).expect("valid");
    let bytes = manifest.encode();
    let decoded = Manifest::decode(&bytes).expect("valid");
    assert_eq!(decoded, manifest);
    assert_eq!(decoded.files(), manifest.files());
    assert_eq!(decoded.id(), PackageId::of(&bytes));
    assert_eq!(decoded.id().to_string().parse(), Ok(decoded.id()));
    let mut reversed = sample();
    reversed.reverse();
    assert_eq!(Manifest::new(reversed).expect("valid").id(), manifest.id());
}

#[test]
fn pieces_are_numbered_through_all_files_d5() {
    let manifest = Manifest::new(sample()).expect("valid");
    let names: Vec<_> = manifest.files().iter().map(|file| file.path.as_str()).collect();
    assert_eq!(names, ["bin/run", "data/empty", "data/z", "version.ini"]);
    assert_eq!((manifest.piece_count(), manifest.bytes()), (5, 3_000_000 + (1 << 20) + 9));
    let at = |piece| manifest.locate(Piece(piece)).map(|at| (at.file, at.offset, at.bytes));
    let rest = 3_000_000 - 2 * PIECE_BYTES;
    let expected = [(0, 0, PIECE_BYTES), (0, 1 << 20, PIECE_BYTES), (0, 2 << 20, rest), (2, 0, PIECE_BYTES), (3, 0, 9)];
    for (piece, expected) in (0..).zip(expected) {
        assert_eq!(at(piece), Some(expected));
    }
    assert_eq!(at(5), None);
    assert_eq!(at(u32::MAX), None);
    let sizes: Vec<_> = manifest.piece_sizes().collect();
    assert_eq!(sizes, expected.map(|(.., bytes)| bytes));
    assert_eq!((0..5).map(|file| manifest.pieces_of(file)).collect::<Vec<_>>(), [0..3, 3..3, 3..4, 4..5, 0..0]);
    assert_eq!(manifest.file(&path("data/z")).map(|file| file.size), Some(1 << 20));
    assert_eq!(manifest.file(&path("data")), None);
}

#[test]
fn a_manifest_that_contradicts_itself_is_refused_d6() {
    let changed = |change: &dyn Fn(&mut FileEntry)| {
        let mut files = sample();
        change(&mut files[2]);
        Manifest::new(files)
    };
    let pieces = Err(ManifestError::Pieces(path("bin/run")));
    assert_eq!(changed(&|file| file.size += 1_000_000), pieces);
    assert_eq!(changed(&|file| file.size = u64::MAX), pieces);
    assert_eq!(changed(&|file| file.size = 0), pieces);
    assert_eq!(changed(&|file| file.root[0] ^= 1), pieces);
    assert_eq!(changed(&|file| file.pieces[1][5] ^= 1), pieces);
    assert_eq!(changed(&|file| file.pieces = Box::default()), pieces);
    assert_eq!(changed(&|file| file.pieces = file.pieces[..1].into()), pieces);
    assert_eq!(changed(&|file| file.mode = 0o4755), Err(ManifestError::Mode(path("bin/run"))));
    assert_eq!(changed(&|file| file.path = path("local/x")), Err(ManifestError::Reserved(path("local/x"))));
    assert_eq!(changed(&|file| file.path = path("data/z")), Err(ManifestError::Unsorted(path("data/z"))));
    assert!(matches!(changed(&|file| file.path = path("data/Z")), Err(ManifestError::Collision(_))));
    assert!(matches!(changed(&|file| file.path = path("data")), Err(ManifestError::Collision(_))));
}

#[test]
fn there_is_one_way_to_write_a_manifest_d6() {
    let files = Manifest::new(sample()).expect("valid").files;
    let bytes = encode(&files);
    assert!(Manifest::decode(&bytes).is_ok());

    let unsorted: Vec<_> = files.iter().rev().cloned().collect();
    assert!(matches!(Manifest::decode(&encode(&unsorted)), Err(ManifestError::Unsorted(_))));
    assert_eq!(Manifest::decode(&[&bytes[..], &[0]].concat()), Err(ManifestError::NotCanonical));
    // The format as an integer of two bytes.
    assert_eq!(bytes[..2], [0x82, 1]);
    let wide = [&[0x82, 0x18, 1], &bytes[2..]].concat();
    assert_eq!(Manifest::decode(&wide), Err(ManifestError::NotCanonical));
    let newer = [&[0x82, 2], &bytes[2..]].concat();
    assert!(matches!(Manifest::decode(&newer), Err(ManifestError::Malformed(_))));
    assert_eq!(Manifest::decode(&vec![0; MANIFEST_BYTES_MAX + 1]), Err(ManifestError::Large));
    // An array of 2^60 files, of which none follows.
    assert!(Manifest::decode(&[0x82, 1, 0x9b, 0x10, 0, 0, 0, 0, 0, 0, 0]).is_err());
}

#[test]
fn the_number_of_files_is_bounded() {
    let empty = entry("x", b"");
    let files = |count| (0..count).map(|index| FileEntry { path: path(&format!("{index:07}")), ..empty.clone() });
    assert_eq!(Manifest::new(files(FILES_MAX + 1).collect()), Err(ManifestError::Large));
    assert_eq!(Manifest::new(files(10_000).collect()).map(|manifest| manifest.piece_count()), Ok(0));
}

proptest! {
    #[test]
    fn any_bytes_are_a_manifest_or_an_error(bytes in any::<Vec<u8>>()) {
        let _ = Manifest::decode(&bytes);
    }

    /// One that decodes after a change is the one that is written so.
    #[test]
    fn a_changed_manifest_is_refused_or_is_another_package(at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let manifest = Manifest::new(sample()).expect("valid");
        let mut bytes = manifest.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(other) = Manifest::decode(&bytes) {
            prop_assert_eq!(other.encode(), bytes);
            prop_assert_ne!(other.id(), manifest.id());
        }
    }
}
