//! Who may do what when.

use super::*;
use crate::library::{
    store::{create_dirs, write_new},
    unpack::{Sink, Source, UnpackError},
};

#[test]
fn second_operation_on_a_package_is_refused_d10() {
    let origin = Origin::new(1);
    let disk = with_package(&origin, true);
    let library = open(&disk);
    let download = library.download("p", Arc::clone(&origin.manifest)).expect("begins");
    let busy = |result: Result<(), TransactionError>| assert!(matches!(result, Err(TransactionError::Busy { .. })));
    busy(library.download("p", Arc::clone(&origin.manifest)).map(|_| ()));
    busy(install(&library, &origin));
    busy(library.uninstall("p"));
    busy(library.remove("p"));
    busy(library.abandon("p"));
    library.download("q", Arc::clone(&origin.manifest)).expect("another package is free");
    drop(download);
    library.abandon("p").expect("is free again");
    library.uninstall("p").expect("is free again");
}

#[test]
fn cancelled_install_leaves_nothing_d10() {
    struct Cancels(Cancel);
    impl Unpacker for Cancels {
        fn unpack(&self, _package: &dyn Source, into: &mut Sink<'_>) -> Result<(), UnpackError> {
            into.file("a/b", false, "a/b", &mut &b"content"[..])?;
            self.0.cancel();
            into.file("c", false, "c", &mut &b"content"[..]).map(|_| ())
        }
    }
    let origin = Origin::new(1);
    let disk = with_package(&origin, false);
    let library = open(&disk);
    let cancel = Cancel::default();
    let outcome = library.install("p", origin.id(), &Cancels(cancel.clone()), Limits::default(), &cancel);
    assert!(matches!(outcome, Err(TransactionError::Cancelled)), "{outcome:?}");
    assert!(disk.list(".banyan/do").expect("lists").is_empty() && library.installed("p").expect("looks").is_none());
    install(&library, &origin).expect("installs afterwards");

    let next = Origin::new(2);
    let download = fetch(&library, &next, &mut Vec::new()).expect("fetches");
    let cancel = Cancel::default();
    let outcome = download.commit(Some((&Cancels(cancel.clone()), Limits::default())), &cancel);
    assert!(matches!(outcome, Err(TransactionError::Cancelled)), "{outcome:?}");
    assert!(origin.is_in(&disk, "p") && origin.is_in(&disk, "p/local"));
    let download = library.download("p", Arc::clone(&next.manifest)).expect("goes on");
    assert!(download.have().is_full());
    download.commit(COPY, &Cancel::default()).expect("updates afterwards");
    assert!(next.is_in(&disk, "p") && next.is_in(&disk, "p/local"));
}

#[test]
fn nothing_of_others_is_replaced_or_removed_d8() {
    let origin = Origin::new(1);
    let not_owned = |result: Result<(), TransactionError>| {
        assert!(matches!(result, Err(TransactionError::NotOwned(_))), "{result:?}");
    };
    // A package that somebody has put there.
    let disk = SimStore::new();
    create_dirs(&disk, "p").expect("makes");
    write_new(&disk, "p/version.ini", b"version=1").expect("writes");
    let library = open(&disk);
    not_owned(library.remove("p"));
    not_owned(library.download("p", Arc::clone(&origin.manifest)).map(|_| ()));
    // It can be installed all the same, and that alone is removed.
    install(&library, &origin).expect("installs");
    library.uninstall("p").expect("uninstalls");
    assert_eq!(disk.list("p").expect("lists").len(), 1);
    // A folder `local` that somebody has put there.
    create_dirs(&disk, "p/local").expect("makes");
    not_owned(install(&library, &origin));
    not_owned(library.uninstall("p"));
    // The marker of another library.
    write_new(&disk, "p/local/.banyan-installed", layout::marker(LibraryId([6; 16]), origin.id()).as_bytes())
        .expect("writes");
    not_owned(library.uninstall("p"));
    // An own package with such a folder.
    let disk = with_package(&origin, false);
    create_dirs(&disk, "p/local").expect("makes");
    let library = open(&disk);
    not_owned(library.remove("p"));
    not_owned(library.download("p", Arc::clone(&Origin::new(2).manifest)).map(|_| ()));
    // What is put into a work folder stays there.
    let download = library.download("q", Arc::clone(&origin.manifest)).expect("begins");
    write_new(&disk, ".banyan/get/q/mine", b"mine").expect("writes");
    drop(download);
    library.abandon("q").expect("abandons");
    let left: Vec<_> = disk.list(".banyan/get/q").expect("lists").into_iter().map(|entry| entry.name).collect();
    assert_eq!(left, ["mine"]);
}

#[test]
fn folder_that_is_no_librarys_is_left_alone_d8() {
    for (path, bytes) in [(".banyan/holiday.jpg", &b"x"[..]), (".banyan/owner", b"x"), (".banyan/owner.tmp", &[0; 99])]
    {
        let disk = SimStore::new();
        create_dirs(&disk, ".banyan").expect("makes");
        write_new(&disk, path, bytes).expect("writes");
        let outcome = Library::open(disk.clone(), "version.ini", ID);
        assert!(matches!(outcome, Err(TransactionError::NotOwned(_))), "{path}");
        assert_eq!(read_all(&disk, path, 99).expect("reads").as_deref(), Some(bytes));
    }
}

#[test]
fn library_keeps_its_number() {
    let disk = SimStore::new();
    open(&disk);
    let (library, _) = Library::open(disk, "version.ini", LibraryId([9; 16])).expect("opens");
    assert_eq!(library.id, ID);
}

#[test]
fn package_put_in_the_way_of_a_decision_stays_d8() {
    let origin = Origin::new(1);
    let disk = SimStore::new();
    let library = open(&disk);
    let download = fetch(&library, &origin, &mut Vec::new()).expect("fetches");
    let work = Work::new(Area::Get, "p");
    drop(download);
    // Decided, not done; then somebody puts another package there.
    let intent = Intent { target: intent::Target::Package, old: None, new: Some(origin.id()) };
    intent::write(&disk, &work.intent(), &intent).expect("writes");
    create_dirs(&disk, "p").expect("makes");
    write_new(&disk, "p/version.ini", b"mine").expect("writes");
    let (_, recovered) = Library::open(disk.clone(), "version.ini", ID).expect("opens");
    assert!(matches!(recovered.failed[..], [(_, TransactionError::NotOwned(_))]), "{recovered:?}");
    assert_eq!(read_all(&disk, "p/version.ini", 99).expect("reads").as_deref(), Some(&b"mine"[..]));
    disk.rename("p", "q").expect("moves it away");
    open(&disk);
    assert!(disk.metadata("p/bin/run").expect("looks").is_some());
}

#[test]
fn bad_names_are_refused() {
    let library = open(&SimStore::new());
    for name in ["", ".", "..", ".banyan", "a/b", "/a", "CON", "a\\b", "a\0", &"x".repeat(256)] {
        assert!(matches!(library.uninstall(name), Err(TransactionError::Name(_))), "{name:?}");
        assert!(matches!(library.place(name), Err(TransactionError::Name(_))), "{name:?}");
    }
    library.place(&"x".repeat(255)).expect("a long name");
}

#[test]
fn full_disk_in_the_middle_is_told_and_the_download_goes_on_d7() {
    let files = [("version.ini", 20), ("big", 3 << 20), ("more", 1 << 20)];
    let origin = Origin::of(files.map(|(path, len)| (path.to_owned(), vec![7; len])).into());
    let disk = SimStore::new();
    let library = open(&disk);
    library.download("p", Arc::clone(&origin.manifest)).expect("begins");
    disk.limit_space(2 << 20);
    let mut saved = Vec::new();
    let outcome = fetch(&library, &origin, &mut saved).map(|_| ());
    assert!(matches!(outcome, Err(TransactionError::Store(StoreError::Full(_)))), "{outcome:?}");
    disk.limit_space(u64::MAX);
    let download = fetch(&library, &origin, &mut saved).expect("goes on");
    assert!(download.have().is_full());
    download.commit(None, &Cancel::default()).expect("commits");
    assert!(origin.is_in(&disk, "p"));
}

#[test]
fn wrong_piece_is_never_written_d6() {
    let origin = Origin::new(1);
    let library = open(&SimStore::new());
    let mut download = library.download("p", Arc::clone(&origin.manifest)).expect("begins");
    let mut bytes = origin.piece(Piece(0)).to_vec();
    bytes[0] ^= 1;
    let outcome = download.write_piece(Instant::now(), Piece(0), &bytes);
    assert!(matches!(outcome, Err(TransactionError::Piece(_))));
    assert!(download.have().is_empty() && download.read_piece(Piece(0)).is_err());
    assert!(matches!(download.commit(None, &Cancel::default()), Err(TransactionError::Incomplete(4))));
}

#[test]
fn file_that_has_vanished_is_fetched_again_d7() {
    let origin = Origin::new(1);
    let disk = SimStore::new();
    let library = open(&disk);
    let mut download = fetch(&library, &origin, &mut Vec::new()).expect("fetches");
    download.checkpoint().expect("saves");
    drop(download);
    disk.remove_file(".banyan/get/p/new/data.bin").expect("removes");
    let file = disk.open(".banyan/get/p/new/bin/run", Access::Write).expect("opens");
    disk.set_len(&file, 3).expect("cuts");
    let download = library.download("p", Arc::clone(&origin.manifest)).expect("goes on");
    assert_eq!(download.have().missing().count(), 2);
    drop(download);
    fetch(&library, &origin, &mut Vec::new()).expect("goes on").commit(None, &Cancel::default()).expect("commits");
    assert!(origin.is_in(&disk, "p"));
}

#[test]
fn another_download_of_the_name_is_refused_until_abandoned() {
    let (first, second) = (Origin::new(1), Origin::new(2));
    let disk = SimStore::new();
    let library = open(&disk);
    library.download("p", Arc::clone(&first.manifest)).expect("begins");
    let outcome = library.download("p", Arc::clone(&second.manifest)).map(|_| ());
    assert!(matches!(outcome, Err(TransactionError::OtherDownload { found, .. }) if found == first.id()));
    assert_eq!(library.paused("p").expect("looks"), Some(first.manifest.encode()));
    library.abandon("p").expect("abandons");
    assert!(disk.list(".banyan/get").expect("lists").is_empty());
    library.download("p", Arc::clone(&second.manifest)).expect("begins");
}

#[test]
fn update_of_an_installed_version_needs_an_unpacker_d8() {
    let disk = with_package(&Origin::new(1), true);
    let library = open(&disk);
    let download = fetch(&library, &Origin::new(2), &mut Vec::new()).expect("fetches");
    assert!(matches!(download.commit(None, &Cancel::default()), Err(TransactionError::Installed(_))));
}
