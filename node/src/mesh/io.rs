//! What goes into a mesh node and what comes out, and its numbers.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use banyan_gossip::{Label, MeshName, PeerId, RelayPolicy, TrackName, op::UserEvent};
use banyan_tree::Right;

use super::{ConnectorConfig, Control, LinkConfig, offload::Volume};
use crate::relay::Terms;

/// Slots of a node that does not say how many it offers, and the most that any peer is believed to
/// offer.
pub const CAPACITY_CEILING: u16 = 32;

/// What a mesh node is to be.
#[derive(Debug, Clone)]
pub struct Config {
    /// The mesh.
    pub mesh: MeshName,
    /// What a person calls this node.
    pub label: Option<Label>,
    /// What this node says of itself in its row, beyond the label.
    pub tags: BTreeMap<String, String>,
    /// Slots offered over all tracks; `None` stands for [`CAPACITY_CEILING`].
    pub capacity: Option<u16>,
    /// Whether this node relays tracks that it does not follow.
    pub relay: RelayPolicy,
    /// How many bootstrap addresses there are.
    pub bootstraps: usize,
    /// The peer table.
    pub gossip: banyan_gossip::Config,
    /// The trees.
    pub tree: banyan_tree::Config,
    /// The links.
    pub links: LinkConfig,
    /// Whom to dial.
    pub connector: ConnectorConfig,
    /// Most links, whoever dialled them.
    pub links_total_max: usize,
    /// How long an unused link is kept before it is offered for closing.
    pub link_idle: Duration,
    /// How long leaving may take.
    pub leave_timeout: Duration,
}

impl Config {
    /// The defaults for a mesh.
    #[must_use]
    pub fn new(mesh: MeshName) -> Self {
        Self {
            gossip: banyan_gossip::Config::new(mesh.clone()),
            mesh,
            label: None,
            tags: BTreeMap::new(),
            capacity: None,
            relay: RelayPolicy::default(),
            bootstraps: 0,
            tree: banyan_tree::Config::default(),
            links: LinkConfig::default(),
            connector: ConnectorConfig::default(),
            links_total_max: 512,
            link_idle: Duration::from_secs(30),
            leave_timeout: Duration::from_secs(2),
        }
    }
}

/// What happened outside.
#[derive(Debug)]
pub enum Input {
    /// A link is up; there is at most one to each peer.
    LinkUp {
        /// The peer.
        peer: PeerId,
        /// Whether this node dialled it.
        dialer: bool,
        /// The bootstrap address that led to it.
        bootstrap: Option<usize>,
    },
    /// A link is gone.
    LinkDown {
        /// The peer.
        peer: PeerId,
    },
    /// Bytes came from a linked peer on data streams.
    Heard {
        /// The peer.
        peer: PeerId,
        /// When they came last.
        at: Instant,
        /// How many times since this was told before.
        times: u32,
    },
    /// A message came over a link.
    Message {
        /// The peer at the other end.
        from: PeerId,
        /// What it said.
        message: Control,
    },
    /// A dial of a peer failed.
    DialFailed {
        /// The peer.
        peer: PeerId,
        /// Whether nobody answered, rather than somebody else or a refusal.
        unreachable: bool,
    },
    /// A dial of a bootstrap address failed.
    BootstrapFailed {
        /// Which.
        index: usize,
        /// Whether it leads to this node itself.
        to_self: bool,
    },
    /// Discovery found a peer.
    Discovered {
        /// The peer.
        peer: PeerId,
        /// Its addresses.
        addresses: Vec<String>,
    },
    /// The addresses at which others reach this node.
    Addresses(Vec<String>),
    /// What the ring of a track holds: `oldest..next`.
    Ring {
        /// The track.
        track: TrackName,
        /// Oldest object held.
        oldest: u64,
        /// The object that comes next.
        next: u64,
    },
    /// The data stream from a parent has brought objects up to `next`. Matters while a parent is on trial.
    Brought {
        /// The track.
        track: TrackName,
        /// The ticket of the stream.
        ticket: u64,
        /// The id after the newest object that came in it.
        next: u64,
    },
    /// What this node has forwarded of a track since it started; at most once a second.
    Forwarded {
        /// The track.
        track: TrackName,
        /// To all children there ever were.
        total: Volume,
        /// To each that is fed now.
        children: Vec<(PeerId, Volume)>,
    },
    /// A child opened its data stream.
    ChildOpened {
        /// The track.
        track: TrackName,
        /// The child.
        peer: PeerId,
        /// The ticket that it shows.
        ticket: u64,
    },
    /// A child's data stream is gone.
    ChildClosed {
        /// The track.
        track: TrackName,
        /// The child.
        peer: PeerId,
        /// Its ticket.
        ticket: u64,
    },
    /// The data stream from a parent works.
    ParentOpened {
        /// The track.
        track: TrackName,
        /// The parent.
        peer: PeerId,
        /// The ticket it gave.
        ticket: u64,
    },
    /// A parent passed on what the origin of a track has not published. `ParentClosed` need not follow.
    ParentLied {
        /// The track.
        track: TrackName,
        /// The parent.
        peer: PeerId,
    },
    /// The data stream from a parent broke, or was refused.
    ParentClosed {
        /// The track.
        track: TrackName,
        /// The parent.
        peer: PeerId,
        /// The ticket it gave.
        ticket: u64,
        /// Why, for people.
        reason: String,
    },
}

/// What is to be done outside.
#[derive(Debug)]
pub enum Output {
    /// Send a message over the link to a peer.
    Send {
        /// The peer.
        to: PeerId,
        /// The message.
        message: Control,
    },
    /// Dial a peer for a link; answer with `LinkUp` or `DialFailed`.
    Dial {
        /// The peer.
        peer: PeerId,
        /// Where it may be.
        addresses: Vec<String>,
    },
    /// Dial a bootstrap address; answer with `LinkUp` or `BootstrapFailed`.
    DialBootstrap(usize),
    /// Close the link to a peer, after what was sent before.
    CloseLink {
        /// The peer.
        peer: PeerId,
        /// Why, for people.
        reason: &'static str,
    },
    /// A peer asks this node to open the stream that carries typed streams.
    StreamsWanted {
        /// The peer.
        peer: PeerId,
    },
    /// Store this incarnation durably before going on.
    PersistIncarnation(u64),
    /// Open the data stream from a parent.
    Open {
        /// The track.
        track: TrackName,
        /// The parent.
        parent: PeerId,
        /// The ticket to show.
        ticket: u64,
        /// The epoch that the parent follows.
        epoch: u64,
        /// Who publishes it.
        origin: PeerId,
        /// How, by the origin's own word.
        terms: Terms,
        /// Distance from the origin, with this parent.
        depth: u8,
    },
    /// Close the data stream from a parent.
    Close {
        /// The track.
        track: TrackName,
        /// The parent.
        parent: PeerId,
        /// Its ticket.
        ticket: u64,
        /// Whether it may still owe this node something; if not, tell it so first.
        owed: bool,
    },
    /// Feed a child.
    Serve {
        /// The track.
        track: TrackName,
        /// The child.
        child: PeerId,
        /// Its ticket.
        ticket: u64,
    },
    /// Refuse a child's data stream, or stop feeding it.
    Drop {
        /// The track.
        track: TrackName,
        /// The child.
        child: PeerId,
        /// Its ticket.
        ticket: u64,
    },
    /// Something that people may want to know.
    Event(Event),
    /// The node has left the mesh; nothing more will come.
    Left,
}

/// What people may want to know.
#[derive(Debug)]
pub enum Event {
    /// From the peer table.
    Gossip(banyan_gossip::Event),
    /// Somebody told the whole mesh something.
    User(UserEvent),
    /// From the tree of a track.
    Tree(TrackName, banyan_tree::Event),
    /// A peer passed on, or promised, what the origin of the track has not signed.
    Liar(TrackName, PeerId),
    /// A link is up.
    LinkUp(PeerId),
    /// A link is gone.
    LinkDown(PeerId, &'static str),
    /// A track of this node is gone: it was left, or ended and nobody needs it.
    TrackClosed(TrackName),
}

/// Why a request of the node's own user cannot be met.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// This node publishes the track already.
    #[error("the track is already being published by this node")]
    AlreadyPublished,
    /// Another live peer publishes it.
    #[error("the track is published by {0}")]
    PublishedBy(PeerId),
    /// The track's name does not fit the row any more.
    #[error("too many tracks for one row")]
    TooManyTracks,
    /// The node is leaving.
    #[error("the node is leaving")]
    Leaving,
    /// The node's rules do not allow it.
    #[error("the rules of this node do not let it {0} the track")]
    Forbidden(Right),
}
