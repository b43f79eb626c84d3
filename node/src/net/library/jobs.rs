//! The jobs of a library: what they do, how far they are.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use banyan_gossip::PeerId;
use tokio_util::sync::CancellationToken;

use super::{LibraryError, lock, port::Port};
use crate::{
    library::{
        download::{Progress, SourceState, Why},
        manifest::PackageId,
        transaction::Cancel,
    },
    views::{
        Event,
        library::{ExplainView, JobView, SourceView},
    },
};

/// Jobs that run or wait.
const RUNNING_MAX: usize = 64;
/// Jobs that ended and are still known.
const ENDED_MAX: usize = 256;
/// How often progress is an event.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// The phase in which all is there and waits for others.
pub(super) const HOLDING: &str = "holding";

/// What is done to a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Get,
    Install,
    Update,
    Uninstall,
    Remove,
    Verify,
    Push,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Install => "install",
            Self::Update => "update",
            Self::Uninstall => "uninstall",
            Self::Remove => "remove",
            Self::Verify => "verify",
            Self::Push => "push",
        }
    }
}

/// A package that a peer pushes here.
#[derive(Debug)]
pub(super) struct Pushed {
    pub(super) by: PeerId,
    /// Others that it is pushed to.
    pub(super) peers: Vec<PeerId>,
    /// Whether it waits, all there, for [`Pushed::go`].
    pub(super) hold: bool,
    /// It may be put in place.
    pub(super) go: CancellationToken,
    /// When the peer was last there.
    pub(super) heard: Mutex<Instant>,
}

impl Pushed {
    pub(super) fn new(by: PeerId, peers: Vec<PeerId>, hold: bool) -> Self {
        Self { by, peers, hold, go: CancellationToken::new(), heard: Mutex::new(Instant::now()) }
    }
}

/// Something that is done to a package.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) kind: Kind,
    pub(super) package: PackageId,
    pub(super) name: String,
    pub(super) version: String,
    /// Asks blocking operations to stop.
    pub(super) cancel: Cancel,
    /// Asks everything else.
    pub(super) cancelled: CancellationToken,
    /// Somebody else wants it here.
    pub(super) pushed: Option<Pushed>,
    started: Instant,
    port: Port,
    status: Mutex<Status>,
}

#[derive(Debug)]
struct Status {
    state: &'static str,
    phase: &'static str,
    bytes: u64,
    bytes_total: u64,
    duplicate_bytes: u64,
    rate: f64,
    eta: Option<Duration>,
    error: Option<LibraryError>,
    sources: Vec<SourceView>,
    why: Why,
    ended: Option<Instant>,
    told: Option<Instant>,
}

impl Job {
    pub(super) fn view(&self) -> JobView {
        let status = lock(&self.status);
        let took = status.ended.unwrap_or_else(Instant::now).saturating_duration_since(self.started);
        JobView {
            id: self.id,
            kind: self.kind.word().to_owned(),
            name: self.name.clone(),
            version: Some(self.version.clone()),
            package: Some(self.package.to_string()),
            state: status.state.to_owned(),
            phase: status.phase.to_owned(),
            bytes: status.bytes,
            bytes_total: status.bytes_total,
            duplicate_bytes: status.duplicate_bytes,
            rate: status.rate,
            eta_s: status.eta.map(|eta| eta.as_secs_f64()),
            took_s: took.as_secs_f64(),
            error: status.error.as_ref().map(LibraryError::view),
            sources: status.sources.clone(),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        lock(&self.status).ended.is_some()
    }

    /// Whether all is there and waits for the others.
    pub(super) fn is_holding(&self) -> bool {
        lock(&self.status).phase == HOLDING
    }

    /// Why it failed.
    pub(super) fn error(&self) -> Option<LibraryError> {
        lock(&self.status).error.clone()
    }

    /// How far a push is: bytes that are at their targets, and these.
    pub(super) fn pushed(&self, bytes: u64, targets: Vec<SourceView>) {
        let seconds = self.started.elapsed().as_secs_f64();
        self.change(true, |status| {
            status.bytes = bytes;
            status.rate = bytes as f64 / seconds.max(0.1);
            let rest = status.bytes_total.saturating_sub(bytes) as f64 / status.rate;
            status.eta = Duration::try_from_secs_f64(rest).ok();
            (status.why, status.sources) = (Why::Sources, targets);
        });
    }

    /// Asks it to stop.
    pub(super) fn cancel(&self) {
        self.cancel.cancel();
        self.cancelled.cancel();
    }

    fn change(&self, progress: bool, change: impl FnOnce(&mut Status)) {
        let mut status = lock(&self.status);
        change(&mut status);
        let now = Instant::now();
        if progress && status.told.is_some_and(|told| now < told + TELL_EVERY) {
            return;
        }
        status.told = Some(now);
        let event = Event::LibraryJob {
            id: self.id,
            kind: self.kind.word().to_owned(),
            name: self.name.clone(),
            state: status.state.to_owned(),
            phase: status.phase.to_owned(),
            bytes: status.bytes,
            bytes_total: status.bytes_total,
        };
        drop(status);
        self.port.tell(event);
    }

    pub(super) fn phase(&self, state: &'static str, phase: &'static str) {
        let before = {
            let status = lock(&self.status);
            (status.state, status.phase)
        };
        if before != (state, phase) {
            self.change(false, |status| (status.state, status.phase) = (state, phase));
        }
    }

    pub(super) fn bytes(&self, bytes: u64, bytes_total: u64) {
        self.change(true, |status| (status.bytes, status.bytes_total) = (bytes, bytes_total));
    }

    /// How far a download is.
    pub(super) fn progress(&self, progress: Progress, why: Why, label: impl Fn(&str) -> Option<String>) {
        let source = |source: crate::library::download::SourceProgress| {
            let peer_id = source.peer.to_string();
            SourceView {
                label: label(&peer_id),
                peer_id,
                bytes: source.stored_bytes,
                rate: if source.state == SourceState::Sending { source.rate } else { 0.0 },
                state: match source.state {
                    SourceState::Sending => "sending".to_owned(),
                    SourceState::Idle => "idle".to_owned(),
                    SourceState::Busy => "busy".to_owned(),
                    SourceState::Stalled => "stalled".to_owned(),
                    SourceState::Quarantined(fault) => format!("quarantined: {fault}"),
                },
            }
        };
        let sources = progress.sources.into_iter().map(source).collect();
        self.change(true, |status| {
            status.state = if why == Why::NoSource { "waiting" } else { "running" };
            (status.bytes, status.bytes_total) = (progress.stored_bytes, progress.bytes);
            status.duplicate_bytes = progress.duplicate_bytes;
            (status.rate, status.eta, status.why, status.sources) = (progress.rate, progress.eta, why, sources);
        });
    }

    pub(super) fn end(&self, result: Result<(), LibraryError>) {
        self.change(false, |status| {
            (status.rate, status.eta, status.ended) = (0.0, None, Some(Instant::now()));
            status.state = match &result {
                Ok(()) => "done",
                Err(LibraryError::Cancelled) => "cancelled",
                Err(_) => "failed",
            };
            if result.is_ok() {
                status.bytes = status.bytes_total;
                status.why = Why::Complete;
            }
            status.error = result.err();
        });
    }

    pub(super) fn explain(&self) -> ExplainView {
        let status = lock(&self.status);
        let (why, text, hint) = match (&status.error, status.ended, status.phase) {
            (Some(error), ..) => ("done", error.to_string(), Some(error.hint())),
            (None, Some(_), _) => ("done", "it is done".to_owned(), None),
            (None, None, "fetching" | "manifest") => {
                let (word, hint) = match status.why {
                    Why::Complete => ("done", None),
                    Why::Paused => ("paused", None),
                    Why::NoSource => ("no_source", Some("start a node that has all of the package")),
                    Why::PeersBusy => ("peers_busy", Some("it goes faster once more peers have the package")),
                    Why::PeersStalled => ("peers_slow", Some("look at the network between here and the sources")),
                    Why::Disk => ("disk", Some("a faster disk would help")),
                    Why::Window => ("window", None),
                    Why::Sources => ("peers_slow", None),
                };
                (word, status.why.to_string(), hint)
            }
            (None, None, HOLDING) => ("peers_slow", "all is here; it waits for the others".to_owned(), None),
            (None, None, "pushing") => ("peers_slow", "those it is pushed to have not fetched it yet".to_owned(), None),
            (None, None, phase) => ("disk", format!("it is {phase}, which takes as long as the disk needs"), None),
        };
        ExplainView { id: self.id, why: why.to_owned(), text, hint: hint.map(Into::into) }
    }
}

/// The jobs that are known.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    jobs: BTreeMap<u64, Arc<Job>>,
    next: u64,
}

impl Jobs {
    /// A new job, unless one on the title runs (D10) or too many do.
    pub(super) fn begin(
        &mut self,
        kind: Kind,
        package: PackageId,
        (name, version): (&str, &str),
        port: &Port,
        pushed: Option<Pushed>,
    ) -> Result<Arc<Job>, LibraryError> {
        let mut running = self.jobs.values().filter(|job| !job.is_over());
        if let Some(job) = running.clone().find(|job| job.name == name) {
            let (id, kind) = (job.id, job.kind.word());
            return Err(LibraryError::Busy(format!("{name}: job {id}, {kind}, is running")));
        }
        if running.nth(RUNNING_MAX - 1).is_some() {
            return Err(LibraryError::Busy(format!("{RUNNING_MAX} jobs are running")));
        }
        while self.jobs.len() >= RUNNING_MAX + ENDED_MAX {
            let Some(oldest) = self.jobs.values().find(|job| job.is_over()).map(|job| job.id) else { break };
            self.jobs.remove(&oldest);
        }
        self.next += 1;
        let status = Status {
            state: "running",
            phase: match kind {
                Kind::Get | Kind::Install | Kind::Update => "manifest",
                Kind::Uninstall | Kind::Remove => "removing",
                Kind::Verify => "checking",
                Kind::Push => "pushing",
            },
            bytes: 0,
            bytes_total: 0,
            duplicate_bytes: 0,
            rate: 0.0,
            eta: None,
            error: None,
            sources: Vec::new(),
            why: Why::NoSource,
            ended: None,
            told: None,
        };
        let job = Arc::new(Job {
            id: self.next,
            kind,
            package,
            name: name.to_owned(),
            version: version.to_owned(),
            cancel: Cancel::default(),
            cancelled: CancellationToken::new(),
            pushed,
            started: Instant::now(),
            port: port.clone(),
            status: Mutex::new(status),
        });
        self.jobs.insert(job.id, Arc::clone(&job));
        Ok(job)
    }

    pub(super) fn job(&self, id: u64) -> Option<&Arc<Job>> {
        self.jobs.get(&id)
    }

    /// What runs on a package.
    pub(super) fn on_package(&self, package: PackageId) -> Option<&Arc<Job>> {
        self.jobs.values().find(|job| job.package == package && !job.is_over() && !job.cancelled.is_cancelled())
    }

    /// Whether what runs on a title is being cancelled.
    pub(super) fn is_cancelling(&self, name: &str) -> bool {
        self.jobs.values().any(|job| job.name == name && !job.is_over() && job.cancelled.is_cancelled())
    }

    /// The newest first.
    pub(super) fn views(&self) -> Vec<JobView> {
        self.jobs.values().rev().map(|job| job.view()).collect()
    }
}
