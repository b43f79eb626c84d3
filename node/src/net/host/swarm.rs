//! The task that owns the swarm: commands in, events out.
//!
//! It never waits for whoever reads the events: they queue here, and when [`OUTBOX_MAX`] of them wait,
//! the task stops reading commands and polling the swarm until some are read. Established
//! connections have tasks of their own and flow on meanwhile.

use std::{
    collections::{BTreeMap, VecDeque},
    future::pending,
    num::NonZeroU8,
    time::{Duration, Instant},
};

use banyan_gossip::PeerId;
use futures::StreamExt;
use libp2p::{
    Multiaddr, Swarm,
    core::{ConnectedPoint, transport::ListenerId},
    identity::Keypair,
    metrics::{Metrics, Recorder, Registry},
    swarm::{self, ConnectionId, SwarmEvent},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep_until, timeout},
};

use super::{
    Command, DialFailure, HostConfig, HostError, HostEvent,
    behaviour::{self, Behaviour, BehaviourEvent},
    data::DataConnections,
    dial::{DialId, Dials, OwnAddresses, Purpose},
    discovery::Discovery,
    door::{Door, Refusals},
    handler::{Bulk, Event},
    ids::{self, Libp2pId},
    resolve, transport,
};

/// Events that wait to be read, beside those in the channel.
const OUTBOX_MAX: usize = 256;
/// An unused connection is closed after this time.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Addresses of one peer that are dialled at once.
const DIAL_CONCURRENCY: NonZeroU8 = NonZeroU8::new(8).expect("not zero");
/// Inbound streams of one connection that negotiate their protocol.
const NEGOTIATING_MAX: usize = 64;
/// A shutdown waits this long for connections to close.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(1500);
/// Strangers are warned of at most this often.
const STRANGERS_PAUSE: Duration = Duration::from_secs(60);
/// Slow housekeeping.
const TICK: Duration = Duration::from_secs(1);

/// The swarm and what this host knows beside it.
pub(super) struct Driver {
    pub(super) swarm: Swarm<Behaviour>,
    listeners: Vec<ListenerId>,
    events: mpsc::Sender<HostEvent>,
    pub(super) outbox: VecDeque<HostEvent>,
    pub(super) dials: Dials,
    pub(super) lookups: JoinSet<(DialId, Vec<Multiaddr>, Option<String>)>,
    pub(super) own: OwnAddresses,
    /// By [`Bulk::carrier`].
    pub(super) data: [DataConnections; Bulk::CARRIERS],
    /// Connections with a control stream.
    pub(super) links: BTreeMap<ConnectionId, PeerId>,
    /// Connections without one that carry bulk streams.
    carriers: BTreeMap<ConnectionId, PeerId>,
    /// Where connections lead; of a dialled one, the address dialled.
    remotes: BTreeMap<ConnectionId, Multiaddr>,
    discovery: Discovery,
    /// Incoming connections that never became one: strangers, garbage, too slow.
    failed_incoming: u64,
    door: Door,
    /// When strangers were last warned of, and how many there had been by then.
    strangers: (Option<Instant>, Refusals),
    metrics: Metrics,
}

impl Driver {
    /// Opens the listeners. Counts under names in `registry`.
    pub(super) fn new(
        config: &HostConfig,
        events: mpsc::Sender<HostEvent>,
        registry: &mut Registry,
    ) -> Result<(Self, PeerId), HostError> {
        let mut seed = config.seed;
        let identity =
            Keypair::ed25519_from_bytes(&mut seed).map_err(|error| HostError::Transport(error.to_string()))?;
        let swarm_config = swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(IDLE_TIMEOUT)
            .with_dial_concurrency_factor(DIAL_CONCURRENCY)
            .with_max_negotiating_inbound_streams(NEGOTIATING_MAX);
        let behaviour = Behaviour::new(config, &identity);
        let me = identity.public().to_peer_id();
        let mut swarm = Swarm::new(transport::build(&identity, config)?, behaviour, me, swarm_config);

        let (mut listeners, mut failure) = (Vec::new(), None);
        for address in &config.listen {
            match listen(&mut swarm, address) {
                Ok(listener) => listeners.push(listener),
                Err(reason) => {
                    tracing::warn!("cannot listen on {address}: {reason}");
                    failure = failure.or(Some(HostError::Listen { address: address.clone(), reason }));
                }
            }
        }
        if let (true, Some(failure)) = (listeners.is_empty(), failure) {
            return Err(failure);
        }

        let version = behaviour::identify_version(config);
        let discovery = Discovery::new(Instant::now(), config.mdns, version, behaviour::protocol(config, "kad/1"));
        let driver = Self {
            swarm,
            listeners,
            events,
            outbox: VecDeque::new(),
            dials: Dials::default(),
            lookups: JoinSet::new(),
            own: OwnAddresses::default(),
            data: Default::default(),
            links: BTreeMap::new(),
            carriers: BTreeMap::new(),
            remotes: BTreeMap::new(),
            discovery,
            failed_incoming: 0,
            door: config.door.clone(),
            strangers: Default::default(),
            metrics: Metrics::new(registry),
        };
        Ok((driver, ids::from_libp2p(&me).expect("the key was made from an Ed25519 seed")))
    }

    /// Runs until all handles or the reader of the events are gone, or a shutdown is asked for.
    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut stop: mpsc::Receiver<oneshot::Sender<()>>,
    ) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let events = self.events.clone();
        let done = loop {
            let room = self.outbox.len() < OUTBOX_MAX;
            let deadline = self.data.iter().filter_map(DataConnections::deadline).min();
            tokio::select! {
                permit = events.reserve(), if !self.outbox.is_empty() => match permit {
                    Ok(permit) => permit.send(self.outbox.pop_front().expect("not empty: checked above")),
                    Err(_) => break None,
                },
                () = events.closed() => break None,
                done = stop.recv() => break done,
                command = commands.recv(), if room => match command {
                    Some(command) => self.on_command(command),
                    None => break None,
                },
                event = self.swarm.select_next_some(), if room => self.on_swarm_event(event),
                Some(lookup) = self.lookups.join_next(), if room => {
                    if let Ok((id, addresses, reason)) = lookup {
                        self.on_resolved(id, &addresses, reason);
                    }
                }
                () = async {
                    match deadline {
                        Some(deadline) => sleep_until(deadline.into()).await,
                        None => pending().await,
                    }
                }, if room => self.on_data_overdue(),
                _ = tick.tick(), if room => {
                    self.warn_of_strangers();
                    let events = self.discovery.on_tick(Instant::now(), &mut self.swarm);
                    self.outbox.extend(events);
                }
            }
        };
        self.shut_down().await;
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    /// Says once a minute that somebody is turned away.
    fn warn_of_strangers(&mut self) {
        let (now, refusals) = (Instant::now(), self.door.refusals());
        let (told, before) = self.strangers;
        if refusals == before || told.is_some_and(|told| now < told + STRANGERS_PAUSE) {
            return;
        }
        self.strangers = (Some(now), refusals);
        tracing::warn!(
            refused = refusals.refused - before.refused,
            ignored = refusals.ignored - before.ignored,
            "connections with nodes of another mesh, or without this mesh's key"
        );
    }

    async fn shut_down(&mut self) {
        for listener in std::mem::take(&mut self.listeners) {
            self.swarm.remove_listener(listener); // which also ends the answers to mDNS queries
        }
        for peer in self.swarm.connected_peers().copied().collect::<Vec<_>>() {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let closed = async {
            while self.swarm.connected_peers().next().is_some() || self.swarm.listeners().next().is_some() {
                let event = self.swarm.select_next_some().await;
                self.on_swarm_event(event);
                while let Some(event) = self.outbox.pop_front() {
                    let _ = self.events.try_send(event); // whoever shuts down may no longer read
                }
            }
        };
        let _ = timeout(SHUTDOWN_TIMEOUT, closed).await;
    }

    fn on_command(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Dial { dial, peer, addresses } => self.dial_link(dial, peer, addresses),
            Command::OpenData { peer, addresses, reply } => self.open_data(peer, addresses, reply),
            Command::CloseLink { connection, .. } => {
                self.swarm.close_connection(connection);
            }
            Command::Disconnect { peer } => {
                let _ = self.swarm.disconnect_peer_id(ids::to_libp2p(&peer)); // Err: not connected
            }
            Command::Provide { key } => self.discovery.provide(now, &mut self.swarm, key),
            Command::StopProviding { key } => self.swarm.behaviour_mut().kad.stop_providing(&key.to_vec().into()),
            Command::FindProviders { key } => self.discovery.find_providers(now, &mut self.swarm, key),
            Command::AddKnown { peer, addresses } => {
                self.discovery.widen();
                self.discovery.add_known(ids::to_libp2p(&peer), addresses);
            }
        }
    }

    // The swarm's events.

    fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        // An address that others claim for this host would be counted under a name of their choice; the same
        // goes for what they say to identify.
        match &event {
            SwarmEvent::NewExternalAddrCandidate { .. } | SwarmEvent::NewExternalAddrOfPeer { .. } => {}
            SwarmEvent::Behaviour(BehaviourEvent::Kad(event)) => self.metrics.record(event),
            event => self.metrics.record(event),
        }
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Streams((peer, connection, event))) => {
                self.on_stream_event(&peer, connection, event);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Identify(event)) => {
                self.discovery.on_identify(event, &self.remotes);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Kad(event)) => {
                let events = self.discovery.on_kad(event, &mut self.swarm);
                self.outbox.extend(events);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Mdns(event)) => {
                let events = self.discovery.on_mdns(event);
                self.outbox.extend(events);
            }
            SwarmEvent::NewListenAddr { listener_id, address } => {
                self.own.listen(address.clone());
                self.discovery.on_listen(Instant::now(), &mut self.swarm, listener_id, address.clone());
                if resolve::dialable(&address).is_ok() {
                    self.outbox.push_back(HostEvent::Listening { address });
                }
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => self.on_listen_closed(address),
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                if let Err(error) = reason {
                    tracing::warn!("a listener failed: {error}");
                }
                for address in addresses {
                    self.on_listen_closed(address);
                }
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!("a listener has trouble: {error}"),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_established(&peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                let cause = cause.map(|cause| cause.to_string());
                self.on_closed(&peer_id, connection_id, cause);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                if let Some(id) = self.dials.detach(connection_id) {
                    let knows_peer = self.dials.get_mut(id).is_some_and(|dial| dial.peer().is_some());
                    self.note_failure(id, &error, knows_peer);
                    self.next_attempt(id);
                }
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                self.failed_incoming += 1;
                let count = self.failed_incoming;
                tracing::debug!(count, from = %send_back_addr, "an incoming connection failed: {error}");
            }
            _ => {}
        }
    }

    fn on_listen_closed(&mut self, address: Multiaddr) {
        self.discovery.on_listen_closed(&address);
        if self.own.unlisten(&address) && resolve::dialable(&address).is_ok() {
            self.outbox.push_back(HostEvent::ListenClosed { address });
        }
    }

    fn on_established(&mut self, peer: &Libp2pId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        self.remotes.insert(connection, resolve::bare(endpoint.get_remote_address()));
        let Some((id, dial)) = self.dials.waiting_for(connection) else { return };
        // A link's dial waits on for its control stream.
        if let Purpose::Data { peer: wanted, carrier } = dial.purpose {
            debug_assert_eq!(ids::from_libp2p(peer), Some(wanted), "the swarm checks the peer of a dial");
            self.dials.detach(connection);
            self.dials.finish(id);
            self.carriers.insert(connection, wanted);
            for reply in self.data[carrier].connected(Instant::now(), wanted, connection) {
                self.open_on(wanted, connection, reply);
            }
        }
    }

    fn on_stream_event(&mut self, peer: &Libp2pId, connection: ConnectionId, event: Event) {
        let Some(peer) = ids::from_libp2p(peer) else {
            self.swarm.close_connection(connection); // cannot be: the transport refuses other keys
            return;
        };
        match event {
            Event::Control { stream, dialer } => {
                let finished = self.dials.detach(connection).and_then(|id| self.dials.finish(id));
                let dial = finished.and_then(|finished| match finished.purpose {
                    Purpose::Link { dial, .. } => Some(dial),
                    Purpose::Data { .. } => None,
                });
                self.links.insert(connection, peer);
                let address = self.remotes.get(&connection).cloned().unwrap_or_else(Multiaddr::empty);
                self.outbox.push_back(HostEvent::Link { peer, connection, stream, dialer, dial, address });
            }
            Event::ControlFailed(failure) => {
                self.swarm.close_connection(connection);
                self.fail_link(connection, failure);
            }
            Event::Bulk(bulk, stream) => {
                if !self.links.contains_key(&connection) {
                    self.carriers.insert(connection, peer);
                }
                self.outbox.push_back(match bulk {
                    Bulk::Data => HostEvent::Data { peer, stream },
                    Bulk::Streams => HostEvent::Streams { peer, stream },
                    Bulk::Library => HostEvent::Library { peer, stream },
                });
            }
            // What flows at all answers by then.
            Event::BulkTimedOut if self.carriers.contains_key(&connection) => {
                self.swarm.close_connection(connection);
            }
            Event::BulkTimedOut => {}
        }
    }

    fn on_closed(&mut self, peer: &Libp2pId, connection: ConnectionId, cause: Option<String>) {
        self.remotes.remove(&connection);
        let Some(peer) = ids::from_libp2p(peer) else { return };
        self.data.iter_mut().for_each(|data| data.closed(Instant::now(), peer, connection));
        self.carriers.remove(&connection);
        if self.links.remove(&connection).is_some() {
            self.outbox.push_back(HostEvent::LinkClosed { peer, connection });
            if !self.links.values().any(|other| *other == peer) {
                self.close_carriers(peer);
            }
        }
        let cause = cause.unwrap_or_else(|| "the connection was closed".into());
        self.fail_link(connection, DialFailure::Denied(format!("closed before the link was up: {cause}")));
    }

    /// Bulk serves a link. What a broken network leaves of these connections swallows new streams for as long
    /// as TCP waits between its tries, well after the peer is back.
    fn close_carriers(&mut self, peer: PeerId) {
        self.data.iter_mut().for_each(|data| data.forget(&peer));
        for (connection, _) in self.carriers.iter().filter(|(_, other)| **other == peer) {
            self.swarm.close_connection(*connection);
        }
    }
}

/// Starts one listener. libp2p lets two processes of a user listen on the same TCP port and share its
/// connections at random, so a fixed port is tried first without that.
fn listen(swarm: &mut Swarm<Behaviour>, address: &Multiaddr) -> Result<ListenerId, String> {
    let shape = resolve::Shape::of(address)?;
    if let (resolve::Name::Ip(ip), false, 1..) = (&shape.host, shape.quic, shape.port) {
        std::net::TcpListener::bind((*ip, shape.port)).map_err(|error| error.to_string())?;
    }
    match swarm.listen_on(address.clone()) {
        Ok(listener) => Ok(listener),
        Err(libp2p::TransportError::MultiaddrNotSupported(_)) => Err("no kind of address to listen on".into()),
        Err(libp2p::TransportError::Other(error)) => Err(error.to_string()),
    }
}
