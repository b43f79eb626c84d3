//! Fetching, installing, updating, cancelling.

use std::{
    fs,
    os::unix::fs::FileExt,
    time::{Duration, SystemTime},
};

use banyan_node::LibraryError;

use crate::nodes::{Mortal, Shared, folders, package, same, select, until};

#[tokio::test(flavor = "multi_thread")]
async fn package_is_fetched_installed_uninstalled_and_removed_d3_d5_d8() {
    let [a, b] = folders();
    package(a.path(), "tool", "1.2", 9_000_000);
    let source = Shared::start(a.path(), None).await;
    let target = Shared::start(b.path(), Some(&source)).await;
    let seen = target.sees("tool", "1.2", 1).await;
    assert_eq!((seen.files, seen.here), (4, None));
    assert!(matches!(target.library().get(&select("tol"), false).await, Err(LibraryError::NotFound(_))));
    let job = target.done(target.library().get(&select("tool"), false).await).await;
    assert_eq!((job.bytes, job.bytes_total), (seen.bytes, seen.bytes));
    assert_eq!(job.sources.len(), 1);
    assert!(same(&a.path().join("tool"), &b.path().join("tool")));
    // The source sees that it is no longer the only one.
    source.sees("tool", "1.2", 1).await;
    target.done(target.library().install(&select(&seen.package[..8])).await).await;
    target.has("tool", "1.2", Some("installed")).await;
    assert!(b.path().join("tool/local/data/small").is_file());
    target.done(target.library().verify(&select("tool@1.2")).await).await;
    target.done(target.library().uninstall(&select("tool")).await).await;
    target.has("tool", "1.2", Some("complete")).await;
    assert!(matches!(target.library().uninstall(&select("tool")).await, Err(LibraryError::NotInstalled(_))));
    target.done(target.library().remove(&select("tool")).await).await;
    target.has("tool", "1.2", None).await;
    assert!(!target.folder.join("tool").exists());
    source.node.shutdown().await;
    until("what only a node had that has left is no longer listed", async || {
        target.library().view().await.expect("it runs").titles.is_empty().then_some(())
    })
    .await;
    target.node.shutdown().await;
    assert!(matches!(target.library().view().await, Err(LibraryError::Unavailable)));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sources_are_asked_at_once_and_one_may_die_d3_d5() {
    let [a, b, c] = folders();
    for folder in [&a, &b] {
        package(folder.path(), "set", "1", 96 << 20);
    }
    let first = Shared::start(a.path(), None).await;
    let second = Mortal::start(b.path(), Some(&first)).await;
    let target = Shared::start(c.path(), Some(&first)).await;
    let seen = target.sees("set", "1", 2).await;
    let job = target.library().get(&select("set"), false).await.expect("it begins");
    let both = until("both send", async || {
        let view = target.library().job(job.id).await.expect("it is known");
        let sending = view.sources.iter().filter(|source| source.bytes > 0).count();
        (sending == 2 || view.state == "done").then_some(view)
    })
    .await;
    assert_eq!(both.sources.iter().filter(|source| source.bytes > 0).count(), 2, "{both:?}");
    second.kill().await;
    let job = target.ended(job).await;
    assert_eq!((job.state.as_str(), job.bytes), ("done", seen.bytes), "{:?}", job.error);
    assert!(same(&a.path().join("set"), &c.path().join("set")));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_fetched_it_serves_those_who_began_with_a_part_d5() {
    let [a, b, c] = folders();
    package(a.path(), "set", "1", 96 << 20);
    let source = Mortal::start(a.path(), None).await;
    let second = Shared::start(b.path(), Some(&source.shared)).await;
    let third = Shared::start(c.path(), Some(&second)).await;
    second.sees("set", "1", 1).await;
    third.sees("set", "1", 1).await;
    let first_job = second.library().get(&select("set"), false).await.expect("it begins");
    second.fetched(&first_job, 72 << 20).await;
    let job = third.library().get(&select("set"), false).await.expect("it begins");
    assert_eq!(second.ended(first_job).await.state, "done");
    source.kill().await;
    assert_eq!(third.ended(job).await.state, "done");
    assert!(same(&b.path().join("set"), &c.path().join("set")));
}

#[tokio::test(flavor = "multi_thread")]
async fn download_goes_on_after_a_restart_d7() {
    let [a, b] = folders();
    package(a.path(), "set", "1", 128 << 20);
    let source = Shared::start(a.path(), None).await;
    let target = Mortal::start(b.path(), Some(&source)).await;
    let seen = target.shared.sees("set", "1", 1).await;
    let job = target.shared.library().install(&select("set")).await.expect("it begins");
    let before = target.shared.fetched(&job, 72 << 20).await;
    assert_eq!(before.state, "running");
    target.kill().await;
    assert!(!b.path().join("set").exists());
    let target = Shared::start(b.path(), Some(&source)).await;
    let job = target.library().jobs().await.expect("it runs").jobs.pop().expect("it goes on by itself");
    assert_eq!(job.kind, "install");
    let job = target.done(Ok(job)).await;
    assert_eq!(job.bytes, seen.bytes);
    let fetched: u64 = job.sources.iter().map(|source| source.bytes).sum();
    assert!(fetched + (72 << 20) <= seen.bytes + (64 << 20), "{fetched} bytes were fetched again");
    target.has("set", "1", Some("installed")).await;
    assert!(same(&a.path().join("set"), &b.path().join("set/local")));
}

#[tokio::test(flavor = "multi_thread")]
async fn source_with_wrong_bytes_is_left_out_and_named_d6() {
    let [a, b, c] = folders();
    for folder in [&a, &b] {
        package(folder.path(), "set", "1", 48 << 20);
    }
    // The files are old enough to be remembered by size and time, so that what changes below is not seen.
    let path = b.path().join("set/large.bin");
    let old = SystemTime::now() - Duration::from_secs(3600);
    fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(old)).expect("sets the time");
    let honest = Shared::start(a.path(), None).await;
    let liar = Shared::start(b.path(), Some(&honest)).await;
    honest.sees("set", "1", 1).await;
    let file = fs::File::options().write(true).open(&path).expect("opens");
    for piece in 0..48 {
        file.write_all_at(b"lies", (piece << 20) + 500).expect("writes");
    }
    file.set_modified(old).expect("sets the time");
    let target = Shared::start(c.path(), Some(&honest)).await;
    target.sees("set", "1", 2).await;
    let job = target.done(target.library().get(&select("set"), false).await).await;
    assert!(same(&a.path().join("set"), &c.path().join("set")));
    let liar_id = liar.node.peer_id().to_string();
    let named = job.sources.iter().find(|source| source.peer_id == liar_id).expect("it was asked");
    assert!(named.state.starts_with("quarantined"), "{named:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn update_replaces_the_version_that_is_installed_d8() {
    let [a, b] = folders();
    package(a.path(), "tool", "1.9", 3_000_000);
    let source = Shared::start(a.path(), None).await;
    let target = Shared::start(b.path(), Some(&source)).await;
    target.sees("tool", "1.9", 1).await;
    target.done(target.library().install(&select("tool")).await).await;
    package(a.path(), "tool", "1.10", 2_000_000);
    target.sees("tool", "1.10", 1).await;
    target.done(target.library().update("tool").await).await;
    target.has("tool", "1.10", Some("installed")).await;
    target.has("tool", "1.9", None).await;
    assert!(same(&a.path().join("tool"), &b.path().join("tool/local")));
    // There is nothing newer.
    target.done(target.library().update("tool").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_download_leaves_nothing_d10() {
    let [a, b] = folders();
    package(a.path(), "set", "1", 128 << 20);
    let source = Shared::start(a.path(), None).await;
    let target = Shared::start(b.path(), Some(&source)).await;
    target.sees("set", "1", 1).await;
    let job = target.library().get(&select("set"), false).await.expect("it begins");
    let again = target.library().get(&select("set"), false).await;
    assert!(matches!(again, Err(LibraryError::Busy(_))), "{again:?}");
    target.fetched(&job, 1 << 20).await;
    target.library().cancel(job.id).await.expect("it is known");
    assert_eq!(target.ended(job).await.state, "cancelled");
    assert!(!target.folder.join("set").exists());
    assert_eq!(fs::read_dir(target.folder.join(".banyan/get")).expect("it is there").count(), 0);
    target.has("set", "1", None).await;
}
