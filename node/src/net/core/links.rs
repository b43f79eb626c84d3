//! The links of the node: dialling, greeting, one link a pair.

use std::{sync::Arc, time::Instant};

use banyan_gossip::PeerId;

use super::{Core, FromTask, spares::SPARES_SERVED_MAX};
use crate::{
    mesh::{self, Control, Session, supersedes},
    net::{
        activity::Activity,
        control::{self, FromLink, Hello, Outbox},
        data,
        host::{ConnectionId, DialFailure, HostEvent, Multiaddr, Protocol, Stream},
    },
    views::Event,
};

/// A link in use.
#[derive(Debug)]
pub(crate) struct LinkHandle {
    connection: ConnectionId,
    session: Session,
    outbox: Outbox,
    /// What came on data streams of the peer.
    pub(super) activity: Arc<Activity>,
}

impl LinkHandle {
    /// Which of the peer's processes is at the other end.
    pub(super) const fn instance(&self) -> u64 {
        self.session.instance
    }
}

/// A connection that has been greeted.
#[derive(Debug)]
pub(crate) struct Setup {
    peer: PeerId,
    connection: ConnectionId,
    stream: Stream,
    dialer: bool,
    dial: Option<u64>,
    hello: Hello,
}

/// What a dial is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DialFor {
    Peer(PeerId),
    Bootstrap(usize),
    /// A user of the node waits for it.
    Join,
}

impl Core {
    pub(super) fn on_host_event(&mut self, event: HostEvent) {
        let now = Instant::now();
        match event {
            HostEvent::Listening { address } => {
                self.listening.push(address);
                self.tell_addresses(now);
            }
            HostEvent::ListenClosed { address } => {
                self.listening.retain(|known| *known != address);
                self.tell_addresses(now);
            }
            HostEvent::Link { peer, connection, stream, dialer, dial, .. } => {
                self.greet(peer, connection, stream, dialer, dial);
            }
            HostEvent::LinkClosed { peer, connection } => self.on_link_closed(peer, connection),
            HostEvent::Data { peer, stream } => self.read_opening(peer, stream),
            HostEvent::Streams { peer, stream } => self.on_streams_stream(peer, stream),
            HostEvent::Library { peer, stream } => self.on_library_stream(peer, stream),
            HostEvent::DialFailed { dial, reason, .. } => self.on_dial_failed(dial, &reason),
            HostEvent::Discovered { peer, addresses } | HostEvent::Found { peer, addresses, .. } => {
                let addresses = addresses.iter().map(ToString::to_string).collect();
                self.mesh.handle_input(now, mesh::Input::Discovered { peer, addresses });
            }
        }
    }

    fn tell_addresses(&mut self, now: Instant) {
        let addresses = advertised(&self.listening);
        self.mesh.handle_input(now, mesh::Input::Addresses(addresses));
    }

    // --- Dialling ----------------------------------------------------------------------------

    pub(super) fn dial_peer(&mut self, peer: PeerId, addresses: &[String]) {
        let addresses: Vec<Multiaddr> = addresses.iter().filter_map(|address| address.parse().ok()).collect();
        self.dial(DialFor::Peer(peer), Some(peer), addresses);
    }

    pub(super) fn dial_bootstrap(&mut self, index: usize) {
        let addresses = self.bootstraps.get(index).cloned().into_iter().collect();
        self.dial(DialFor::Bootstrap(index), None, addresses);
    }

    fn dial(&mut self, purpose: DialFor, peer: Option<PeerId>, addresses: Vec<Multiaddr>) {
        let dial = self.number_dial(purpose);
        self.try_dial(dial, peer, addresses);
    }

    pub(super) fn number_dial(&mut self, purpose: DialFor) -> u64 {
        let dial = self.next_dial;
        self.next_dial += 1;
        self.dials.insert(dial, purpose);
        dial
    }

    pub(super) fn try_dial(&mut self, dial: u64, peer: Option<PeerId>, addresses: Vec<Multiaddr>) {
        if addresses.is_empty() || !self.host.try_dial(dial, peer, addresses) {
            self.on_dial_failed(dial, &DialFailure::Denied("too many dials at once".to_owned()));
        }
    }

    fn on_dial_failed(&mut self, dial: u64, reason: &DialFailure) {
        let now = Instant::now();
        match self.dials.remove(&dial) {
            Some(DialFor::Peer(peer)) => {
                tracing::debug!(%peer, %reason, "dial failed");
                if !self.links.contains_key(&peer) {
                    self.on_bulk_link_down(&peer);
                }
                let unreachable = matches!(reason, DialFailure::Unreachable(_) | DialFailure::TimedOut);
                self.on_probe_dial_failed(peer);
                self.mesh.handle_input(now, mesh::Input::DialFailed { peer, unreachable });
            }
            Some(DialFor::Bootstrap(index)) => {
                let address = self.bootstraps.get(index).map(ToString::to_string).unwrap_or_default();
                // A name that all nodes share, as that of a headless service, leads to others as well in a while.
                let shared = *reason == DialFailure::SelfDial && address.starts_with("/dns");
                let to_self = *reason == DialFailure::SelfDial && !shared;
                self.mesh.handle_input(now, mesh::Input::BootstrapFailed { index, to_self });
                if shared {
                    return;
                }
                self.emit(Event::BootstrapFailed { address, reason: reason.to_string() });
            }
            Some(DialFor::Join) => self.on_join_failed(dial, &reason.to_string()),
            None => {}
        }
    }

    // --- Greeting ----------------------------------------------------------------------------

    fn greet(&self, peer: PeerId, connection: ConnectionId, mut stream: Stream, dialer: bool, dial: Option<u64>) {
        let (hello, tasks, host) = (self.hello.clone(), self.tasks.clone(), self.host.clone());
        let own = Hello { incarnation: self.mesh.incarnation(), ..hello };
        tokio::spawn(async move {
            let event = match control::greet(&mut stream, &own).await {
                Ok(hello) => FromTask::Greeted(Box::new(Setup { peer, connection, stream, dialer, dial, hello })),
                Err(error) => {
                    host.close_link(peer, connection);
                    FromTask::NotGreeted { dial, reason: error.to_string() }
                }
            };
            let _ = tasks.send(event).await;
        });
    }

    pub(super) fn on_not_greeted(&mut self, dial: Option<u64>, reason: &str) {
        self.met.refused(reason);
        if let Some(dial) = dial {
            self.on_dial_failed(dial, &DialFailure::Handshake(reason.to_owned()));
        }
    }

    /// A connection may become the link to its peer (C6, B11).
    pub(super) fn on_greeted(&mut self, setup: Setup) {
        let Setup { peer, connection, stream, dialer, dial, hello } = setup;
        self.met.greeted(Instant::now(), peer, hello.instance);
        let session = Session { instance: hello.instance, incarnation: hello.incarnation, dialer };
        let purpose = dial.and_then(|dial| self.dials.remove(&dial));
        let bootstrap = match purpose {
            Some(DialFor::Bootstrap(index)) => Some(index),
            _ => None,
        };
        let now = Instant::now();
        if let Some(waiting) = dial.and_then(|dial| self.joining.remove(&dial)) {
            let _ = waiting.send(Ok(peer));
        }
        let mut activity = Arc::default();
        if let Some(old) = self.links.get(&peer) {
            if !supersedes(self.mesh.me(), peer, old.session, session) {
                self.host.close_link(peer, connection);
                if bootstrap.is_some() {
                    let dialer = old.session.dialer;
                    self.mesh.handle_input(now, mesh::Input::LinkUp { peer, dialer, bootstrap });
                }
                return;
            }
            let reborn = old.session.instance != session.instance;
            if !reborn {
                // Data streams of the same life go on.
                activity = Arc::clone(&old.activity);
            }
            self.links.remove(&peer);
            if reborn {
                self.on_bulk_link_down(&peer);
                self.mesh.handle_input(now, mesh::Input::LinkDown { peer });
            }
        }
        let outbox =
            control::run(stream, peer, connection, self.host.clone(), self.inbox.clone(), Arc::clone(&self.meters));
        self.links.insert(peer, LinkHandle { connection, session, outbox, activity });
        self.mesh.handle_input(now, mesh::Input::LinkUp { peer, dialer, bootstrap });
        self.on_streams_link_up(peer);
        self.on_library_link_up(peer);
        self.on_probe_link_up(peer);
        if self.mesh.table().live_len() > self.mesh.config().gossip.table_rows_max / 2 {
            self.host.add_known(peer, self.addresses_of(&peer));
        }
    }

    // --- Messages ----------------------------------------------------------------------------

    pub(super) fn on_link_message(&mut self, from: FromLink) {
        let current = self.links.get(&from.peer).is_some_and(|link| link.connection == from.connection);
        match from.message {
            // What a superseded connection still says was meant for this node all the same.
            Some(message) if self.links.contains_key(&from.peer) => {
                match &message {
                    Control::Probe(probe) => self.on_probe(from.peer, probe.clone()),
                    Control::Probed(probed) => self.on_probed(from.peer, probed.clone()),
                    _ => {}
                }
                self.mesh.handle_input(Instant::now(), mesh::Input::Message { from: from.peer, message });
            }
            None if current => self.on_link_closed(from.peer, from.connection),
            _ => {}
        }
    }

    pub(super) fn send(&mut self, to: PeerId, message: &Control) {
        let Some(link) = self.links.get(&to) else {
            return;
        };
        if !link.outbox.try_send(message)
            && !matches!(
                message,
                Control::Gossip(_) | Control::Ping(_) | Control::Pong(_) | Control::Probe(_) | Control::Probed(_)
            )
        {
            tracing::debug!(peer = %to, "the peer does not keep up with control messages; closing its link");
            self.close_link(&to, "too slow for control messages");
            self.mesh.handle_input(Instant::now(), mesh::Input::LinkDown { peer: to });
        }
    }

    /// Drops the outbox: what is queued is written, then the connection is closed.
    pub(super) fn close_link(&mut self, peer: &PeerId, reason: &str) {
        self.note_silence(peer);
        if self.links.remove(peer).is_some() {
            tracing::debug!(%peer, reason, "closing link");
            self.on_streams_link_down(peer);
            self.mesh.handle_input(Instant::now(), mesh::Input::LinkDown { peer: *peer });
        }
    }

    fn on_link_closed(&mut self, peer: PeerId, connection: ConnectionId) {
        if self.links.get(&peer).is_some_and(|link| link.connection == connection) {
            self.note_silence(&peer);
            self.links.remove(&peer);
            self.on_bulk_link_down(&peer);
            self.mesh.handle_input(Instant::now(), mesh::Input::LinkDown { peer });
        }
    }

    pub(super) fn note_activity(&mut self, now: Instant) {
        let heard = self.links.iter().filter_map(|(peer, link)| Some((*peer, link.activity.take()?)));
        for (peer, (at, times)) in heard.collect::<Vec<_>>() {
            self.mesh.handle_input(now, mesh::Input::Heard { peer, at, times });
        }
    }

    fn read_opening(&self, peer: PeerId, mut stream: Stream) {
        if !self.links.contains_key(&peer) {
            return;
        }
        let (tasks, unopened) = (self.tasks.clone(), Arc::clone(&self.unopened));
        let patient = Arc::strong_count(&unopened) <= SPARES_SERVED_MAX;
        tokio::spawn(async move {
            let opening = data::read_opening(&mut stream, patient).await;
            drop(unopened);
            match opening {
                Ok(opening) => drop(tasks.send(FromTask::ChildOpening { peer, stream, opening }).await),
                Err(error) => tracing::debug!(%peer, %error, "refused a data stream"),
            }
        });
    }
}

/// The addresses that others can use: those of this machine alone only when there are no others.
fn advertised(listening: &[Multiaddr]) -> Vec<String> {
    let local = |address: &&Multiaddr| {
        address.iter().next().is_some_and(|part| match part {
            Protocol::Ip4(ip) => ip.is_loopback(),
            Protocol::Ip6(ip) => ip.is_loopback() || (ip.segments()[0] & 0xffc0) == 0xfe80,
            _ => false,
        })
    };
    let (local, mut wide): (Vec<_>, Vec<_>) = listening.iter().partition(local);
    if wide.is_empty() {
        wide = local;
    }
    // TCP first: a killed process is noticed at once there.
    wide.sort_by_key(|address| address.iter().any(|part| matches!(part, Protocol::Udp(_))));
    let texts = wide.into_iter().map(ToString::to_string);
    texts
        .filter(|text| text.len() <= banyan_gossip::row::ADDRESS_BYTES_MAX)
        .take(banyan_gossip::row::ADDRESSES_MAX)
        .collect()
}
