//! The node's one task: it owns the [`Mesh`], feeds it what links, host and users say, and carries
//! out what it wants.
//!
//! It never waits for a peer: control messages go into bounded queues, objects pass by it
//! altogether (see [`super::data`]). When a queue is full, gossip is dropped (anti-entropy heals
//! it); for anything else the link is closed (C9).

mod control;
mod events;
pub(crate) mod figures;
mod heartbeat;
mod insight;
mod library;
mod links;
mod met;
mod probes;
mod repairs;
mod spares;
mod streams;
mod tracks;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use banyan_gossip::{Keys, PeerId, TrackName};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep_until,
};

use super::{
    checkup::Facts,
    control::{FromLink, Hello},
    data_dir::DataDir,
    event_log::EventLog,
    host::{Host, HostEvent, Multiaddr, Stream},
    library::port::{Door, LibraryRequest},
    meters::Meters,
    node::Publisher,
    streams::{session::Incoming, task::SessionId},
    subscriber::Subscriber,
    types::{From, NodeError},
};
use crate::{
    mesh::{self, Mesh, inspect, message::Probed, repairs::RepairLog},
    relay::{Opening, Terms, TrackConfig, pull::Begin},
    views::{
        Event, OffloadView, Peers, Status, Tracks, TreeView,
        repairs::Repairs,
        why::{PeerDetail, Why},
    },
};
pub(crate) use control::{ControlRequest, check_tags};
use figures::Figures;
pub(crate) use heartbeat::Heartbeat;
use library::LibraryLinks;
use links::{LinkHandle, Setup};
use met::Met;
pub(crate) use probes::Answer;
use probes::{Probes, Reply};
use spares::Spares;
use streams::{SessionReply, Sessions};
use tracks::{LocalTrack, Publication};

/// What a user of the node asks for.
#[derive(Debug)]
pub(crate) enum Request {
    Publish(TrackName, Terms, oneshot::Sender<Result<Publisher, NodeError>>),
    Subscribe(TrackName, From, oneshot::Sender<Result<Subscriber, NodeError>>),
    Status(oneshot::Sender<Status>),
    Peers(oneshot::Sender<Peers>),
    Tracks(oneshot::Sender<Tracks>),
    Tree(TrackName, oneshot::Sender<Result<TreeView, NodeError>>),
    Offload(TrackName, oneshot::Sender<Result<OffloadView, NodeError>>),
    Repairs(oneshot::Sender<Repairs>),
    /// Asks a peer, and, if true, has it dial back.
    Ping(String, bool, Reply),
    Facts(oneshot::Sender<Facts>),
    Why(String, oneshot::Sender<Result<Why, NodeError>>),
    PeerDetail(String, oneshot::Sender<Result<PeerDetail, NodeError>>),
    /// For the metrics.
    Figures(oneshot::Sender<Figures>),
    /// What changes the node while it runs.
    Control(ControlRequest),
    /// The session that carries streams to a peer.
    Session(PeerId, SessionReply),
    /// What the library needs of the mesh.
    Library(LibraryRequest),
    Shutdown(oneshot::Sender<()>),
}

/// What the node's other tasks tell.
#[derive(Debug)]
pub(crate) enum FromTask {
    /// A connection was greeted.
    Greeted(Box<Setup>),
    /// A greeting failed.
    NotGreeted { dial: Option<u64>, reason: String },
    /// A child said what it wants.
    ChildOpening { peer: PeerId, stream: Stream, opening: Opening },
    /// A feed has ended.
    FeedEnded { track: TrackName, peer: PeerId, ticket: u64, reason: String },
    /// A stream was opened in advance, or could not be.
    SpareOpened { peer: PeerId, stream: Option<Stream> },
    /// A parent serves.
    PullOpened { track: TrackName, peer: PeerId, ticket: u64, begin: Begin },
    /// A pull has ended.
    PullEnded { track: TrackName, peer: PeerId, ticket: u64, reason: String },
    /// A parent passes on what the origin has not signed.
    ParentLied { track: TrackName, peer: PeerId },
    /// This node opened a session for streams, or could not.
    SessionOpened { peer: PeerId, id: SessionId, stream: Result<Stream, String> },
    /// A peer opened a session for streams.
    SessionCame { peer: PeerId, id: SessionId, stream: Stream },
    /// A session for streams has ended.
    SessionEnded { peer: PeerId, id: SessionId, reason: String },
    /// The addresses of a peer were dialled back.
    DialledBack { peer: PeerId, probed: Probed },
    /// Objects are missing.
    Gap { track: TrackName, from: u64, to: u64 },
}

/// What a core starts with.
pub(crate) struct Parts {
    pub(crate) mesh: Mesh,
    pub(crate) host: Host,
    pub(crate) host_events: mpsc::Receiver<HostEvent>,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) events: Arc<EventLog>,
    pub(crate) started: Instant,
    pub(crate) data_dir: Option<DataDir>,
    pub(crate) bootstraps: Vec<Multiaddr>,
    /// So many of them were named by the user; the others are known from an invitation.
    pub(crate) bootstraps_named: usize,
    pub(crate) hello: Hello,
    pub(crate) track_config: TrackConfig,
    pub(crate) keys: Arc<dyn Keys>,
    pub(crate) incoming: Arc<Incoming>,
    pub(crate) library: Option<Door>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) heartbeat: Option<Heartbeat>,
}

/// Messages from links that wait to be handled; beyond it their readers wait, and so do the peers.
const INBOX_MESSAGES: usize = 1024;
/// Messages handled before timers and everybody else are looked at, and how long that may take.
const BURST: usize = 256;
/// See [`BURST`].
const BURST_TIME: Duration = Duration::from_millis(5);
/// Requests answered in one turn of the loop.
const REQUESTS_MAX: usize = 16;
/// How often tracks are looked after while anything happens on one of them, and while nothing does: an idle
/// node is woken by little else.
const TRACK_TICK: Duration = Duration::from_millis(50);
/// See [`TRACK_TICK`].
const QUIET_TICK: Duration = Duration::from_millis(200);
/// How long after [`Mesh`] says it has left the links may take to write what is queued.
const GOODBYE: Duration = Duration::from_millis(300);

/// The node's one task.
pub(crate) struct Core {
    mesh: Mesh,
    host: Host,
    data_dir: Option<DataDir>,
    bootstraps: Vec<Multiaddr>,
    bootstraps_named: usize,
    hello: Hello,
    track_config: TrackConfig,
    keys: Arc<dyn Keys>,
    started: Instant,
    meters: Arc<Meters>,
    /// When the turn of the loop began that is under way.
    woke: Instant,
    links: BTreeMap<PeerId, LinkHandle>,
    /// What each dial under way is for, by its number.
    dials: BTreeMap<u64, links::DialFor>,
    next_dial: u64,
    /// Who waits for a dial, by its number.
    joining: BTreeMap<u64, oneshot::Sender<Result<PeerId, NodeError>>>,
    listening: Vec<Multiaddr>,
    tracks: BTreeMap<TrackName, LocalTrack>,
    next_tick: Option<Instant>,
    spares: Spares,
    /// One clone lives with each stream of a child on which nothing was said yet.
    unopened: Arc<()>,
    sessions: Sessions,
    library: LibraryLinks,
    events: Arc<EventLog>,
    repairs: RepairLog,
    /// For how long nothing had come over links that are being closed.
    silences: BTreeMap<PeerId, Duration>,
    probes: Probes,
    met: Met,
    heartbeat: Option<Heartbeat>,
    inbox: mpsc::Sender<FromLink>,
    tasks: mpsc::Sender<FromTask>,
    shutdown: Vec<oneshot::Sender<()>>,
    left: bool,
}

/// Runs a node until it has left the mesh.
pub(crate) async fn run(parts: Parts) {
    let Parts {
        mesh,
        host,
        mut host_events,
        mut requests,
        events,
        started,
        data_dir,
        bootstraps,
        bootstraps_named,
        hello,
        track_config,
        keys,
        incoming,
        library,
        meters,
        heartbeat,
    } = parts;
    let (inbox, mut from_links) = mpsc::channel(INBOX_MESSAGES);
    let (tasks, mut from_tasks) = mpsc::channel(INBOX_MESSAGES);
    let mut core = Core {
        mesh,
        host,
        data_dir,
        bootstraps,
        bootstraps_named,
        hello,
        track_config,
        keys,
        started,
        meters,
        woke: Instant::now(),
        links: BTreeMap::new(),
        dials: BTreeMap::new(),
        next_dial: 0,
        joining: BTreeMap::new(),
        listening: Vec::new(),
        tracks: BTreeMap::new(),
        next_tick: None,
        spares: Spares::default(),
        unopened: Arc::new(()),
        sessions: Sessions::new(incoming),
        library: LibraryLinks::new(library),
        heartbeat,
        events,
        repairs: RepairLog::new(started),
        silences: BTreeMap::new(),
        probes: Probes::default(),
        met: Met::default(),
        inbox,
        tasks,
        shutdown: Vec::new(),
        left: false,
    };
    let mut requests_open = true;
    loop {
        core.carry_out();
        core.meters.on_turn(core.woke.elapsed());
        if core.left {
            break;
        }
        let timer = core.deadline();
        // Inputs before timers: a node that was starved first reads what its peers said meanwhile.
        // Messages before the host's events: what a peer said before it closed its link counts.
        tokio::select! {
            biased;
            Some(message) = from_links.recv() => {
                core.woke = Instant::now();
                core.on_link_message(message);
                for _ in 0..BURST {
                    let Ok(message) = from_links.try_recv() else { break };
                    core.on_link_message(message);
                    if core.woke.elapsed() >= BURST_TIME {
                        break;
                    }
                }
                // However much peers talk, nobody else is kept waiting.
                if let Ok(event) = host_events.try_recv() {
                    core.on_host_event(event);
                }
                if let Ok(event) = from_tasks.try_recv() {
                    core.on_task(event);
                }
                for _ in 0..REQUESTS_MAX {
                    let Ok(request) = requests.try_recv() else { break };
                    core.on_request(request);
                }
            }
            Some(event) = host_events.recv() => {
                core.woke = Instant::now();
                core.on_host_event(event);
            }
            Some(event) = from_tasks.recv() => {
                core.woke = Instant::now();
                core.on_task(event);
            }
            request = requests.recv(), if requests_open => {
                core.woke = Instant::now();
                match request {
                    Some(request) => core.on_request(request),
                    None => {
                        // Every handle is gone.
                        requests_open = false;
                        core.mesh.leave(Instant::now());
                    }
                }
            }
            () = sleep_until(timer.into()) => core.woke = Instant::now(),
        }
        core.on_time();
    }
    core.finish().await;
}

impl Core {
    fn deadline(&self) -> Instant {
        let far = Instant::now() + Duration::from_secs(3600);
        let beat = self.heartbeat.as_ref().map(Heartbeat::due);
        let timers = [self.mesh.poll_timeout(), self.next_tick, self.sessions.next_tick, beat];
        timers.into_iter().flatten().min().unwrap_or(far)
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        if self.mesh.poll_timeout().is_some_and(|at| at <= now) {
            self.note_activity(now);
            self.mesh.handle_timeout(now);
        }
        if self.next_tick.is_some_and(|at| at <= now) {
            self.tend_tracks(now);
        }
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.beat_if_due(now);
        }
        if self.sessions.next_tick.is_some_and(|at| at <= now) {
            self.tend_sessions(now);
        }
    }

    fn on_request(&mut self, request: Request) {
        // A caller that has gone no longer wants its answer. A publisher or subscriber that nobody
        // takes, now or later, is dropped with the answer and undoes what was done for it.
        match request {
            Request::Publish(track, terms, reply) => drop(reply.send(self.publish(track, terms))),
            Request::Subscribe(track, from, reply) => drop(reply.send(self.subscribe(track, from))),
            Request::Status(reply) => drop(reply.send(self.status())),
            Request::Peers(reply) => drop(reply.send(inspect::peers(&self.mesh))),
            Request::Tracks(reply) => drop(reply.send(self.track_views())),
            Request::Tree(track, reply) => {
                let tree = inspect::tree(&self.mesh, &track).ok_or(NodeError::UnknownTrack(track));
                drop(reply.send(tree));
            }
            Request::Offload(track, reply) => {
                let offload = inspect::offload(&self.mesh, &track).ok_or(NodeError::UnknownTrack(track));
                drop(reply.send(offload));
            }
            Request::Ping(peer, reach, reply) => self.ping(&peer, reach, reply),
            Request::Facts(reply) => drop(reply.send(self.facts())),
            Request::Why(what, reply) => drop(reply.send(self.why(&what))),
            Request::PeerDetail(peer, reply) => drop(reply.send(self.peer_detail(&peer))),
            Request::Repairs(reply) => drop(reply.send(self.repair_views())),
            Request::Figures(reply) => drop(reply.send(self.figures())),
            Request::Control(request) => self.on_control_request(request),
            Request::Session(peer, reply) => self.on_session_request(peer, reply),
            Request::Library(request) => self.on_library_request(request),
            Request::Shutdown(reply) => {
                self.shutdown.push(reply);
                self.close_tracks();
                self.mesh.leave(Instant::now());
            }
        }
    }

    fn on_task(&mut self, event: FromTask) {
        match event {
            FromTask::Greeted(setup) => self.on_greeted(*setup),
            FromTask::NotGreeted { dial, reason } => self.on_not_greeted(dial, &reason),
            FromTask::ChildOpening { peer, stream, opening } => self.on_child_opening(peer, stream, opening),
            FromTask::SpareOpened { peer, stream } => self.spares.opened(Instant::now(), peer, stream),
            FromTask::FeedEnded { track, peer, ticket, reason } => self.on_feed_ended(track, peer, ticket, &reason),
            FromTask::PullOpened { track, peer, ticket, begin } => {
                if let Some(local) = self.tracks.get_mut(&track) {
                    local.note_begin(peer, ticket, begin);
                }
                self.mesh.handle_input(Instant::now(), mesh::Input::ParentOpened { track, peer, ticket });
            }
            FromTask::PullEnded { track, peer, ticket, reason } => self.on_pull_ended(track, peer, ticket, reason),
            FromTask::ParentLied { track, peer } => {
                self.mesh.handle_input(Instant::now(), mesh::Input::ParentLied { track, peer });
            }
            FromTask::SessionOpened { peer, id, stream } => self.on_session_opened(peer, id, stream),
            FromTask::SessionCame { peer, id, stream } => self.on_session_came(peer, id, stream),
            FromTask::SessionEnded { peer, id, reason } => self.on_session_ended(peer, id, &reason),
            FromTask::DialledBack { peer, probed } => self.on_dialled_back(peer, probed),
            FromTask::Gap { track, from, to } => {
                self.repairs.missing(Instant::now(), &track, to.saturating_sub(from));
                self.emit(Event::Gap { track: track.to_string(), from, to });
            }
        }
    }

    /// Carries out everything that the mesh wants.
    fn carry_out(&mut self) {
        while let Some(output) = self.mesh.poll_output() {
            match output {
                mesh::Output::Send { to, message } => self.send(to, &message),
                mesh::Output::Dial { peer, addresses } => self.dial_peer(peer, &addresses),
                mesh::Output::DialBootstrap(index) => self.dial_bootstrap(index),
                mesh::Output::CloseLink { peer, reason } => self.close_link(&peer, reason),
                mesh::Output::PersistIncarnation(incarnation) => self.store_incarnation(incarnation),
                mesh::Output::StreamsWanted { peer } => self.on_streams_wanted(peer),
                mesh::Output::Open { track, parent, ticket, epoch, origin, terms, depth } => {
                    self.open_pull(track, parent, ticket, Publication { epoch, origin, terms, depth });
                }
                mesh::Output::Close { track, parent, ticket, owed } => self.close_pull(&track, parent, ticket, owed),
                mesh::Output::Serve { track, child, ticket } => self.serve(track, child, ticket),
                mesh::Output::Drop { track, child, ticket } => self.drop_child(&track, child, ticket),
                mesh::Output::Event(event) => self.on_mesh_event(event),
                mesh::Output::Left => self.left = true,
            }
        }
        self.silences.clear();
    }

    fn store_incarnation(&self, incarnation: u64) {
        if let Some(dir) = &self.data_dir
            && let Err(error) = dir.store_incarnation(incarnation)
        {
            // Not fatal: the next start takes the greater of this file and the clock.
            tracing::warn!(%error, "cannot store the incarnation; is the disk full?");
        }
    }

    fn status(&self) -> Status {
        Status { uptime_s: self.started.elapsed().as_secs(), ..inspect::status(&self.mesh) }
    }

    fn emit(&self, event: Event) {
        events::log(&event);
        self.meters.on_event(&event);
        self.events.push(Instant::now(), event);
    }

    async fn finish(mut self) {
        self.close_tracks();
        self.library.stop().await;
        self.links.clear();
        tokio::time::sleep(GOODBYE).await;
        self.close_sessions();
        self.host.shutdown().await;
        for reply in self.shutdown.drain(..) {
            let _ = reply.send(());
        }
    }
}
