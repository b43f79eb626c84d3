//! The public handle of a node.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use banyan_gossip::{PeerId, TrackName};
use bytes::Bytes;
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    time::timeout,
};

use super::{
    admission::Admission,
    builder::Builder,
    checkup::Facts,
    core::{Answer, Request, figures::Figures},
    event_log::{EventLog, Since},
    library::{Library, LibraryError},
    line::Line,
    meters::Meters,
    sealer::Sealer,
    streams::{
        Peer, StreamHandle,
        session::{Incoming, OPEN_TIMEOUT, Session},
    },
    subscriber::Subscriber,
    types::{NodeError, PublishOptions, SubscribeOptions},
};
use crate::{
    relay::OBJECT_BYTES_MAX,
    streams::OpenError,
    views::{
        Event, EventView, OffloadView, Peers, Status, Tracks, TreeView,
        checkup::Ping,
        ms,
        repairs::Repairs,
        why::{PeerDetail, Why},
    },
};

/// How long a peer may take to answer a person.
const ANSWER: Duration = Duration::from_secs(5);

/// A running node. Clones share it; when all are dropped, the node leaves the mesh.
#[derive(Debug, Clone)]
pub struct Node {
    me: PeerId,
    requests: mpsc::Sender<Request>,
    /// Weak, so that streams of events end with the node and not with the last handle.
    events: Weak<EventLog>,
    incoming: Arc<Incoming>,
    library: Library,
    admission: Admission,
    meters: Arc<Meters>,
}

impl Node {
    pub(crate) const fn new(
        me: PeerId,
        requests: mpsc::Sender<Request>,
        events: Weak<EventLog>,
        incoming: Arc<Incoming>,
        library: Library,
        admission: Admission,
        meters: Arc<Meters>,
    ) -> Self {
        Self { me, requests, events, incoming, library, admission, meters }
    }

    /// Starts describing a node.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// This node's id.
    #[must_use]
    pub const fn peer_id(&self) -> PeerId {
        self.me
    }

    pub(super) async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, NodeError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| NodeError::Shutdown)?;
        answer.await.map_err(|_| NodeError::Shutdown)
    }

    /// What this node says of itself.
    ///
    /// # Errors
    /// [`NodeError::Shutdown`].
    pub async fn status(&self) -> Result<Status, NodeError> {
        self.ask(Request::Status).await
    }

    /// Every known peer but oneself.
    ///
    /// # Errors
    /// [`NodeError::Shutdown`].
    pub async fn peers(&self) -> Result<Peers, NodeError> {
        self.ask(Request::Peers).await
    }

    /// Every known track.
    ///
    /// # Errors
    /// [`NodeError::Shutdown`].
    pub async fn tracks(&self) -> Result<Tracks, NodeError> {
        self.ask(Request::Tracks).await
    }

    /// The tree of a track as this node's table sees it.
    ///
    /// # Errors
    /// [`NodeError::UnknownTrack`] if no peer publishes or follows it; [`NodeError::Shutdown`].
    pub async fn tree(&self, track: &TrackName) -> Result<TreeView, NodeError> {
        self.ask(|reply| Request::Tree(track.clone(), reply)).await?
    }

    /// Who forwards how much of a track (A11): of the whole tree at its origin, else of what is below.
    ///
    /// # Errors
    /// [`NodeError::UnknownTrack`] if no peer publishes or follows it; [`NodeError::Shutdown`].
    pub async fn offload(&self, track: &TrackName) -> Result<OffloadView, NodeError> {
        self.ask(|reply| Request::Offload(track.clone(), reply)).await?
    }

    /// What the metrics tell of the moment.
    pub(crate) async fn figures(&self) -> Result<Figures, NodeError> {
        self.ask(Request::Figures).await
    }

    /// What was counted since the start.
    pub(crate) fn meters(&self) -> &Meters {
        &self.meters
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> EventStream {
        self.events_since(Since::Now)
    }

    /// What happened since then, as far as it is kept, and what happens from now on.
    #[must_use]
    pub fn events_since(&self, since: Since) -> EventStream {
        let now = Instant::now();
        let log = self.events.upgrade().unwrap_or_else(|| Arc::new(EventLog::new(now)));
        let (past, events) = log.since(now, since);
        EventStream { past, events, last: None }
    }

    /// Why a track or a peer is as it is: `what` is a track, or a peer by id, part of an id, or label; with
    /// `track:` or `peer:` before it where it could be both.
    ///
    /// # Errors
    /// [`NodeError::UnknownName`], [`NodeError::UnknownPeer`], [`NodeError::AmbiguousPeer`],
    /// [`NodeError::Shutdown`].
    pub async fn why(&self, what: &str) -> Result<Why, NodeError> {
        self.ask(|reply| Request::Why(what.to_owned(), reply)).await?
    }

    /// What this node knows of a peer, by id, part of an id, or label.
    ///
    /// # Errors
    /// [`NodeError::UnknownPeer`], [`NodeError::AmbiguousPeer`], [`NodeError::Shutdown`].
    pub async fn peer_detail(&self, peer: &str) -> Result<PeerDetail, NodeError> {
        self.ask(|reply| Request::PeerDetail(peer.to_owned(), reply)).await?
    }

    /// One round trip to a peer, by id, part of an id, or label. Where there is no link one is dialled.
    ///
    /// # Errors
    /// [`NodeError::UnknownPeer`], [`NodeError::AmbiguousPeer`], [`NodeError::NoAnswer`] after 5 s or sooner,
    /// [`NodeError::Shutdown`].
    pub async fn ping(&self, peer: &str) -> Result<Ping, NodeError> {
        let answer = self.probe(peer, false).await?;
        Ok(Ping {
            peer: answer.peer,
            connect_ms: answer.connect.map(ms),
            rtt_ms: ms(answer.rtt),
            clock_ahead_ms: answer.clock_ahead_ms,
            version: answer.version,
        })
    }

    pub(super) async fn probe(&self, peer: &str, reach: bool) -> Result<Answer, NodeError> {
        let asked = self.ask(|reply| Request::Ping(peer.to_owned(), reach, reply));
        timeout(ANSWER, asked).await.unwrap_or_else(|_| Ok(Err(NodeError::NoAnswer(peer.to_owned()))))?
    }

    pub(super) async fn facts(&self) -> Result<Facts, NodeError> {
        self.ask(Request::Facts).await
    }

    /// How this node found other parents: its last repairs.
    ///
    /// # Errors
    /// [`NodeError::Shutdown`].
    pub async fn repairs(&self) -> Result<Repairs, NodeError> {
        self.ask(Request::Repairs).await
    }

    /// Starts publishing a track from object id 0 of a new epoch.
    ///
    /// # Errors
    /// [`NodeError::AlreadyPublished`], [`NodeError::Conflict`], [`NodeError::TooManyTracks`],
    /// [`NodeError::Shutdown`].
    pub async fn publish(&self, track: TrackName, options: PublishOptions) -> Result<Publisher, NodeError> {
        self.ask(|reply| Request::Publish(track, options.terms(), reply)).await?
    }

    /// Subscribes to a track, which need not be published yet.
    ///
    /// # Errors
    /// [`NodeError::TooManyTracks`], [`NodeError::Shutdown`].
    pub async fn subscribe(&self, track: TrackName, options: SubscribeOptions) -> Result<Subscriber, NodeError> {
        self.ask(|reply| Request::Subscribe(track, options.from, reply)).await?
    }

    /// The library of this node; `None` if it has shared no folder yet: see [`Node::share`].
    #[must_use]
    pub fn library(&self) -> Option<Library> {
        self.library.is_used().then(|| self.library.clone())
    }

    /// Shares a folder from now on, if it is the first one, too.
    ///
    /// # Errors
    /// [`LibraryError::BadRoot`], [`LibraryError::Unavailable`].
    pub async fn share(&self, folder: &Path) -> Result<Library, LibraryError> {
        self.library.add_root(folder).await?;
        Ok(self.library.clone())
    }

    /// Who is admitted to the mesh by this node.
    #[must_use]
    pub const fn admission(&self) -> &Admission {
        &self.admission
    }

    /// Another peer of the mesh, to open streams to.
    #[must_use]
    pub fn peer(&self, id: PeerId) -> Peer {
        Peer::new(self.clone(), id)
    }

    /// The next stream that any peer has opened to this node and that nobody here has opened or accepted
    /// yet. Cancel-safe.
    ///
    /// # Errors
    /// [`NodeError::Shutdown`].
    pub async fn accept_stream(&self) -> Result<StreamHandle, NodeError> {
        self.incoming.accept().await
    }

    pub(crate) async fn session(&self, peer: PeerId) -> Result<Arc<Session>, OpenError> {
        let asked = self.ask(|reply| Request::Session(peer, reply));
        timeout(OPEN_TIMEOUT, asked).await.ok().and_then(Result::ok).unwrap_or(Err(OpenError::NotConnected))
    }

    /// Returns when the node has left the mesh, whoever asked it to. Cancel-safe.
    pub async fn closed(&self) {
        self.requests.closed().await;
    }

    /// Leaves the mesh: says goodbye, hands the children over, closes everything. At most 3 s.
    pub async fn shutdown(&self) {
        let _ = self.ask(Request::Shutdown).await;
    }
}

/// What happens on a node.
#[derive(Debug)]
pub struct EventStream {
    past: VecDeque<EventView>,
    events: broadcast::Receiver<EventView>,
    last: Option<EventView>,
}

impl EventStream {
    /// The next event; `None` when the node has shut down. A slow reader gets
    /// [`Missed`](Event::Missed), under the number of the event before.
    pub async fn next(&mut self) -> Option<EventView> {
        if let Some(event) = self.next_past() {
            return Some(event);
        }
        match self.events.recv().await {
            Ok(event) => {
                self.last = Some(event.clone());
                Some(event)
            }
            Err(broadcast::error::RecvError::Lagged(events)) => {
                let (seq, at_ms) = self.last.as_ref().map_or((0, 0), |last| (last.seq, last.at_ms));
                Some(EventView { seq, at_ms, event: Event::Missed { events } })
            }
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }

    /// The next of the events that had happened when this stream began; `None` after the last.
    pub fn next_past(&mut self) -> Option<EventView> {
        self.last = Some(self.past.pop_front()?);
        self.last.clone()
    }
}

/// Publishes objects on a track. Dropping it ends the track as [`Publisher::finish`] does.
#[derive(Debug)]
pub struct Publisher {
    track: TrackName,
    line: Arc<Line>,
    /// Of a signed track.
    sealer: Option<Arc<Sealer>>,
    finished: bool,
}

impl Publisher {
    pub(crate) const fn new(track: TrackName, line: Arc<Line>, sealer: Option<Arc<Sealer>>) -> Self {
        Self { line, track, sealer, finished: false }
    }

    /// The publishing epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.line.epoch
    }

    /// Publishes an object; waits while a reliable track is held up. Returns the object's id.
    /// Cancel-safe: a cancelled call has published nothing.
    ///
    /// # Errors
    /// [`NodeError::ObjectTooLarge`], [`NodeError::TakenOver`], [`NodeError::Shutdown`].
    pub async fn send(&mut self, payload: Bytes) -> Result<u64, NodeError> {
        if payload.len() > OBJECT_BYTES_MAX {
            return Err(NodeError::ObjectTooLarge(payload.len()));
        }
        loop {
            let times = self.line.acks.times();
            self.check()?;
            if let Some(id) = self.try_publish(&payload) {
                return Ok(id);
            }
            self.line.acks.rung_since(times).await;
        }
    }

    fn check(&self) -> Result<(), NodeError> {
        if self.line.is_taken_over() {
            return Err(NodeError::TakenOver(self.track.clone()));
        }
        if self.line.is_shut() { Err(NodeError::Shutdown) } else { Ok(()) }
    }

    fn try_publish(&self, payload: &Bytes) -> Option<u64> {
        let mut track = self.line.lock();
        if !track.may_publish(payload.len()) {
            return None;
        }
        let now = Instant::now();
        let id = track.publish(now, payload);
        drop(track);
        // Together with its objects, where it is due already: children then get both at once.
        if let Some(sealer) = &self.sealer {
            sealer.published(now);
        }
        self.line.announce(now);
        Some(id)
    }

    /// Ends the track; subscribers still get what was sent.
    ///
    /// # Errors
    /// As [`Publisher::send`].
    pub async fn finish(mut self) -> Result<(), NodeError> {
        let result = self.check();
        self.end();
        result
    }

    fn end(&mut self) {
        // A track that was taken over goes on in another epoch: it has no end here.
        if !std::mem::replace(&mut self.finished, true) && !self.line.is_taken_over() {
            self.line.lock().finish();
        }
        if let Some(sealer) = &self.sealer {
            sealer.close();
        }
        self.line.announce(Instant::now());
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.end();
    }
}
