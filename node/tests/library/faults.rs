//! Packages that are hard on disks.

use std::{fs, os::unix::fs::MetadataExt};

use crate::nodes::{Shared, folders, select};

#[tokio::test(flavor = "multi_thread")]
async fn holes_long_names_empty_and_many_files_arrive_d6() {
    let [a, b] = folders();
    let set = a.path().join("set");
    fs::create_dir_all(set.join("many")).expect("makes folders");
    let long = "n".repeat(255);
    fs::write(set.join(&long), "long").expect("writes");
    fs::write(set.join("empty"), "").expect("writes");
    let hole = fs::File::create(set.join("hole")).expect("makes a file");
    hole.set_len(48 << 20).expect("makes a hole");
    for number in 0..600u32 {
        fs::write(set.join(format!("many/{number}")), number.to_le_bytes().repeat(4096)).expect("writes");
    }
    fs::write(set.join("version.ini"), "name=set\nversion=1\n").expect("writes");
    let source = Shared::start(a.path(), None).await;
    let target = Shared::start(b.path(), Some(&source)).await;
    target.sees("set", "1", 1).await;
    target.done(target.library().install(&select("set")).await).await;
    for folder in [target.folder.join("set"), target.folder.join("set/local")] {
        assert_eq!(fs::read(folder.join(&long)).expect("reads"), b"long");
        assert_eq!(fs::read(folder.join("empty")).expect("reads"), b"");
        assert_eq!(fs::read(folder.join("many/599")).expect("reads"), 599u32.to_le_bytes().repeat(4096));
        let hole = fs::metadata(folder.join("hole")).expect("it is there");
        assert_eq!(hole.size(), 48 << 20);
        assert!(hole.blocks() * 512 < 8 << 20, "{} blocks of {}", hole.blocks(), folder.display());
    }
    target.done(target.library().verify(&select("set")).await).await;
}
