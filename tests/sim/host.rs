//! One host: its process, its disk, its speed.

use std::collections::{BTreeMap, VecDeque};

use banyan_gossip::{PeerId, TrackName};
use banyan_node::mesh::{Mesh, Session};

use crate::{
    conn::{ConnId, Packet},
    data::LocalTrack,
    disk::Disk,
    liar::Liar,
    queue::Nanos,
};

/// What a dial is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DialFor {
    Peer(PeerId),
    Bootstrap(usize),
}

/// One end of a link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinkEnd {
    pub(crate) conn: ConnId,
    pub(crate) session: Session,
}

/// Something that a process has to deal with.
#[derive(Debug)]
pub(crate) enum Arrival {
    Timer,
    Tick,
    /// From the host `other`, on a link or a data stream.
    Packet {
        conn: ConnId,
        other: u32,
        link: bool,
        packet: Packet,
    },
    /// A dial by another host gets here: its hello.
    Dialled {
        from: u32,
        from_life: u32,
        dial: u64,
        session: Session,
    },
    /// An own dial is answered: the connection and the other's hello.
    DialDone {
        to: u32,
        dial: u64,
        conn: ConnId,
        session: Session,
    },
    DialFailed {
        dial: u64,
    },
    Writable(ConnId),
    AckDue(ConnId),
}

/// The program, running.
#[derive(Debug)]
pub struct Process {
    /// The node's machine.
    pub mesh: Mesh,
    /// Names this life of the process.
    pub(crate) instance: u64,
    /// The hosts of its bootstrap addresses.
    pub(crate) bootstraps: Vec<u32>,
    pub(crate) links: BTreeMap<u32, LinkEnd>,
    pub(crate) dials: BTreeMap<u64, DialFor>,
    pub(crate) tracks: BTreeMap<TrackName, LocalTrack>,
    pub(crate) ticking: bool,
    pub(crate) liar: Option<Box<Liar>>,
    /// When the timer that is set goes off.
    pub(crate) timer: Nanos,
}

/// Bytes and messages, by kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traffic {
    /// Messages sent.
    pub messages: u64,
    /// Bytes of all control messages, with their length prefix.
    pub bytes: u64,
    /// Of them, gossip.
    pub gossip_bytes: u64,
    /// Of them, trees.
    pub tree_bytes: u64,
    /// Connections that this host dialled.
    pub dials: u64,
    /// Bytes of data streams.
    pub data_bytes: u64,
}

/// One machine.
#[derive(Debug)]
pub struct Host {
    /// Its id.
    pub peer: PeerId,
    /// Counts its processes.
    pub life: u32,
    /// What runs on it.
    pub process: Option<Process>,
    /// What it sent.
    pub traffic: Traffic,
    pub(crate) disk: Disk,
    /// Powered: a host without a process refuses connections, one without power says nothing.
    pub(crate) powered: bool,
    /// It does nothing before then.
    pub(crate) stalled_until: Nanos,
    pub(crate) backlog: VecDeque<(u32, Arrival)>,
    /// What it needs for each arrival.
    pub(crate) cost: Nanos,
    /// When its network card has sent everything.
    pub(crate) egress_free: Nanos,
    /// Its wall clock, in milliseconds.
    pub(crate) wall_ms: u64,
    /// It crashes after so many more outputs, or loses power in the midst of a write.
    pub(crate) doomed: Option<u32>,
}

impl Host {
    pub(crate) fn new(peer: PeerId, wall_ms: u64) -> Self {
        Self {
            peer,
            life: 0,
            process: None,
            traffic: Traffic::default(),
            disk: Disk::default(),
            powered: true,
            stalled_until: 0,
            backlog: VecDeque::new(),
            cost: 0,
            egress_free: 0,
            wall_ms,
            doomed: None,
        }
    }

    /// Its machine, if it runs.
    #[must_use]
    pub fn mesh(&self) -> Option<&Mesh> {
        self.process.as_ref().map(|process| &process.mesh)
    }
}
