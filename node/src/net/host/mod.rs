//! The libp2p host: connections, control and data streams, discovery.
//!
//! The only place that knows libp2p. Everything above sees [`PeerId`]s, [`Multiaddr`]s and
//! negotiated [`Stream`]s. One task owns the swarm; a [`Host`] sends it commands through a bounded
//! channel, and it answers with [`HostEvent`]s through another.

mod stream;

use banyan_gossip::{MeshName, PeerId};
use tokio::sync::{mpsc, oneshot};

pub use libp2p::{Multiaddr, multiaddr::Protocol, swarm::ConnectionId};
pub use stream::Stream;

/// How a host starts.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// The Ed25519 secret key of this peer.
    pub seed: [u8; 32],
    /// The mesh: part of every protocol name, so that other meshes' nodes find nothing to talk to.
    pub mesh: MeshName,
    /// Addresses to listen on: `/ip4/…/tcp/<port>` and `/ip4/…/udp/<port>/quic-v1`; port 0 lets
    /// the system choose. Empty: this host only dials.
    pub listen: Vec<Multiaddr>,
    /// Whether to find peers on the local network by mDNS.
    pub mdns: bool,
    /// Bounds.
    pub limits: Limits,
}

/// Bounds of a host; the defaults hold for a LAN node.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Established connections to one peer.
    pub connections_per_peer: u32,
    /// Established connections in all; one costs a file descriptor and about 100 KiB, plus at most
    /// 256 KiB of receive window a stream.
    pub connections: u32,
    /// Incoming connections whose handshake is not finished.
    pub pending_incoming: u32,
    /// Data streams of one connection, both directions counted apart.
    pub data_streams: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections_per_peer: 4, connections: 1000, pending_incoming: 128, data_streams: 64 }
    }
}

/// Why a host could not start.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// None of the addresses could be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The first address that failed.
        address: Multiaddr,
        /// What the system said.
        reason: String,
    },
    /// The transport could not be set up.
    #[error("cannot set up the transport: {0}")]
    Transport(String),
}

/// Why a dial led to no link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DialFailure {
    /// No address answered.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// An address is none that this host can dial, or no name resolved.
    #[error("bad address: {0}")]
    BadAddress(String),
    /// Another peer than the expected one answered.
    #[error("{found} answered instead of the expected peer")]
    WrongPeer {
        /// Who answered.
        found: PeerId,
    },
    /// The remote does not speak the control protocol of this mesh.
    #[error("the remote node is not in this mesh")]
    NotThisMesh,
    /// The address leads to this host itself.
    #[error("the address leads to this node itself")]
    SelfDial,
    /// A limit of this host, here or remote, forbids the connection.
    #[error("denied: {0}")]
    Denied(String),
    /// The remote answered, but its handshake failed: no libp2p node, or no Ed25519 key.
    #[error("handshake failed: {0}")]
    Handshake(String),
    /// The connection or the negotiation took too long.
    #[error("timed out")]
    TimedOut,
}

/// Why no data stream could be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The peer could not be dialled and has no link.
    #[error("cannot reach the peer: {0}")]
    Dial(#[from] DialFailure),
    /// The connection closed meanwhile.
    #[error("the connection closed")]
    Closed,
    /// The peer speaks no data protocol of this mesh.
    #[error("the peer does not speak the data protocol")]
    Unsupported,
    /// No answer in time.
    #[error("timed out")]
    TimedOut,
    /// As many streams as allowed are open, or being opened.
    #[error("too many streams")]
    TooMany,
    /// The host has stopped.
    #[error("the host has stopped")]
    Stopped,
}

/// What a host tells.
#[derive(Debug)]
#[non_exhaustive]
pub enum HostEvent {
    /// A real, bound address: never unspecified, never that of an outgoing connection.
    Listening {
        /// The address, without `/p2p/…`.
        address: Multiaddr,
    },
    /// An address is no longer listened on.
    ListenClosed {
        /// The address, as it was told.
        address: Multiaddr,
    },
    /// A control stream is negotiated: a link.
    Link {
        /// The remote peer, authenticated.
        peer: PeerId,
        /// The connection.
        connection: ConnectionId,
        /// The control stream.
        stream: Stream,
        /// Whether this host dialled.
        dialer: bool,
        /// The remote's address; of an incoming connection its port says nothing.
        address: Multiaddr,
    },
    /// The connection of a link is gone.
    LinkClosed {
        /// The remote peer.
        peer: PeerId,
        /// The connection.
        connection: ConnectionId,
    },
    /// A peer opened a data stream.
    Data {
        /// The remote peer, authenticated.
        peer: PeerId,
        /// The stream.
        stream: Stream,
    },
    /// A [`Host::try_dial`] led to no link.
    DialFailed {
        /// The peer, as it was asked for.
        peer: Option<PeerId>,
        /// The addresses, as they were asked for.
        addresses: Vec<Multiaddr>,
        /// Why.
        reason: DialFailure,
    },
    /// mDNS found a peer. It may be of another mesh: dial to find out.
    Discovered {
        /// The peer.
        peer: PeerId,
        /// Where, without `/p2p/…`.
        addresses: Vec<Multiaddr>,
    },
    /// Kademlia found a provider. An empty list of addresses: none is known.
    Found {
        /// The key that was looked up.
        key: [u8; 32],
        /// The provider.
        peer: PeerId,
        /// Where, without `/p2p/…`.
        addresses: Vec<Multiaddr>,
    },
}

/// What the swarm task is told.
#[derive(Debug)]
#[expect(dead_code, reason = "the swarm task is not written yet")]
pub(crate) enum Command {
    Dial { peer: Option<PeerId>, addresses: Vec<Multiaddr> },
    OpenData { peer: PeerId, addresses: Vec<Multiaddr>, reply: oneshot::Sender<Result<Stream, OpenError>> },
    CloseLink { peer: PeerId, connection: ConnectionId },
    Disconnect { peer: PeerId },
    Provide { key: [u8; 32] },
    StopProviding { key: [u8; 32] },
    FindProviders { key: [u8; 32] },
    AddKnown { peer: PeerId, addresses: Vec<Multiaddr> },
    Shutdown { done: oneshot::Sender<()> },
}

/// A handle of the swarm task. When all handles are dropped, the host stops.
#[derive(Debug, Clone)]
pub struct Host {
    commands: mpsc::Sender<Command>,
    me: PeerId,
}

/// Starts a host on the current tokio runtime.
///
/// The receiver must be read; when it is full (256 events), the host stops to accept and to
/// negotiate until it is read, and nothing is lost.
///
/// # Errors
/// [`HostError::Listen`] if addresses were given and none can be listened on.
#[expect(clippy::unused_async, reason = "stub")]
pub async fn start(config: HostConfig) -> Result<(Host, mpsc::Receiver<HostEvent>), HostError> {
    let _ = config;
    Err(HostError::Transport("not written yet".into()))
}

impl Host {
    /// This host's own id.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.me
    }

    /// Dials a link; answered by [`HostEvent::Link`] or [`HostEvent::DialFailed`].
    ///
    /// Addresses may hold DNS names, resolved anew each time, and `/p2p/…`. `false`: the command queue
    /// is full, nothing was done and nothing will be answered.
    #[must_use]
    pub fn try_dial(&self, peer: Option<PeerId>, addresses: Vec<Multiaddr>) -> bool {
        self.commands.try_send(Command::Dial { peer, addresses }).is_ok()
    }

    /// Opens a data stream: on a connection of its own, else on the link's.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open_data(&self, peer: PeerId, addresses: Vec<Multiaddr>) -> Result<Stream, OpenError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::OpenData { peer, addresses, reply }).await.map_err(|_| OpenError::Stopped)?;
        answer.await.map_err(|_| OpenError::Stopped)?
    }

    /// Closes one connection of a peer. `false`: the command queue is full.
    pub fn close_link(&self, peer: PeerId, connection: ConnectionId) -> bool {
        self.commands.try_send(Command::CloseLink { peer, connection }).is_ok()
    }

    /// Closes all connections of a peer. `false`: the command queue is full.
    pub fn disconnect(&self, peer: PeerId) -> bool {
        self.commands.try_send(Command::Disconnect { peer }).is_ok()
    }

    /// Announces through Kademlia that this host provides `key`. `false`: the command queue is full.
    pub fn provide(&self, key: [u8; 32]) -> bool {
        self.commands.try_send(Command::Provide { key }).is_ok()
    }

    /// Takes [`Host::provide`] back. `false`: the command queue is full.
    pub fn stop_providing(&self, key: [u8; 32]) -> bool {
        self.commands.try_send(Command::StopProviding { key }).is_ok()
    }

    /// Looks for providers of `key`; answered by any number of [`HostEvent::Found`]. `false`: the
    /// command queue is full.
    pub fn find_providers(&self, key: [u8; 32]) -> bool {
        self.commands.try_send(Command::FindProviders { key }).is_ok()
    }

    /// Feeds Kademlia's routing table. `false`: the command queue is full.
    pub fn add_known(&self, peer: PeerId, addresses: Vec<Multiaddr>) -> bool {
        self.commands.try_send(Command::AddKnown { peer, addresses }).is_ok()
    }

    /// Closes all connections and stops.
    pub async fn shutdown(&self) {
        let (done, stopped) = oneshot::channel();
        if self.commands.send(Command::Shutdown { done }).await.is_ok() {
            let _ = stopped.await;
        }
    }
}

/// Reads an address as people write it: a multiaddr (with or without `/p2p/…`) or `host:port`.
///
/// # Errors
/// [`AddressError`], one line.
pub fn parse_address(text: &str) -> Result<Multiaddr, AddressError> {
    text.parse().map_err(|_| AddressError { text: text.chars().take(160).collect(), reason: "not a multiaddr" })
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no address: {reason}")]
pub struct AddressError {
    /// The text, cut to 160 characters.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}
