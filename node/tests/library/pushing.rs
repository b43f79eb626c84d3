//! Pushing packages to several nodes.

use std::{fs, path::Path};

use banyan_node::{Accept, LibraryError, Targets, views::library::JobView};
use tempfile::TempDir;

use crate::nodes::{Mortal, Shared, folders, package, same, select, until};

/// A node that takes what is pushed.
async fn taker(folder: &Path, bootstrap: &Shared) -> Shared {
    let builder = Shared::builder(folder, Some(bootstrap)).await.library_accept(Accept::All);
    Shared { node: builder.start().await.expect("it starts"), folder: folder.to_owned() }
}

/// Waits until the source knows that so many others share folders.
async fn knows_sharers(source: &Shared, names: usize) {
    until("the others are known", async || {
        let view = source.library().view().await.expect("it runs");
        let here = view.titles.iter().filter(|title| title.name.starts_with("own-") && title.peers == 1).count();
        (here == names).then_some(())
    })
    .await;
}

/// Folders, each with a package of its own, by which one sees that its node is known.
fn own_folders<const N: usize>() -> [TempDir; N] {
    let folders: [TempDir; N] = folders();
    for (number, folder) in folders.iter().enumerate() {
        package(folder.path(), &format!("own-{number}"), "1", 10);
    }
    folders
}

/// Waits until a job shows so many targets in a state that begins like this.
async fn targets_are(source: &Shared, job: &JobView, state: &str, count: usize) -> JobView {
    until(&format!("{count} targets are {state}"), async || {
        let view = source.library().job(job.id).await.expect("it is known");
        let found = view.sources.iter().filter(|target| target.state.starts_with(state)).count();
        (found >= count).then_some(view)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn pushed_package_spreads_and_leaves_its_source_about_once_d5() {
    let [a] = folders();
    let others: [TempDir; 4] = own_folders();
    package(a.path(), "set", "1", 64 << 20);
    let source = Shared::start(a.path(), None).await;
    let mut takers = Vec::new();
    for folder in &others {
        takers.push(taker(folder.path(), &source).await);
    }
    knows_sharers(&source, 4).await;
    let job = source.done(source.library().push(&select("set"), &Targets::All, None).await).await;
    assert_eq!(job.bytes, job.bytes_total);
    assert_eq!(job.sources.iter().filter(|target| target.state == "done").count(), 4, "{job:?}");
    let (mut from_source, mut from_others) = (0, 0);
    let source_id = source.node.peer_id().to_string();
    for taker in &takers {
        assert!(same(&a.path().join("set"), &taker.folder.join("set")));
        assert!(!taker.folder.join("set/local").exists());
        let job = taker.library().jobs().await.expect("it runs").jobs.pop().expect("it fetched");
        for from in job.sources {
            *(if from.peer_id == source_id { &mut from_source } else { &mut from_others }) += from.bytes;
        }
    }
    // Without limits of rate it is chance how many.
    assert!(from_others > 0 && from_source > 0, "{from_source} bytes came from the source, {from_others} from others");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_installs_before_all_have_it_d5() {
    let [a] = folders();
    let others: [TempDir; 3] = own_folders();
    package(a.path(), "set", "1", 8 << 20);
    let source = Shared::start(a.path(), None).await;
    let first = taker(others[0].path(), &source).await;
    let second = taker(others[1].path(), &source).await;
    // The third has another job on the title until it is told to stop.
    let third = taker(others[2].path(), &source).await;
    knows_sharers(&source, 3).await;
    package(others[2].path(), "set", "0", 8 << 20);
    fs::write(others[2].path().join("set/mine"), "made by hand").expect("writes");
    let job = source.library().push(&select("set"), &Targets::All, Some(100)).await.expect("it begins");
    // What a person made is not replaced: the third cannot have it, so nobody installs it.
    let job = source.ended(job).await;
    assert_eq!(job.error.as_ref().map(|error| error.code.as_str()), Some("push_failed"), "{job:?}");
    for taker in [&first, &second] {
        taker.has("set", "1", None).await;
        assert!(!taker.folder.join("set").exists());
    }
    // Of three, two are two thirds.
    let job = source.library().push(&select("set"), &Targets::All, Some(66)).await;
    let job = source.done(job).await;
    assert_eq!(job.sources.iter().filter(|target| target.state == "done").count(), 2, "{job:?}");
    for taker in [&first, &second] {
        taker.has("set", "1", Some("installed")).await;
        assert!(same(&a.path().join("set"), &taker.folder.join("set/local")));
    }
    assert!(third.folder.join("set/mine").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn target_that_refuses_or_dies_is_named_and_holds_up_nobody_d5() {
    let [a, b, c, d] = folders();
    for (number, folder) in [&b, &c, &d].into_iter().enumerate() {
        package(folder.path(), &format!("own-{number}"), "1", 10);
    }
    package(a.path(), "set", "1", 96 << 20);
    let source = Shared::start(a.path(), None).await;
    let good = taker(b.path(), &source).await;
    let closed = Shared::start(c.path(), Some(&source)).await;
    let mortal = Mortal::accepting(d.path(), &source).await;
    knows_sharers(&source, 3).await;
    let job = source.library().push(&select("set"), &Targets::All, None).await.expect("it begins");
    targets_are(&source, &job, "fetching", 1).await;
    mortal.kill().await;
    let job = source.ended(job).await;
    assert_eq!(job.state, "failed");
    assert!(same(&a.path().join("set"), &good.folder.join("set")));
    assert!(!closed.folder.join("set").exists());
    let state = |shared: &Shared| {
        let id = shared.node.peer_id().to_string();
        job.sources.iter().find(|target| target.peer_id == id).map(|target| target.state.clone()).unwrap_or_default()
    };
    assert_eq!(state(&good), "done");
    assert!(state(&closed).contains("--library-accept"), "{job:?}");
    // Unless it was through before it was killed.
    let words = ["lost", "done"];
    assert!(job.sources.iter().filter(|target| words.contains(&&*target.state)).count() == 2, "{job:?}");
    let nobody = source.library().push(&select("set"), &Targets::Label("x*".to_owned()), None).await;
    assert!(matches!(nobody, Err(LibraryError::NotFound(_))), "{nobody:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_push_leaves_nothing_at_its_targets_d10() {
    let [a] = folders();
    let others: [TempDir; 2] = own_folders();
    package(a.path(), "set", "1", 128 << 20);
    let source = Shared::start(a.path(), None).await;
    let first = taker(others[0].path(), &source).await;
    let second = taker(others[1].path(), &source).await;
    knows_sharers(&source, 2).await;
    let job = source.library().push(&select("set"), &Targets::All, Some(100)).await.expect("it begins");
    targets_are(&source, &job, "fetching", 2).await;
    source.library().cancel(job.id).await.expect("it is known");
    assert_eq!(source.ended(job).await.state, "cancelled");
    for taker in [&first, &second] {
        let job = taker.library().jobs().await.expect("it runs").jobs.pop().expect("it fetched");
        assert_eq!(taker.ended(job).await.state, "cancelled");
        taker.has("set", "1", None).await;
        assert!(!taker.folder.join("set").exists());
    }
}
