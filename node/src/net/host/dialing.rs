//! The swarm task's part that dials: links, and connections for data streams.

use std::{collections::BTreeMap, time::Instant};

use banyan_gossip::PeerId;
use libp2p::{
    Multiaddr,
    swarm::{
        ConnectionId, DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};

use super::{
    DialFailure, HostEvent,
    data::Decision,
    dial::{self, DialId, Purpose},
    handler::Reply,
    ids, resolve,
    swarm::Driver,
};

impl Driver {
    pub(super) fn dial_link(&mut self, dial: u64, peer: Option<PeerId>, addresses: Vec<Multiaddr>) {
        if peer.is_some_and(|peer| ids::to_libp2p(&peer) == *self.swarm.local_peer_id()) {
            self.outbox.push_back(HostEvent::DialFailed { dial, peer, addresses, reason: DialFailure::SelfDial });
            return;
        }
        let purpose = Purpose::Link { dial, peer, addresses: addresses.clone() };
        let Some(id) = self.dials.start(purpose) else {
            let reason = DialFailure::Denied("too many dials are under way".into());
            self.outbox.push_back(HostEvent::DialFailed { dial, peer, addresses, reason });
            return;
        };
        self.resolve(id, addresses);
    }

    fn resolve(&mut self, id: DialId, addresses: Vec<Multiaddr>) {
        self.lookups.spawn(async move {
            let (resolved, reason) = resolve::resolve(addresses).await;
            (id, resolved, reason)
        });
    }

    pub(super) fn on_resolved(&mut self, id: DialId, resolved: &[Multiaddr], reason: Option<String>) {
        let Some(dial) = self.dials.get_mut(id) else { return };
        if let Some(reason) = reason {
            dial.note(DialFailure::BadAddress(reason));
        }
        let peer = dial.peer().map(|peer| ids::to_libp2p(&peer));
        match self.own.plan(Instant::now(), peer, resolved) {
            Ok(attempts) => dial.attempts = attempts,
            Err(failure) => {
                if resolved.is_empty() && dial.failure.is_some() {
                    // the reason why nothing resolved tells more
                } else {
                    dial.note(failure);
                }
            }
        }
        self.next_attempt(id);
    }

    /// Dials the next addresses, or ends the dial.
    pub(super) fn next_attempt(&mut self, id: DialId) {
        loop {
            let Some(dial) = self.dials.get_mut(id) else { return };
            let Some(attempt) = dial.attempts.pop_front() else { return self.end_dial(id) };
            let knows_peer = attempt.peer.is_some();
            let options = match (attempt.peer, attempt.addresses) {
                (Some(peer), addresses) => {
                    DialOpts::peer_id(peer).addresses(addresses).condition(PeerCondition::Always).build()
                }
                (None, mut addresses) => match addresses.pop() {
                    Some(address) => DialOpts::unknown_peer_id().address(address).build(),
                    None => continue,
                },
            };
            let connection = options.connection_id();
            if matches!(dial.purpose, Purpose::Link { .. }) {
                self.swarm.behaviour_mut().streams.expect_link(connection);
            }
            match self.swarm.dial(options) {
                Ok(()) => return self.dials.attach(id, connection),
                Err(error) => self.note_failure(id, &error, knows_peer),
            }
        }
    }

    pub(super) fn note_failure(&mut self, id: DialId, error: &DialError, knows_peer: bool) {
        let (failure, own) = dial::classify(error, knows_peer);
        for address in &own {
            self.own.learn(Instant::now(), address);
        }
        if let Some(dial) = self.dials.get_mut(id) {
            dial.note(failure);
        }
    }

    fn end_dial(&mut self, id: DialId) {
        let Some(dial) = self.dials.finish(id) else { return };
        let reason = dial.failure.unwrap_or_else(|| DialFailure::BadAddress("no address is known".into()));
        match dial.purpose {
            Purpose::Link { dial, peer, addresses } => {
                tracing::debug!(?peer, ?addresses, "no link: {reason}");
                self.outbox.push_back(HostEvent::DialFailed { dial, peer, addresses, reason });
            }
            Purpose::Data { peer, carrier } => {
                let link = self.link_of(&peer);
                for reply in self.data[carrier].failed(Instant::now(), peer, link, &reason) {
                    if let Some(link) = link {
                        self.open_on(peer, link, reply);
                    }
                }
            }
        }
    }

    pub(super) fn open_data(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, reply: Reply) {
        let link = self.link_of(&peer);
        let carrier = reply.bulk.carrier();
        match self.data[carrier].request(Instant::now(), peer, !addresses.is_empty(), link, reply) {
            Decision::Open(connection, reply) => self.open_on(peer, connection, reply),
            Decision::Done => {}
            Decision::Dial => match self.dials.start(Purpose::Data { peer, carrier }) {
                Some(id) => self.resolve(id, addresses),
                None => {
                    let failure = DialFailure::Denied("too many dials are under way".into());
                    for reply in self.data[carrier].failed(Instant::now(), peer, link, &failure) {
                        if let Some(link) = link {
                            self.open_on(peer, link, reply);
                        }
                    }
                }
            },
        }
    }

    pub(super) fn open_on(&mut self, peer: PeerId, connection: ConnectionId, reply: Reply) {
        self.swarm.behaviour_mut().streams.open_data(ids::to_libp2p(&peer), connection, reply);
    }

    pub(super) fn on_data_overdue(&mut self) {
        let links = &self.links;
        let now = Instant::now();
        let overdue = self.data.iter_mut().flat_map(|data| data.overdue(now, |peer| newest_link(links, peer)));
        for (peer, link, replies) in overdue.collect::<Vec<_>>() {
            for reply in replies {
                self.open_on(peer, link, reply);
            }
        }
    }

    fn link_of(&self, peer: &PeerId) -> Option<ConnectionId> {
        newest_link(&self.links, peer)
    }

    /// The connection that a link's dial waits for will not become a link.
    pub(super) fn fail_link(&mut self, connection: ConnectionId, failure: DialFailure) {
        let Some(id) = self.dials.detach(connection) else { return };
        if let Some(dial) = self.dials.get_mut(id) {
            dial.note(failure);
        }
        self.next_attempt(id);
    }
}

fn newest_link(links: &BTreeMap<ConnectionId, PeerId>, peer: &PeerId) -> Option<ConnectionId> {
    links.iter().rev().find(|(_, other)| *other == peer).map(|(connection, _)| *connection)
}
