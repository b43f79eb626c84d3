//! What the program does between its machine and its links.

use banyan_gossip::PeerId;
use banyan_node::mesh::{self, Control, Input, Output, Session, supersedes};

use crate::{
    conn::{ConnId, Packet},
    host::{Arrival, DialFor, LinkEnd},
    world::World,
};

impl World {
    pub(crate) fn handle(&mut self, host: u32, arrival: Arrival) {
        match arrival {
            Arrival::Timer => self.on_timer(host),
            Arrival::Tick => self.on_tick(host),
            Arrival::Packet { conn, other, link, packet } => self.on_packet(host, other, conn, link, packet),
            Arrival::Dialled { from, from_life, dial, session } => {
                self.on_dialled(host, from, from_life, dial, session);
            }
            Arrival::DialDone { to, dial, conn, session } => {
                let purpose = self.process(host).and_then(|process| process.dials.remove(&dial));
                match purpose {
                    Some(purpose) => self.on_greeted(host, to, conn, session, Some(purpose)),
                    // It was given up meanwhile.
                    None => self.close_end(conn, host),
                }
            }
            Arrival::DialFailed { dial } => self.on_dial_failed(host, dial),
            Arrival::Writable(conn) => self.pump(host, conn),
            Arrival::AckDue(conn) => self.send_ack(host, conn),
        }
    }

    pub(crate) fn process(&mut self, host: u32) -> Option<&mut crate::host::Process> {
        self.hosts[host as usize].process.as_mut()
    }

    pub(crate) fn input(&mut self, host: u32, input: Input) {
        let now = self.instant();
        if let Some(process) = self.process(host) {
            process.mesh.handle_input(now, input);
        }
    }

    fn on_dial_failed(&mut self, host: u32, dial: u64) {
        match self.process(host).and_then(|process| process.dials.remove(&dial)) {
            Some(DialFor::Peer(peer)) => self.input(host, Input::DialFailed { peer, unreachable: true }),
            Some(DialFor::Bootstrap(index)) => {
                let to_self = self.process(host).is_some_and(|process| process.bootstraps[index] == host);
                self.input(host, Input::BootstrapFailed { index, to_self });
            }
            None => {}
        }
    }

    /// A connection may become the link to its peer (C6, B11).
    pub(crate) fn on_greeted(
        &mut self,
        host: u32,
        other: u32,
        conn: ConnId,
        session: Session,
        dialled: Option<DialFor>,
    ) {
        let (me, peer) = (self.peer(host), self.peer(other));
        let bootstrap = match dialled {
            Some(DialFor::Bootstrap(index)) => Some(index),
            _ => None,
        };
        let session = Session { dialer: dialled.is_some(), ..session };
        let old = self.process(host).and_then(|process| process.links.get(&other).copied());
        if let Some(old) = old {
            if !supersedes(me, peer, old.session, session) {
                self.close_end(conn, host);
                if bootstrap.is_some() {
                    self.input(host, Input::LinkUp { peer, dialer: old.session.dialer, bootstrap });
                }
                return;
            }
            if let Some(process) = self.process(host) {
                process.links.remove(&other);
            }
            self.close_end(old.conn, host);
            if old.session.instance != session.instance {
                self.input(host, Input::LinkDown { peer });
            }
        }
        if let Some(process) = self.process(host) {
            process.links.insert(other, LinkEnd { conn, session });
        }
        self.input(host, Input::LinkUp { peer, dialer: session.dialer, bootstrap });
    }

    fn on_packet(&mut self, host: u32, other: u32, id: ConnId, link: bool, packet: Packet) {
        match packet {
            Packet::Control(message) => {
                // What a superseded connection still says was meant for this node all the same.
                let from = self.peer(other);
                let linked = self.process(host).is_some_and(|process| process.links.contains_key(&other));
                if linked && (!self.lies(host) || self.lie_to(host, from, &message)) {
                    self.input(host, Input::Message { from, message });
                }
            }
            Packet::Fin if link => self.on_link_closed(host, other, id),
            Packet::Fin => self.on_stream_closed(host, id),
            Packet::Opening(bytes) => self.on_opening(host, other, id, &bytes),
            Packet::Frames(frames) => self.on_frames(host, id, frames),
            Packet::Ack(frame) => self.on_ack(host, id, frame),
        }
        self.bury_conn(id);
    }

    fn on_link_closed(&mut self, host: u32, other: u32, conn: ConnId) {
        let peer = self.peer(other);
        let Some(process) = self.process(host) else {
            return;
        };
        if process.links.get(&other).is_some_and(|link| link.conn == conn) {
            process.links.remove(&other);
            self.input(host, Input::LinkDown { peer });
        }
    }

    fn close_link(&mut self, host: u32, peer: &PeerId) {
        let Some(other) = self.host_of(peer) else {
            return;
        };
        let link = self.process(host).and_then(|process| process.links.remove(&other));
        if let Some(link) = link {
            self.close_end(link.conn, host);
            self.input(host, Input::LinkDown { peer: *peer });
        }
    }

    // --- Outputs -----------------------------------------------------------------------------

    pub(crate) fn carry_out(&mut self, host: u32) {
        loop {
            let Some(output) = self.process(host).and_then(|process| process.mesh.poll_output()) else {
                return;
            };
            let place = &mut self.hosts[host as usize];
            if let Some(left) = &mut place.doomed {
                *left -= 1;
                if *left == 0 {
                    // In the midst of a step: what comes after this output is lost.
                    return self.crash(host);
                }
            }
            self.carry_out_one(host, output);
        }
    }

    fn carry_out_one(&mut self, host: u32, output: Output) {
        self.say(|| format!("{host} -> {}", self.words(&output)));
        match output {
            // A liar's table speaks for it.
            Output::Send { message: Control::Gossip(_), .. } if self.lies(host) => {}
            Output::Send { to, message } => {
                self.check_accept(host, &to, &message);
                self.send(host, &to, message);
            }
            Output::Dial { peer, .. } => match self.host_of(&peer) {
                Some(to) => self.dial(host, to, DialFor::Peer(peer)),
                None => self.input(host, Input::DialFailed { peer, unreachable: true }),
            },
            Output::DialBootstrap(index) => {
                let to = self.process(host).and_then(|process| process.bootstraps.get(index).copied());
                if let Some(to) = to {
                    self.dial(host, to, DialFor::Bootstrap(index));
                }
            }
            Output::CloseLink { peer, .. } => self.close_link(host, &peer),
            // Hosts of this world open no typed streams.
            Output::StreamsWanted { .. } => {}
            Output::PersistIncarnation(incarnation) => {
                let place = &mut self.hosts[host as usize];
                place.disk.write(incarnation);
                if place.doomed.is_some() {
                    // The next start finds the incarnation before; nobody may have heard of this one.
                    self.say(|| format!("{host} has written incarnation {incarnation} and not synced it"));
                    return self.power_off(host);
                }
                place.disk.sync();
                self.checks.born(host, incarnation);
            }
            Output::Open { track, parent, ticket, epoch, .. } => self.open_pull(host, track, &parent, ticket, epoch),
            Output::Close { track, parent, ticket, .. } => self.close_pull(host, &track, &parent, ticket),
            Output::Serve { track, child, ticket } => self.serve(host, &track, &child, ticket),
            Output::Drop { track, child, ticket } => self.drop_child(host, &track, &child, ticket),
            Output::Event(event) => self.on_event(host, event),
            Output::Left => self.crash(host),
        }
    }

    /// An output in words, with the numbers of hosts for their ids.
    fn words(&self, output: &Output) -> String {
        let words = match output {
            Output::Send { message: Control::Gossip(_), to } => format!("gossip to {to:?}"),
            Output::Dial { peer, .. } => format!("dial {peer:?}"),
            output => format!("{output:?}"),
        };
        let mut parts = words.split("PeerId(");
        let mut short = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (id, rest) = part.split_once(')').unwrap_or((part, ""));
            let host = id.parse().ok().and_then(|peer| self.host_of(&peer));
            short += &host.map_or_else(|| id.to_owned(), |host| format!("#{host}"));
            short += rest;
        }
        short
    }

    pub(crate) fn lies(&self, host: u32) -> bool {
        self.hosts[host as usize].process.as_ref().is_some_and(|process| process.liar.is_some())
    }

    pub(crate) fn send(&mut self, host: u32, to: &PeerId, message: Control) {
        let Some(other) = self.host_of(to) else {
            return;
        };
        let Some(link) = self.process(host).and_then(|process| process.links.get(&other).copied()) else {
            return;
        };
        let heals = matches!(message, Control::Gossip(_) | Control::Ping(_) | Control::Pong(_));
        let (gossip, tree) = (matches!(message, Control::Gossip(_)), matches!(message, Control::Tree { .. }));
        let (message, size) = self.encode(message);
        let traffic = &mut self.hosts[host as usize].traffic;
        traffic.messages += 1;
        traffic.bytes += size as u64;
        traffic.gossip_bytes += if gossip { size as u64 } else { 0 };
        traffic.tree_bytes += if tree { size as u64 } else { 0 };
        let Some(side) = self.conns.get(link.conn).map(|conn| 1 - conn.side(host)) else {
            return;
        };
        if !self.transmit(link.conn, side, Packet::Control(message), size) && !heals {
            self.close_link(host, to);
        }
    }

    /// Encodes a message if every message is to be; returns it with its size on the wire.
    fn encode(&mut self, message: Control) -> (Control, usize) {
        if self.options.wire {
            let bytes = message.encode();
            self.trace.note_bytes(&bytes);
            let message = Control::decode(&bytes).expect("what is encoded can be decoded");
            return (message, bytes.len() + 4);
        }
        let size = encoded_len(&message) + 4;
        (message, size)
    }

    fn on_event(&mut self, host: u32, event: mesh::Event) {
        match event {
            mesh::Event::Tree(_, event) => self.measure.on_tree_event(self.now, host, &event),
            mesh::Event::Gossip(event) => {
                self.check_gossip_event(host, &event);
                self.measure.on_gossip_event(&event);
            }
            mesh::Event::TrackClosed(track) => self.on_track_closed(host, &track),
            mesh::Event::User(_) | mesh::Event::Liar(..) => {}
            mesh::Event::LinkUp(peer) => self.lie_input(host, banyan_gossip::Input::LinkUp { peer }),
            mesh::Event::LinkDown(peer, _) => {
                self.lie_input(host, banyan_gossip::Input::LinkDown { peer, graceful: true });
            }
        }
    }
}

/// The length of a message's CBOR, without making it.
fn encoded_len(message: &Control) -> usize {
    let mut count = banyan_node::count::Count::default();
    ciborium::into_writer(message, &mut count).expect("counting does not fail");
    count.0
}
