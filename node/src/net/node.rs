//! The public handle of a node.

use std::{path::PathBuf, sync::Arc, time::Instant};

use banyan_gossip::{Ed25519Keys, Label, LocalPeer, MeshName, PeerId, TrackName};
use bytes::Bytes;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

pub use super::subscriber::Subscriber;
use super::{
    control::{Hello, PROTOCOL_VERSION},
    core::{self, Parts, Request},
    data_dir::{DataDir, Identity},
    host::{self, HostConfig, HostError, Limits, Multiaddr},
    line::Line,
};
use crate::{
    mesh::{self, Mesh},
    relay::{Mode, OBJECT_BYTES_MAX, TrackConfig},
    views::{Event, EventView, Peers, Status, Tracks, TreeView},
};

/// Requests of users that wait to be handled.
const REQUESTS: usize = 64;
/// Events that a reader may be behind.
const EVENTS: usize = 1024;
/// Where a node listens when it is not told: any free port.
const DEFAULT_LISTEN: [&str; 4] =
    ["/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1", "/ip6/::/tcp/0", "/ip6/::/udp/0/quic-v1"];

/// Where a subscription starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum From {
    /// With the next object.
    #[default]
    Latest,
    /// With the oldest object that is still held.
    Oldest,
    /// With this object id; what is no longer held is reported as a gap.
    Id(u64),
}

/// How to publish a track.
#[derive(Debug, Clone, Default)]
pub struct PublishOptions {
    /// What happens to subscribers that cannot keep up.
    pub mode: Mode,
}

/// How to subscribe to a track.
#[derive(Debug, Clone, Default)]
pub struct SubscribeOptions {
    /// Where to start.
    pub from: From,
}

/// What a subscriber receives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Item {
    /// The next object.
    Object {
        /// Its id, +1 each.
        id: u64,
        /// What was published.
        payload: Bytes,
    },
    /// The objects `from..to` are missing and will not come.
    Gap {
        /// First missing id.
        from: u64,
        /// First id after the missing ones.
        to: u64,
    },
    /// The track is published anew, or by another origin: ids start again.
    Epoch {
        /// The new publishing epoch.
        epoch: u64,
    },
    /// The origin is gone (`true`) or back (`false`); the subscription goes on waiting.
    OriginLost(bool),
    /// Nothing follows.
    End(End),
}

/// Why a subscription ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The publisher ended the track and everything was delivered.
    Complete,
    /// This subscriber held up a reliable track for too long and was cut off.
    TooSlow,
    /// The node shuts down.
    Shutdown,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The data directory is used by another running node.
    #[error("data directory {} is in use by another node", .0.display())]
    DataDirBusy(PathBuf),
    /// The data directory cannot be written or read.
    #[error("data directory {}: {source}", .path.display())]
    DataDir {
        /// The path at fault.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The identity file does not hold an identity.
    #[error("identity file {} is corrupt: {reason}", .path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An address cannot be understood.
    #[error("address {address:?} is not valid: {reason}")]
    Address {
        /// The address as given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No listener could be opened.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        reason: String,
    },
}

/// Why a request to a node failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// This node already publishes the track.
    #[error("track {0} is already being published by this node")]
    AlreadyPublished(TrackName),
    /// Another live peer publishes the track.
    #[error("track {track} is published by {origin}")]
    Conflict {
        /// The track.
        track: TrackName,
        /// Who publishes it.
        origin: PeerId,
    },
    /// A newer epoch of the track appeared elsewhere.
    #[error("track {0} was taken over by another origin")]
    TakenOver(TrackName),
    /// The node has no room for another track.
    #[error("too many tracks on this node: their names no longer fit a gossip row")]
    TooManyTracks,
    /// The object is larger than [`crate::relay::OBJECT_BYTES_MAX`].
    #[error("object of {0} bytes is over the limit of 16 MiB")]
    ObjectTooLarge(usize),
    /// No peer publishes or follows the track.
    #[error("no peer publishes or follows track {0}")]
    UnknownTrack(TrackName),
    /// The node is shutting down.
    #[error("the node is shutting down")]
    Shutdown,
}

/// Collects what a node needs to start.
#[derive(Debug, Clone)]
pub struct Builder {
    pub(crate) mesh: MeshName,
    pub(crate) label: Option<Label>,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) listen: Vec<String>,
    pub(crate) bootstrap: Vec<String>,
    pub(crate) mdns: bool,
    pub(crate) capacity: Option<u16>,
    pub(crate) root_slots: u16,
    pub(crate) max_depth: u8,
    pub(crate) max_links: u16,
}

impl Builder {
    /// The mesh to join; nodes of other meshes are not talked to. Default: `default`.
    #[must_use]
    pub fn mesh(mut self, mesh: MeshName) -> Self {
        self.mesh = mesh;
        self
    }

    /// What a person calls this node.
    #[must_use]
    pub fn label(mut self, label: Label) -> Self {
        self.label = Some(label);
        self
    }

    /// Where identity and incarnation are kept. Without one, the identity lasts as long as the node.
    #[must_use]
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    /// A multiaddr to listen on; may be given several times. Default: any port of all interfaces, TCP and QUIC.
    #[must_use]
    pub fn listen(mut self, multiaddr: impl Into<String>) -> Self {
        self.listen.push(multiaddr.into());
        self
    }

    /// A node to join: a multiaddr (with or without `/p2p/…`) or `host:port`; may be given several times.
    #[must_use]
    pub fn bootstrap(mut self, address: impl Into<String>) -> Self {
        self.bootstrap.push(address.into());
        self
    }

    /// Whether to look for nodes on the local network by multicast DNS. Default: yes.
    #[must_use]
    pub const fn mdns(mut self, enabled: bool) -> Self {
        self.mdns = enabled;
        self
    }

    /// How many children this node feeds at most, over all tracks. Default: the mesh-wide ceiling.
    #[must_use]
    pub const fn capacity(mut self, slots: u16) -> Self {
        self.capacity = Some(slots);
        self
    }

    /// How many peers this node feeds directly on a track that it publishes. Default: 30.
    #[must_use]
    pub const fn root_slots(mut self, slots: u16) -> Self {
        self.root_slots = slots;
        self
    }

    /// Deepest level of a tree. Default: 16.
    #[must_use]
    pub const fn max_depth(mut self, levels: u8) -> Self {
        self.max_depth = levels;
        self
    }

    /// Links kept to random peers beside those that trees need. Default: 6; 0 switches them off.
    #[must_use]
    pub const fn max_links(mut self, links: u16) -> Self {
        self.max_links = links;
        self
    }

    /// Starts the node.
    ///
    /// # Errors
    /// [`BuildError`]: nothing is left running.
    pub async fn start(self) -> Result<Node, BuildError> {
        let bootstraps = addresses(&self.bootstrap, host::parse_address)?;
        let listen = if self.listen.is_empty() {
            addresses(&DEFAULT_LISTEN.map(str::to_owned), host::parse_listen_address)?
        } else {
            addresses(&self.listen, host::parse_listen_address)?
        };
        let (data_dir, identity) = match &self.data_dir {
            Some(path) => DataDir::open(path).map(|(dir, identity)| (Some(dir), identity))?,
            None => {
                let failed = |source| BuildError::DataDir { path: "/dev/urandom".into(), source };
                (None, Identity::ephemeral().map_err(failed)?)
            }
        };
        let keys = Ed25519Keys::from_seed(&identity.seed);
        let me = LocalPeer { peer: keys.peer_id(), incarnation: identity.incarnation };
        let hello = Hello {
            version: PROTOCOL_VERSION,
            mesh: self.mesh.clone(),
            incarnation: identity.incarnation,
            instance: fastrand::u64(..),
        };
        let host_config = HostConfig {
            seed: identity.seed,
            mesh: self.mesh.clone(),
            listen,
            mdns: self.mdns,
            limits: Limits::default(),
        };
        let (host, host_events) = host::start(host_config).await.map_err(|error| match error {
            HostError::Listen { address, reason } => BuildError::Listen { address: address.to_string(), reason },
            other => BuildError::Listen { address: "any address".to_owned(), reason: other.to_string() },
        })?;
        let mesh =
            Mesh::new(me, self.mesh_config(bootstraps.len()), Arc::new(keys), fastrand::Rng::new(), Instant::now());
        let (requests, from_users) = mpsc::channel(REQUESTS);
        let (events, _) = broadcast::channel(EVENTS);
        let node = Node { me: mesh.me(), requests, events: events.downgrade() };
        tokio::spawn(core::run(Parts {
            mesh,
            host,
            host_events,
            requests: from_users,
            events,
            data_dir,
            bootstraps,
            hello,
            track_config: TrackConfig::default(),
        }));
        Ok(node)
    }

    fn mesh_config(&self, bootstraps: usize) -> mesh::Config {
        let mut config = mesh::Config::new(self.mesh.clone());
        config.label = self.label.clone();
        config.capacity = self.capacity;
        config.bootstraps = bootstraps;
        config.tree.root_slots = self.root_slots;
        config.tree.max_depth = self.max_depth;
        config.connector.max_links = usize::from(self.max_links);
        config
    }
}

impl Default for Builder {
    fn default() -> Self {
        let mesh = mesh::Config::new(MeshName::new("default").expect("it follows the rules"));
        Self {
            label: None,
            data_dir: None,
            listen: Vec::new(),
            bootstrap: Vec::new(),
            mdns: true,
            capacity: None,
            root_slots: mesh.tree.root_slots,
            max_depth: mesh.tree.max_depth,
            max_links: u16::try_from(mesh.connector.max_links).expect("the default is small"),
            mesh: mesh.mesh,
        }
    }
}

fn addresses(
    texts: &[String],
    parse: fn(&str) -> Result<Multiaddr, host::AddressError>,
) -> Result<Vec<Multiaddr>, BuildError> {
    let invalid =
        |error: host::AddressError| BuildError::Address { address: error.text, reason: error.reason.to_owned() };
    texts.iter().map(|text| parse(text).map_err(invalid)).collect()
}

/// A running node. Clones share it; when all are dropped, the node leaves the mesh.
#[derive(Debug, Clone)]
pub struct Node {
    me: PeerId,
    requests: mpsc::Sender<Request>,
    /// Weak, so that streams of events end with the node and not with the last handle.
    events: broadcast::WeakSender<EventView>,
}

impl Node {
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

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, NodeError> {
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

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> EventStream {
        let events = self.events.upgrade().unwrap_or_else(|| broadcast::Sender::new(1));
        EventStream { events: events.subscribe(), last: None }
    }

    /// Starts publishing a track from object id 0 of a new epoch.
    ///
    /// # Errors
    /// [`NodeError::AlreadyPublished`], [`NodeError::Conflict`], [`NodeError::TooManyTracks`],
    /// [`NodeError::Shutdown`].
    pub async fn publish(&self, track: TrackName, options: PublishOptions) -> Result<Publisher, NodeError> {
        let line = self.ask(|reply| Request::Publish(track.clone(), options.mode, reply)).await??;
        Ok(Publisher { acks: line.acks.subscribe(), line, track, finished: false })
    }

    /// Subscribes to a track, which need not be published yet.
    ///
    /// # Errors
    /// [`NodeError::TooManyTracks`], [`NodeError::Shutdown`].
    pub async fn subscribe(&self, track: TrackName, options: SubscribeOptions) -> Result<Subscriber, NodeError> {
        let (shared, place) = self.ask(|reply| Request::Subscribe(track, options.from, reply)).await??;
        Ok(Subscriber::new(shared, place))
    }

    /// Leaves the mesh: says goodbye, hands the children over, closes everything. At most 3 s.
    pub async fn shutdown(&self) {
        let _ = self.ask(Request::Shutdown).await;
    }
}

/// What happens on a node.
#[derive(Debug)]
pub struct EventStream {
    events: broadcast::Receiver<EventView>,
    last: Option<EventView>,
}

impl EventStream {
    /// The next event; `None` when the node has shut down. A slow reader gets
    /// [`Missed`](Event::Missed), under the number of the event before.
    pub async fn next(&mut self) -> Option<EventView> {
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
}

/// Publishes objects on a track. Dropping it ends the track as [`Publisher::finish`] does.
#[derive(Debug)]
pub struct Publisher {
    track: TrackName,
    line: Arc<Line>,
    acks: watch::Receiver<()>,
    finished: bool,
}

impl Publisher {
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
            self.acks.borrow_and_update();
            self.check()?;
            if let Some(id) = self.try_publish(&payload) {
                return Ok(id);
            }
            // The line holds the bell, so it cannot be gone.
            let _ = self.acks.changed().await;
        }
    }

    fn check(&self) -> Result<(), NodeError> {
        if self.line.is_taken_over() {
            return Err(NodeError::TakenOver(self.track.clone()));
        }
        if self.line.lock().end().is_some() { Err(NodeError::Shutdown) } else { Ok(()) }
    }

    fn try_publish(&self, payload: &Bytes) -> Option<u64> {
        let mut track = self.line.lock();
        if !track.may_publish(payload.len()) {
            return None;
        }
        let id = track.publish(Instant::now(), payload);
        drop(track);
        self.line.data.send_replace(());
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
        if !std::mem::replace(&mut self.finished, true) {
            self.line.lock().finish();
            self.line.data.send_replace(());
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.end();
    }
}
