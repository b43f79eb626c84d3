//! A folder that is shared: what is in it, and who may change it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use banyan_gossip::PeerId;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{LibraryError, Shared, lock};
use crate::{
    library::{
        manifest::{Manifest, PackageId},
        scan::{self, Index, ScanError},
        sentinel::{SENTINEL, SENTINEL_BYTES_MAX, Title},
        store::{Kind, Store, path_of, read_all, replace_file},
        transaction::{self, INSTALLED_DIR, LibraryId, OWN_DIR, Recovered, TransactionError},
    },
    net::fs_store::FsStore,
};

/// Where the hashes of unchanged files are kept.
const INDEX: &str = ".banyan/index";
/// Where it is kept what downloads are for.
const WANTED: &str = ".banyan/wanted";
const WANTED_BYTES_MAX: u64 = 1024 * 1024;
/// Problems of a root that are told.
const PROBLEMS_MAX: usize = 32;

/// A library on this machine's disk.
pub(super) type DiskLibrary = transaction::Library<FsStore>;

/// A package that is complete.
#[derive(Debug, Clone)]
pub(super) struct Local {
    pub(super) title: Title,
    pub(super) manifest: Arc<Manifest>,
    pub(super) installed: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) path: PathBuf,
    pub(super) library: Arc<DiskLibrary>,
    /// By folder.
    packages: Mutex<BTreeMap<String, Local>>,
    problems: Mutex<Vec<String>>,
    index: Mutex<Index>,
    pub(super) scanning: AtomicBool,
    /// Operations that run or wait: scans make way for them (D2).
    operations: AtomicUsize,
    turn: tokio::sync::Mutex<()>,
    pub(super) given_up: CancellationToken,
}

/// What a download is for, so that it can go on after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Purpose {
    pub(super) package: PackageId,
    pub(super) name: String,
    pub(super) version: String,
    /// Whether it is installed then.
    pub(super) install: bool,
    /// Who says when.
    pub(super) held_by: Option<PeerId>,
}

/// A scan made way for an operation.
#[derive(Debug)]
pub(super) struct Interrupted;

impl Root {
    /// Opens a folder, and mends what was interrupted. Blocks.
    pub(super) fn open(path: &Path) -> Result<(Arc<Self>, Recovered), LibraryError> {
        let bad = |reason: String| LibraryError::BadRoot(format!("{}: {reason}", path.display()));
        let path = path.canonicalize().map_err(|error| bad(error.to_string()))?;
        let store = FsStore::open(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => bad("another process has it open".to_owned()),
            _ => bad(error.to_string()),
        })?;
        let id = LibraryId(std::array::from_fn(|_| fastrand::u8(..)));
        let (library, recovered) = DiskLibrary::open(store, SENTINEL, id).map_err(|error| bad(error.to_string()))?;
        let index = Index::load(library.store(), INDEX).unwrap_or_default();
        let problems = recovered.failed.iter().map(|(name, error)| format!("{name}: {error}")).collect();
        let root = Self {
            path,
            library,
            packages: Mutex::default(),
            problems: Mutex::new(problems),
            index: Mutex::new(index),
            scanning: AtomicBool::new(false),
            operations: AtomicUsize::new(0),
            turn: tokio::sync::Mutex::default(),
            given_up: CancellationToken::new(),
        };
        Ok((Arc::new(root), recovered))
    }

    pub(super) fn packages(&self) -> MutexGuard<'_, BTreeMap<String, Local>> {
        lock(&self.packages)
    }

    pub(super) fn problems(&self) -> Vec<String> {
        lock(&self.problems).clone()
    }

    /// The folder of a package that is complete here.
    pub(super) fn folder_of(&self, package: PackageId) -> Option<(String, Local)> {
        let packages = self.packages();
        let (folder, local) = packages.iter().find(|(_, local)| local.manifest.id() == package)?;
        Some((folder.clone(), local.clone()))
    }

    /// Runs an operation on packages on a thread that may block; nothing else changes the root meanwhile.
    pub(super) async fn operate<T: Send + 'static>(
        self: &Arc<Self>,
        shared: &Shared,
        operation: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> T {
        self.operations.fetch_add(1, Ordering::Relaxed);
        let turn = self.turn.lock().await;
        let root = Arc::clone(self);
        let done = shared.spawn_blocking(move || operation(&root)).await;
        self.operations.fetch_sub(1, Ordering::Relaxed);
        drop(turn);
        done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    /// Reads every package; makes way for operations. Blocks, for as long as the disk needs.
    pub(super) fn scan(&self, stop: &dyn Fn() -> bool) -> Result<(), Interrupted> {
        let Ok(_turn) = self.turn.try_lock() else { return Err(Interrupted) };
        self.scanning.store(true, Ordering::Relaxed);
        let result = self.scan_all(stop);
        self.scanning.store(false, Ordering::Relaxed);
        result
    }

    fn scan_all(&self, stop: &dyn Fn() -> bool) -> Result<(), Interrupted> {
        let mut problems = Vec::new();
        let entries = match self.library.store().list("") {
            Ok(entries) => entries,
            Err(error) => {
                *lock(&self.problems) = vec![error.to_string()];
                return Ok(());
            }
        };
        let mut index = std::mem::take(&mut *lock(&self.index));
        let before = index.clone();
        let mut found = BTreeMap::new();
        let mut interrupted = false;
        let go_on = || self.operations.load(Ordering::Relaxed) == 0 && !stop();
        for entry in entries.into_iter().filter(|entry| !entry.name.starts_with('.')) {
            if !go_on() {
                interrupted = true;
                break;
            }
            match self.read(&entry.name, &mut index, &go_on) {
                Ok(Some(local)) => drop(found.insert(entry.name, local)),
                Ok(None) => index.retain(&entry.name, |_| false),
                Err(_) if !go_on() => interrupted = true,
                Err(error) => problems.push(format!("{}: {error}", entry.name)),
            }
        }
        if index != before
            && let Err(error) = index.save(self.library.store(), INDEX)
        {
            problems.push(error.to_string());
        }
        *lock(&self.index) = index;
        if interrupted {
            return Err(Interrupted);
        }
        problems.truncate(PROBLEMS_MAX);
        *self.packages() = found;
        *lock(&self.problems) = problems;
        Ok(())
    }

    /// Reads one package; nothing if the folder is none.
    fn read(&self, folder: &str, index: &mut Index, go_on: &dyn Fn() -> bool) -> Result<Option<Local>, ReadError> {
        let store = self.library.store();
        if store.metadata(folder)?.is_none_or(|metadata| metadata.kind != Kind::Dir) {
            return Ok(None);
        }
        let Some(dir) = self.library.place(folder)? else { return Ok(None) };
        let Some(title) = self.title(&dir, folder)? else { return Ok(None) };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128);
        let manifest = scan::scan(store, &dir, index, now, |_| go_on())?;
        Ok(Some(Local { title, manifest: Arc::new(manifest), installed: self.is_installed(folder)? }))
    }

    fn title(&self, dir: &str, folder: &str) -> Result<Option<Title>, ReadError> {
        let text = read_all(self.library.store(), &path_of(dir, SENTINEL), SENTINEL_BYTES_MAX as u64)?;
        Ok(text.map(|text| Title::read(&text, folder)).transpose()?)
    }

    fn is_installed(&self, folder: &str) -> Result<bool, ReadError> {
        let local = self.library.store().metadata(&path_of(folder, INSTALLED_DIR))?;
        Ok(local.is_some_and(|metadata| metadata.kind == Kind::Dir))
    }

    /// A package was put in place that is what its manifest says. Blocks.
    pub(super) fn arrived(&self, folder: &str, manifest: Arc<Manifest>) -> Result<(), LibraryError> {
        let mut index = lock(&self.index);
        index.retain(folder, |_| false);
        index.learn(self.library.store(), folder, &manifest)?;
        index.save(self.library.store(), INDEX)?;
        drop(index);
        let read = || -> Result<_, ReadError> { Ok((self.title(folder, folder)?, self.is_installed(folder)?)) };
        let (title, installed) = read().map_err(|error| LibraryError::BadPackage(error.to_string()))?;
        if let Some(title) = title {
            self.packages().insert(folder.to_owned(), Local { title, manifest, installed });
        }
        Ok(())
    }

    /// Something was installed or removed. Blocks.
    pub(super) fn changed(&self, folder: &str) {
        let there = self.library.place(folder).ok().flatten().is_some();
        let installed = self.is_installed(folder).unwrap_or(false);
        let mut packages = self.packages();
        if !there {
            packages.remove(folder);
        } else if let Some(local) = packages.get_mut(folder) {
            local.installed = installed;
        }
    }

    /// Reads a package again, whatever the index says. Blocks.
    pub(super) fn verify(&self, folder: &str, mut read: impl FnMut(u64) -> bool) -> Result<PackageId, LibraryError> {
        let dir = self.library.place(folder)?.ok_or_else(|| LibraryError::NotFound(folder.to_owned()))?;
        match scan::scan(self.library.store(), &dir, &mut Index::default(), 0, &mut read) {
            Ok(manifest) => Ok(manifest.id()),
            Err(ScanError::Store(error)) => Err(error.into()),
            Err(error) => Err(LibraryError::BadPackage(error.to_string())),
        }
    }

    /// What the download in a folder is for. Blocks.
    pub(super) fn wanted(&self, folder: &str, package: PackageId) -> Option<Purpose> {
        let purpose = self.all_wanted().remove(folder).filter(|purpose| purpose.package == package)?;
        Title::new(&purpose.name, &purpose.version).is_ok().then_some(purpose)
    }

    /// By folder.
    fn all_wanted(&self) -> BTreeMap<String, Purpose> {
        let bytes = read_all(self.library.store(), WANTED, WANTED_BYTES_MAX).ok().flatten().unwrap_or_default();
        ciborium::from_reader(&bytes[..]).unwrap_or_default()
    }

    /// Remembers what the download in a folder is for; `None`: there is none any more. Blocks.
    pub(super) fn want(&self, folder: &str, purpose: Option<Purpose>) -> Result<(), LibraryError> {
        let _index = lock(&self.index);
        let mut all = self.all_wanted();
        all.remove(folder);
        all.extend(purpose.map(|purpose| (folder.to_owned(), purpose)));
        let mut bytes = Vec::new();
        ciborium::into_writer(&all, &mut bytes).expect("writing to memory does not fail");
        Ok(replace_file(self.library.store(), WANTED, &bytes)?)
    }

    /// Whether something that changed may matter: what operations prepare does not.
    pub(super) fn concerns(&self, path: &Path) -> bool {
        path.strip_prefix(&self.path).map_or(true, |path| !path.starts_with(OWN_DIR))
    }
}

/// A folder cannot be read as a package.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error(transparent)]
    Store(#[from] crate::library::store::StoreError),
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    #[error(transparent)]
    Title(#[from] crate::library::sentinel::TitleError),
}

/// The folder for a title: its name, with what no folder may be called replaced.
pub(super) fn folder_for(name: &str) -> String {
    let plain = |char: char| if char.is_alphanumeric() || " ._-+()[]".contains(char) { char } else { '_' };
    let mut folder: String = name.chars().map(plain).collect();
    while folder.len() > 200 {
        folder.pop();
    }
    let folder = folder.trim().trim_matches('.').trim();
    let usable = crate::library::path::PackagePath::new(folder).is_ok() && !folder.is_empty();
    if usable { folder.to_owned() } else { format!("_{folder}") }
}
