//! Nodes with libraries, and packages for them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use banyan_node::{
    Accept, Builder, Library, LibraryError, Node, Selector,
    views::library::{JobView, VersionView},
};
use tokio::{
    runtime::Runtime,
    time::{sleep, timeout},
};

/// Time for anything to happen.
const LIMIT: Duration = Duration::from_secs(180);

pub(crate) struct Shared {
    pub(crate) node: Node,
    pub(crate) folder: PathBuf,
}

/// A node on a runtime of its own, which can be killed.
pub(crate) struct Mortal {
    pub(crate) shared: Shared,
    pub(crate) runtime: Runtime,
}

impl Mortal {
    pub(crate) async fn start(folder: &Path, bootstrap: Option<&Shared>) -> Self {
        Self::run(folder, Shared::builder(folder, bootstrap).await).await
    }

    /// Takes what is pushed.
    pub(crate) async fn accepting(folder: &Path, bootstrap: &Shared) -> Self {
        let builder = Shared::builder(folder, Some(bootstrap)).await;
        Self::run(folder, builder.library_accept(Accept::All)).await
    }

    async fn run(folder: &Path, builder: Builder) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("starts");
        let node = runtime.spawn(builder.start()).await.expect("no panic").expect("it starts");
        Self { shared: Shared { node, folder: folder.to_owned() }, runtime }
    }

    /// Nothing of it runs any more; nobody is told.
    pub(crate) async fn kill(self) {
        let killed = tokio::task::spawn_blocking(move || self.runtime.shutdown_timeout(LIMIT));
        killed.await.expect("no panic");
    }
}

impl Shared {
    pub(crate) async fn builder(folder: &Path, bootstrap: Option<&Self>) -> Builder {
        let builder = Node::builder().mdns(false).listen("/ip4/127.0.0.1/tcp/0").library(folder);
        match bootstrap {
            Some(other) => builder.bootstrap(other.address().await),
            None => builder,
        }
    }

    pub(crate) async fn start(folder: &Path, bootstrap: Option<&Self>) -> Self {
        let node = Self::builder(folder, bootstrap).await.start().await.expect("it starts");
        Self { node, folder: folder.to_owned() }
    }

    /// Waits until a job has fetched so much.
    pub(crate) async fn fetched(&self, job: &JobView, bytes: u64) -> JobView {
        until("enough is fetched", async || {
            let view = self.library().job(job.id).await.expect("it is known");
            (view.bytes >= bytes || view.state == "done").then_some(view)
        })
        .await
    }

    pub(crate) async fn address(&self) -> String {
        until("it listens", async || self.node.status().await.expect("it runs").addresses.into_iter().next()).await
    }

    pub(crate) fn library(&self) -> Library {
        self.node.library().expect("it shares a folder")
    }

    /// Waits until a version of a title is known that so many others have.
    pub(crate) async fn sees(&self, name: &str, version: &str, peers: usize) -> VersionView {
        until(&format!("{peers} peers have {name} {version}"), async || {
            let view = self.library().view().await.expect("it runs");
            let title = view.titles.into_iter().find(|title| title.name == name)?;
            title.versions.into_iter().find(|found| found.version == version && found.peers.len() == peers)
        })
        .await
    }

    pub(crate) async fn has(&self, name: &str, version: &str, here: Option<&str>) {
        until(&format!("{name} {version} is {here:?} here"), async || {
            let view = self.library().view().await.expect("it runs");
            let versions = view.titles.into_iter().find(|title| title.name == name).map(|title| title.versions);
            let found = versions.unwrap_or_default().into_iter().find(|found| found.version == version);
            (found.and_then(|found| found.here).as_deref() == here).then_some(())
        })
        .await;
    }

    pub(crate) async fn ended(&self, job: JobView) -> JobView {
        until("the job ends", async || {
            let view = self.library().job(job.id).await.expect("it is known");
            (!matches!(view.state.as_str(), "running" | "waiting")).then_some(view)
        })
        .await
    }

    pub(crate) async fn done(&self, job: Result<JobView, LibraryError>) -> JobView {
        let job = self.ended(job.expect("it begins")).await;
        assert_eq!(job.state, "done", "{:?}", job.error);
        job
    }
}

pub(crate) async fn until<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = check().await {
                return found;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// Bytes of which no two pieces are the same.
pub(crate) fn content(bytes: usize) -> Vec<u8> {
    let mut content: Vec<u8> = (0..=255).cycle().take(bytes).collect();
    for (number, piece) in (0u64..).zip(content.chunks_mut(1 << 16)) {
        let stamp = number.to_le_bytes();
        let stamped = piece.len().min(stamp.len());
        piece[..stamped].copy_from_slice(&stamp[..stamped]);
    }
    content
}

/// Writes a package of a large file, a small one in a folder and an empty one.
pub(crate) fn package(library: &Path, name: &str, version: &str, large_bytes: usize) {
    let folder = library.join(name);
    fs::create_dir_all(folder.join("data")).expect("makes folders");
    fs::write(folder.join("large.bin"), content(large_bytes)).expect("writes");
    fs::write(folder.join("data/small"), version).expect("writes");
    fs::write(folder.join("data/empty"), "").expect("writes");
    fs::write(folder.join("version.ini"), format!("name={name}\nversion={version}\n")).expect("writes");
}

pub(crate) fn same(a: &Path, b: &Path) -> bool {
    ["large.bin", "data/small", "data/empty", "version.ini"]
        .iter()
        .all(|file| fs::read(a.join(file)).ok().is_some_and(|bytes| Some(bytes) == fs::read(b.join(file)).ok()))
}

pub(crate) fn folders<const N: usize>() -> [tempfile::TempDir; N] {
    std::array::from_fn(|_| tempfile::tempdir().expect("a folder"))
}

pub(crate) fn select(text: &str) -> Selector {
    text.into()
}
