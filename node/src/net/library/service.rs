//! What runs beside the jobs: catalogs of others, and what changes on the disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use banyan_gossip::PeerId;
use notify::{RecursiveMode, Watcher};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::{
    LibraryError, Shared,
    held::Held,
    jobs::{Kind, Pushed},
    lock,
    root::{Purpose, Root},
    source::What,
};
use crate::{
    library::{
        catalog::{Catalog, Entry, Holding},
        manifest::PackageId,
    },
    views::Event,
};

/// How often it is seen what others announce.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Catalogs fetched at a time.
const FETCHES_MAX: usize = 8;
/// How long a catalog may take.
const CATALOG_TIMEOUT: Duration = Duration::from_secs(20);
/// A catalog that could not be had is asked for again after this long.
const CATALOG_RETRY: Duration = Duration::from_secs(2);
/// A folder that is written to is read when it has been quiet for so long, or at the latest after `SETTLE_MAX`.
const SETTLE: Duration = Duration::from_millis(700);
const SETTLE_MAX: Duration = Duration::from_secs(10);
/// Folders are read so often even if nothing was seen to change (D2).
const RESCAN: Duration = Duration::from_secs(300);
/// After a scan that made way for an operation.
const SCAN_RETRY: Duration = Duration::from_millis(500);

impl Shared {
    /// What this node has of a package that others may know of.
    pub(super) fn held(&self, package: PackageId) -> Option<Held> {
        let state = lock(&self.state);
        state.announced.entry(package)?;
        state.held.get(&package).cloned()
    }

    /// The encoded catalog, if this is its digest.
    pub(super) fn own_catalog(&self, digest: [u8; 32]) -> Option<Vec<u8>> {
        let state = lock(&self.state);
        (state.announced.digest().digest == digest).then(|| state.announced.encode())
    }

    /// Makes the own catalog anew; says it to others if it has changed.
    pub(super) fn refresh(&self) {
        let mut state = lock(&self.state);
        let mut found: BTreeMap<PackageId, (Entry, Held)> = BTreeMap::new();
        for (package, partial) in &state.partials {
            let entry = Entry::new(&partial.manifest, partial.title.clone(), Holding::Partial);
            found.insert(*package, (entry, Held::Partial(Arc::clone(partial))));
        }
        for root in &state.roots {
            for (folder, local) in &*root.packages() {
                let holding = if local.installed { Holding::Installed } else { Holding::Complete };
                let entry = Entry::new(&local.manifest, local.title.clone(), holding);
                if found.get(&entry.package).is_none_or(|(known, _)| known.holding < holding) {
                    let (root, folder, local) = (Arc::clone(root), folder.clone(), local.clone());
                    found.insert(entry.package, (entry, Held::Complete { root, folder, local }));
                }
            }
        }
        let (entries, held): (Vec<Entry>, _) =
            found.into_iter().map(|(package, (entry, held))| (entry, (package, held))).unzip();
        state.held = held;
        if state.own.entries() == entries && state.offered {
            return;
        }
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let revision = clock.max(state.own.revision() + 1);
        let allowed = entries.iter().filter(|entry| self.allow.permits(entry)).cloned().collect();
        match (Catalog::new(revision, entries), Catalog::new(revision, allowed)) {
            (Ok(own), Ok(announced)) => {
                (state.own, state.announced, state.offered) = (own, announced, true);
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "what this node has cannot be announced");
                return;
            }
        }
        state.changed = true;
        drop(state);
        self.offer.notify_one();
    }

    /// Says what has changed since the last time, if anything has.
    fn tell_changes(&self) {
        let mut state = lock(&self.state);
        if !std::mem::take(&mut state.changed) {
            return;
        }
        let titles = state.merged.titles(&state.own);
        drop(state);
        let packages = titles.iter().map(|title| title.versions.len() as u64).sum();
        self.port.tell(Event::LibraryChanged { packages });
    }

    /// Follows what others announce, until the node stops.
    pub(super) async fn follow_catalogs(self: Arc<Self>) {
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (done, mut fetched) = mpsc::channel::<([u8; 32], bool)>(FETCHES_MAX);
        let (mut revision, mut known) = (None, BTreeSet::<PeerId>::new());
        let mut fetching = BTreeSet::new();
        let mut failed: BTreeMap<[u8; 32], Instant> = BTreeMap::new();
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = tick.tick() => self.tell_changes(),
                () = self.offer.notified() => {
                    let digest = lock(&self.state).announced.digest();
                    self.port.offer(digest).await;
                }
                Some((digest, ok)) = fetched.recv() => {
                    fetching.remove(&digest);
                    if !ok {
                        failed.insert(digest, Instant::now());
                    }
                }
            }
            if let Some(rows) = self.port.rows(revision).await {
                revision = Some(rows.revision);
                let now: BTreeSet<PeerId> = rows.rows.iter().map(|row| row.peer).collect();
                let mut state = lock(&self.state);
                for gone in known.difference(&now) {
                    state.merged.handle_row(*gone, None);
                    state.changed = true;
                }
                state.labels.clear();
                state.members.clear();
                for row in rows.rows {
                    if row.library.is_some() {
                        state.members.insert(row.peer, row.label.clone());
                    }
                    state.merged.handle_row(row.peer, row.library);
                    if let Some(label) = row.label {
                        state.labels.insert(row.peer.to_string(), label);
                    }
                }
                known = now;
            }
            failed.retain(|_, at| at.elapsed() < CATALOG_RETRY);
            let wanted = lock(&self.state).merged.wanted();
            for (digest, mut peers) in wanted {
                if fetching.len() >= FETCHES_MAX {
                    break;
                }
                if failed.contains_key(&digest) || !fetching.insert(digest) {
                    continue;
                }
                fastrand::shuffle(&mut peers);
                let (shared, done) = (Arc::clone(&self), done.clone());
                self.spawn(async move {
                    let ok = tokio::select! {
                        ok = shared.fetch_catalog(digest, &peers) => ok,
                        () = shared.stop.cancelled() => false,
                    };
                    let _ = done.send((digest, ok)).await;
                });
            }
        }
    }

    async fn fetch_catalog(self: &Arc<Self>, digest: [u8; 32], peers: &[PeerId]) -> bool {
        for peer in peers.iter().take(3) {
            let asked = timeout(CATALOG_TIMEOUT, self.question(*peer, What::Catalog(digest)));
            let Ok(Some(Ok(bytes))) = asked.await else { continue };
            let mut state = lock(&self.state);
            let taken = state.merged.handle_catalog(&bytes);
            state.changed |= taken.is_ok();
            drop(state);
            match taken {
                Ok(()) => return true,
                Err(error) => tracing::debug!(%peer, %error, "refused a catalog"),
            }
        }
        false
    }

    /// Reads a root when it changes, until the node stops or the root is given up.
    pub(super) async fn watch(self: Arc<Self>, root: Arc<Root>) {
        let (seen, mut changes) = mpsc::channel(1);
        let watcher = watch_folder(&root, seen);
        if let Err(error) = &watcher {
            tracing::warn!(root = %root.path.display(), %error, "changes are seen only every 5 minutes");
        }
        loop {
            while self.is_shared(&root) {
                let (scanned, shared) = (Arc::clone(&root), Arc::clone(&self));
                let scan = move || scanned.scan(&|| shared.stop.is_cancelled() || !shared.is_shared(&scanned));
                match self.spawn_blocking(scan).await {
                    Ok(Ok(())) => break,
                    _ if self.stop.is_cancelled() => return,
                    _ => sleep(SCAN_RETRY).await,
                }
            }
            if !self.is_shared(&root) {
                return;
            }
            self.refresh();
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = root.given_up.cancelled() => return,
                () = sleep(RESCAN) => {}
                Some(()) = changes.recv() => {
                    let settled = async {
                        while let Ok(Some(())) = timeout(SETTLE, changes.recv()).await {}
                    };
                    let _ = timeout(SETTLE_MAX, settled).await;
                }
            }
        }
    }

    fn is_shared(&self, root: &Arc<Root>) -> bool {
        lock(&self.state).roots.iter().any(|other| Arc::ptr_eq(other, root))
    }

    /// Opens a folder and shares it. Downloads that were interrupted in it go on.
    pub(super) async fn share(self: &Arc<Self>, path: &Path) -> Result<(), LibraryError> {
        let path = path.to_owned();
        let (root, recovered) = self.blocking(move || Root::open(&path)).await?;
        lock(&self.state).roots.push(Arc::clone(&root));
        self.spawn(Arc::clone(self).watch(Arc::clone(&root)));
        if !self.used.swap(true, Ordering::Relaxed) {
            self.spawn(Arc::clone(self).follow_catalogs());
        }
        for (folder, outcome) in recovered.done {
            if let crate::library::transaction::Recovery::Download(package) = outcome {
                self.resume(&root, folder, package).await;
            }
        }
        Ok(())
    }

    async fn resume(self: &Arc<Self>, root: &Arc<Root>, folder: String, package: PackageId) {
        let reading = Arc::clone(root);
        let wanted = self.blocking(move || Ok::<_, LibraryError>(reading.wanted(&folder, package))).await;
        let Ok(Some(purpose)) = wanted else {
            tracing::warn!(root = %root.path.display(), %package, "it is not known what a download was for");
            return;
        };
        let Purpose { name, version, install, held_by, .. } = purpose;
        let kind = if install { Kind::Install } else { Kind::Get };
        let pushed = held_by.map(|by| Pushed::new(by, Vec::new(), true));
        match self.begin_fetch(kind, package, (&name, &version), install, pushed) {
            Ok(job) => tracing::info!(job = job.id, name, "goes on with a download"),
            Err(error) => tracing::warn!(name, %error, "cannot go on with a download"),
        }
    }
}

fn watch_folder(root: &Arc<Root>, seen: mpsc::Sender<()>) -> notify::Result<notify::RecommendedWatcher> {
    let watched = Arc::downgrade(root);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let Some(root) = watched.upgrade() else { return };
        let concerns = event.map_or(true, |event| {
            !event.kind.is_access() && (event.paths.is_empty() || event.paths.iter().any(|path| root.concerns(path)))
        });
        if concerns {
            let _ = seen.try_send(());
        }
    })?;
    watcher.watch(&root.path, RecursiveMode::Recursive)?;
    Ok(watcher)
}
