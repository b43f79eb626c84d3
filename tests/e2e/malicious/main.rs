//! A member that has whatever key the mesh has, and means harm. It greets, gossips and answers as a node does, and
//! then does what it is told with `--deeds`. For tests: see `faults/malicious.rs`.

mod streams;

use std::{
    collections::{BTreeMap, VecDeque},
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use banyan_gossip::{
    Deed, Ed25519Keys, Gossip, Input, Keys, LocalPeer, MeshName, Message, Output, PeerId, Role, RowBody, Signed,
    TrackEntry, TrackName,
    op::{Claim, Op, OpId, SignedOp, UserEvent},
};
use banyan_node::{
    mesh::Control,
    net::host::{self, ConnectionId, Door, Host, HostConfig, HostEvent, Limits, Multiaddr, Stream},
    relay::{Opening, OpeningFrom},
};
use banyan_tree::{DetachReason, LinkSettings, RefuseReason, Source};
use clap::Parser;
use futures::{AsyncReadExt, AsyncWriteExt, io::WriteHalf};
use serde::Serialize;
use streams::{Copied, Harm};
use tokio::{
    sync::mpsc,
    time::{interval, sleep},
};

/// See the module. Prints its peer id, then goes on until it is killed.
#[derive(Debug, Parser)]
struct Args {
    #[arg(long)]
    mesh: MeshName,
    #[arg(long)]
    track: TrackName,
    #[arg(long)]
    listen: Multiaddr,
    /// What it does: withhold, mute, capacity, replay, flood, forge, streams, corrupt, version.
    #[arg(long, value_delimiter = ',')]
    deeds: Vec<String>,
    /// Whom it joins by.
    others: Vec<String>,
}

#[derive(Serialize)]
struct Hello<'a> {
    version: u16,
    mesh: &'a MeshName,
    incarnation: u64,
    instance: u64,
}

/// The version of the protocol that its honest peers speak.
const VERSION: u16 = 2;
/// Ops that it keeps to say them again.
const KEPT_MAX: usize = 4_096;
/// Between two turns of what it does all the time.
const TURN: Duration = Duration::from_millis(50);
/// Ops that it makes in each.
const FLOOD: u64 = 100;
/// Streams that it opens to each peer.
const STREAMS: usize = 10_000;

struct Member {
    args: Args,
    me: PeerId,
    keys: Arc<Ed25519Keys>,
    gossip: Gossip,
    host: Host,
    links: BTreeMap<PeerId, (ConnectionId, mpsc::Sender<Vec<u8>>)>,
    /// Children by what they were told last.
    children: BTreeMap<PeerId, Instant>,
    kept: VecDeque<SignedOp>,
    rng: fastrand::Rng,
    version: u64,
    said: u64,
    /// The origin's word that it publishes the track, without which nobody takes this member as a parent.
    deed: Option<Deed>,
    /// What it has got of the track, from whom, and where the end of that is told.
    copied: Copied,
    parent: Option<PeerId>,
    ended: mpsc::Sender<()>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let mut rng = fastrand::Rng::new();
    let mut seed = [0; 32];
    rng.fill(&mut seed);
    let keys = Arc::new(Ed25519Keys::from_seed(&seed));
    let me = keys.peer_id();
    println!("{me}");
    let config = HostConfig {
        seed,
        mesh: args.mesh.clone(),
        listen: vec![args.listen.clone()],
        mdns: false,
        limits: Limits { data_streams: STREAMS, ..Limits::default() },
        door: Door::default(),
    };
    let (host, mut events) = host::start(config).await?;
    for (number, other) in (0..).zip(&args.others) {
        let _ = host.try_dial(number, None, vec![host::parse_address(other)?]);
    }
    let local = LocalPeer { peer: me, incarnation: 1 };
    let config = banyan_gossip::Config::new(args.mesh.clone());
    let gossip = Gossip::new(local, config, Arc::clone(&keys) as Arc<dyn Keys>, rng.fork(), Instant::now());
    let (ended, mut from_parents) = mpsc::channel(1);
    let mut member = Member {
        args,
        me,
        keys,
        gossip,
        host,
        links: BTreeMap::new(),
        children: BTreeMap::new(),
        kept: VecDeque::new(),
        rng,
        version: 1 << 40,
        said: 0,
        deed: None,
        copied: Copied::new(),
        parent: None,
        ended,
    };
    let (greeted, mut from_greetings) = mpsc::channel(64);
    let (inbox, mut messages) = mpsc::channel(1024);
    let mut turns = interval(TURN);
    loop {
        tokio::select! {
            event = events.recv() => match event.ok_or("the host stopped")? {
                HostEvent::Link { peer, connection, stream, .. } => {
                    let hello = member.hello();
                    let greeted = greeted.clone();
                    tokio::spawn(async move {
                        if let Ok(stream) = greet(stream, hello).await {
                            let _ = greeted.send((peer, connection, stream)).await;
                        }
                    });
                }
                HostEvent::LinkClosed { peer, connection } => member.on_closed(peer, connection),
                HostEvent::Data { stream, .. } => member.on_child_stream(stream),
                _ => {}
            },
            Some((peer, connection, stream)) = from_greetings.recv() => member.on_link(peer, connection, stream, &inbox),
            Some((peer, message)) = messages.recv() => member.on_message(peer, message),
            Some(()) = from_parents.recv() => member.parent = None,
            _ = turns.tick() => member.turn(),
        }
        member.send_gossip();
    }
}

async fn greet(mut stream: Stream, hello: Vec<u8>) -> Result<Stream, std::io::Error> {
    let length = u16::try_from(hello.len()).expect("a greeting is short");
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(&hello).await?;
    stream.flush().await?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let mut theirs = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut theirs).await?;
    Ok(stream)
}

async fn write_all(mut stream: WriteHalf<Stream>, mut queue: mpsc::Receiver<Vec<u8>>) {
    while let Some(message) = queue.recv().await {
        let length = u32::try_from(message.len()).expect("a message is short");
        let write = async {
            stream.write_all(&length.to_be_bytes()).await?;
            stream.write_all(&message).await?;
            stream.flush().await
        };
        if write.await.is_err() {
            return;
        }
    }
}

impl Member {
    fn does(&self, deed: &str) -> bool {
        self.args.deeds.iter().any(|done| done == deed)
    }

    fn hello(&self) -> Vec<u8> {
        let version = if self.does("version") { VERSION + 1 } else { VERSION };
        let hello = Hello { version, mesh: &self.args.mesh, incarnation: 1, instance: 1 };
        let mut bytes = Vec::new();
        ciborium::into_writer(&hello, &mut bytes).expect("writing to memory does not fail");
        bytes
    }

    // --- Links -------------------------------------------------------------------------------

    fn on_link(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        stream: Stream,
        inbox: &mpsc::Sender<(PeerId, Control)>,
    ) {
        let (mut reading, writing) = stream.split();
        let (outbox, queue) = mpsc::channel(1024);
        tokio::spawn(write_all(writing, queue));
        let inbox = inbox.clone();
        tokio::spawn(async move {
            let mut length = [0; 4];
            while reading.read_exact(&mut length).await.is_ok() {
                let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
                if reading.read_exact(&mut bytes).await.is_err() {
                    return;
                }
                if let Ok(message) = Control::decode(&bytes) {
                    let _ = inbox.send((peer, message)).await;
                }
            }
        });
        self.links.insert(peer, (connection, outbox));
        self.gossip.handle_input(Instant::now(), Input::LinkUp { peer });
        if self.does("streams") {
            let (host, addresses) = (self.host.clone(), self.addresses_of(&peer));
            tokio::spawn(open_streams(host, peer, addresses));
        }
    }

    fn on_closed(&mut self, peer: PeerId, connection: ConnectionId) {
        if self.links.get(&peer).is_some_and(|(known, _)| *known == connection) {
            self.links.remove(&peer);
            self.children.remove(&peer);
            self.gossip.handle_input(Instant::now(), Input::LinkDown { peer, graceful: true });
        }
    }

    fn addresses_of(&self, peer: &PeerId) -> Vec<Multiaddr> {
        let row = self.gossip.table().row(peer);
        row.into_iter().flat_map(|row| &row.addresses).filter_map(|address| address.parse().ok()).collect()
    }

    fn send(&self, to: &PeerId, message: &Control) {
        if let Some((_, outbox)) = self.links.get(to) {
            let _ = outbox.try_send(message.encode());
        }
    }

    fn on_message(&mut self, from: PeerId, message: Control) {
        match message {
            Control::Ping(nonce) => self.send(&from, &Control::Pong(nonce)),
            Control::Gossip(message) => {
                if let Message::Ops(ops) = &message {
                    self.kept.extend(ops.iter().cloned());
                    self.kept.drain(..self.kept.len().saturating_sub(KEPT_MAX));
                }
                self.gossip.handle_input(Instant::now(), Input::Message { from, message });
            }
            Control::Tree {
                message: banyan_tree::Message::Accept { ticket, source, .. }, deed: Some(deed), ..
            } => self.on_accept(from, ticket, source, deed),
            Control::Tree { track, message: banyan_tree::Message::Join { request, .. }, .. }
                if track == self.args.track =>
            {
                if let Some(message) = self.answer(request) {
                    if matches!(message, banyan_tree::Message::Accept { .. }) {
                        self.children.insert(from, Instant::now());
                    }
                    self.send(&from, &Control::Tree { track, message, deed: self.deed });
                }
            }
            Control::Tree { message: banyan_tree::Message::Detach { .. }, .. } => drop(self.children.remove(&from)),
            _ => {}
        }
    }

    // --- The tree ----------------------------------------------------------------------------

    /// Who publishes the track.
    fn source(&self) -> Option<Source> {
        let origin = |row: &banyan_gossip::Row| {
            let entry = row.tracks.get(&self.args.track)?;
            (entry.role == Role::Origin).then_some(Source { epoch: entry.epoch, origin: row.peer })
        };
        self.gossip.table().iter_live().find_map(origin)
    }

    fn harm(&self) -> Option<Harm> {
        let harms = [("mute", Harm::Mute), ("corrupt", Harm::Corrupt), ("withhold", Harm::Withhold)];
        harms.into_iter().find_map(|(deed, harm)| self.does(deed).then_some(harm))
    }

    /// Whether it has what it needs to do harm.
    fn is_ready(&self) -> bool {
        match self.harm() {
            None => true,
            Some(Harm::Corrupt) => self.deed.is_some() && !self.copied.is_empty(),
            Some(_) => self.deed.is_some(),
        }
    }

    /// Asks everybody to take it as a child: for the deed, and for the objects if it alters them.
    fn join(&mut self) {
        let wants = match self.harm() {
            Some(Harm::Corrupt) => self.parent.is_none(),
            Some(_) => self.deed.is_none(),
            None => false,
        };
        let Some(source) = self.source().filter(|_| wants) else { return };
        let (request, track) = (self.rng.u64(1..), self.args.track.clone());
        let message =
            banyan_tree::Message::Join { request, source: Some(source), height: 0, need: None, repair: false };
        let message = Control::Tree { track, message, deed: None };
        for peer in self.links.keys() {
            self.send(peer, &message);
        }
    }

    fn on_accept(&mut self, parent: PeerId, ticket: u64, source: Source, deed: Deed) {
        self.deed = Some(deed);
        let track = self.args.track.clone();
        if self.harm() != Some(Harm::Corrupt) || self.parent.is_some() {
            let message = banyan_tree::Message::Detach { ticket, reason: DetachReason::Cancelled };
            return self.send(&parent, &Control::Tree { track, message, deed: None });
        }
        self.parent = Some(parent);
        let opening = Opening { track, ticket, epoch: source.epoch, from: OpeningFrom::Oldest };
        let (host, addresses, copied, ended) =
            (self.host.clone(), self.addresses_of(&parent), self.copied.clone(), self.ended.clone());
        tokio::spawn(async move {
            if let Ok(stream) = host.open_data(parent, addresses).await {
                let _ = streams::pull(stream, opening, copied).await;
            }
            let _ = ended.send(()).await;
        });
    }

    fn answer(&mut self, request: u64) -> Option<banyan_tree::Message> {
        let source = self.source()?;
        let refused = match self.harm() {
            None => Some(RefuseReason::Full),
            Some(_) => (!self.is_ready()).then_some(RefuseReason::Detached),
        };
        if let Some(reason) = refused {
            return Some(banyan_tree::Message::Refuse { request, reason, try_instead: Vec::new() });
        }
        Some(banyan_tree::Message::Accept {
            request,
            ticket: self.rng.u64(1..),
            path: vec![source.origin, self.me],
            source,
            origin_age_ms: 0,
            backups: Vec::new(),
            settings: LinkSettings::default(),
        })
    }

    /// Next to the origin, with room for everybody.
    fn row(&mut self) -> Option<RowBody> {
        let source = self.source()?;
        let free = if self.does("capacity") { u16::MAX } else { 30 };
        self.said += 1;
        let entry = TrackEntry {
            role: Role::Member,
            origin: Some(source.origin),
            epoch: source.epoch,
            depth: Some(1),
            parent: Some(source.origin),
            children: 0,
            free,
            volunteer: false,
        };
        Some(RowBody {
            addresses: vec![self.args.listen.to_string()],
            capacity: free,
            free,
            tracks: self.is_ready().then(|| (self.args.track.clone(), entry)).into_iter().collect(),
            ..RowBody::default()
        })
    }

    fn on_child_stream(&self, stream: Stream) {
        if let Some(harm) = self.harm() {
            tokio::spawn(streams::feed(stream, harm, self.copied.clone()));
        }
    }

    // --- What it does all the time -----------------------------------------------------------

    fn turn(&mut self) {
        let now = Instant::now();
        self.gossip.handle_timeout(now);
        if let Some(row) = self.row() {
            self.gossip.handle_input(now, Input::Update(row));
        }
        self.join();
        for (child, told) in &mut self.children {
            if now - *told >= 2 * TURN {
                *told = now;
                let message = banyan_tree::Message::Pulse { origin_age_ms: 0 };
                let pulse = Control::Tree { track: self.args.track.clone(), message, deed: None };
                if let Some((_, outbox)) = self.links.get(child) {
                    let _ = outbox.try_send(pulse.encode());
                }
            }
        }
        let mut ops = Vec::new();
        if self.does("replay") {
            let count = self.kept.len().min(200);
            ops.extend((0..count).map(|_| self.kept[self.rng.usize(..self.kept.len())].clone()));
        }
        if self.does("flood") {
            ops.extend((0..FLOOD).map(|_| self.news()));
        }
        if self.does("forge") {
            ops.extend((0..10).filter_map(|_| self.forgery()));
        }
        if !ops.is_empty() {
            let message = Control::Gossip(Message::Ops(ops)).encode();
            for (_, outbox) in self.links.values() {
                let _ = outbox.try_send(message.clone());
            }
        }
    }

    fn next_id(&mut self) -> OpId {
        self.version += 1;
        OpId { author: self.me, incarnation: 1, version: self.version }
    }

    fn news(&mut self) -> SignedOp {
        let id = self.next_id();
        let op = Op::UserEvent(UserEvent { id, name: "flood".to_owned(), payload: "x".repeat(64) });
        let mut bytes = Vec::new();
        ciborium::into_writer(&op, &mut bytes).expect("writing to memory does not fail");
        let signature = self.keys.sign(&Signed::op(&self.args.mesh, &bytes));
        SignedOp::new(op, signature)
    }

    /// Says in the name of one peer that another is dead, or says another's row anew.
    fn forgery(&mut self) -> Option<SignedOp> {
        let rows: Vec<_> = self.gossip.table().iter_live().filter(|row| row.peer != self.me).cloned().collect();
        let (author, victim) = (self.rng.choice(&rows)?.clone(), self.rng.choice(&rows)?.clone());
        let op = if self.rng.bool() {
            let id = OpId { author: author.peer, incarnation: author.incarnation, version: author.version + 1_000 };
            Op::Death(Claim { id, suspect: victim.peer, suspect_incarnation: victim.incarnation })
        } else {
            let mut row = author.clone();
            (row.version, row.addresses) = (row.version + 1_000, Vec::new());
            Op::Row(row)
        };
        let mut signature = [0; 64];
        self.rng.fill(&mut signature);
        Some(SignedOp::new(op, signature))
    }

    fn send_gossip(&mut self) {
        while let Some(output) = self.gossip.poll_output() {
            if let Output::Send { to, message } = output {
                self.send(&to, &Control::Gossip(message));
            }
        }
    }
}

async fn open_streams(host: Host, peer: PeerId, addresses: Vec<Multiaddr>) {
    let mut held = Vec::new();
    for _ in 0..STREAMS {
        // Those that were refused are tried again.
        match host.open_data(peer, addresses.clone()).await {
            Ok(stream) => held.push(stream),
            Err(_) => sleep(Duration::from_millis(1)).await,
        }
    }
}
