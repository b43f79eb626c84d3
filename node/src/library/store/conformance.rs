//! What every [`Store`] does alike.

use super::{
    Access, Kind, Store, StoreError, create_dirs, read_all, remove_tree, replace_file, sync_dirs, sync_tree, write_new,
};

/// Runs all checks on an empty store.
pub(crate) fn check<S: Store>(store: &S) {
    files(store);
    folders(store);
    renames(store);
    bad_paths(store);
    trees(store);
    assert!(store.list("").expect("lists").is_empty(), "something was left behind");
}

fn files<S: Store>(store: &S) {
    assert!(store.metadata("f").expect("looks").is_none());
    assert!(matches!(store.open("f", Access::Read), Err(StoreError::NotFound(_))));
    assert!(matches!(store.open("f", Access::Write), Err(StoreError::NotFound(_))));
    let file = store.open("f", Access::Create).expect("creates");
    assert!(matches!(store.open("f", Access::Create), Err(StoreError::Exists(_))));
    let metadata = store.metadata("f").expect("looks").expect("is there");
    assert_eq!((metadata.kind, metadata.size, metadata.executable), (Kind::File, 0, false));

    store.write_at(&file, 5, b"world").expect("writes");
    assert_eq!(read_all(store, "f", 10).expect("reads").as_deref(), Some(&b"\0\0\0\0\0world"[..]));
    store.write_at(&file, 0, b"hello").expect("writes");
    let mut buffer = [0; 4];
    assert_eq!(store.read_at(&file, 8, &mut buffer).expect("reads"), 2);
    assert_eq!(&buffer[..2], b"ld");
    assert_eq!(store.read_at(&file, 10, &mut buffer).expect("reads"), 0);
    assert_eq!(store.read_at(&file, 1 << 40, &mut buffer).expect("reads"), 0);
    assert!(matches!(read_all(store, "f", 9), Err(StoreError::TooMuch(..))));
    assert_eq!(read_all(store, "none", 9).expect("looks"), None);

    store.set_len(&file, 3).expect("cuts");
    store.set_len(&file, 4).expect("grows");
    assert_eq!(read_all(store, "f", 10).expect("reads").as_deref(), Some(&b"hel\0"[..]));
    store.set_executable(&file, true).expect("sets");
    store.sync(&file).expect("syncs");
    assert!(store.metadata("f").expect("looks").expect("is there").executable);
    store.set_executable(&file, false).expect("sets");
    assert!(!store.metadata("f").expect("looks").expect("is there").executable);
    let inode = store.metadata("f").expect("looks").expect("is there").inode;
    store.write_at(&store.open("f", Access::Write).expect("opens"), 0, b"x").expect("writes");
    assert_eq!(store.metadata("f").expect("looks").expect("is there").inode, inode);
    store.sync(&store.open("f", Access::Read).expect("opens")).expect("a reader may sync, too");

    store.remove_file("f").expect("removes");
    assert!(matches!(store.remove_file("f"), Err(StoreError::NotFound(_))));
    assert_eq!(store.read_at(&file, 0, &mut buffer).expect("an open file lives on"), 4);
}

fn folders<S: Store>(store: &S) {
    assert!(matches!(store.list("d"), Err(StoreError::NotFound(_))));
    assert!(matches!(store.create_dir("d/e"), Err(StoreError::NotFound(_))));
    store.create_dir("d").expect("makes");
    assert!(matches!(store.create_dir("d"), Err(StoreError::Exists(_))));
    assert_eq!(store.metadata("d").expect("looks").expect("is there").kind, Kind::Dir);
    for name in ["z", "a", "ä b"] {
        write_new(store, &format!("d/{name}"), b"").expect("writes");
    }
    let names: Vec<_> = store.list("d").expect("lists").into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["a", "z", "ä b"]);
    assert!(matches!(store.open("d", Access::Read), Err(StoreError::WrongKind(..))));
    assert!(matches!(store.open("d", Access::Write), Err(StoreError::WrongKind(..))));
    assert!(matches!(store.list("d/a"), Err(StoreError::WrongKind(..))));
    assert!(matches!(store.sync_dir("d/a"), Err(StoreError::WrongKind(..))));
    assert!(matches!(store.remove_file("d"), Err(StoreError::WrongKind(..))));
    assert!(matches!(store.remove_dir("d/a"), Err(StoreError::WrongKind(..))));
    assert!(matches!(store.remove_dir("d"), Err(StoreError::NotEmpty(_))));
    store.open("d/a/b", Access::Read).map(|_| ()).expect_err("a file is no folder");
    for name in ["z", "a", "ä b"] {
        store.remove_file(&format!("d/{name}")).expect("removes");
    }
    store.remove_dir("d").expect("removes");
    assert!(matches!(store.remove_dir("d"), Err(StoreError::NotFound(_))));
    store.sync_dir("").expect("syncs the root");
}

fn renames<S: Store>(store: &S) {
    assert!(matches!(store.rename("a", "b"), Err(StoreError::NotFound(_))));
    write_new(store, "a", b"1").expect("writes");
    write_new(store, "b", b"2").expect("writes");
    store.rename("a", "b").expect("a file replaces a file");
    assert_eq!(read_all(store, "b", 9).expect("reads").as_deref(), Some(&b"1"[..]));
    for dir in ["d", "e"] {
        store.create_dir(dir).expect("makes");
    }
    assert!(matches!(store.rename("d", "e"), Err(StoreError::Exists(_))), "even if empty");
    assert!(matches!(store.rename("d", "b"), Err(StoreError::Exists(_))));
    assert!(matches!(store.rename("b", "d"), Err(StoreError::Exists(_))));
    store.rename("b", "d/b").expect("moves");
    store.rename("d", "e/f").expect("moves a folder with what is in it");
    assert_eq!(read_all(store, "e/f/b", 9).expect("reads").as_deref(), Some(&b"1"[..]));
    store.rename("e", "e/f/g").expect_err("a folder does not go into itself");
    replace_file(store, "e/f/b", b"new").expect("replaces");
    assert_eq!(read_all(store, "e/f/b", 9).expect("reads").as_deref(), Some(&b"new"[..]));
    remove_tree(store, "e").expect("removes");
}

fn bad_paths<S: Store>(store: &S) {
    let long = "x/".repeat(super::PATH_BYTES_MAX) + "x";
    for path in ["..", "../x", "a/../b", "/", "/etc/passwd", ".", "a/./b", "a//b", "a/", "a\0b", &long] {
        assert!(matches!(store.metadata(path), Err(StoreError::BadPath(_))), "{path:?}");
        assert!(matches!(store.open(path, Access::Create), Err(StoreError::BadPath(_))), "{path:?}");
        assert!(matches!(store.create_dir(path), Err(StoreError::BadPath(_))), "{path:?}");
        assert!(matches!(store.list(path), Err(StoreError::BadPath(_))), "{path:?}");
        assert!(matches!(store.remove_file(path), Err(StoreError::BadPath(_))), "{path:?}");
        assert!(matches!(store.remove_dir(path), Err(StoreError::BadPath(_))), "{path:?}");
        assert!(store.rename("a", path).is_err(), "{path:?}");
    }
    store.open("", Access::Create).map(|_| ()).expect_err("the root is no file");
    store.remove_dir("").expect_err("the root stays");
    store.create_dir("").expect_err("the root is there");
}

fn trees<S: Store>(store: &S) {
    create_dirs(store, "t/a/b").expect("makes");
    create_dirs(store, "t/a/b").expect("is there");
    write_new(store, "t/a/b/f", b"f").expect("writes");
    write_new(store, "t/g", b"g").expect("writes");
    assert!(create_dirs(store, "t/g/h").is_err());
    sync_tree(store, "t").expect("syncs");
    sync_dirs(store, "t", ["t/a/b", "t/a"]).expect("syncs");
    remove_tree(store, "t/g").expect("removes a file");
    remove_tree(store, "t").expect("removes");
    remove_tree(store, "t").expect("nothing to remove");
}
