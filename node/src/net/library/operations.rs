//! What the node's user asks for: finds the packages that are meant, and begins jobs.

use std::{path::Path, sync::Arc};

use super::{
    Job, Kind, LibraryError, Root, Selector, Shared, State, jobs::Pushed, lock, root::Local, selector::compare_versions,
};
use crate::{
    library::{
        catalog::{Holding, merged::ListedVersion},
        manifest::PackageId,
        store::path_of,
        unpack::{Archives, Limits},
    },
    views::library::{JobView, LibraryView, PackageView, RootView, TitleView, VersionView},
};

/// A package that somebody has.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) version: ListedVersion,
}

impl Shared {
    pub(super) fn view(&self, state: &State) -> LibraryView {
        let titles = state.merged.titles(&state.own).into_iter().map(|title| {
            let mut versions = title.versions;
            versions.sort_by(|a, b| compare_versions(&b.version, &a.version));
            TitleView { name: title.name, peers: title.peers, versions: versions.iter().map(version_view).collect() }
        });
        let titles = titles.collect();
        let root = |root: &Arc<Root>| RootView {
            path: root.path.display().to_string(),
            packages: root.packages().len(),
            scanning: root.scanning.load(std::sync::atomic::Ordering::Relaxed),
            problems: root.problems(),
        };
        LibraryView { roots: state.roots.iter().map(root).collect(), titles }
    }

    pub(super) fn package(&self, state: &State, selector: &Selector) -> Result<PackageView, LibraryError> {
        let Found { name, version } = find(state, selector, |_| true)?;
        let here = state.roots.iter().find_map(|root| Some((root, root.folder_of(version.package)?.0)));
        let path = here.map(|(root, folder)| root.path.join(folder).display().to_string());
        Ok(PackageView { name, version: version_view(&version), path })
    }

    pub(super) fn get(
        self: &Arc<Self>,
        kind: Kind,
        selector: &Selector,
        install: bool,
    ) -> Result<JobView, LibraryError> {
        let found = find(&lock(&self.state), selector, |_| true)?;
        self.get_found(kind, &found, install)
    }

    fn get_found(self: &Arc<Self>, kind: Kind, found: &Found, install: bool) -> Result<JobView, LibraryError> {
        let title = (&*found.name, &*found.version.version);
        let here = found.version.here.unwrap_or(Holding::Partial);
        if here == Holding::Partial {
            return self.begin_fetch(kind, found.version.package, title, install, None).map(|job| job.view());
        }
        let (root, folder, _) = self.here(found.version.package)?;
        let job = lock(&self.state).jobs.begin(kind, found.version.package, title, &self.port, None)?;
        job.bytes(found.version.bytes, found.version.bytes);
        if install && here != Holding::Installed {
            self.run_operation(&job, root, folder, Kind::Install);
        } else {
            job.end(Ok(()));
        }
        Ok(job.view())
    }

    pub(super) fn update(self: &Arc<Self>, name: &str) -> Result<JobView, LibraryError> {
        let found = {
            let state = lock(&self.state);
            let title = state.merged.titles(&state.own).into_iter().find(|title| title.name == name);
            let title = title.filter(|title| title.versions.iter().any(|version| version.here.is_some()));
            let title = title.ok_or_else(|| LibraryError::NotFound(format!("nothing of {name} is here to update")))?;
            let by_version = |a: &ListedVersion, b: &ListedVersion| {
                // Of two that call themselves the same, the one that is here is as new.
                compare_versions(&a.version, &b.version).then(a.here.cmp(&b.here))
            };
            let newest = title.versions.into_iter().max_by(by_version);
            Found { name: title.name, version: newest.expect("one of them is here") }
        };
        self.get_found(Kind::Update, &found, false)
    }

    /// Begins to fetch a package.
    pub(super) fn begin_fetch(
        self: &Arc<Self>,
        kind: Kind,
        package: PackageId,
        title: (&str, &str),
        install: bool,
        pushed: Option<Pushed>,
    ) -> Result<Arc<Job>, LibraryError> {
        let job = lock(&self.state).jobs.begin(kind, package, title, &self.port, pushed)?;
        let (shared, running) = (Arc::clone(self), Arc::clone(&job));
        self.spawn(async move {
            let result = shared.fetch(&running, install).await;
            if let Err(error) = &result {
                tracing::debug!(job = running.id, %error, "a job has failed");
            }
            running.end(result);
        });
        Ok(job)
    }

    /// Begins something with a package that is here.
    pub(super) fn operate(self: &Arc<Self>, kind: Kind, selector: &Selector) -> Result<JobView, LibraryError> {
        let found = find(&lock(&self.state), selector, |version| {
            matches!(version.here, Some(Holding::Complete | Holding::Installed))
        })?;
        if kind == Kind::Uninstall && found.version.here != Some(Holding::Installed) {
            return Err(LibraryError::NotInstalled(found.name));
        }
        let (root, folder, local) = self.here(found.version.package)?;
        let title = (&*local.title.name, &*local.title.version);
        let job = lock(&self.state).jobs.begin(kind, found.version.package, title, &self.port, None)?;
        job.bytes(0, found.version.bytes);
        self.run_operation(&job, root, folder, kind);
        Ok(job.view())
    }

    fn run_operation(self: &Arc<Self>, job: &Arc<Job>, root: Arc<Root>, folder: String, what: Kind) {
        let (shared, job) = (Arc::clone(self), Arc::clone(job));
        self.spawn(async move {
            let running = Arc::clone(&job);
            let result = if what == Kind::Verify {
                shared.blocking(move || verify(&root, &folder, &running)).await
            } else {
                let act = move |root: &Root| {
                    let done = change(root, &folder, &running, what);
                    root.changed(&folder);
                    done
                };
                root.operate(&shared, act).await
            };
            shared.refresh();
            job.end(result);
        });
    }

    /// Where a complete package is.
    pub(super) fn here(&self, package: PackageId) -> Result<(Arc<Root>, String, Local), LibraryError> {
        let state = lock(&self.state);
        let found = state.roots.iter().find_map(|root| {
            let (folder, local) = root.folder_of(package)?;
            Some((Arc::clone(root), folder, local))
        });
        found.ok_or_else(|| LibraryError::NotFound(format!("{package} is not here")))
    }

    /// Shares a folder no more.
    pub(super) fn unshare(&self, path: &Path) -> Result<(), LibraryError> {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut state = lock(&self.state);
        let index = state.roots.iter().position(|root| root.path == path);
        let index = index.ok_or_else(|| LibraryError::NotFound(format!("{} is not shared", path.display())))?;
        let root = &state.roots[index];
        let names = state.partials.values().filter(|partial| Arc::ptr_eq(&partial.root, root));
        if let Some(partial) = names.into_iter().next() {
            return Err(LibraryError::Busy(format!("{} is being fetched there", partial.title.name)));
        }
        let root = state.roots.remove(index);
        drop(state);
        root.given_up.cancel();
        self.refresh();
        Ok(())
    }
}

fn version_view(version: &ListedVersion) -> VersionView {
    VersionView {
        version: version.version.clone(),
        package: version.package.to_string(),
        bytes: version.bytes,
        files: version.files,
        peers: version.peers.iter().map(ToString::to_string).collect(),
        partial: version.partial.iter().map(ToString::to_string).collect(),
        here: version.here.map(|here| {
            match here {
                Holding::Partial => "fetching",
                Holding::Complete => "complete",
                Holding::Installed => "installed",
            }
            .to_owned()
        }),
    }
}

/// The package that is meant, of those that are suitable.
pub(super) fn find(
    state: &State,
    selector: &Selector,
    suits: impl Fn(&ListedVersion) -> bool,
) -> Result<Found, LibraryError> {
    let mut by_id: Vec<Found> = Vec::new();
    let mut by_title: Vec<Found> = Vec::new();
    for title in state.merged.titles(&state.own) {
        for version in title.versions.into_iter().filter(&suits) {
            let is_title = selector.matches_title(&title.name, &version.version);
            let is_id = selector.matches_id(&version.package.to_string());
            let found = Found { name: title.name.clone(), version };
            if is_title {
                by_title.push(found);
            } else if is_id {
                by_id.push(found);
            }
        }
    }
    if by_title.is_empty() {
        // Others may call a package differently: what it is called here counts.
        by_id.sort_by_key(|found| (found.version.package, found.version.here.is_none()));
        by_id.dedup_by_key(|found| found.version.package);
        return one_of(selector, by_id);
    }
    let newest = by_title.iter().map(|found| found.version.version.clone()).max_by(|a, b| compare_versions(a, b));
    by_title
        .retain(|found| newest.as_ref().is_some_and(|newest| compare_versions(&found.version.version, newest).is_eq()));
    if by_title.iter().any(|found| found.version.here.is_some()) {
        by_title.retain(|found| found.version.here.is_some());
    }
    one_of(selector, by_title)
}

fn one_of(selector: &Selector, mut found: Vec<Found>) -> Result<Found, LibraryError> {
    if found.len() > 1 {
        let choices = found.iter().map(|found| found.version.package.to_string()[..16].to_owned()).collect();
        return Err(LibraryError::Ambiguous { selector: selector.to_string(), choices });
    }
    found.pop().ok_or_else(|| LibraryError::NotFound(format!("there is no package {selector}")))
}

/// Blocks.
fn change(root: &Root, folder: &str, job: &Job, what: Kind) -> Result<(), LibraryError> {
    match what {
        Kind::Uninstall => root.library.uninstall(folder)?,
        Kind::Remove => root.library.remove(folder)?,
        _ => {
            job.phase("running", "unpacking");
            root.library.install(folder, job.package, &Archives::ALL, Limits::default(), &job.cancel)?;
        }
    }
    Ok(())
}

/// Blocks.
fn verify(root: &Root, folder: &str, job: &Job) -> Result<(), LibraryError> {
    let total = job.view().bytes_total;
    let mut bytes = 0;
    let found = root.verify(folder, |more| {
        bytes += more;
        job.bytes(bytes, total);
        !job.cancel.is_cancelled()
    });
    if job.cancel.is_cancelled() {
        return Err(LibraryError::Cancelled);
    }
    if found? == job.package {
        return Ok(());
    }
    let path = path_of(&root.path.display().to_string(), folder);
    Err(LibraryError::BadPackage(format!("{path} is not what it was: files were changed")))
}
