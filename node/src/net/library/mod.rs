//! The library on the network: what [`crate::library`] decides, carried out with links, disks and clocks.
//!
//! `Shared` is what all tasks of a node's library share. One task follows what others announce
//! (`service`), one watches each shared folder (`root`), one asks each peer that something is fetched from
//! (`source`), one answers each peer that asks (`serving`), and one drives each job (`fetch`, `operations`).

mod batch;
mod buffers;
mod disk;
mod error;
mod fetch;
mod follows;
mod held;
mod jobs;
#[cfg(test)]
mod liars;
mod manifests;
mod operations;
pub(crate) mod pace;
pub(crate) mod port;
mod push;
mod pushed;
mod root;
mod selector;
mod service;
mod serving;
mod source;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use banyan_gossip::PeerId;
use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use error::LibraryError;
pub use selector::{ID_DIGITS_MIN, Selector};

use super::types::BuildError;
use crate::{
    library::{
        catalog::{AllowList, Catalog, merged::MergedCatalog},
        manifest::PackageId,
        push::{Accept, Offers, Targets},
    },
    views::library::{ExplainView, JobView, JobsView, LibraryView, PackageView},
};
use buffers::Buffers;
use held::{Held, Partial};
pub(crate) use jobs::Kind;
use jobs::{Job, Jobs};
use pace::SharedPace;
use port::{Door, Port};
use root::Root;
use serving::Serving;
use source::Sources;

/// Peers that want to ask and wait to be served.
const ASKING_MAX: usize = 64;

/// What all tasks of a library share.
#[derive(Debug)]
struct Shared {
    me: PeerId,
    port: Port,
    allow: AllowList,
    accept: Accept,
    stop: CancellationToken,
    tasks: TaskTracker,
    runtime: Handle,
    state: Mutex<State>,
    sources: Sources,
    serving: Serving,
    buffers: Buffers,
    pace: SharedPace,
    /// In tests: what is answered to peers is changed.
    #[cfg(test)]
    liar: liars::Liar,
    /// The own catalog has changed.
    offer: Notify,
    /// A folder was shared: catalogs of others are followed.
    used: AtomicBool,
}

#[derive(Debug)]
struct State {
    roots: Vec<Arc<Root>>,
    /// Downloads that are under way.
    partials: BTreeMap<PackageId, Arc<Partial>>,
    /// All that is here.
    own: Catalog,
    /// What others may know of.
    announced: Catalog,
    /// Whether `announced` was made from what is here.
    offered: bool,
    merged: MergedCatalog,
    /// Where the packages of `own` are.
    held: BTreeMap<PackageId, Held>,
    /// The node's user is not told yet what has changed.
    changed: bool,
    /// Packages that are pushed to others: what of them is told to whom.
    pushes: BTreeMap<PackageId, Offers>,
    /// Peers that share folders, with what people call them.
    members: BTreeMap<PeerId, Option<String>>,
    /// What people call peers.
    labels: BTreeMap<String, String>,
    jobs: Jobs,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Starts a task that the library waits for when it stops; on the node's runtime, whoever asks.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(task, &self.runtime);
    }

    fn spawn_blocking<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        self.tasks.spawn_blocking_on(act, &self.runtime)
    }

    /// Does something that blocks.
    async fn blocking<T: Send + 'static>(
        &self,
        act: impl FnOnce() -> Result<T, LibraryError> + Send + 'static,
    ) -> Result<T, LibraryError> {
        let done = self.spawn_blocking(act).await;
        done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}

/// The library of a running node: commands in; what happens is told by the node's events. Clones share it.
#[derive(Debug, Clone)]
pub struct Library {
    shared: Arc<Shared>,
}

impl Library {
    /// Opens the folders and starts the tasks. Downloads that were interrupted go on.
    pub(crate) async fn start(
        me: PeerId,
        port: Port,
        roots: &[PathBuf],
        allow: AllowList,
        accept: Accept,
    ) -> Result<(Self, Door), BuildError> {
        let empty = Catalog::new(0, Vec::new()).expect("no packages are not too many");
        let state = State {
            roots: Vec::new(),
            partials: BTreeMap::new(),
            own: empty.clone(),
            announced: empty,
            offered: false,
            merged: MergedCatalog::new(me),
            held: BTreeMap::new(),
            changed: false,
            pushes: BTreeMap::new(),
            members: BTreeMap::new(),
            labels: BTreeMap::new(),
            jobs: Jobs::default(),
        };
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (asking, mut asked) = mpsc::channel(ASKING_MAX);
        let pace = SharedPace::new(Instant::now());
        let door = Door::new(asking, stop.clone(), tasks.clone(), pace.clone());
        let shared = Arc::new(Shared {
            me,
            port,
            allow,
            accept,
            stop,
            tasks,
            runtime: Handle::current(),
            state: Mutex::new(state),
            sources: Sources::default(),
            serving: Serving::default(),
            buffers: Buffers::default(),
            pace,
            #[cfg(test)]
            liar: liars::Liar::default(),
            offer: Notify::new(),
            used: AtomicBool::new(false),
        });
        for path in roots {
            let failed = |error: LibraryError| BuildError::Library { path: path.clone(), reason: error.to_string() };
            if let Err(error) = shared.share(path).await {
                door.stop().await;
                return Err(failed(error));
            }
        }
        let serving = Arc::clone(&shared);
        shared.spawn(async move {
            loop {
                tokio::select! {
                    () = serving.stop.cancelled() => break,
                    Some(asking) = asked.recv() => serving.answer(asking),
                }
            }
            // Whoever still has a handle does not keep folders locked.
            let mut state = lock(&serving.state);
            (state.roots, state.partials, state.held) = Default::default();
        });
        Ok((Self { shared }, door))
    }

    /// Whether a folder is shared, or was.
    pub(crate) fn is_used(&self) -> bool {
        self.shared.used.load(Ordering::Relaxed)
    }

    fn state(&self) -> Result<MutexGuard<'_, State>, LibraryError> {
        if self.shared.stop.is_cancelled() { Err(LibraryError::Unavailable) } else { Ok(lock(&self.shared.state)) }
    }

    /// What the whole mesh offers, as far as this node has heard.
    ///
    /// # Errors
    /// [`LibraryError::Unavailable`].
    pub async fn view(&self) -> Result<LibraryView, LibraryError> {
        let state = self.state()?;
        Ok(self.shared.view(&state))
    }

    /// One package.
    ///
    /// # Errors
    /// [`LibraryError::NotFound`], [`LibraryError::Ambiguous`], [`LibraryError::Unavailable`].
    pub async fn package(&self, package: &Selector) -> Result<PackageView, LibraryError> {
        let state = self.state()?;
        self.shared.package(&state, package)
    }

    /// Fetches a package, and installs it if asked to. Answers when the job has begun.
    ///
    /// # Errors
    /// [`LibraryError::NotFound`], [`LibraryError::Ambiguous`], [`LibraryError::Busy`],
    /// [`LibraryError::Unavailable`]; what fails later is in the job.
    pub async fn get(&self, package: &Selector, install: bool) -> Result<JobView, LibraryError> {
        drop(self.state()?);
        self.shared.get(Kind::Get, package, install)
    }

    /// Installs a package, which is fetched first if it is not here.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn install(&self, package: &Selector) -> Result<JobView, LibraryError> {
        drop(self.state()?);
        self.shared.get(Kind::Install, package, true)
    }

    /// Fetches the newest version of a title that is here, and installs it if the one here is installed.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn update(&self, name: &str) -> Result<JobView, LibraryError> {
        drop(self.state()?);
        self.shared.update(name)
    }

    /// Removes what is installed of a package; the package stays.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`LibraryError::NotInstalled`].
    pub async fn uninstall(&self, package: &Selector) -> Result<JobView, LibraryError> {
        drop(self.state()?);
        self.shared.operate(Kind::Uninstall, package)
    }

    /// Removes a package that was fetched, with what is installed of it.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn remove(&self, package: &Selector) -> Result<JobView, LibraryError> {
        drop(self.state()?);
        self.shared.operate(Kind::Remove, package)
    }

    /// Reads a package that is here again, and compares every byte.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn verify(&self, package: &Selector) -> Result<JobView, LibraryError> {
        drop(self.state()?);
        self.shared.operate(Kind::Verify, package)
    }

    /// Pushes a package that is here to others, which fetch it from this node and from each other. With a
    /// percentage they install it, but none before so many of them have all of it.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`LibraryError::NotFound`] if nobody is meant.
    pub async fn push(
        &self,
        package: &Selector,
        to: &Targets,
        activate_when: Option<u8>,
    ) -> Result<JobView, LibraryError> {
        drop(self.state()?);
        self.shared.push(package, to, activate_when)
    }

    /// The jobs that run, and the last that ended.
    ///
    /// # Errors
    /// [`LibraryError::Unavailable`].
    pub async fn jobs(&self) -> Result<JobsView, LibraryError> {
        Ok(JobsView { jobs: self.state()?.jobs.views() })
    }

    /// One job.
    ///
    /// # Errors
    /// [`LibraryError::NotFound`], [`LibraryError::Unavailable`].
    pub async fn job(&self, id: u64) -> Result<JobView, LibraryError> {
        Ok(self.find(id)?.view())
    }

    /// Why a job is not faster.
    ///
    /// # Errors
    /// [`LibraryError::NotFound`], [`LibraryError::Unavailable`].
    pub async fn explain(&self, id: u64) -> Result<ExplainView, LibraryError> {
        Ok(self.find(id)?.explain())
    }

    /// Stops a job, and undoes what it has done. One that has ended stays as it is.
    ///
    /// # Errors
    /// [`LibraryError::NotFound`], [`LibraryError::Unavailable`].
    pub async fn cancel(&self, id: u64) -> Result<JobView, LibraryError> {
        let job = self.find(id)?;
        job.cancel();
        Ok(job.view())
    }

    /// Shares a folder from now on.
    ///
    /// # Errors
    /// [`LibraryError::BadRoot`], [`LibraryError::Unavailable`].
    pub async fn add_root(&self, path: &Path) -> Result<(), LibraryError> {
        drop(self.state()?);
        self.shared.share(path).await
    }

    /// Shares a folder no more; nothing in it is removed.
    ///
    /// # Errors
    /// [`LibraryError::NotFound`], [`LibraryError::Busy`], [`LibraryError::Unavailable`].
    pub async fn remove_root(&self, path: &Path) -> Result<(), LibraryError> {
        drop(self.state()?);
        self.shared.unshare(path)
    }

    fn find(&self, id: u64) -> Result<Arc<Job>, LibraryError> {
        let job = self.state()?.jobs.job(id).cloned();
        job.ok_or_else(|| LibraryError::NotFound(format!("there is no job {id}")))
    }
}
