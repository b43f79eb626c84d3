//! Questions from people to peers: how far away they are, what their clocks show, whether they can dial back.
//!
//! They go over the control link, so that they take the way that everything takes; where there is no link,
//! one is dialled for it. What a peer asks is answered here, and costs it and this node little: addresses
//! that are dialled back are those that the peer's own row names.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use banyan_gossip::PeerId;
use tokio::{net::TcpStream, sync::oneshot, time::timeout};

use super::{Core, insight::not_one};
use crate::{
    mesh::{
        Control, inspect,
        message::{Probe, Probed, REACHED_MAX},
        select,
    },
    net::{
        host::{Multiaddr, Protocol},
        types::NodeError,
    },
    views::peers::PeerName,
};

/// Questions that wait for their answers.
const WAITING_MAX: usize = 256;

/// Dials back that are under way for others.
const DIALS_BACK_MAX: usize = 8;

/// How long a dial back may take.
const DIAL_BACK: Duration = Duration::from_millis(1_500);

/// What a peer answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) peer: PeerName,
    pub(crate) connect: Option<Duration>,
    pub(crate) rtt: Duration,
    /// How far the peer's clock is ahead, in milliseconds.
    pub(crate) clock_ahead_ms: f64,
    pub(crate) version: String,
    pub(crate) reached: Vec<(String, bool)>,
}

pub(crate) type Reply = oneshot::Sender<Result<Answer, NodeError>>;

/// Questions that are under way.
#[derive(Debug, Default)]
pub(super) struct Probes {
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
    /// Peers that are dialled back for.
    dialling_back: BTreeMap<PeerId, Instant>,
}

#[derive(Debug)]
struct Waiting {
    peer: PeerId,
    reach: bool,
    asked: Instant,
    /// Since when there is a link that was not there at first.
    connected: Option<Instant>,
    sent: Option<Instant>,
    reply: Reply,
}

impl Core {
    /// Asks a peer; `reach`: also to dial back.
    pub(super) fn ping(&mut self, text: &str, reach: bool, reply: Reply) {
        let peer = match select::peer(&self.mesh, text) {
            Ok(peer) => peer,
            Err(error) => return drop(reply.send(Err(not_one(text, error)))),
        };
        self.forget_probes();
        let now = Instant::now();
        let linked = self.links.contains_key(&peer);
        if peer == self.mesh.me()
            || self.probes.waiting.len() >= WAITING_MAX
            || (!linked && !self.mesh.hold_link(now, peer))
        {
            self.let_go_unless_streaming(&peer);
            return drop(reply.send(Err(NodeError::NoAnswer(text.to_owned()))));
        }
        let nonce = self.probes.next;
        self.probes.next += 1;
        let waiting = Waiting { peer, reach, asked: now, connected: None, sent: None, reply };
        self.probes.waiting.insert(nonce, waiting);
        if linked {
            self.send_probe(now, nonce);
        }
    }

    /// There is a link now: what waited for it is asked.
    pub(super) fn on_probe_link_up(&mut self, peer: PeerId) {
        let now = Instant::now();
        let due = self.probes.waiting.iter_mut().filter(|(_, waiting)| waiting.peer == peer && waiting.sent.is_none());
        let due = due.map(|(nonce, waiting)| {
            waiting.connected = Some(now);
            *nonce
        });
        for nonce in due.collect::<Vec<_>>() {
            self.send_probe(now, nonce);
        }
    }

    /// There will be no link: what waited for it is answered.
    pub(super) fn on_probe_dial_failed(&mut self, peer: PeerId) {
        let waits = |waiting: &Waiting| waiting.peer == peer && waiting.sent.is_none();
        let failed = self.probes.waiting.iter().filter(|(_, waiting)| waits(waiting)).map(|(nonce, _)| *nonce);
        for nonce in failed.collect::<Vec<_>>() {
            if let Some(waiting) = self.probes.waiting.remove(&nonce) {
                let _ = waiting.reply.send(Err(NodeError::NoAnswer(peer.to_string())));
                self.let_go_unless_streaming(&peer);
            }
        }
    }

    fn send_probe(&mut self, now: Instant, nonce: u64) {
        if let Some(waiting) = self.probes.waiting.get_mut(&nonce) {
            waiting.sent = Some(now);
            let (peer, reach) = (waiting.peer, waiting.reach);
            self.send(peer, &Control::Probe(Probe { nonce, reach }));
        }
    }

    pub(super) fn on_probed(&mut self, from: PeerId, probed: Probed) {
        let asked = self.probes.waiting.get(&probed.nonce).is_some_and(|waiting| waiting.peer == from);
        let Some(waiting) = self.probes.waiting.remove(&probed.nonce).filter(|_| asked) else {
            return;
        };
        let rtt = waiting.sent.map(|sent| sent.elapsed()).unwrap_or_default();
        // The peer looked at its clock when it was asked, about half the round trip ago: a dial back may
        // have taken its time since then.
        let then = unix_ms() - if waiting.reach { rtt.as_secs_f64() } else { rtt.as_secs_f64() / 2.0 } * 1e3;
        let answer = Answer {
            peer: inspect::name(&self.mesh, &from),
            connect: waiting.connected.map(|at| at.saturating_duration_since(waiting.asked)),
            rtt,
            clock_ahead_ms: ((probed.unix_ms as f64 - then) * 1e3).round() / 1e3,
            version: probed.version,
            reached: probed.reached,
        };
        let _ = waiting.reply.send(Ok(answer));
        self.let_go_unless_streaming(&from);
    }

    /// A peer asks.
    pub(super) fn on_probe(&mut self, from: PeerId, probe: Probe) {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let probed = Probed { nonce: probe.nonce, unix_ms: unix_ms() as u64, version, reached: Vec::new() };
        let now = Instant::now();
        let dialling = &mut self.probes.dialling_back;
        dialling.retain(|_, since| now.saturating_duration_since(*since) < 2 * DIAL_BACK);
        if !probe.reach || dialling.len() >= DIALS_BACK_MAX || dialling.contains_key(&from) {
            return self.send(from, &Control::Probed(probed));
        }
        dialling.insert(from, now);
        let addresses: Vec<(String, SocketAddr)> =
            self.addresses_of(&from).iter().filter_map(|at| Some((at.to_string(), tcp(at)?))).collect();
        let tasks = self.tasks.clone();
        tokio::spawn(async move {
            let dials = addresses.into_iter().take(REACHED_MAX).map(async |(text, address)| {
                (text, matches!(timeout(DIAL_BACK, TcpStream::connect(address)).await, Ok(Ok(_))))
            });
            let reached = futures::future::join_all(dials).await;
            let _ = tasks.send(super::FromTask::DialledBack { peer: from, probed: Probed { reached, ..probed } }).await;
        });
    }

    pub(super) fn on_dialled_back(&mut self, peer: PeerId, probed: Probed) {
        self.probes.dialling_back.remove(&peer);
        self.send(peer, &Control::Probed(probed));
    }

    /// Whoever asked has given up.
    fn forget_probes(&mut self) {
        let closed = self.probes.waiting.iter().filter(|(_, waiting)| waiting.reply.is_closed());
        for (nonce, peer) in closed.map(|(nonce, waiting)| (*nonce, waiting.peer)).collect::<Vec<_>>() {
            self.probes.waiting.remove(&nonce);
            self.let_go_unless_streaming(&peer);
        }
    }

    fn let_go_unless_streaming(&mut self, peer: &PeerId) {
        let probing = self.probes.waiting.values().any(|waiting| waiting.peer == *peer);
        if !probing && !self.sessions.has(peer) {
            self.mesh.let_go(peer);
        }
    }
}

/// The socket address of a TCP listener that is no name.
fn tcp(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    match (parts.next()?, parts.next()) {
        (Protocol::Tcp(port), None) => Some((ip, port).into()),
        _ => None,
    }
}

/// What this machine's clock shows: milliseconds since 1970.
fn unix_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1e3
}
