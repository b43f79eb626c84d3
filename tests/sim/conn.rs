//! Connections: two ordered pipes between two processes, each end of which may go on its own.

use std::collections::{BTreeSet, VecDeque};

use banyan_gossip::TrackName;
use banyan_node::{mesh::Control, relay::Frame};

use crate::queue::Nanos;

/// What travels.
#[derive(Debug)]
pub(crate) enum Packet {
    /// On a link.
    Control(Control),
    /// The first of a data stream, from the child.
    Opening(Vec<u8>),
    /// From a parent.
    Frames(Vec<Frame>),
    /// From a child.
    Ack(Frame),
    /// The other end is closed.
    Fin,
}

/// What a connection is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Use {
    /// Control messages.
    Link,
    /// The data stream of a track, from side 0, the child, to side 1, the parent.
    Data { track: TrackName, ticket: u64, epoch: u64 },
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    /// When the last packet sent arrives.
    pub(crate) last: Nanos,
    /// Packets that wait for the network to heal, with their sizes, and since when.
    pub(crate) held: VecDeque<(Packet, usize)>,
    pub(crate) held_since: Nanos,
    /// Bytes sent and not yet arrived.
    pub(crate) in_flight: usize,
}

/// A connection of two hosts. Side 0 dialled.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) ends: [u32; 2],
    pub(crate) lives: [u32; 2],
    pub(crate) open: [bool; 2],
    pub(crate) pipes: [Pipe; 2],
    pub(crate) what: Use,
}

/// Names a connection for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// All connections.
#[derive(Debug, Default)]
pub(crate) struct Conns {
    slots: Vec<(u32, Option<Conn>)>,
    free: Vec<u32>,
    /// By host.
    of: BTreeSet<(u32, ConnId)>,
}

impl Conns {
    pub(crate) fn add(&mut self, ends: [u32; 2], lives: [u32; 2], what: Use) -> ConnId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 connections")
        });
        let (generation, place) = &mut self.slots[slot as usize];
        *place = Some(Conn { ends, lives, open: [true; 2], pipes: Default::default(), what });
        let id = ConnId { slot, generation: *generation };
        self.of.extend(ends.map(|host| (host, id)));
        id
    }

    pub(crate) fn get(&self, id: ConnId) -> Option<&Conn> {
        self.slots.get(id.slot as usize).filter(|(generation, _)| *generation == id.generation)?.1.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.slots.get_mut(id.slot as usize).filter(|(generation, _)| *generation == id.generation)?.1.as_mut()
    }

    pub(crate) fn remove(&mut self, id: ConnId) {
        if let Some((generation, place)) = self.slots.get_mut(id.slot as usize)
            && *generation == id.generation
            && let Some(conn) = place.take()
        {
            for host in conn.ends {
                self.of.remove(&(host, id));
            }
            *generation = generation.wrapping_add(1);
            self.free.push(id.slot);
        }
    }

    /// The connections of a host.
    pub(crate) fn of(&self, host: u32) -> impl Iterator<Item = ConnId> {
        let [first, last] = [0, u32::MAX].map(|end| (host, ConnId { slot: end, generation: end }));
        self.of.range(first..=last).map(|(_, id)| *id)
    }

    /// All connections, each with what it is.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnId, &Conn)> {
        let used = (0..).zip(&self.slots);
        used.filter_map(|(slot, (generation, conn))| Some((ConnId { slot, generation: *generation }, conn.as_ref()?)))
    }
}

impl Conn {
    /// Which side a host is.
    pub(crate) fn side(&self, host: u32) -> usize {
        usize::from(self.ends[1] == host)
    }
}
