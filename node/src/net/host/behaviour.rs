//! What runs on the swarm: our streams, connection limits, identify, Kademlia, mDNS.

use std::{
    collections::{BTreeSet, VecDeque},
    task::{Context, Poll},
    time::Duration,
};

use libp2p::{
    Multiaddr, StreamProtocol,
    connection_limits::{self, ConnectionLimits},
    core::{Endpoint, transport::PortUse},
    identify,
    identity::Keypair,
    kad, mdns,
    swarm::{
        ConnectionDenied, ConnectionId, DialFailure as SwarmDialFailure, FromSwarm, NetworkBehaviour, NotifyHandler,
        ToSwarm, behaviour::toggle::Toggle,
    },
};

use super::{
    HostConfig, discovery,
    handler::{Event, Handler, Protocols, Reply, Role},
    ids::Libp2pId,
};

/// Everything that runs on the swarm.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    limits: connection_limits::Behaviour,
    pub(super) streams: Streams,
    identify: identify::Behaviour,
    pub(super) kad: kad::Behaviour<kad::store::MemoryStore>,
    pub(super) mdns: Toggle<mdns::tokio::Behaviour>,
}

/// How often a connected peer is asked anew who it is.
const IDENTIFY_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// Dials that wait for their connection, Kademlia's included.
const PENDING_OUTGOING_MAX: u32 = 128;

impl Behaviour {
    pub(super) fn new(config: &HostConfig, identity: &Keypair) -> Self {
        let limits = ConnectionLimits::default()
            .with_max_established(Some(config.limits.connections))
            .with_max_established_per_peer(Some(config.limits.connections_per_peer))
            .with_max_pending_incoming(Some(config.limits.pending_incoming))
            .with_max_pending_outgoing(Some(PENDING_OUTGOING_MAX));
        let protocols = Protocols {
            control: protocol(config, "control/1"),
            data: protocol(config, "data/2"),
            streams: protocol(config, "streams/1"),
            library: protocol(config, "library/1"),
        };
        let identify = identify::Config::new(identify_version(config), identity.public())
            .with_agent_version(concat!("banyan/", env!("CARGO_PKG_VERSION")).into())
            .with_interval(IDENTIFY_INTERVAL)
            .with_push_listen_addr_updates(true)
            .with_cache_size(0);
        Self {
            limits: connection_limits::Behaviour::new(limits),
            streams: Streams::new(protocols, config.limits.data_streams),
            identify: identify::Behaviour::new(identify),
            kad: discovery::kademlia(protocol(config, "kad/1"), identity.public().to_peer_id()),
            mdns: Toggle::from(None), // started once the host listens
        }
    }
}

/// What nodes of this mesh say of themselves to identify.
pub(super) fn identify_version(config: &HostConfig) -> String {
    format!("/banyan/{}/1", config.mesh)
}

/// `/banyan/<mesh>/<name>`.
pub(super) fn protocol(config: &HostConfig, name: &str) -> StreamProtocol {
    StreamProtocol::try_from_owned(format!("/banyan/{}/{name}", config.mesh)).expect("it starts with a slash")
}

/// Our control and data streams on all connections.
#[derive(Debug)]
pub(super) struct Streams {
    protocols: Protocols,
    streams_max: usize,
    /// Dials of links that wait for their connection.
    links: BTreeSet<ConnectionId>,
    queue: VecDeque<ToSwarm<(Libp2pId, ConnectionId, Event), Reply>>,
}

impl Streams {
    fn new(protocols: Protocols, streams_max: usize) -> Self {
        Self { protocols, streams_max, links: BTreeSet::new(), queue: VecDeque::new() }
    }

    /// This dial is a link's: its connection will open the control stream.
    pub(super) fn expect_link(&mut self, connection: ConnectionId) {
        self.links.insert(connection);
    }

    /// Opens a data stream. If the connection is gone, `reply` is dropped.
    pub(super) fn open_data(&mut self, peer: Libp2pId, connection: ConnectionId, reply: Reply) {
        let handler = NotifyHandler::One(connection);
        self.queue.push_back(ToSwarm::NotifyHandler { peer_id: peer, handler, event: reply });
    }

    fn handler(&self, role: Role) -> Handler {
        Handler::new(self.protocols.clone(), self.streams_max, role)
    }
}

impl NetworkBehaviour for Streams {
    type ConnectionHandler = Handler;
    type ToSwarm = (Libp2pId, ConnectionId, Event);

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: Libp2pId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler(Role::Listener))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        _: Libp2pId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        let role = if self.links.remove(&connection) { Role::Link } else { Role::Other };
        Ok(self.handler(role))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::DialFailure(SwarmDialFailure { connection_id, .. }) = event {
            self.links.remove(&connection_id);
        }
    }

    fn on_connection_handler_event(&mut self, peer: Libp2pId, connection: ConnectionId, event: Event) {
        self.queue.push_back(ToSwarm::GenerateEvent((peer, connection, event)));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, Reply>> {
        // No waker: the queue grows only within calls after which the swarm is polled again.
        self.queue.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}
