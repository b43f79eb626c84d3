use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    sync::Arc,
    time::Instant,
};

use super::*;
use crate::library::{
    manifest::Manifest,
    piece::Piece,
    scan::{self, Index},
    store::{conformance, remove_tree},
    transaction::{Cancel, Library, LibraryId, Recovery},
    unpack::{Archives, Limits},
};

fn store(dir: &tempfile::TempDir) -> FsStore {
    FsStore::open(dir.path()).expect("opens")
}

#[test]
fn real_disk_keeps_the_contract() {
    let dir = tempfile::tempdir().expect("temporary directory");
    conformance::check(&store(&dir));
}

#[test]
fn one_process_at_a_time_holds_a_library_d10() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let first = store(&dir);
    assert_eq!(FsStore::open(dir.path()).expect_err("is held").kind(), io::ErrorKind::WouldBlock);
    drop(first);
    store(&dir);
}

#[test]
fn no_operation_follows_a_link() {
    let outside = tempfile::tempdir().expect("temporary directory");
    fs::write(outside.path().join("secret"), b"secret").expect("writes");
    let dir = tempfile::tempdir().expect("temporary directory");
    symlink(outside.path(), dir.path().join("out")).expect("links");
    symlink(outside.path().join("secret"), dir.path().join("file")).expect("links");
    let store = store(&dir);
    for access in [Access::Read, Access::Write] {
        assert!(matches!(store.open("out/secret", access), Err(StoreError::WrongKind(..))));
        assert!(matches!(store.open("file", access), Err(StoreError::WrongKind(..))));
    }
    assert!(matches!(store.open("file", Access::Create), Err(StoreError::Exists(_))));
    store.open("out/new", Access::Create).map(|_| ()).expect_err("leads out");
    store.list("out").expect_err("leads out");
    store.sync_dir("out").expect_err("leads out");
    store.create_dir("out/new").expect_err("leads out");
    store.remove_file("out/secret").expect_err("leads out");
    store.rename("out/secret", "mine").expect_err("leads out");
    store.metadata("out/secret").expect_err("leads out");
    assert_eq!(store.metadata("out").expect("looks").expect("is there").kind, Kind::Other);
    store.create_dir("d").expect("makes");
    store.rename("out", "d/out").expect("moves the link itself");
    remove_tree(&store, "d").expect("removes the link itself");
    assert_eq!(fs::read(outside.path().join("secret")).expect("is there"), b"secret");
}

#[test]
fn sparse_file_of_20_gib_takes_no_space() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().expect("temporary directory");
    let store = store(&dir);
    let file = store.open("big", Access::Create).expect("creates");
    store.set_len(&file, 20 << 30).expect("grows");
    store.write_at(&file, (20 << 30) - 1, b"x").expect("writes");
    store.sync(&file).expect("syncs");
    let metadata = fs::metadata(dir.path().join("big")).expect("is there");
    assert!(metadata.len() == 20 << 30 && metadata.blocks() < 1000);
}

fn package(dir: &Path, version: &str) -> Manifest {
    let from = dir.join("p");
    fs::create_dir_all(from.join("bin")).expect("makes");
    fs::write(from.join("version.ini"), format!("name=P\nversion={version}\n")).expect("writes");
    fs::write(from.join("bin/run"), version.repeat(700_000)).expect("writes");
    fs::set_permissions(from.join("bin/run"), fs::Permissions::from_mode(0o755)).expect("sets");
    let store = FsStore::open(dir).expect("opens");
    scan::scan(&store, "p", &mut Index::default(), i128::MAX, |_| true).expect("scans")
}

#[test]
fn package_is_fetched_resumed_installed_updated_and_removed_d4_d7_d8() {
    let dir = tempfile::tempdir().expect("temporary directory");
    for version in ["1", "22"] {
        let source = tempfile::tempdir().expect("temporary directory");
        let manifest = Arc::new(package(source.path(), version));
        let from = FsStore::open(source.path()).expect("opens");
        // Each piece by a process of its own, so to speak.
        for number in 0..manifest.piece_count() {
            let (library, recovered) = Library::open(store(&dir), "version.ini", LibraryId([1; 16])).expect("opens");
            let is_first = number == 0;
            assert_eq!(recovered.done.is_empty(), is_first);
            let mut download = library.download("p", Arc::clone(&manifest)).expect("begins");
            assert_eq!(download.have().count(), number);
            let at = manifest.locate(Piece(number)).expect("is there");
            let path = format!("p/{}", manifest.files()[at.file].path.as_str());
            let mut bytes = vec![0; at.bytes as usize];
            let file = from.open(&path, Access::Read).expect("opens");
            assert_eq!(from.read_at(&file, at.offset, &mut bytes).expect("reads"), bytes.len());
            download.write_piece(Instant::now(), Piece(number), &bytes).expect("writes");
            download.checkpoint().expect("saves");
        }
        let (library, recovered) = Library::open(store(&dir), "version.ini", LibraryId([2; 16])).expect("opens");
        assert_eq!(recovered.done, [("p".to_owned(), Recovery::Download(manifest.id()))]);
        let download = library.download("p", Arc::clone(&manifest)).expect("goes on");
        let install: Option<(&dyn crate::library::unpack::Unpacker, Limits)> =
            Some((&Archives::ALL, Limits::default()));
        download.commit(install, &Cancel::default()).expect("commits");
        assert_eq!(library.owned("p").expect("looks"), Some(manifest.id()));
        assert_eq!(library.installed("p").expect("looks"), Some(manifest.id()));
        let run = dir.path().join("p/local/bin/run");
        assert_eq!(fs::read_to_string(&run).expect("is there"), version.repeat(700_000));
        assert_eq!(fs::metadata(&run).expect("is there").permissions().mode() & 0o777, 0o755);
        let again = scan::scan(library.store(), "p", &mut Index::default(), i128::MAX, |_| true).expect("scans");
        assert_eq!(again.id(), manifest.id());
    }
    let (library, recovered) = Library::open(store(&dir), "version.ini", LibraryId([3; 16])).expect("opens");
    assert!(recovered.done.is_empty() && recovered.failed.is_empty(), "{recovered:?}");
    library.uninstall("p").expect("uninstalls");
    assert!(!dir.path().join("p/local").exists());
    library.remove("p").expect("removes");
    let left: Vec<_> =
        fs::read_dir(dir.path()).expect("lists").map(|entry| entry.expect("lists").file_name()).collect();
    assert_eq!(left, [".banyan"]);
}
