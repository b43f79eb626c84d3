//! Fetching a package: drives the planner between peers and disk, then puts the package in place.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use banyan_gossip::PeerId;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep, sleep_until},
};

use super::{
    LibraryError, Shared,
    disk::{Disk, DiskDownload, Written},
    held::Partial,
    jobs::{HOLDING, Job},
    lock,
    root::{Purpose, Root, folder_for},
    source::{Attached, Command, FromSource, INBOX_MESSAGES},
};
use crate::library::{
    download::{Config, Download, End, Input, Output, RequestId, SOURCES_MAX},
    manifest::Manifest,
    piece::Piece,
    sentinel::Title,
    unpack::{Archives, Limits},
};

/// Sources that a job asks at a time; each costs a link.
const SOURCES_ASKED_MAX: usize = 32;
/// How often sources are looked for, and progress is told.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A package that waits for the others that it is pushed to waits for so long after who pushes it was last there.
const PUSHER_TIMEOUT: Duration = Duration::from_secs(60);
/// What comes is handled in bursts of so much before the planner plans.
const BURST: usize = 64;

impl Shared {
    /// Fetches the package of a job and puts it in place.
    pub(super) async fn fetch(self: &Arc<Self>, job: &Arc<Job>, install: bool) -> Result<(), LibraryError> {
        let (root, folder, paused) = self.place_for(job).await?;
        let (manifest, liars) = match paused {
            Some(manifest) => (manifest, BTreeSet::new()),
            None => self.fetch_manifest(job).await?,
        };
        let title = Title::new(&job.name, &job.version).map_err(|error| LibraryError::BadPackage(error.to_string()))?;
        let opened = {
            let (root, folder, manifest) = (Arc::clone(&root), folder.clone(), Arc::clone(&manifest));
            let purpose = Purpose {
                package: job.package,
                name: title.name.clone(),
                version: title.version.clone(),
                install,
                held_by: job.pushed.as_ref().filter(|pushed| pushed.hold).map(|pushed| pushed.by),
            };
            self.blocking(move || {
                root.want(&folder, Some(purpose))?;
                Ok::<_, LibraryError>(root.library.download(&folder, manifest)?)
            })
            .await?
        };
        let partial = Arc::new(Partial {
            root: Arc::clone(&root),
            folder: folder.clone(),
            title,
            manifest: Arc::clone(&manifest),
            have: Mutex::new(opened.have().clone()),
        });
        lock(&self.state).partials.insert(job.package, Arc::clone(&partial));
        self.refresh();
        let result = async {
            let download = self.fetch_pieces(job, opened, &partial, liars).await?;
            self.hold(job).await?;
            self.put_in_place(job, &root, &folder, download, install).await
        };
        let result = result.await;
        lock(&self.state).partials.remove(&job.package);
        if job.cancelled.is_cancelled() && result.is_err() {
            let folder = folder.clone();
            let abandon = move |root: &Root| {
                root.want(&folder, None)?;
                Ok::<_, LibraryError>(root.library.abandon(&folder)?)
            };
            root.operate(self, abandon).await?;
        }
        self.refresh();
        result
    }

    /// Where the package goes, and the manifest of the download that is under way there.
    async fn place_for(&self, job: &Job) -> Result<(Arc<Root>, String, Option<Arc<Manifest>>), LibraryError> {
        let roots = lock(&self.state).roots.clone();
        let (name, package) = (job.name.clone(), job.package);
        self.blocking(move || {
            let folder = folder_for(&name);
            // Where a version of it is or was begun, otherwise the first root.
            let mut best = None;
            for root in &roots {
                let paused = root.library.paused(&folder)?;
                if let Some(bytes) = paused
                    && let Ok(manifest) = Manifest::decode(&bytes)
                    && manifest.id() == package
                {
                    return Ok((Arc::clone(root), folder, Some(Arc::new(manifest))));
                }
                if best.is_none() && root.library.owned(&folder)?.is_some() {
                    best = Some(Arc::clone(root));
                }
            }
            let root = best.or_else(|| roots.first().cloned()).ok_or(LibraryError::Unavailable)?;
            Ok((root, folder, None))
        })
        .await
    }

    async fn fetch_pieces(
        self: &Arc<Self>,
        job: &Arc<Job>,
        download: DiskDownload,
        partial: &Arc<Partial>,
        liars: BTreeSet<PeerId>,
    ) -> Result<DiskDownload, LibraryError> {
        job.phase("running", "fetching");
        let manifest = Arc::clone(download.manifest());
        let (now, have) = (Instant::now(), download.have().clone());
        let mut planner = Download::new(manifest.piece_sizes(), have, Config::default(), fastrand::Rng::new(), now);
        liars.into_iter().for_each(|source| planner.handle_input(now, Input::Misbehaved { source }));
        let (disk, mut written) = Disk::start(self, download, Arc::clone(partial));
        let (events, mut inbox) = mpsc::channel(INBOX_MESSAGES);
        let mut fetch = Fetch {
            shared: Arc::clone(self),
            job: Arc::clone(job),
            manifest,
            planner,
            disk,
            events,
            sources: BTreeMap::new(),
            left_out: BTreeSet::new(),
            pieces: BTreeMap::new(),
        };
        let outcome = fetch.run(&mut inbox, &mut written).await;
        // Nobody waits for one who listens no more.
        drop((inbox, written));
        let peers: Vec<PeerId> = fetch.sources.keys().copied().collect();
        for peer in peers {
            fetch.detach(&peer, Command::Detach(job.id));
        }
        let download = fetch.disk.finish().await;
        outcome?;
        download
    }

    /// Waits until all others that the package is pushed to have it, too.
    async fn hold(&self, job: &Job) -> Result<(), LibraryError> {
        let Some(pushed) = job.pushed.as_ref().filter(|pushed| pushed.hold) else { return Ok(()) };
        job.phase("waiting", HOLDING);
        loop {
            tokio::select! {
                () = pushed.go.cancelled() => return Ok(()),
                () = job.cancelled.cancelled() => return Err(LibraryError::Cancelled),
                () = self.stop.cancelled() => return Err(LibraryError::Unavailable),
                () = sleep(LOOK_EVERY) => {}
            }
            if lock(&pushed.heard).elapsed() > PUSHER_TIMEOUT {
                return Err(LibraryError::PusherGone(job.name.clone()));
            }
        }
    }

    async fn put_in_place(
        &self,
        job: &Arc<Job>,
        root: &Arc<Root>,
        folder: &str,
        download: DiskDownload,
        install: bool,
    ) -> Result<(), LibraryError> {
        job.phase("running", if install { "unpacking" } else { "committing" });
        let (job, folder) = (Arc::clone(job), folder.to_owned());
        root.operate(self, move |root| {
            let manifest = Arc::clone(download.manifest());
            // What is installed is updated with the package.
            let install = install || root.library.installed(&folder)?.is_some();
            let unpacker = install.then_some((&Archives::ALL as _, Limits::default()));
            download.commit(unpacker, &job.cancel)?;
            root.want(&folder, None)?;
            root.arrived(&folder, manifest)
        })
        .await
    }
}

/// A download while it runs.
struct Fetch {
    shared: Arc<Shared>,
    job: Arc<Job>,
    manifest: Arc<Manifest>,
    planner: Download,
    disk: Disk,
    events: mpsc::Sender<(PeerId, FromSource)>,
    sources: BTreeMap<PeerId, mpsc::Sender<Command>>,
    /// Who broke the rules; not asked again.
    left_out: BTreeSet<PeerId>,
    /// Pieces that are here and wait for the planner's word.
    pieces: BTreeMap<(PeerId, RequestId, Piece), Vec<u8>>,
}

impl Fetch {
    async fn run(
        &mut self,
        inbox: &mut mpsc::Receiver<(PeerId, FromSource)>,
        written: &mut mpsc::Receiver<Written>,
    ) -> Result<(), LibraryError> {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut now = Instant::now();
        loop {
            self.carry_out(now);
            if self.planner.is_complete() {
                self.tell_progress();
                return Ok(());
            }
            let due = self.planner.poll_timeout().unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                biased;
                () = self.job.cancelled.cancelled() => return Err(LibraryError::Cancelled),
                () = self.shared.stop.cancelled() => return Err(LibraryError::Unavailable),
                Some(first) = written.recv() => {
                    now = Instant::now();
                    let mut next = Some(first);
                    while let Some(done) = next {
                        self.on_written(now, done)?;
                        next = written.try_recv().ok();
                    }
                }
                () = sleep_until(due.into()) => {
                    now = Instant::now();
                    self.planner.handle_timeout(now);
                }
                Some((peer, event)) = inbox.recv() => {
                    now = Instant::now();
                    self.on_event(now, peer, event);
                    for _ in 0..BURST {
                        let Ok((peer, event)) = inbox.try_recv() else { break };
                        self.on_event(now, peer, event);
                    }
                }
                _ = look.tick() => {
                    now = Instant::now();
                    self.look_for_sources(now);
                    self.tell_progress();
                }
            }
        }
    }

    fn tell_progress(&self) {
        let labels = |peer: &str| lock(&self.shared.state).labels.get(peer).cloned();
        self.job.progress(self.planner.progress(), self.planner.explain(), labels);
    }

    /// Carries out what the planner wants.
    fn carry_out(&mut self, now: Instant) {
        while let Some(output) = self.planner.poll_output(now) {
            match output {
                Output::Request { source, request, pieces } => {
                    if !self.tell(source, Command::Pieces(self.job.id, request, pieces)) {
                        let end = End::Busy(Duration::ZERO);
                        self.planner.handle_input(now, Input::Ended { source, request, end });
                    }
                }
                Output::Cancel { source, request, piece } => {
                    // What is not cancelled comes for nothing.
                    self.tell(source, Command::Cancel(self.job.id, request, piece));
                }
                Output::Store { source, request, piece } => match self.pieces.remove(&(source, request, piece)) {
                    Some(bytes) => self.disk.write(source, piece, bytes),
                    None => self.planner.handle_input(now, Input::Corrupt { source, piece }),
                },
                Output::Discard { source, request, piece } => {
                    let bytes = self.pieces.remove(&(source, request, piece));
                    self.shared.buffers.give(bytes.unwrap_or_default());
                }
                Output::Quarantine { source, fault } => {
                    tracing::warn!(job = self.job.id, peer = %source, %fault, "left out a source");
                    self.left_out.insert(source);
                    self.detach(&source, Command::LeaveOut(self.job.id));
                }
                Output::Complete => {}
            }
        }
    }

    /// Says whether the source takes it.
    fn tell(&self, source: PeerId, command: Command) -> bool {
        let taken = self.sources.get(&source).is_some_and(|commands| commands.try_send(command).is_ok());
        if !taken {
            tracing::debug!(peer = %source, "a source takes no more requests");
        }
        taken
    }

    fn on_written(&mut self, now: Instant, written: Written) -> Result<(), LibraryError> {
        match written {
            Written::Input(input) => self.planner.handle_input(now, input),
            Written::Failed(error) => return Err(error),
        }
        Ok(())
    }

    fn on_event(&mut self, now: Instant, source: PeerId, event: FromSource) {
        if !self.sources.contains_key(&source) {
            return;
        }
        match event {
            FromSource::Up(have) => self.planner.handle_input(now, Input::SourceUp { source, have }),
            FromSource::Has(ranges) => {
                for (first, end) in ranges {
                    self.planner.handle_input(now, Input::SourceHas { source, pieces: first..end });
                }
            }
            // If it is still said to have the package, it is asked again: a download that was followed may
            // just be put in place.
            FromSource::Down => {
                self.planner.handle_input(now, Input::SourceDown { source });
                self.detach(&source, Command::Detach(self.job.id));
            }
            FromSource::Block { request, piece, bytes, whole } => {
                let is_whole = whole.is_some();
                if let Some(whole) = whole {
                    self.pieces.insert((source, request, piece), whole);
                }
                self.planner.handle_input(now, Input::Received { source, request, piece, bytes });
                // What the planner has no word for is of nobody.
                if is_whole {
                    self.carry_out(now);
                    self.pieces.remove(&(source, request, piece));
                }
            }
            FromSource::Ended(request, end) => self.planner.handle_input(now, Input::Ended { source, request, end }),
            // Nothing was pushed.
            FromSource::Push(_) => {}
            FromSource::Misbehaved(reason) => {
                tracing::debug!(peer = %source, reason, "a source broke the protocol");
                self.planner.handle_input(now, Input::Misbehaved { source });
            }
        }
    }

    fn look_for_sources(&mut self, now: Instant) {
        self.leave_out_misstated(now);
        let holders = self.shared.holders(&self.job);
        let gone: Vec<PeerId> = self.sources.keys().filter(|peer| !holders.contains(peer)).copied().collect();
        for peer in gone {
            self.detach(&peer, Command::Detach(self.job.id));
            self.planner.handle_input(now, Input::SourceDown { source: peer });
        }
        let mut new: Vec<PeerId> = holders.into_iter().filter(|peer| !self.sources.contains_key(peer)).collect();
        new.retain(|peer| !self.left_out.contains(peer));
        fastrand::shuffle(&mut new);
        let room = SOURCES_ASKED_MAX.min(SOURCES_MAX - self.left_out.len().min(SOURCES_MAX));
        new.truncate(room.saturating_sub(self.sources.len()));
        for peer in new {
            let commands = self.shared.source(peer);
            let attach = Command::Attach(self.job.id, Attached::new(Arc::clone(&self.manifest), self.events.clone()));
            if commands.try_send(attach).is_ok() {
                self.sources.insert(peer, commands);
            }
        }
    }

    /// Whoever offers the package with another size than it has is not asked for it.
    fn leave_out_misstated(&mut self, now: Instant) {
        let liars: Vec<PeerId> = lock(&self.shared.state).merged.misstating(&self.manifest).collect();
        for source in liars {
            if self.left_out.insert(source) {
                tracing::warn!(job = self.job.id, peer = %source, "a source offers a package with a wrong size");
                self.planner.handle_input(now, Input::Misbehaved { source });
            }
        }
    }

    fn detach(&mut self, peer: &PeerId, command: Command) {
        self.pieces.retain(|(source, ..), _| source != peer);
        if let Some(commands) = self.sources.remove(peer) {
            let _ = commands.try_send(command);
        }
    }
}
