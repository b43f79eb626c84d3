//! Finding peers: mDNS on the local network, Kademlia beyond the gossiped table.
//!
//! mDNS. A lost query or answer must not hide a peer for long, so the network is queried every 2 s
//! while fewer than [`MANY_PEERS`] peers are known, and every 30 s after that. libp2p fixes the
//! interval at construction, so the behaviour is rebuilt at that threshold and told again what is
//! listened on. (An answer that is heard resets the timer of everybody, so that a network sees one
//! query an interval, not one a node.) It starts with the first listening address, because an
//! answer without addresses finds nobody. libp2p tells a peer once; here, a peer without
//! a connection is told again every [`TELL_AGAIN`], because its first dial may have failed.
//! Expiry says nothing about liveness: it only ends that repetition.
//!
//! Kademlia. Server mode; no periodic bootstrap, because one costs a connection to every peer of a
//! small mesh. What is learnt about peers goes into the routing table in batches, because each
//! insertion into a small table starts a bootstrap; a lookup inserts at once what has waited. Without
//! a lookup it goes there only when somebody asks, or in a mesh that is larger than the gossiped tables: in
//! a smaller one each node would dial dozens of others for nothing half a minute after its start.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use banyan_gossip::PeerId;
use libp2p::{
    Multiaddr, StreamProtocol, Swarm,
    core::{Endpoint, transport::ListenerId},
    identify,
    kad::{self, store::RecordStore},
    mdns,
    swarm::{ConnectionId, FromSwarm, NetworkBehaviour, NewListenAddr, behaviour::toggle::Toggle},
};

use super::{
    HostEvent,
    behaviour::Behaviour,
    ids::{self, Libp2pId},
    resolve,
};

/// mDNS: queries while few peers are known, and after that.
const QUERY_FEW: Duration = Duration::from_secs(2);
const QUERY_MANY: Duration = Duration::from_secs(30);
/// mDNS: from this many peers on, queries are rare; below half of it, frequent again.
const MANY_PEERS: usize = 16;
/// mDNS: most peers remembered (about 300 bytes each).
const FOUND_MAX: usize = 4096;
/// mDNS: how often an unconnected peer is told again.
const TELL_AGAIN: Duration = Duration::from_secs(30);
/// mDNS: how often a failed start is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Addresses kept of one peer.
const ADDRESSES_MAX: usize = 16;

/// Kademlia: peers that wait to be put into the routing table.
const LEARNT_MAX: usize = 1024;
/// Kademlia: how often they are put there.
const LEARN_EVERY: Duration = Duration::from_secs(30);
/// Kademlia: lookups at once.
const LOOKUPS_MAX: usize = 64;
/// Kademlia: at least as many as the peers of a small mesh, so that each knows all.
const BUCKET_SIZE: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
const PROVIDER_TTL: Duration = Duration::from_secs(30 * 60);
const PROVIDER_REPUBLISH: Duration = Duration::from_secs(10 * 60);

/// Kademlia as the module says. Its memory: 1,024 keys of 20 providers, and the routing table.
pub(super) fn kademlia(protocol: StreamProtocol, me: Libp2pId) -> kad::Behaviour<kad::store::MemoryStore> {
    let mut config = kad::Config::new(protocol);
    config
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_kbucket_size(BUCKET_SIZE)
        .set_periodic_bootstrap_interval(None)
        .set_query_timeout(LOOKUP_TIMEOUT)
        .set_caching(kad::Caching::Disabled)
        // Providers are stored, other records are refused.
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_record_ttl(Some(PROVIDER_TTL))
        .set_provider_publication_interval(Some(PROVIDER_REPUBLISH));
    let mut kademlia = kad::Behaviour::with_config(me, kad::store::MemoryStore::new(me), config);
    kademlia.set_mode(Some(kad::Mode::Server));
    kademlia
}

/// The state of both.
#[derive(Debug)]
pub(super) struct Discovery {
    mdns_wanted: bool,
    mdns_interval: Duration,
    mdns_retry: Option<Instant>,
    tell_again: Instant,
    found: BTreeMap<Libp2pId, BTreeSet<Multiaddr>>,
    /// Peers found before mDNS was rebuilt, not found again yet: nobody will tell that they expired.
    unconfirmed: BTreeSet<Libp2pId>,
    unconfirmed_until: Instant,
    listening: BTreeMap<Multiaddr, ListenerId>,
    identify_version: String,
    kad_protocol: StreamProtocol,
    learnt: BTreeMap<Libp2pId, BTreeSet<Multiaddr>>,
    learn_at: Instant,
    /// The mesh is larger than the gossiped tables.
    wide: bool,
    lookups: Vec<(kad::QueryId, [u8; 32])>,
}

impl Discovery {
    pub(super) fn new(now: Instant, mdns: bool, identify_version: String, kad_protocol: StreamProtocol) -> Self {
        Self {
            mdns_wanted: mdns,
            mdns_interval: QUERY_FEW,
            mdns_retry: None,
            tell_again: now + TELL_AGAIN,
            found: BTreeMap::new(),
            unconfirmed: BTreeSet::new(),
            unconfirmed_until: now,
            listening: BTreeMap::new(),
            identify_version,
            kad_protocol,
            learnt: BTreeMap::new(),
            learn_at: now,
            wide: false,
            lookups: Vec::new(),
        }
    }

    /// The swarm listens on `address`, and has told its behaviours.
    pub(super) fn on_listen(
        &mut self,
        now: Instant,
        swarm: &mut Swarm<Behaviour>,
        listener: ListenerId,
        address: Multiaddr,
    ) {
        self.listening.insert(address, listener);
        if self.mdns_wanted && !swarm.behaviour().mdns.is_enabled() && self.mdns_retry.is_none() {
            self.start_mdns(now, swarm);
        }
    }

    pub(super) fn on_listen_closed(&mut self, address: &Multiaddr) {
        self.listening.remove(address);
    }

    fn start_mdns(&mut self, now: Instant, swarm: &mut Swarm<Behaviour>) {
        let config = mdns::Config { query_interval: self.mdns_interval, ..mdns::Config::default() };
        match mdns::tokio::Behaviour::new(config, *swarm.local_peer_id()) {
            Ok(mut behaviour) => {
                for (addr, &listener_id) in &self.listening {
                    behaviour.on_swarm_event(FromSwarm::NewListenAddr(NewListenAddr { listener_id, addr }));
                }
                swarm.behaviour_mut().mdns = Toggle::from(Some(behaviour));
                self.mdns_retry = None;
                self.unconfirmed = self.found.keys().copied().collect();
                self.unconfirmed_until = now + 2 * self.mdns_interval;
            }
            Err(error) => {
                tracing::warn!("mDNS does not start, it is tried again: {error}");
                self.mdns_retry = Some(now + RETRY);
            }
        }
    }

    /// To be called about every second. Gives peers to be told.
    pub(super) fn on_tick(&mut self, now: Instant, swarm: &mut Swarm<Behaviour>) -> Vec<HostEvent> {
        if self.wide && now >= self.learn_at && !self.learnt.is_empty() {
            self.learn(now, swarm);
        }
        if !self.mdns_wanted {
            return Vec::new();
        }
        if self.mdns_retry.is_some_and(|at| now >= at) {
            self.start_mdns(now, swarm);
        }
        if now >= self.unconfirmed_until {
            for peer in std::mem::take(&mut self.unconfirmed) {
                self.found.remove(&peer);
            }
        }
        let wanted = match self.found.len() {
            MANY_PEERS.. => QUERY_MANY,
            count if count < MANY_PEERS / 2 => QUERY_FEW,
            _ => self.mdns_interval,
        };
        if wanted != self.mdns_interval && swarm.behaviour().mdns.is_enabled() {
            self.mdns_interval = wanted;
            self.start_mdns(now, swarm);
        }
        if now < self.tell_again {
            return Vec::new();
        }
        self.tell_again = now + TELL_AGAIN;
        let unconnected = self.found.iter().filter(|(peer, _)| !swarm.is_connected(peer));
        unconnected.filter_map(|(peer, addresses)| discovered(peer, addresses)).collect()
    }

    pub(super) fn on_mdns(&mut self, event: mdns::Event) -> Vec<HostEvent> {
        match event {
            mdns::Event::Discovered(list) => {
                let mut changed = BTreeSet::new();
                for (peer, address) in list {
                    self.unconfirmed.remove(&peer);
                    let address = resolve::bare(&address);
                    if resolve::dialable(&address).is_err() || !note(&mut self.found, FOUND_MAX, peer, address) {
                        continue;
                    }
                    changed.insert(peer);
                }
                changed.iter().filter_map(|peer| discovered(peer, self.found.get(peer)?)).collect()
            }
            mdns::Event::Expired(list) => {
                for (peer, address) in list {
                    if let Some(addresses) = self.found.get_mut(&peer) {
                        addresses.remove(&resolve::bare(&address));
                        if addresses.is_empty() {
                            self.found.remove(&peer);
                        }
                    }
                }
                Vec::new()
            }
        }
    }

    /// `remotes` are the addresses of the connections. A peer's loopback addresses are of use to its own
    /// machine only.
    pub(super) fn on_identify(&mut self, event: identify::Event, remotes: &BTreeMap<ConnectionId, Multiaddr>) {
        let identify::Event::Received { connection_id, peer_id, info } = event else { return };
        if info.protocol_version == self.identify_version && info.protocols.contains(&self.kad_protocol) {
            let is_local = remotes.get(&connection_id).is_some_and(resolve::is_loopback);
            let mut addresses = info.listen_addrs;
            addresses.retain(|address| is_local || !resolve::is_loopback(address));
            self.add_known(peer_id, addresses);
        }
    }

    /// Others will ask this node for whom they do not know by gossip.
    pub(super) const fn widen(&mut self) {
        self.wide = true;
    }

    /// A peer of this mesh and where it can be dialled: for the routing table.
    pub(super) fn add_known(&mut self, peer: Libp2pId, addresses: Vec<Multiaddr>) {
        for address in addresses.iter().map(resolve::bare) {
            if resolve::dialable(&address).is_ok() {
                note(&mut self.learnt, LEARNT_MAX, peer, address);
            }
        }
    }

    fn learn(&mut self, now: Instant, swarm: &mut Swarm<Behaviour>) {
        self.learn_at = now + LEARN_EVERY;
        let kad = &mut swarm.behaviour_mut().kad;
        for (peer, addresses) in std::mem::take(&mut self.learnt) {
            for address in addresses {
                kad.add_address(&peer, address);
            }
        }
    }

    pub(super) fn provide(&mut self, now: Instant, swarm: &mut Swarm<Behaviour>, key: [u8; 32]) {
        self.learn(now, swarm);
        if let Err(error) = swarm.behaviour_mut().kad.start_providing(key.to_vec().into()) {
            tracing::warn!("the key is not provided: {error}");
        }
    }

    pub(super) fn find_providers(&mut self, now: Instant, swarm: &mut Swarm<Behaviour>, key: [u8; 32]) {
        let under_way = self.lookups.iter().any(|(_, other)| *other == key);
        if under_way || self.lookups.len() >= LOOKUPS_MAX {
            return;
        }
        self.learn(now, swarm);
        self.lookups.push((swarm.behaviour_mut().kad.get_providers(key.to_vec().into()), key));
    }

    pub(super) fn on_kad(&mut self, event: kad::Event, swarm: &mut Swarm<Behaviour>) -> Vec<HostEvent> {
        match event {
            kad::Event::InboundRequest { request: kad::InboundRequest::AddProvider { record: Some(mut record) } } => {
                record.addresses.retain(|address| resolve::dialable(address).is_ok());
                record.addresses.truncate(ADDRESSES_MAX);
                if record.key.as_ref().len() == 32
                    && let Err(error) = swarm.behaviour_mut().kad.store_mut().add_provider(record)
                {
                    tracing::debug!("a provider record is not kept: {error}");
                }
                Vec::new()
            }
            kad::Event::InboundRequest { request: kad::InboundRequest::GetProvider { .. } } => {
                // Somebody does not know by gossip.
                self.wide = true;
                Vec::new()
            }
            kad::Event::OutboundQueryProgressed {
                id, result: kad::QueryResult::GetProviders(result), step, ..
            } => {
                let Some(index) = self.lookups.iter().position(|(lookup, _)| *lookup == id) else { return Vec::new() };
                let key = self.lookups[index].1;
                if step.last {
                    self.lookups.swap_remove(index);
                }
                let Ok(kad::GetProvidersOk::FoundProviders { providers, .. }) = result else { return Vec::new() };
                let me = *swarm.local_peer_id();
                let others = providers.into_iter().filter(|provider| *provider != me);
                others.filter_map(|provider| found(swarm, key, provider)).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Remembers an address within the bounds. `false`: nothing is new, or there is no room.
fn note(
    peers: &mut BTreeMap<Libp2pId, BTreeSet<Multiaddr>>,
    peers_max: usize,
    peer: Libp2pId,
    address: Multiaddr,
) -> bool {
    if peers.len() >= peers_max && !peers.contains_key(&peer) {
        return false;
    }
    let addresses = peers.entry(peer).or_default();
    addresses.len() < ADDRESSES_MAX && addresses.insert(address)
}

fn discovered(peer: &Libp2pId, addresses: &BTreeSet<Multiaddr>) -> Option<HostEvent> {
    let peer: PeerId = ids::from_libp2p(peer)?;
    Some(HostEvent::Discovered { peer, addresses: addresses.iter().cloned().collect() })
}

/// Kademlia tells providers without their addresses, which it keeps with the query and in its store.
fn found(swarm: &mut Swarm<Behaviour>, key: [u8; 32], provider: Libp2pId) -> Option<HostEvent> {
    let peer = ids::from_libp2p(&provider)?;
    let kad = &mut swarm.behaviour_mut().kad;
    let no_connection = ConnectionId::new_unchecked(0);
    let of_query = kad.handle_pending_outbound_connection(no_connection, Some(provider), &[], Endpoint::Dialer);
    let mut addresses: BTreeSet<Multiaddr> = of_query.unwrap_or_default().iter().map(resolve::bare).collect();
    for record in kad.store_mut().providers(&key.to_vec().into()) {
        if record.provider == provider {
            addresses.extend(record.addresses.iter().map(resolve::bare));
        }
    }
    let addresses = addresses.into_iter().filter(|address| resolve::dialable(address).is_ok());
    Some(HostEvent::Found { key, peer, addresses: addresses.take(ADDRESSES_MAX).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_bounded_in_peers_and_addresses() {
        let mut found = BTreeMap::new();
        let address = |port: usize| format!("/ip4/10.0.0.1/tcp/{port}").parse().expect("an address");
        let first = Libp2pId::random();
        assert!((1..=ADDRESSES_MAX).all(|port| note(&mut found, FOUND_MAX, first, address(port))));
        assert!(!note(&mut found, FOUND_MAX, first, address(ADDRESSES_MAX + 1)));
        assert!((1..FOUND_MAX).all(|port| note(&mut found, FOUND_MAX, Libp2pId::random(), address(port))));
        assert!(!note(&mut found, FOUND_MAX, Libp2pId::random(), address(1)));
        assert_eq!((found.len(), found[&first].len()), (FOUND_MAX, ADDRESSES_MAX));
    }
}
