//! What the program does between its machine and the data streams: lines, pulls, feeds.

use std::collections::BTreeMap;

use banyan_gossip::{PeerId, TrackName};
use banyan_node::{
    mesh::Input,
    relay::{
        Mode, Start, Track, TrackConfig,
        feed::{self, Feed},
        frame::Frame,
        opening::Opening,
        pull::{AckStep, Acks, Begin, Pull},
        track::{Assembler, Read, ReaderId, ReaderKind},
    },
};

use crate::{
    check,
    conn::{ConnId, Packet, Use},
    host::Arrival,
    queue::{MS, Nanos},
    world::{Event, World, host_of},
};

/// A track in which a host has a part.
#[derive(Debug, Default)]
pub(crate) struct LocalTrack {
    line: Option<Line>,
    /// The epoch that the tree follows: the only one that may begin.
    following: Option<u64>,
    subscribed: bool,
    published: bool,
    pulls: BTreeMap<(u32, u64), Pulling>,
    feeds: BTreeMap<(u32, u64), Feeding>,
    /// Streams of children that the tree has not judged yet.
    waiting: BTreeMap<(u32, u64), (ConnId, Opening)>,
    told: (u64, u64, u64),
    leaving: bool,
}

/// One epoch.
#[derive(Debug)]
struct Line {
    epoch: u64,
    track: Track,
    reader: Option<ReaderId>,
    assembler: Assembler,
}

#[derive(Debug)]
struct Pulling {
    conn: ConnId,
    epoch: u64,
    /// Until the parent's first frame.
    pull: Option<Pull>,
    acks: Acks,
    ack_due: Option<Nanos>,
}

#[derive(Debug)]
struct Feeding {
    conn: ConnId,
    epoch: u64,
    feed: Feed,
}

/// Bytes that a stream takes before the sender has to wait for the receiver.
const WINDOW_BYTES: usize = 512 * 1024;
/// Batches that wait for the network to heal; fewer than a connection loses.
const BATCHES_HELD_MAX: usize = 512;
/// Bytes that are sent in one go.
const BATCH_BYTES: usize = 64 * 1024;
/// How often tracks are looked after.
const TICK: Nanos = 50 * MS;

impl World {
    // --- Users ---------------------------------------------------------------------------------

    pub(crate) fn begin_publication(&mut self, host: u32, track: &TrackName, epoch: u64, mode: Mode) {
        self.local(host, track);
        let line = Line {
            epoch,
            track: Track::new_origin(TrackConfig::default(), mode),
            reader: None,
            assembler: Assembler::default(),
        };
        if let Some(local) = self.track(host, track) {
            local.published = true;
            local.following = Some(epoch);
        }
        self.begin_line(host, track, line, 0);
    }

    pub(crate) fn open_subscription(&mut self, host: u32, track: &TrackName) {
        let now = self.instant();
        self.local(host, track);
        let Some(local) = self.track(host, track).filter(|local| !local.subscribed) else {
            return;
        };
        (local.subscribed, local.leaving) = (true, false);
        if let Some(line) = &mut local.line {
            line.reader = Some(line.track.open_reader(now, ReaderKind::Local, Start::Latest).0);
        }
    }

    /// Gives a track up.
    pub fn unsubscribe(&mut self, host: u32, track: &TrackName) {
        let now = self.instant();
        if let Some(local) = self.track(host, track) {
            (local.subscribed, local.leaving) = (false, true);
            if let Some(line) = &mut local.line
                && let Some(reader) = line.reader.take()
            {
                line.track.close_reader(now, reader, false);
            }
        }
        self.measure.died(host);
        self.checks.ledger.stopped(host, track);
        self.with_mesh(host, |mesh, now| mesh.unsubscribe(now, track));
    }

    /// Publishes the next object if the window has room. Returns its id.
    pub fn publish_object(&mut self, host: u32, track: &TrackName, length: usize) -> Option<u64> {
        let now = self.instant();
        let line = self.track(host, track).filter(|local| local.published)?.line.as_mut()?;
        if !line.track.may_publish(length) {
            return None;
        }
        let (epoch, mode, id) = (line.epoch, line.track.mode(), line.track.ring().next().id);
        line.track.publish(now, &check::payload(epoch, id, length));
        self.checks.ledger.published(track, epoch, mode, id);
        self.stir(host, track);
        self.after(host);
        Some(id)
    }

    /// The epoch that a host publishes or follows.
    #[must_use]
    pub fn epoch(&self, host: u32, track: &TrackName) -> Option<u64> {
        let local = self.hosts[host as usize].process.as_ref()?.tracks.get(track)?;
        local.line.as_ref().map(|line| line.epoch)
    }

    /// What a host's ring of an epoch holds.
    #[must_use]
    pub fn ring(&self, host: u32, track: &TrackName, epoch: u64) -> Option<(u64, u64)> {
        let local = self.hosts[host as usize].process.as_ref()?.tracks.get(track)?;
        let line = local.line.as_ref().filter(|line| line.epoch == epoch)?;
        Some((line.track.ring().oldest(), line.track.ring().newest()))
    }

    /// Objects that came to running hosts, and how many of them for a second time.
    #[must_use]
    pub fn received(&self, track: &TrackName) -> (u64, u64) {
        let lines = self.hosts.iter().filter_map(|host| host.process.as_ref()?.tracks.get(track)?.line.as_ref());
        lines.map(|line| line.track.counters()).fold((0, 0), |(all, twice), counters| {
            (all + counters.objects + counters.duplicates, twice + counters.duplicates)
        })
    }

    pub(crate) fn is_subscribed(&self, host: u32, track: &TrackName) -> bool {
        let process = self.hosts[host as usize].process.as_ref();
        process.and_then(|process| process.tracks.get(track)).is_some_and(|local| local.subscribed)
    }

    /// The streams that a host serves: track, child, ticket.
    pub(crate) fn streams_fed(&self, host: u32) -> impl Iterator<Item = (&TrackName, u32, u64)> {
        let tracks = self.hosts[host as usize].process.iter().flat_map(|process| &process.tracks);
        tracks.flat_map(|(track, local)| local.feeds.keys().map(move |(child, ticket)| (track, *child, *ticket)))
    }

    // --- Epochs --------------------------------------------------------------------------------

    fn track(&mut self, host: u32, track: &TrackName) -> Option<&mut LocalTrack> {
        self.process(host)?.tracks.get_mut(track)
    }

    fn local(&mut self, host: u32, track: &TrackName) {
        let (now, life) = (self.now, self.hosts[host as usize].life);
        let Some(process) = self.process(host) else {
            return;
        };
        process.tracks.entry(track.clone()).or_default();
        if !std::mem::replace(&mut process.ticking, true) {
            self.queue.push(now + TICK, Event::Arrive { host, life, arrival: Arrival::Tick });
        }
    }

    fn begin_line(&mut self, host: u32, track: &TrackName, mut line: Line, newest: u64) {
        let now = self.instant();
        let Some(local) = self.track(host, track) else {
            return;
        };
        let feeds: Vec<(u32, u64)> = local.feeds.keys().copied().collect();
        if local.subscribed {
            // Who has seen an epoch wants the next one whole.
            let start = if local.line.is_some() { Start::Oldest } else { Start::Id(newest) };
            line.reader = Some(line.track.open_reader(now, ReaderKind::Local, start).0);
        }
        local.line = Some(line);
        for key in feeds {
            self.end_feed(host, track, key);
        }
    }

    // --- Pulling ---------------------------------------------------------------------------------

    pub(crate) fn open_pull(&mut self, host: u32, track: TrackName, parent: &PeerId, ticket: u64, epoch: u64) {
        self.local(host, &track);
        let Some(other) = host_of(self, parent) else {
            return self.input(host, parent_closed(track, *parent, ticket));
        };
        let Some(local) = self.track(host, &track) else {
            return;
        };
        local.following = Some(epoch);
        let resume =
            local.line.as_ref().filter(|line| line.epoch == epoch).map(|line| Start::Id(line.track.ring().next().id));
        let first = if local.subscribed && local.line.is_some() { Start::Oldest } else { Start::Stable };
        let opening = Opening { track: track.clone(), ticket, epoch, from: resume.unwrap_or(first).into() };
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
        let Some(other) = host_of(self, parent) else {
            return;
        };
        if let Some(pulling) = self.track(host, track).and_then(|local| local.pulls.remove(&(other, ticket))) {
            self.close_end(pulling.conn, host);
        }
    }

    /// A stream from a parent ended by itself.
    fn end_pull(&mut self, host: u32, track: &TrackName, key: (u32, u64)) {
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

    fn pull_of(&mut self, host: u32, conn: ConnId) -> Option<(TrackName, (u32, u64))> {
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
        let Some(pull) = pulling.pull.as_mut() else {
            return self.take_start(host, track, key, &frame);
        };
        let Some(line) = local.line.as_mut().filter(|line| line.epoch == pulling.epoch) else {
            return false;
        };
        let before = line.track.ring().next();
        let taken = pull.take(now, &mut line.track, frame).is_ok();
        let after = line.track.ring().next();
        if after < before {
            // Readers skip what they have; the next parent would send it all again.
            self.violated(&format!("the ring of host {host} is at {after:?} after {before:?} (A14)"));
        }
        taken
    }

    fn take_start(&mut self, host: u32, track: &TrackName, key: (u32, u64), frame: &Frame) -> bool {
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
        if local.following != Some(epoch) {
            return false;
        }
        pulling.pull = Some(Pull::new(key.1));
        if local.line.as_ref().is_none_or(|line| line.epoch != epoch) {
            let track_of_epoch = begin.track(TrackConfig::default());
            let line = Line { epoch, track: track_of_epoch, reader: None, assembler: Assembler::default() };
            self.begin_line(host, track, line, begin.newest);
        }
        let (peer, ticket, track) = (self.peer(key.0), key.1, track.clone());
        self.input(host, Input::ParentOpened { track, peer, ticket });
        true
    }

    // --- Feeding ---------------------------------------------------------------------------------

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
        let (now, Some(other)) = (self.instant(), host_of(self, child)) else {
            return;
        };
        let key = (other, ticket);
        let Some(local) = self.track(host, track) else {
            return;
        };
        let waiting = local.waiting.remove(&key);
        let line = local.line.as_mut();
        let matching = waiting.as_ref().zip(line).filter(|((_, opening), line)| opening.epoch == line.epoch);
        if let Some(((conn, opening), line)) = matching {
            let feed = Feed::new(now, &mut line.track, line.epoch, opening.from.into());
            let (conn, epoch) = (*conn, line.epoch);
            local.feeds.insert(key, Feeding { conn, epoch, feed });
            return self.pump(host, conn);
        }
        if let Some((conn, _)) = waiting {
            self.close_end(conn, host);
        }
        self.input(host, Input::ChildClosed { track: track.clone(), peer: *child, ticket });
    }

    pub(crate) fn drop_child(&mut self, host: u32, track: &TrackName, child: &PeerId, ticket: u64) {
        let Some(other) = host_of(self, child) else {
            return;
        };
        let key = (other, ticket);
        let waiting = self.track(host, track).and_then(|local| local.waiting.remove(&key));
        if let Some((conn, _)) = waiting {
            self.close_end(conn, host);
        }
        self.end_feed(host, track, key);
    }

    fn end_feed(&mut self, host: u32, track: &TrackName, key: (u32, u64)) -> bool {
        let now = self.instant();
        let Some(local) = self.track(host, track) else {
            return false;
        };
        let Some(feeding) = local.feeds.remove(&key) else {
            return false;
        };
        if let Some(line) = local.line.as_mut().filter(|line| line.epoch == feeding.epoch) {
            line.track.close_reader(now, feeding.feed.reader(), true);
        }
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
        if let (Some(feeding), Some(line), Ok(id)) =
            (local.feeds.get(&key), local.line.as_mut(), feed::take_ack(&frame))
        {
            line.track.ack(now, feeding.feed.reader(), id);
        }
        self.stir(host, &track);
    }

    fn feed_of(&mut self, host: u32, conn: ConnId) -> Option<(TrackName, (u32, u64))> {
        let mut tracks = self.process(host)?.tracks.iter();
        tracks.find_map(|(track, local)| {
            let (key, _) = local.feeds.iter().find(|(_, feeding)| feeding.conn == conn)?;
            Some((track.clone(), *key))
        })
    }

    pub(crate) fn on_stream_closed(&mut self, host: u32, conn: ConnId) {
        if let Some((track, key)) = self.pull_of(host, conn) {
            self.end_pull(host, &track, key);
        } else if let Some((track, key)) = self.feed_of(host, conn) {
            self.end_feed(host, &track, key);
            let peer = self.peer(key.0);
            self.input(host, Input::ChildClosed { track, peer, ticket: key.1 });
        }
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
            let (Some(feeding), Some(line)) = (local.feeds.get_mut(&key), local.line.as_mut()) else {
                return;
            };
            if line.epoch != feeding.epoch {
                return;
            }
            let mut frames = Vec::new();
            let filled = feeding.feed.fill(&mut line.track, BATCH_BYTES, |frame| frames.push(frame));
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

    // --- What follows from news --------------------------------------------------------------------

    /// The track of a host has something new: whoever reads it gets it.
    pub(crate) fn stir(&mut self, host: u32, track: &TrackName) {
        self.read_locally(host, track);
        let Some(local) = self.track(host, track) else {
            return;
        };
        for conn in local.feeds.values().map(|feeding| feeding.conn).collect::<Vec<_>>() {
            self.pump(host, conn);
        }
        self.poll_acks(host, track);
    }

    fn read_locally(&mut self, host: u32, track: &TrackName) {
        let now = self.instant();
        loop {
            let Some(line) = self.track(host, track).and_then(|local| local.line.as_mut()) else {
                return;
            };
            let (Some(reader), epoch) = (line.reader, line.epoch) else {
                return;
            };
            match line.track.read(reader) {
                Read::Frame(Frame::Chunk(chunk)) => {
                    if let Some((id, bytes)) = line.assembler.take(&chunk) {
                        line.track.ack(now, reader, id + 1);
                        self.on_object(host, track, epoch, id, &bytes);
                    }
                }
                Read::Frame(Frame::Gap { from, to }) => {
                    line.track.ack(now, reader, to);
                    self.on_gap(host, track, epoch, from, to);
                }
                Read::Frame(_) => {}
                Read::Wait | Read::Ended | Read::CutOff => return,
            }
        }
    }

    fn poll_acks(&mut self, host: u32, track: &TrackName) {
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
            let (Some(pulling), Some(line)) = (local.pulls.get_mut(&key), local.line.as_ref()) else {
                return;
            };
            if pulling.pull.is_none() || pulling.epoch != line.epoch {
                return;
            }
            let conn = pulling.conn;
            match pulling.acks.poll(base, &line.track) {
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

    // --- Time --------------------------------------------------------------------------------------

    pub(crate) fn on_tick(&mut self, host: u32) {
        let (now, life) = (self.now, self.hosts[host as usize].life);
        let Some(process) = self.process(host) else {
            return;
        };
        let tracks: Vec<TrackName> = process.tracks.keys().cloned().collect();
        process.ticking = !tracks.is_empty();
        if process.ticking {
            self.queue.push(now + TICK, Event::Arrive { host, life, arrival: Arrival::Tick });
        }
        for track in tracks {
            self.tend(host, &track);
        }
    }

    fn tend(&mut self, host: u32, track: &TrackName) {
        let now = self.instant();
        let Some(process) = self.process(host) else {
            return;
        };
        let followed = process.mesh.tree(track).and_then(banyan_tree::Tree::source).map(|source| source.epoch);
        let overtaken = process.mesh.is_overtaken(track);
        let Some(local) = process.tracks.get_mut(track) else {
            return;
        };
        if let Some(line) = local.line.as_mut() {
            let news = line.track.handle_timeout(now);
            let bounds = (line.epoch, line.track.ring().oldest(), line.track.ring().newest());
            // The ring of the epoch before says nothing about the one that the tree looks for now.
            if followed == Some(line.epoch) && std::mem::replace(&mut local.told, bounds) != bounds {
                let (_, oldest, next) = bounds;
                self.input(host, Input::Ring { track: track.clone(), oldest, next });
            }
            if news {
                self.stir(host, track);
            }
        }
        if let Some(local) = self.track(host, track).filter(|local| local.published && overtaken) {
            // Of two origins the greater is followed by everyone.
            (local.published, local.leaving) = (false, true);
            self.with_mesh(host, |mesh, now| {
                mesh.end_publish(now, track);
                mesh.unsubscribe(now, track);
            });
        }
    }

    pub(crate) fn on_track_closed(&mut self, host: u32, track: &TrackName) {
        let Some(local) = self.track(host, track) else {
            return;
        };
        if local.subscribed {
            local.leaving = false;
            let now = self.instant();
            if let Some(process) = self.process(host) {
                // A node that is leaving takes part in nothing any more.
                let _ = process.mesh.subscribe(now, track);
            }
        } else if let Some(process) = self.process(host) {
            process.tracks.remove(track);
        }
    }
}

fn parent_closed(track: TrackName, peer: PeerId, ticket: u64) -> Input {
    Input::ParentClosed { track, peer, ticket, reason: "closed".to_owned() }
}
