//! Feeds: what goes to children.

use banyan_gossip::{PeerId, TrackName};
use banyan_node::{
    mesh::Input,
    relay::{
        feed::{self, Feed},
        frame::Frame,
        opening::Opening,
    },
};

use super::{Line, LocalTrack};
use crate::{
    conn::{ConnId, Packet},
    world::World,
};

#[derive(Debug)]
pub(super) struct Feeding {
    pub(super) conn: ConnId,
    line: Line,
    feed: Feed,
}

/// Bytes that a stream takes before the sender has to wait for the receiver.
const WINDOW_BYTES: usize = 512 * 1024;

/// Batches that wait for the network to heal; fewer than a connection loses.
const BATCHES_HELD_MAX: usize = 512;

/// Bytes that are sent in one go.
const BATCH_BYTES: usize = 64 * 1024;

impl World {
    pub(crate) fn on_opening(&mut self, host: u32, other: u32, conn: ConnId, bytes: &[u8]) {
        let linked = self.process(host).is_some_and(|process| process.links.contains_key(&other));
        let Some(opening) = Opening::decode(bytes).ok().filter(|_| linked) else {
            return self.close_end(conn, host);
        };
        let (track, ticket) = (opening.track.clone(), opening.ticket);
        let key = (other, ticket);
        let fresh = |local: &&mut LocalTrack| !local.feeds.contains_key(&key) && !local.waiting.contains_key(&key);
        let Some(local) = self.track(host, &track).filter(fresh) else {
            return self.close_end(conn, host);
        };
        local.waiting.insert(key, (conn, opening));
        let peer = self.peer(other);
        self.input(host, Input::ChildOpened { track, peer, ticket });
    }

    pub(crate) fn serve(&mut self, host: u32, track: &TrackName, child: &PeerId, ticket: u64) {
        let (now, Some(other)) = (self.instant(), self.host_of(child)) else {
            return;
        };
        let key = (other, ticket);
        let Some(local) = self.track(host, track) else {
            return;
        };
        let waiting = local.waiting.remove(&key);
        let line = local.epochs.line().cloned();
        let matching = waiting.as_ref().zip(line).filter(|((_, opening), line)| opening.epoch == line.epoch);
        if let Some(((conn, opening), line)) = matching {
            let (conn, feed) = (*conn, Feed::new(now, &mut line.lock(), line.epoch, opening.from.into()));
            local.feeds.insert(key, Feeding { conn, line, feed });
            return self.pump(host, conn);
        }
        if let Some((conn, _)) = waiting {
            self.close_end(conn, host);
        }
        self.input(host, Input::ChildClosed { track: track.clone(), peer: *child, ticket });
    }

    pub(crate) fn drop_child(&mut self, host: u32, track: &TrackName, child: &PeerId, ticket: u64) {
        let Some(other) = self.host_of(child) else {
            return;
        };
        let key = (other, ticket);
        let waiting = self.track(host, track).and_then(|local| local.waiting.remove(&key));
        if let Some((conn, _)) = waiting {
            self.close_end(conn, host);
        }
        self.end_feed(host, track, key);
    }

    pub(super) fn end_feed(&mut self, host: u32, track: &TrackName, key: (u32, u64)) -> bool {
        let now = self.instant();
        let Some(local) = self.track(host, track) else {
            return false;
        };
        let Some(feeding) = local.feeds.remove(&key) else {
            return false;
        };
        feeding.line.lock().close_reader(now, feeding.feed.reader(), true);
        self.close_end(feeding.conn, host);
        self.poll_acks(host, track);
        true
    }

    pub(crate) fn on_ack(&mut self, host: u32, conn: ConnId, frame: Frame) {
        let now = self.instant();
        let Some((track, key)) = self.feed_of(host, conn) else {
            return;
        };
        let (peer, at) = (self.peer(key.0), self.instant());
        self.input(host, Input::Heard { peer, at, times: 1 });
        let Some(local) = self.track(host, &track) else {
            return;
        };
        if let (Some(feeding), Ok(id)) = (local.feeds.get(&key), feed::take_ack(&frame)) {
            feeding.line.lock().ack(now, feeding.feed.reader(), id);
        }
        self.stir(host, &track);
    }

    pub(super) fn feed_of(&mut self, host: u32, conn: ConnId) -> Option<(TrackName, (u32, u64))> {
        let mut tracks = self.process(host)?.tracks.iter();
        tracks.find_map(|(track, local)| {
            let (key, _) = local.feeds.iter().find(|(_, feeding)| feeding.conn == conn)?;
            Some((track.clone(), *key))
        })
    }

    /// The streams that a host serves: track, child, ticket.
    pub(crate) fn streams_fed(&self, host: u32) -> impl Iterator<Item = (&TrackName, u32, u64)> {
        let tracks = self.hosts[host as usize].process.iter().flat_map(|process| &process.tracks);
        tracks.flat_map(|(track, local)| local.feeds.keys().map(move |(child, ticket)| (track, *child, *ticket)))
    }

    /// Sends a child what it may have, as much as its stream takes.
    pub(crate) fn pump(&mut self, host: u32, conn: ConnId) {
        let Some((track, key)) = self.feed_of(host, conn) else {
            return;
        };
        loop {
            let Some(side) = self.conns.get(conn).map(|conn| 1 - conn.side(host)) else {
                return;
            };
            let pipe = self.conns.get(conn).map(|conn| &conn.pipes[side]);
            if pipe.is_some_and(|pipe| pipe.in_flight >= WINDOW_BYTES || pipe.held.len() >= BATCHES_HELD_MAX) {
                return;
            }
            let Some(local) = self.track(host, &track) else {
                return;
            };
            let Some(Feeding { line, feed, .. }) = local.feeds.get_mut(&key) else {
                return;
            };
            let mut frames = Vec::new();
            let filled = feed.fill(&mut line.lock(), BATCH_BYTES, |frame| frames.push(frame));
            if filled.acked {
                self.poll_acks(host, &track);
            }
            if frames.is_empty() {
                if filled.cut_off && self.end_feed(host, &track, key) {
                    let peer = self.peer(key.0);
                    self.input(host, Input::ChildClosed { track: track.clone(), peer, ticket: key.1 });
                }
                return;
            }
            let size = frames.iter().map(Frame::wire_bytes).sum();
            self.hosts[host as usize].traffic.data_bytes += size as u64;
            self.transmit(conn, side, Packet::Frames(frames), size);
        }
    }
}
