//! The public handle of a node.

use std::path::PathBuf;

use banyan_gossip::{Label, MeshName, PeerId, TrackName};
use bytes::Bytes;

use crate::{
    relay::Mode,
    views::{EventView, Peers, Status, Tracks, TreeView},
};

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
        todo!()
    }
}

/// A running node. Clones share it.
#[derive(Debug, Clone)]
pub struct Node {}

impl Node {
    /// Starts describing a node.
    #[must_use]
    pub fn builder() -> Builder {
        todo!()
    }

    /// This node's id.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        todo!()
    }

    /// What this node says of itself.
    pub async fn status(&self) -> Result<Status, NodeError> {
        todo!()
    }

    /// Every known peer but oneself.
    pub async fn peers(&self) -> Result<Peers, NodeError> {
        todo!()
    }

    /// Every known track.
    pub async fn tracks(&self) -> Result<Tracks, NodeError> {
        todo!()
    }

    /// The tree of a track as this node's table sees it.
    ///
    /// # Errors
    /// [`NodeError::UnknownTrack`] if no peer publishes or follows it.
    pub async fn tree(&self, track: &TrackName) -> Result<TreeView, NodeError> {
        let _ = track;
        todo!()
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> EventStream {
        todo!()
    }

    /// Starts publishing a track from object id 0 of a new epoch.
    ///
    /// # Errors
    /// [`NodeError::AlreadyPublished`], [`NodeError::Conflict`], [`NodeError::TooManyTracks`].
    pub async fn publish(&self, track: TrackName, options: PublishOptions) -> Result<Publisher, NodeError> {
        let _ = (track, options);
        todo!()
    }

    /// Subscribes to a track, which need not be published yet.
    ///
    /// # Errors
    /// [`NodeError::TooManyTracks`].
    pub async fn subscribe(&self, track: TrackName, options: SubscribeOptions) -> Result<Subscriber, NodeError> {
        let _ = (track, options);
        todo!()
    }

    /// Leaves the mesh: says goodbye, hands the children over, closes everything. At most 3 s.
    pub async fn shutdown(&self) {
        todo!()
    }
}

/// What happens on a node.
#[derive(Debug)]
pub struct EventStream {}

impl EventStream {
    /// The next event; `None` when the node has shut down. A slow reader gets [`crate::views::Event::Missed`].
    pub async fn next(&mut self) -> Option<EventView> {
        todo!()
    }
}

/// Publishes objects on a track. Dropping it ends the track as [`Publisher::finish`] does.
#[derive(Debug)]
pub struct Publisher {}

impl Publisher {
    /// The publishing epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        todo!()
    }

    /// Publishes an object; waits while a reliable track is held up. Returns the object's id.
    ///
    /// # Errors
    /// [`NodeError::ObjectTooLarge`], [`NodeError::TakenOver`], [`NodeError::Shutdown`].
    pub async fn send(&mut self, payload: Bytes) -> Result<u64, NodeError> {
        let _ = payload;
        todo!()
    }

    /// Ends the track; subscribers still get what was sent.
    ///
    /// # Errors
    /// As [`Publisher::send`].
    pub async fn finish(self) -> Result<(), NodeError> {
        todo!()
    }
}

/// Receives the objects of a track. Dropping it unsubscribes.
#[derive(Debug)]
pub struct Subscriber {}

impl Subscriber {
    /// The next item. Cancel-safe. After [`Item::End`], always `End` again.
    pub async fn next(&mut self) -> Item {
        todo!()
    }
}
