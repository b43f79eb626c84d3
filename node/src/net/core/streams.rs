//! Which session carries the typed streams of each peer.
//!
//! A session lives on a link: without one there is none, and it ends with it. Of two peers the one with the
//! smaller id opens it; the other asks it to, over the link. So there is never a second one to choose from.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use banyan_gossip::PeerId;
use tokio::{sync::oneshot, task::AbortHandle, time::timeout};

use super::{Core, FromTask};
use crate::{
    net::{
        host::Stream,
        streams::{
            session::{Incoming, OPEN_TIMEOUT, Session},
            task::{self, SessionId},
        },
    },
    streams::OpenError,
};

/// Answers a request for a session.
pub(crate) type SessionReply = oneshot::Sender<Result<Arc<Session>, OpenError>>;

/// How often it is seen which links are needed.
const TICK: Duration = Duration::from_secs(5);

/// The sessions of the node.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    peers: BTreeMap<PeerId, PeerStreams>,
    incoming: Arc<Incoming>,
    /// Of sessions that this node opened.
    next_number: u64,
    pub(super) next_tick: Option<Instant>,
}

impl Sessions {
    pub(super) fn new(incoming: Arc<Incoming>) -> Self {
        Self { incoming, ..Self::default() }
    }

    /// Whether somebody here needs the link to a peer.
    pub(super) fn has(&self, peer: &PeerId) -> bool {
        self.peers.contains_key(peer)
    }
}

#[derive(Debug, Default)]
struct PeerStreams {
    live: Option<Live>,
    opening: Option<AbortHandle>,
    waiting: Vec<SessionReply>,
    /// It came before its peer's link was up.
    parked: Option<(SessionId, Stream)>,
    /// The latest session that the peer opened.
    last: SessionId,
    /// The peer asked for a session while this end thought that there was one.
    asked: bool,
}

#[derive(Debug)]
struct Live {
    id: SessionId,
    session: Arc<Session>,
    task: AbortHandle,
}

impl Drop for PeerStreams {
    fn drop(&mut self) {
        if let Some(opening) = &self.opening {
            opening.abort();
        }
        self.fail();
        self.end();
    }
}

impl PeerStreams {
    fn fail(&mut self) {
        for reply in self.waiting.drain(..) {
            let _ = reply.send(Err(OpenError::NotConnected));
        }
    }

    fn end(&mut self) {
        if let Some(live) = self.live.take() {
            live.task.abort();
            live.session.disconnect();
        }
    }

    fn is_needed(&self) -> bool {
        !self.waiting.is_empty() || self.live.as_ref().is_some_and(|live| live.session.in_use())
    }
}

impl Core {
    /// The node's user wants to open a stream.
    pub(super) fn on_session_request(&mut self, peer: PeerId, reply: SessionReply) {
        let now = Instant::now();
        if let Some(live) = self.sessions.peers.get(&peer).and_then(|streams| streams.live.as_ref()) {
            let _ = reply.send(Ok(Arc::clone(&live.session)));
            return;
        }
        if peer == self.mesh.me() || !self.mesh.hold_link(now, peer) {
            self.let_go(&peer);
            let _ = reply.send(Err(OpenError::NotConnected));
            return;
        }
        self.peer_streams(peer).waiting.push(reply);
        self.start_session(peer);
    }

    fn peer_streams(&mut self, peer: PeerId) -> &mut PeerStreams {
        self.sessions.next_tick.get_or_insert(Instant::now() + TICK);
        self.sessions.peers.entry(peer).or_default()
    }

    /// Opens a session if it is this end that opens, or asks for it.
    fn start_session(&mut self, peer: PeerId) {
        if !self.links.contains_key(&peer) {
            return;
        }
        if peer < self.mesh.me() {
            self.mesh.ask_for_streams(peer);
            return;
        }
        let streams = self.peer_streams(peer);
        if streams.live.is_some() || streams.opening.is_some() {
            return;
        }
        let row = self.mesh.table().row(&peer).map(|row| row.addresses.clone()).unwrap_or_default();
        let addresses = row.iter().filter_map(|address| address.parse().ok()).collect();
        let (host, tasks) = (self.host.clone(), self.tasks.clone());
        let id = (self.mesh.incarnation(), self.sessions.next_number);
        self.sessions.next_number += 1;
        let opening = tokio::spawn(async move {
            let open = async {
                let mut stream = host.open_streams(peer, addresses).await.map_err(|error| error.to_string())?;
                task::write_opening(&mut stream, id).await.map_err(|error| error.to_string())?;
                Ok(stream)
            };
            let stream = timeout(OPEN_TIMEOUT, open).await.unwrap_or_else(|_| Err("timed out".to_owned()));
            let _ = tasks.send(FromTask::SessionOpened { peer, id, stream }).await;
        });
        self.peer_streams(peer).opening = Some(opening.abort_handle());
    }

    pub(super) fn on_session_opened(&mut self, peer: PeerId, id: SessionId, stream: Result<Stream, String>) {
        let streams = self.peer_streams(peer);
        streams.opening = None;
        match stream {
            Ok(stream) => self.run_session(peer, id, stream),
            Err(reason) => {
                tracing::debug!(%peer, reason, "cannot open streams");
                streams.fail();
            }
        }
    }

    /// The peer, whose id is the greater, asks for a session.
    pub(super) fn on_streams_wanted(&mut self, peer: PeerId) {
        if self.mesh.me() < peer {
            self.peer_streams(peer).asked = true;
            self.start_session(peer);
        }
    }

    pub(super) fn on_streams_stream(&self, peer: PeerId, mut stream: Stream) {
        if self.mesh.me() < peer {
            tracing::debug!(%peer, "refused streams: it is this end that opens them");
            return;
        }
        let tasks = self.tasks.clone();
        tokio::spawn(async move {
            match task::read_opening(&mut stream).await {
                Ok(id) => drop(tasks.send(FromTask::SessionCame { peer, id, stream }).await),
                Err(error) => tracing::debug!(%peer, %error, "refused streams"),
            }
        });
    }

    pub(super) fn on_session_came(&mut self, peer: PeerId, id: SessionId, stream: Stream) {
        let linked = self.links.contains_key(&peer);
        let streams = self.peer_streams(peer);
        if id <= streams.last {
            return;
        }
        streams.last = id;
        if linked {
            self.run_session(peer, id, stream);
        } else {
            streams.parked = Some((id, stream));
        }
    }

    fn run_session(&mut self, peer: PeerId, id: SessionId, stream: Stream) {
        let Some(link) = self.links.get(&peer) else {
            self.peer_streams(peer).fail();
            return;
        };
        let (activity, tasks) = (Arc::clone(&link.activity), self.tasks.clone());
        let session = Session::new(peer, Arc::clone(&self.sessions.incoming));
        let carried = Arc::clone(&session);
        let task = tokio::spawn(async move {
            let reason = task::run(&carried, stream, &activity).await.to_string();
            carried.disconnect();
            let _ = tasks.send(FromTask::SessionEnded { peer, id, reason }).await;
        });
        let streams = self.peer_streams(peer);
        streams.end();
        for reply in streams.waiting.drain(..) {
            let _ = reply.send(Ok(Arc::clone(&session)));
        }
        streams.asked = false;
        streams.live = Some(Live { id, session, task: task.abort_handle() });
    }

    pub(super) fn on_session_ended(&mut self, peer: PeerId, id: SessionId, reason: &str) {
        let Some(streams) = self.sessions.peers.get_mut(&peer) else { return };
        if streams.live.take_if(|live| live.id == id).is_some() {
            tracing::debug!(%peer, reason, "streams ended");
            if streams.asked || !streams.waiting.is_empty() {
                self.start_session(peer);
            }
        }
    }

    // --- Links ---------------------------------------------------------------------------------

    pub(super) fn on_streams_link_up(&mut self, peer: PeerId) {
        let Some(streams) = self.sessions.peers.get_mut(&peer) else { return };
        let waits = !streams.waiting.is_empty();
        if let Some((id, stream)) = streams.parked.take() {
            self.run_session(peer, id, stream);
        } else if waits {
            self.start_session(peer);
        }
    }

    /// The link is gone, or could not be had.
    pub(super) fn on_streams_link_down(&mut self, peer: &PeerId) {
        self.sessions.peers.remove(peer);
    }

    /// Whether typed streams need the link.
    pub(super) fn streams_need_link(&self, peer: &PeerId) -> bool {
        self.sessions.peers.get(peer).is_some_and(PeerStreams::is_needed)
    }

    /// Sees which links are needed.
    pub(super) fn tend_sessions(&mut self, now: Instant) {
        for streams in self.sessions.peers.values_mut() {
            streams.waiting.retain(|reply| !reply.is_closed());
        }
        let needed = self.sessions.peers.iter().map(|(peer, streams)| (*peer, streams.is_needed()));
        for (peer, needed) in needed.collect::<Vec<_>>() {
            if needed {
                self.mesh.hold_link(now, peer);
            } else {
                self.let_go(&peer);
            }
        }
        // What waited for a link for a whole tick waits in vain.
        let links = &self.links;
        self.sessions.peers.retain(|peer, streams| links.contains_key(peer) || streams.is_needed());
        self.sessions.next_tick = (!self.sessions.peers.is_empty()).then(|| now + TICK);
    }

    pub(super) fn close_sessions(&mut self) {
        self.sessions.peers.clear();
        self.sessions.incoming.close();
    }
}
