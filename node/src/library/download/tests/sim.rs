//! A network of nodes that download from each other: links with a rate each way, a delay, disks with a rate. What
//! leaves a node leaves block by block, as its [`Serve`] says; what comes to a node queues before its link.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use banyan_gossip::PeerId;

use crate::library::{
    bitfield::PieceSet,
    download::{Config, Download, End, Fault, Input, Output, RequestId},
    manifest::{FileEntry, MODE_FILE, Manifest},
    path::PackagePath,
    piece::{FileHashes, Piece, merge},
    push::Offers,
    serve::{self, Refused, Serve},
};

/// Bytes a second of 1 Gbit/s.
pub(super) const GBIT: f64 = 125e6;
pub(super) const MIB: u64 = 1024 * 1024;
const DELAY: Duration = Duration::from_micros(300);
/// A sender waits while this much is queued before the receiver's link.
const QUEUE: Duration = Duration::from_millis(5);

/// A package of one file with this many whole pieces. Nobody has its bytes.
pub(super) fn large_file(pieces: u32) -> Arc<Manifest> {
    let hashes: Box<[_]> = (0..pieces).map(|piece| *blake3::hash(&piece.to_be_bytes()).as_bytes()).collect();
    let hashes = FileHashes { size: u64::from(pieces) * MIB, root: merge(&hashes), pieces: hashes };
    manifest(vec![FileEntry::new(PackagePath::new("large").expect("valid"), MODE_FILE, hashes)])
}

/// A package of this many files of this many bytes.
pub(super) fn small_files(count: u32, bytes: u64) -> Arc<Manifest> {
    let hashes = || FileHashes { size: bytes, root: [0; 32], pieces: Box::default() };
    let path = |index| PackagePath::new(&format!("file{index}")).expect("valid");
    manifest((0..count).map(|index| FileEntry::new(path(index), MODE_FILE, hashes())).collect())
}

fn manifest(files: Vec<FileEntry>) -> Arc<Manifest> {
    Arc::new(Manifest::new(files).expect("valid"))
}

/// What a source does to those that ask it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manners {
    Honest,
    /// Its pieces do not match their hashes.
    Lies,
    /// It sends more bytes than pieces have.
    Oversends,
    /// It sends pieces that nobody asked for.
    SendsUnasked,
    /// It leaves out the end of each piece.
    SendsShort,
    /// It sends nothing and says nothing.
    Stalls,
    /// It always has too much to do.
    Busy,
    /// It says that it has sent everything, and has sent nothing.
    SendsNothing,
}

pub(super) struct Node {
    pub(super) up: f64,
    pub(super) down: f64,
    pub(super) disk: f64,
    pub(super) manners: Manners,
    pub(super) alive: bool,
    pub(super) have: PieceSet,
    pub(super) download: Option<Download>,
    pub(super) offers: Option<Offers>,
    /// Bytes that left it.
    pub(super) sent: u64,
    pub(super) done: Option<Instant>,
    pub(super) quarantined: BTreeMap<PeerId, Fault>,
    /// Wrong pieces that came, by source.
    pub(super) corrupt: BTreeMap<PeerId, u32>,
    /// When bytes came: the last time, and the longest time that they did not.
    pub(super) heard: Instant,
    pub(super) longest_pause: Duration,
    /// When 99 % were stored.
    pub(super) nearly: Option<Instant>,
    serve: Serve,
    uplink_busy: bool,
    down_free: Instant,
    disk_free: Instant,
    timer: Option<Instant>,
}

#[derive(Debug)]
enum Event {
    Uplink(usize),
    Deliver { to: usize, from: usize, message: Message },
    Written { node: usize, source: PeerId, piece: Piece, lie: bool },
    Timeout(usize),
}

#[derive(Debug, Clone)]
enum Message {
    Request(RequestId, Range<u32>),
    Cancel(RequestId, Piece),
    Block(RequestId, Piece, u32),
    End(RequestId, End),
    Has(Range<u32>),
}

pub(super) struct Sim {
    pub(super) now: Instant,
    pub(super) start: Instant,
    pub(super) nodes: Vec<Node>,
    pub(super) manifest: Arc<Manifest>,
    pub(super) rng: fastrand::Rng,
    events: BTreeMap<(Instant, u64), Event>,
    count: u64,
}

pub(super) fn peer(node: usize) -> PeerId {
    PeerId::from_key_bytes([node as u8; 32])
}

fn index(peer: PeerId) -> usize {
    peer.key_bytes()[0].into()
}

impl Sim {
    pub(super) fn new(manifest: Arc<Manifest>, seed: u64) -> Self {
        let (now, rng) = (Instant::now(), fastrand::Rng::with_seed(seed));
        Self { now, start: now, nodes: Vec::new(), manifest, rng, events: BTreeMap::new(), count: 0 }
    }

    /// A node with these pieces and this link, in bytes a second up and down.
    pub(super) fn add(&mut self, have: PieceSet, up: f64, down: f64) -> usize {
        self.nodes.push(Node {
            up,
            down,
            disk: 10.0 * GBIT,
            manners: Manners::Honest,
            alive: true,
            have,
            download: None,
            offers: None,
            sent: 0,
            done: None,
            quarantined: BTreeMap::new(),
            corrupt: BTreeMap::new(),
            heard: self.now,
            longest_pause: Duration::ZERO,
            nearly: None,
            serve: Serve::new(serve::Config::default()),
            uplink_busy: false,
            down_free: self.now,
            disk_free: self.now,
            timer: None,
        });
        self.nodes.len() - 1
    }

    pub(super) fn add_full(&mut self, up: f64, down: f64) -> usize {
        self.add(PieceSet::full(self.manifest.piece_count()), up, down)
    }

    pub(super) fn add_empty(&mut self, up: f64, down: f64) -> usize {
        self.add(PieceSet::empty(self.manifest.piece_count()), up, down)
    }

    /// A node begins to download what it does not have.
    pub(super) fn download(&mut self, node: usize, config: Config) {
        let have = self.nodes[node].have.clone();
        let download = Download::new(self.manifest.piece_sizes(), have, config, self.rng.fork(), self.now);
        self.nodes[node].download = Some(download);
        self.nodes[node].heard = self.now;
    }

    /// A node can ask another from now on.
    pub(super) fn connect(&mut self, node: usize, source: usize) {
        let pushes = self.nodes[source].offers.is_some();
        let have = if pushes { PieceSet::empty(self.manifest.piece_count()) } else { self.nodes[source].have.clone() };
        self.input(node, Input::SourceUp { source: peer(source), have });
    }

    pub(super) fn disconnect(&mut self, node: usize, source: usize) {
        self.nodes[source].serve.handle_down(peer(node));
        self.input(node, Input::SourceDown { source: peer(source) });
    }

    pub(super) fn input(&mut self, node: usize, input: Input) {
        if let Some(download) = &mut self.nodes[node].download {
            download.handle_input(self.now, input);
            self.drive(node);
        }
    }

    /// Tells the peers of a node that pushes what it offers them.
    pub(super) fn offer(&mut self, node: usize) {
        let now = self.now;
        while let Some((to, pieces)) = self.nodes[node].offers.as_mut().and_then(|offers| offers.poll_offer(now)) {
            self.send(index(to), node, Message::Has(pieces));
        }
    }

    /// Runs until the time, or until everybody who downloads is done.
    pub(super) fn run_until(&mut self, until: Instant) {
        while self.downloading() && self.events.first_key_value().is_some_and(|((at, _), _)| *at <= until) {
            self.step();
        }
        if self.downloading() {
            self.now = self.now.max(until);
        }
    }

    /// Runs until a node has this share of the package.
    pub(super) fn run_to(&mut self, node: usize, share: f64) {
        let pieces = (f64::from(self.manifest.piece_count()) * share) as u32;
        while self.nodes[node].have.count() < pieces {
            assert!(self.step(), "nothing happens any more at {:?}", self.since_start());
        }
    }

    /// Runs until everybody is done, at most this long.
    pub(super) fn finish(&mut self, within: Duration) {
        self.run_until(self.start + within);
        // What was said at the end is heard.
        let end = self.now + 2 * DELAY;
        while self.events.first_key_value().is_some_and(|((at, _), _)| *at <= end) {
            self.step();
        }
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(download) = &node.download else { continue };
            assert!(
                !node.alive || download.is_complete(),
                "node {index}: {:?} {:?}",
                download.explain(),
                download.progress()
            );
        }
    }

    /// How long it took until all were done, or takes already.
    pub(super) fn since_start(&self) -> Duration {
        let done = self.nodes.iter().filter_map(|node| node.done).max();
        done.filter(|_| !self.downloading()).unwrap_or(self.now) - self.start
    }

    fn downloading(&self) -> bool {
        self.nodes
            .iter()
            .any(|node| node.alive && node.download.as_ref().is_some_and(|download| !download.is_complete()))
    }

    fn at(&mut self, at: Instant, event: Event) {
        self.count += 1;
        self.events.insert((at, self.count), event);
    }

    fn send(&mut self, to: usize, from: usize, message: Message) {
        let bytes = match message {
            Message::Block(_, _, bytes) => f64::from(bytes),
            _ => 0.0,
        };
        let node = &mut self.nodes[to];
        let behind = matches!(message, Message::Block(..) | Message::End(..));
        let mut at = self.now + DELAY;
        if behind {
            at = at.max(node.down_free) + Duration::from_secs_f64(bytes / node.down);
            node.down_free = at;
        }
        self.at(at, Event::Deliver { to, from, message });
    }

    pub(super) fn step(&mut self) -> bool {
        let Some(((at, _), event)) = self.events.pop_first() else { return false };
        self.now = at;
        match event {
            Event::Uplink(node) => {
                self.nodes[node].uplink_busy = false;
                self.upload(node);
            }
            Event::Deliver { to, from, message } => {
                if self.nodes[to].alive && (self.nodes[from].alive || matches!(message, Message::Block(..))) {
                    self.deliver(to, from, message);
                }
            }
            Event::Written { node, source, piece, lie } => self.on_written(node, source, piece, lie),
            Event::Timeout(node) => {
                if self.nodes[node].timer == Some(at) {
                    self.nodes[node].timer = None;
                    if let Some(download) = &mut self.nodes[node].download {
                        download.handle_timeout(at);
                        self.drive(node);
                    }
                }
            }
        }
        true
    }

    fn deliver(&mut self, to: usize, from: usize, message: Message) {
        let manifest = self.manifest.clone();
        let (now, node, source) = (self.now, &mut self.nodes[to], peer(from));
        match message {
            Message::Request(request, pieces) => {
                assert!(pieces.clone().all(|piece| node.have.contains(Piece(piece))), "asked for what is not there");
                let answer = match node.manners {
                    Manners::SendsNothing => return self.send(from, to, Message::End(request, End::Sent)),
                    Manners::Busy => Err(Refused::Busy(Duration::from_millis(100))),
                    _ => node.serve.handle_request(source, request, &manifest, pieces),
                };
                match answer {
                    Ok(()) => self.upload(to),
                    Err(Refused::Busy(after)) => self.send(from, to, Message::End(request, End::Busy(after))),
                    Err(Refused::Invalid) => panic!("an honest node asks for what exists"),
                }
            }
            Message::Cancel(request, piece) => node.serve.handle_cancel(source, request, piece),
            Message::Block(request, piece, bytes) => {
                node.longest_pause = node.longest_pause.max(now - node.heard);
                node.heard = now;
                self.input(to, Input::Received { source, request, piece, bytes });
            }
            Message::End(request, end) => self.input(to, Input::Ended { source, request, end }),
            Message::Has(pieces) => {
                if let Some(offers) = &mut node.offers {
                    offers.handle_has(now, &source, pieces.clone());
                    self.offer(to);
                }
                self.input(to, Input::SourceHas { source, pieces });
            }
        }
    }

    /// Sends the next block, if the uplink is free.
    fn upload(&mut self, from: usize) {
        let (now, manners) = (self.now, self.nodes[from].manners);
        if self.nodes[from].uplink_busy || !self.nodes[from].alive || manners == Manners::Stalls {
            return;
        }
        let mut waiting = false;
        for to in 0..self.nodes.len() {
            let ready = self.nodes[to].down_free <= now + DELAY + QUEUE;
            let serve = &mut self.nodes[from].serve;
            waiting |= !ready && serve.queued_bytes(&peer(to)).0 > 0;
            serve.handle_ready(peer(to), ready);
        }
        let mut wait = Duration::from_millis(1);
        match self.nodes[from].serve.poll_output() {
            Some(serve::Output::Block { peer: to, request, piece, bytes, offset, .. }) => {
                let node = &mut self.nodes[from];
                node.sent += u64::from(bytes);
                wait = Duration::from_secs_f64(f64::from(bytes) / node.up);
                let size = self.manifest.locate(piece).map_or(0, |at| at.bytes);
                if manners != Manners::SendsShort || offset + bytes < size {
                    self.send(index(to), from, Message::Block(request, piece, bytes));
                }
                match manners {
                    Manners::Oversends => self.send(index(to), from, Message::Block(request, piece, size)),
                    Manners::SendsUnasked if offset + bytes == size => {
                        self.send(index(to), from, Message::Block(request, piece, bytes));
                    }
                    _ => {}
                }
            }
            Some(serve::Output::End { peer: to, request }) => {
                self.send(index(to), from, Message::End(request, End::Sent));
                wait = Duration::ZERO;
            }
            None if waiting => {}
            None => return,
        }
        self.nodes[from].uplink_busy = true;
        self.at(now + wait, Event::Uplink(from));
    }

    fn on_written(&mut self, node: usize, source: PeerId, piece: Piece, lie: bool) {
        if lie {
            *self.nodes[node].corrupt.entry(source).or_default() += 1;
            return self.input(node, Input::Corrupt { source, piece });
        }
        assert!(self.nodes[node].have.insert(piece), "{piece:?} is stored twice");
        if self.nodes[node].have.count() >= self.manifest.piece_count() / 100 * 99 {
            self.nodes[node].nearly.get_or_insert(self.now);
        }
        for to in 0..self.nodes.len() {
            if to != node && (self.nodes[to].download.is_some() || self.nodes[to].offers.is_some()) {
                self.send(to, node, Message::Has(piece.0..piece.0 + 1));
            }
        }
        self.input(node, Input::Stored { source, piece });
    }

    fn drive(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].download.as_mut().and_then(|download| download.poll_output(self.now))
        {
            self.check(node);
            match output {
                Output::Request { source, request, pieces } => {
                    self.send(index(source), node, Message::Request(request, pieces));
                }
                Output::Cancel { source, request, piece } => {
                    self.send(index(source), node, Message::Cancel(request, piece));
                }
                Output::Store { source, piece, .. } => {
                    let bytes = self.manifest.locate(piece).expect("it exists").bytes;
                    let to = &mut self.nodes[node];
                    let at = to.disk_free.max(self.now) + Duration::from_secs_f64(f64::from(bytes) / to.disk);
                    to.disk_free = at;
                    let lie = self.nodes[index(source)].manners == Manners::Lies;
                    self.at(at, Event::Written { node, source, piece, lie });
                }
                Output::Discard { .. } => {}
                Output::Quarantine { source, fault } => {
                    self.nodes[node].quarantined.insert(source, fault);
                    self.nodes[index(source)].serve.handle_down(peer(node));
                }
                Output::Complete => self.nodes[node].done = Some(self.now),
            }
        }
        self.check(node);
        let timer = self.nodes[node].download.as_ref().and_then(Download::poll_timeout).map(|at| at.max(self.now));
        if let Some(at) = timer.filter(|_| timer != self.nodes[node].timer) {
            self.nodes[node].timer = timer;
            self.at(at, Event::Timeout(node));
        }
    }

    /// What always holds.
    fn check(&self, node: usize) {
        // It costs more than the machine itself, and what is wrong stays wrong for a while.
        if self.count.is_multiple_of(16) {
            self.nodes[node].download.as_ref().expect("it drives a download").assert_invariants();
        }
    }
}
