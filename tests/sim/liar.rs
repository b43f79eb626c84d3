//! A member of the mesh that lies: its links are honest, its rows and its answers are not.

use std::sync::Arc;

use banyan_gossip::{
    Config, Deed, Gossip, Input, LocalPeer, Message, Output, PeerId, Role, RowBody, TrackEntry, TrackName,
};
use banyan_node::mesh::Control;
use banyan_tree::{LinkSettings, RefuseReason, Source};

use crate::{keys::SimKeys, world::World};

/// What it lies about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// It is next to the origin with many free slots; whoever it accepts it never feeds.
    Depth,
    /// It has more slots than anybody may have; it refuses everyone.
    Capacity,
    /// As `Depth`, and the path that it hands out changes all the time and names the asker's peers.
    Path,
    /// Its incarnation is as great as can be, and it accuses everyone.
    Incarnation,
}

/// All of them.
pub const LIES: [Lie; 4] = [Lie::Depth, Lie::Capacity, Lie::Path, Lie::Incarnation];

#[derive(Debug)]
pub(crate) struct Liar {
    lie: Lie,
    track: TrackName,
    origin: PeerId,
    me: PeerId,
    gossip: Gossip,
    rng: fastrand::Rng,
    answered: u64,
}

impl World {
    /// Lets a host lie from now on.
    pub fn corrupt(&mut self, host: u32, lie: Lie, track: &TrackName) {
        let (me, now) = (self.peer(host), self.instant());
        let incarnation = match lie {
            Lie::Incarnation => banyan_gossip::op::INCARNATION_MAX,
            _ => self.mesh(host).map_or(1, banyan_node::mesh::Mesh::incarnation) + 1,
        };
        let Some(mesh) = self.mesh(host) else {
            return;
        };
        let config = Config::new(mesh.config().mesh.clone());
        let local = LocalPeer { peer: me, incarnation };
        let gossip = Gossip::new(local, config, Arc::new(SimKeys(me)), self.seeds.fork(), now);
        let liar =
            Liar { lie, track: track.clone(), origin: self.peer(0), me, gossip, rng: self.seeds.fork(), answered: 0 };
        self.checks.liars.insert(host);
        if let Some(process) = self.process(host) {
            let links: Vec<u32> = process.links.keys().copied().collect();
            process.liar = Some(Box::new(liar));
            for other in links {
                let peer = self.peer(other);
                self.lie_input(host, Input::LinkUp { peer });
            }
        }
        self.lie(host);
        self.after(host);
    }

    /// What the liar's own table hears of.
    pub(crate) fn lie_input(&mut self, host: u32, input: Input) {
        let now = self.instant();
        if let Some(liar) = self.process(host).and_then(|process| process.liar.as_mut()) {
            liar.gossip.handle_input(now, input);
        }
        self.send_lies(host);
    }

    /// Says it once more.
    pub(crate) fn lie(&mut self, host: u32) {
        let now = self.instant();
        let epoch = self.mesh(0).and_then(|mesh| mesh.tree(&self.liar(host)?.track)?.source()).map_or(0, |s| s.epoch);
        let Some(liar) = self.process(host).and_then(|process| process.liar.as_mut()) else {
            return;
        };
        let row = liar.row(epoch);
        liar.gossip.handle_timeout(now);
        liar.gossip.handle_input(now, Input::Update(row));
        if liar.lie == Lie::Incarnation {
            let others: Vec<PeerId> = liar.gossip.table().iter_live().map(|row| row.peer).collect();
            if let Some(peer) = liar.rng.choice(others).filter(|peer| *peer != liar.origin) {
                liar.gossip.handle_input(now, Input::LinkDown { peer, graceful: false });
                liar.gossip.handle_input(now, Input::Unreachable { peer });
            }
        }
        self.send_lies(host);
    }

    fn liar(&self, host: u32) -> Option<&Liar> {
        self.hosts[host as usize].process.as_ref()?.liar.as_deref()
    }

    fn send_lies(&mut self, host: u32) {
        loop {
            let output = self.process(host).and_then(|process| process.liar.as_mut()?.gossip.poll_output());
            match output {
                Some(Output::Send { to, message }) => self.send(host, &to, Control::Gossip(message)),
                Some(_) => {}
                None => return,
            }
        }
    }

    /// A message for the liar. Says whether its honest part gets it as well.
    pub(crate) fn lie_to(&mut self, host: u32, from: PeerId, message: &Control) -> bool {
        match message {
            Control::Gossip(message) => {
                let message: Message = message.clone();
                self.lie_input(host, Input::Message { from, message });
                true
            }
            Control::Tree { track, message: banyan_tree::Message::Join { request, .. }, .. } => {
                let epoch = self.mesh(0).and_then(|mesh| mesh.tree(track)?.source()).map_or(0, |source| source.epoch);
                let Some(liar) = self.process(host).and_then(|process| process.liar.as_mut()) else {
                    return true;
                };
                let message = liar.answer(*request, epoch);
                let track = track.clone();
                // It follows the origin as everybody does, whose word for it is no secret.
                let deed = Some(Deed::new(0, SimKeys(self.peer(0)).signature()));
                self.send(host, &from, Control::Tree { track, message, deed });
                false
            }
            Control::Tree { .. } => false,
            _ => true,
        }
    }
}

impl Liar {
    fn row(&self, epoch: u64) -> RowBody {
        let free = if self.lie == Lie::Capacity { u16::MAX } else { 30 };
        let entry = TrackEntry {
            role: Role::Member,
            origin: Some(self.origin),
            epoch,
            depth: Some(if self.lie == Lie::Path { 0 } else { 1 }),
            parent: Some(self.origin),
            children: 0,
            free,
            volunteer: false,
        };
        RowBody {
            addresses: vec!["/ip4/10.0.0.1/tcp/1".to_owned()],
            capacity: free,
            // Each row differs from the one before.
            free: free - u16::try_from(self.answered % 3).expect("below three"),
            tracks: [(self.track.clone(), entry)].into(),
            ..RowBody::default()
        }
    }

    fn answer(&mut self, request: u64, epoch: u64) -> banyan_tree::Message {
        self.answered += 1;
        let others = self.gossip.table().iter_live().map(|row| row.peer).collect::<Vec<_>>();
        let between = self.rng.choice(others);
        let own = self.me;
        if matches!(self.lie, Lie::Capacity | Lie::Incarnation) {
            return banyan_tree::Message::Refuse { request, reason: RefuseReason::Full, try_instead: Vec::new() };
        }
        let mut path = vec![self.origin];
        if self.lie == Lie::Path {
            path.extend(between.filter(|peer| *peer != self.origin && *peer != own));
        }
        path.push(own);
        banyan_tree::Message::Accept {
            request,
            ticket: self.rng.u64(1..),
            path,
            source: Source { epoch, origin: self.origin },
            origin_age_ms: 0,
            backups: Vec::new(),
            settings: LinkSettings::default(),
        }
    }
}
