//! The libp2p host: connections, control and data streams, discovery.
//!
//! The only place that knows libp2p. Everything above sees [`PeerId`]s, [`Multiaddr`]s and
//! negotiated [`Stream`]s. One task owns the swarm; a [`Host`] sends it commands through a bounded
//! channel, and it answers with [`HostEvent`]s through another.

mod behaviour;
mod data;
mod dial;
mod dialing;
mod discovery;
mod door;
mod handler;
mod ids;
mod intake;
mod redeem;
mod resolve;
mod stream;
mod swarm;
mod tls;
mod transport;
mod yamux;

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use banyan_gossip::{MeshName, PeerId};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use libp2p::metrics::Registry;

pub use door::{Door, Refusals};
pub use libp2p::{Multiaddr, multiaddr::Protocol, swarm::ConnectionId};
pub(crate) use redeem::{RedeemError, redeem};
pub use resolve::{AddressError, parse_address, parse_listen_address};
pub use stream::Stream;

use handler::{Bulk, Reply};

/// How a host starts.
#[derive(Clone)]
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
    /// Who is admitted.
    pub door: Door,
}

/// Without the secret key.
impl fmt::Debug for HostConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostConfig")
            .field("mesh", &self.mesh)
            .field("listen", &self.listen)
            .field("mdns", &self.mdns)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
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
        Self { connections_per_peer: 8, connections: 1000, pending_incoming: 128, data_streams: 64 }
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
    /// The remote is in another mesh, or has another mesh key.
    #[error("the remote node is not in this mesh, or has another mesh key")]
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
        /// The number of the [`Host::try_dial`] that led here.
        dial: Option<u64>,
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
    /// A peer opened the stream that carries its typed streams.
    Streams {
        /// The remote peer, authenticated.
        peer: PeerId,
        /// The stream.
        stream: Stream,
    },
    /// A peer opened a stream to ask for packages.
    Library {
        /// The remote peer, authenticated.
        peer: PeerId,
        /// The stream.
        stream: Stream,
    },
    /// A [`Host::try_dial`] led to no link.
    DialFailed {
        /// Its number.
        dial: u64,
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
enum Command {
    Dial { dial: u64, peer: Option<PeerId>, addresses: Vec<Multiaddr> },
    OpenData { peer: PeerId, addresses: Vec<Multiaddr>, reply: Reply },
    CloseLink { connection: ConnectionId },
    Disconnect { peer: PeerId },
    Provide { key: [u8; 32] },
    StopProviding { key: [u8; 32] },
    FindProviders { key: [u8; 32] },
    AddKnown { peer: PeerId, addresses: Vec<Multiaddr> },
}

/// Commands that wait for the swarm task.
const COMMANDS_MAX: usize = 256;
/// Events that wait for their reader.
const EVENTS_MAX: usize = 256;
/// Longest [`Host::open_data`].
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);

/// A handle of the swarm task. When all handles are dropped, the host stops.
#[derive(Debug, Clone)]
pub struct Host {
    commands: mpsc::Sender<Command>,
    stop: mpsc::Sender<oneshot::Sender<()>>,
    me: PeerId,
    metrics: Arc<Registry>,
}

/// Starts a host on the current tokio runtime.
///
/// The receiver must be read: when 512 events wait, the host reads no commands, and accepts and
/// negotiates nothing, until some are read; nothing is lost. So the task that reads the events
/// must not await [`Host::open_data`]. When the receiver is dropped, the host stops.
///
/// # Errors
/// [`HostError::Listen`] if addresses were given and none can be listened on.
pub async fn start(config: HostConfig) -> Result<(Host, mpsc::Receiver<HostEvent>), HostError> {
    let (commands, commands_in) = mpsc::channel(COMMANDS_MAX);
    let (stop, stop_in) = mpsc::channel(1);
    let (events, events_out) = mpsc::channel(EVENTS_MAX);
    let mut metrics = Registry::default();
    let (driver, me) = swarm::Driver::new(&config, events, &mut metrics)?;
    tokio::spawn(driver.run(commands_in, stop_in));
    Ok((Host { commands, stop, me, metrics: Arc::new(metrics) }, events_out))
}

impl Host {
    /// This host's own id.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.me
    }

    /// What the swarm counts, under `libp2p_…`.
    pub(super) fn metrics(&self) -> Arc<Registry> {
        Arc::clone(&self.metrics)
    }

    /// Dials a link; answered by exactly one [`HostEvent::Link`] (with `dialer`) or
    /// [`HostEvent::DialFailed`], which carry the number `dial`.
    ///
    /// Addresses may hold DNS names, resolved anew each time, and `/p2p/…`; at most 16 are used. TCP is tried
    /// before QUIC; addresses of a known peer at once, of an unknown one in turn. `false`: the
    /// command queue is full, nothing was done and nothing will be answered.
    #[must_use]
    pub fn try_dial(&self, dial: u64, peer: Option<PeerId>, addresses: Vec<Multiaddr>) -> bool {
        self.commands.try_send(Command::Dial { dial, peer, addresses }).is_ok()
    }

    /// Opens a data stream: on a data connection, which is dialled if there is none and closed 10 s
    /// after its last stream, or with the last link; on the link's connection if that cannot be dialled
    /// within 1 s.
    ///
    /// Takes at most 15 s. Must not be awaited by the task that reads the events.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open_data(&self, peer: PeerId, addresses: Vec<Multiaddr>) -> Result<Stream, OpenError> {
        self.open(peer, addresses, Bulk::Data).await
    }

    /// Opens the stream that carries typed streams, as [`Host::open_data`] opens a data stream.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open_streams(&self, peer: PeerId, addresses: Vec<Multiaddr>) -> Result<Stream, OpenError> {
        self.open(peer, addresses, Bulk::Streams).await
    }

    /// Opens a stream to ask for packages, as [`Host::open_data`] opens a data stream.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open_library(&self, peer: PeerId, addresses: Vec<Multiaddr>) -> Result<Stream, OpenError> {
        self.open(peer, addresses, Bulk::Library).await
    }

    async fn open(&self, peer: PeerId, addresses: Vec<Multiaddr>, bulk: Bulk) -> Result<Stream, OpenError> {
        let open = async {
            match self.try_open(peer, addresses.clone(), bulk).await {
                // The data connection was just being closed, unused: the next one is new.
                Err(OpenError::Closed) => self.try_open(peer, addresses, bulk).await,
                other => other,
            }
        };
        timeout(OPEN_TIMEOUT, open).await.unwrap_or(Err(OpenError::TimedOut))
    }

    async fn try_open(&self, peer: PeerId, addresses: Vec<Multiaddr>, bulk: Bulk) -> Result<Stream, OpenError> {
        let (reply, answer) = oneshot::channel();
        let reply = Reply { bulk, answer: reply };
        self.commands.send(Command::OpenData { peer, addresses, reply }).await.map_err(|_| OpenError::Stopped)?;
        // Without an answer the connection closed, or the host stopped: then the next send fails.
        answer.await.unwrap_or(Err(OpenError::Closed))
    }

    /// Closes one connection of a peer, within 1 s. `false`: the command queue is full.
    pub fn close_link(&self, _peer: PeerId, connection: ConnectionId) -> bool {
        self.commands.try_send(Command::CloseLink { connection }).is_ok()
    }

    /// Closes all connections of a peer. `false`: the command queue is full.
    pub fn disconnect(&self, peer: PeerId) -> bool {
        self.commands.try_send(Command::Disconnect { peer }).is_ok()
    }

    /// Announces through Kademlia that this host provides `key`. `false`: the command queue is full.
    pub fn provide(&self, key: [u8; 32]) -> bool {
        self.commands.try_send(Command::Provide { key }).is_ok()
    }

    /// Takes [`Host::provide`] back; others forget it within 30 min. `false`: the command queue is full.
    pub fn stop_providing(&self, key: [u8; 32]) -> bool {
        self.commands.try_send(Command::StopProviding { key }).is_ok()
    }

    /// Looks for providers of `key`; answered by any number of [`HostEvent::Found`] within 10 s. `false`: the
    /// command queue is full.
    pub fn find_providers(&self, key: [u8; 32]) -> bool {
        self.commands.try_send(Command::FindProviders { key }).is_ok()
    }

    /// Feeds Kademlia's routing table with a peer of this mesh, and from then on with all that connect: for meshes in
    /// which gossip does not tell everybody of everybody. `false`: the command queue is full.
    pub fn add_known(&self, peer: PeerId, addresses: Vec<Multiaddr>) -> bool {
        self.commands.try_send(Command::AddKnown { peer, addresses }).is_ok()
    }

    /// Closes all connections and stops; takes at most 1.5 s. The events need not be read meanwhile.
    pub async fn shutdown(&self) {
        let (done, stopped) = oneshot::channel();
        if self.stop.send(done).await.is_ok() {
            let _ = stopped.await;
        }
    }
}
