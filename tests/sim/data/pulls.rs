//! Pulls: what comes from parents, and what they are told of it.

use banyan_gossip::{PeerId, TrackName};
use banyan_node::{
    mesh::Input,
    relay::{
        Frame, Integrity, Opening, Pull, TrackConfig,
        pull::{AckStep, Acks, Begin},
    },
};

use super::Line;
use crate::{
    conn::{ConnId, Packet, Use},
    host::Arrival,
    queue::Nanos,
    world::{Event, World},
};

#[derive(Debug)]
pub(super) struct Pulling {
    conn: ConnId,
    epoch: u64,
    /// From the parent's first frame on.
    pull: Option<(Pull, Line)>,
    acks: Acks,
    ack_due: Option<Nanos>,
}

impl World {
    pub(crate) fn open_pull(&mut self, host: u32, track: TrackName, parent: &PeerId, ticket: u64, epoch: u64) {
        self.local(host, &track);
        let Some(other) = self.host_of(parent) else {
            return self.input(host, parent_closed(track, *parent, ticket));
        };
        let Some(local) = self.track(host, &track) else {
            return;
        };
        local.epochs.follow(epoch);
        let opening = Opening { track: track.clone(), ticket, epoch, from: local.epochs.start_of(epoch).into() };
        let lives = [self.hosts[host as usize].life, self.hosts[other as usize].life];
        let runs = self.hosts[other as usize].process.is_some();
        let conn = self.conns.add([host, other], lives, Use::Data { track: track.clone(), ticket, epoch });
        let handshake = self.now + 3 * self.net.base_latency(host, other);
        if let Some(conn) = self.conns.get_mut(conn) {
            conn.open[1] = runs;
            conn.pipes[1].last = handshake;
        }
        if let Some(local) = self.track(host, &track) {
            let pulling = Pulling { conn, epoch, pull: None, acks: Acks::default(), ack_due: None };
            local.pulls.insert((other, ticket), pulling);
        }
        let bytes = opening.encode();
        let size = bytes.len() + 2;
        self.transmit(conn, 1, Packet::Opening(bytes), size);
    }

    pub(crate) fn close_pull(&mut self, host: u32, track: &TrackName, parent: &PeerId, ticket: u64) {
        let Some(other) = self.host_of(parent) else {
            return;
        };
        if let Some(pulling) = self.track(host, track).and_then(|local| local.pulls.remove(&(other, ticket))) {
            self.close_end(pulling.conn, host);
        }
    }

    /// A stream from a parent ended by itself.
    pub(super) fn end_pull(&mut self, host: u32, track: &TrackName, key: (u32, u64)) {
        if let Some(pulling) = self.track(host, track).and_then(|local| local.pulls.remove(&key)) {
            self.close_end(pulling.conn, host);
            let parent = self.peer(key.0);
            self.input(host, parent_closed(track.clone(), parent, key.1));
        }
    }

    pub(crate) fn on_frames(&mut self, host: u32, conn: ConnId, frames: Vec<Frame>) {
        let Some((track, key)) = self.pull_of(host, conn) else {
            return;
        };
        let (peer, at) = (self.peer(key.0), self.instant());
        self.input(host, Input::Heard { peer, at, times: 1 });
        let mut broken = false;
        for frame in frames {
            broken = !self.take_frame(host, &track, key, frame);
            if broken {
                break;
            }
        }
        self.stir(host, &track);
        if broken {
            self.end_pull(host, &track, key);
        }
    }

    pub(super) fn pull_of(&mut self, host: u32, conn: ConnId) -> Option<(TrackName, (u32, u64))> {
        let mut tracks = self.process(host)?.tracks.iter();
        tracks.find_map(|(track, local)| {
            let (key, _) = local.pulls.iter().find(|(_, pulling)| pulling.conn == conn)?;
            Some((track.clone(), *key))
        })
    }

    /// Says whether the stream can go on.
    fn take_frame(&mut self, host: u32, track: &TrackName, key: (u32, u64), frame: Frame) -> bool {
        let now = self.instant();
        let Some(local) = self.track(host, track) else {
            return false;
        };
        let Some(pulling) = local.pulls.get_mut(&key) else {
            return false;
        };
        let Some((pull, line)) = &mut pulling.pull else {
            return self.take_start(host, track, key, &frame);
        };
        let mut ours = line.lock();
        let before = ours.ring().next();
        let taken = pull.take(now, &mut ours, frame).is_ok();
        let after = ours.ring().next();
        drop(ours);
        if after < before {
            // Readers skip what they have; the next parent would send it all again.
            self.violated(&format!("the ring of host {host} is at {after:?} after {before:?} (A14)"));
        }
        taken
    }

    fn take_start(&mut self, host: u32, track: &TrackName, key: (u32, u64), frame: &Frame) -> bool {
        let now = self.instant();
        let Some(local) = self.track(host, track) else {
            return false;
        };
        let Some(pulling) = local.pulls.get_mut(&key) else {
            return false;
        };
        let epoch = pulling.epoch;
        let Ok(begin) = Begin::read(frame, epoch) else {
            return false;
        };
        let line = || Line::new(epoch, begin.track(TrackConfig::default(), Integrity::None));
        let Some(line) = local.epochs.line_of(now, epoch, begin.newest, line) else {
            return false;
        };
        pulling.pull = Some((Pull::new(key.1), line.clone()));
        let (peer, ticket, track) = (self.peer(key.0), key.1, track.clone());
        self.input(host, Input::ParentOpened { track, peer, ticket });
        true
    }

    pub(super) fn poll_acks(&mut self, host: u32, track: &TrackName) {
        let Some(local) = self.track(host, track) else {
            return;
        };
        for key in local.pulls.keys().copied().collect::<Vec<_>>() {
            self.poll_ack(host, track, key);
        }
    }

    fn poll_ack(&mut self, host: u32, track: &TrackName, key: (u32, u64)) {
        let (base, now, life) = (self.instant(), self.now, self.hosts[host as usize].life);
        loop {
            let Some(local) = self.track(host, track) else {
                return;
            };
            let Some(pulling) = local.pulls.get_mut(&key) else {
                return;
            };
            let Some((_, line)) = &pulling.pull else {
                return;
            };
            let conn = pulling.conn;
            let step = pulling.acks.poll(base, &line.lock());
            match step {
                AckStep::Wait => return,
                AckStep::At(at) => {
                    let at = now + at.saturating_duration_since(base).as_nanos() as Nanos;
                    if pulling.ack_due.is_none_or(|due| due < now || due > at) {
                        pulling.ack_due = Some(at);
                        self.queue.push(at, Event::Arrive { host, life, arrival: Arrival::AckDue(conn) });
                    }
                    return;
                }
                AckStep::Send(frame) => {
                    pulling.ack_due = None;
                    let size = frame.wire_bytes();
                    self.transmit(conn, 1, Packet::Ack(frame), size);
                }
            }
        }
    }

    pub(crate) fn send_ack(&mut self, host: u32, conn: ConnId) {
        if let Some((track, key)) = self.pull_of(host, conn) {
            self.poll_ack(host, &track, key);
        }
    }
}

fn parent_closed(track: TrackName, peer: PeerId, ticket: u64) -> Input {
    Input::ParentClosed { track, peer, ticket, reason: "closed".to_owned() }
}
